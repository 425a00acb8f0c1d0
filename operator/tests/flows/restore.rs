//! Applied again, restarted, restored, copied, made anew: nothing is sent again unless somebody asks for it.

use std::fs;

use ps_testbed::{OpenBao, Testbed, unique, wait_until};
use serde_json::{Value, json};

use crate::support::{Invitation, KvSource, Recipient, SOON, Seen, Setup, Stand, copy_tree, kv_delivery};

struct Scene {
    bao: &'static OpenBao,
    stand: Stand,
    source: KvSource,
    to: String,
}

impl Scene {
    async fn new(setup: Setup) -> Self {
        let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
        let source = KvSource::new(bao).await;
        let stand = Stand::start(setup).await;
        let anywhere = format!("path \"{}/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}", source.mount);
        stand.connect(bao, bao.address(), &anywhere).await;
        Self { bao, stand, source, to: format!("{}@v.example", unique("restore")) }
    }

    fn manifest(&self, after: &str, more: Value) -> String {
        kv_delivery("shop", &self.to, &self.source, "1h", after, more)
    }

    async fn invitation(&self) -> Invitation {
        let invitation = Invitation::of(&self.stand.mail(&self.to).await);
        self.stand.wait_status("shop", "delivered", SOON, |s| s.is("Delivered")).await;
        invitation
    }

    /// There are so many mails, and no more come: something applied later is worked on to its end (delivered, or held by a
    /// restore), and the delivery rests.
    async fn assert_mails(&self, count: usize) {
        let (later, source) = (unique("later").replace('_', "-"), KvSource::below(self.bao, &self.source.mount).await);
        self.stand.apply(&later, &kv_delivery(&later, &format!("{later}@v.example"), &source, "1h", "1h", json!({})));
        let done = |s: &Seen| s.is("Delivered") || s.stalled().is_some();
        self.stand.wait_status(&later, "something later", SOON, done).await;
        self.stand.wait_rests("shop").await;
        assert_eq!(self.stand.mails(&self.to, count, SOON).await.len(), count);
    }

    /// Replaces the data folder by a copy that was made before.
    fn restore(&self, backup: &std::path::Path) {
        fs::remove_dir_all(self.stand.path("data")).unwrap();
        copy_tree(backup, &self.stand.path("data"));
    }
}

#[tokio::test]
async fn applying_again_and_restarting_send_nothing_and_redeliver_sends() {
    let scene = Scene::new(Setup::default()).await;
    let stand = &scene.stand;
    stand.apply("shop", &scene.manifest("1h", json!({})));
    let first = Recipient::new(&scene.invitation().await);
    for _ in 0..3 {
        stand.apply("shop", &scene.manifest("1h", json!({})));
        scene.assert_mails(1).await;
    }
    stand.restart().await;
    fs::rename(stand.manifest("shop"), stand.manifest("renamed")).unwrap();
    // Status is a projection: without it, the same again.
    fs::write(stand.path("manifests/shop.status.yaml"), "junk: [").unwrap();
    stand.kill();
    stand.run().await;
    scene.assert_mails(1).await;
    stand.wait_status("shop", "the status again", SOON, |s| s.summary() == "Delivered" && s.attempt() == 1).await;
    assert_eq!(first.lookup().await.state(), "open");

    stand.apply("renamed", &scene.manifest("1h", json!({"redeliver": "2"})));
    let mails = stand.mails(&scene.to, 2, SOON).await;
    assert_eq!(first.claim().await.state(), "revoked");
    assert_ne!(mails[0].message_id, mails[1].message_id);
    let second = Recipient::new(&Invitation::of(&mails[1]));
    assert_eq!(second.open().await["password"], scene.source.now(scene.bao).await["password"]);
    stand.restart().await;
    scene.assert_mails(2).await;
}

#[tokio::test]
async fn what_a_killed_operator_owed_is_met_by_the_next_one() {
    let scene = Scene::new(Setup::default()).await;
    let stand = &scene.stand;
    stand.apply("shop", &scene.manifest("2s", json!({})));
    let recipient = Recipient::new(&scene.invitation().await);
    // The first one is killed between the claim and the rotation: the next one owes it.
    recipient.open().await;
    stand.kill();
    stand.run().await;
    stand.wait_rotated("shop", SOON).await;
    scene.source.assert_replaced(scene.bao).await;
    scene.assert_mails(1).await;
}

