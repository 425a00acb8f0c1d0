//! What a process that will hold secrets does first.

use std::io;

use nix::sys::resource::{Resource, setrlimit};

use crate::failure::Failure;

/// No core files, and no other process of the same user may read this one's memory or attach to it.
pub(crate) fn no_dumps() -> Result<(), Failure> {
    let failed = |error: nix::Error| Failure::io("protect this process from being dumped", &io::Error::from(error));
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(failed)?;
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false).map_err(failed)?;
    Ok(())
}
