//! Trails of several pods, verified as one.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is the failure report"
)]

mod common;

use common::{chain, chain_of, event, lines};
use ps_audit::{Defect, Together, verify, verify_together};
use ps_core::audit::Event;
use ps_core::ids::Key;
use ps_core::time::{Span, Timestamp};

fn together(trails: &[&[u8]]) -> Together {
    verify_together(trails.iter().map(|trail| (*trail, None)).collect()).unwrap()
}

/// Event `seq` of the operator for delivery `n`, at a second of its own.
fn at(n: u32, seq: u64, secs: i64) -> Event {
    let mut event = event(0, seq);
    event.delivery = Key::new("shop", format!("d-{n}"));
    event.at = Timestamp::from_secs(1_795_000_000) + Span::from_secs(secs);
    event
}

#[test]
fn what_one_leader_began_and_another_went_on_with_is_whole_together_only() {
    let first = chain(&[at(1, 0, 1), at(1, 1, 2), at(1, 4, 9)]);
    // The second leader puts the last event of the first one there once more.
    let second = chain(&[at(1, 1, 2), at(1, 2, 4), at(1, 3, 5)]);
    assert_eq!((verify(&first[..], None).unwrap().gaps.len(), verify(&second[..], None).unwrap().gaps.len()), (1, 1));
    for trails in [[&first[..], &second[..]], [&second[..], &first[..]]] {
        let report = together(&trails);
        assert!(report.is_ok(), "{report}");
        let repeated: u64 = report.trails.iter().map(|trail| trail.duplicates).sum();
        assert_eq!((report.events(), repeated, report.trails.len()), (5, 1, 2));
    }
    let third = chain(&[at(1, 6, 11)]);
    let report = together(&[&first, &second, &third]);
    assert!(!report.is_ok() && report.trails.iter().all(ps_audit::Report::is_ok));
    assert_eq!((report.gaps.len(), report.gaps[0].expected, report.gaps[0].found), (1, 5, 6));
    assert!(report.to_string().contains("missing: shop/d-1"), "{report}");
}

#[test]
fn each_must_be_in_order_by_itself_and_with_its_own_head() {
    let (first, second) = (chain(&[at(1, 0, 1), at(1, 1, 2)]), chain(&[at(1, 2, 3), at(1, 3, 4)]));
    let heads = [&first, &second].map(|trail| verify(&trail[..], None).unwrap().head.unwrap());
    let with = |one, other| verify_together(vec![(&first[..], Some(one)), (&second[..], Some(other))]).unwrap();
    let good = with(&heads[0], &heads[1]);
    assert!(good.is_ok() && good.trails.iter().all(|trail| trail.head_found), "{good}");
    assert!(!with(&heads[1], &heads[0]).is_ok());
    let altered = String::from_utf8(second.clone()).unwrap().replacen("Claimed", "Expired", 1).into_bytes();
    let report = together(&[&first, &altered]);
    assert_eq!(report.trails[1].broken[0].what, Defect::Altered);
    let cut = lines(&second)[1..].join(&b'\n');
    assert!(!together(&[&first, &[&cut[..], b"\n"].concat()]).is_ok());
}

#[test]
fn two_that_contradict_each_other_or_are_of_two_ledgers_are_told() {
    let mut other = at(1, 0, 1);
    other.reason = "another story".into();
    let report = together(&[&chain(&[at(1, 0, 1)]), &chain(&[other])]);
    let told: Vec<_> = report.trails.iter().flat_map(|trail| &trail.broken).collect();
    assert!(matches!(told[..], [one] if matches!(one.what, Defect::Contradiction(_))), "{told:?}");
    let report = together(&[&chain(&[at(1, 0, 1)]), &chain_of("ledger-2", &[at(2, 0, 1), at(2, 1, 2)])]);
    assert_eq!(report.trails[1].broken.len(), 1, "said once: {report}");
    assert_eq!(report.trails[1].broken[0].what, Defect::OtherLedger("ledger-2".into()));
}

/// More deliveries than there is room for gaps: side by side, none stays open.
#[test]
fn a_change_of_leader_in_the_middle_of_many_deliveries_opens_no_gaps() {
    let part = |from: u64, secs| (0..3000).map(|n| at(n, from, secs)).collect::<Vec<_>>();
    let first = chain(&[part(0, 1), part(2, 3)].concat());
    let second = chain(&part(1, 2));
    for trails in [[&first[..], &second[..]], [&second[..], &first[..]]] {
        let report = together(&trails);
        assert!(report.is_ok(), "{} gaps and {}", report.gaps.len(), report.further);
        assert_eq!(report.events(), 9000);
    }
}
