//! OpenBao sealed, killed, restarted, slow, refusing, or done without saying so: it recovers alone.

use std::time::Duration;

use ps_testbed::{HttpProxy, OpenBao, ProxyAction, ProxyRule, Testbed, unique, wait_until};
use serde_json::{Value, json};

use crate::support::{
    Invitation, KvSource, Recipient, RoleSource, SOON, Seen, Setup, Stand, kv_delivery, role_delivery,
};

/// Longer than the wait between two tries of what only a person can mend.
const AFTER_A_PERSON: Duration = Duration::from_secs(90);

/// An operator that reaches a mount with one secret through a proxy.
async fn behind_a_proxy() -> (&'static OpenBao, HttpProxy, Stand, KvSource) {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let proxy = HttpProxy::start(bao.address()).unwrap();
    let (stand, first) = (Stand::start(Setup::default()).await, KvSource::new(bao).await);
    stand.connect(bao, &proxy.address(), &first.policy_of_mount()).await;
    (bao, proxy, stand, first)
}

#[tokio::test]
async fn a_sealed_and_a_restarted_openbao_are_waited_for() {
    let bao = OpenBao::raft().await.unwrap();
    let source = KvSource::new(&bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect(&bao, bao.address(), &source.policy()).await;
    bao.seal().await.unwrap();
    let to = format!("{}@v.example", unique("sealed"));
    let more = json!({"completion": "OnRotated"});
    stand.apply("shop", &kv_delivery("shop", &to, &source, "1h", "3s", more));
    let seen = stand.wait_status("shop", "the seal", SOON, |s| s.condition("Ready").1 == "VaultSealed").await;
    assert!(seen.condition("Reconciling").2.contains("sealed") && seen.stalled().is_none());
    assert!(!seen.text("/status/nextWakeUp").is_empty());
    bao.unseal().await.unwrap();
    let recipient = stand.recipient(&to).await;

    // Claimed; then it is killed, comes back sealed, and the rotation that falls due meanwhile happens after that.
    assert_eq!(recipient.open().await["password"], source.password);
    bao.kill().unwrap();
    stand.wait_status("shop", "the outage", SOON, |s| s.condition("Ready").1 == "VaultUnreachable").await;
    bao.restart().await.unwrap();
    stand.wait_status("shop", "the seal", SOON, |s| s.condition("Ready").1 == "VaultSealed").await;
    bao.unseal().await.unwrap();
    let seen = stand.wait_rotated("shop", SOON).await;
    assert!(seen.is("Ready"));
    source.assert_replaced(&bao).await;
    assert_eq!(stand.mails(&to, 1, SOON).await.len(), 1);
}

#[tokio::test]
async fn an_openbao_that_hangs_delays_only_those_who_use_it() {
    let (hung, well) = (OpenBao::raft().await.unwrap(), Testbed::connect_or_start().unwrap().bao().await.unwrap());
    let (source, other) = (KvSource::new(&hung).await, KvSource::new(well).await);
    let (slow, quick) = (Stand::start(Setup::default()).await, format!("{}@v.example", unique("quick")));
    let to = format!("{}@v.example", unique("slow"));
    slow.connect(&hung, hung.address(), &source.policy()).await;
    hung.freeze(true).unwrap();
    slow.apply("slow", &kv_delivery("slow", &to, &source, "1h", "1h", Value::Null));
    let seen = slow.wait_status("slow", "the wait", SOON, |s| s.condition("Ready").1 == "VaultTimeout").await;
    assert!(!seen.is("Delivered"));
    // Another connection, of another name, beside it.
    let token = well.token(&["root"], &ps_testbed::TokenOptions::default()).await.unwrap();
    slow.secret("well", "token", &token.token);
    let connection = format!(
        "apiVersion: passwordsender.io/v1alpha1\nkind: VaultConnection\nmetadata: {{name: well}}\n\
         spec: {{address: \"{}\", auth: {{token: {{secretKeyRef: {{name: well, key: token}}}}}}}}\n",
        well.address()
    );
    slow.apply("well", &connection);
    let more = json!({"source": {"vault": {"connectionRef": {"name": "well"}}}});
    slow.apply("quick", &kv_delivery("quick", &quick, &other, "1h", "1h", more));
    assert_eq!(slow.recipient(&quick).await.open().await["password"], other.password);
    assert!(!slow.status("slow").is("Delivered"));
    hung.freeze(false).unwrap();
    assert_eq!(slow.recipient(&to).await.open().await["password"], source.password);
}

/// What the status must say while a fault stands in the way.
struct Waits {
    reason: &'static str,
    words: &'static [&'static str],
    /// Whether it waits for a person.
    stalls: bool,
}

