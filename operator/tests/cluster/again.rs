//! Nothing is sent twice: applied again, replaced, restarted, wiped, restored, copied, made anew; and what is asked for is.

use ps_testbed::{Cluster, ClusterOptions, Fault, OpenBao, Phase, Testbed, unique, wait_until};
use serde_json::{Value, json};

use crate::stand::{Setup, Stand, name};
use crate::support::{Invitation, KvSource, Recipient, SOON, Seen, kv_delivery};
use crate::tools::said;

/// A delivery that was sent.
struct Scene {
    bao: &'static OpenBao,
    stand: Stand,
    source: KvSource,
    to: String,
    invitation: Invitation,
    recipient: Recipient,
}

impl Scene {
    async fn new(setup: Setup) -> Self {
        Self::new_on(setup, Testbed::connect_or_start().unwrap().cluster().await.unwrap()).await
    }

    async fn new_on(setup: Setup, cluster: &'static Cluster) -> Self {
        let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
        let (source, to) = (KvSource::new(bao).await, format!("{}@v.example", unique("again")));
        let stand = Stand::prepare_on(setup, cluster).await;
        stand.run().await;
        stand.connect(bao, &policy(&source)).await;
        stand.apply(&kv_delivery("shop", &to, &source, "1h", "1h", json!({}))).await;
        let invitation = Invitation::of(&stand.mail(&to).await);
        stand.wait_status("shop", "delivered", SOON, |s| s.is("Delivered")).await;
        let recipient = Recipient::new(&invitation);
        Self { bao, stand, source, to, invitation, recipient }
    }

    /// As it is in Git.
    fn manifest(&self, more: Value) -> String {
        self.stand.in_tenant(&kv_delivery("shop", &self.to, &self.source, "1h", "1h", more))
    }

    /// There are so many mails, and no more come: something that was applied later was worked on to its end.
    async fn assert_mails(&self, count: usize) {
        self.stand.something_later(self.bao, &self.source.mount).await;
        assert_eq!(self.stand.mails(&self.to, count, SOON).await.len(), count);
    }

    /// What a backup tool keeps.
    async fn backup(&self) -> Value {
        let text =
            self.stand.kubectl(&["get", "secretdelivery", "-n", &self.stand.tenant, "shop", "-o", "yaml"], "").await;
        let mut object: Value = serde_yaml::from_str(&text).unwrap();
        let meta = object["metadata"].as_object_mut().unwrap();
        for member in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
            meta.remove(member);
        }
        assert!(meta["annotations"]["passwordsender.io/stamp"].is_string());
        object
    }

    async fn delete(&self) {
        self.stand.delete("shop").await;
        self.stand.wait_gone(&self.stand.uri("shop"), SOON).await;
    }

    async fn set_status(&self, status: Value) {
        let path = format!("{}/status", self.stand.uri("shop"));
        self.stand.cluster.call("PATCH", &path, Some(&json!({"status": status}))).await.unwrap();
    }

    async fn wait_stalled(&self, reason: &str) -> Seen {
        self.stand.wait_status("shop", reason, SOON, |s| s.stalled() == Some(reason)).await
    }
}

/// Every secret of the source's mount.
fn policy(source: &KvSource) -> String {
    format!("path \"{}/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}", source.mount)
}

