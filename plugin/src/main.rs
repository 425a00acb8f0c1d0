//! The program that Vault and OpenBao start.

use std::process::ExitCode;
use std::sync::Arc;

/// What people send passes through buffers of libraries.
#[global_allocator]
static ALLOCATOR: ps_hardening::WipeOnFree = ps_hardening::WipeOnFree;

fn main() -> ExitCode {
    ps_plugin::run(Arc::new(ps_plugin::SystemClock))
}
