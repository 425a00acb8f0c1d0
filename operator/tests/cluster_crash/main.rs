//! Real operators on a real Kubernetes API, killed or stopped at every failpoint; a second one goes on.
//!
//! As in `../crash`, nobody keeps the list of failpoints: a first run of each story records those that it passes, and each of
//! them has runs of its own, each in an installation of its own on one cluster.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a panic in a test is its failure report, and its functions are named for what they show"
)]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, reason = "each test program uses a part of it")]
mod support;

#[path = "../cluster/balancer.rs"]
mod balancer;
#[path = "../cluster/install.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod install;
#[path = "../cluster/program.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod program;
#[path = "../cluster/stand.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod stand;

#[path = "../crash/link.rs"]
#[allow(dead_code, reason = "its links demand nothing beside the opening code")]
mod link;

mod case;
mod check;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use tokio::sync::{OnceCell, Semaphore};
use tokio::task::LocalSet;

use crate::case::{Case, Outcome, Point, Story, What};

/// Cases at once: they mostly wait, for a lease, for the end of a pending attempt, for a promise.
static ROOM: Semaphore = Semaphore::const_new(24);

async fn run(case: Case) -> Outcome {
    let _room = ROOM.acquire().await.unwrap();
    case::run(case).await
}

/// What a story is like when nothing goes wrong; its failpoints.
async fn plain(story: Story) -> &'static Outcome {
    static PLAIN: [OnceCell<Outcome>; Story::ALL.len()] = [const { OnceCell::const_new() }; Story::ALL.len()];
    PLAIN[story as usize].get_or_init(|| run(Case { story, what: What::Nothing, number: 0 })).await
}

/// The failpoints of a story that are tried, in the order in which they are passed.
fn points(story: Story, recorded: &'static [String]) -> Vec<Point> {
    let mailed = recorded.iter().position(|name| name == "mailer.send_link.after").unwrap();
    let mut times = BTreeMap::new();
    let mut points = Vec::new();
    for (at, name) in recorded.iter().enumerate() {
        let nth = times.entry(name).or_insert(0);
        *nth += 1;
        // Until its mail, a link that is withdrawn later has the same story as any other.
        let tried = story != Story::Removed || at > mailed;
        // Time alone moves the audit head on, and renews the lease; it is given back when all is over.
        let by_time = name.starts_with("ledger.replace_common.")
            || (name.starts_with("lease.renew.") && *nth > 1)
            || name.starts_with("lease.release.");
        if tried && !by_time {
            points.push(Point { name, nth: *nth });
        }
    }
    points
}

/// One case per failpoint of every story, on this thread: they wait far more than they work.
///
/// An operator that goes on is stopped before each effect: stopped after one, it goes on with the next all the same.
async fn at_every_failpoint(what: impl Fn(Point) -> What + Copy + 'static) {
    let begin = Instant::now();
    let played = async {
        let (mut cases, mut kinds) = (Vec::new(), BTreeSet::new());
        let recorded = [plain(Story::ALL[0]).await, plain(Story::ALL[1]).await];
        for (story, outcome) in Story::ALL.into_iter().zip(recorded) {
            let mut points = points(story, &outcome.passed);
            points.retain(|point| match what(*point) {
                What::Nothing | What::Kill(_) => true,
                What::Stop(_) => point.name.ends_with(".before"),
                // There is no lease then.
                What::Both(_) => point.name.ends_with(".before") && !point.name.starts_with("lease."),
            });
            assert!(points.len() > 5, "{:#?}", outcome.passed);
            kinds.extend(points.iter().map(|point| point.name));
            cases.extend(points.into_iter().map(|point| (story, point)));
        }
        let start = |(number, (story, point))| {
            let case = Case { story, what: what(point), number };
            (case, tokio::task::spawn_local(run(case)))
        };
        let cases: Vec<_> = cases.into_iter().enumerate().map(start).collect();
        let (number, mut hit, mut wrong) = (cases.len(), BTreeSet::new(), Vec::new());
        for (case, run) in cases {
            match run.await {
                Ok(outcome) => hit.extend(outcome.hit),
                // The panic has said why.
                Err(_) => wrong.push(format!("failed: {case:?}")),
            }
        }
        wrong.extend(kinds.iter().filter(|name| !hit.contains(**name)).map(|name| format!("never hit at {name}")));
        assert!(wrong.is_empty(), "{wrong:#?}");
        eprintln!("{number} cases at {} kinds of failpoints in {:?}", kinds.len(), begin.elapsed());
    };
    LocalSet::new().run_until(played).await;
}

#[tokio::test]
async fn killed_at_every_failpoint_the_next_leader_brings_it_to_its_end() {
    at_every_failpoint(What::Kill).await;
}

#[tokio::test]
async fn a_leader_that_was_stopped_past_its_lease_in_the_middle_of_an_act_does_no_harm() {
    at_every_failpoint(What::Stop).await;
}

#[tokio::test]
async fn without_a_lease_two_active_operators_one_of_them_stopped_and_continued_do_no_harm() {
    at_every_failpoint(What::Both).await;
}
