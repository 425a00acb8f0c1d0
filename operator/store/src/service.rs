//! The gateway's verbs over a store: get, apply [`ps_core::link::rules`], replace if nobody changed it, answer.

mod verify;
mod waiters;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use ps_core::ids::{Digest, LinkId};
use ps_core::link::rules::{MAX_WRONG_PROOFS, expose};
use ps_core::link::{self, Command, Link, Outcome, Proof, Record, State, Verification, apply};
use ps_core::ports::{CasError, LinkStore, Versioned};
use ps_core::service::{
    AcknowledgeRequest, ClaimAnswer, ClaimRequest, CodeAnswer, CodeRequest, DeclineRequest, LinkService, LookupAnswer,
    LookupRequest, Refusal, Released, Revealed, Sealed, SignInOffer, StateAnswer, TypedCode,
};
use ps_core::time::Timestamp;

use self::waiters::Waiters;

/// How often a command is tried again because somebody else changed the record meanwhile. Each loser of a race has
/// lost to a change that ended it (a claim, a wrong code), so a handful is plenty; more means a store gone wrong.
const MAX_CONFLICTS: u32 = 32;

/// What unknown ids are compared with, so that they cost what a wrong `access` costs. No 32 bytes are known to match it.
const NOBODY: Digest = Digest([0; 32]);

/// Whether claims and declines may be answered. Clones share one state.
///
/// A gateway starts fenced until the operator has looked at the store (a restored one must answer no claims).
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<AtomicBool>);

impl Fence {
    /// A fence that is up: claims and declines get [`Refusal::NotReady`].
    #[must_use]
    pub fn raised() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// A fence that is down.
    #[must_use]
    pub fn lifted() -> Self {
        Self::default()
    }

    /// Refuses claims and declines from now on. One whose write began before may still finish.
    pub fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Lets claims and declines through from now on.
    pub fn lift(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// Whether it is up.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.is_raised() { Err(Refusal::NotReady) } else { Ok(()) }
    }
}

/// Called after each durable change.
type Hook = Arc<dyn Fn(LinkId) + Send + Sync>;
/// An answer that may take a while.
pub type Answer = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;
/// Asked before the store is read.
type Door = Arc<dyn Fn(LinkId, [u8; 32]) -> Answer + Send + Sync>;

/// [`LinkService`] over a [`LinkStore`].
pub struct StoreLinkService<S: ?Sized> {
    store: Arc<S>,
    fence: Fence,
    changed: Option<Hook>,
    door: Option<Door>,
    offer: Option<SignInOffer>,
    waiters: Waiters,
}

/// How a command is run, beside what it asks.
#[derive(Clone, Copy, Default)]
struct Asked {
    /// Not while the fence is up.
    fenced: bool,
    /// The link's token had reached a path or a query.
    exposed: bool,
}

impl<S: ?Sized> fmt::Debug for StoreLinkService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreLinkService").field("fence", &self.fence).finish_non_exhaustive()
    }
}

impl<S: LinkStore + ?Sized> StoreLinkService<S> {
    /// Serves `store` behind `fence`.
    #[must_use]
    pub fn new(store: Arc<S>, fence: Fence) -> Self {
        Self { store, fence, changed: None, door: None, offer: None, waiters: Waiters::default() }
    }

    /// Calls `hook` after each durable change, on the task that made it: it must neither block nor panic.
    #[must_use]
    pub fn on_change(mut self, hook: impl Fn(LinkId) + Send + Sync + 'static) -> Self {
        self.changed = Some(Arc::new(hook));
        self
    }

    /// Asks `door` with a request's id and `access` before the store is read, and refuses what it refuses: for a store that
    /// knows without reading whose id it is, so that strangers cost it nothing. It must neither block nor panic.
    #[must_use]
    pub fn with_door(mut self, door: impl Fn(LinkId, [u8; 32]) -> Answer + Send + Sync + 'static) -> Self {
        self.door = Some(Arc::new(door));
        self
    }

