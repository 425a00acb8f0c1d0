//! What this crate runs.

use std::sync::Arc;

use async_trait::async_trait;
use ps_plugin_engine::{Answer, Request};

use crate::Host;

/// A program that can serve mounts.
#[async_trait]
pub trait Program: Send + Sync + 'static {
    /// The version that the server lists, with a leading `v`.
    fn version(&self) -> String;
    /// Storage keys, or prefixes that end in `/`, which the server should wrap with its seal as well.
    fn seal_wrapped(&self) -> Vec<String>;
    /// Takes up a mount. Its storage may not be used yet: at a registration there is none.
    async fn mount(&self, host: Host) -> Arc<dyn Mount>;
}

/// One mount.
#[async_trait]
pub trait Mount: Send + Sync + 'static {
    /// The storage is there: at least one read should try it. A standby can't write.
    ///
    /// # Errors
    /// Why the mount can't be used, for the person who enabled it.
    async fn initialize(&self) -> Result<(), String>;
    /// Another node has written the value under this key.
    fn invalidate(&self, key: &str);
    /// Answers one request. It runs in a task of its own, to its end, whether or not anybody waits.
    async fn handle(&self, request: Request) -> Answer;
}
