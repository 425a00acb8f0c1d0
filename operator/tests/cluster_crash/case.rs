//! One run of one story on an installation of its own, with one operator that comes to harm and another one.

use std::fs;
use std::time::{Duration, Instant};

use ps_core::entry::{Entry, MailState};
use ps_testbed::process::Signal;
use ps_testbed::{OpenBao, SmtpServer, Testbed, unique, wait_until};
use serde_json::{Value, json};

use crate::check;
use crate::link::Link;
use crate::stand::{Program, Setup, Stand};
use crate::support::{Invitation, KvSource, kv_delivery};

/// A pending attempt is its owner's for a minute; the rest is patience with a busy machine.
const DEADLINE: Duration = Duration::from_secs(240);
/// Long: many cases start at once.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a look is taken whether an operator did anything.
const TICK: Duration = Duration::from_millis(200);
/// What no operator's failpoints show, such as a link that was opened, is looked at as often.
const LOOK: Duration = Duration::from_secs(2);

/// The name of the delivery.
pub const NAME: &str = "one";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// A KV secret that is opened and acknowledged.
    Opened,
    /// A KV secret whose object is deleted before the link is opened.
    Removed,
}

impl Story {
    pub const ALL: [Self; 2] = [Self::Opened, Self::Removed];
}

/// A failpoint of a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub name: &'static str,
    /// Which time it is passed, from 1.
    pub nth: usize,
}

/// What happens to the first operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Nothing,
    /// SIGKILL at a failpoint; the status is erased while nobody is there.
    Kill(Point),
    /// SIGSTOP there; SIGCONT once another one leads, or once that one has brought everything to its end.
    Stop(Point),
    /// No lease. SIGSTOP there, another one becomes active, and SIGCONT somewhere in the middle of its work.
    Both(Point),
}

#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub story: Story,
    pub what: What,
    /// Varies what is left to chance: how patient the recipient is, and when a stopped operator goes on.
    pub number: usize,
}

impl Case {
    /// Whether the recipient waits until the status says `Delivered`.
    const fn is_patient(self) -> bool {
        self.number.is_multiple_of(2)
    }

    /// After how many failpoints of the second operator the first one goes on; without a number, when all is over.
    fn goes_on_after(self) -> Option<usize> {
        match self.what {
            What::Stop(_) => (self.number % 4 < 2).then_some(1),
            _ => [Some(1), Some(2), Some(4), Some(7), Some(12), None][self.number % 6],
        }
    }

    const fn point(self) -> Option<Point> {
        match self.what {
            What::Nothing => None,
            What::Kill(point) | What::Stop(point) | What::Both(point) => Some(point),
        }
    }

    const fn stops(self) -> bool {
        matches!(self.what, What::Stop(_) | What::Both(_))
    }
}

/// What became of it.
pub struct Outcome {
    /// The failpoints that the first operator passed.
    pub passed: Vec<String>,
    /// The one that it was killed or stopped at.
    pub hit: Option<String>,
}

/// Everything that a run stands on.
pub struct Place {
    pub case: Case,
    pub bao: &'static OpenBao,
    pub smtp: &'static SmtpServer,
    pub source: KvSource,
    pub to: String,
    pub sender: String,
    pub links: Vec<Link>,
    /// Whether the object was deleted by now.
    removed: bool,
    /// Whether the first operator has come to harm.
    harmed: bool,
    /// Whether it goes on.
    continued: bool,
    /// How often it had stood by, or stopped leading, before.
    deposed: usize,
    pub stand: Stand,
}

