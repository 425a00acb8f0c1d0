//! Links that end without a happy reader: refused at the gateway, erased from the files, and the credential rotated.

use std::time::{Duration, Instant};

use ps_core::ports::LinkStore as _;
use ps_store::EmbeddedStore;
use ps_testbed::{OpenBao, Testbed, unique, wait_until};
use serde_json::{Value, json};

use crate::support::{KvSource, PAST_TTL, Recipient, SOON, Setup, Stand, holds, kv_delivery};

/// A link that is delivered and still open, with bytes by which its ciphertext is found in files.
struct Open {
    name: String,
    to: String,
    source: KvSource,
    recipient: Recipient,
    ciphertext: Vec<u8>,
}

/// An operator with one KV mount, and links on it.
async fn stand_with(bao: &OpenBao, names: &[&str], ttl: &str, after: &str) -> (Stand, Vec<Open>) {
    let stand = Stand::start(Setup::default()).await;
    let first = KvSource::new(bao).await;
    let mut sources = Vec::new();
    for _ in names {
        sources.push(KvSource::below(bao, &first.mount).await);
    }
    let policy: String = sources.iter().map(KvSource::policy).collect();
    stand.connect(bao, bao.address(), &policy).await;
    let to: Vec<String> = names.iter().map(|name| format!("{}@v.example", unique(name))).collect();
    for ((name, to), source) in names.iter().zip(&to).zip(&sources) {
        stand.apply(name, &kv_delivery(name, to, source, ttl, after, told_of_declines(to)));
    }
    let mut open = Vec::new();
    for ((name, to), source) in names.iter().zip(to).zip(sources) {
        let recipient = stand.recipient(&to).await;
        let ciphertext = ciphertext(&stand, &recipient).await;
        assert!(holds(&stand.path("data/links"), &ciphertext), "the search must find what is there");
        assert_eq!(recipient.lookup().await.state(), "open");
        open.push(Open { name: (*name).to_owned(), to, source, recipient, ciphertext });
    }
    (stand, open)
}

/// The sender wants to know of declines, and of nothing else.
fn told_of_declines(to: &str) -> Value {
    json!({"notify": {"email": sender(to), "events": ["Declined"]}})
}

fn sender(to: &str) -> String {
    format!("sender.{to}")
}

/// One mail, and its words are those of a decline.
async fn assert_sender_told(stand: &Stand, link: &Open) {
    let told = stand.mails(&sender(&link.to), 1, SOON).await;
    let [mail] = told.as_slice() else { panic!("{}: {told:?}", link.name) };
    let (subject, text) = (&mail.subject, mail.text.as_deref().unwrap());
    let says = "The recipient says that the credential was not meant for them";
    assert!(subject.starts_with(says) && subject.ends_with(&link.name), "{subject}");
    assert!(text.contains(says) && text.contains("The recipient says that it was not meant for them."), "{text}");
    assert!(!text.contains(&link.to) && !text.contains("#ps1.") && !text.contains(&link.source.password), "{text}");
}

/// The first bytes of a ciphertext, read from the store beside the operator.
async fn ciphertext(stand: &Stand, recipient: &Recipient) -> Vec<u8> {
    let store = EmbeddedStore::open(&stand.path("data/links")).unwrap();
    let record = store.get(recipient.id()).await.unwrap().unwrap();
    record.value.link().unwrap().ciphertext.as_ref().unwrap()[..40].to_vec()
}

/// Refused, and gone from the store's files.
async fn assert_over(stand: &Stand, link: &Open, state: &str) {
    let claim = link.recipient.claim().await;
    assert_eq!((claim.status, claim.code(), claim.state()), (410, "gone", state), "{}: {:?}", link.name, claim.body);
    assert_eq!(link.recipient.claim_again().await.status, 410, "{}", link.name);
    let folder = stand.path("data/links");
    wait_until("the ciphertext to be gone", Duration::from_secs(10), async || {
        (!holds(&folder, &link.ciphertext)).then_some(())
    })
    .await
    .unwrap_or_else(|e| panic!("{}: {e}", link.name));
}

#[tokio::test]
async fn a_link_that_nobody_opens_expires_and_its_credential_is_replaced() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let (stand, open) = stand_with(bao, &["forgotten", "kept"], "1m", "1h").await;
    let start = Instant::now();
    stand.apply(
        "kept",
        &kv_delivery("kept", &open[1].to, &open[1].source, "1m", "1h", json!({"rotation": {"onExpiry": false}})),
    );
    // Later edits only bring rotation forward, never call it off: the terms are those of the attempt.
    stand.wait_rotated("forgotten", PAST_TTL).await;
    assert!(start.elapsed() > Duration::from_secs(50), "{:?}", start.elapsed());
    stand.wait_rotated("kept", SOON).await;
    for link in &open {
        let seen = stand.status(&link.name);
        assert_eq!(seen.condition("Retrieved").1, "Expired");
        assert_over(&stand, link, "expired").await;
        link.source.assert_replaced(bao).await;
        assert_eq!(stand.mails(&link.to, 1, SOON).await.len(), 1);
    }
}

