//! The verb `code` over a store: puts the request into the record, and waits a little for the operator's verdict.

use std::time::{Duration, Instant};

use ps_core::link::{Command, Link, Record, State};
use ps_core::ports::{LinkStore, Versioned};
use ps_core::service::answers::{self, Asked};
use ps_core::service::{CodeAnswer, CodeRequest, CodeStep, Refusal, WireAsk};
use ps_core::time::{Span, Timestamp};

use super::{StoreLinkService, busy};

/// How long a request waits for the operator.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a client waits that was not answered.
const AGAIN: Span = Span::from_secs(1);

impl<S: LinkStore + ?Sized + 'static> StoreLinkService<S> {
    pub(super) async fn verify(&self, request: &CodeRequest, now: Timestamp) -> Result<CodeAnswer, Refusal> {
        let CodeRequest { id, access, token_hash, step } = request;
        let begun = Instant::now();
        let (command, exposed, fenced) = match step {
            CodeStep::Status => (Command::Lookup { access: access.0 }, false, false),
            CodeStep::Ask { ask: WireAsk::SignIn { .. }, .. } if self.offer.is_none() => {
                return Err(Refusal::NotAvailable);
            }
            CodeStep::Ask { opening_code, ask, exposed } => {
                let code = opening_code.as_ref().map(|code| code.hash(*id));
                let ask = ask.for_record(*id, access, token_hash);
                let command = Command::Ask { access: access.0, code, token_hash: *token_hash, ask };
                (command, *exposed, true)
            }
        };
        let asked = Asked { id: *id, access: access.clone(), command, exposed };
        let (Versioned { value: mut link, version }, outcome) = self.run(&asked, fenced, now).await?;
        let mut state = answers::done(&outcome, now)?.state;
        let waits = |link: &Link, state| state == State::Open && link.open_request().is_some();
        if waits(&link, state)
            && let Some(waiter) = self.waiters.wait(&self.store, *id, version)
        {
            let limit = tokio::time::sleep(PATIENCE);
            tokio::pin!(limit);
            loop {
                let changed = waiter.changed();
                let Some(found) = self.store.get(*id).await.map_err(|error| busy(&error))? else { break };
                let Record::Link(found) = found.value else { break };
                if !found.sealed.access.matches(&access.0) {
                    return Err(Refusal::NotFound);
                }
                link = *found;
                state = link.state;
                if !waits(&link, state) {
                    break;
                }
                tokio::select! {
                    () = changed => {}
                    () = &mut limit => break,
                }
            }
        }
        let passed = Span::from_millis(i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX));
        CodeAnswer::of(&link, state, token_hash, AGAIN, now + passed)
    }
}
