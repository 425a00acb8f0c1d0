//! Whatever is done to a trail is found; whatever is fed to the verifier is answered.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is the failure report"
)]

mod common;

use common::{LEDGER, chain, event, lines};
use proptest::prelude::*;
use ps_audit::{Defect, Head, MAX_LINE, Report, verify};
use ps_core::audit::{Event, Writer};
use sha2::{Digest, Sha256};

fn check(bytes: &[u8]) -> Report {
    verify(bytes, None).unwrap()
}

fn sha(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[test]
fn an_auditor_needs_no_more_than_sha256() {
    let trail = chain(&[event(0, 0), event(0, 1), event(1, 0)]);
    let mut prev = sha(format!("password-sender audit v1 {LEDGER}").as_bytes());
    for line in lines(&trail) {
        let text = std::str::from_utf8(line).unwrap();
        assert!(text.contains(&format!(r#""prev":"{prev}""#)), "{text}");
        let (bare, sum) = text.split_once(r#","sum":""#).unwrap();
        assert_eq!(sum, format!("{}\"}}", sha(format!("{bare}}}").as_bytes())));
        prev = sha(line);
    }
    let report = check(&trail);
    assert_eq!(report.head, Some(Head { n: 3, hash: prev }));
    assert!(report.is_ok(), "{report}");
}

#[test]
fn an_empty_trail_is_in_order_and_has_the_first_head_only() {
    assert!(check(b"").is_ok());
    assert!(!verify(&b""[..], Some(&Head { n: 1, hash: sha(b"x") })).unwrap().is_ok());
}

#[test]
fn a_report_is_for_people_and_lets_no_terminal_be_played_with() {
    let mut bad = event(0, 3);
    bad.delivery.name = "\u{1b}[2J\u{202e}evil\n".into();
    let report = check(&chain(&[event(0, 0), event(0, 1), bad, event(0, 0)]));
    let text = report.to_string();
    assert!(text.contains("NOT in order") && text.contains("1 repetitions") && text.contains("missing:"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
}

#[test]
fn cut_off_lines_are_found_with_a_head_from_elsewhere() {
    let trail = chain(&[event(0, 0), event(0, 1), event(0, 2)]);
    let head = check(&trail).head.unwrap();
    assert!(verify(&trail[..], Some(&head)).unwrap().head_found);
    let end = lines(&trail)[..2].iter().map(|line| line.len() + 1).sum::<usize>();
    assert!(check(&trail[..end]).is_ok());
    let cut = verify(&trail[..end], Some(&head)).unwrap();
    assert!(matches!(cut.broken.as_slice(), [b] if matches!(b.what, Defect::Head { .. })), "{cut}");
    // A head of long ago is found too, and another history is not taken for it.
    let early = Head { n: 2, hash: sha(lines(&trail)[1]) };
    assert!(verify(&trail[..], Some(&early)).unwrap().head_found);
    let other = chain(&[event(0, 0), event(1, 0), event(0, 1)]);
    assert!(!verify(&other[..], Some(&early)).unwrap().is_ok());
}

#[test]
fn another_ledger_a_forked_chain_and_a_second_beginning_are_told_apart() {
    let ours = chain(&[event(0, 0), event(0, 1)]);
    let twice = [ours.clone(), ours.clone()].concat();
    let what = |bytes: &[u8]| check(bytes).broken.into_iter().map(|b| b.what).collect::<Vec<_>>();
    assert_eq!(what(&twice), [Defect::Position { expected: 2, found: 0 }, Defect::BrokenChain]);
    let theirs = common::chain_of("other", &[event(0, 2)]);
    assert!(what(&[ours.clone(), theirs].concat()).contains(&Defect::OtherLedger("other".into())));
    let contradiction = Event { reason: "otherwise".into(), ..event(0, 1) };
    let told = what(&chain(&[event(0, 0), event(0, 1), contradiction.clone()]));
    assert_eq!(told, [Defect::Contradiction(contradiction.id())]);
}

#[test]
fn hostile_lines_are_findings() {
    let deep = "[".repeat(60_000);
    let nul = "\0".repeat(5000);
    let huge = "x".repeat(3 * MAX_LINE);
    for bad in ["", "{}", "null", "\u{feff}", &deep, &nul, &huge, "{\"v\":1e999}", "\r"] {
        let report = check(&[bad.as_bytes(), b"\n"].concat());
        assert_eq!(report.broken.len(), 1, "{report}");
    }
    assert_eq!(check(b"{\"v\":1").broken[0].what, Defect::Torn);
    let many = "junk\n".repeat(3000);
    let report = check(many.as_bytes());
    assert_eq!((report.broken.len(), report.further), (1000, 2000));
}

/// Events of a few streams, each in order and without gaps, some of them repeated.
fn events() -> impl Strategy<Value = (Vec<Event>, usize)> {
    proptest::collection::vec((0..4_u32, any::<bool>(), ".{0,12}"), 1..24).prop_map(|steps| {
        let (mut next, mut out, mut repeated) = ([0_u64; 4], Vec::<Event>::new(), 0);
        for (stream, repeat, reason) in steps {
            let index = usize::try_from(stream).unwrap();
            match out.last().filter(|_| repeat).cloned() {
                Some(last) => {
                    out.push(last);
                    repeated += 1;
                }
                None => {
                    out.push(Event { reason, ..event(stream, next[index]) });
                    next[index] += 1;
                }
            }
        }
        (out, repeated)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn repetitions_are_harmless((events, repeated) in events()) {
        let report = check(&chain(&events));
        prop_assert!(report.is_ok(), "{}", report);
        prop_assert_eq!(report.duplicates, repeated as u64);
        prop_assert_eq!(report.events, (events.len() - repeated) as u64);
    }

    #[test]
    fn any_flipped_byte_is_found((events, _) in events(), at: prop::sample::Index, flip in 1..=255_u8) {
        let mut trail = chain(&events);
        let at = at.index(trail.len());
        trail[at] ^= flip;
        prop_assert!(!check(&trail).is_ok());
    }

    #[test]
    fn lines_taken_out_put_in_or_moved_are_found(
        (events, _) in events(), a: prop::sample::Index, b: prop::sample::Index, what in 0..3
    ) {
        let trail = chain(&events);
        let head = check(&trail).head.unwrap();
        let mut lines = lines(&trail);
        let (a, b) = (a.index(lines.len()), b.index(lines.len()));
        match what {
            0 => drop(lines.remove(a)),
            1 => lines.insert(a, lines[b]),
            _ => {
                prop_assume!(a != b);
                lines.swap(a, b);
            }
        }
        let changed = lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect::<Vec<_>>();
        let report = verify(&changed[..], Some(&head)).unwrap();
        prop_assert!(!report.is_ok(), "{}", report);
    }

    #[test]
    fn a_missing_event_is_named((events, _) in events(), at: prop::sample::Index) {
        // Chained anew without it, as a writer that skips would do.
        let gone = events[at.index(events.len())].clone();
        let later = events.iter().any(|e| e.id() != gone.id() && e.delivery == gone.delivery
            && (e.writer, e.seq > gone.seq) == (gone.writer, true)
            && (e.writer == Writer::Operator || e.attempt == gone.attempt));
        let rest = events.into_iter().filter(|e| e.id() != gone.id()).collect::<Vec<_>>();
        let report = check(&chain(&rest));
        prop_assert_eq!(report.gaps.len(), usize::from(later), "{}", report);
        if let [gap] = report.gaps.as_slice() {
            prop_assert_eq!((gap.expected, gap.found), (gone.seq, gone.seq + 1));
        }
    }

    #[test]
    fn junk_never_panics(junk in proptest::collection::vec(any::<u8>(), 0..4000)) {
        let report = check(&junk);
        prop_assert_eq!(report.is_ok(), junk.is_empty());
        prop_assert!(!report.to_string().is_empty());
    }

    #[test]
    fn junk_inside_a_trail_never_panics((events, _) in events(), at: prop::sample::Index, junk in proptest::collection::vec(any::<u8>(), 1..300)) {
        let mut trail = chain(&events);
        let at = at.index(trail.len());
        trail.splice(at..at, junk);
        prop_assert!(!check(&trail).is_ok());
    }
}
