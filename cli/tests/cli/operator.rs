//! The operator behind the gateway, as far as e-mailed codes go: it "mails" always the same one, and judges attempts.

use ps_core::ids::Digest;
use ps_core::link::email_code::{CodeKey, EmailCode, is_right};
use ps_core::link::verification::{Ask, CodeState, CodeVerdict, MAX_MAILS, MAX_TRIES, Request, Verdict};
use ps_core::link::{Command, Record, Release, apply};
use ps_core::ports::LinkStore as _;
use ps_core::time::{Span, Timestamp};
use ps_envelope::Opener;

use crate::support::{FACTOR, Sent, World};

/// The code that is mailed.
pub(crate) const CODE: &str = "2468-1357";

impl World {
    /// Answers requests of one link for as long as this world stands.
    pub(crate) fn operate(&self, sent: &Sent) {
        let (store, id) = (self.store.clone(), sent.id);
        let opener = Opener::from_fragment(sent.url.split_once('#').unwrap().1).unwrap();
        let right = CodeKey::from_access(opener.access().expose()).hash(id, &EmailCode::parse(CODE).unwrap());
        self.runtime.spawn(async move {
            let mut after = 0;
            loop {
                let found = store.get(id).await.unwrap().unwrap();
                let link = found.value.link().unwrap();
                if let Some(request) = link.open_request() {
                    let verdict = judged(request, link.verdict.as_deref(), &right);
                    let release = verdict.released.map(|token_hash| Release { r: FACTOR, token_hash });
                    let judge = Command::Judge { verdict: Box::new(verdict), release };
                    let next = apply(link, &judge, request.at).next.unwrap();
                    store.replace(&Record::Link(Box::new(next)), found.version).await.ok();
                    continue;
                }
                for change in store.changes(after, 64).await.unwrap() {
                    after = after.max(change.seq);
                }
            }
        });
    }
}

fn judged(request: &Request, before: Option<&Verdict>, right: &Digest) -> Verdict {
    let mut codes = before.and_then(|verdict| verdict.email_code.clone()).unwrap_or(CodeVerdict {
        state: CodeState::None,
        expires_at: None,
        tries_left: 0,
        mails_left: MAX_MAILS,
        wait_until: Timestamp::EPOCH,
        passed: None,
    });
    match &request.ask {
        Ask::Mail => {
            (codes.state, codes.tries_left, codes.mails_left) = (CodeState::Sent, MAX_TRIES, codes.mails_left - 1);
            codes.expires_at = Some(request.at + Span::from_secs(600));
        }
        Ask::Code(tried) if is_right(right, &request.token_hash, tried) => {
            (codes.state, codes.passed) = (CodeState::None, Some(request.token_hash));
        }
        Ask::Code(_) => {
            (codes.state, codes.tries_left) = (CodeState::Wrong, codes.tries_left - 1);
            codes.wait_until = request.at + Span::from_secs(1);
        }
        Ask::SignIn { .. } => unreachable!("no link of these tests demands it"),
    }
    let released = codes.passed;
    Verdict { answered: request.seq, email_code: Some(codes), sign_in: None, released, mac: Digest([0; 32]) }
}