#[tokio::test]
async fn a_backup_from_before_the_claim_is_noticed_by_the_audit_trail() {
    let scene = Scene::new(Setup { audit_elsewhere: true, ..Setup::default() }).await;
    let stand = &scene.stand;
    stand.apply("shop", &scene.manifest("1h", json!({})));
    let invitation = scene.invitation().await;
    stand.stop();
    copy_tree(&stand.path("data"), &stand.path("backup"));
    stand.run().await;
    let claimant = Recipient::new(&invitation);
    assert_eq!(claimant.open().await["password"], scene.source.password);
    wait_until("the claim on the trail", SOON, async || (stand.audited("shop", "Claimed") == 1).then_some(()))
        .await
        .unwrap();
    stand.stop();
    scene.restore(&stand.path("backup"));
    stand.run().await;

    // The link in the backup is open again; nobody gets it, and the credential is replaced though an hour was promised.
    assert_eq!(Recipient::new(&invitation).claim().await.state(), "revoked");
    stand.wait_rotated("shop", SOON).await;
    scene.source.assert_replaced(scene.bao).await;
    scene.assert_mails(1).await;

    // Something new waits for a person.
    let other = KvSource::below(scene.bao, &scene.source.mount).await;
    let to = format!("{}@v.example", unique("later"));
    stand.apply("later", &kv_delivery("later", &to, &other, "1h", "1h", Value::Null));
    let held = |s: &Seen| s.stalled() == Some("Restored");
    let seen = stand.wait_status("later", "held", SOON, held).await;
    assert!(seen.condition("Stalled").2.contains("restore accept"), "{:?}", seen.condition("Stalled"));
    let mut accept = stand.command(&["restore", "accept"]);
    let done = accept.arg("--data").arg(stand.path("data")).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(stand.recipient(&to).await.open().await["password"], other.password);
    scene.assert_mails(1).await;
}

#[tokio::test]
async fn a_backup_from_before_the_rotation_is_noticed_by_the_source() {
    let scene = Scene::new(Setup::default()).await;
    let stand = &scene.stand;
    stand.apply("shop", &scene.manifest("1s", json!({})));
    let invitation = scene.invitation().await;
    stand.stop();
    copy_tree(&stand.path("data"), &stand.path("backup"));
    stand.run().await;
    Recipient::new(&invitation).open().await;
    stand.wait_rotated("shop", SOON).await;
    stand.stop();
    // The audit trail was in the data folder and is as old as the rest: only Vault knows better.
    scene.restore(&stand.path("backup"));
    stand.run().await;
    assert_eq!(Recipient::new(&invitation).claim().await.state(), "revoked");
    let seen = stand.wait_rotated("shop", SOON).await;
    assert_eq!(seen.text("/status/evidence/by"), "Other");
    scene.source.assert_replaced(scene.bao).await;
    scene.assert_mails(1).await;
}

#[tokio::test]
async fn deleted_and_made_anew_is_not_sent_again_unless_asked() {
    let scene = Scene::new(Setup::default()).await;
    let stand = &scene.stand;
    stand.apply("shop", &scene.manifest("1h", json!({})));
    let first = Recipient::new(&scene.invitation().await);
    stand.remove("shop");
    wait_until("its rotation", SOON, async || (stand.audited("shop", "Rotated") == 1).then_some(())).await.unwrap();
    assert_eq!(first.claim().await.state(), "revoked");
    wait_until("its release", SOON, async || stand.status("shop").0.is_null().then_some(())).await.unwrap();

    stand.apply("shop", &scene.manifest("1h", json!({})));
    let seen = stand.wait_status("shop", "held", SOON, |s| s.stalled() == Some("AlreadyDelivered")).await;
    assert!(seen.condition("Stalled").2.contains("redeliver"), "{:?}", seen.condition("Stalled"));
    scene.assert_mails(1).await;
    assert_eq!((stand.audited("shop", "Held"), stand.audited("shop", "Adopted")), (1, 0), "nothing said who it was");

    stand.apply("shop", &scene.manifest("1h", json!({"redeliver": "again"})));
    let mails = stand.mails(&scene.to, 2, SOON).await;
    let fields = Recipient::new(&Invitation::of(&mails[1])).open().await;
    assert_eq!(fields["password"], scene.source.now(scene.bao).await["password"]);
}

