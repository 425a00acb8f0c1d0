use std::time::Duration;

use proptest::prelude::*;

use super::{Config, LONGEST_LEASE, LeaseView, Observed, Step, decide};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn lease(holder: &str, seconds: u64, version: &str) -> LeaseView {
    LeaseView { holder: holder.into(), duration: secs(seconds), transitions: 3, version: version.into() }
}

#[test]
fn a_lease_is_over_when_it_did_not_change_here_for_its_duration() {
    let config = Config::new("ns", "l", "me");
    let theirs = lease("you", 15, "7");
    let seen = Observed::default().look(Some(&theirs), secs(100));
    assert_eq!(decide(&config, None, &seen, secs(100)), Step::Create);
    assert_eq!(decide(&config, Some(&theirs), &seen, secs(114)), Step::Wait { until: secs(115) });
    assert_eq!(decide(&config, Some(&theirs), &seen, secs(115)), Step::Take { transitions: 4 });
    // The same again changes nothing; another version starts anew.
    let again = seen.clone().look(Some(&theirs), secs(110));
    assert_eq!(again, seen);
    let renewed = seen.look(Some(&lease("you", 15, "8")), secs(110));
    assert_eq!(decide(&config, Some(&theirs), &renewed, secs(115)), Step::Wait { until: secs(125) });
    // Ours, whoever has seen what; given back; and one that claims a thousand years.
    assert_eq!(decide(&config, Some(&lease("me", 15, "9")), &renewed, secs(900)), Step::Renew);
    assert_eq!(decide(&config, Some(&lease("", 1, "9")), &renewed, secs(110)), Step::Take { transitions: 4 });
    let long = lease("you", u64::MAX, "9");
    let seen = Observed::default().look(Some(&long), secs(0));
    assert_eq!(decide(&config, Some(&long), &seen, LONGEST_LEASE), Step::Take { transitions: 4 });
}

/// One step of the world: who acts, after how many milliseconds, and whether what it writes is lost on the way back.
#[derive(Clone, Debug)]
struct Turn {
    who: usize,
    after: u64,
    lost: bool,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn =
        (0..3_usize, 0..4_000_u64, prop::bool::weighted(0.2)).prop_map(|(who, after, lost)| Turn { who, after, lost });
    prop::collection::vec(turn, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Three contenders with clocks that show different times, on one lease: two never hold it at once, and one whose turns come
    /// often enough keeps it.
    #[test]
    fn two_never_lead_at_once(turns in turns(), offsets in prop::array::uniform3(0..1_000_000_u64)) {
        let configs = ["a", "b", "c"].map(|me| Config::new("ns", "l", me));
        let mut lease: Option<LeaseView> = None;
        let mut observed = [const { Observed { version: None, at: Duration::ZERO } }; 3];
        let mut held: [Option<Duration>; 3] = [None; 3];
        let (mut now, mut writes) = (Duration::ZERO, 0_u64);
        for turn in turns {
            now += Duration::from_millis(turn.after);
            let (me, local) = (turn.who, now + Duration::from_millis(offsets[turn.who]));
            observed[me] = observed[me].clone().look(lease.as_ref(), local);
            let transitions = match decide(&configs[me], lease.as_ref(), &observed[me], local) {
                Step::Wait { until } => {
                    prop_assert!(until > local);
                    held[me] = None;
                    continue;
                }
                Step::Take { transitions } => transitions,
                Step::Create => 0,
                Step::Renew => lease.as_ref().map_or(0, |lease| lease.transitions),
            };
            writes += 1;
            lease = Some(LeaseView { transitions, ..super::tests::lease(&configs[me].me, 15, &writes.to_string()) });
            if !turn.lost {
                held[me] = Some(now + configs[me].renew_deadline);
                observed[me] = observed[me].clone().look(lease.as_ref(), local);
            }
            let leaders = held.iter().filter(|until| until.is_some_and(|until| now < until)).count();
            prop_assert!(leaders <= 1, "at {now:?}");
        }
    }
}
