//! Is this ledger older than the audit trail? Then it was restored from a backup (DESIGN.md, "Restored, copied or made anew").
//!
//! Events are in the ledger's outbox before they are on the trail, so a trail that tells something the ledger does not
//! know proves a restore, and a crash never looks like one.

use std::collections::{BTreeSet, HashMap};

use anyhow::Context as _;
use ps_audit::FileTrail;
use ps_core::audit::{Event, Writer};
use ps_core::entry::{Common, Entry, TagKey};
use ps_core::ids::Key;
use ps_core::ports::{CasError, Ledger, Random, Versioned, common_missing};
use ps_core::time::Timestamp;

use crate::failpoints::{self, Own};

/// What the ledger has of one delivery.
enum Memory {
    Nothing,
    Of(Known),
    /// There is an entry, and it can't be read: it proves nothing, and its worker says what is wrong with it.
    Unreadable,
}

impl Memory {
    fn of(found: Result<Option<Versioned<Entry>>, CasError>) -> Result<Self, CasError> {
        match found {
            Ok(found) => Ok(found.map_or(Self::Nothing, |entry| Self::Of(Known::of(&entry.value)))),
            Err(error) if is_unreadable(&error) => Ok(Self::Unreadable),
            Err(error) => Err(error),
        }
    }
}

/// What the ledger knows of one delivery, as far as the trail can contradict it.
struct Known {
    incarnation: String,
    next_seq: u64,
    journals: HashMap<u32, u64>,
}

impl Known {
    fn of(entry: &Entry) -> Self {
        let journals = entry.attempts.iter().map(|a| (a.number, u64::from(a.link.journal_read))).collect();
        Self { incarnation: entry.incarnation(), next_seq: entry.next_seq, journals }
    }

    /// For an event of this incarnation.
    fn has(&self, event: &Event) -> bool {
        match event.writer {
            Writer::Operator => event.seq < self.next_seq,
            // An attempt that the entry has dropped was read to its end.
            Writer::Record => self.journals.get(&event.attempt).is_none_or(|read| event.seq < *read),
        }
    }
}

/// The fault of one entry that can't be read, where nothing is wrong with the ledger as a whole.
pub(crate) const UNREADABLE: &str = "entry-unreadable";

/// Whether it is that one.
pub(crate) fn is_unreadable(error: &CasError) -> bool {
    matches!(error, CasError::Failed(fault) if fault.code == UNREADABLE)
}

/// Every key of the ledger.
///
/// # Errors
/// If the ledger can't be read.
pub async fn keys(ledger: &dyn Ledger) -> anyhow::Result<Vec<Key>> {
    let mut keys: Vec<Key> = Vec::new();
    loop {
        let page = ledger.list(keys.last(), 1000).await?;
        if page.is_empty() {
            return Ok(keys);
        }
        keys.extend(page);
    }
}

/// The ledger-wide entry; made on the first start.
///
/// # Errors
/// If there is no randomness or the ledger can't be read.
pub async fn common(ledger: &dyn Ledger, random: &dyn Random) -> anyhow::Result<Versioned<Common>> {
    // Looked at first: another operator may make the ledger-wide entry, and entries after it, at any moment.
    let is_empty = ledger.list(None, 1).await?.is_empty();
    match ledger.common(&Common::blank()).await {
        Err(CasError::Failed(fault)) if fault.code == common_missing().code => {
            // With a fresh key nothing that these entries delivered could be told from what is there now.
            anyhow::ensure!(is_empty, "{fault}");
        }
        found => return found.context("the ledger"),
    }
    let (mut tag_key, mut id) = (TagKey([0; 32]), [0_u8; 16]);
    random.fill(&mut tag_key.0)?;
    random.fill(&mut id)?;
    let fresh = Common::new(tag_key, ps_core::encode::b64(&id));
    failpoints::around(Own::MakeCommon, ledger.common(&fresh)).await.context("ledger.db")
}

/// Why a restore was noticed, until a person accepts it.
///
/// # Errors
/// If the ledger can't be read, or has no ledger-wide entry any more.
pub async fn why_restored(ledger: &dyn Ledger) -> anyhow::Result<Option<String>> {
    Ok(ledger.known_common().await?.value.restored)
}

