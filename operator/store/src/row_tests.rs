use proptest::prelude::*;
use ps_core::ids::Digest;
use ps_core::link::verification::{Ask, CodeState, CodeVerdict, JudgeKey, Request, Verdict};
use ps_core::link::{Claim, Decline, JournalEntry, JournalEvent, Release, Tries};

use super::*;
use crate::conformance::sample;

/// Any record that the rules could have made, and many that they could not.
fn any_record() -> impl Strategy<Value = Record> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300));
    let parts = (
        (0..STATES.len(), any::<bool>(), any::<i64>(), any::<[u8; 16]>()),
        (bytes(), bytes()),
        proptest::option::of((any::<[u8; 32]>(), any::<i64>())),
        proptest::option::of((any::<[u8; 32]>(), any::<i64>())),
        proptest::option::of((any::<[u8; 32]>(), any::<[u8; 32]>())),
        (any::<u32>(), any::<u32>(), any::<i64>(), 0..20_u32),
    );
    parts.prop_map(|((state, void, at, id), content, claim, decline, release, tries)| {
        let id = LinkId(id);
        if void && state == 0 {
            return Record::Void { id };
        }
        let mut link = sample(id, Timestamp::from_millis(at), b"");
        link.state = STATES[state];
        (link.ciphertext, link.preview) = content;
        link.claim =
            claim.map(|(proof, at)| Claim { proof, token_hash: Digest::of(&proof), at: Timestamp::from_millis(at) });
        link.decline = decline.map(|(preimage, at)| Decline { preimage, at: Timestamp::from_millis(at) });
        link.release = release.map(|(r, hash)| Release { r, token_hash: Digest(hash) });
        link.request = release.map(|(r, hash)| {
            let ask = match tries.3 % 3 {
                0 => Ask::Mail,
                1 => Ask::Code(Digest(r)),
                _ => Ask::SignIn { code: "c".repeat(2048), verifier: "v".repeat(128) },
            };
            Box::new(Request { seq: tries.0, at: Timestamp::from_millis(tries.2), token_hash: Digest(hash), ask })
        });
        link.verdict = release.map(|(r, hash)| {
            let email_code = Some(CodeVerdict {
                state: CodeState::Wrong,
                expires_at: Some(Timestamp::from_millis(tries.2)),
                tries_left: tries.0,
                mails_left: tries.1,
                wait_until: Timestamp::from_millis(tries.2),
                passed: Some(Digest(hash)),
            });
            let mac = Digest(r);
            let verdict = Verdict { answered: tries.1, email_code, sign_in: None, released: Some(Digest(hash)), mac };
            Box::new(verdict.signed(id, &JudgeKey(r)))
        });
        link.tries = Tries { wrong_codes: tries.0, wrong_proofs: tries.1, wait_until: Timestamp::from_millis(tries.2) };
        link.journal = (0..tries.3)
            .map(|seq| JournalEntry { seq, at: Timestamp::from_millis(tries.2), event: JournalEvent::Disputed })
            .collect();
        Record::Link(Box::new(link))
    })
}

fn found(row: &Row) -> Found<'_> {
    Found { state: row.state, next_change: row.next_change, meta: &row.meta, content: row.content.clone() }
}

proptest! {
    #[test]
    fn reads_back_what_it_writes(record in any_record()) {
        let row = Row::of(&record, 300).unwrap();
        prop_assert_eq!(read(record.id(), found(&row), 300), Some(record));
    }

    #[test]
    fn keeps_the_sealed_bytes_out_of_the_json(record in any_record()) {
        let row = Row::of(&record, 300).unwrap();
        prop_assert!(!row.meta.contains("\"ciphertext\"") && !row.meta.contains("\"preview\""));
    }

    #[test]
    fn columns_that_disagree_are_refused(record in any_record(), other in any_record()) {
        let (row, alien) = (Row::of(&record, 300).unwrap(), Row::of(&other, 300).unwrap());
        let id = record.id();
        prop_assume!(other.id() != id);
        prop_assert_eq!(read(id, Found { meta: &alien.meta, ..found(&row) }, 300), None);
        if alien.state != row.state {
            prop_assert_eq!(read(id, Found { state: alien.state, ..found(&row) }, 300), None);
        }
        if alien.next_change != row.next_change {
            prop_assert_eq!(read(id, Found { next_change: alien.next_change, ..found(&row) }, 300), None);
        }
    }

    #[test]
    fn hostile_text_never_panics(meta in ".{0,200}", cut in 0..2000_usize, record in any_record()) {
        let row = Row::of(&record, 300).unwrap();
        prop_assert_eq!(read(record.id(), Found { meta: &meta, ..found(&row) }, 300), None);
        if let Some(part) = row.meta.get(..cut).filter(|part| part.len() < row.meta.len()) {
            prop_assert_eq!(read(record.id(), Found { meta: part, ..found(&row) }, 300), None);
        }
    }
}

#[test]
fn deep_and_long_json_is_refused() {
    let id = LinkId([1; 16]);
    let deep = "[".repeat(50_000);
    let long = format!("{{\"void\":{{\"id\":\"{id}\"}}}}{}", " ".repeat(MAX_META));
    for meta in [deep, long] {
        let hostile = Found { state: None, next_change: None, meta: &meta, content: Content::default() };
        assert_eq!(read(id, hostile, 300), None);
    }
}

#[test]
fn content_hidden_in_the_json_is_refused() {
    let id = LinkId([1; 16]);
    let link = sample(id, Timestamp::from_secs(5), b"sealed");
    let record = Record::Link(Box::new(link));
    let meta = serde_json::to_string(&record).unwrap();
    let row = Row::of(&record, 300).unwrap();
    assert_eq!(read(id, Found { meta: &meta, ..found(&row) }, 300), None);
}

#[test]
fn bounds_are_named_and_say_nothing_of_the_content() {
    let record = |ciphertext: &[u8], preview: Vec<u8>| {
        let mut link = sample(LinkId([1; 16]), Timestamp::from_secs(5), ciphertext);
        link.preview = Some(preview);
        Record::Link(Box::new(link))
    };
    assert!(Row::of(&record(&[b'z'; 300], vec![b'y'; MAX_PREVIEW]), 300).is_ok());
    for large in [record(&[b'z'; 301], vec![]), record(b"", vec![b'y'; MAX_PREVIEW + 1])] {
        let fault = Row::of(&large, 300).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.class), ("record-too-large", Class::Permanent));
        assert!(!fault.to_string().contains("zz") && !fault.to_string().contains("yy"));
    }
}

#[test]
fn every_state_is_known() {
    for state in STATES {
        assert_eq!(parse_state(state.as_str()), Some(state));
    }
    assert_eq!(parse_state("Open"), None);
}
