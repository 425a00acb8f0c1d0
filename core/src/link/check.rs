//! How the operator reads a record that a compromised gateway may have written (invariant 9).
//!
//! A claim or a decline is believed by its preimage only. Locked and Expired are believed as they stand:
//! they end a link early and make rotation due, which is the safe direction.

use super::record::{JournalEvent, Link, Record, State};
use super::verification::JudgeKey;
use crate::entry::ReleaseKey;
use crate::ids::Digest;
use crate::time::{Span, Timestamp};

/// How far a gateway's clock may be ahead of the operator's.
pub const CLOCK_TOLERANCE: Span = Span::from_secs(60);

/// What the operator knows of a record from its own ledger.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Digest of the immutable fields.
    pub digest: Digest,
    /// When the record was put.
    pub put_at: Timestamp,
    /// Whether the operator itself has ordered the link revoked.
    pub revoke_ordered: bool,
    /// How many journal entries were read already.
    pub journal_read: u32,
    /// What it judges codes and sign-ins with; `None` for a link that demands neither.
    pub judge: Option<Judge<'a>>,
}

/// What only the operator knows of a link that demands an e-mailed code or a sign-in.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// What verdicts are signed with, and `R`; `None` once the link is over.
    pub keys: Option<(&'a JudgeKey, &'a ReleaseKey)>,
    /// The tokens that `R` was ever released to.
    pub released: &'a [Digest],
}

/// Why a record is not believed. The code goes into status, audit and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Tamper {
    /// The record is gone before its time.
    Missing,
    /// A tombstone that we did not write.
    Voided,
    /// An immutable field differs from the ledger's digest.
    Immutable,
    /// The ciphertext or the preview is not the one that was put, or is there when it must not be.
    Content,
    /// The expiry lies past `notAfter`.
    Expiry,
    /// A claim or decline without its preimage.
    Preimage,
    /// A time before put, or too far ahead of ours.
    Time,
    /// The journal has gaps, was cut, or tells of a transition that does not exist.
    Journal,
    /// Revoked, and not by us.
    Revoked,
    /// A verdict on a code or a sign-in that is not ours, or a request that no gateway of ours makes.
    Verdict,
    /// `R` that we did not release, or a claim by a token that has not passed what is demanded.
    Factor,
}

impl Tamper {
    /// Stable kebab-case name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "record-missing",
            Self::Voided => "record-voided",
            Self::Immutable => "record-altered",
            Self::Content => "content-altered",
            Self::Expiry => "expiry-extended",
            Self::Preimage => "forged-preimage",
            Self::Time => "impossible-time",
            Self::Journal => "illegal-journal",
            Self::Revoked => "forged-revocation",
            Self::Verdict => "forged-verdict",
            Self::Factor => "factor-passed-over",
        }
    }
}

/// Believes a record or names what is wrong with it.
///
/// # Errors
/// The first [`Tamper`] found. The caller revokes, rotates and alerts.
pub fn check(record: Option<&Record>, expected: &Expected<'_>, now: Timestamp) -> Result<(), Tamper> {
    let link = match record {
        None => return Err(Tamper::Missing),
        Some(Record::Void { .. }) => return Err(Tamper::Voided),
        Some(Record::Link(link)) => link,
    };
    if link.sealed.digest() != expected.digest {
        return Err(Tamper::Immutable);
    }
    if link.expires_at > link.sealed.not_after {
        return Err(Tamper::Expiry);
    }
    check_content(link)?;
    check_preimages(link)?;
    check_times(link, expected, now)?;
    check_journal(link, expected)?;
    check_factors(link, expected)?;
    if link.state == State::Revoked && !expected.revoke_ordered {
        return Err(Tamper::Revoked);
    }
    Ok(())
}

