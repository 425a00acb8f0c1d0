//! What a reader of `kubectl describe` is told: from a change of an entry, or from a status, to Kubernetes Events. Pure.
//!
//! An ordinary life has three: `Delivered`, `Retrieved`, `Rotated`. No note holds a secret or an address in full.

use ps_core::audit::{Event, EventKind};
use ps_core::delivery::mask;
use ps_core::entry::{Attempt, Entry, Hold, MailState, RevokeCause};
use ps_core::rotation::{By, Scope};
use ps_core::status::Status;

/// Longest note that the API server takes, in bytes.
const LONGEST: usize = 1000;

/// Whether somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// All is well.
    Normal,
    /// Somebody should look.
    Warning,
}

impl Severity {
    /// As an Event's `type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// One Event to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventNote {
    /// `type`.
    pub severity: Severity,
    /// `reason`: one CamelCase word, stable.
    pub reason: String,
    /// `note`: at most 1000 bytes.
    pub message: String,
    /// Which attempt; 0 for none. Uid, attempt and reason make one Event, however often it is told.
    pub attempt: u32,
    /// It goes on: told again later, the Event's `series` grows.
    pub ongoing: bool,
    /// Something is owed and not done: told in the namespace `default` if its own namespace goes or is gone.
    pub owed: bool,
}

impl EventNote {
    fn new(severity: Severity, reason: &str, attempt: u32, message: impl AsRef<str>) -> Self {
        let message = bounded(&without_addresses(message.as_ref()));
        Self { severity, reason: reason.to_owned(), message, attempt, ongoing: false, owed: false }
    }

    pub(super) fn no_cleanup_connection(connection: &str) -> Self {
        Self::new(
            Severity::Warning,
            "NoCleanupConnection",
            0,
            format!(
                "{connection} logs in as a service account of this namespace and names no cleanupConnectionRef: if the \
                 namespace is deleted, what is then still to be rotated is left undone"
            ),
        )
    }
}

/// What changed from one write of an entry to the next: an Event for each change that a person cares for.
#[must_use]
pub fn notes(before: Option<&Entry>, after: &Entry) -> Vec<EventNote> {
    let seen = |event: &Event| before.is_some_and(|b| b.outbox.contains(event));
    after.outbox.iter().filter(|event| !seen(event)).filter_map(|event| note(after, event)).collect()
}

