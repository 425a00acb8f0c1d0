//! The two operators: who runs, who leads, who is stopped, and how they end.

use std::time::Instant;

use ps_testbed::process::{Process, Signal};
use ps_testbed::wait_until;

use crate::case::{Place, TICK, What, start};
use crate::check;
use crate::story::Story;
use crate::support::SOON;

/// Attempts to take the gateway's address, one each quarter of a lease, after which nobody waits for it any more: a
/// gateway whose operator is silent ends after two leases.
const BARRED: usize = 16;
/// What is done at an orderly end only.
const AT_AN_END: &str = "lease.release.";

impl Place {
    pub async fn look_after_processes(&mut self) {
        let down = match self.case.what {
            What::Kill(_) => self.first.ended().unwrap().is_some(),
            What::Stop(_) if !self.continued => is_stopped(&self.first),
            _ => false,
        };
        if down && self.second.is_none() {
            assert!(self.is_reached(), "it ended before its failpoint\n{}", self.tale());
            check::intents(&self.stand, &self.tale());
            if self.case.story == Story::Kv && !matches!(self.case.what, What::Stop(_)) {
                // Lost while nobody was there.
                for delivery in &self.deliveries {
                    check::erase_status(&self.stand, delivery.name);
                }
            }
            self.second = Some(start(&self.stand, None));
        }
        match &self.second {
            Some(second) => assert!(second.ended().unwrap().is_none(), "the second operator ended\n{}", self.tale()),
            // One that is to be killed may have been so since it was looked at: the next look sees it.
            None if matches!(self.case.what, What::Kill(_)) => {}
            None => assert!(self.first.ended().unwrap().is_none(), "the first operator ended\n{}", self.tale()),
        }
        let waits = self.was_hit() && !self.continued && !self.has_taken_over();
        if waits && matches!(self.case.what, What::Stop(_)) && self.is_held() {
            // It was stopped while one of its threads was writing: nobody else can do anything. It goes on, and does
            // the rest itself or loses the lease; whichever, the same must hold afterwards. It does not count as a hit.
            self.held = true;
            self.continued = true;
            self.first.signal(Signal::SIGCONT).unwrap();
        }
        if self.case.what != What::Nothing && self.is_barred() && is_stopped(&self.first) {
            self.continue_first().await;
        }
        let early = matches!(self.case.what, What::Stop(_)) && self.case.story.is_patient() && !self.continued;
        if early
            && self.has_taken_over()
            && self.deliveries.iter().all(|d| self.stand.status(d.name).is("Delivered") && !d.is_opened())
        {
            self.continue_first().await;
        }
    }

    /// Whether the first one is to come to harm at its orderly end.
    fn is_at_an_end(&self) -> bool {
        self.point().is_some_and(|point| point.name.starts_with(AT_AN_END))
    }

    /// What comes at an orderly end only is reached by asking for one.
    pub async fn ask_for_an_end(&self) {
        if self.is_at_an_end() {
            self.first.signal(Signal::SIGTERM).unwrap();
            let harmed = async || (is_stopped(&self.first) || self.first.ended().unwrap().is_some()).then_some(());
            let waited = wait_until("harm at an orderly end", SOON, harmed).await;
            waited.unwrap_or_else(|e| panic!("{e}\n{}", self.tale()));
        }
    }

    /// Whether the second operator has waited for long for a database that the stopped one holds.
    fn is_held(&self) -> bool {
        let says = ["another process holds the database", "another process has held the audit trail"];
        let text = self.second.as_ref().map(|second| second.log_text().unwrap()).unwrap_or_default();
        says.iter().any(|words| text.contains(words))
    }

    /// Whether the address of the gateway was not to be had for long: the first operator was stopped in the moment in
    /// which it holds that itself, between taking it and handing it to its child.
    fn is_barred(&self) -> bool {
        let text = self.second.as_ref().map(|second| second.log_text().unwrap()).unwrap_or_default();
        text.matches("the gateway is not running").count() > BARRED
    }

    /// Nobody may end before it is clear who leads.
    pub async fn wait_for_takeover(&mut self) {
        let begin = Instant::now();
        while !self.held && !self.has_taken_over() {
            assert!(begin.elapsed() < SOON, "nobody takes over\n{}", self.tale());
            self.look_after_processes().await;
            tokio::time::sleep(TICK).await;
        }
    }

    pub fn has_taken_over(&self) -> bool {
        self.second.as_ref().is_some_and(|second| second.log_text().unwrap().contains("running; links lead to"))
    }

    /// The first one goes on, notices that it no longer leads, and ends.
    pub async fn continue_first(&mut self) {
        self.continued = true;
        self.first.signal(Signal::SIGCONT).unwrap();
        if self.hit().is_some_and(|name| name == "lease.take.before") {
            let says = async || self.first.log_text().unwrap().contains("standing by").then_some(());
            let waited = wait_until("the first operator to stand by", SOON, says).await;
            waited.unwrap_or_else(|e| panic!("{e}\n{}", self.tale()));
            self.stands_by = true;
            return;
        }
        let ended = wait_until("the first operator to end", SOON, async || self.first.ended().unwrap()).await;
        let status = ended.unwrap_or_else(|e| panic!("{e}\n{}", self.tale()));
        let says = ["another operator has taken over this data folder", "not heard of for so long"];
        let text = self.first.log_text().unwrap();
        let notices = !status.success() && says.iter().any(|words| text.contains(words));
        assert!(if self.is_at_an_end() { status.success() } else { notices }, "{status}\n{}", self.tale());
    }

    /// SIGTERM to the one that leads.
    pub async fn end(&self) {
        let leader = self.second.as_ref().unwrap_or(&self.first);
        // Of two, the one that does not lead ends as well; one that stands by must not take over.
        let both =
            [Some(&self.first).filter(|_| self.stands_by), Some(leader), Some(&self.first).filter(|_| self.held)];
        for process in both.into_iter().flatten().filter(|p| p.ended().unwrap().is_none()) {
            process.signal(Signal::SIGTERM).unwrap();
            let ended = wait_until("the operator to end", SOON, async || process.ended().unwrap()).await;
            let status = ended.unwrap_or_else(|e| panic!("{e}\n{}", self.tale()));
            assert!(status.success(), "{status}\n{}", self.tale());
        }
    }
}

/// Whether SIGSTOP has stopped all of it.
pub fn is_stopped(process: &Process) -> bool {
    ps_testbed::process::is_stopped(process.pid())
}
