//! The gateway's verbs over a store: get, apply [`ps_core::link::rules`], replace if nobody changed it, answer.

mod verify;
mod waiters;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use ps_core::ids::{Digest, LinkId};
use ps_core::link::{Link, Outcome, Record, Verification};
use ps_core::ports::{CasError, LinkStore, Versioned};
use ps_core::service::answers::{self, Asked};
use ps_core::service::{
    AcknowledgeRequest, ClaimAnswer, ClaimRequest, CodeAnswer, CodeRequest, DeclineRequest, LinkService, LookupAnswer,
    LookupRequest, Refusal, SignInOffer, StateAnswer,
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
    async fn run(&self, asked: &Asked, fenced: bool, now: Timestamp) -> Result<(Versioned<Link>, Outcome), Refusal> {
        let (id, access) = (asked.id, &asked.access);
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
            let step = asked.apply(&link, now);
            let Some(next) = step.next else {
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
        let (found, outcome) = self.run(&request.into(), false, now).await?;
        let answer = answers::looked_up(&found.value, &outcome, now)?;
        let oidc = self.offer.clone().filter(|_| answer.state.is_live() && answer.kinds.contains(&Verification::Oidc));
        Ok(LookupAnswer { oidc, ..answer })
    }

    async fn claim(&self, request: &ClaimRequest, now: Timestamp) -> Result<ClaimAnswer, Refusal> {
        let (found, outcome) = self.run(&request.into(), true, now).await?;
        let answer = answers::claimed(&found.value, &outcome, now);
        if answer == Err(Refusal::NotReady) {
            // Somebody else's writing. The operator will find it.
            tracing::warn!(link = %request.id(), "a claimed record lacks what it must hold");
        }
        answer
    }

    async fn acknowledge(&self, request: &AcknowledgeRequest, now: Timestamp) -> Result<StateAnswer, Refusal> {
        let (_, outcome) = self.run(&request.into(), false, now).await?;
        answers::done(&outcome, now)
    }

    async fn decline(&self, request: &DeclineRequest, now: Timestamp) -> Result<StateAnswer, Refusal> {
        let (_, outcome) = self.run(&request.into(), true, now).await?;
        answers::done(&outcome, now)
    }

    async fn code(&self, request: &CodeRequest, now: Timestamp) -> Result<CodeAnswer, Refusal> {
        self.verify(request, now).await
    }
}

fn busy(error: &CasError) -> Refusal {
    tracing::warn!(%error, "the store did not do it");
    Refusal::NotReady
}
