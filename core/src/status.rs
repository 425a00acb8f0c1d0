//! Status: a pure projection of entry and observation, never read for a decision.

use serde::{Deserialize, Serialize};

use crate::delivery::{Completion, Manifest, Spec, Strategy};
use crate::entry::{Attempt, Entry, MailState};
use crate::error::Fault;
use crate::link::verification::MAX_MAILS;
use crate::link::{State, Verification};
use crate::rotation::{By, Evidence, Scope};
use crate::time::Timestamp;

/// A condition in the shape of `metav1.Condition`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`, `Reconciling`, `Stalled`, `Delivered`, `Retrieved`, `Rotated`, `LeaseHeld`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One CamelCase word.
    pub reason: String,
    /// For people; nothing secret, no address in full.
    pub message: String,
    /// The generation it speaks of.
    pub observed_generation: i64,
    /// When `status` changed last.
    pub last_transition_time: String,
}

/// The status of one delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The generation that this status speaks of.
    pub observed_generation: i64,
    /// One word for the story so far: the printer column `STATUS`.
    pub summary: String,
    /// Number of the latest attempt.
    #[serde(default)]
    pub attempt: u32,
    /// The recipient, masked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub recipient: String,
    /// When the mail was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<String>,
    /// Until when the link can be opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// When it was first opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrieved_at: Option<String>,
    /// When the rotation is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_due_at: Option<String>,
    /// The proof that the delivered value is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<StatusEvidence>,
    /// When the operator will look again by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_wake_up: Option<String>,
    /// Conditions, in a fixed order.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// [`Evidence`] in a status: times as RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusEvidence {
    /// `Target` or `Vault`.
    pub scope: String,
    /// `Us` or `Other`.
    pub by: String,
    /// When it was seen.
    pub at: String,
    /// What was seen.
    pub seen: String,
}

impl From<&Evidence> for StatusEvidence {
    fn from(e: &Evidence) -> Self {
        Self { scope: format!("{:?}", e.scope), by: format!("{:?}", e.by), at: e.at.to_string(), seen: e.seen.clone() }
    }
}

/// RFC 3339 text of an optional time.
#[must_use]
pub fn text(at: Option<Timestamp>) -> Option<String> {
    at.map(|t| t.to_string())
}

/// Projects the status. `note` is what stands in the way, `wake` when the operator looks again by itself.
///
/// Conditions follow kstatus: `Reconciling` and `Stalled` are there only while true, and a delivery that waits for its
/// recipient is `Ready` (unless `completion` says otherwise), so that GitOps tools do not block on a person.
#[must_use]
pub fn project(
    manifest: Option<&Manifest>,
    entry: Option<&Entry>,
    note: Option<&Fault>,
    wake: Option<Timestamp>,
    now: Timestamp,
) -> Status {
    let generation = manifest.map_or(0, |m| m.generation);
    let current = entry.and_then(Entry::current);
    let spec = manifest.and_then(|m| m.spec.as_deref().ok());
    let mut conditions = Vec::new();
    let mut put = |kind: &str, status: &str, reason: &str, message: String| {
        conditions.push(Condition {
            r#type: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: generation,
            last_transition_time: now.to_string(),
        });
    };
    let stall = stall(current, note);
    let completion = spec.map(|s| s.completion).unwrap_or_default();
    let anew = is_asked_anew(spec, entry);
    let follows = does_another_follow(spec, current);
    let done = current.is_some_and(|a| completed(a, completion)) && stall.is_none() && !anew && !follows;
    let transient = note.filter(|n| n.is_transient());
    match (&stall, done) {
        (Some(fault), _) => put("Ready", "False", &camel(&fault.code), fault.to_string()),
        (None, true) => {
            put("Ready", "True", "Done", current.map_or("", |a| ready_text(a, completion)).to_owned());
        }
        (None, false) => {
            let (reason, text) = transient
                .map_or(("Working".to_owned(), waiting_text(current, anew)), |f| (camel(&f.code), f.to_string()));
            put("Ready", "False", &reason, text.clone());
            put("Reconciling", "True", &reason, text);
        }
    }
    if let Some(fault) = &stall {
        put("Stalled", "True", &camel(&fault.code), fault.to_string());
    }
    let told = (delivered(current), retrieved(current), rotated(current, transient));
    let (delivered, retrieved, rotated) =
        if anew { (of_before(told.0), of_before(told.1), of_before(told.2)) } else { told };
    put("Delivered", delivered.0, delivered.1, delivered.2);
    put("Retrieved", retrieved.0, retrieved.1, retrieved.2);
    put("Rotated", rotated.0, rotated.1, rotated.2.clone());
    let summary = summary(current, stall.as_ref(), rotated.1, anew, follows);
    Status {
        observed_generation: generation,
        summary,
        attempt: entry.map_or(0, |e| e.attempt),
        recipient: spec
            .map(|s| s.recipient.masked())
            .or_else(|| current.map(|a| a.terms.recipient.clone()))
            .unwrap_or_default(),
        delivered_at: text(current.and_then(|a| match a.mail {
            MailState::Accepted { at } => Some(at),
            _ => None,
        })),
        expires_at: text(current.filter(|a| a.delivered()).map(|a| a.terms.expires_at)),
        retrieved_at: text(current.and_then(|a| a.link.claimed_at)),
        rotation_due_at: text(current.and_then(|a| a.obligation.as_ref()).map(|o| o.due)),
        evidence: current.and_then(|a| a.evidence.as_ref()).map(StatusEvidence::from),
        next_wake_up: text(wake),
        conditions,
    }
}