const LIMITED: Waits =
    Waits { reason: "VaultRateLimited", words: &["Vault answers 429 to", "rate limit"], stalls: false };
const UNAVAILABLE: Waits = Waits { reason: "VaultError5xx", words: &["Vault answers 503 to"], stalls: false };
const FAILED: Waits = Waits { reason: "VaultError5xx", words: &["Vault answers 500 to"], stalls: false };
const SILENT: Waits = Waits { reason: "VaultTimeout", words: &["over connection default/vault"], stalls: false };
const GONE: Waits = Waits { reason: "VaultUnreachable", words: &["over connection default/vault"], stalls: false };
const DENIED: Waits = Waits {
    reason: "VaultDenied",
    words: &["spec.source.vault.", "Vault denies ", "Add to its policy: path \""],
    stalls: true,
};

impl Waits {
    async fn assert_said(&self, stand: &Stand, name: &str, what: &str) {
        let seen = stand.wait_status(name, &format!("{} at {what}", self.reason), SOON, |s| self.is_said(s)).await;
        assert!(!seen.text("/status/nextWakeUp").is_empty(), "{what}: {:?}", seen.0);
    }

    fn is_said(&self, seen: &Seen) -> bool {
        let (ready, reason, said) = seen.condition("Ready");
        let words = self.words.iter().all(|word| said.contains(word));
        let kind = if self.stalls { seen.stalled() == Some(self.reason) } else { seen.is("Reconciling") };
        ready == "False" && reason == self.reason && words && kind
    }
}

#[tokio::test]
async fn refusals_and_lost_answers_at_each_request_cost_neither_a_second_mail_nor_a_second_version() {
    use ProxyAction::{DoneBut, DoneButDrop, DoneButHang, Drop, Refuse};
    let (bao, proxy, stand, first) = behind_a_proxy().await;
    // Those without a number go on until the status has said so.
    let faults = [
        ("GET", "/data/", Refuse(429), None, Some(&LIMITED)),
        ("GET", "/data/", Refuse(503), None, Some(&UNAVAILABLE)),
        ("GET", "/data/", Refuse(403), None, Some(&DENIED)),
        ("GET", "/data/", DoneBut(500), None, Some(&FAILED)),
        ("GET", "/data/", Drop, None, Some(&GONE)),
        ("GET", "/data/", DoneButHang, None, Some(&SILENT)),
        ("PATCH", "/data/", Refuse(429), None, Some(&LIMITED)),
        ("PATCH", "/data/", Refuse(503), None, Some(&UNAVAILABLE)),
        // Done: the next look finds the new version.
        ("PATCH", "/data/", DoneBut(500), Some(1), Some(&FAILED)),
        ("PATCH", "/data/", DoneButDrop, Some(1), None),
        ("PATCH", "/data/", DoneButHang, Some(1), None),
        ("GET", "/metadata/", Refuse(503), Some(1), None),
        ("POST", "/destroy/", DoneBut(500), Some(1), None),
        ("POST", "/destroy/", Drop, Some(1), None),
    ];
    for (index, (method, kind, action, times, waits)) in faults.into_iter().enumerate() {
        let source = KvSource::below(bao, &first.mount).await;
        let name = format!("fault-{index}");
        let what = format!("{action:?} to {method} {kind}");
        let at = format!("{kind}{}", source.path);
        let rule = ProxyRule::new(&at, action).method(method);
        proxy.rule(times.map_or(rule.clone(), |times| rule.times(times)));
        let to = format!("{}@v.example", unique("fault"));
        let more = json!({"completion": "OnRotated"});
        stand.apply(&name, &kv_delivery(&name, &to, &source, "1h", "1s", more));
        let said = async |waits: &Waits| {
            waits.assert_said(&stand, &name, &what).await;
            if times.is_none() {
                proxy.clear();
            }
        };
        if let Some(waits) = waits.filter(|_| method == "GET") {
            said(waits).await;
        }
        let mail = stand.mails(&to, 1, AFTER_A_PERSON).await.remove(0);
        let recipient = Recipient::new(&Invitation::of(&mail));
        assert_eq!(recipient.open().await["password"], source.password, "{what}");
        if let Some(waits) = waits.filter(|_| method != "GET") {
            said(waits).await;
        }
        stand.wait_rotated(&name, AFTER_A_PERSON).await;
        source.assert_replaced(bao).await;
        assert_eq!(stand.mails(&to, 1, SOON).await.len(), 1, "{what}");
        // The fault was met: what the operator got was not what the server had said; a drop leaves nothing of either.
        let met = |r: &ps_testbed::ProxyRequest| {
            r.path.contains(&at) && r.method == method && (r.server != r.client || r.client.is_none())
        };
        assert!(proxy.requests().iter().any(met), "{what} was not met");
        proxy.clear();
    }
}