/// Whether nobody has passed over a factor. What only holds the recipient up (a request or a verdict that is gone) is not
/// looked for: a gateway can do that by not answering.
fn check_factors(link: &Link, expected: &Expected<'_>) -> Result<(), Tamper> {
    let Some(judge) = &expected.judge else {
        let bare = link.request.is_none() && link.verdict.is_none() && link.release.is_none();
        return if bare { Ok(()) } else { Err(Tamper::Verdict) };
    };
    let released = |token: &Digest| judge.released.contains(token);
    if link.claim.as_ref().is_some_and(|c| !released(&c.token_hash)) {
        return Err(Tamper::Factor);
    }
    if let Some(request) = &link.request {
        let asked = link.state == State::Open && link.sealed.kinds.contains(&request.ask.kind());
        if !asked || !request.ask.is_well_formed() {
            return Err(Tamper::Verdict);
        }
    }
    match (&link.verdict, &link.release, judge.keys) {
        (None, None, _) => Ok(()),
        (Some(verdict), release, Some((key, r))) if link.state.is_live() => {
            if !verdict.is_ours(link.sealed.id, key) {
                return Err(Tamper::Verdict);
            }
            let ours = release.as_ref().is_none_or(|release| {
                release.r == r.0 && verdict.released == Some(release.token_hash) && released(&release.token_hash)
            });
            if ours { Ok(()) } else { Err(Tamper::Factor) }
        }
        (Some(_), _, _) => Err(Tamper::Verdict),
        (None, Some(_), _) => Err(Tamper::Factor),
    }
}

fn check_content(link: &Link) -> Result<(), Tamper> {
    let live = link.state.is_live();
    for (bytes, hash) in [(&link.ciphertext, &link.sealed.ciphertext_hash), (&link.preview, &link.sealed.preview_hash)]
    {
        match bytes {
            Some(bytes) if live && hash.matches(bytes) => {}
            None if !live => {}
            _ => return Err(Tamper::Content),
        }
    }
    Ok(())
}

fn check_preimages(link: &Link) -> Result<(), Tamper> {
    if link.claim.as_ref().is_some_and(|c| !link.sealed.proof.matches(&c.proof))
        || link.decline.as_ref().is_some_and(|d| !link.sealed.decline.matches(&d.preimage))
    {
        return Err(Tamper::Preimage);
    }
    let claim_due = matches!(link.state, State::Claimed | State::Retrieved);
    if (claim_due && link.claim.is_none()) || (link.state == State::Declined && link.decline.is_none()) {
        return Err(Tamper::Preimage);
    }
    Ok(())
}

fn check_times(link: &Link, expected: &Expected<'_>, now: Timestamp) -> Result<(), Tamper> {
    let told = link
        .claim
        .iter()
        .map(|c| c.at)
        .chain(link.decline.iter().map(|d| d.at))
        .chain(link.acknowledged_at)
        .chain(link.request.iter().map(|r| r.at))
        .chain(link.journal.iter().map(|j| j.at));
    for at in told {
        // The same tolerance backwards: the gateway's clock may also be a little behind ours.
        if at > now + CLOCK_TOLERANCE || at + CLOCK_TOLERANCE < expected.put_at {
            return Err(Tamper::Time);
        }
    }
    Ok(())
}

/// Replays the journal from Open: it must be made of legal transitions and end in the state that the record claims.
fn check_journal(link: &Link, expected: &Expected<'_>) -> Result<(), Tamper> {
    if (link.journal.len() as u64) < u64::from(expected.journal_read) {
        return Err(Tamper::Journal);
    }
    let mut state = State::Open;
    let (mut acknowledged, mut disputed, mut exposed) = (false, false, false);
    for (index, entry) in link.journal.iter().enumerate() {
        if u64::from(entry.seq) != index as u64 {
            return Err(Tamper::Journal);
        }
        state = match (state, entry.event) {
            (State::Open, JournalEvent::Claimed) => State::Claimed,
            (State::Open, JournalEvent::Expired) => State::Expired,
            (State::Open, JournalEvent::Locked) => State::Locked,
            (State::Open | State::Claimed, JournalEvent::Revoked) => State::Revoked,
            (State::Open | State::Claimed, JournalEvent::Declined) => State::Declined,
            (State::Claimed, JournalEvent::WindowOver) => State::Retrieved,
            (State::Claimed | State::Retrieved, JournalEvent::Acknowledged) if !acknowledged => {
                acknowledged = true;
                State::Retrieved
            }
            (State::Retrieved, JournalEvent::Disputed) if !disputed => {
                disputed = true;
                State::Retrieved
            }
            (state, JournalEvent::Exposed) if !exposed => {
                exposed = true;
                state
            }
            _ => return Err(Tamper::Journal),
        };
    }
    let declined = link.journal.iter().any(|j| matches!(j.event, JournalEvent::Declined | JournalEvent::Disputed));
    let claimed = link.journal.iter().any(|j| j.event == JournalEvent::Claimed);
    if state != link.state
        || acknowledged != link.acknowledged_at.is_some()
        || declined != link.decline.is_some()
        || claimed != link.claim.is_some()
    {
        return Err(Tamper::Journal);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
