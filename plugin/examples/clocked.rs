//! The plugin with the time of a file, for tests that must move the clock: milliseconds since the epoch in the file that the
//! first argument names. The verb suite runs on it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use ps_core::ports::Clock;
use ps_core::time::Timestamp;

struct FileClock(PathBuf);

impl Clock for FileClock {
    fn now(&self) -> Timestamp {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        Timestamp::from_millis(text.trim().parse().unwrap_or_default())
    }
}

fn main() -> ExitCode {
    let file = std::env::args_os().nth(1).map(PathBuf::from).unwrap_or_default();
    ps_plugin::run(Arc::new(FileClock(file)))
}
