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

/// One case per failpoint; says how many, which were hit, and fails with the names of those that failed.
async fn at_every_failpoint(story: Story, what: impl Fn(usize) -> What) {
    let begin = Instant::now();
    let recorded = &plain(story).await.passed;
    assert!(recorded.len() > 20, "{recorded:#?}");
    // Those that wait longest, around the mail, go first.
    let mail = recorded.iter().position(|name| name == "mailer.send_link.before").unwrap();
    let mut points: Vec<usize> = (1..=recorded.len()).collect();
    points.sort_by_key(|n| n.abs_diff(mail));
    // On this thread: they wait far more than they work.
    let local = LocalSet::new();
    let (mut hit, mut failed) = (BTreeSet::new(), Vec::new());
    local
        .run_until(async {
            let cases: Vec<_> = points
                .into_iter()
                .map(|n| (n, tokio::task::spawn_local(run(Case { story, what: what(n) }))))
                .collect();
            for (n, case) in cases {
                match case.await {
                    Ok(outcome) => hit.extend(outcome.hit),
                    Err(_) => failed.push((n, recorded[n - 1].as_str())),
                }
            }
        })
        .await;
    failed.sort_unstable();
    let all: BTreeSet<String> = recorded.iter().cloned().collect();
    println!("{story:?}: {} cases at {} kinds of failpoints in {:?}", recorded.len(), all.len(), begin.elapsed());
    assert!(failed.is_empty(), "{story:?} failed at {failed:#?}");
    let missed: Vec<_> = all.difference(&hit).collect();
    assert!(missed.is_empty(), "never hit: {missed:#?}");
}

#[tokio::test]
async fn killed_at_every_failpoint_of_a_static_role_that_is_opened() {
    at_every_failpoint(Story::Role, What::Kill).await;
}

#[tokio::test]
async fn killed_at_every_failpoint_of_a_kv_secret_that_is_opened_late() {
    at_every_failpoint(Story::Kv, What::Kill).await;
}

#[tokio::test]
async fn killed_at_every_failpoint_of_a_manifest_that_is_removed() {
    at_every_failpoint(Story::Removed, What::Kill).await;
}

#[tokio::test]
async fn killed_at_every_failpoint_of_two_deliveries_that_share_a_role() {
    at_every_failpoint(Story::Shared, What::Kill).await;
}

#[tokio::test]
async fn stopped_at_every_failpoint_of_a_static_role_and_continued_at_the_end() {
    at_every_failpoint(Story::Role, What::Stop).await;
}

#[tokio::test]
async fn stopped_at_every_failpoint_of_a_kv_secret_and_continued_before_it_is_opened() {
    at_every_failpoint(Story::Kv, What::Stop).await;
}

#[tokio::test]
async fn stopped_at_every_failpoint_of_a_manifest_that_is_removed() {
    at_every_failpoint(Story::Removed, What::Stop).await;
}

#[tokio::test]
async fn stopped_at_every_failpoint_of_two_deliveries_that_share_a_role() {
    at_every_failpoint(Story::Shared, What::Stop).await;
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
