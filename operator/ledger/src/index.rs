//! What an entry is found by, and its text.

use std::collections::BTreeSet;

use ps_core::entry::Entry;
use ps_core::error::{Class, Fault};
use ps_core::ids::{Digest, Key, LinkId};

use crate::MAX_BYTES;

/// The sources of an entry's attempts, and of the one that is about to begin where its source is rotated first. The index
/// keeps them until the entry is deleted, also when the attempt is dropped from it.
pub(crate) fn sources(entry: &Entry) -> BTreeSet<Digest> {
    let first = entry.rotated_first.as_ref().map(|first| first.source_key);
    entry.attempts.iter().map(|attempt| attempt.source_key).chain(first).collect()
}

/// The records of an entry's attempts that it still has to do with. The index follows the entry.
pub(crate) fn records(entry: &Entry) -> BTreeSet<LinkId> {
    entry.attempts.iter().filter(|attempt| !attempt.forgotten).map(|attempt| attempt.record).collect()
}

/// The entry as JSON.
///
/// # Errors
/// `entry-too-large`.
pub(crate) fn text(entry: &Entry) -> Result<String, Fault> {
    let text = serde_json::to_string(entry).map_err(|_| unwritable(&format!("entry of {}", entry.key)))?;
    fits("entry", &entry.key, text.len())?;
    Ok(text)
}

/// Refuses what is larger than [`MAX_BYTES`].
///
/// # Errors
/// `entry-too-large`.
pub(crate) fn fits(what: &str, key: &Key, size: usize) -> Result<(), Fault> {
    if size <= MAX_BYTES {
        return Ok(());
    }
    Err(Fault::new(
        Class::Permanent,
        "entry-too-large",
        format!("the ledger's {what} of {key} would have {size} bytes of {MAX_BYTES}"),
    )
    .remedy("See whether the audit sink takes events: those that it has not taken are kept in the entry"))
}

/// What is to be stored can't be said in JSON.
pub(crate) fn unwritable(what: &str) -> Fault {
    Fault::new(Class::Permanent, "entry-unwritable", format!("the ledger's {what} can't be written as JSON"))
        .remedy("Report this: it is a defect of Password Sender")
}

/// What is stored does not read back.
pub(crate) fn unreadable(what: &str) -> Fault {
    Fault::new(Class::Permanent, "entry-unreadable", format!("the ledger's {what} is not one that this version wrote"))
        .remedy("Run the version of the operator that wrote the ledger, or restore it from a backup")
}
