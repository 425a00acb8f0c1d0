//! The verb `code`: e-mailed codes and sign-ins on the wire (docs/link-protocol.md, section 8).

use serde::{Deserialize, Serialize};

use super::{Refusal, Revealed, TypedCode, present};
use crate::ids::{Digest, LinkId};
use crate::link::email_code::{CodeKey, EmailCode, attempt};
use crate::link::verification::{Ask, CodeState, SignInRefusal};
use crate::link::{Link, State, Verification};
use crate::time::{Span, Timestamp};

/// One step of a verification.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "CodeWire", try_from = "CodeWire")]
pub struct CodeRequest {
    /// The record's name.
    pub id: LinkId,
    /// Shows that the caller holds the link.
    pub access: Revealed,
    /// SHA-256 of the claim token that will claim.
    pub token_hash: Digest,
    /// What is asked.
    pub step: CodeStep,
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum CodeStep {
    /// How does it stand?
    Status,
    /// Something for the operator to do.
    Ask {
        /// What the person typed; a mailed link demands it.
        opening_code: Option<TypedCode>,
        /// What.
        ask: WireAsk,
        /// The page says that the link's token had reached a path or a query.
        exposed: bool,
    },
}

/// What the operator is to do, before it is hashed for the record.
#[derive(Clone)]
pub enum WireAsk {
    /// Mail a code.
    Mail,
    /// Judge a code.
    Code(EmailCode),
    /// Judge the answer of a sign-in.
    SignIn {
        /// The provider's authorization code.
        code: String,
        /// The PKCE verifier.
        verifier: String,
    },
}

impl std::fmt::Debug for WireAsk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mail => "Mail",
            Self::Code(_) => "Code(…)",
            Self::SignIn { .. } => "SignIn(…)",
        })
    }
}

impl WireAsk {
    /// As the record keeps it.
    #[must_use]
    pub fn for_record(&self, id: LinkId, access: &Revealed, token_hash: &Digest) -> Ask {
        match self {
            Self::Mail => Ask::Mail,
            Self::Code(code) => Ask::Code(attempt(&CodeKey::from_access(&access.0).hash(id, code), token_hash)),
            Self::SignIn { code, verifier } => Ask::SignIn { code: code.clone(), verifier: verifier.clone() },
        }
    }
}

/// Every step as one JSON object.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CodeWire {
    id: LinkId,
    access: Revealed,
    token_hash: Digest,
    step: StepName,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    opening_code: Option<TypedCode>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    email_code: Option<EmailCode>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    authorization_code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    verifier: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    exposed: bool,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum StepName {
    Status,
    Mail,
    Code,
    Oidc,
}

impl TryFrom<CodeWire> for CodeRequest {
    type Error = &'static str;

    fn try_from(wire: CodeWire) -> Result<Self, Self::Error> {
        let CodeWire { id, access, token_hash, step, opening_code, email_code, authorization_code, verifier, exposed } =
            wire;
        let ask = match (step, email_code, authorization_code, verifier) {
            (StepName::Status, None, None, None) if opening_code.is_none() && !exposed => {
                return Ok(Self { id, access, token_hash, step: CodeStep::Status });
            }
            (StepName::Mail, None, None, None) => WireAsk::Mail,
            (StepName::Code, Some(code), None, None) => WireAsk::Code(code),
            (StepName::Oidc, None, Some(code), Some(verifier)) => {
                let ask = Ask::SignIn { code, verifier };
                if !ask.is_well_formed() {
                    return Err("authorizationCode or verifier is malformed");
                }
                match ask {
                    Ask::SignIn { code, verifier } => WireAsk::SignIn { code, verifier },
                    _ => return Err("no sign-in"),
                }
            }
            _ => return Err("members that do not fit the step"),
        };
        Ok(Self { id, access, token_hash, step: CodeStep::Ask { opening_code, ask, exposed } })
    }
}

