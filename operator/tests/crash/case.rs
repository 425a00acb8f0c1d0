//! One run of one story, with one operator that comes to harm and one that takes over.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use ps_core::entry::Entry;
use ps_core::ports::Ledger as _;
use ps_ledger::EmbeddedLedger;
use ps_testbed::process::Process;
use ps_testbed::{OpenBao, SmtpServer, Testbed, wait_until};

use crate::check::{self, Told};
use crate::checks::provider;
use crate::delivery::Delivery;
use crate::past;
use crate::processes::is_stopped;
use crate::source::{NAMES, Source};
use crate::story::{Point, Story};
use crate::support::{SOON, Setup, Stand, program};

/// Short: what matters is that it is over, not how long that takes. Not the shortest: this machine has much to do.
const LEASE: &str = "3s";
/// A pending attempt is its owner's for a minute, and an absence is believed after ten seconds; the rest is patience with
/// a busy machine.
const DEADLINE: Duration = Duration::from_secs(180);
/// How often a look is taken whether anything has changed.
pub const TICK: Duration = Duration::from_millis(100);
/// What a changed file does not show, such as a gateway that answers now, is looked at as often.
const LOOK: Duration = Duration::from_secs(1);

/// What happens to the first operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Nothing,
    /// SIGKILL at a failpoint.
    Kill(Point),
    /// SIGSTOP there, and SIGCONT when another one has taken over.
    Stop(Point),
    /// At each failpoint the status is erased.
    EraseStatus,
    /// At each failpoint the status is erased with the stamp.
    EraseFile,
}

#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub story: Story,
    pub what: What,
}

/// What became of it.
pub struct Outcome {
    /// The failpoints that the first operator passed.
    pub passed: Vec<String>,
    /// The one that it was killed at; or stopped at, until another one had taken over.
    pub hit: Option<String>,
    /// It was stopped while it held a database, so nobody could take over.
    pub held: bool,
    /// What a sender sees in the end.
    pub told: Vec<Told>,
}

/// Everything that a run stands on.
pub struct Place {
    pub case: Case,
    pub bao: &'static OpenBao,
    pub smtp: &'static SmtpServer,
    pub source: Source,
    pub deliveries: Vec<Delivery>,
    pub first: Process,
    pub second: Option<Process>,
    /// The first one was stopped, and goes on.
    pub continued: bool,
    /// Stopped before it had the lease, the first one stands by once it goes on.
    pub stands_by: bool,
    /// Somebody has accepted the restore.
    pub accepted: bool,
    /// The first one was stopped while it held a database.
    pub held: bool,
    /// Last: the processes end before their folders go.
    pub stand: Stand,
}

pub async fn run(case: Case) -> Outcome {
    let testbed = Testbed::connect_or_start().unwrap();
    let (bao, smtp) = (testbed.bao().await.unwrap(), testbed.smtp().await.unwrap());
    let stand = Stand::prepare(Setup { level: "debug", ..Setup::default() }, smtp);
    if case.story == Story::Checked {
        stand.with_oidc(provider().await);
    }
    configure(&stand);
    let source = match case.story {
        Story::Forgotten => Source::Past(past::folders().await.past.clone()),
        story => Source::new(story, bao).await,
    };
    stand.connect(bao, bao.address(), &source.policy()).await;
    let mut deliveries = Vec::new();
    for (delivery, manifest) in Delivery::of(case.story, &source) {
        stand.apply(delivery.name, &manifest);
        deliveries.push(delivery);
    }
    if case.story == Story::Forgotten {
        past::folders().await.unpack(&stand);
        stand.remove(NAMES[0]);
    }
    if case.story == Story::Restored {
        past::older_than_its_trail(&stand).await;
    }
    let first = start(&stand, Some(case.what));
    let mut place = Place {
        case,
        bao,
        smtp,
        source,
        deliveries,
        first,
        second: None,
        continued: false,
        stands_by: false,
        accepted: false,
        held: false,
        stand,
    };
    place.play().await;
    place.ask_for_an_end().await;
    place.wait_for_last_failpoint().await;
    place.look_after_processes().await;
    if place.was_hit() {
        place.wait_for_takeover().await;
        if matches!(case.what, What::Stop(_)) && !place.continued {
            place.continue_first().await;
        }
    }
    place.look_at_mails().await;
    check::at_the_end(&mut place).await;
    place.end().await;
    let told = check::afterwards(&place).await;
    Outcome { passed: place.passed(), hit: place.hit().filter(|_| place.counts()), held: place.held, told }
}

