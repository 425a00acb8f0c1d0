//! Real operators on a real Kubernetes API, killed or stopped at every failpoint; a second one goes on.
//!
//! As in `../crash`, nobody keeps the list of failpoints: a first run of each story records those that it passes, and each of
//! them has runs of its own, each in an installation of its own on one cluster. An effect that no story reaches fails the
//! test. The stories are those of `../crash`; which failpoints of them are tried here, `points` says.
//!
//! `PASSWORD_SENDER_STORIES=Role,Kv` plays these stories only, and `PASSWORD_SENDER_POINTS=all` every failpoint of them.
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

#[path = "../crash/checks.rs"]
mod checks;
#[path = "../crash/delivery.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod delivery;
#[path = "../crash/earlier.rs"]
mod earlier;
#[path = "../crash/effects.rs"]
mod effects;
#[path = "../crash/link.rs"]
mod link;
#[path = "../crash/source.rs"]
mod source;
#[path = "../crash/story.rs"]
mod story;

mod before;
mod case;
mod check;
mod people;
mod points;
mod processes;

use std::collections::BTreeSet;
use std::time::Instant;

use tokio::sync::{OnceCell, Semaphore};
use tokio::task::LocalSet;

use crate::case::{Case, Outcome, What};
use crate::story::{Point, Story};

/// Cases at once: they mostly wait, for a lease, for the end of a pending attempt, for a promise.
static ROOM: Semaphore = Semaphore::const_new(24);

/// How often those kinds of failpoints are tried again at which nothing was hit: what the servers are busy with is chance.
const ROUNDS: usize = 3;

async fn run(case: Case) -> Outcome {
    let _room = ROOM.acquire().await.unwrap();
    case::run(case).await
}

/// What a story is like when nothing goes wrong; its failpoints.
async fn plain(story: Story) -> &'static Outcome {
    static PLAIN: [OnceCell<Outcome>; Story::ALL.len()] = [const { OnceCell::const_new() }; Story::ALL.len()];
    PLAIN[story as usize].get_or_init(|| run(Case { story, what: What::Nothing, number: 0 })).await
}

/// One case per failpoint of every story, on this thread: they wait far more than they work.
async fn at_every_failpoint(what: impl Fn(Point) -> What + Copy + 'static) {
    let (begin, (stories, complete)) = (Instant::now(), Story::wanted());
    let played = async {
        let first = |story| (story, tokio::task::spawn_local(plain(story)));
        let (mut cases, mut kinds, mut wrong) = (Vec::new(), BTreeSet::new(), Vec::new());
        for (story, outcome) in stories.into_iter().map(first).collect::<Vec<_>>() {
            let points = points::points(story, &outcome.await.unwrap().passed, what);
            kinds.extend(points.iter().map(|point| point.name));
            cases.extend(points.into_iter().map(|point| (story, point)));
        }
        let number = cases.len();
        let case = |(number, (story, point))| Case { story, what: what(point), number };
        let mut cases: Vec<Case> = cases.into_iter().enumerate().map(case).collect();
        let mut hit = BTreeSet::new();
        for round in 0..=ROUNDS {
            cases.retain(|case| case.point().is_some_and(|point| !hit.contains(point.name)));
            if round > 0 && !cases.is_empty() {
                eprintln!("tried again: {cases:?}");
            }
            let start = |case: &Case| (*case, tokio::task::spawn_local(run(*case)));
            for (case, run) in cases.iter().map(start).collect::<Vec<_>>() {
                match run.await {
                    Ok(outcome) => hit.extend(outcome.hit),
                    // The panic has said why.
                    Err(_) => wrong.push(format!("failed: {case:?}")),
                }
            }
        }
        // Runs differ a little: what one story misses, another one has.
        wrong.extend(kinds.iter().filter(|name| !hit.contains(**name)).map(|name| format!("never hit at {name}")));
        let missed = points::required(what).into_iter().filter(|name| complete && !hit.contains(name));
        wrong.extend(missed.map(|name| format!("no story hits {name}")));
        assert!(wrong.is_empty(), "{wrong:#?}");
        eprintln!("{number} cases at {} kinds of failpoints in {:?}: {hit:?}", hit.len(), begin.elapsed());
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
