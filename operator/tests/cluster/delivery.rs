//! The main job, through `kubectl apply`, with three gateways and two operators: every way in which a delivery can go.
//!
//! It runs twice: with an operator that leads and one that stands by, and with both at work at once.

use std::time::{Duration, Instant};

use ps_testbed::{Browser, OpenBao, RunDir, Screen, Testbed, unique, wait_until};
use serde_json::{Value, json};

use crate::stand::{Setup, Stand};
use crate::support::{Invitation, KvSource, PAST_TTL, Recipient, RoleSource, SOON, kv_delivery, role_delivery};

#[tokio::test]
async fn with_one_operator_leading_and_one_standing_by() {
    let stand = the_main_job(Setup { operators: 2, gateways: 3, ..Setup::default() }).await;
    let leader = stand.leader().await;
    let audited = |n| std::fs::read_to_string(stand.path(&format!("audit-{n}.jsonl"))).unwrap_or_default();
    assert_eq!((audited(leader).is_empty(), audited(1 - leader)), (false, String::new()), "one of them worked");
}

#[tokio::test]
async fn with_two_operators_at_work_at_once() {
    let stand = the_main_job(Setup { operators: 2, gateways: 3, elect: false, ..Setup::default() }).await;
    for operator in &stand.operators {
        assert!(operator.metric("password_sender_leader").await > 0.0, "both lead");
    }
}

/// Where all the flows of one run happen at the same time.
struct Job {
    stand: Stand,
    bao: &'static OpenBao,
}

async fn the_main_job(setup: Setup) -> Stand {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let stand = Stand::start(setup).await;
    let first = KvSource::new(bao).await;
    let mut kv = Vec::new();
    for _ in 0..11 {
        kv.push(KvSource::below(bao, &first.mount).await);
    }
    let roles = [RoleSource::new(bao).await, RoleSource::new(bao).await];
    let policy: String = kv.iter().map(KvSource::policy).chain(roles.iter().map(RoleSource::policy)).collect();
    stand.connect(bao, &policy).await;
    let job = Job { stand, bao };
    tokio::join!(
        job.a_browser_opens_it_once_and_it_is_replaced(Screen::Desktop, &kv[0]),
        job.a_browser_opens_it_once_and_it_is_replaced(Screen::Phone, &kv[9]),
        job.the_old_password_lives_as_long_as_promised(&roles[0]),
        job.two_recipients_share_a_role(&roles[1]),
        job.nobody_opens_it(&kv[1]),
        job.it_ends_at_once("revoked", &kv[2], false),
        job.it_ends_at_once("declined", &kv[3], false),
        job.it_ends_at_once("removed", &kv[4], false),
        job.it_ends_at_once("revoked", &kv[5], true),
        job.it_ends_at_once("declined", &kv[6], true),
        job.a_reply_is_lost(&kv[7]),
        job.a_tab_is_closed(Screen::Desktop, &kv[8]),
        job.a_tab_is_closed(Screen::Phone, &kv[10]),
    );
    for program in job.stand.operators.iter().chain(&job.stand.gateways) {
        assert!(program.is_up(), "{}", program.tail());
    }
    job.stand
}

async fn browser(screen: Screen) -> Browser {
    Testbed::connect_or_start().unwrap().browser().await.unwrap().clone().on(screen)
}

fn address(name: &str) -> String {
    format!("{}@vendor.example", unique(name))
}

impl Job {
    /// One mail, and one event of each of these kinds on the trails of both operators.
    async fn happened_once(&self, name: &str, to: &str, kinds: &[&str]) {
        assert_eq!(self.stand.mails(to, 1, SOON).await.len(), 1, "{name}");
        for kind in kinds {
            let count = self.stand.audited_by_all(name, kind);
            assert_eq!(count, 1, "{kind} of {name}\n{}", self.stand.tails());
        }
    }

    async fn a_browser_opens_it_once_and_it_is_replaced(&self, screen: Screen, source: &KvSource) {
        let (stand, browser) = (&self.stand, browser(screen).await);
        let (name, to) = (format!("browser-{screen:?}").to_lowercase(), address("alice"));
        let more = json!({"completion": "OnRotated", "link": {"claimWindow": "10s"}});
        stand.apply(&kv_delivery(&name, &to, source, "10m", "15s", more)).await;
        let invitation = Invitation::of(&stand.mail(&to).await);
        let seen = stand.wait_status(&name, "delivered", SOON, |s| s.is("Delivered")).await;
        assert_eq!((seen.condition("Rotated").0, seen.condition("Reconciling").0), ("False", "True"));

        let scanner = browser.run("scan_link", json!({"link": invitation.link})).await.unwrap();
        assert_eq!(scanner.result["states"], json!(["ask", "ask"]), "a scanner consumes nothing");
        let args = json!({"link": invitation.link, "code": invitation.code});
        let report = browser.run("open_link", args).await.unwrap();
        assert_eq!(report.result["title"], "Database of the web shop");
        assert_eq!(report.result["fields"][1]["value"], json!(source.password));
        assert_eq!(report.result["states"], json!(["ask", "opened", "done", "over:mine"]));
        assert!(report.page_errors.is_empty() && report.console.is_empty(), "{:?}", report.console);

        let seen = stand.wait_rotated(&name, SOON).await;
        source.assert_replaced(self.bao).await;
        assert_eq!(seen.text("/status/evidence/scope"), "Vault");
        assert!(seen.condition("Rotated").2.contains("target system was not told"), "{:?}", seen.condition("Rotated"));
        assert!(seen.condition("Retrieved").2.contains("saved"), "{:?}", seen.condition("Retrieved"));
        assert_eq!(Recipient::new(&invitation).claim().await.code(), "gone");
        self.happened_once(&name, &to, &["Issued", "Delivered", "Claimed", "Acknowledged", "RotationDue", "Rotated"])
            .await;
    }