pub async fn run(case: Case) -> Outcome {
    let testbed = Testbed::connect_or_start().unwrap();
    let (bao, smtp) = (testbed.bao().await.unwrap(), testbed.smtp().await.unwrap());
    let setup = Setup {
        operators: 2,
        elect: !matches!(case.what, What::Both(_)),
        // One worker, so that runs of a story pass the same failpoints; and no self-check, whose link is no delivery's.
        more: "workers: 1\nselfCheck: {mode: \"Off\"}".into(),
        ..Setup::default()
    };
    let (stand, source) = (Stand::prepare(setup).await, KvSource::new(bao).await);
    stand.connect(bao, &source.policy()).await;
    let (to, sender) = (format!("{}@v.example", unique("alice")), format!("{}@s.example", unique("sender")));
    let more = json!({"notify": {"email": sender, "events": ["Retrieved"]}});
    stand.apply(&kv_delivery(NAME, &to, &source, "10m", "2s", more)).await;
    let mut place = Place {
        case,
        bao,
        smtp,
        source,
        to,
        sender,
        links: Vec::new(),
        removed: false,
        harmed: false,
        continued: false,
        deposed: 0,
        stand,
    };
    place.stand.start_gateway(0).await;
    place.start(0).await;
    loop {
        place.play().await;
        if place.case.stops() && place.harmed && !place.continued {
            place.past_the_lease().await;
            place.go_on();
            continue;
        }
        let was = place.harmed;
        place.settle().await;
        place.look_after_operators().await;
        // It may come to harm when all is over already: after the last write.
        if place.harmed == was {
            break;
        }
    }
    check::at_the_end(&mut place).await;
    place.end();
    check::afterwards(&place).await;
    Outcome { passed: place.passed(0), hit: case.point().filter(|_| place.harmed).map(|p| p.name.to_owned()) }
}

