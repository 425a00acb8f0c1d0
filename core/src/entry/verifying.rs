//! What the operator remembers of e-mailed codes and sign-ins of one attempt.

use serde::{Deserialize, Serialize};

use super::{Attempt, ReleaseKey};
use crate::delivery::Recipient;
use crate::ids::Digest;
use crate::link::check::Judge;
use crate::link::email_code::CodeKey;
use crate::link::verification::{
    CodeState, CodeVerdict, JudgeKey, MAX_MAILS, MAX_TRIES, SignInRefusal, SignInVerdict, Verdict,
};
use crate::link::{Release, Verification};
use crate::time::Timestamp;

/// How far the recipient has come. Counted here, so across restarts, gateways and operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verifying {
    /// What the link demands of these: an e-mailed code, a sign-in, or both.
    pub kinds: Vec<Verification>,
    /// What judging needs; gone once the link is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Box<JudgeSecrets>>,
    /// The latest request that was answered.
    #[serde(default)]
    pub answered: u32,
    /// Mails that were begun.
    #[serde(default)]
    pub mails: u32,
    /// How it stands with codes.
    #[serde(default)]
    pub state: CodeState,
    /// The code that is out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<MailedCode>,
    /// The next code is not to be looked at before this time.
    #[serde(default)]
    pub wait_until: Timestamp,
    /// The token for which a code was right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_passed: Option<Digest>,
    /// Answers of sign-ins that were looked at.
    #[serde(default)]
    pub sign_ins: u32,
    /// The latest request of them: it counts once, however often the provider is tried for it.
    #[serde(default)]
    pub looked_at: u32,
    /// The token whose last sign-in did not pass, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in_refused: Option<(Digest, SignInRefusal)>,
    /// The token for which a sign-in passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in_passed: Option<Digest>,
    /// The tokens that `R` was released to, the current one last. At most as many as there are mails and sign-ins.
    #[serde(default)]
    pub released: Vec<Digest>,
    /// Mails and tries are used up: the link is to be locked.
    #[serde(default)]
    pub lock: bool,
}

/// What judging needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JudgeSecrets {
    /// What codes are hashed under.
    pub code_key: CodeKey,
    /// What verdicts are signed with.
    pub judge_key: JudgeKey,
    /// Whom codes are mailed to, and who must sign in: whoever the link was mailed to, whatever the manifest says by now.
    pub recipient: Recipient,
    /// Who sends the credential, in words, as the link's mail said it.
    pub sender: String,
}

/// A code that is out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MailedCode {
    /// Its hash ([`CodeKey::hash`]).
    pub hash: Digest,
    /// When it was about to be mailed.
    pub at: Timestamp,
    /// Until when it is valid.
    pub until: Timestamp,
    /// Wrong attempts at it.
    pub tries: u32,
}

impl Verifying {
    /// Nothing was asked yet.
    #[must_use]
    pub fn new(kinds: Vec<Verification>, secrets: JudgeSecrets) -> Self {
        Self {
            kinds,
            secrets: Some(Box::new(secrets)),
            answered: 0,
            mails: 0,
            state: CodeState::None,
            code: None,
            wait_until: Timestamp::EPOCH,
            code_passed: None,
            sign_ins: 0,
            looked_at: 0,
            sign_in_refused: None,
            sign_in_passed: None,
            released: Vec::new(),
            lock: false,
        }
    }

    /// Whether the link demands this.
    #[must_use]
    pub fn demands(&self, kind: Verification) -> bool {
        self.kinds.contains(&kind)
    }

    /// Whether `token` has passed all that is demanded.
    #[must_use]
    pub fn has_passed(&self, token: &Digest) -> bool {
        let passed = |kind, by: &Option<Digest>| !self.demands(kind) || by.as_ref() == Some(token);
        passed(Verification::EmailCode, &self.code_passed) && passed(Verification::Oidc, &self.sign_in_passed)
    }

    /// The token that `R` is released to now.
    #[must_use]
    pub fn released_to(&self) -> Option<Digest> {
        self.released.last().copied()
    }
}

impl Attempt {
    /// What a check of the record needs to know; `None` where neither an e-mailed code nor a sign-in is demanded.
    #[must_use]
    pub fn judge(&self) -> Option<Judge<'_>> {
        let verify = self.verify.as_deref()?;
        let keys = verify.secrets.as_ref().map(|s| &s.judge_key).zip(self.release.as_ref());
        Some(Judge { keys, released: &verify.released })
    }

    /// What the record is to say: the verdict, and `R` where it is released. `None` before the first request, and once the
    /// link is over.
    #[must_use]
    pub fn verdict(&self) -> Option<(Verdict, Option<Release>)> {
        let verify = self.verify.as_deref().filter(|v| v.answered > 0)?;
        let secrets = verify.secrets.as_ref()?;
        let ReleaseKey(r) = self.release.as_ref()?;
        let released = verify.released_to();
        let code = verify.code.as_ref();
        let email_code = verify.demands(Verification::EmailCode).then(|| CodeVerdict {
            state: verify.state,
            expires_at: code.map(|c| c.until),
            tries_left: code.map_or(0, |c| MAX_TRIES.saturating_sub(c.tries)),
            mails_left: MAX_MAILS.saturating_sub(verify.mails),
            wait_until: verify.wait_until,
            passed: verify.code_passed,
        });
        let sign_in = verify
            .demands(Verification::Oidc)
            .then_some(SignInVerdict { refused: verify.sign_in_refused, passed: verify.sign_in_passed });
        let mac = Digest([0; 32]);
        let verdict = Verdict { answered: verify.answered, email_code, sign_in, released, mac };
        let release = released.map(|token_hash| Release { r: *r, token_hash });
        Some((verdict.signed(self.record, &secrets.judge_key), release))
    }

    /// Forgets `R` and what judging needs: the link is over.
    pub fn forget_judging(&mut self) {
        self.release = None;
        if let Some(verify) = &mut self.verify {
            verify.secrets = None;
            verify.code = None;
        }
    }
}
