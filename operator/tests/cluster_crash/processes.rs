//! The operators: who comes to harm, who goes on, and how they end.

use ps_testbed::process::Signal;
use ps_testbed::wait_until;

use crate::case::{PATIENCE, Place, What};
use crate::story::{Point, Story};

/// What is done at an orderly end only.
const AT_AN_END: &str = "lease.release.";
/// What it says where it ended without.
const NOT_GIVEN_BACK: &str = "the lease was not given back";
/// What an operator says that waits for a trail which a stopped one holds.
const WAITS: &str = "another process has held the audit trail";

impl Place {
    /// Starts an operator that records its failpoints; the first one comes to harm.
    pub async fn start(&self, n: usize) {
        let mut words = format!("record:{}", self.stand.path(&format!("passed-{n}")).display());
        if n == 0 {
            match self.case.what {
                What::Nothing => {}
                What::Kill(Point { name, nth }) => words += &format!(",kill:{name}#{nth}"),
                What::Stop(Point { name, nth }) | What::Both(Point { name, nth }) => {
                    words += &format!(",stop:{name}#{nth}");
                }
            }
        }
        let mut command = self.stand.command(n, &["run"]).await;
        command.env(ps_operator::failpoints::VARIABLE, words);
        self.stand.operators[n].spawn(&format!("operator-{n}"), command);
    }

    pub async fn look_after_operators(&mut self) {
        if !self.harmed && self.is_down() {
            // An API server that is busy for longer than the election tries again has the lease run out instead.
            self.missed = self.is_at_an_end() && self.stand.operators[0].log_text().contains(NOT_GIVEN_BACK);
            assert!(self.is_reached() || self.missed, "it ended before its failpoint\n{}", self.tale().await);
            self.harmed = true;
            self.deposed = self.times_deposed();
            if matches!(self.case.what, What::Kill(_)) {
                self.erase_status().await;
            }
            self.start(1).await;
        }
        for operator in &self.stand.operators[usize::from(!self.case.stops() && self.harmed)..] {
            assert!(operator.is_up() || !operator.is_wanted(), "an operator ended\n{}", self.tale().await);
        }
        let enough = |after| self.passed(1).len() >= after && self.is_taken_over();
        // Of two on one trail, the other one can do nothing until the first goes on.
        let waits = || {
            self.case.story == Story::Restored
                && !self.case.both_at_work()
                && self.stand.operators[1].log_text().contains(WAITS)
        };
        let goes_on = || self.case.goes_on_after().is_some_and(enough) || waits();
        if self.case.stops() && self.harmed && !self.continued && !self.is_at_an_end() && goes_on() {
            self.go_on().await;
        }
    }

    /// Whether the first one is to come to harm at its orderly end.
    fn is_at_an_end(&self) -> bool {
        self.case.point().is_some_and(|point| point.name.starts_with(AT_AN_END))
    }

    /// What comes at an orderly end only is reached by asking for one.
    pub async fn ask_for_an_end(&mut self) {
        if self.is_at_an_end() && !self.harmed {
            self.stand.operators[0].signal(Signal::SIGTERM);
            let harmed = async || self.is_down().then_some(());
            let waited = wait_until("harm at an orderly end", PATIENCE, harmed).await;
            if let Err(error) = waited {
                panic!("{error}\n{}", self.tale().await);
            }
        }
    }

    /// Whether another one leads. Without a lease, it is enough that it does something.
    fn is_taken_over(&self) -> bool {
        if self.case.both_at_work() {
            return !self.passed(1).is_empty();
        }
        self.stand.operators[1].log_text().contains(" leading ")
    }

    /// When all is over already, nothing waits for another leader: who goes on within its lease was not deposed.
    pub async fn past_the_lease(&self) {
        if self.case.stops() {
            let leads = async || self.is_taken_over().then_some(());
            let waited = wait_until("the other operator to lead", PATIENCE, leads).await;
            if let Err(error) = waited {
                panic!("{error}\n{}", self.tale().await);
            }
        }
    }

    pub async fn go_on(&mut self) {
        (self.continued, self.taken_over) = (true, self.is_taken_over());
        let first = &self.stand.operators[0];
        first.signal(Signal::SIGCONT);
        if self.is_at_an_end() {
            let ended = wait_until("the first operator's end", PATIENCE, async || (!first.is_up()).then_some(())).await;
            let in_order = ended.is_ok() && first.log_text().lines().last().is_some_and(|line| !line.contains("ERROR"));
            assert!(in_order, "no orderly end\n{}", self.tale().await);
            first.kill();
        }
    }

    /// Nobody may end before what was begun is over, and before a deposed leader knows.
    pub async fn settle(&self) {
        let settled = async || {
            if !self.harmed && self.is_down() {
                return Some(());
            }
            // The answer in the fence has no failpoint after it.
            let passed = |n| self.passed(n).into_iter().rfind(|name| !name.starts_with("fence."));
            let quiet = |n| passed(n).is_none_or(|name| name.ends_with(".after"));
            let first = match self.case.what {
                // Its first term may not have begun, and a request for the lease that comes too late is dropped.
                What::Stop(Point { name, .. }) if name.starts_with("lease.") => true,
                // Who is deposed has ended its work, or given it up.
                What::Stop(_) if self.harmed => self.times_deposed() > self.deposed,
                _ => quiet(0) || !self.continues(),
            };
            (first && quiet(1)).then_some(())
        };
        let waited = wait_until("the last effect to be over", PATIENCE, settled).await;
        if let Err(error) = waited {
            panic!("{error}\n{}", self.tale().await);
        }
    }

    fn times_deposed(&self) -> usize {
        self.stand.operators[0].log_text().matches("another operator may lead: standing by").count()
    }

    /// Whether the first operator runs, or goes on.
    fn continues(&self) -> bool {
        !self.harmed || self.continued
    }

    /// Whether the first operator was killed, or is stopped.
    pub fn is_down(&self) -> bool {
        let first = &self.stand.operators[0];
        match self.case.what {
            What::Nothing => false,
            What::Kill(_) => !first.is_up(),
            What::Stop(_) | What::Both(_) => first.is_wanted() && ps_testbed::process::is_stopped(first.pid()),
        }
    }

    /// Whether the first operator came as far as its failpoint.
    fn is_reached(&self) -> bool {
        let passed = self.passed(0);
        self.case.point().is_some_and(|p| passed.iter().filter(|name| *name == p.name).count() >= p.nth)
    }

    /// Whether the first one came to harm between the beginning of a mail and the write that says what became of it.
    pub fn was_hit_at_a_mail(&self) -> bool {
        let (Some(point), passed) = (self.case.point().filter(|_| self.harmed), self.passed(0)) else { return false };
        let mut hits = passed.iter().enumerate().filter(|(_, name)| *name == point.name);
        let Some((at, _)) = hits.nth(point.nth - 1) else { return false };
        passed[at.saturating_sub(1)..=at].iter().any(|name| name.starts_with("mailer.send_link."))
    }

    /// SIGTERM; whoever stands by or leads ends in order.
    pub fn end(&self) {
        if self.continues() {
            self.stand.operators[0].stop();
        }
        self.stand.operators[1].stop();
    }
}
