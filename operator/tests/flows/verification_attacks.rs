//! A gateway that was taken over tries to pass over a factor. The test plays it: it has write access to the records, and what
//! recipients send it, and nothing else.

use ps_core::encode::from_b64_array;
use ps_core::ids::Digest;
use ps_core::link::verification::{Ask, Request};
use ps_core::link::{Claim, JournalEntry, JournalEvent, Link, Record, Release, State, Verification};
use ps_core::ports::LinkStore as _;
use ps_core::time::Timestamp;
use ps_store::EmbeddedStore;
use ps_testbed::Testbed;
use serde_json::json;

use super::verification::Demanding;
use crate::support::{Recipient, SOON, wrong_code};

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

type Attack = fn(&mut Link, &Recipient);

/// Each with the code by which the operator must name it.
const ATTACKS: [(&str, Attack); 4] = [
    ("factor-passed-over", |link, recipient| {
        // It has the proof from a claim that it refused.
        let proof = from_b64_array(&recipient.proof()).unwrap();
        link.claim = Some(Claim { proof, token_hash: recipient.token_hash(), at: now() });
        (link.state, link.request) = (State::Claimed, None);
        let seq = u32::try_from(link.journal.len()).unwrap();
        link.journal.push(JournalEntry { seq, at: now(), event: JournalEvent::Claimed });
    }),
    ("factor-passed-over", |link, recipient| {
        link.release = Some(Release { r: [7; 32], token_hash: recipient.token_hash() });
    }),
    ("forged-verdict", |link, recipient| {
        let verdict = link.verdict.as_mut().unwrap();
        verdict.released = Some(recipient.token_hash());
        verdict.email_code.as_mut().unwrap().passed = Some(recipient.token_hash());
    }),
    ("forged-verdict", |link, _| link.verdict.as_mut().unwrap().email_code.as_mut().unwrap().mails_left = 3),
];

#[tokio::test]
async fn a_factor_is_not_passed_over_by_whoever_writes_the_records() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    for (code, attack) in ATTACKS {
        let on = Demanding::start(json!({"emailCode": {}}), &[]).await;
        let recipient = on.recipient(&[Verification::EmailCode]);
        let sent = recipient.judged(json!({"step": "mail"})).await;
        assert_eq!(sent.body["emailCode"]["status"], "sent");
        change(&on, &recipient, attack).await;
        on.stand.wait_rotated("shop", SOON).await;
        assert_eq!((on.stand.audited("shop", "Tampered"), on.stand.audited("shop", "Claimed")), (1, 0), "{code}");
        let trail = std::fs::read_to_string(on.stand.audit_file()).unwrap();
        assert!(trail.contains(code), "the trail does not say {code}");
        on.source.assert_replaced(bao).await;
    }
}

#[tokio::test]
async fn whoever_writes_requests_gets_no_more_mails_and_tries_than_anybody() {
    let on = Demanding::start(json!({"emailCode": {}}), &[]).await;
    let recipient = on.recipient(&[Verification::EmailCode]);
    recipient.judged(json!({"step": "mail"})).await;
    let code = on.code(2).await;
    assert_eq!(
        recipient.judged(json!({"step": "code", "emailCode": wrong_code(&code)})).await.body["emailCode"]["triesLeft"],
        4
    );
    // It guesses without waiting, fifteen times and more, and asks for mails in between.
    let store = EmbeddedStore::open(&on.stand.path("data/links")).unwrap();
    let mut landed = 0;
    for guess in 0..60_u8 {
        let found = store.get(recipient.id()).await.unwrap().unwrap();
        let mut link = found.value.link().unwrap().clone();
        if link.state != State::Open {
            break;
        }
        if link.open_request().is_some() {
            tokio::time::timeout(SOON, store.changes(found.version, 16)).await.unwrap().unwrap();
            continue;
        }
        let seq = link.verdict.as_ref().unwrap().answered + 1;
        let ask = if guess % 3 == 0 { Ask::Mail } else { Ask::Code(Digest([guess; 32])) };
        link.request = Some(Box::new(Request { seq, at: now(), token_hash: recipient.token_hash(), ask }));
        // The operator may have been faster.
        landed += usize::from(store.replace(&Record::Link(Box::new(link)), found.version).await.is_ok());
    }
    drop(store);
    assert!(landed >= 10, "only {landed} of its requests reached the operator");
    assert!(on.stand.audited("shop", "CodeMailed") <= 3);
    assert!(on.stand.audited("shop", "CodeWrong") <= 15);
    assert_eq!((on.stand.audited("shop", "Verified"), on.stand.audited("shop", "Claimed")), (0, 0));
    assert_ne!(recipient.claim().await.status, 200);
}

async fn change(on: &Demanding, recipient: &Recipient, attack: Attack) {
    let store = EmbeddedStore::open(&on.stand.path("data/links")).unwrap();
    let found = store.get(recipient.id()).await.unwrap().unwrap();
    let mut link = found.value.link().unwrap().clone();
    attack(&mut link, recipient);
    store.replace(&Record::Link(Box::new(link)), found.version).await.unwrap();
}