#[tokio::test]
async fn a_refused_rotation_of_a_role_is_said_and_made_up_for() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let proxy = HttpProxy::start(bao.address()).unwrap();
    let stand = Stand::start(Setup::default()).await;
    let cases = [(429, &LIMITED), (503, &UNAVAILABLE), (403, &DENIED)];
    let roles = [RoleSource::new(bao).await, RoleSource::new(bao).await, RoleSource::new(bao).await];
    stand.connect(bao, &proxy.address(), &roles.each_ref().map(RoleSource::policy).concat()).await;
    for (role, (status, waits)) in roles.iter().zip(cases) {
        let (name, what) = (format!("role-{status}"), format!("{status} to rotate-role"));
        proxy.rule(ProxyRule::new(&format!("/rotate-role/{}", role.role), ProxyAction::Refuse(status)));
        let to = format!("{}@v.example", unique("role"));
        let more = json!({"completion": "OnRotated"});
        stand.apply(&name, &role_delivery(&name, &to, role, "1h", "1s", more));
        assert_eq!(stand.recipient(&to).await.open().await["password"], role.password);
        waits.assert_said(&stand, &name, &what).await;
        let seen = stand.status(&name);
        assert!(seen.is("Retrieved") && !seen.is("Rotated") && role.logs_in(&role.password).await, "{what}");
        proxy.clear();
        let seen = stand.wait_rotated(&name, AFTER_A_PERSON).await;
        assert_eq!((seen.text("/status/evidence/by"), seen.text("/status/evidence/scope")), ("Us", "Target"), "{what}");
        assert!(!role.logs_in(&role.password).await && role.logs_in(&role.current(bao).await).await, "{what}");
        assert_eq!(stand.mails(&to, 1, SOON).await.len(), 1, "{what}");
    }
}

#[tokio::test]
async fn a_rotation_that_is_done_but_answered_with_an_error_is_not_done_twice() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let proxy = HttpProxy::start(bao.address()).unwrap();
    let role = RoleSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect(bao, &proxy.address(), &role.policy()).await;
    proxy.rule(ProxyRule::new("/rotate-role/", ProxyAction::DoneBut(500)).times(1));
    let to = format!("{}@v.example", unique("role"));
    stand.apply("role", &role_delivery("role", &to, &role, "1h", "1s", Value::Null));
    assert_eq!(stand.recipient(&to).await.open().await["password"], role.password);
    let seen = stand.wait_rotated("role", SOON).await;
    assert_eq!((seen.text("/status/evidence/by"), seen.text("/status/evidence/scope")), ("Us", "Target"));
    assert!(!role.logs_in(&role.password).await && role.logs_in(&role.current(bao).await).await);
    let rotations = proxy.requests().iter().filter(|r| r.path.contains("/rotate-role/")).count();
    assert_eq!(rotations, 1);
}

#[tokio::test]
async fn rights_that_were_taken_away_stall_the_rotation_until_they_are_back() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    let policy = unique("policy");
    bao.policy(&policy, &source.policy()).await.unwrap();
    let token = bao.token(&[&policy], &ps_testbed::TokenOptions::default()).await.unwrap();
    stand.connect(bao, bao.address(), &source.policy()).await;
    // The same rights, under a name that this test can change.
    stand.secret("vault", "token", &token.token);
    let (to, sender) = (format!("{}@v.example", unique("rights")), format!("{}@v.example", unique("sender")));
    let more = json!({"notify": {"email": sender, "events": ["Rotated"]}});
    stand.apply("shop", &kv_delivery("shop", &to, &source, "1h", "1s", more));
    let recipient = stand.recipient(&to).await;
    let read_only = format!("path \"{}/data/{}\" {{ capabilities = [\"read\"] }}", source.mount, source.path);
    bao.policy(&policy, &read_only).await.unwrap();
    assert_eq!(recipient.open().await["password"], source.password);
    let seen = stand.wait_status("shop", "the stall", SOON, |s| s.stalled().is_some()).await;
    let said = seen.condition("Stalled").2;
    assert!(said.contains(&format!("{}/data/{}", source.mount, source.path)) && said.contains("patch"), "{said}");
    assert_eq!(seen.condition("Rotated").1, "Stalled");
    let notice = stand.mail(&sender).await;
    assert!(!notice.text.unwrap_or_default().contains(&source.password), "a notice holds no secret");
    assert!(source.is_untouched(bao).await);
    bao.policy(&policy, &source.policy()).await.unwrap();
    stand.wait_rotated("shop", AFTER_A_PERSON).await;
    source.assert_replaced(bao).await;
    assert_eq!(stand.mails(&sender, 2, SOON).await.len(), 2, "stalled, then rotated");
}

