use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;

/// A sink that counts how often it is asked, and answers or never does.
#[derive(Default)]
struct Sink {
    asked: AtomicU32,
    answers: AtomicBool,
}

#[async_trait]
impl AuditSink for Sink {
    async fn append(&self, _: &[Event]) -> Result<(), Fault> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.answers.load(Ordering::Relaxed) {
            return Ok(());
        }
        std::future::pending().await
    }
}

/// What came of one append, and how long it took.
async fn append(audit: &BoundedAudit) -> (String, Duration) {
    let begun = tokio::time::Instant::now();
    let answer = tokio::time::timeout(Duration::from_secs(3600), audit.append(&[])).await.expect("it never answers");
    let code = answer.err().map_or_else(String::new, |fault| {
        assert_eq!(fault.class, Class::Transient, "the events stay in the outbox");
        fault.code
    });
    (code, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_trail_that_hangs_costs_five_seconds_once_then_nothing_for_ten() {
    let sink = Arc::new(Sink::default());
    let audit = BoundedAudit::new(sink.clone());
    let asked = || sink.asked.load(Ordering::Relaxed);
    let slow = "audit-slow".to_owned();

    assert_eq!(append(&audit).await, (slow.clone(), AUDIT_LIMIT));
    for _ in 0..3 {
        assert_eq!(append(&audit).await, (slow.clone(), Duration::ZERO));
    }
    assert_eq!(asked(), 1, "it is left alone meanwhile");

    // The ten seconds are over; it still hangs.
    tokio::time::advance(LEFT_ALONE).await;
    assert_eq!(append(&audit).await, (slow, AUDIT_LIMIT));
    assert_eq!(asked(), 2);
    // And over once more; it works again, at once and from then on.
    sink.answers.store(true, Ordering::Relaxed);
    tokio::time::advance(LEFT_ALONE).await;
    for _ in 0..2 {
        assert_eq!(append(&audit).await, (String::new(), Duration::ZERO));
    }
    assert_eq!(asked(), 4);
}
