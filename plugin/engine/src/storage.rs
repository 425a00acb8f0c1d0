//! The port to a mount's storage.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

/// The storage did not do it. The words are the server's own, and must reach it unchanged: by some of them it knows that it
/// has to ask the active node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StorageFault(pub String);

/// Why a commit did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The guarded value is another by now.
    #[error("changed by somebody else meanwhile")]
    Conflict,
    /// It did not happen, or nobody knows whether it did.
    #[error(transparent)]
    Failed(#[from] StorageFault),
}

/// What a commit depends on: the value that a key must still have, or that it must still not exist.
#[derive(Clone, Copy)]
pub struct Guard<'a> {
    /// The key.
    pub key: &'a str,
    /// Its bytes as they were read; `None` if there was nothing.
    pub value: Option<&'a [u8]>,
}

impl fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("key", &self.key).finish_non_exhaustive()
    }
}

/// One change.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// Key and value.
    Put(String, Vec<u8>),
    /// Removes a key; one that does not exist is no failure.
    Delete(String),
}

/// Its kind and key. A value has ciphertext in it, and proofs that were shown.
impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(key, _) => write!(f, "Put({key}, …)"),
            Self::Delete(key) => write!(f, "Delete({key})"),
        }
    }
}

/// Keys and values of one mount.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Whether this node is a standby: it can't write, and what it reads may be old.
    ///
    /// # Errors
    /// The server's.
    async fn is_standby(&self) -> Result<bool, StorageFault>;
    /// The longest that the server lets a lease of this mount live.
    ///
    /// # Errors
    /// The server's.
    async fn longest_lease(&self) -> Result<Duration, StorageFault>;
    /// The names directly below `prefix`, in order; folders end in `/`.
    ///
    /// # Errors
    /// The server's.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StorageFault>;
    /// One value.
    ///
    /// # Errors
    /// The server's.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageFault>;
    /// Makes the writes, all or none where the server can, in their order where it can't. Durable when this returns.
    ///
    /// # Errors
    /// `Conflict` where the guard does not hold, as far as the server can tell; `Failed`.
    async fn commit(&self, guard: Option<Guard<'_>>, writes: &[Write]) -> Result<(), CommitError>;
}