#[tokio::test]
async fn a_connection_that_leads_to_another_server_rotates_nothing_there() {
    let (ours, theirs) = (Testbed::connect_or_start().unwrap().bao().await.unwrap(), OpenBao::raft().await.unwrap());
    let source = KvSource::new(ours).await;
    // Another server with the same path, where somebody else's credential lies.
    theirs.mount_kv2(&source.mount).await.unwrap();
    let data = json!({"username": "shop", "password": unique("theirs"), "other": "x"});
    theirs.kv_put(&source.mount, &source.path, data.clone()).await.unwrap();
    let stand = Stand::start(Setup::default()).await;
    stand.connect(ours, ours.address(), &source.policy()).await;
    let to = format!("{}@v.example", unique("moved"));
    stand.apply("shop", &kv_delivery("shop", &to, &source, "1h", "1s", Value::Null));
    let recipient = stand.recipient(&to).await;
    stand.wait_status("shop", "delivered", SOON, |s| s.is("Delivered")).await;

    stand.connect(&theirs, theirs.address(), &source.policy()).await;
    // The edit has been seen once something comes from there.
    let marker = format!("{}@v.example", unique("marker"));
    stand.apply("marker", &kv_delivery("marker", &marker, &source, "1h", "1h", Value::Null));
    assert_eq!(stand.recipient(&marker).await.open().await["password"], data["password"]);
    assert_eq!(recipient.open().await["password"], source.password);
    let changed = |s: &crate::support::Seen| s.stalled() == Some("ConnectionChanged");
    let seen = stand.wait_status("shop", "the other server", SOON, changed).await;
    let (_, _, said) = seen.condition("Stalled");
    assert!(said.starts_with("spec.address: ") && said.contains("Point it back"), "{said}");
    assert!(source.is_untouched(ours).await, "nothing is done on a guess");
    let there = theirs.kv_metadata(&source.mount, &source.path).await.unwrap();
    assert_eq!(
        (&there["current_version"], source.now(&theirs).await["password"].as_str()),
        (&json!(1), data["password"].as_str())
    );

    stand.connect(ours, ours.address(), &source.policy()).await;
    stand.wait_rotated("shop", AFTER_A_PERSON).await;
    source.assert_replaced(ours).await;
    let there = theirs.kv_metadata(&source.mount, &source.path).await.unwrap();
    assert_eq!(there["current_version"], 1, "{there}");
}

#[tokio::test]
async fn an_operator_killed_between_writing_and_destroying_leaves_neither_half_done_nor_done_twice() {
    let (bao, proxy, stand, first) = behind_a_proxy().await;
    // Written, and nobody was told; told, and not yet destroyed; destroyed, and nobody was told.
    let moments = [
        ("PATCH", "/data/", ProxyAction::DoneButHang, false),
        ("", "/destroy/", ProxyAction::Hang, false),
        ("", "/destroy/", ProxyAction::DoneButHang, true),
    ];
    for (method, kind, action, destroyed) in moments {
        let (source, name) = (KvSource::below(bao, &first.mount).await, unique("between").replace('_', "-"));
        let at = format!("{kind}{}", source.path);
        let rule = ProxyRule::new(&at, action);
        proxy.rule(if method.is_empty() { rule } else { rule.method(method) });
        let to = format!("{}@v.example", unique("between"));
        stand.apply(&name, &kv_delivery(&name, &to, &source, "1h", "1s", Value::Null));
        let recipient = stand.recipient(&to).await;
        assert_eq!(recipient.open().await["password"], source.password);
        let met = wait_until("the moment", SOON, async || {
            proxy.requests().iter().any(|r| r.path.contains(&at) && r.client.is_none()).then_some(())
        });
        met.await.unwrap();
        stand.kill();
        proxy.clear();
        let old = bao.kv_get(&source.mount, &source.path, 1).await.unwrap().unwrap();
        assert_eq!(old.metadata["destroyed"], json!(destroyed), "{kind}");
        assert_eq!(bao.kv_metadata(&source.mount, &source.path).await.unwrap()["current_version"], 2, "{kind}");
        stand.run().await;
        let seen = stand.wait_rotated(&name, SOON).await;
        source.assert_replaced(bao).await;
        assert_eq!((seen.text("/status/evidence/scope"), stand.mails(&to, 1, SOON).await.len()), ("Vault", 1));
    }
}
