//! Failpoints of a real process, for crash tests. Debug builds only; a release build has no such switch.
//!
//! `PASSWORD_SENDER_FAILPOINTS=record:FILE` writes the name of each failpoint as it is passed;
//! `…=kill:N` sends this process SIGKILL at the N-th (from 1), `…=stop:N` SIGSTOP.
//! A name is `<port>.<method>.<before|after>`; only methods with effects count.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use nix::sys::signal::{Signal, raise};
use ps_controller::hooks::{Fate, Hook, Phase};

enum Mode {
    Record(Mutex<std::fs::File>),
    Signal(u64, Signal),
}

/// See the module.
pub struct Failpoints {
    mode: Mode,
    count: AtomicU64,
}

impl Failpoints {
    /// From the environment; `None` without the variable.
    ///
    /// # Errors
    /// If the variable is there and can't be understood.
    pub fn from_env() -> anyhow::Result<Option<Self>> {
        let Ok(text) = std::env::var("PASSWORD_SENDER_FAILPOINTS") else { return Ok(None) };
        let mode = match text.split_once(':') {
            Some(("record", path)) => {
                Mode::Record(Mutex::new(std::fs::OpenOptions::new().create(true).append(true).open(path)?))
            }
            Some(("kill", n)) => Mode::Signal(n.parse()?, Signal::SIGKILL),
            Some(("stop", n)) => Mode::Signal(n.parse()?, Signal::SIGSTOP),
            _ => anyhow::bail!("PASSWORD_SENDER_FAILPOINTS must be record:FILE, kill:N or stop:N"),
        };
        Ok(Some(Self { mode, count: AtomicU64::new(0) }))
    }
}

#[async_trait]
impl Hook for Failpoints {
    async fn at(&self, port: &'static str, method: &'static str, phase: Phase, effect: bool) -> Fate {
        // A status is a projection: its loss is tested on its own.
        if !effect || method == "put_status" {
            return Fate::Pass;
        }
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        match &self.mode {
            Mode::Record(file) => {
                let phase = if phase == Phase::Before { "before" } else { "after" };
                if let Ok(mut file) = file.lock()
                    && writeln!(file, "{port}.{method}.{phase}").is_err()
                {
                    return Fate::Fail;
                }
            }
            Mode::Signal(at, signal) if count == *at => {
                if raise(*signal).is_err() {
                    return Fate::Fail;
                }
            }
            Mode::Signal(..) => {}
        }
        Fate::Pass
    }
}
