use ps_core::error::Class;
use ps_core::time::Timestamp;

use super::*;

/// Longer than any test takes.
const MINUTE: Span = Span::from_secs(60);
const NOTHING: Span = Span::from_secs(0);

struct Folder {
    ledger: EmbeddedLedger,
    _folder: tempfile::TempDir,
}

fn folder() -> Folder {
    let folder = tempfile::tempdir().unwrap();
    Folder { ledger: EmbeddedLedger::open(folder.path()).unwrap(), _folder: folder }
}

fn lease(me: &str, span: Span) -> Lease {
    Lease::new(me.into(), span)
}

fn code(answer: Result<(), Fault>) -> String {
    answer.err().map_or_else(String::new, |fault| fault.code)
}

/// What must not take long.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), what).await.expect("it waits for ever")
}

impl Folder {
    /// Another process, or an earlier start, holds the lease until then.
    async fn held_by_other(&self, until: Timestamp) {
        assert_eq!(self.ledger.try_lease("other", until, Timestamp::MAX).await, Ok(true));
    }
}

#[tokio::test]
async fn before_it_is_taken_nothing_may_be_done() {
    let f = folder();
    let mine = lease("me", MINUTE);
    assert_eq!(code(mine.must_hold()), "lease-over");
    assert_eq!(mine.take(&f.ledger).await, Ok(true));
    assert_eq!(code(mine.must_hold()), "");
    assert!(soon(mine.held()).await);
    assert_eq!(lease("standby", MINUTE).take(&f.ledger).await, Ok(false));
    assert_eq!(mine.take(&f.ledger).await, Ok(true), "renewed");
}

#[tokio::test]
async fn a_standby_takes_over_when_it_is_over_and_not_before() {
    let f = folder();
    f.held_by_other(now() + MINUTE).await;
    let mine = lease("me", MINUTE);
    assert_eq!(mine.take(&f.ledger).await, Ok(false));
    assert_eq!(code(mine.must_hold()), "lease-over");
    f.held_by_other(now()).await;
    assert_eq!(mine.take(&f.ledger).await, Ok(true), "it was not renewed in time");
    assert!(soon(mine.held()).await);
}

#[tokio::test]
async fn a_row_from_the_far_future_keeps_nobody_out() {
    let f = folder();
    // No honest lease is longer than five minutes: this one was written by a clock that ran ahead.
    f.held_by_other(now() + Span::from_secs(299)).await;
    assert_eq!(lease("me", MINUTE).take(&f.ledger).await, Ok(false), "an honest one");
    for ahead in [Span::from_secs(400), Span::from_secs(86_400), Span::from_secs(1_000_000_000)] {
        f.held_by_other(now() + ahead).await;
        let mine = lease("me", MINUTE);
        assert_eq!(mine.take(&f.ledger).await, Ok(true), "{ahead}");
        assert_eq!(lease("standby", MINUTE).take(&f.ledger).await, Ok(false), "it is mine now");
    }
}

#[tokio::test]
async fn whoever_lost_it_begins_nothing_any_more() {
    let f = folder();
    let stopped = lease("stopped", NOTHING);
    assert_eq!(stopped.take(&f.ledger).await, Ok(true));
    assert_eq!(code(stopped.must_hold()), "lease-over", "over as soon as it is taken");
    assert_eq!(lease("standby", MINUTE).take(&f.ledger).await, Ok(true));
    assert_eq!(stopped.take(&f.ledger).await, Ok(false));
    assert!(!soon(stopped.held()).await, "it does not wait for what somebody else has");
    assert_eq!(code(stopped.must_hold()), "lease-over");
}

#[tokio::test]
async fn a_process_that_slept_goes_on_once_it_knows_that_it_still_leads() {
    let f = folder();
    let mine = lease("me", MINUTE);
    assert_eq!(mine.take(&f.ledger).await, Ok(true));
    // As after a long stop: its own knowledge is too old, whatever the row says.
    mine.until.store(1, Ordering::Relaxed);
    assert_eq!(code(mine.must_hold()), "lease-over");
    let waits = mine.held();
    tokio::pin!(waits);
    let early = tokio::time::timeout(PAUSE, &mut waits).await;
    assert!(early.is_err(), "it waits");
    assert_eq!(mine.take(&f.ledger).await, Ok(true));
    assert!(soon(waits).await);
}

#[tokio::test]
async fn given_back_it_is_free_at_once() {
    let f = folder();
    assert_eq!(lease("me", MINUTE).take(&f.ledger).await, Ok(true));
    assert_eq!(lease("standby", MINUTE).release(&f.ledger).await, Ok(false), "not theirs");
    assert_eq!(lease("standby", MINUTE).take(&f.ledger).await, Ok(false));
    assert_eq!(lease("me", MINUTE).release(&f.ledger).await, Ok(true));
    assert_eq!(lease("standby", MINUTE).take(&f.ledger).await, Ok(true));
}

#[tokio::test]
async fn what_is_held_by_another_process_is_waited_for_and_nothing_else() {
    tokio::time::pause();
    let fault = |class| Fault::new(class, "ledger-busy", "held");
    let mut tries = 0;
    let opened = open(|| {
        tries += 1;
        if tries < 4 { Err(fault(Class::Transient)) } else { Ok(tries) }
    });
    assert_eq!(soon(opened).await.map_err(|fault| fault.code), Ok(4));
    let refused: Result<(), Fault> = soon(open(|| Err(fault(Class::Permanent)))).await;
    assert_eq!(refused.map_err(|fault| fault.class), Err(Class::Permanent));
}

#[test]
fn only_what_passes_by_itself_is_waited_for_wherever_it_is_in_the_chain() {
    use anyhow::Context as _;
    let fault = |class| Fault::new(class, "ledger-busy", "held");
    let code = |error: &anyhow::Error| passing(error).map(|fault| fault.code.clone());
    let busy = Some("ledger-busy".to_owned());
    for (class, found) in [(Class::Transient, busy), (Class::Permanent, None), (Class::Misconfigured, None)] {
        let bare = anyhow::Error::from(fault(class));
        assert_eq!(code(&bare), found, "{class:?}");
        let wrapped: Result<(), _> = Err(CasError::Failed(fault(class)));
        assert_eq!(code(&wrapped.context("the ledger").unwrap_err()), found, "{class:?}");
    }
    assert_eq!(code(&CasError::Conflict.into()), None);
    assert_eq!(code(&anyhow::anyhow!("held")), None);
}

#[tokio::test]
async fn a_step_of_the_start_is_tried_again_while_the_lease_lasts() {
    let f = folder();
    let mine = lease("me", MINUTE);
    assert_eq!(mine.take(&f.ledger).await, Ok(true));
    let fault = |class| anyhow::Error::from(Fault::new(class, "ledger-busy", "held"));
    tokio::time::pause();
    let tries = AtomicI64::new(0);
    let step = async || match tries.fetch_add(1, Ordering::Relaxed) {
        0..3 => Err(fault(Class::Transient)),
        tried => Ok(tried),
    };
    assert_eq!(soon(mine.patiently(step)).await.unwrap(), 3);
    let refused: anyhow::Result<()> = soon(mine.patiently(async || Err(fault(Class::Permanent)))).await;
    assert!(refused.unwrap_err().is::<Fault>(), "as it was");

    mine.until.store(1, Ordering::Relaxed);
    let over: anyhow::Result<()> = soon(mine.patiently(async || Err(fault(Class::Transient)))).await;
    let told = format!("{:#}", over.unwrap_err());
    assert!(told.contains("not heard of for so long") && told.contains("held"), "{told}");
}
