//! Sources of manifests → observe → [`ps_core::decide`] → act → status.
//!
//! [`Controller::work`] drives one delivery until it rests; [`queue`] decides which delivery is next; [`act`] performs
//! one decision through the ports and persists before each outside effect. What must survive lies in the ledger;
//! [`desk`] holds what may be forgotten: messages that wait for a mail server, sights of sources, what failed last.

mod act;
mod controller;
mod desk;
pub mod folder;
pub mod hooks;
pub mod kubernetes;
mod observe;
mod queue;

pub use controller::{Controller, Ports, Rested, Settings, StepLog};
pub use queue::{Queue, Share};
