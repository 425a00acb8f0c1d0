//! Real operators, killed or stopped at every failpoint, and a second one that goes on with the same folders.
//!
//! Nobody keeps the list of failpoints: a first run of each story records those that it passes (they are the methods of
//! the ports, see `ps_controller::hooks`), and then each of them has a run of its own.
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

mod case;
mod check;
mod link;
mod story;

use std::collections::BTreeSet;
use std::time::Instant;

use tokio::sync::{OnceCell, Semaphore};
use tokio::task::LocalSet;

use crate::case::{Case, Outcome, What};
use crate::story::Story;

/// Cases at once: they mostly wait, for a lease, for the end of a pending attempt, for a promise.
static ROOM: Semaphore = Semaphore::const_new(40);

async fn run(case: Case) -> Outcome {
    let _room = ROOM.acquire().await.unwrap();
    case::run(case).await
}

/// What a story is like when nothing goes wrong; its failpoints.
async fn plain(story: Story) -> &'static Outcome {
    static PLAIN: [OnceCell<Outcome>; Story::ALL.len()] = [const { OnceCell::const_new() }; Story::ALL.len()];
    PLAIN[story as usize].get_or_init(|| run(Case { story, what: What::Nothing })).await
}

/// What came of the cases of a story.
struct Tally {
    /// The kinds of failpoints that it passes.
    all: BTreeSet<String>,
    /// Those at which a process was hit.
    hit: BTreeSet<String>,
    wrong: Vec<String>,
}

/// One case per failpoint of a story.
async fn at_every_failpoint(story: Story, what: impl Fn(usize) -> What) -> Tally {
    let begin = Instant::now();
    let recorded = &plain(story).await.passed;
    assert!(recorded.len() > 20, "{recorded:#?}");
    // Those that wait longest, around the mail, go first.
    let mail = recorded.iter().position(|name| name == "mailer.send_link.before").unwrap();
    let mut points: Vec<usize> = (1..=recorded.len()).collect();
    points.sort_by_key(|n| n.abs_diff(mail));
    let start = |n| (n, tokio::task::spawn_local(run(Case { story, what: what(n) })));
    let cases: Vec<_> = points.into_iter().map(start).collect();
    let (mut hit, mut wrong) = (BTreeSet::new(), Vec::new());
    for (n, case) in cases {
        match case.await {
            Ok(outcome) => hit.extend(outcome.hit),
            // The panic has said why.
            Err(_) => wrong.push(format!("{story:?} failed at {n}, {}", recorded[n - 1])),
        }
    }
    let all: BTreeSet<String> = recorded.iter().cloned().collect();
    eprintln!("{story:?}: {} cases at {} kinds of failpoints in {:?}", recorded.len(), all.len(), begin.elapsed());
    Tally { all, hit, wrong }
}

/// All stories at once, on this thread: they wait far more than they work.
async fn all_at_every_failpoint(what: impl Fn(usize) -> What + Copy) {
    let stories = async {
        let (a, b, c, d) = tokio::join!(
            at_every_failpoint(Story::Role, what),
            at_every_failpoint(Story::Kv, what),
            at_every_failpoint(Story::Removed, what),
            at_every_failpoint(Story::Shared, what),
        );
        [a, b, c, d]
    };
    let tallies = LocalSet::new().run_until(stories).await;
    let hit: BTreeSet<&String> = tallies.iter().flat_map(|t| &t.hit).collect();
    let all: BTreeSet<&String> = tallies.iter().flat_map(|t| &t.all).collect();
    let mut wrong: Vec<String> = tallies.iter().flat_map(|t| t.wrong.clone()).collect();
    // Runs differ a little: an effect that one story misses, another one has.
    wrong.extend(all.difference(&hit).map(|name| format!("never hit at {name}")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn killed_at_every_failpoint_another_one_brings_it_to_its_end() {
    all_at_every_failpoint(What::Kill).await;
}

#[tokio::test]
async fn stopped_at_every_failpoint_and_continued_after_another_one_took_over_it_does_no_harm() {
    all_at_every_failpoint(What::Stop).await;
}

#[tokio::test]
async fn a_status_erased_at_every_failpoint_changes_nothing() {
    for story in Story::ALL {
        let expected = plain(story).await;
        let (status, file) =
            tokio::join!(run(Case { story, what: What::EraseStatus }), run(Case { story, what: What::EraseFile }));
        assert_eq!(status.told, expected.told, "{story:?}, status erased");
        assert_eq!(file.told, expected.told, "{story:?}, status and stamp erased");
    }
}