    /// Tells pages how a sign-in begins. Without it, a link that demands one can't be opened here.
    #[must_use]
    pub fn with_sign_in(mut self, offer: SignInOffer) -> Self {
        self.offer = Some(offer);
        self
    }

    /// Runs one command; answers only after its change, if it makes one, is durable. `Ok` holds the link as it is then.
    async fn run(
        &self,
        id: LinkId,
        access: &Revealed,
        command: &Command,
        Asked { fenced, exposed }: Asked,
        now: Timestamp,
    ) -> Result<(Versioned<Link>, Outcome), Refusal> {
        if fenced {
            self.fence.check()?;
        }
        if let Some(door) = &self.door {
            door(id, access.0).await?;
        }
        for _ in 0..MAX_CONFLICTS {
            let found = self.store.get(id).await.map_err(|error| busy(&error))?;
            let (link, version) = match found {
                Some(Versioned { value: Record::Link(link), version }) => (*link, version),
                _ => {
                    std::hint::black_box(NOBODY.matches(&access.0));
                    return Err(Refusal::NotFound);
                }
            };
            // Before the rules copy anything: a wrong `access` must not cost more where there is a large ciphertext.
            if !link.sealed.access.matches(&access.0) {
                return Err(Refusal::NotFound);
            }
            let noted = if exposed { expose(&link, &access.0, now) } else { None };
            let step = apply(noted.as_ref().unwrap_or(&link), command, now);
            let Some(next) = step.next.or(noted) else {
                return Ok((Versioned { value: link, version }, step.outcome));
            };
            drop(link);
            if fenced {
                self.fence.check()?;
            }
            let record = Record::Link(Box::new(next));
            match self.store.replace(&record, version).await {
                Ok(version) => {
                    if let Some(hook) = &self.changed {
                        hook(id);
                    }
                    return match record {
                        Record::Link(link) => Ok((Versioned { value: *link, version }, step.outcome)),
                        Record::Void { .. } => Err(Refusal::NotFound),
                    };
                }
                Err(CasError::Conflict | CasError::AlreadyExists) => {}
                Err(error @ CasError::Failed(_)) => return Err(busy(&error)),
            }
        }
        tracing::warn!(link = %id, conflicts = MAX_CONFLICTS, "a record would not hold still");
        Err(Refusal::NotReady)
    }
}

