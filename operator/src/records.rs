//! The links store as seen by the operator: following its changes, sweeping what nobody knows, telling a damaged one.
//!
//! The gateway can write to this store. Nothing in it may stop the operator: obligations lie in the ledger, and a store
//! that can't be read any more only means that every live link is withdrawn and rotated.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use ps_controller::Queue;
use ps_core::entry::Entry;
use ps_core::error::{Class, Fault};
use ps_core::ids::{Key, LinkId};
use ps_core::link::{Record, State};
use ps_core::ports::{CasError, Ledger, LinkStore};
use ps_core::time::{Span, Timestamp};

use crate::in_use::InUse;
use crate::openings::Openings;
use crate::restore;

/// How long to wait after the store went backwards, before everything is looked at again.
const AFTER_LOSS: Duration = Duration::from_secs(30);

/// The store is damaged beyond what a retry heals: it must be put aside and opened anew.
#[derive(Debug, thiserror::Error)]
#[error("the links store is damaged")]
pub struct Damaged(#[source] pub Fault);

/// Whether a fault says that the file itself is not what we made.
#[must_use]
pub fn is_damage(fault: &Fault) -> bool {
    ["store-schema-foreign", "store-corrupt", "store-file-odd", "store-counter-lost"].contains(&fault.code.as_str())
}

/// The file that the store was opened as. Who has it open goes on using it when another one takes its name, and the
/// gateway's next start would open that other one: neither would hear of the other's changes.
pub struct StoreFile {
    path: PathBuf,
    opened: (u64, u64),
}

impl StoreFile {
    /// The file that is there now.
    ///
    /// # Errors
    /// If there is none.
    pub fn of(links: &Path) -> anyhow::Result<Self> {
        let path = links.join(ps_store::FILE);
        let found = path.symlink_metadata().with_context(|| format!("{} can't be read", path.display()))?;
        Ok(Self { opened: (found.dev(), found.ino()), path })
    }

    /// Whether it is still there.
    ///
    /// # Errors
    /// If it was replaced or removed.
    pub fn check(&self) -> Result<(), Damaged> {
        let now = match self.path.symlink_metadata() {
            Ok(found) => Some((found.dev(), found.ino())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            // Nothing is known: the next look tells.
            Err(_) => return Ok(()),
        };
        if now == Some(self.opened) {
            return Ok(());
        }
        let message = "store: the file was replaced or removed while it was used";
        let remedy = "Stop the operator before you restore a backup, and restore the whole data folder";
        Err(Damaged(Fault::new(Class::Permanent, "store-file-odd", message).remedy(remedy)))
    }
}

/// Brings each delivery whose record changed; one that was just opened, a moment later.
///
/// # Errors
/// [`Damaged`], once the store can't say any more what changed.
pub async fn follow(store: &dyn LinkStore, ledger: &dyn Ledger, queue: &Queue) -> anyhow::Result<()> {
    let (mut after, mut opened) = (0, Openings::default());
    loop {
        let mut changes = store.changes(after, 500);
        let changes = loop {
            tokio::select! {
                biased;
                // First: a store that always has something to tell must not put off what follows an opening.
                key = opened.next() => queue.push(&key),
                changes = &mut changes => break changes,
            }
        };
        let fault = match changes {
            Ok(changes) => {
                for change in changes {
                    match ledger.by_record(change.id).await {
                        Ok(Some(key)) if change.state == Some(State::Claimed) => opened.add(key),
                        Ok(Some(key)) => queue.push(&key),
                        Ok(None) => {}
                        Err(error) => {
                            // It is read once more: a claim that nobody hears of would be noticed days later.
                            tracing::warn!(%error, "a changed record could not be followed yet");
                            tokio::time::sleep(Duration::from_secs(1)).await;
                            break;
                        }
                    }
                    after = after.max(change.seq);
                }
                continue;
            }
            Err(CasError::Failed(fault)) => fault,
            Err(error) => Fault::new(Class::Transient, "store-changes", error.to_string()),
        };
        if is_damage(&fault) {
            return Err(Damaged(fault).into());
        }
        tracing::error!(code = %fault.code, "the links store can't be followed: {fault}");
        if fault.code != "changes-lost" {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        }
        // The store is older than what was read, or its counter was forged: every delivery looks for itself.
        after = 0;
        match restore::keys(ledger).await {
            Ok(keys) => keys.iter().for_each(|key| queue.push(key)),
            Err(error) => tracing::warn!("{error:#}"),
        }
        tokio::time::sleep(AFTER_LOSS).await;
    }
}

/// How often the store is compared with the links that must be in it.
const ROLL_CALL: Duration = Duration::from_secs(30);

/// Which record belongs to which delivery, as long as its link is live: deletions are not among a store's changes, and
/// a gateway that was taken over could delete one to suppress a claim.
#[derive(Default)]
pub struct Expected {
    records: Mutex<HashMap<LinkId, Key>>,
    in_use: InUse,
}

impl Expected {
    /// For an operator in this namespace.
    pub(crate) fn within(own: &str) -> Self {
        Self { in_use: InUse::new(own), ..Self::default() }
    }

    /// The connections that entries still need.
    pub(crate) const fn in_use(&self) -> &InUse {
        &self.in_use
    }

    fn map(&self) -> MutexGuard<'_, HashMap<LinkId, Key>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what an entry says about its links, and the connections that they need.
    pub fn note(&self, entry: &Entry) {
        self.in_use.note(entry);
        let mut map = self.map();
        for attempt in &entry.attempts {
            // A pending attempt is written down before its record is put.
            if attempt.delivered() && attempt.link_is_live() {
                map.insert(attempt.record, entry.key.clone());
            } else {
                map.remove(&attempt.record);
            }
        }
    }

    /// Brings the deliveries whose record is gone, every half minute.
    ///
    /// # Errors
    /// Never; it ends with its task.
    pub async fn roll_call(&self, store: &dyn LinkStore, queue: &Queue) -> anyhow::Result<()> {
        loop {
            tokio::time::sleep(ROLL_CALL).await;
            let mut missing = self.map().clone();
            let mut after = None;
            loop {
                let page = match store.list(after, 1000).await {
                    Ok(page) => page,
                    // Others hear of it too, and say so.
                    Err(_) => break,
                };
                let Some(last) = page.last() else {
                    for (record, key) in &missing {
                        tracing::error!(%record, delivery = %key, "the record of a live link is gone");
                        queue.push(key);
                    }
                    break;
                };
                after = Some(last.id);
                for summary in &page {
                    missing.remove(&summary.id);
                }
            }
        }
    }
}

/// Live links that no entry points to can't be followed by anybody (invariant 6): they are revoked, loudly. An entry is
/// always written before its record, so such a link means that the ledger was lost, or that a gateway's rights were used
/// to copy a record.
pub struct Orphans {
    unknown_for: Span,
    every: Duration,
    seen: HashMap<LinkId, Timestamp>,
    /// When the tombstones of those that were revoked may go.
    tombstones: HashMap<LinkId, Timestamp>,
}

/// How long after its `notAfter` a tombstone stays at least: clocks differ.
const CLOCKS: Span = Span::from_secs(60);

/// How long a link may be unknown where ledger and links are followed apart, before it is revoked.
const UNKNOWN_FOR: Span = Span::from_secs(3600);
/// Between two searches for links that nobody knows.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// In debug builds, for tests: both of them, in seconds.
const HURRY: &str = "PASSWORD_SENDER_ORPHANS_AFTER";

impl Default for Orphans {
    fn default() -> Self {
        let (seen, tombstones) = Default::default();
        Self { unknown_for: UNKNOWN_FOR, every: SWEEP_EVERY, seen, tombstones }
    }
}

impl Orphans {
    /// As a process searches that was started with this environment.
    #[must_use]
    pub fn from_env() -> Self {
        let said = if cfg!(debug_assertions) { std::env::var(HURRY).ok() } else { None };
        let Some(seconds) = said.and_then(|text| text.parse::<u32>().ok()) else { return Self::default() };
        let (unknown_for, every) = (Span::from_secs(seconds.into()), Duration::from_secs(seconds.into()));
        Self { unknown_for, every, ..Self::default() }
    }

    /// Between two searches.
    #[must_use]
    pub const fn every(&self) -> Duration {
        self.every
    }

    /// Searches once, and revokes those that were unknown for long enough; answers how many. The tombstones of those that this
    /// process revoked go when nothing of theirs could be inserted any more. Nothing here is fatal.
    pub async fn sweep(&mut self, store: &dyn LinkStore, ledger: &dyn Ledger, now: Timestamp) -> u64 {
        let Some(unknown) = unknown(store, ledger).await else { return 0 };
        self.seen.retain(|id, _| unknown.contains(id));
        let mut revoked = 0;
        for id in unknown {
            let since = *self.seen.entry(id).or_insert(now);
            if now.since(since) >= self.unknown_for
                && let Some(not_after) = void(store, id).await
            {
                revoked += 1;
                self.tombstones.insert(id, not_after + CLOCKS);
            }
        }
        self.clear(store, now).await;
        revoked
    }

    async fn clear(&mut self, store: &dyn LinkStore, now: Timestamp) {
        let due: Vec<LinkId> = self.tombstones.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for id in due {
            let done = match store.get(id).await {
                Ok(Some(found)) if found.value.link().is_none() => store.delete(id, found.version).await.is_ok(),
                // Gone, or something else by now: the search sees to that.
                Ok(_) => true,
                Err(_) => false,
            };
            if done {
                self.tombstones.remove(&id);
            }
        }
    }
}

/// The same at once, where ledger and links are one machine's files: at start, before any claim is answered.
pub async fn sweep_orphans(store: &dyn LinkStore, ledger: &dyn Ledger) {
    for id in unknown(store, ledger).await.unwrap_or_default() {
        void(store, id).await;
    }
}

/// The live records that the ledger certainly does not know; `None` if the store can't be searched.
async fn unknown(store: &dyn LinkStore, ledger: &dyn Ledger) -> Option<Vec<LinkId>> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = match store.list(after, 500).await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(%error, "the links store could not be searched for orphans");
                return None;
            }
        };
        let Some(last) = page.last() else { return Some(found) };
        after = Some(last.id);
        for summary in page.iter().filter(|s| s.state.is_some_and(|s| s.is_live())) {
            if matches!(ledger.by_record(summary.id).await, Ok(None)) {
                found.push(summary.id);
            }
        }
    }
}

/// Puts a tombstone under the id; answers the greatest expiry that the link could have had.
async fn void(store: &dyn LinkStore, id: LinkId) -> Option<Timestamp> {
    tracing::error!(record = %id, "a live link without a ledger entry is revoked");
    let Ok(Some(found)) = store.get(id).await else { return None };
    let not_after = found.value.link().map(|link| link.sealed.not_after)?;
    match store.replace(&Record::Void { id }, found.version).await {
        Ok(_) => Some(not_after),
        Err(error) => {
            tracing::error!(record = %id, %error, "it could not be revoked");
            None
        }
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