#[tokio::test]
async fn without_on_expiry_an_unopened_credential_stays() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect(bao, bao.address(), &source.policy()).await;
    let to = format!("{}@v.example", unique("kept"));
    let more = json!({"rotation": {"onExpiry": false}});
    stand.apply("kept", &kv_delivery("kept", &to, &source, "1m", "1h", more));
    let recipient = stand.recipient(&to).await;
    let seen = stand
        .wait_status("kept", "expired", PAST_TTL, |s| {
            s.condition("Retrieved").1 == "Expired" && s.summary() == "Expired"
        })
        .await;
    assert_eq!(recipient.claim().await.state(), "expired");
    assert_eq!(seen.condition("Rotated").1, "NotDue");
    assert!(source.is_untouched(bao).await);
}

#[tokio::test]
async fn revoked_declined_and_removed_links_end_at_once() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let names = ["revoked", "declined", "removed"];
    let (stand, open) = stand_with(bao, &names, "1h", "1h").await;
    let [revoked, declined, removed] = open.as_slice() else { panic!("three") };
    let mut more = told_of_declines(&revoked.to);
    more["revoked"] = true.into();
    stand.apply("revoked", &kv_delivery("revoked", &revoked.to, &revoked.source, "1h", "1h", more));
    stand.remove("removed");
    assert_eq!(declined.recipient.decline().await.state(), "declined");

    stand.wait_rotated("declined", SOON).await;
    assert_eq!(stand.status("declined").condition("Retrieved").1, "Declined");
    assert_over(&stand, declined, "declined").await;
    declined.source.assert_replaced(bao).await;
    assert_sender_told(&stand, declined).await;

    stand.wait_rotated("revoked", SOON).await;
    assert_eq!(stand.status("revoked").condition("Retrieved").1, "Revoked");
    assert_over(&stand, revoked, "revoked").await;
    revoked.source.assert_replaced(bao).await;

    // A file's absence is believed after ten seconds; then its status file goes, and the ledger does the rest.
    wait_until("the removed one's rotation", SOON, async || {
        (!removed.source.is_untouched(bao).await && stand.audited("removed", "Rotated") == 1).then_some(())
    })
    .await
    .unwrap();
    assert_over(&stand, removed, "revoked").await;
    removed.source.assert_replaced(bao).await;
    wait_until("the status file to go", SOON, async || stand.status("removed").0.is_null().then_some(()))
        .await
        .unwrap();
    for other in [revoked, removed] {
        assert_eq!(stand.mails(&sender(&other.to), 0, SOON).await.len(), 0, "{}: nobody declined it", other.name);
    }
}

#[tokio::test]
async fn revoked_or_declined_while_claimed_is_erased_at_once_and_rotated_before_its_time() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let (stand, open) = stand_with(bao, &["revoked", "declined", "disputed"], "1h", "1h").await;
    for link in &open {
        assert_eq!(link.recipient.open().await["password"], link.source.password);
        let waiting = |s: &crate::support::Seen| s.is("Retrieved") && s.condition("Rotated").1 == "Due";
        stand.wait_status(&link.name, "claimed", SOON, waiting).await;
        assert!(link.source.is_untouched(bao).await, "an hour was promised");
        assert!(holds(&stand.path("data/links"), &link.ciphertext), "it may be claimed again");
    }
    let [revoked, declined, disputed] = open.as_slice() else { panic!("three") };
    let mut more = told_of_declines(&revoked.to);
    more["revoked"] = true.into();
    let manifest = kv_delivery("revoked", &revoked.to, &revoked.source, "1h", "1h", more);
    stand.apply("revoked", &manifest);
    assert_eq!(declined.recipient.decline().await.state(), "declined");
    assert_eq!(disputed.recipient.acknowledge().await.state(), "retrieved");
    assert_eq!(disputed.recipient.decline().await.state(), "retrieved");
    for (link, state) in [(revoked, "revoked"), (declined, "declined"), (disputed, "retrieved")] {
        stand.wait_rotated(&link.name, SOON).await;
        assert_over(&stand, link, state).await;
        link.source.assert_replaced(bao).await;
    }
    assert_eq!(stand.status("disputed").condition("Retrieved").1, "Disputed");
    for link in [declined, disputed] {
        assert_sender_told(&stand, link).await;
    }
}