#[tokio::test]
async fn removed_and_put_back_with_its_stamp_it_is_adopted_and_sends_nothing() {
    let scene = Scene::new(Setup::default()).await;
    let stand = &scene.stand;
    stand.apply("shop", &scene.manifest("1h", json!({})));
    let first = Recipient::new(&scene.invitation().await);
    let status = stand.path("manifests/shop.status.yaml");
    let stamped = fs::read_to_string(&status).unwrap();
    assert!(stamped.contains("passwordsender.io/stamp"), "{stamped}");
    let put_back = |more: Value| {
        fs::write(&status, &stamped).unwrap();
        stand.apply("shop", &scene.manifest("1h", more));
    };
    // Back before its absence is believed: nothing has happened.
    stand.remove("shop");
    fs::remove_file(&status).unwrap();
    put_back(json!({}));
    scene.assert_mails(1).await;
    assert_eq!((first.lookup().await.state(), stand.audited("shop", "Removed")), ("open", 0));

    // Back after its withdrawal, with a wish that is of another time: it is known by its stamp, and asks for nothing.
    stand.remove("shop");
    wait_until("its rotation", SOON, async || (stand.audited("shop", "Rotated") == 1).then_some(())).await.unwrap();
    assert_eq!(first.claim().await.state(), "revoked");
    wait_until("its release", SOON, async || stand.status("shop").0.is_null().then_some(())).await.unwrap();
    put_back(json!({"redeliver": "from the backup"}));
    let held = |s: &Seen| s.stalled() == Some("AlreadyDelivered");
    let seen = stand.wait_status("shop", "held", SOON, held).await;
    assert!(seen.condition("Stalled").2.contains("redeliver"), "{:?}", seen.condition("Stalled"));
    assert_eq!((stand.audited("shop", "Adopted"), stand.audited("shop", "Held")), (1, 0));
    scene.assert_mails(1).await;
    stand.restart().await;
    scene.assert_mails(1).await;
    assert_eq!((first.claim().await.state(), stand.audited("shop", "Issued")), ("revoked", 1));

    stand.apply("shop", &scene.manifest("1h", json!({"redeliver": "now"})));
    let mails = stand.mails(&scene.to, 2, SOON).await;
    let fields = Recipient::new(&Invitation::of(&mails[1])).open().await;
    assert_eq!(fields["password"], scene.source.now(scene.bao).await["password"]);
}

#[tokio::test]
async fn copies_and_lost_ledgers_are_told_apart_from_new_deliveries() {
    let scene = Scene::new(Setup::default()).await;
    let stand = &scene.stand;
    stand.apply("shop", &scene.manifest("1h", json!({})));
    scene.invitation().await;
    let stamp = stand.status("shop").0.pointer("/metadata/annotations/passwordsender.io~1stamp").cloned().unwrap();

    // A copy of the object, annotation and all, under another name.
    let mut copy: Value = serde_yaml::from_str(&scene.manifest("1h", json!({}))).unwrap();
    copy["metadata"] = json!({"name": "copy", "annotations": {"passwordsender.io/stamp": stamp}});
    stand.apply("copy", &serde_yaml::to_string(&copy).unwrap());
    let seen = stand.wait_status("copy", "known as a copy", SOON, |s| s.stalled() == Some("Copied")).await;
    assert!(seen.condition("Stalled").2.contains("passwordsender.io/stamp"), "{:?}", seen.condition("Stalled"));
    scene.assert_mails(1).await;

    // The data folder is gone, the manifests with their stamps are not.
    stand.remove("copy");
    stand.stop();
    fs::remove_dir_all(stand.path("data")).unwrap();
    fs::create_dir(stand.path("data")).unwrap();
    stand.run().await;
    stand.wait_status("shop", "the lost ledger", SOON, |s| s.stalled() == Some("LedgerLost")).await;
    scene.assert_mails(1).await;
}