#[tokio::test]
async fn applied_again_replaced_restarted_and_wiped_it_is_the_same_delivery() {
    let scene = Scene::new(Setup { operators: 2, one_trail: true, ..Setup::default() }).await;
    let stand = &scene.stand;
    let uid = stand.object("shop").await["metadata"]["uid"].clone();
    for words in [
        &["apply", "--server-side", "--force-conflicts", "-f", "-"][..],
        &["apply", "-f", "-"],
        &["apply", "-f", "-"],
        &["replace", "-f", "-"],
    ] {
        stand.kubectl(words, &scene.manifest(json!({}))).await;
        scene.assert_mails(1).await;
    }
    // Replaced, it had neither stamp nor finalizer: both are put on it again.
    let stamped = async || {
        let meta = stand.object("shop").await["metadata"].clone();
        let stamp = meta["annotations"]["passwordsender.io/stamp"].is_string();
        (stamp && meta["finalizers"] == json!(["passwordsender.io/finalizer"])).then_some(())
    };
    wait_until("stamp and finalizer", SOON, stamped).await.unwrap_or_else(|e| panic!("{e}\n{}", stand.tails()));

    stand.restart_operators().await;
    scene.assert_mails(1).await;
    let leader = stand.leader().await;
    stand.operators[leader].kill();
    let other = 1 - leader;
    wait_until("another leader", SOON, async || (stand.leader().await == other).then_some(())).await.unwrap();
    scene.assert_mails(1).await;

    // Status is a projection: wiped, or written by somebody else, it comes back as it was.
    for status in [json!(null), json!({"summary": "Accepted", "attempt": 0, "conditions": []})] {
        scene.set_status(status).await;
        let seen = stand
            .wait_status("shop", "the status again", SOON, |s| s.summary() == "Delivered" && s.is("Delivered"))
            .await;
        assert_eq!(seen.attempt(), 1);
    }
    stand.operators[other].kill();
    scene.set_status(json!(null)).await;
    stand.start_operator(leader).await;
    stand.wait_status("shop", "the status again", SOON, |s| s.is("Delivered")).await;
    scene.assert_mails(1).await;
    assert_eq!(scene.recipient.lookup().await.state(), "open");
    assert_eq!(stand.object("shop").await["metadata"]["uid"], uid);

    // Asked for, it is sent again.
    stand.kubectl(&["apply", "-f", "-"], &scene.manifest(json!({"redeliver": "2"}))).await;
    let mails = stand.mails(&scene.to, 2, SOON).await;
    assert_eq!(scene.recipient.claim().await.state(), "revoked");
    let second = Recipient::new(&Invitation::of(&mails[1]));
    assert_eq!(second.open().await["password"], scene.source.now(scene.bao).await["password"]);
    scene.assert_mails(2).await;
}

#[tokio::test]
async fn an_object_that_is_restored_is_adopted_with_and_without_its_status() {
    let scene = Scene::new(Setup::default()).await;
    let stand = &scene.stand;
    let mut backup = scene.backup().await;
    let status = backup["status"].take();
    for with_status in [true, false] {
        scene.delete().await;
        stand.kubectl(&["create", "-f", "-"], &backup.to_string()).await;
        if with_status {
            scene.set_status(status.clone()).await;
        }
        let seen = scene.wait_stalled("AlreadyDelivered").await;
        assert!(seen.condition("Stalled").2.contains("redeliver"), "{:?}", seen.condition("Stalled"));
        assert!(!seen.is("Ready") && seen.condition("Retrieved").1 == "Revoked");
        stand.event(&stand.tenant, "shop", "Adopted").await;
        scene.assert_mails(1).await;
    }
    assert_eq!(scene.recipient.claim().await.state(), "revoked");
    scene.source.assert_replaced(scene.bao).await;
    stand.patch("shop", json!({"spec": {"redeliver": "2"}})).await;
    assert_eq!(stand.mails(&scene.to, 2, SOON).await.len(), 2);
}

#[tokio::test]
async fn a_copy_in_another_namespace_is_not_sent_until_its_stamp_is_gone() {
    let other = name("other");
    let scene = Scene::new(Setup { also: vec![other.clone()], ..Setup::default() }).await;
    let stand = &scene.stand;
    stand.new_tenant(&other).await;
    stand.connect_as(scene.bao, scene.bao.address(), &other, &policy(&scene.source), json!({})).await;
    let mut copy = scene.backup().await;
    copy["metadata"]["namespace"] = other.clone().into();
    copy["metadata"].as_object_mut().unwrap().remove("finalizers");
    stand.kubectl(&["apply", "-f", "-"], &copy.to_string()).await;
    let path = format!("/apis/passwordsender.io/v1alpha1/namespaces/{other}/secretdeliveries/shop");
    let seen = async |what: &str, is: &dyn Fn(&Seen) -> bool| {
        let seen = wait_until(what, SOON, async || {
            Some(Seen(stand.cluster.call("GET", &path, None).await.unwrap())).filter(|seen| is(seen))
        });
        seen.await.unwrap_or_else(|e| panic!("{e}\n{}", stand.tails()))
    };
    let copied = seen("known as a copy", &|s| s.stalled() == Some("Copied")).await;
    assert!(copied.condition("Stalled").2.contains("passwordsender.io/stamp"), "{:?}", copied.condition("Stalled"));
    assert!(copied.0["metadata"]["finalizers"].is_null());
    scene.assert_mails(1).await;
    assert_eq!(scene.recipient.lookup().await.state(), "open");

    let bare = json!({"metadata": {"annotations": {"passwordsender.io/stamp": null}}});
    stand.cluster.call("PATCH", &path, Some(&bare)).await.unwrap();
    seen("delivered", &|s| s.is("Delivered")).await;
    scene.assert_mails(2).await;
    assert_eq!(scene.recipient.lookup().await.state(), "open", "the first one is another delivery");
}