    async fn the_old_password_lives_as_long_as_promised(&self, role: &RoleSource) {
        const AFTER: Duration = Duration::from_secs(6);
        let (stand, to) = (&self.stand, address("dave"));
        stand.apply(&role_delivery("promised", &to, role, "10m", "6s", json!({}))).await;
        let recipient = stand.recipient(&to).await;
        let before = Instant::now();
        assert_eq!(recipient.open().await["password"], role.password);
        while before.elapsed() + Duration::from_millis(700) < AFTER {
            assert!(role.logs_in(&role.password).await, "dead after {:?} of {AFTER:?}", before.elapsed());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let seen = stand.wait_rotated("promised", SOON).await;
        assert_eq!(seen.text("/status/evidence/scope"), "Target");
        assert!(!role.logs_in(&role.password).await, "the delivered password still logs in");
        let fresh = role.current(self.bao).await;
        assert!(fresh != role.password && role.logs_in(&fresh).await);
        self.happened_once("promised", &to, &["Issued", "Delivered", "Claimed", "Rotated"]).await;
    }

    async fn two_recipients_share_a_role(&self, role: &RoleSource) {
        let (stand, to) = (&self.stand, ["first", "stall", "again"].map(address));
        stand.apply(&role_delivery("first", &to[0], role, "10m", "2s", json!({}))).await;
        stand.apply(&role_delivery("stall", &to[1], role, "10m", "2s", json!({}))).await;
        let reissue = json!({"rotation": {"onSourceRotated": "Reissue"}});
        stand.apply(&role_delivery("again", &to[2], role, "10m", "2s", reissue)).await;
        let (stalled, reissued) = (stand.recipient(&to[1]).await, stand.recipient(&to[2]).await);
        assert_eq!(stand.recipient(&to[0]).await.open().await["password"], role.password);
        stand.wait_rotated("first", SOON).await;

        let seen = stand.wait_status("stall", "stalled", SOON, |s| s.stalled() == Some("SourceRotated")).await;
        assert_eq!(stalled.claim().await.state(), "revoked");
        assert_eq!(seen.text("/status/evidence/by"), "Other");

        let mails = stand.mails(&to[2], 2, SOON).await;
        assert_eq!(reissued.claim().await.state(), "revoked");
        let fields = Recipient::new(&Invitation::of(&mails[1])).open().await;
        assert_ne!(fields["password"], role.password);
        let count = async |to: &str| stand.mails(to, 1, SOON).await.len();
        assert_eq!((count(&to[0]).await, count(&to[1]).await), (1, 1));
        let now = role.current(self.bao).await;
        assert!(fields["password"] == now && role.logs_in(&now).await);
        stand.wait_status("again", "the second rotation", SOON, |s| s.attempt() == 2 && s.is("Rotated")).await;
        assert!(!role.logs_in(&now).await);
        assert_eq!(count(&to[2]).await, 2);
    }

    async fn nobody_opens_it(&self, source: &KvSource) {
        let (stand, to) = (&self.stand, address("nobody"));
        stand.apply(&kv_delivery("unopened", &to, source, "1m", "1h", Value::Null)).await;
        let recipient = stand.recipient(&to).await;
        assert_eq!(stand.sealed(&recipient).await, ["ciphertext", "preview", "record"]);
        let seen = stand.wait_rotated("unopened", PAST_TTL).await;
        assert_eq!(seen.condition("Retrieved").1, "Expired");
        self.is_over("unopened", &to, source, &recipient, "expired").await;
    }

    /// Withdrawn in one of three ways, before or after somebody has claimed it.
    async fn it_ends_at_once(&self, how: &str, source: &KvSource, claimed: bool) {
        let (stand, to) = (&self.stand, address(how));
        let name = &if claimed { format!("{how}-claimed") } else { how.to_owned() };
        stand.apply(&kv_delivery(name, &to, source, "1h", "1h", Value::Null)).await;
        let recipient = stand.recipient(&to).await;
        if claimed {
            assert_eq!(recipient.open().await["password"], source.password);
            stand.wait_status(name, "claimed", SOON, |s| s.is("Retrieved")).await;
            assert!(source.is_untouched(self.bao).await, "an hour was promised");
        }
        let state = match how {
            "revoked" => {
                stand.apply(&kv_delivery(name, &to, source, "1h", "1h", json!({"revoked": true}))).await;
                stand.wait_rotated(name, SOON).await;
                "revoked"
            }
            "declined" => {
                assert_eq!(recipient.decline().await.state(), "declined");
                stand.wait_rotated(name, SOON).await;
                "declined"
            }
            _ => {
                stand.delete(name).await;
                let gone = wait_until("the object to go", SOON, async || {
                    (stand.object(name).await.is_null() && stand.audited_by_all(name, "Rotated") == 1).then_some(())
                });
                gone.await.unwrap_or_else(|e| panic!("{name}: {e}\n{}", stand.tails()));
                "revoked"
            }
        };
        self.is_over(name, &to, source, &recipient, state).await;
    }

    /// Refused by each gateway, erased from the store, rotated; and mailed once.
    async fn is_over(&self, name: &str, to: &str, source: &KvSource, recipient: &Recipient, state: &str) {
        for _ in &self.stand.gateways {
            let claim = recipient.claim().await;
            assert_eq!((claim.status, claim.code(), claim.state()), (410, "gone", state), "{name}: {:?}", claim.body);
            assert_eq!(recipient.claim_again().await.status, 410, "{name}");
        }
        assert_eq!(self.stand.sealed(recipient).await, ["record"], "{name}");
        source.assert_replaced(self.bao).await;
        self.happened_once(name, to, &["Issued", "Delivered", "Rotated"]).await;
    }

    async fn a_reply_is_lost(&self, source: &KvSource) {
        let (stand, to) = (&self.stand, address("lost"));
        stand.apply(&kv_delivery("lost", &to, source, "1h", "1h", json!({"link": {"claimWindow": "15s"}}))).await;
        let recipient = stand.recipient(&to).await;
        recipient.claim_and_hang_up().await;
        let claimed = async || (recipient.lookup().await.state() == "claimed").then_some(());
        wait_until("the claim", SOON, claimed).await.unwrap();
        let again = recipient.claim_again().await;
        assert_eq!(recipient.unseal(&again)["password"], source.password);
        // Through whichever gateway, as long as the window is open.
        for _ in &stand.gateways {
            let repeated = recipient.claim_again().await;
            assert_eq!((repeated.status, &repeated.body), (200, &again.body));
        }
        let stranger = Recipient::new(&Invitation::of(&stand.mail(&to).await));
        assert_eq!(stranger.claim().await.code(), "claimed");
        let over = async || (recipient.claim_again().await.status == 410).then_some(());
        wait_until("the end of the window", SOON, over).await.unwrap();
        assert_eq!(recipient.acknowledge().await.state(), "retrieved", "a late acknowledgement counts");
        stand.wait_status("lost", "saved after all", SOON, |s| s.condition("Retrieved").2.contains("saved")).await;
        self.happened_once("lost", &to, &["Claimed", "WindowOver"]).await;
    }

    async fn a_tab_is_closed(&self, screen: Screen, source: &KvSource) {
        let (stand, browser) = (&self.stand, browser(screen).await);
        let (name, to) = (format!("tab-{screen:?}").to_lowercase(), address("tab"));
        stand.apply(&kv_delivery(&name, &to, source, "1h", "1h", json!({"link": {"claimWindow": "1h"}}))).await;
        let invitation = Invitation::of(&stand.mail(&to).await);
        let profile = RunDir::new("profile").unwrap();
        let args = json!({"link": invitation.link, "code": invitation.code, "acknowledge": false});
        let first = browser.run_in("open_link", args, profile.path()).await.unwrap();
        assert_eq!(first.result["fields"].as_array().unwrap().len(), 2);
        let stranger = browser.run("glance_at_link", json!({"link": invitation.link})).await.unwrap();
        assert_eq!(stranger.result, json!({"state": "over:claimed", "fields": 0}));
        let back = json!({"link": invitation.link, "press": true});
        let back = browser.run_in("glance_at_link", back, profile.path()).await.unwrap();
        assert_eq!(back.result, json!({"state": "opened", "fields": 2}));
    }
}

impl Stand {
    /// How many different events of this kind are on the trails of all operators for a delivery.
    pub fn audited_by_all(&self, name: &str, kind: &str) -> usize {
        let trail = |n| std::fs::read_to_string(self.path(&format!("audit-{n}.jsonl"))).unwrap_or_default();
        let text: String = (0..self.operators.len()).map(trail).collect();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let wanted = |line: &Value| line["event"]["kind"] == kind && line["event"]["delivery"]["name"] == name;
        lines.filter(wanted).map(|line| line["id"].to_string()).collect::<std::collections::BTreeSet<_>>().len()
    }

    /// What the Secret of a link's record holds.
    pub async fn sealed(&self, recipient: &Recipient) -> Vec<String> {
        let id: String = recipient.id().0.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = format!("/api/v1/namespaces/{}/secrets/link-{id}", self.names.links);
        let secret = self.cluster.call("GET", &path, None).await.unwrap();
        secret["data"].as_object().unwrap().keys().cloned().collect()
    }
}
