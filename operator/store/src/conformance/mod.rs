//! What every store must do. Test support: a store's tests call [`run`], and fail with its words.
//!
//! Nothing here panics or knows a backend. A store that keeps these rules can carry `ps_core::link`.

mod cas;
mod changes;
mod racers;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ps_core::ids::{Digest, LinkId};
use ps_core::link::{Link, Record, Sealed};
use ps_core::ports::{CasError, LinkStore, Versioned};
use ps_core::time::{Span, Timestamp};

/// How long the suite waits for what must happen.
const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until both handles know, each by its own means, what the store holds under an id.
pub type Settle = Arc<dyn Fn(LinkId) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// For stores whose handles know at once.
#[must_use]
pub fn at_once() -> Settle {
    Arc::new(|_| Box::pin(std::future::ready(())))
}

/// Two handles on one empty store: two clients of one server, or two openings of one file.
#[derive(Clone)]
pub struct Pair {
    /// One handle.
    pub a: Arc<dyn LinkStore>,
    /// The other.
    pub b: Arc<dyn LinkStore>,
    /// Says to `b` that `a` has written, and the other way round, where a store needs to be told to be fast.
    pub nudge: Arc<dyn Fn() + Send + Sync>,
    /// For a store whose handles follow a watch and may be a moment behind: the suite waits for this before it reads by one
    /// handle what the other has written. Compare-and-swap is never waited for: there the store's word must be true at once.
    pub settle: Settle,
    /// The largest ciphertext that the store takes.
    pub max_bytes: usize,
}

impl Pair {
    async fn settled(&self, id: LinkId) {
        (self.settle)(id).await;
    }
}

/// A rule that the store broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

type Checked = Result<(), Broken>;

/// Runs the whole suite; `make` yields a fresh, empty store each time. Needs a multi-threaded tokio runtime.
///
/// # Errors
/// The first rule that is broken, in words.
pub async fn run(make: impl AsyncFn() -> Pair) -> Result<(), Broken> {
    cas::inserted_is_read(&make().await).await?;
    cas::an_id_is_used_once(&make().await).await?;
    cas::replace_needs_the_version(&make().await).await?;
    cas::delete_needs_the_version(&make().await).await?;
    cas::versions_do_not_come_back(&make().await).await?;
    cas::sizes_are_bounded(&make().await).await?;
    cas::sixty_four_increments(&make().await).await?;
    changes::pages_are_complete(&make().await).await?;
    changes::in_order_and_once_each(&make().await).await?;
    changes::no_wake_up_is_lost(&make().await).await?;
    changes::a_position_from_the_future_is_told(&make().await).await?;
    racers::one_claim_wins(&make().await).await
}

/// A link as the suite uses it: its preimages are SHA-256 of a label and the id, see [`preimage`]. It expires an hour
/// after `now`, its claim window is a quarter of an hour, and no opening code is due.
#[must_use]
pub fn sample(id: LinkId, now: Timestamp, ciphertext: &[u8]) -> Link {
    let preview = b"preview".to_vec();
    let expires_at = now + Span::from_secs(3600);
    let hash = |label| Digest::of(&preimage(id, label));
    let sealed = Sealed {
        id,
        access: hash("access"),
        decline: hash("decline"),
        proof: hash("proof"),
        code: None,
        kinds: Vec::new(),
        kdf: None,
        not_after: expires_at + Span::from_secs(900),
        claim_window: Span::from_secs(900),
        ciphertext_hash: Digest::of(ciphertext),
        preview_hash: Digest::of(&preview),
    };
    Link::new(sealed, expires_at, ciphertext.to_vec(), preview)
}

/// The preimage of one of a [`sample`]'s hashes: `access`, `decline` or `proof`.
#[must_use]
pub fn preimage(id: LinkId, label: &str) -> [u8; 32] {
    Digest::of(&[label.as_bytes(), &id.0].concat()).0
}

/// An id that is unlike its neighbours', so that order by id is not order by `number`.
fn id(number: u64) -> LinkId {
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(Digest::of(&number.to_be_bytes()).0) {
        *to = from;
    }
    LinkId(id)
}

fn open_link(number: u64) -> Record {
    let now = Timestamp::from_secs(1_000_000);
    Record::Link(Box::new(sample(id(number), now, format!("sealed {number}").as_bytes())))
}

/// The record after `change`.
fn changed(record: &Record, change: impl FnOnce(&mut Link)) -> Record {
    let mut record = record.clone();
    if let Record::Link(link) = &mut record {
        change(link);
    }
    record
}

fn ensure(holds: bool, rule: &str) -> Checked {
    if holds { Ok(()) } else { Err(Broken(rule.to_owned())) }
}

fn same<T: PartialEq + fmt::Debug>(found: &T, expected: &T, rule: &str) -> Checked {
    if found == expected {
        return Ok(());
    }
    Err(Broken(format!("{rule}: found {found:?}, expected {expected:?}")))
}

/// What must succeed.
fn must<T>(result: Result<T, CasError>, what: &str) -> Result<T, Broken> {
    result.map_err(|e| Broken(format!("{what}: {e}")))
}

async fn present(store: &dyn LinkStore, id: LinkId) -> Result<Versioned<Record>, Broken> {
    must(store.get(id).await, "get")?.ok_or_else(|| Broken("a record that must be there is not".into()))
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T, Broken> {
    tokio::time::timeout(DEADLINE, future).await.map_err(|_| Broken(format!("{what}: did not happen in {DEADLINE:?}")))
}
