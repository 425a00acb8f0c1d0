//! One run of one story on an installation of its own, with one operator that comes to harm and another one.

use std::fs;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ps_core::entry::Entry;
use ps_testbed::{OpenBao, SmtpServer, Testbed};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::before::PREDECESSOR;
use crate::check;
use crate::checks::provider;
use crate::delivery::Delivery;
use crate::source::Source;
use crate::stand::{Program, Setup, Stand};
use crate::story::{Point, Story};

/// A pending attempt is its owner's for a minute; the rest is patience with a busy machine.
const DEADLINE: Duration = Duration::from_secs(240);
/// Long: many cases start at once.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How often a look is taken whether an operator did anything.
const TICK: Duration = Duration::from_millis(200);
/// What no operator's failpoints show, such as a link that was opened, is looked at as often.
const LOOK: Duration = Duration::from_secs(2);

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
    pub fn is_patient(self) -> bool {
        self.story.is_patient() && self.number.is_multiple_of(2)
    }

    /// After how many failpoints of the second operator the first one goes on; without a number, when all is over.
    pub fn goes_on_after(self) -> Option<usize> {
        match self.what {
            What::Stop(_) => (self.number % 4 < 2).then_some(1),
            _ => [Some(1), Some(2), Some(4), Some(7), Some(12), None][self.number % 6],
        }
    }

    pub const fn point(self) -> Option<Point> {
        match self.what {
            What::Nothing => None,
            What::Kill(point) | What::Stop(point) | What::Both(point) => Some(point),
        }
    }

    /// Whether two are at work at once.
    pub const fn both_at_work(self) -> bool {
        matches!(self.what, What::Both(_))
    }

    pub const fn stops(self) -> bool {
        matches!(self.what, What::Stop(_) | What::Both(_))
    }
}

/// What became of it.
pub struct Outcome {
    /// The failpoints that the first operator passed.
    pub passed: Vec<String>,
    /// The one that it was killed at; or stopped at, until another one led.
    pub hit: Option<String>,
}

/// Everything that a run stands on.
pub struct Place {
    pub case: Case,
    pub bao: &'static OpenBao,
    pub smtp: &'static SmtpServer,
    pub source: Source,
    pub deliveries: Vec<Delivery>,
    manifests: Vec<String>,
    /// Somebody has accepted the restore.
    pub accepted: bool,
    /// Whether the first operator has come to harm.
    pub harmed: bool,
    /// Whether it goes on.
    pub continued: bool,
    /// Whether another one led by then; without a lease, whether it had done anything.
    pub taken_over: bool,
    /// Whether its end passed without the failpoint.
    pub missed: bool,
    /// How often it had stood by, or stopped leading, before.
    pub deposed: usize,
    pub stand: Stand,
}

