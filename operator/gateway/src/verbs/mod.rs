//! What every [`LinkService`] must do: one suite for `core::link` over a store, and for a client of a Vault mount.
//!
//! Each case brings a link of its own and its own times, so all may run on one service, in any order.

mod cases;
mod requests;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use ps_core::ids::{Digest, LinkId};
use ps_core::link::{Command, Link, Record, Verification, apply};
use ps_core::ports::{CasError, LinkStore};
use ps_core::service::LinkService;
use ps_core::time::Timestamp;
use ps_store::service::{Fence, StoreLinkService};

pub use requests::Holder;

/// A service under test, and the two things that the operator does behind it.
#[async_trait]
pub trait Bench: Send + Sync {
    /// The service.
    fn service(&self) -> Arc<dyn LinkService>;
    /// Puts a link that was never there.
    async fn put(&self, link: Link) -> Result<(), Broken>;
    /// Withdraws a link.
    async fn revoke(&self, id: LinkId, now: Timestamp) -> Result<(), Broken>;
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

/// Runs all cases.
///
/// # Errors
/// The first promise that was not kept, with the name of its case.
pub async fn verb_suite(bench: &dyn Bench) -> Result<(), Broken> {
    cases::run(bench).await
}

/// A link of the suite's own making: opaque bytes under real hashes.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Who holds it.
    pub holder: Holder,
    /// Its record.
    pub link: Link,
}

/// The sealed payload of every sample.
pub const CIPHERTEXT: &[u8] = b"not really sealed, and 272 bytes long no more than it has to be";
/// The sealed preview of every sample.
pub const PREVIEW: &[u8] = b"a preview";
/// How long a sample stays open, and how long it may be claimed again.
pub const TTL: ps_core::time::Span = ps_core::time::Span::from_secs(4 * 3600);
/// See [`TTL`].
pub const WINDOW: ps_core::time::Span = ps_core::time::Span::from_secs(900);

impl Sample {
    /// A link named by `seed`, put at `now`, with these kinds of verification; with an opening code.
    #[must_use]
    pub fn new(seed: &str, kinds: &[Verification], now: Timestamp) -> Self {
        let holder = Holder::new(seed);
        let sealed = ps_core::link::Sealed {
            id: holder.id,
            access: Digest::of(&holder.access),
            decline: Digest::of(&holder.decline),
            proof: Digest::of(&holder.proof),
            code: Some(ps_core::link::opening_code_hash(holder.id, requests::CODE)),
            kinds: kinds.to_vec(),
            kdf: kinds.contains(&Verification::Passphrase).then_some(ps_core::link::Kdf::Argon2id19456x2x1),
            not_after: now + TTL + WINDOW,
            claim_window: WINDOW,
            ciphertext_hash: Digest::of(CIPHERTEXT),
            preview_hash: Digest::of(PREVIEW),
        };
        let link = Link::new(sealed, now + TTL, CIPHERTEXT.to_vec(), PREVIEW.to_vec());
        Self { holder, link }
    }
}

/// A [`Bench`] over any store.
pub struct StoreBench<S: ?Sized> {
    store: Arc<S>,
    service: Arc<StoreLinkService<S>>,
}

impl<S: LinkStore + ?Sized + 'static> StoreBench<S> {
    /// Over `store`, without a fence.
    #[must_use]
    pub fn new(store: Arc<S>) -> Self {
        Self { service: Arc::new(StoreLinkService::new(store.clone(), Fence::lifted())), store }
    }
}

impl<S: ?Sized> fmt::Debug for StoreBench<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreBench").finish_non_exhaustive()
    }
}

#[async_trait]
impl<S: LinkStore + ?Sized + 'static> Bench for StoreBench<S> {
    fn service(&self) -> Arc<dyn LinkService> {
        self.service.clone()
    }

    async fn put(&self, link: Link) -> Result<(), Broken> {
        self.store.insert(&Record::Link(Box::new(link))).await.map(drop).map_err(|e| Broken(e.to_string()))
    }

    async fn revoke(&self, id: LinkId, now: Timestamp) -> Result<(), Broken> {
        loop {
            let found = self.store.get(id).await.map_err(|e| Broken(e.to_string()))?;
            let Some(found) = found else { return Err(Broken("nothing to revoke".to_owned())) };
            let Some(next) = found.value.link().and_then(|link| apply(link, &Command::Revoke, now).next) else {
                return Ok(());
            };
            match self.store.replace(&Record::Link(Box::new(next)), found.version).await {
                Ok(_) => return Ok(()),
                Err(CasError::Conflict) => {}
                Err(error) => return Err(Broken(error.to_string())),
            }
        }
    }
}