/// Keeps the transition times of conditions whose status did not change; nothing else of the old status is looked at.
pub fn keep_transition_times(new: &mut Status, old: &Status) {
    for condition in &mut new.conditions {
        let before = old.conditions.iter().find(|c| c.r#type == condition.r#type && c.status == condition.status);
        if let Some(before) = before {
            condition.last_transition_time.clone_from(&before.last_transition_time);
        }
    }
}

fn stall(current: Option<&Attempt>, note: Option<&Fault>) -> Option<Fault> {
    let owed =
        current.filter(|a| a.evidence.is_none()).and_then(|a| a.obligation.as_ref()).and_then(|o| o.stalled.as_ref());
    owed.map(|s| s.fault.clone()).or_else(|| note.filter(|n| !n.is_transient()).cloned())
}

fn completed(attempt: &Attempt, completion: Completion) -> bool {
    match completion {
        Completion::OnDelivered => attempt.delivered(),
        Completion::OnRetrieved => attempt.link.claimed_at.is_some() || !attempt.link_is_live(),
        Completion::OnRotated => attempt.evidence.is_some() || (!attempt.link_is_live() && owes_nothing(attempt)),
    }
}

/// Whether the end of its link calls for no rotation.
fn owes_nothing(attempt: &Attempt) -> bool {
    let (link, terms) = (&attempt.link, &attempt.terms);
    let unopened = link.claimed_at.is_none() && link.tampered.is_none() && attempt.obligation.is_none();
    let kept = match link.state {
        State::Expired => !terms.on_expiry,
        State::Revoked => !terms.on_revocation,
        State::Locked => !terms.on_locked,
        State::Open | State::Claimed | State::Retrieved | State::Declined => false,
    };
    terms.strategy == Strategy::None || (unopened && kept)
}

/// What was reached, for an attempt that is [`completed`].
const fn ready_text(attempt: &Attempt, completion: Completion) -> &'static str {
    match completion {
        Completion::OnDelivered if matches!(attempt.mail, MailState::Accepted { .. }) => "the mail was accepted",
        Completion::OnDelivered => "the recipient may have it; whether the mail server accepted it is not known",
        Completion::OnRetrieved if attempt.link.claimed_at.is_some() => "the link was opened",
        Completion::OnRetrieved => "the link is over, and nobody has opened it",
        Completion::OnRotated if attempt.evidence.is_some() => "the delivered credential is dead",
        Completion::OnRotated => "the link is over, and no rotation was asked for",
    }
}

