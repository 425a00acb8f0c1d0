//! What every ledger must do. Test support: a ledger's tests call [`run`], and fail with its words.
//!
//! Nothing here panics or knows a backend.

mod cas;
mod find;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use ps_core::delivery::{ConnectionRef, Identity, OnSourceRotated, Source, Strategy};
use ps_core::entry::{Attempt, Common, Entry, LinkFacts, MailState, TagKey, Terms};
use ps_core::ids::{Digest, Key, LinkId, Stamp};
use ps_core::link::State;
use ps_core::ports::{CasError, Ledger, Versioned};
use ps_core::time::{Span, Timestamp};

/// Waits until both handles' searches, lists and [`Ledger::get`] show every write that has ended.
pub type Settle = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Two handles on one empty ledger: two clients of one server, or two openings of one file.
///
/// What is compared and swapped, and [`Ledger::get_latest`], is checked from handle to handle at once. What is searched by one
/// after a write by the other is checked after `settle`: a ledger that follows a watch may be behind for a moment. A handle's
/// own writes are checked at once, whatever the ledger.
#[derive(Clone)]
pub struct Pair {
    /// One handle.
    pub a: Arc<dyn Ledger>,
    /// The other.
    pub b: Arc<dyn Ledger>,
    settle: Settle,
}

impl Pair {
    /// Handles of a ledger whose writes are seen by everybody at once.
    pub fn at_once(a: impl Ledger + 'static, b: impl Ledger + 'static) -> Self {
        Self::settling(Arc::new(a), Arc::new(b), Arc::new(|| Box::pin(async {})))
    }

    /// Handles of a ledger that follows a watch.
    pub fn settling(a: Arc<dyn Ledger>, b: Arc<dyn Ledger>, settle: Settle) -> Self {
        Self { a, b, settle }
    }

    async fn settle(&self) {
        (self.settle)().await;
    }
}

/// A rule that the ledger broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

type Checked = Result<(), Broken>;

/// Runs the whole suite; `make` yields a fresh, empty ledger each time. Needs a multi-threaded tokio runtime.
///
/// # Errors
/// The first rule that is broken, in words.
pub async fn run(make: impl AsyncFn() -> Pair) -> Result<(), Broken> {
    cas::inserted_is_read(&make().await).await?;
    find::own_writes_are_found_at_once(&make().await).await?;
    cas::replace_needs_the_version(&make().await).await?;
    cas::delete_needs_the_version(&make().await).await?;
    cas::sizes_are_bounded(&make().await).await?;
    cas::sixty_four_increments(&make().await).await?;
    cas::one_common_entry(&make().await).await?;
    find::pages_are_complete(&make().await).await?;
    find::by_source(&make().await).await?;
    find::by_record(&make().await).await?;
    find::an_index_is_never_behind(&make().await).await
}

/// An entry with one attempt per pair of source key and record, otherwise of no meaning.
#[must_use]
pub fn sample(key: Key, attempts: &[(Digest, LinkId)]) -> Entry {
    let now = Timestamp::from_secs(1_000_000);
    let stamp = Stamp::new(&key, [7; 16]);
    let mut entry = Entry::new(key, "uid-1".into(), stamp, now);
    for (number, (source, record)) in (1..).zip(attempts) {
        entry.attempt = number;
        entry.attempts.push(attempt(number, *source, *record, now));
    }
    entry
}

fn attempt(number: u32, source_key: Digest, record: LinkId, now: Timestamp) -> Attempt {
    let digest = Digest::of(&record.0);
    Attempt {
        number,
        record,
        digest,
        connection: ConnectionRef::namespaced("team", "vault"),
        resolved: None,
        source: Source::DatabaseStatic { mount: "database".into(), role: "app".into() },
        source_key,
        identity: Identity::Kv1,
        tags: BTreeMap::new(),
        release: None,
        verify: None,
        recipient_digest: digest,
        source_digest: digest,
        terms: Terms {
            expires_at: now + Span::from_secs(3600),
            not_after: now + Span::from_secs(4500),
            claim_window: Span::from_secs(900),
            strategy: Strategy::RotateRole,
            keys: Vec::new(),
            password_policy: None,
            after_retrieval: Span::from_secs(3600),
            on_expiry: true,
            on_revocation: true,
            on_locked: true,
            on_source_rotated: OnSourceRotated::Stall,
            notify: None,
            recipient: "a…@vendor.example".into(),
        },
        mail: MailState::Superseded,
        message_id: format!("{number}@example"),
        begun_at: now,
        link: LinkFacts {
            state: State::Open,
            journal_read: 0,
            claimed_at: None,
            acknowledged: false,
            disputed: false,
            tampered: None,
            revoke: None,
            ended_at: None,
        },
        obligation: None,
        evidence: None,
        forgotten: false,
    }
}

fn key(number: u64) -> Key {
    // Order by namespace comes before order by name, and is by bytes: "a-b" < "a0" < "a1".
    let namespace = ["a0", "a-b", "a1"].get(number as usize % 3).copied();
    Key::new(namespace.unwrap_or_default(), format!("delivery-{number}"))
}

fn source(number: u64) -> Digest {
    Digest::of(&number.to_be_bytes())
}

fn record(number: u64) -> LinkId {
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(source(number).0) {
        *to = from;
    }
    LinkId(id)
}

fn common(ledger_id: &str, newest: u64) -> Common {
    Common { newest, ..Common::new(TagKey([9; 32]), ledger_id.to_owned()) }
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

async fn present(ledger: &dyn Ledger, key: &Key) -> Result<Versioned<Entry>, Broken> {
    must(ledger.get_latest(key).await, "get_latest")?.ok_or_else(|| Broken("an entry that must be there is not".into()))
}