/// One worker, so that runs of a story pass the same failpoints; and no self-check, whose link is no delivery's.
pub fn configure(stand: &Stand) {
    let text = fs::read_to_string(stand.path("config.yaml")).unwrap()
        + "lease: "
        + LEASE
        + "\nworkers: 1\nselfCheck: {mode: \"Off\"}\n";
    fs::write(stand.path("config.yaml"), &text).unwrap();
    // Nobody asks the admin endpoints here, and a port that is promised to one of so many is taken by another.
    let lines =
        text.lines().map(|line| if line.starts_with("admin:") { "admin: {listen: \"127.0.0.1:0\"}" } else { line });
    fs::write(stand.path("config.yaml"), lines.collect::<Vec<_>>().join("\n")).unwrap();
}

pub fn start(stand: &Stand, what: Option<What>) -> Process {
    let mut command = Command::new(program());
    command.arg("standalone").arg("--config").arg(stand.path("config.yaml"));
    command.arg("--manifests").arg(stand.path("manifests")).arg("--data").arg(stand.path("data"));
    if let Some(what) = what {
        let mut words = format!("record:{}", stand.path("passed").display());
        let manifests = stand.path("manifests");
        match what {
            What::Nothing => {}
            What::Kill(Point { name, nth }) => words += &format!(",kill:{name}#{nth}"),
            What::Stop(Point { name, nth }) => words += &format!(",stop:{name}#{nth}"),
            What::EraseStatus => words += &format!(",erase-status:{}", manifests.display()),
            What::EraseFile => words += &format!(",erase-status-file:{}", manifests.display()),
        }
        command.env(ps_operator::failpoints::VARIABLE, words);
    }
    Process::spawn("operator", command).unwrap()
}

impl Place {
    /// Until all is over.
    async fn play(&mut self) {
        let begin = Instant::now();
        let mut ledger = None;
        loop {
            let (seen, looked) = (self.traces(), Instant::now());
            self.look_after_processes().await;
            self.look_at_mails().await;
            self.act().await;
            if self.is_over(&mut ledger).await {
                return;
            }
            assert!(begin.elapsed() < DEADLINE, "not over after {DEADLINE:?}\n{}", self.tale());
            loop {
                tokio::time::sleep(TICK).await;
                if looked.elapsed() > LOOK || self.traces() != seen {
                    break;
                }
            }
        }
    }

    /// What shows that something happened: databases, what was passed, status files, and whether the first one runs.
    fn traces(&self) -> Vec<Option<(SystemTime, u64)>> {
        let mut paths = vec!["data/ledger.db-wal".into(), "data/links/links.db-wal".into(), "passed".to_owned()];
        paths.extend(self.deliveries.iter().map(|d| format!("manifests/{}.status.yaml", d.name)));
        let trace = |path: &String| {
            let found = fs::metadata(self.stand.path(path)).ok()?;
            Some((found.modified().ok()?, found.len()))
        };
        let mut traces: Vec<_> = paths.iter().map(trace).collect();
        let runs = !is_stopped(&self.first) && self.first.ended().unwrap().is_none();
        traces.push(runs.then_some((SystemTime::UNIX_EPOCH, 0)));
        traces
    }

    /// The last failpoint comes when all is over already: after the last write.
    async fn wait_for_last_failpoint(&self) {
        let passed = async || {
            let harmed = is_stopped(&self.first) || self.first.ended().unwrap().is_some();
            // The lease is renewed by time, and a start that is over gives up waiting for it.
            let (names, of_work) = (self.passed(), |name: &&String| !name.starts_with("lease."));
            let quiet = names.iter().rfind(of_work).is_none_or(|name| name.ends_with(".after"));
            let over = self.continued || (quiet && !self.is_reached());
            (harmed || over).then_some(())
        };
        let waited = wait_until("the last effect to be over", SOON, passed).await;
        waited.unwrap_or_else(|e| panic!("{e}\n{}", self.tale()));
    }

