//! Who leads: leases that no honest clock wrote, an operator that stands still, and the gateway that outlives it.

use std::time::Duration;

use ps_core::ports::Ledger as _;
use ps_core::time::{Span, Timestamp};
use ps_ledger::EmbeddedLedger;
use ps_testbed::process::Signal;
use ps_testbed::{Testbed, unique, wait_until};
use serde_json::{Value, json};

use crate::support::{KvSource, SOON, Setup, Stand, kv_delivery};

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}