impl Place {
    /// Starts an operator that records its failpoints; the first one comes to harm.
    async fn start(&self, n: usize) {
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

    /// Until all is over.
    async fn play(&mut self) {
        let begin = Instant::now();
        loop {
            let (seen, looked) = (self.traces(), Instant::now());
            self.look_after_operators().await;
            self.look_at_links().await;
            self.act().await;
            if self.is_over().await {
                return;
            }
            assert!(begin.elapsed() < DEADLINE, "not over after {DEADLINE:?}\n{}", self.tale().await);
            while looked.elapsed() < LOOK && self.traces() == seen {
                tokio::time::sleep(TICK).await;
            }
        }
    }

    /// What shows that an operator did something, or can't any more.
    fn traces(&self) -> (usize, usize, bool) {
        (self.passed(0).len(), self.passed(1).len(), self.is_down())
    }

    async fn look_after_operators(&mut self) {
        if !self.harmed && self.is_down() {
            assert!(self.is_reached(), "it ended before its failpoint\n{}", self.tale().await);
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
        let enough = |after| self.passed(1).len() >= after;
        if self.case.stops() && self.harmed && !self.continued && self.case.goes_on_after().is_some_and(enough) {
            self.go_on();
        }
    }

    /// When all is over already, nothing waits for another leader: who goes on within its lease was not deposed.
    async fn past_the_lease(&self) {
        if matches!(self.case.what, What::Stop(_)) {
            let leads = async || self.stand.operators[1].log_text().contains(" leading ").then_some(());
            let waited = wait_until("the other operator to lead", PATIENCE, leads).await;
            if let Err(error) = waited {
                panic!("{error}\n{}", self.tale().await);
            }
        }
    }

    fn go_on(&mut self) {
        self.continued = true;
        self.stand.operators[0].signal(Signal::SIGCONT);
    }

    /// Nobody may end before what was begun is over, and before a deposed leader knows.
    async fn settle(&self) {
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

    /// Takes in new mails; of all links that were ever mailed, at most one is live.
    async fn look_at_links(&mut self) {
        let base = self.stand.public_url();
        let mails = self.smtp.mails(&self.to).await.unwrap();
        let fresh = mails.iter().skip(self.links.len()).map(|mail| Link::new(&Invitation::of(mail), &base));
        self.links.extend(fresh.collect::<Vec<_>>());
        let mut states = Vec::new();
        for link in &self.links {
            states.push(link.state().await.unwrap_or_else(|| "no gateway".into()));
        }
        let live = states.iter().filter(|state| *state == "open" || *state == "claimed").count();
        assert!(live <= 1 && states.len() <= 2, "links mailed: {states:?}\n{}", self.tale().await);
    }

    /// What recipient and sender do.
    async fn act(&mut self) {
        if self.links.is_empty() {
            return;
        }
        match self.case.story {
            Story::Removed => {
                if !self.removed {
                    self.stand.delete(NAME).await;
                    self.removed = true;
                }
            }
            Story::Opened if self.is_opened() => {
                for link in &mut self.links {
                    link.acknowledge().await;
                }
            }
            Story::Opened => {
                if !self.case.is_patient() || self.stand.status(NAME).await.is("Delivered") {
                    for link in &mut self.links {
                        if link.claim().await {
                            break;
                        }
                    }
                }
            }
        }
    }

    fn is_opened(&self) -> bool {
        self.links.iter().any(|link| link.opened.is_some() || link.lost)
    }

    /// The entry says that all is over: no link, nothing owed, nothing to tell; and the status says it as well.
    async fn is_over(&self) -> bool {
        let Some(entry) = self.entry().await else { return false };
        let over = |a: &ps_core::entry::Attempt| match a.mail {
            MailState::Pending { .. } => false,
            // Its link was void before anybody opened it: nobody had the value.
            MailState::Superseded => true,
            _ => !a.link_is_live() && a.evidence.is_some(),
        };
        let done = entry.attempt > 0
            && entry.attempts.iter().all(over)
            && entry.notices.is_empty()
            // Events stay in the entry until its next write; what counts is that they are on a trail.
            && check::audited(&self.stand, "Rotated") == entry.attempts.iter().filter(|a| a.evidence.is_some()).count()
            && entry.removed == (self.case.story == Story::Removed);
        done && match self.case.story {
            Story::Opened => self.is_opened() && self.stand.status(NAME).await.is("Rotated"),
            Story::Removed => self.stand.object(NAME).await.is_null(),
        }
    }

    /// What is in the operator's namespace under this name.
    async fn secrets(&self, prefix: &str) -> Vec<Vec<u8>> {
        use base64::Engine as _;
        let path = format!("/api/v1/namespaces/{}/secrets", self.stand.names.own);
        let list = self.stand.cluster.call("GET", &path, None).await.unwrap();
        let items = list["items"].as_array().unwrap().iter();
        let named = items.filter(|item| item["metadata"]["name"].as_str().unwrap().starts_with(prefix));
        let text = named.map(|item| item["data"]["entry"].as_str().unwrap().to_owned());
        text.map(|text| base64::engine::general_purpose::STANDARD.decode(text).unwrap()).collect()
    }

    /// What the ledger has.
    pub async fn entry(&self) -> Option<Entry> {
        let found = self.secrets("entry-").await;
        assert!(found.len() <= 1, "one delivery, one entry");
        found.first().map(|bytes| serde_json::from_slice(bytes).unwrap())
    }

    /// The ledger-wide entry.
    pub async fn common(&self) -> Value {
        serde_json::from_slice(&self.secrets("common").await[0]).unwrap()
    }

    async fn erase_status(&self) {
        let uri = format!("{}/status", self.stand.uri(NAME));
        let (status, answer) = self.stand.cluster.request("PATCH", &uri, Some(&json!({"status": null}))).await.unwrap();
        // The object itself may be gone.
        assert!(status == 200 || status == 404, "{answer}");
    }

    pub fn passed(&self, n: usize) -> Vec<String> {
        let text = fs::read_to_string(self.stand.path(&format!("passed-{n}"))).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Whether the first operator was killed, or is stopped.
    fn is_down(&self) -> bool {
        let first = &self.stand.operators[0];
        match self.case.what {
            What::Nothing => false,
            What::Kill(_) => !first.is_up(),
            What::Stop(_) | What::Both(_) => is_stopped(first),
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
    fn end(&self) {
        if self.continues() {
            self.stand.operators[0].stop();
        }
        self.stand.operators[1].stop();
    }

    /// For the report of a failure.
    pub async fn tale(&self) -> String {
        let status = serde_json::to_string(&self.stand.object(NAME).await["status"]).unwrap();
        let tails: Vec<String> = self.stand.operators.iter().map(Program::tail).collect();
        format!(
            "=== {:?}, harmed: {}, continued: {}, {} mails, opened: {}\n{status}\n{}",
            self.case,
            self.harmed,
            self.continued,
            self.links.len(),
            self.is_opened(),
            tails.join("\n")
        )
    }
}

/// Whether SIGSTOP has stopped all of it.
fn is_stopped(program: &Program) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", program.pid())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}
