//! Whether there is such a link, a stranger learns neither from the answer nor from how long it takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ps_core::ids::LinkId;
use ps_core::service::{
    AcknowledgeRequest, ClaimAnswer, ClaimRequest, DeclineRequest, LinkService, LookupAnswer, LookupRequest, Refusal,
    StateAnswer,
};
use ps_core::time::Timestamp;
use ps_gateway::Settings;
use ps_gateway::verbs::Holder;

use crate::support::{Server, TestClock, post};

/// Asked of each kind, in turn.
const TIMES: usize = 150;
/// Longer than reading the largest record takes, and than a busy machine is late as a rule.
const LONGER: Duration = Duration::from_millis(4);

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

/// How often a wrong `access` takes longer than an unknown id: a half if nothing can be told, 1 if everything can (the
/// area under the ROC curve).
async fn told_apart(stranger_waits: Duration) -> f64 {
    let id = Holder::new("timed").id;
    let change = |settings: &mut Settings, _: &mut _| settings.stranger_waits = stranger_waits;
    let server = Server::with(change, |inner| Arc::new(Slow { inner, id })).await;
    let holder = server.put("timed").await.without_access();
    let mut conn = server.connect().await;
    let (mut unknown, mut wrong) = (Vec::new(), Vec::new());
    for n in 0..TIMES {
        let nobody = Holder::new(&format!("nobody {n}"));
        for (holder, times) in [(&nobody, &mut unknown), (&holder, &mut wrong)] {
            let request = post("lookup", &holder.lookup());
            let begun = Instant::now();
            assert_eq!(conn.ask(&request).await.refusal(), "404 not-found");
            times.push(begun.elapsed());
        }
    }
    let longer = unknown.iter().map(|u| wrong.iter().filter(|w| *w > u).count()).sum::<usize>();
    longer as f64 / (unknown.len() * wrong.len()) as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_long_a_stranger_waits_tells_nothing() {
    // Without the wait it can be told: the measure would notice.
    let plain = told_apart(Duration::ZERO).await;
    let uniform = told_apart(Settings::new(Arc::new(TestClock::default())).stranger_waits).await;
    println!("told apart without the wait: {plain:.3}, with it: {uniform:.3}");
    assert!(plain > 0.7, "{plain}");
    // Five standard deviations for so many samples are 0.17.
    assert!((uniform - 0.5).abs() < 0.2, "{uniform}");
}