    /// What the ledger has of each delivery.
    pub async fn entries(&self) -> Vec<Entry> {
        let ledger = EmbeddedLedger::open(&self.stand.path("data")).unwrap();
        let mut entries = Vec::new();
        for delivery in &self.deliveries {
            let found =
                wait_until("an entry", SOON, async || ledger.get(&delivery.key("default")).await.ok().flatten()).await;
            entries.push(found.unwrap().value);
        }
        entries
    }

    /// By the ledger, which the operators keep open meanwhile.
    async fn is_over(&self, ledger: &mut Option<EmbeddedLedger>) -> bool {
        let data = self.stand.path("data");
        if ledger.is_none() && data.join(ps_ledger::FILE).is_file() {
            *ledger = EmbeddedLedger::open(&data).ok();
        }
        let Some(ledger) = ledger else { return false };
        for delivery in &self.deliveries {
            match ledger.get(&delivery.key("default")).await {
                Ok(entry) if delivery.is_over(self.case.story, entry.as_ref().map(|e| &e.value)) => {}
                _ => return false,
            }
        }
        // The last status is put after the last entry.
        self.deliveries.iter().all(|d| match self.case.story {
            Story::Removed | Story::Forgotten if d.removed => self.stand.status(d.name).0.is_null(),
            // Nothing happens to the other one any more, so nobody puts its status again.
            Story::Forgotten => true,
            _ => self.stand.status(d.name).is("Rotated"),
        })
    }

    pub fn was_hit(&self) -> bool {
        self.second.is_some()
    }

    fn passed(&self) -> Vec<String> {
        let text = fs::read_to_string(self.stand.path("passed")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The failpoint that the first one is to come to harm at.
    pub const fn point(&self) -> Option<Point> {
        match self.case.what {
            What::Kill(point) | What::Stop(point) => Some(point),
            _ => None,
        }
    }

    /// Whether it came so far.
    pub fn is_reached(&self) -> bool {
        self.point().is_some_and(|p| self.passed().iter().filter(|name| *name == p.name).count() >= p.nth)
    }

    pub fn hit(&self) -> Option<String> {
        self.point().filter(|_| self.was_hit()).map(|p| p.name.to_owned())
    }

    /// Whether it shows what it is there for. A stopped operator that goes on before another one has taken over was merely slow.
    fn counts(&self) -> bool {
        !matches!(self.case.what, What::Stop(_)) || (!self.held && self.has_taken_over())
    }

    /// Whether the first one came to harm between the beginning of a mail and the write that says what became of it.
    pub fn was_hit_at_a_mail(&self) -> bool {
        let (Some(point), passed) = (self.point().filter(|_| self.was_hit()), self.passed()) else { return false };
        let mut hits = passed.iter().enumerate().filter(|(_, name)| *name == point.name);
        let Some((at, _)) = hits.nth(point.nth - 1) else { return false };
        passed[at.saturating_sub(1)..=at].iter().any(|name| name.starts_with("mailer.send_link."))
    }

    /// For the report of a failure: where it was hit, and the end of both logs.
    pub fn tale(&self) -> String {
        let mut tale = format!("=== {:?}, hit at {:?}", self.case, self.hit());
        for delivery in &self.deliveries {
            let status = serde_json::to_string(&self.stand.status(delivery.name).0).unwrap();
            tale += &format!(
                "\n--- {}: {} mails, opened: {}\n{status}",
                delivery.name,
                delivery.links.len(),
                delivery.is_opened()
            );
        }
        for (name, process) in [("first", Some(&self.first)), ("second", self.second.as_ref())] {
            let Some(process) = process else { continue };
            let (text, log): (String, PathBuf) = (process.log_text().unwrap(), process.log().to_owned());
            let lines: Vec<&str> = text.lines().collect();
            tale += &format!("\n--- {name}: {}\n{}", log.display(), lines[lines.len().saturating_sub(30)..].join("\n"));
        }
        tale
    }
}