/// What stands in the way, if a status says `Stalled`.
#[must_use]
pub fn stalled(status: &Status) -> Option<EventNote> {
    let condition = status.conditions.iter().find(|c| c.r#type == "Stalled" && c.status == "True")?;
    let owed = status.conditions.iter().any(|c| c.r#type == "Rotated" && c.reason == "Stalled");
    let reason = if owed { "RotationStalled" } else { condition.reason.as_str() };
    let note = EventNote::new(Severity::Warning, reason, status.attempt, &condition.message);
    Some(EventNote { ongoing: true, owed, ..note })
}

fn note(entry: &Entry, event: &Event) -> Option<EventNote> {
    use Severity::{Normal, Warning};
    let attempt = entry.attempt(event.attempt);
    let of = |severity, reason: &str, message: String| Some(EventNote::new(severity, reason, event.attempt, message));
    match event.kind {
        EventKind::Delivered => of(Normal, "Delivered", attempt.map_or_else(String::new, delivered)),
        EventKind::DeliveryUnknown => of(
            Warning,
            "DeliveryUnknown",
            "the mail server's answer was lost: the recipient may have the link, and it stays open".to_owned(),
        ),
        EventKind::MailRefused => of(Warning, "MailRefused", attempt.map_or_else(|| event.reason.clone(), refused)),
        EventKind::Claimed => of(Normal, "Retrieved", attempt.map_or_else(String::new, retrieved)),
        EventKind::Expired => of(Normal, "Expired", "nobody opened the link in time".to_owned()),
        EventKind::Revoked => of(Normal, "Revoked", attempt.map_or_else(String::new, revoked)),
        EventKind::Declined => {
            of(Warning, "Declined", "the recipient says that it was not meant for them; it is rotated now".to_owned())
        }
        EventKind::Disputed => of(
            Warning,
            "Disputed",
            "it was opened, and the recipient says that it was not them; it is rotated now".to_owned(),
        ),
        EventKind::Locked => of(Warning, "Locked", "too many wrong passphrases or codes".to_owned()),
        EventKind::Exposed => of(
            Warning,
            "Exposed",
            "the link's token had reached a path or a query: whoever reads the logs of what it passed has the link"
                .to_owned(),
        ),
        EventKind::CodeRefused => {
            of(Warning, "CodeRefused", "the mail server refused the mail with the recipient's code".to_owned())
        }
        EventKind::Tampered => of(
            Warning,
            "Tampered",
            "the link's record was altered behind the operator's back; it is withdrawn and rotated".to_owned(),
        ),
        EventKind::Rotated => of(Normal, "Rotated", attempt.map_or_else(String::new, rotated)),
        EventKind::RotationStalled => {
            let fault = attempt.and_then(|a| a.obligation.as_ref()).and_then(|o| o.stalled.as_ref()).map(|s| &s.fault);
            let why = fault.map_or_else(|| event.reason.clone(), ToString::to_string);
            let note = EventNote::new(
                Warning,
                "RotationStalled",
                event.attempt,
                format!("the rotation does not succeed: {why}"),
            );
            Some(EventNote { ongoing: true, owed: true, ..note })
        }
        EventKind::SourceRotated => of(
            Warning,
            "SourceRotated",
            "the credential was replaced by somebody else while its link was open".to_owned(),
        ),
        EventKind::Held => {
            let note =
                EventNote::new(Warning, held(entry.hold), entry.attempt, format!("nothing is sent: {}", event.reason));
            Some(note)
        }
        EventKind::Adopted => of(Normal, "Adopted", "restored with its stamp; nothing is sent again".to_owned()),
        // Steps on the way, or things that another Event says.
        EventKind::Accepted
        | EventKind::Issued
        | EventKind::Superseded
        | EventKind::Acknowledged
        | EventKind::WindowOver
        | EventKind::RevokeOrdered
        | EventKind::CodeMailed
        | EventKind::CodeWrong
        | EventKind::CodePassed
        | EventKind::SignInRefused
        | EventKind::SignInPassed
        | EventKind::Verified
        | EventKind::RotationDue
        | EventKind::RotationBegun
        | EventKind::Notified
        | EventKind::Removed => None,
    }
}

/// The same words as the reason of the condition that shows the hold, so that both are one Event.
const fn held(hold: Option<Hold>) -> &'static str {
    match hold {
        Some(Hold::AlreadyDelivered) => "AlreadyDelivered",
        Some(Hold::SourceRotated) => "SourceRotated",
        Some(Hold::MailRefused) => "MailRefused",
        Some(Hold::TooLate) => "TooLate",
        Some(Hold::Restored | Hold::RestoredUnread) => "Restored",
        None => "Held",
    }
}

fn delivered(attempt: &Attempt) -> String {
    format!("the link was mailed to {} and can be opened until {}", attempt.terms.recipient, attempt.terms.expires_at)
}

fn refused(attempt: &Attempt) -> String {
    match &attempt.mail {
        MailState::Refused { fault } => format!("the mail server refused it for good: {fault}"),
        _ => "the mail server refused it for good".to_owned(),
    }
}

fn retrieved(attempt: &Attempt) -> String {
    let at = attempt.link.claimed_at.map(|at| format!(" at {at}")).unwrap_or_default();
    let until = attempt.promised_until().filter(|until| Some(*until) != attempt.link.claimed_at);
    let until = until.map(|until| format!("; the credential works until {until}")).unwrap_or_default();
    format!("the link was opened{at}{until}")
}

fn revoked(attempt: &Attempt) -> String {
    let why = match attempt.link.revoke {
        Some(RevokeCause::Asked) => ": spec.revoked is true",
        Some(RevokeCause::Removed) => ": the manifest is gone",
        Some(RevokeCause::Redelivered) => ": it is sent again",
        Some(RevokeCause::SourceRotated) => ": the credential was replaced by somebody else",
        Some(RevokeCause::Tampered) => ": its record was altered",
        Some(RevokeCause::MailRefused) => ": its mail was refused, so nobody has it",
        Some(RevokeCause::Restored) => ": a restore was noticed",
        None => "",
    };
    format!("the link is withdrawn{why}")
}

fn rotated(attempt: &Attempt) -> String {
    let Some(evidence) = &attempt.evidence else { return "the delivered value is dead".to_owned() };
    let (scope, reach) = match evidence.scope {
        Scope::Target => ("Target", "the target system refuses the delivered value"),
        Scope::Vault => ("Vault", "the delivered value is replaced in Vault; the target system was not told"),
    };
    let by = match evidence.by {
        By::Us => "",
        By::Other => ", rotated by somebody else",
    };
    format!("{reach}{by} (scope {scope}: {})", evidence.seen)
}

/// Every word with an address in it, its local part cut to the first letter.
fn without_addresses(text: &str) -> String {
    let masked = |word: &str| {
        let inner = word.trim_matches(|c: char| !c.is_alphanumeric());
        match inner.contains('@') && !inner.contains('…') {
            true => word.replace(inner, &mask(inner)),
            false => word.to_owned(),
        }
    };
    text.split(' ').map(masked).collect::<Vec<_>>().join(" ")
}

fn bounded(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let mut end = LONGEST - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
#[path = "notes_tests.rs"]
mod tests;
