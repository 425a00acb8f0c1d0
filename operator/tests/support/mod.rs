//! What the flow tests stand on: the real operator with its gateway, real servers, and a recipient.

mod factors;
mod files;
mod recipient;
mod sources;
mod stand;
mod status;

pub use factors::{VERIFIER, code_in, hand_in, mail_a_code, sign_in, wrong_code};
pub use files::{Needle, Search, copy_tree, files_below, holds};
pub use recipient::{Invitation, Recipient, client};
pub use sources::{KvSource, RoleSource, kv_delivery, role_delivery};
pub use stand::{Setup, Stand, program, shared_smtp};
pub use status::Seen;

use std::time::Duration;

/// Longer than anything takes that does not have to wait; two cores are shared by many tests.
pub const SOON: Duration = Duration::from_secs(90);
/// Longer than the shortest time to live that a manifest may ask for (one minute), with its consequences.
pub const PAST_TTL: Duration = Duration::from_secs(100);
