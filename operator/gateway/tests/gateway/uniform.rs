//! Whether there is such a link, a stranger learns neither from the answer nor from how long it takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ps_core::ids::{Digest, LinkId};
use ps_core::link::Record;
use ps_core::ports::LinkStore as _;
use ps_core::service::{
    AcknowledgeRequest, ClaimAnswer, ClaimRequest, DeclineRequest, LinkService, LookupAnswer, LookupRequest, Refusal,
    StateAnswer,
};
use ps_core::time::Timestamp;
use ps_gateway::Settings;
use ps_gateway::verbs::{Holder, Sample};
use ps_store::EmbeddedStore;
use ps_store::service::{Fence, StoreLinkService};

use crate::support::{Server, T, TestClock, post};

/// Asked of each kind, in turn.
const TIMES: usize = 150;
/// Longer than reading the largest record takes, and than a busy machine is late as a rule.
const LONGER: Duration = Duration::from_millis(4);

/// One measures at a time: they would measure each other.
static MEASURING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// For one link it takes longer, as if its record were large and the disk slow.
struct Slow {
    inner: Arc<dyn LinkService>,
    id: LinkId,
}

#[async_trait]
impl LinkService for Slow {
    async fn lookup(&self, r: &LookupRequest, now: Timestamp) -> Result<LookupAnswer, Refusal> {
        if r.id == self.id {
            tokio::time::sleep(LONGER).await;
        }
        self.inner.lookup(r, now).await
    }
    async fn claim(&self, r: &ClaimRequest, now: Timestamp) -> Result<ClaimAnswer, Refusal> {
        self.inner.claim(r, now).await
    }
    async fn acknowledge(&self, r: &AcknowledgeRequest, now: Timestamp) -> Result<StateAnswer, Refusal> {
        self.inner.acknowledge(r, now).await
    }
    async fn decline(&self, r: &DeclineRequest, now: Timestamp) -> Result<StateAnswer, Refusal> {
        self.inner.decline(r, now).await
    }
}

/// A whole request, as this holder sends it.
type Ask = fn(&Holder) -> Vec<u8>;

/// How often a wrong `access` takes longer than an unknown id: a half if nothing can be told, 1 if everything can (the
/// area under the ROC curve). Requests are made beforehand and each kind is asked first as often as the other: who comes
/// after work of this process waits longer for a processor on a busy machine.
async fn told_apart(server: &Server, holder: &Holder, request: Ask) -> f64 {
    let wrong = request(&holder.without_access());
    let unknown: Vec<_> = (0..TIMES).map(|n| request(&Holder::new(&format!("nobody {n}")))).collect();
    let mut conn = server.connect().await;
    let mut times = [const { Vec::new() }; 2];
    for (n, unknown) in unknown.iter().enumerate() {
        let mut kinds = [(0, unknown), (1, &wrong)];
        kinds.rotate_left(n % 2);
        for (kind, request) in kinds {
            let begun = Instant::now();
            assert_eq!(conn.ask(request).await.refusal(), "404 not-found");
            times[kind].push(begun.elapsed());
        }
    }
    let [unknown, wrong] = times;
    let longer = unknown.iter().map(|u| wrong.iter().filter(|w| *w > u).count()).sum::<usize>();
    longer as f64 / (unknown.len() * wrong.len()) as f64
}

fn uniform_wait() -> Duration {
    Settings::new(Arc::new(TestClock::default())).stranger_waits
}

/// On a store in memory where one link is slow.
async fn slow_told_apart(stranger_waits: Duration) -> f64 {
    let id = Holder::new("timed").id;
    let change = |settings: &mut Settings, _: &mut _| settings.stranger_waits = stranger_waits;
    let server = Server::with(change, |inner| Arc::new(Slow { inner, id })).await;
    let holder = server.put("timed").await;
    told_apart(&server, &holder, |h| post("lookup", &h.lookup())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_long_a_stranger_waits_tells_nothing() {
    let _alone = MEASURING.lock().await;
    // Without the wait it can be told: the measure would notice.
    let plain = slow_told_apart(Duration::ZERO).await;
    let uniform = slow_told_apart(uniform_wait()).await;
    println!("told apart without the wait: {plain:.3}, with it: {uniform:.3}");
    // Three standard deviations for so many samples are 0.1, five are 0.17.
    assert!(plain > 0.6, "{plain}");
    assert!((uniform - 0.5).abs() < 0.2, "{uniform}");
}

/// As much as the store takes.
const LARGEST: usize = 1 << 19;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_it_where_the_record_is_as_large_as_can_be_and_read_from_the_disk() {
    let _alone = MEASURING.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(&folder.path().join("links")).unwrap());
    let Sample { holder, mut link } = Sample::new("large", &[], T);
    link.sealed.ciphertext_hash = Digest::of(&vec![7; LARGEST]);
    link.ciphertext = Some(vec![7; LARGEST]);
    store.insert(&Record::Link(Box::new(link))).await.unwrap();
    let verbs: [(&str, Ask); 3] = [
        ("lookup", |h| post("lookup", &h.lookup())),
        ("claim", |h| post("claim", &h.claim())),
        ("code", |h| post("code", &h.mail())),
    ];
    let serve = async |wait| {
        let change = |settings: &mut Settings, _: &mut _| settings.stranger_waits = wait;
        let service = StoreLinkService::new(store.clone(), Fence::lifted());
        Server::with(change, |_| Arc::new(service)).await
    };
    let plain = told_apart(&serve(Duration::ZERO).await, &holder, verbs[0].1).await;
    let server = serve(uniform_wait()).await;
    for (verb, request) in verbs {
        let uniform = told_apart(&server, &holder, request).await;
        println!("{verb}: told apart without the wait: {plain:.3}, with it: {uniform:.3}");
        assert!((uniform - 0.5).abs() < 0.2, "{verb}: {uniform}, and {plain} without the wait");
    }
}