#[tokio::test]
async fn deleted_and_made_anew_as_git_does_is_sent_only_if_asked() {
    let scene = Scene::new(Setup::default()).await;
    let stand = &scene.stand;
    scene.delete().await;
    stand.kubectl(&["apply", "-f", "-"], &scene.manifest(json!({}))).await;
    let seen = scene.wait_stalled("AlreadyDelivered").await;
    assert!(seen.condition("Stalled").2.contains("redeliver"), "{:?}", seen.condition("Stalled"));
    stand.event(&stand.tenant, "shop", "AlreadyDelivered").await;
    scene.assert_mails(1).await;
    stand.kubectl(&["apply", "-f", "-"], &scene.manifest(json!({"redeliver": "again"}))).await;
    let mails = stand.mails(&scene.to, 2, SOON).await;
    let now = scene.source.now(scene.bao).await;
    assert_eq!(Recipient::new(&Invitation::of(&mails[1])).open().await["password"], now["password"]);

    // The same with everything in it: what was handled once is not news in a new object.
    scene.delete().await;
    stand.kubectl(&["apply", "-f", "-"], &scene.manifest(json!({"redeliver": "again"}))).await;
    scene.wait_stalled("AlreadyDelivered").await;
    scene.assert_mails(2).await;

    scene.delete().await;
    let asks = scene.manifest(json!({"redeliver": "again", "onRecreate": "Send"}));
    stand.kubectl(&["apply", "-f", "-"], &asks).await;
    assert_eq!(stand.mails(&scene.to, 3, SOON).await.len(), 3);
    stand.wait_status("shop", "delivered", SOON, |s| s.is("Delivered") && s.is("Ready")).await;
    stand.kubectl(&["apply", "-f", "-"], &asks).await;
    scene.assert_mails(3).await;
}

#[tokio::test]
async fn made_anew_it_is_sent_to_somebody_else_and_from_another_source() {
    let scene = Scene::new(Setup::default()).await;
    let stand = &scene.stand;
    scene.delete().await;
    // Or the rotation that is owed would withdraw the next link.
    stand.wait_nothing_owed(SOON).await;
    // Neither asks for it by `redeliver`: what was delivered before went to somebody else, or was something else.
    let (other, source) =
        (format!("{}@v.example", unique("other")), KvSource::below(scene.bao, &scene.source.mount).await);
    let manifest = stand.in_tenant(&kv_delivery("shop", &other, &scene.source, "1h", "1h", json!({})));
    stand.kubectl(&["apply", "-f", "-"], &manifest).await;
    let password = stand.recipient(&other).await.open().await["password"].clone();
    assert_eq!(password, scene.source.now(scene.bao).await["password"]);
    scene.assert_mails(1).await;

    scene.delete().await;
    stand.kubectl(&["apply", "-f", "-"], &manifest).await;
    scene.wait_stalled("AlreadyDelivered").await;
    scene.delete().await;
    stand.wait_nothing_owed(SOON).await;
    let manifest = stand.in_tenant(&kv_delivery("shop", &other, &source, "1h", "1h", json!({})));
    stand.kubectl(&["apply", "-f", "-"], &manifest).await;
    let mails = stand.mails(&other, 2, SOON).await;
    assert_eq!(Recipient::new(&Invitation::of(&mails[1])).open().await["password"], source.password);
    scene.assert_mails(1).await;
    assert_eq!(stand.mails(&other, 2, SOON).await.len(), 2);
}

#[tokio::test]
async fn made_anew_what_no_mail_server_ever_accepted_is_sent() {
    let scene = Scene::new(Setup::default()).await;
    let stand = &scene.stand;
    let smtp = Testbed::connect_or_start().unwrap().smtp().await.unwrap();
    let (to, source) =
        (format!("{}@v.example", unique("never")), KvSource::below(scene.bao, &scene.source.mount).await);
    smtp.fault(&Fault::reply(Phase::Rcpt, 550, "5.1.1 no such mailbox").times(1).only_for(&to)).await.unwrap();
    let manifest = stand.in_tenant(&kv_delivery("never", &to, &source, "1h", "1h", json!({})));
    stand.kubectl(&["apply", "-f", "-"], &manifest).await;
    let refused = stand.wait_status("never", "refused", SOON, |s| s.stalled() == Some("MailRefused")).await;
    assert_eq!(refused.attempt(), 1, "there is an entry, with an attempt");
    stand.delete("never").await;
    stand.wait_gone(&stand.uri("never"), SOON).await;
    stand.wait_nothing_owed(SOON).await;
    stand.kubectl(&["apply", "-f", "-"], &manifest).await;
    let seen = stand.wait_status("never", "delivered", SOON, |s| s.is("Delivered") || s.stalled().is_some()).await;
    assert_eq!((seen.stalled(), seen.attempt()), (None, 2), "the same entry, and nothing in its way");
    let password = stand.recipient(&to).await.open().await["password"].clone();
    assert_eq!(password, source.now(scene.bao).await["password"]);
    assert_eq!(stand.mails(&to, 1, SOON).await.len(), 1);
}