impl From<CodeRequest> for CodeWire {
    fn from(request: CodeRequest) -> Self {
        let CodeRequest { id, access, token_hash, step } = request;
        let mut wire = Self {
            id,
            access,
            token_hash,
            step: StepName::Status,
            opening_code: None,
            email_code: None,
            authorization_code: None,
            verifier: None,
            exposed: false,
        };
        if let CodeStep::Ask { opening_code, ask, exposed } = step {
            (wire.opening_code, wire.exposed) = (opening_code, exposed);
            match ask {
                WireAsk::Mail => wire.step = StepName::Mail,
                WireAsk::Code(code) => (wire.step, wire.email_code) = (StepName::Code, Some(code)),
                WireAsk::SignIn { code, verifier } => {
                    wire.step = StepName::Oidc;
                    (wire.authorization_code, wire.verifier) = (Some(code), Some(verifier));
                }
            }
        }
        wire
    }
}

/// How it stands with a link's verification, for one token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CodeAnswer {
    /// Where the link stands now.
    pub state: State,
    /// Present where the link demands an e-mailed code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_code: Option<EmailCodeAnswer>,
    /// Present where the link demands a sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<OidcAnswer>,
    /// The operator has not answered yet: ask for the status again after this.
    #[serde(default, rename = "retryAfterMs", skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Span>,
}

/// How it stands with e-mailed codes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EmailCodeAnswer {
    /// In a word.
    pub status: EmailCodeStatus,
    /// Until when the code that is out is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Attempts that are left for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries_left: Option<u32>,
    /// Mails that are left for the link.
    pub mails_left: u32,
    /// How long until the next attempt is looked at.
    #[serde(default, rename = "retryAfterMs", skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Span>,
}

/// How it stands with e-mailed codes, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EmailCodeStatus {
    /// No code is out.
    None,
    /// Asked for; the operator is about to mail it.
    Sending,
    /// A code is out.
    Sent,
    /// A code was handed in and is not judged yet.
    Checking,
    /// The last code was wrong.
    Wrong,
    /// As many wrong ones as a code allows, or no mail is left.
    UsedUp,
    /// The code's time is over.
    Expired,
    /// The mail server refused it, or would not take it in time.
    NotSent,
    /// Right, for this token.
    Passed,
}

/// How it stands with the sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OidcAnswer {
    /// In a word.
    pub status: OidcStatus,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<SignInRefusal>,
}

/// How it stands with the sign-in, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OidcStatus {
    /// Nothing was handed in.
    None,
    /// Handed in, and not judged yet.
    Checking,
    /// Passed, for this token.
    Passed,
    /// It did not pass.
    Refused,
}

/// What a page needs to begin a sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignInOffer {
    /// Where the provider asks people to sign in.
    pub authorization_endpoint: String,
    /// This installation's name at the provider.
    pub client_id: String,
    /// What is asked for; `openid email` at least.
    pub scope: String,
}

impl CodeAnswer {
    /// How it stands with `link` for one token. `again` is how long a client waits while a request is open.
    ///
    /// # Errors
    /// [`Refusal::NotAvailable`] for a link that demands neither a code nor a sign-in.
    pub fn of(link: &Link, state: State, token: &Digest, again: Span, now: Timestamp) -> Result<Self, Refusal> {
        let kinds = &link.sealed.kinds;
        if !link.sealed.needs_release() {
            return Err(Refusal::NotAvailable);
        }
        let open = link.open_request().filter(|_| state == State::Open);
        Ok(Self {
            state,
            email_code: kinds.contains(&Verification::EmailCode).then(|| email_code(link, token, now)),
            oidc: kinds.contains(&Verification::Oidc).then(|| oidc(link, token)),
            retry_after: open.map(|_| again),
        })
    }
}