pub async fn run(case: Case) -> Outcome {
    let testbed = Testbed::connect_or_start().unwrap();
    let (bao, smtp) = (testbed.bao().await.unwrap(), testbed.smtp().await.unwrap());
    let (stand, source) = (prepare(case).await, Source::new(case.story, bao).await);
    stand.connect(bao, &source.policy()).await;
    let (deliveries, manifests) = Delivery::of(case.story, &source).into_iter().unzip();
    let mut place = Place {
        case,
        bao,
        smtp,
        source,
        deliveries,
        manifests,
        accepted: false,
        harmed: false,
        continued: false,
        taken_over: false,
        missed: false,
        deposed: 0,
        stand,
    };
    place.stand.start_gateway(0).await;
    place.begin().await;
    place.start(0).await;
    loop {
        place.play().await;
        place.ask_for_an_end().await;
        place.look_after_operators().await;
        if place.case.stops() && place.harmed && !place.continued {
            place.past_the_lease().await;
            place.go_on().await;
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
    let counts = place.harmed && !place.missed && (place.taken_over || !case.stops());
    let hit = case.point().filter(|_| counts).map(|p| p.name.to_owned());
    Outcome { passed: place.passed(0), hit }
}

/// One worker, so that runs of a story pass the same failpoints; and no self-check, whose link is no delivery's.
async fn prepare(case: Case) -> Stand {
    let mut setup = Setup {
        operators: PREDECESSOR + 1,
        elect: !case.both_at_work(),
        more: "workers: 1\nselfCheck: {mode: \"Off\"}".into(),
        // What a trail tells is known to whoever leads, or a restore is noticed later. Two at work have a trail each.
        one_trail: case.story == Story::Restored && !case.both_at_work(),
        ..Setup::default()
    };
    if case.story != Story::Checked {
        return Stand::prepare(setup).await;
    }
    let provider = provider().await;
    let (issuer, authorize, client) = (provider.issuer(), provider.authorization_endpoint(), provider.client_id());
    setup.more += &format!(
        "\noidc: {{issuer: \"{issuer}\", clientId: {client}, clientSecretFile: secrets/oidc, authorizationEndpoint: \
         \"{authorize}\", timeout: 5s}}"
    );
    let options = [("--oidc-client-id", client), ("--oidc-authorization-endpoint", &authorize)];
    setup.gateway_args = options.map(|(option, value)| format!("{option}={value}")).to_vec();
    let stand = Stand::prepare(setup).await;
    fs::write(stand.path("secrets/oidc"), provider.client_secret()).unwrap();
    stand
}

impl Place {
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

    /// Entries and statuses say that all is over.
    async fn is_over(&self) -> bool {
        let (story, entries) = (self.case.story, self.entries().await);
        for delivery in &self.deliveries {
            let entry = entries.iter().find(|entry| entry.key.name == delivery.name);
            if !delivery.is_over(story, entry) {
                return false;
            }
            // Events stay in the entry until its next write; what counts is that they are on a trail.
            let proven = entry.map_or(0, |e| e.attempts.iter().filter(|a| a.evidence.is_some()).count());
            let told = story == Story::Forgotten || check::audited(&self.stand, delivery.name, "Rotated") == proven;
            let shown = if delivery.removed {
                self.stand.object(delivery.name).await.is_null()
            } else {
                // Nothing happens any more to one that is forgotten, so nobody puts its status again.
                story == Story::Forgotten || self.stand.status(delivery.name).await.is("Rotated")
            };
            if !told || !shown {
                return false;
            }
        }
        true
    }

    pub async fn apply(&self) {
        for manifest in &self.manifests {
            self.stand.apply(manifest).await;
        }
    }

    /// The names of Secrets that begin so, and what each holds.
    async fn secrets(&self, namespace: &str, prefix: &str) -> Vec<(String, Value)> {
        let path = format!("/api/v1/namespaces/{namespace}/secrets");
        let list = self.stand.cluster.call("GET", &path, None).await.unwrap();
        let all = list["items"].as_array().unwrap().iter();
        let named = all.map(|item| (item["metadata"]["name"].as_str().unwrap().to_owned(), item["data"].clone()));
        named.filter(|(name, _)| name.starts_with(prefix)).collect()
    }

    /// What is in the ledger under such names.
    pub async fn rows<T: DeserializeOwned>(&self, prefix: &str) -> Vec<(String, T)> {
        let rows = self.secrets(&self.stand.names.own, prefix).await.into_iter();
        let content = rows.map(|(name, data)| (name, STANDARD.decode(data["entry"].as_str().unwrap()).unwrap()));
        content.map(|(name, bytes)| (name, serde_json::from_slice(&bytes).unwrap())).collect()
    }

    /// What the ledger has of each delivery.
    pub async fn entries(&self) -> Vec<Entry> {
        let entries: Vec<Entry> = self.rows("entry-").await.into_iter().map(|(_, entry)| entry).collect();
        assert!(entries.len() <= self.deliveries.len(), "one delivery, one entry");
        entries
    }

    /// How many link records there are.
    pub async fn records(&self) -> usize {
        self.secrets(&self.stand.names.links, "link-").await.len()
    }

    /// The ledger-wide entry.
    pub async fn common(&self) -> Value {
        self.rows("common").await.remove(0).1
    }

    pub async fn erase_status(&self) {
        for delivery in &self.deliveries {
            let uri = format!("{}/status", self.stand.uri(delivery.name));
            let patch = json!({"status": null});
            let (status, answer) = self.stand.cluster.request("PATCH", &uri, Some(&patch)).await.unwrap();
            // The object itself may be gone.
            assert!(status == 200 || status == 404, "{answer}");
        }
    }

    pub fn passed(&self, n: usize) -> Vec<String> {
        let text = fs::read_to_string(self.stand.path(&format!("passed-{n}"))).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// For the report of a failure.
    pub async fn tale(&self) -> String {
        let Self { case, harmed, continued, .. } = self;
        let mut tale = format!("=== {case:?}, harmed: {harmed}, continued: {continued}");
        for delivery in &self.deliveries {
            let status = serde_json::to_string(&self.stand.object(delivery.name).await["status"]).unwrap();
            let (name, mails, opened) = (delivery.name, delivery.links.len(), delivery.is_opened());
            tale += &format!("\n--- {name}: {mails} mails, opened: {opened}\n{status}");
        }
        let tails: Vec<String> = self.stand.operators.iter().map(Program::tail).collect();
        format!("{tale}\n{}", tails.join("\n"))
    }
}