#[tokio::test]
async fn without_its_ledger_nothing_is_sent() {
    let scene = Scene::new(Setup::default()).await;
    let stand = &scene.stand;
    stand.operators[0].stop();
    let words = ["delete", "secret", "-n", &stand.names.own, "-l", "app.kubernetes.io/component=ledger"];
    let deleted = stand.kubectl(&words, "").await;
    assert!(deleted.lines().count() >= 2, "an entry and the common one: {deleted}");
    // The trail knows better, and says so.
    stand.start_operator(0).await;
    wait_until("its end", SOON, async || (!stand.operators[0].is_up()).then_some(())).await.unwrap();
    assert!(stand.operators[0].log_text().contains("the audit trail belongs to another ledger"), "{}", stand.tails());
    // One that lay in the pod went with it.
    std::fs::remove_file(stand.path("audit-0.jsonl")).unwrap();
    stand.start_operator(0).await;
    let seen = scene.wait_stalled("LedgerLost").await;
    assert!(seen.condition("Stalled").2.contains("passwordsender.io/stamp"), "{:?}", seen.condition("Stalled"));
    scene.assert_mails(1).await;
    assert!(scene.source.is_untouched(scene.bao).await);
}

/// The cluster's storage is put back to before a claim, under programs that run, or while none does.
async fn restored_from_before_a_claim(running: bool) {
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(ClusterOptions::default()).await.unwrap()));
    let scene = Scene::new_on(Setup::default(), cluster).await;
    let stand = &scene.stand;
    let snapshot = stand.path("snapshot");
    cluster.etcd_snapshot(&snapshot).await.unwrap();
    assert_eq!(scene.recipient.open().await["password"], scene.source.password);
    stand.wait_audited("shop", "Claimed").await;
    if !running {
        stand.operators[0].stop();
        stand.gateways[0].kill();
    }
    cluster.etcd_restore(&snapshot).await.unwrap();
    if !running {
        stand.start_gateway(0).await;
        stand.start_operator(0).await;
    }
    // The link is open in the backup. Nobody gets it.
    let second = Recipient::new(&scene.invitation);
    let refused = wait_until("the link to be withdrawn", SOON, async || {
        let answer = second.try_claim().await?;
        assert_ne!(answer.status, 200, "it was opened twice");
        (answer.state() == "revoked").then_some(())
    });
    refused.await.unwrap_or_else(|e| panic!("{e}\n{}", stand.tails()));
    // An hour was promised; but who opened it since the backup, nobody knows.
    stand.wait_rotated("shop", SOON).await;
    scene.source.assert_replaced(scene.bao).await;

    // What is new waits for a person.
    let (to, source) =
        (format!("{}@v.example", unique("later")), KvSource::below(scene.bao, &scene.source.mount).await);
    stand.apply(&kv_delivery("later", &to, &source, "1h", "1h", json!({}))).await;
    let seen = stand.wait_status("later", "held", SOON, |s| s.stalled() == Some("Restored")).await;
    assert!(seen.condition("Stalled").2.contains("restore accept"), "{:?}", seen.condition("Stalled"));
    let told = said(stand.command(0, &["restore", "accept"]).await);
    assert!(told.starts_with("accepted: "), "{told}");
    assert_eq!(stand.recipient(&to).await.open().await["password"], source.password);
    scene.assert_mails(1).await;
    stand.operators[0].stop();
}

#[tokio::test]
async fn a_cluster_restored_under_a_running_operator_is_noticed() {
    restored_from_before_a_claim(true).await;
}

#[tokio::test]
async fn a_cluster_restored_while_nobody_looked_is_noticed() {
    restored_from_before_a_claim(false).await;
}