fn email_code(link: &Link, token: &Digest, now: Timestamp) -> EmailCodeAnswer {
    let verdict = link.verdict.as_ref().and_then(|v| v.email_code.as_ref());
    let mails_left = verdict.map_or(crate::link::verification::MAX_MAILS, |v| v.mails_left);
    let valid = verdict.filter(|v| v.tries_left > 0 && v.expires_at.is_some_and(|until| now < until));
    let status = match (link.open_request().map(|r| &r.ask), verdict) {
        (_, Some(v)) if v.passed == Some(*token) => EmailCodeStatus::Passed,
        (Some(Ask::Mail), _) => EmailCodeStatus::Sending,
        (Some(Ask::Code(_)), _) => EmailCodeStatus::Checking,
        (_, None) => EmailCodeStatus::None,
        (_, Some(v)) => match v.state {
            CodeState::Sent | CodeState::Wrong if valid.is_none() => EmailCodeStatus::Expired,
            CodeState::Sent => EmailCodeStatus::Sent,
            CodeState::Wrong => EmailCodeStatus::Wrong,
            CodeState::UsedUp => EmailCodeStatus::UsedUp,
            CodeState::Expired => EmailCodeStatus::Expired,
            CodeState::NotSent => EmailCodeStatus::NotSent,
            CodeState::None if v.mails_left == 0 => EmailCodeStatus::UsedUp,
            CodeState::None => EmailCodeStatus::None,
        },
    };
    let wait = valid.map(|v| v.wait_until).filter(|until| now < *until);
    EmailCodeAnswer {
        status,
        expires_at: valid.and_then(|v| v.expires_at),
        tries_left: valid.map(|v| v.tries_left),
        mails_left,
        retry_after: wait.map(|until| until.since(now)),
    }
}

fn oidc(link: &Link, token: &Digest) -> OidcAnswer {
    let verdict = link.verdict.as_ref().and_then(|v| v.sign_in.as_ref());
    if verdict.and_then(|v| v.passed) == Some(*token) {
        return OidcAnswer { status: OidcStatus::Passed, reason: None };
    }
    if link.open_request().is_some_and(|r| matches!(r.ask, Ask::SignIn { .. }) && r.token_hash == *token) {
        return OidcAnswer { status: OidcStatus::Checking, reason: None };
    }
    match verdict.and_then(|v| v.refused).filter(|(of, _)| of == token) {
        Some((_, reason)) => OidcAnswer { status: OidcStatus::Refused, reason: Some(reason) },
        None => OidcAnswer { status: OidcStatus::None, reason: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const B16: &str = "AAAAAAAAAAAAAAAAAAAAAA";
    const B32: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn request(rest: &str) -> Result<CodeRequest, serde_json::Error> {
        serde_json::from_str(&format!(r#"{{"id":"{B16}","access":"{B32}","tokenHash":"{B32}",{rest}}}"#))
    }

    fn verifier() -> String {
        "v".repeat(43)
    }

    #[test]
    fn each_step_has_its_own_members() {
        let signed_in = format!(r#""step":"oidc","authorizationCode":"a/b+c","verifier":"{}""#, verifier());
        for good in [
            r#""step":"status""#,
            r#""step":"mail","openingCode":"ABCD-EF01","exposed":true"#,
            r#""step":"mail""#,
            r#""step":"code","openingCode":"ABCD-EF01","emailCode":"1234-5678""#,
            &signed_in,
        ] {
            let once = serde_json::to_string(&request(good).expect(good)).expect("writes");
            let twice: CodeRequest = serde_json::from_str(&once).expect("parses again");
            assert_eq!(serde_json::to_string(&twice).expect("writes"), once);
        }
        let long = format!(r#""step":"oidc","authorizationCode":"{}","verifier":"{}""#, "a".repeat(2049), verifier());
        for bad in [
            r#""step":"status","openingCode":"ABCD-EF01""#,
            r#""step":"status","exposed":true"#,
            r#""step":"mail","emailCode":"12345678""#,
            r#""step":"code""#,
            r#""step":"code","emailCode":"1234567""#,
            r#""step":"code","emailCode":12345678"#,
            r#""step":"code","emailCode":null"#,
            r#""step":"oidc","authorizationCode":"abc""#,
            r#""step":"oidc","authorizationCode":"abc","verifier":"short""#,
            r#""step":"oidc","authorizationCode":"","verifier":"vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv""#,
            r#""step":"oidc","authorizationCode":"a b","verifier":"vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv""#,
            r#""step":"other""#,
            r#""step":"mail","more":1"#,
            r#""step":"mail","exposed":null"#,
            &long,
        ] {
            assert!(request(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_that_was_typed_prints() {
        let code = request(r#""step":"code","openingCode":"ABCD-EF01","emailCode":"1234-5678""#).expect("parses");
        let signed_in = format!(r#""step":"oidc","authorizationCode":"theCode","verifier":"{}""#, verifier());
        let text = format!("{code:?} {:?}", request(&signed_in).expect("parses"));
        for secret in ["12345678", "1234-5678", "ABCDEF01", "theCode", "vvvv"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
