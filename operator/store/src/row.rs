//! A record as columns, and back. What is read may have been written by an attacker.

use ps_core::error::{Class, Fault};
use ps_core::ids::LinkId;
use ps_core::link::{Link, Record, State, too_large};
use ps_core::time::Timestamp;

/// The largest record without ciphertext and preview. A record with all that can happen to it has a tenth of that.
pub(crate) const MAX_META: usize = 64 * 1024;
/// The largest sealed preview.
pub(crate) const MAX_PREVIEW: usize = 64 * 1024;

const STATES: [State; 7] =
    [State::Open, State::Claimed, State::Retrieved, State::Expired, State::Revoked, State::Declined, State::Locked];

/// A record as it is stored: what the rules read as JSON, the sealed bytes apart, and what lists need in columns of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Name of the state; `None` for a voided id.
    pub(crate) state: Option<&'static str>,
    /// When time alone changes it, in milliseconds.
    pub(crate) next_change: Option<i64>,
    /// The record as JSON, without ciphertext and preview.
    pub(crate) meta: String,
    /// Sealed payload and preview.
    pub(crate) content: Content,
}

/// The erasable part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// The sealed payload.
    pub(crate) ciphertext: Option<Vec<u8>>,
    /// The sealed preview.
    pub(crate) preview: Option<Vec<u8>>,
}

impl Content {
    pub(crate) fn is_empty(&self) -> bool {
        self.ciphertext.is_none() && self.preview.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        [&self.ciphertext, &self.preview].into_iter().flatten().map(Vec::len).sum()
    }
}

impl Row {
    /// The columns of a record.
    ///
    /// # Errors
    /// `record-too-large`.
    pub(crate) fn of(record: &Record, max_bytes: usize) -> Result<Self, Fault> {
        let (state, next_change, meta, content) = match record {
            Record::Void { id } => (None, None, Record::Void { id: *id }, Content::default()),
            Record::Link(link) => (
                Some(link.state.as_str()),
                link.next_change().map(Timestamp::as_millis),
                Record::Link(Box::new(without_content(link))),
                Content { ciphertext: link.ciphertext.clone(), preview: link.preview.clone() },
            ),
        };
        let meta = serde_json::to_string(&meta).map_err(|_| {
            // No map with keys other than text, no failing Serialize: it can't happen, and is no panic if it does.
            Fault::new(Class::Permanent, "record-unwritable", "the link's record can't be written as JSON")
                .remedy("Report this: it is a defect of Password Sender")
        })?;
        for (what, size, limit) in [
            ("ciphertext", content.ciphertext.as_ref().map_or(0, Vec::len), max_bytes),
            ("preview", content.preview.as_ref().map_or(0, Vec::len), MAX_PREVIEW),
            ("rest", meta.len(), MAX_META),
        ] {
            if size > limit {
                return Err(too_large(what, size, limit));
            }
        }
        Ok(Self { state, next_change, meta, content })
    }
}

/// Without the erasable part. Every field is named, so that a new one can't be forgotten.
fn without_content(link: &Link) -> Link {
    Link {
        sealed: link.sealed.clone(),
        state: link.state,
        expires_at: link.expires_at,
        release: link.release.clone(),
        request: link.request.clone(),
        verdict: link.verdict.clone(),
        claim: link.claim.clone(),
        acknowledged_at: link.acknowledged_at,
        decline: link.decline.clone(),
        tries: link.tries,
        journal: link.journal.clone(),
        ciphertext: None,
        preview: None,
    }
}

/// The columns of one row as they were found.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) state: Option<&'a str>,
    pub(crate) next_change: Option<i64>,
    pub(crate) meta: &'a str,
    pub(crate) content: Content,
}

/// The record in a row, or `None` if it isn't one that [`Row::of`] makes: too long, not JSON, under another id, or with columns that
/// say something else than the record.
pub(crate) fn read(id: LinkId, found: Found<'_>, max_bytes: usize) -> Option<Record> {
    let Found { state, next_change, meta, content } = found;
    let fits = meta.len() <= MAX_META
        && content.ciphertext.as_ref().is_none_or(|c| c.len() <= max_bytes)
        && content.preview.as_ref().is_none_or(|p| p.len() <= MAX_PREVIEW);
    if !fits {
        return None;
    }
    // serde_json refuses to nest deeper than 128.
    let mut record: Record = serde_json::from_str(meta).ok()?;
    if record.id() != id {
        return None;
    }
    match &mut record {
        Record::Void { .. } => (state.is_none() && next_change.is_none() && content.is_empty()).then_some(record),
        Record::Link(link) => {
            let agrees = state == Some(link.state.as_str())
                && next_change == link.next_change().map(Timestamp::as_millis)
                && link.ciphertext.is_none()
                && link.preview.is_none();
            link.ciphertext = content.ciphertext;
            link.preview = content.preview;
            agrees.then_some(record)
        }
    }
}

/// Inverse of `State::as_str`.
pub(crate) fn parse_state(text: &str) -> Option<State> {
    STATES.into_iter().find(|state| state.as_str() == text)
}

/// The row is there but holds no record of ours.
pub(crate) fn unreadable(id: LinkId) -> Fault {
    Fault::new(Class::Permanent, "record-unreadable", format!("the record of link {id} is not one that we wrote"))
        .remedy("Somebody has altered the store: the link counts as tampered with, and its credential is rotated")
}

#[cfg(test)]
#[path = "row_tests.rs"]
mod tests;
