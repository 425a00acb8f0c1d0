//! Who leads: leases that no honest clock wrote, an operator that stands still, and the gateway that outlives it.

use ps_core::time::{Span, Timestamp};
use ps_ledger::EmbeddedLedger;
use ps_testbed::process::Signal;
use ps_testbed::{Testbed, unique, wait_until};
use serde_json::Value;

use crate::support::{KvSource, SOON, Setup, Stand, kv_delivery};

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

/// Leaves a lease of somebody else in the ledger of an operator that does not run.
async fn leave_lease(stand: &Stand, until: Timestamp) {
    let ledger = EmbeddedLedger::open(&stand.path("data")).unwrap();
    assert!(ledger.try_lease("somebody-else", until, now()).await.unwrap());
}

#[tokio::test]
async fn a_lease_from_a_clock_that_ran_ahead_locks_nobody_out_and_an_honest_one_is_waited_for() {
    let stand = Stand::start(Setup { lease: Some("2s"), ..Setup::default() }).await;
    stand.stop();
    leave_lease(&stand, now() + Span::from_secs(10 * 365 * 86_400)).await;
    stand.run().await;
    assert!(!stand.log_text().contains("standing by"), "ten years are no honest lease");
    stand.stop();

    let until = now() + Span::from_secs(8);
    leave_lease(&stand, until).await;
    stand.spawn();
    let stands_by = async || stand.log_text().contains("standing by").then_some(());
    wait_until("somebody who stands by", SOON, stands_by).await.unwrap();
    assert_eq!((stand.asks("healthz").await, stand.asks("readyz").await), (200, 503), "it lives, and does not lead");
    stand.wait_ready().await;
    assert!(now() >= until, "somebody else had it");
    assert_eq!((stand.asks("healthz").await, stand.asks("metrics").await), (200, 200));
    assert!(stand.log_text().contains("standing by"));
}

#[tokio::test]
async fn a_gateway_whose_operator_stands_still_ends_by_itself_and_nothing_is_lost() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let stand = Stand::start(Setup { lease: Some("2s"), ..Setup::default() }).await;
    stand.connect(bao, bao.address(), &source.policy()).await;
    let to = format!("{}@v.example", unique("silence"));
    stand.apply("shop", &kv_delivery("shop", &to, &source, "1h", "1s", Value::Null));
    let recipient = stand.recipient(&to).await;
    stand.wait_status("shop", "delivered", SOON, |s| s.is("Delivered")).await;
    let gateway = stand.gateway_pid();
    let starts = "password_sender_gateway_starts_total";
    assert_eq!(stand.metric(starts).await as u32, 1);

    // It hangs, and does not know. Twice its lease later nobody answers in its name any more.
    stand.signal(Signal::SIGSTOP);
    wait_until("the end of the gateway", SOON, async || stand.gateway().is_none().then_some(())).await.unwrap();
    assert!(recipient.try_claim().await.is_none(), "nobody may answer");
    stand.signal(Signal::SIGCONT);

    let claimed = wait_until("the claim", SOON, async || recipient.try_claim().await.filter(|a| a.status == 200)).await;
    assert_eq!(recipient.unseal(&claimed.unwrap())["password"], source.password);
    assert_ne!(stand.gateway_pid(), gateway);
    assert!(stand.metric(starts).await > 1.0);
    stand.wait_rotated("shop", SOON).await;
    source.assert_replaced(bao).await;
}
