//! Real operators, killed or stopped at every failpoint, and a second one that goes on with the same folders.
//!
//! Nobody keeps the list of failpoints: a first run of each story records those that it passes (they are the methods of
//! the ports, see `ps_controller::hooks`, and what `ps_operator::failpoints` adds), and then each of them has a run of its
//! own. An effect that no story reaches fails the test.
//!
//! `PASSWORD_SENDER_STORIES=Role,Kv` plays these stories only, for whoever works on one of them.
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
mod checks;
mod delivery;
mod earlier;
mod effects;
mod link;
mod past;
mod people;
mod points;
mod processes;
mod source;
mod story;

use std::collections::BTreeSet;
use std::time::Instant;

use tokio::sync::{OnceCell, Semaphore};
use tokio::task::LocalSet;

use crate::case::{Case, Outcome, What};
use crate::story::{Point, Story};

/// Cases at once: they mostly wait, for a lease, for the end of a pending attempt, for a promise.
static ROOM: Semaphore = Semaphore::const_new(56);

async fn run(case: Case) -> Outcome {
    let _room = ROOM.acquire().await.unwrap();
    case::run(case).await
}

/// What another thread of a process does when it is stopped is chance: one that held a database is stopped once more.
async fn run_until_free(case: Case) -> Outcome {
    let mut outcome = run(case).await;
    for _ in 0..4 {
        if outcome.held {
            outcome = run(case).await;
        }
    }
    outcome
}

/// What a story is like when nothing goes wrong; its failpoints.
async fn plain(story: Story) -> &'static Outcome {
    static PLAIN: [OnceCell<Outcome>; Story::ALL.len()] = [const { OnceCell::const_new() }; Story::ALL.len()];
    PLAIN[story as usize].get_or_init(|| run(Case { story, what: What::Nothing })).await
}

/// What came of the cases of a story.
struct Tally {
    story: Story,
    /// The kinds of failpoints that it passes.
    all: BTreeSet<String>,
    /// Those at which a process was hit.
    hit: BTreeSet<String>,
    /// Those that were not reached, or where nobody took over while it stood still.
    uncounted: Vec<Point>,
    wrong: Vec<String>,
}

/// How often those kinds of failpoints are tried again at which nothing was hit: what runs beside a case is chance.
const ROUNDS: usize = 3;

/// One case per failpoint of a story.
async fn at_every_failpoint(story: Story, what: impl Fn(Point) -> What) -> Tally {
    let begin = Instant::now();
    let recorded = &plain(story).await.passed;
    let mut points = points::points(story, recorded);
    assert!(points.len() > 5, "{recorded:#?}");
    let number = points.len();
    // Those that wait longest, around the mail, go first.
    let place = |name: &str| recorded.iter().position(|passed| passed == name).unwrap_or_default();
    let mail = place("mailer.send_link.before");
    points.sort_by_key(|point| place(point.name).abs_diff(mail));
    let all: BTreeSet<String> = points.iter().map(|point| point.name.to_owned()).collect();
    let mut tally = Tally { story, all, hit: BTreeSet::new(), uncounted: Vec::new(), wrong: Vec::new() };
    tally.play(points, &what).await;
    eprintln!("{story:?}: {number} cases at {} kinds of failpoints in {:?}", tally.all.len(), begin.elapsed());
    if !tally.uncounted.is_empty() {
        eprintln!("{story:?}: not reached, or not taken over while it stood still: {:?}", tally.uncounted);
    }
    tally
}

impl Tally {
    async fn play(&mut self, points: Vec<Point>, what: impl Fn(Point) -> What) {
        let story = self.story;
        let start = |point| (point, tokio::task::spawn_local(run_until_free(Case { story, what: what(point) })));
        for (point, case) in points.into_iter().map(start).collect::<Vec<_>>() {
            match case.await {
                Ok(Outcome { hit: Some(name), .. }) => drop(self.hit.insert(name)),
                Ok(_) => self.uncounted.push(point),
                // The panic has said why.
                Err(_) => self.wrong.push(format!("{story:?} failed at {point:?}")),
            }
        }
    }
}

/// All stories at once, on this thread: they wait far more than they work.
async fn all_at_every_failpoint(what: impl Fn(Point) -> What + Copy + 'static) {
    let (stories, complete) = Story::wanted();
    let played = async {
        let start = |story| tokio::task::spawn_local(at_every_failpoint(story, what));
        let mut tallies = Vec::new();
        for story in stories.into_iter().map(start).collect::<Vec<_>>() {
            tallies.push(story.await.unwrap());
        }
        for _ in 0..ROUNDS {
            let hit: BTreeSet<String> = tallies.iter().flat_map(|t| t.hit.clone()).collect();
            for tally in &mut tallies {
                let (again, rest) =
                    std::mem::take(&mut tally.uncounted).into_iter().partition(|point| !hit.contains(point.name));
                tally.uncounted = rest;
                tally.play(again, what).await;
            }
        }
        tallies
    };
    let tallies = LocalSet::new().run_until(played).await;
    let hit: BTreeSet<&String> = tallies.iter().flat_map(|t| &t.hit).collect();
    let all: BTreeSet<&String> = tallies.iter().flat_map(|t| &t.all).collect();
    let mut wrong: Vec<String> = tallies.iter().flat_map(|t| t.wrong.clone()).collect();
    // Runs differ a little: an effect that one story misses, another one has.
    wrong.extend(all.difference(&hit).map(|name| format!("never hit at {name}")));
    let points =
        effects::effects().into_iter().flat_map(|effect| [format!("{effect}.before"), format!("{effect}.after")]);
    wrong.extend(points.filter(|name| complete && !hit.contains(name)).map(|name| format!("no story hits {name}")));
    assert!(wrong.is_empty(), "{wrong:#?}");
    eprintln!("{} kinds of failpoints were hit", hit.len());
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
    for story in Story::wanted().0 {
        let expected = plain(story).await;
        let (status, file) =
            tokio::join!(run(Case { story, what: What::EraseStatus }), run(Case { story, what: What::EraseFile }));
        assert_eq!(status.told, expected.told, "{story:?}, status erased");
        assert_eq!(file.told, expected.told, "{story:?}, status and stamp erased");
    }
}