/// Whether the manifest asks to send again and no attempt answers that yet. What the latest attempt has reached is then
/// not what this generation asks for: `kubectl wait` must not pass on it.
fn is_asked_anew(spec: Option<&Spec>, entry: Option<&Entry>) -> bool {
    let (Some(spec), Some(entry)) = (spec, entry) else { return false };
    let asked = entry.again || entry.is_asked_again(spec.redeliver.as_ref());
    asked && entry.attempt > 0 && !entry.removed && !spec.revoked
}

/// Whether the current attempt was given up, and not withdrawn: then another one is made.
fn does_another_follow(spec: Option<&Spec>, current: Option<&Attempt>) -> bool {
    let given_up = current.is_some_and(|a| a.mail == MailState::Superseded && a.link.revoke.is_none());
    given_up && spec.is_some_and(|s| !s.revoked)
}

/// What an earlier attempt has reached does not count for the one that is asked for; what it still owes is told on.
fn of_before((status, reason, message): Words) -> Words {
    if status == "False" {
        return (status, reason, message);
    }
    ("False", "NotSent", format!("it is to be sent again, and was not yet; before: {message}"))
}

fn waiting_text(current: Option<&Attempt>, anew: bool) -> String {
    match current {
        _ if anew => "to be sent again".to_owned(),
        None => "taken up".to_owned(),
        Some(a) if !a.delivered() => "the mail is on its way".to_owned(),
        Some(a) if a.link.claimed_at.is_none() && a.link_is_live() => "waiting for the recipient".to_owned(),
        Some(_) => "waiting for the rotation".to_owned(),
    }
}

type Words = (&'static str, &'static str, String);

fn delivered(current: Option<&Attempt>) -> Words {
    let Some(attempt) = current else { return ("False", "NotSent", "nothing was sent yet".into()) };
    match &attempt.mail {
        MailState::Accepted { at } => ("True", "Accepted", format!("the mail server accepted it at {at}")),
        MailState::Unknown { .. } => {
            ("Unknown", "AnswerLost", "the mail server's answer was lost; the link stays open".into())
        }
        MailState::Pending { .. } => {
            ("False", "Sending", "about to be sent, or held for a mail server that waits".into())
        }
        MailState::Refused { fault } => ("False", "Refused", fault.to_string()),
        MailState::Superseded => ("False", "GivenUp", "this attempt was given up before its mail was accepted".into()),
    }
}

fn retrieved(current: Option<&Attempt>) -> Words {
    let Some(attempt) = current else { return ("False", "NotSent", "nothing was sent yet".into()) };
    let link = &attempt.link;
    if let Some(at) = link.claimed_at {
        let saved = match (link.disputed, link.acknowledged) {
            (true, _) => ", and somebody says that it was not them",
            (_, true) => " and saved",
            (_, false) => ", not acknowledged",
        };
        return ("True", if link.disputed { "Disputed" } else { "Opened" }, format!("opened at {at}{saved}"));
    }
    match link.state {
        _ if link.tampered.is_some() => ("False", "Tampered", "the record was altered; the link is withdrawn".into()),
        State::Open | State::Claimed | State::Retrieved => ("False", "NotOpened", not_opened(attempt)),
        State::Expired => ("False", "Expired", "nobody opened it in time".into()),
        State::Revoked => ("False", "Revoked", "withdrawn before anybody opened it".into()),
        State::Declined => ("False", "Declined", "the recipient says that it was not meant for them".into()),
        State::Locked => ("False", "Locked", "too many wrong passphrases or e-mailed codes".into()),
    }
}

