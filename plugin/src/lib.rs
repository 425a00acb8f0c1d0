//! `password-sender-plugin`: the engine behind the protocol, with the operating system's clock and randomness.
//!
//! Vault and OpenBao start this program; how to register it is docs/plugin.md. The engine is `ps_plugin_engine`, the protocol
//! `ps_plugin_wire`; here they are put together.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use ps_core::error::{Class, Fault};
use ps_core::ports::{Clock, Random};
use ps_core::time::Timestamp;
use ps_plugin_engine::{Answer, Engine, Request};
use ps_plugin_wire::{Host, Mount, Program};

/// What a person reads who starts the program by hand.
const HINT: &str = "Copy it into the server's plugin_directory and register it:\n\
    \n\
    bao plugin register -sha256=\"$(sha256sum password-sender-plugin | cut -d' ' -f1)\" -command=password-sender-plugin secret password-sender\n\
    bao secrets enable -path=send password-sender\n\
    \n\
    With HashiCorp Vault it is `vault` instead of `bao`. More is in docs/plugin.md.";

/// Serves the server that started this process. `clock` gives the time that links live by.
pub fn run(clock: Arc<dyn Clock>) -> ExitCode {
    // Best effort: a kernel that refuses must not keep secrets from being handed over.
    ps_hardening::no_dumps().unwrap_or_default();
    ps_plugin_wire::serve(Sender { clock }, HINT)
}

/// The operating system's clock.
#[derive(Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The operating system's randomness.
struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), Fault> {
        getrandom::fill(out).map_err(|_| Fault::new(Class::Transient, "no-randomness", "the system has no randomness"))
    }
}

struct Sender {
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Program for Sender {
    fn version(&self) -> String {
        format!("v{}", env!("CARGO_PKG_VERSION"))
    }

    fn seal_wrapped(&self) -> Vec<String> {
        Engine::seal_wrapped()
    }

    async fn mount(&self, host: Host) -> Arc<dyn Mount> {
        Arc::new(OneMount { engine: Engine::new(Arc::new(host), Arc::new(SystemRandom)), clock: self.clock.clone() })
    }
}

struct OneMount {
    engine: Engine,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Mount for OneMount {
    async fn initialize(&self) -> Result<(), String> {
        self.engine.initialize().await
    }

    fn invalidate(&self, key: &str) {
        self.engine.invalidate(key);
    }

    async fn handle(&self, request: Request) -> Answer {
        self.engine.handle(request, self.clock.now()).await
    }
}