#[async_trait]
impl<S: LinkStore + ?Sized + 'static> LinkService for StoreLinkService<S> {
    async fn lookup(&self, request: &LookupRequest, now: Timestamp) -> Result<LookupAnswer, Refusal> {
        let command = Command::Lookup { access: request.access.0 };
        let (found, outcome) = self.run(request.id, &request.access, &command, Asked::default(), now).await?;
        let (link, state) = (found.value, done(&outcome, now)?);
        let Link { sealed, expires_at, preview, .. } = &link;
        Ok(LookupAnswer {
            state,
            expires_at: *expires_at,
            not_after: sealed.not_after,
            claim_window: sealed.claim_window,
            preview: preview.clone().filter(|_| state.is_live()).map(Sealed),
            kinds: sealed.kinds.clone(),
            kdf: sealed.kdf,
            opening_code: sealed.claim_needs_code(),
            window_ends_at: link.window_ends_at().filter(|_| state == State::Claimed),
            oidc: self.offer.clone().filter(|_| state.is_live() && sealed.kinds.contains(&Verification::Oidc)),
        })
    }

    async fn claim(&self, request: &ClaimRequest, now: Timestamp) -> Result<ClaimAnswer, Refusal> {
        let (id, access, exposed, command) = match request {
            ClaimRequest::First { id, access, opening_code, proof, token_hash, exposed } => {
                let code = opening_code.as_ref().map(|code| code.hash(*id));
                let proof = Proof(proof.0);
                (*id, access, *exposed, Command::Claim { access: access.0, code, proof, token_hash: *token_hash })
            }
            ClaimRequest::Again { id, access, proof, token, exposed } => {
                let proof = Proof(proof.0);
                (*id, access, *exposed, Command::ClaimAgain { access: access.0, proof, token: token.0 })
            }
        };
        let asked = Asked { fenced: true, exposed };
        let (Versioned { value: link, .. }, outcome) = self.run(id, access, &command, asked, now).await?;
        match outcome {
            Outcome::Released => released(link),
            // Only the claimant gets this far, and has mistyped the passphrase. It is not counted and costs no wait.
            Outcome::Refused(link::Refusal::Invalid) if link.state == State::Claimed => Err(Refusal::WrongProof {
                attempts_left: MAX_WRONG_PROOFS.saturating_sub(link.tries.wrong_proofs),
                retry_after: ps_core::time::Span::ZERO,
            }),
            Outcome::Refused(refusal) => Err(refused(refusal, now)),
            Outcome::Done(state) => Err(Refusal::Gone(state)),
        }
    }

    async fn acknowledge(&self, request: &AcknowledgeRequest, now: Timestamp) -> Result<StateAnswer, Refusal> {
        let command = Command::Acknowledge { access: request.access.0, token: request.token.0 };
        let (_, outcome) = self.run(request.id, &request.access, &command, Asked::default(), now).await?;
        done(&outcome, now).map(|state| StateAnswer { state })
    }

    async fn decline(&self, request: &DeclineRequest, now: Timestamp) -> Result<StateAnswer, Refusal> {
        let code = request.opening_code.as_ref().map(|code: &TypedCode| code.hash(request.id));
        let command = Command::Decline { access: request.access.0, code, preimage: request.decline.0 };
        let asked = Asked { fenced: true, exposed: request.exposed };
        let (_, outcome) = self.run(request.id, &request.access, &command, asked, now).await?;
        done(&outcome, now).map(|state| StateAnswer { state })
    }

    async fn code(&self, request: &CodeRequest, now: Timestamp) -> Result<CodeAnswer, Refusal> {
        self.verify(request, now).await
    }
}

fn released(link: Link) -> Result<ClaimAnswer, Refusal> {
    let window_ends_at = link.window_ends_at();
    let Link { sealed, claim, ciphertext, release, .. } = link;
    match (claim, ciphertext, window_ends_at) {
        (Some(claim), Some(ciphertext), Some(window_ends_at)) => Ok(ClaimAnswer {
            ciphertext: Sealed(ciphertext),
            not_after: sealed.not_after,
            claimed_at: claim.at,
            window_ends_at,
            r: release.filter(|r| r.token_hash == claim.token_hash).map(|r| Released(r.r)),
        }),
        // A claimed record without claim or ciphertext: somebody else's writing. The operator will find it.
        _ => {
            tracing::warn!(link = %sealed.id, "a claimed record lacks what it must hold");
            Err(Refusal::NotReady)
        }
    }
}

fn done(outcome: &Outcome, now: Timestamp) -> Result<State, Refusal> {
    match outcome {
        Outcome::Done(state) => Ok(*state),
        Outcome::Refused(refusal) => Err(refused(*refusal, now)),
        Outcome::Released => Err(Refusal::BadRequest),
    }
}

fn refused(refusal: link::Refusal, now: Timestamp) -> Refusal {
    match refusal {
        link::Refusal::NotFound => Refusal::NotFound,
        link::Refusal::Gone(state) => Refusal::Gone(state),
        link::Refusal::SlowDown(until) => Refusal::SlowDown { retry_after: until.since(now) },
        link::Refusal::WrongCode(until) => Refusal::WrongCode { retry_after: until.since(now) },
        link::Refusal::WrongProof { left, wait_until } => {
            Refusal::WrongProof { attempts_left: left, retry_after: wait_until.since(now) }
        }
        link::Refusal::VerificationDue => Refusal::VerificationDue,
        link::Refusal::NotDemanded => Refusal::NotAvailable,
        link::Refusal::Claimed => Refusal::Claimed,
        link::Refusal::Invalid => Refusal::BadRequest,
    }
}

fn busy(error: &CasError) -> Refusal {
    tracing::warn!(%error, "the store did not do it");
    Refusal::NotReady
}