/// How far the recipient has come where a code or a sign-in is demanded.
fn not_opened(attempt: &Attempt) -> String {
    let mut text = "nobody has opened it".to_owned();
    let Some(verify) = attempt.verify.as_deref() else { return text };
    let passed = |by: bool| if by { "passed" } else { "not passed" };
    if verify.demands(Verification::EmailCode) {
        let passed = passed(verify.code_passed.is_some());
        text.push_str(&format!(
            "; the e-mailed code is {passed}, {} of {MAX_MAILS} mails were asked for",
            verify.mails
        ));
    }
    if verify.demands(Verification::Oidc) {
        text.push_str(&format!("; the sign-in is {}", passed(verify.sign_in_passed.is_some())));
    }
    text
}

/// `note` is what a rotation that is due waits for.
fn rotated(current: Option<&Attempt>, note: Option<&Fault>) -> Words {
    let Some(attempt) = current else { return ("False", "NotDue", "nothing was sent yet".into()) };
    if let Some(evidence) = &attempt.evidence {
        let reach = match evidence.scope {
            Scope::Target => "the target system refuses the old value",
            Scope::Vault => "replaced in Vault; the target system was not told",
        };
        let by = match evidence.by {
            By::Us => "",
            By::Other => ", rotated by somebody else",
        };
        return ("True", "Proven", format!("{reach}{by}: {}", evidence.seen));
    }
    if attempt.terms.strategy == Strategy::None {
        return ("False", "NotRequested", "rotation.strategy is None: the credential stays valid".into());
    }
    match &attempt.obligation {
        None => ("False", "NotDue", "due after it is opened, or ends otherwise".into()),
        Some(o) if o.stalled.is_some() => ("False", "Stalled", "it does not succeed; it is tried on".into()),
        Some(o) => {
            let waits = note.map(|n| format!("; waits: {n}")).unwrap_or_default();
            if let Some(begun) = &o.begun {
                ("False", "Rotating", format!("since {}{waits}", begun.at))
            } else {
                ("False", "Due", format!("at {} ({}){waits}", o.due, o.cause.as_str()))
            }
        }
    }
}

/// The printer column `STATUS`.
fn summary(current: Option<&Attempt>, stall: Option<&Fault>, rotated: &str, anew: bool, follows: bool) -> String {
    if let Some(fault) = stall {
        return format!("Stalled: {}", camel(&fault.code));
    }
    let attempt = match current {
        Some(attempt) if !anew || matches!(rotated, "Rotating" | "Due") => attempt,
        _ => return "Accepted".into(),
    };
    let word = match (rotated, attempt.link.state) {
        ("Proven", _) => "Rotated",
        ("Rotating", _) => "Rotating",
        (_, _) if attempt.link.tampered.is_some() => "Tampered",
        (_, State::Open) if !attempt.delivered() => "Sending",
        (_, State::Revoked) if follows => "Sending",
        (_, State::Open) => "Delivered",
        (_, State::Claimed | State::Retrieved) => "Retrieved",
        (_, State::Expired) => "Expired",
        (_, State::Revoked) => "Revoked",
        (_, State::Declined) => "Declined",
        (_, State::Locked) => "Locked",
    };
    word.to_owned()
}

/// `vault-sealed` → `VaultSealed`: condition reasons are one CamelCase word.
fn camel(code: &str) -> String {
    code.split('-')
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map(|c| c.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
        })
        .collect()
}

impl Status {
    /// Shows a fault of the manifest itself over a delivery that goes on with its last good spec.
    pub fn overlay(&mut self, fault: &Fault, now: Timestamp) {
        self.summary = format!("Stalled: {}", camel(&fault.code));
        for kind in ["Stalled", "Ready"] {
            self.conditions.retain(|c| c.r#type != kind);
            let condition = Condition {
                r#type: kind.to_owned(),
                status: if kind == "Stalled" { "True" } else { "False" }.to_owned(),
                reason: camel(&fault.code),
                message: fault.to_string(),
                observed_generation: self.observed_generation,
                last_transition_time: now.to_string(),
            };
            self.conditions.insert(0, condition);
        }
        self.conditions.retain(|c| c.r#type != "Reconciling");
    }
}

#[cfg(test)]
mod tests;
