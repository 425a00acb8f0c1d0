//! A gateway that was taken over has write access to `links/` and nothing else. The test plays it.

use ps_core::ids::Digest;
use ps_core::link::{Claim, Decline, JournalEntry, JournalEvent, Link, Record, State};
use ps_core::ports::LinkStore as _;
use ps_core::time::{Span, Timestamp};
use ps_store::EmbeddedStore;
use ps_testbed::{Testbed, unique};
use serde_json::Value;

use crate::support::{Invitation, KvSource, Needle, Recipient, SOON, Search, Seen, Setup, Stand, kv_delivery};

/// What the attacker does to an open record; `None` deletes it.
type Attack = fn(&mut Link) -> Option<Record>;

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

fn note(link: &mut Link, event: JournalEvent) {
    let seq = u32::try_from(link.journal.len()).unwrap();
    link.journal.push(JournalEntry { seq, at: now(), event });
}

fn keep(link: &Link) -> Option<Record> {
    Some(Record::Link(Box::new(link.clone())))
}

fn erase(link: &mut Link) {
    (link.ciphertext, link.preview) = (None, None);
}

/// Each with the code by which the operator must name it.
const ATTACKS: [(&str, &str, Attack); 9] = [
    ("forged-claim", "forged-preimage", |link| {
        link.claim = Some(Claim { proof: [7; 32], token_hash: Digest([7; 32]), at: now() });
        link.state = State::Claimed;
        note(link, JournalEvent::Claimed);
        keep(link)
    }),
    ("forged-decline", "forged-preimage", |link| {
        link.decline = Some(Decline { preimage: [7; 32], at: now() });
        link.state = State::Declined;
        erase(link);
        note(link, JournalEvent::Declined);
        keep(link)
    }),
    ("claim-without-claim", "forged-preimage", |link| {
        link.state = State::Claimed;
        note(link, JournalEvent::Claimed);
        keep(link)
    }),
    ("forged-revocation", "forged-revocation", |link| {
        link.state = State::Revoked;
        erase(link);
        note(link, JournalEvent::Revoked);
        keep(link)
    }),
    ("other-ciphertext", "content-altered", |link| {
        link.ciphertext.as_mut().unwrap()[0] ^= 1;
        keep(link)
    }),
    ("other-hash", "record-altered", |link| {
        link.sealed.access = Digest([7; 32]);
        keep(link)
    }),
    ("longer-life", "expiry-extended", |link| {
        link.expires_at = link.sealed.not_after + Span::from_secs(3600);
        keep(link)
    }),
    ("voided", "record-voided", |link| Some(Record::Void { id: link.sealed.id })),
    ("deleted", "record-missing", |_| None),
];

#[tokio::test]
async fn forged_and_altered_records_are_not_believed_and_end_in_a_rotation() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let stand = Stand::start(Setup::default()).await;
    let first = KvSource::new(bao).await;
    let anywhere = format!("path \"{}/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}", first.mount);
    stand.connect(bao, bao.address(), &anywhere).await;
    let mut victims = Vec::new();
    for (name, ..) in ATTACKS {
        let (source, to) = (KvSource::below(bao, &first.mount).await, format!("{}@v.example", unique("victim")));
        stand.apply(name, &kv_delivery(name, &to, &source, "1h", "1h", Value::Null));
        victims.push((source, to));
    }
    let mut links = Vec::new();
    for ((name, ..), (_, to)) in ATTACKS.iter().zip(&victims) {
        links.push(Invitation::of(&stand.mail(to).await));
        stand.wait_status(name, "delivered", SOON, |s| s.is("Delivered")).await;
    }

    // Nothing but ciphertext is to be had: no value, no link, no opening code, no person, no place.
    for ((source, to), invitation) in victims.iter().zip(&links) {
        let secrets =
            [&source.password, &source.path, &source.mount, to, &invitation.code, &invitation.code.replace('-', "")];
        let secrets =
            secrets.into_iter().map(String::as_str).chain([invitation.fragment(), "Database of the web shop"]);
        let search = Search::new(secrets.map(|secret| Needle::new(secret, secret)).collect());
        search.assert_it_finds_what_is_there();
        assert_eq!(search.found_below(&stand.path("data/links")), [""; 0]);
    }

    let store = EmbeddedStore::open(&stand.path("data/links")).unwrap();
    for ((name, _, attack), invitation) in ATTACKS.iter().zip(&links) {
        let id = Recipient::new(invitation).id();
        let found = store.get(id).await.unwrap().unwrap();
        let mut link = found.value.link().unwrap().clone();
        let done = match attack(&mut link) {
            Some(record) => store.replace(&record, found.version).await.map(drop),
            None => store.delete(id, found.version).await,
        };
        done.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    drop(store);

    for (((name, code, _), (source, to)), invitation) in ATTACKS.iter().zip(&victims).zip(&links) {
        let seen = stand.wait_rotated(name, SOON * 2).await;
        assert_eq!(seen.condition("Retrieved").0, "False", "{name}: nobody opened it");
        assert_eq!((stand.audited(name, "Tampered"), stand.audited(name, "Claimed")), (1, 0), "{name}");
        let trail = std::fs::read_to_string(stand.audit_file()).unwrap();
        let told = trail.lines().any(|l| l.contains(&format!("\"{name}\"")) && l.contains(code));
        assert!(told, "{name}: the trail does not say {code}");
        source.assert_replaced(bao).await;
        let answer = Recipient::new(invitation).claim().await;
        assert!(matches!(answer.status, 404 | 410), "{name}: {:?}", answer.body);
        assert_eq!(stand.mails(to, 1, SOON).await.len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_gateway_that_was_killed_is_started_again_and_loses_nothing() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect(bao, bao.address(), &source.policy()).await;
    let to = format!("{}@v.example", unique("killed"));
    stand.apply("shop", &kv_delivery("shop", &to, &source, "1h", "1s", Value::Null));
    let recipient = stand.recipient(&to).await;
    let before = stand.gateway_pid();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(before.cast_signed()), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    let answer = ps_testbed::wait_until("the new gateway", SOON, async || {
        let answer = recipient.try_claim().await?;
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(recipient.unseal(&answer.await.unwrap())["password"], source.password);
    assert_ne!(stand.gateway_pid(), before);
    let seen: Seen = stand.wait_rotated("shop", SOON).await;
    assert!(seen.is("Retrieved"));
}

#[tokio::test]
async fn a_store_full_of_junk_stops_nobody_for_ever() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect(bao, bao.address(), &source.policy()).await;
    let to = format!("{}@v.example", unique("junk"));
    stand.apply("shop", &kv_delivery("shop", &to, &source, "1h", "1h", Value::Null));
    let id = stand.recipient(&to).await.id();
    // Straight into the table, past everything that our own store would refuse to write.
    let database = rusqlite::Connection::open(stand.path("data/links/links.db")).unwrap();
    database.busy_timeout(SOON).unwrap();
    let changed = database
        .execute("UPDATE links SET meta = '{\"no\": [\"record\"', seq = seq + 1000000 WHERE id = ?1", [&id.0[..]])
        .unwrap();
    assert_eq!(changed, 1);
    database.execute("UPDATE store SET seq = seq + 1000001", []).unwrap();
    drop(database);
    stand.wait_rotated("shop", SOON * 2).await;
    source.assert_replaced(bao).await;
    assert_eq!(stand.audited("shop", "Tampered"), 1);
}