/// Compares ledger and trail. Answers why a restore is certain, and remembers it in the ledger until a person accepts;
/// otherwise notes that everything on the trail so far is known.
///
/// Another operator may work meanwhile (this one was stopped for long): whatever it changed, it is compared anew.
///
/// # Errors
/// If ledger or trail can't be read.
pub async fn check(ledger: &dyn Ledger, trail: &FileTrail, now: Timestamp) -> anyhow::Result<Option<String>> {
    loop {
        let before = ledger.common(&Common::blank()).await?;
        if before.value.restored.is_some() {
            return Ok(before.value.restored);
        }
        // A trail without a line tells nothing.
        let Some(name) = trail.identity()? else { return Ok(None) };
        // Only what the trail tells beyond its known head is compared.
        let told: BTreeSet<Key> = trail
            .read_from(before.value.known_head(&name))?
            .filter_map(|event| event.ok().map(|(_, event)| event.delivery))
            .collect();
        let mut known = HashMap::new();
        for key in told {
            let memory = Memory::of(ledger.get(&key).await)?;
            known.insert(key, memory);
        }
        let events = trail.read_from(before.value.known_head(&name))?;
        let is_accepted = |event: &Event| before.value.accepted.is_some_and(|accepted| event.at <= accepted);
        let witness =
            ps_audit::witness(events, |event| is_accepted(event) || is_known(known.get(&event.delivery), event))?;
        if let Some(event) = &witness {
            let latest = Memory::of(ledger.get_latest(&event.delivery).await)?;
            if is_known(Some(&latest), event) {
                // It was written after the ledger was read.
                continue;
            }
        }
        let why = witness.map(|event| {
            format!(
                "the audit trail tells of {:?} of {} at {}, which this ledger does not know",
                event.kind, event.delivery, event.at
            )
        });
        let mut next = before.value.clone();
        match &why {
            Some(why) => next.notice(why, now),
            None => next.know(name, trail.head().n),
        }
        if next == before.value || replaced(ledger, &next, before.version).await? {
            return Ok(why);
        }
    }
}

/// Whether the ledger knows, or knew, of an event that is behind its audit head.
///
/// An entry that it has not may have been forgotten since. It has lost it only if it was made behind the audit head:
/// then the entry's first event is there too (no entry lives as short as the head takes to move on).
fn is_known(memory: Option<&Memory>, event: &Event) -> bool {
    match memory {
        Some(Memory::Unreadable) => true,
        Some(Memory::Of(known)) if known.incarnation == event.incarnation => known.has(event),
        _ => event.writer != Writer::Operator || event.seq > 0,
    }
}

/// A person accepts the restored state: new objects may be sent again; what was withdrawn stays withdrawn. Where nothing was
/// noticed, there is nothing to accept, and nothing changes.
///
/// # Errors
/// If ledger or trail can't be read.
pub async fn accept(ledger: &dyn Ledger, trail: &FileTrail) -> anyhow::Result<Option<String>> {
    let (head, name) = (trail.head().n, trail.identity()?);
    accepted(ledger, |c| {
        if let Some(name) = name {
            c.know(name, head);
        }
    })
    .await
}

/// The same from beside operators that run, of which each has a trail of its own: whoever leads next compares another one.
///
/// # Errors
/// If the ledger can't be read or written.
pub async fn accept_known(ledger: &dyn Ledger) -> anyhow::Result<Option<String>> {
    accepted(ledger, |_| ()).await
}

/// Accepts what was read, and nothing that is noticed meanwhile.
async fn accepted(ledger: &dyn Ledger, more: impl Fn(&mut Common)) -> anyhow::Result<Option<String>> {
    loop {
        let before = ledger.common(&Common::blank()).await?;
        if before.value.restored.is_none() {
            return Ok(None);
        }
        let mut next = before.value.clone();
        next.accept();
        more(&mut next);
        if replaced(ledger, &next, before.version).await? {
            return Ok(before.value.restored);
        }
    }
}

/// Everything on the trail so far is known to this ledger, and every delivery up to resourceVersion `newest` was seen.
///
/// # Errors
/// If the ledger can't be written.
pub async fn advance(ledger: &dyn Ledger, trail: &FileTrail, newest: u64) -> anyhow::Result<()> {
    let (head, name) = (trail.head().n, trail.identity()?);
    remember(ledger, |c| {
        if c.restored.is_none() {
            c.newest = newest;
            if let Some(name) = name {
                c.know(name, head);
            }
        }
    })
    .await
}

/// Something else than the trail proves a restore.
///
/// # Errors
/// If the ledger can't be written.
pub async fn note(ledger: &dyn Ledger, why: &str, now: Timestamp) -> anyhow::Result<()> {
    remember(ledger, |c| c.notice(why, now)).await
}

async fn remember(ledger: &dyn Ledger, change: impl Fn(&mut Common)) -> anyhow::Result<()> {
    loop {
        let before = ledger.common(&Common::blank()).await?;
        let mut next = before.value.clone();
        change(&mut next);
        if next == before.value {
            return Ok(());
        }
        if replaced(ledger, &next, before.version).await? {
            return Ok(());
        }
    }
}

/// `false` if somebody else has changed it since.
async fn replaced(ledger: &dyn Ledger, next: &Common, unchanged: u64) -> anyhow::Result<bool> {
    match failpoints::around(Own::ReplaceCommon, ledger.replace_common(next, unchanged)).await {
        Ok(_) => Ok(true),
        Err(CasError::Conflict) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
