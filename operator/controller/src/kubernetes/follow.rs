//! One watch, kept up for ever: list, watch, and again when the server says so.
//!
//! Lists are read in pages and count when they are complete. A watch that ends when it was asked to goes on from where it was;
//! before that, one small list tells whether the storage was set back meanwhile, because a watch from a future version is
//! silent. One that ended earlier, or could not be opened, begins anew with a list of everything: the server may have been
//! away, and a storage that was restored meanwhile may have written past what was seen, which only its objects tell.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use kube::core::params::{ListParams, WatchParams};
use kube::core::{Request, WatchEvent};
use ps_core::error::Fault;
use ps_kubernetes::fault::Doing;

use super::api::{Api, Refusal};
use super::raw::{Raw, RawList, version};
use super::state::FeedId;

/// Objects in one page of a list.
const PAGE: u32 = 500;
/// How often a list is begun anew, because its pages became too old, before that is a failure.
const RESTARTS: u32 = 3;
/// How long the server may keep one watch open. The end of a watch is when a set-back of the storage is looked for.
const WATCH: Duration = Duration::from_secs(240);
/// A watch that lasted this long ended because it was asked to.
const UNDISTURBED: Duration = Duration::from_secs(220);
/// Bookmarks come about once a minute: a watch that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(100);
/// The first and the longest wait after a failure.
const WAITS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(8));

/// What a watch is made of and where it leads.
pub(super) struct Follower<'a, S> {
    pub(super) api: &'a Api,
    pub(super) id: FeedId,
    /// Path of the collection, such as `/apis/passwordsender.io/v1alpha1/secretdeliveries`.
    pub(super) path: String,
    /// Only the object of this name.
    pub(super) name: Option<String>,
    /// Ask for metadata only.
    pub(super) metadata_only: bool,
    pub(super) sink: &'a S,
}

/// Takes what a watch shows.
pub(super) trait Sink: Sync {
    /// What is kept of an object.
    type Item: Send;
    /// Reads an object, without changing anything.
    fn read(&self, id: &FeedId, raw: Raw) -> Self::Item;
    /// A list is complete. Returns whether the storage was set back.
    /// `seen` is the newest version that was seen when the list was asked for.
    fn listed(&self, id: &FeedId, items: Vec<Self::Item>, version: u64, seen: u64) -> bool;
    /// An object is new or changed.
    fn changed(&self, id: &FeedId, item: Self::Item);
    /// An object is gone.
    fn deleted(&self, id: &FeedId, raw: &Raw);
    /// Everything up to this version was seen.
    fn reached(&self, id: &FeedId, version: u64);
    /// The newest version that was seen.
    fn newest(&self, id: &FeedId) -> u64;
    /// It is not up to date, or is again.
    fn trouble(&self, id: &FeedId, fault: Option<&Fault>);
    /// Any number, for waits that differ.
    fn jitter(&self) -> u16;
}

/// How one watch ended.
enum Ended {
    /// By the server's hand: if it was time, it can go on from this version.
    At(String),
    /// It must begin anew with a list: its start is too old, or it fell silent.
    Anew,
    /// It could not be opened, or broke.
    Failed(Refusal),
}

impl<S: Sink> Follower<'_, S> {
    /// Never ends.
    pub(super) async fn run(&self) {
        let mut failures = 0_u32;
        loop {
            match self.list().await {
                Ok(at) => {
                    let began = Instant::now();
                    self.watch_on(at).await;
                    // A server that has no history at all is not asked for lists in a hot loop.
                    failures = if began.elapsed() > WAITS.1 { 0 } else { failures.saturating_add(1) };
                    if failures > 0 {
                        self.wait(failures - 1).await;
                    }
                }
                Err(refusal) => {
                    self.sink.trouble(&self.id, Some(&refusal.fault));
                    tracing::debug!(code = %refusal.fault.code, path = %self.path, "the list failed");
                    self.wait(failures).await;
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    /// Watches until a new list is due: after anything but the end that was asked for.
    async fn watch_on(&self, mut at: String) {
        loop {
            let began = Instant::now();
            match self.watch(&at).await {
                Ended::At(next) if began.elapsed() >= UNDISTURBED => at = next,
                Ended::At(_) | Ended::Anew => return,
                Ended::Failed(refusal) => {
                    tracing::debug!(code = %refusal.fault.code, path = %self.path, "the watch failed");
                    return self.sink.trouble(&self.id, Some(&refusal.fault));
                }
            }
            // Asked before the probe: an answer to a write of ours may come meanwhile, and be younger.
            let seen = self.sink.newest(&self.id);
            match self.probe().await {
                Ok(now) if now >= seen => {}
                Ok(_) => return,
                Err(refusal) => return self.sink.trouble(&self.id, Some(&refusal.fault)),
            }
        }
    }

    async fn watch(&self, from: &str) -> Ended {
        let mut at = from.to_owned();
        let params = WatchParams {
            field_selector: self.selector(),
            timeout: Some(u32::try_from(WATCH.as_secs()).unwrap_or(u32::MAX)),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = Request::new(&self.path);
        let request =
            if self.metadata_only { request.watch_metadata(&params, from) } else { request.watch(&params, from) };
        let stream = match self.api.events::<Raw>(&self.doing("watch"), request).await {
            Ok(stream) => stream,
            Err(refusal) if refusal.status == 410 => return Ended::Anew,
            Err(refusal) => return Ended::Failed(refusal),
        };
        self.sink.trouble(&self.id, None);
        let mut stream = std::pin::pin!(stream);
        loop {
            let event = match tokio::time::timeout(SILENCE, stream.next()).await {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) => {
                    let refusal = Refusal::from_error(&self.doing("watch"), &error);
                    return if refusal.status == 410 { Ended::Anew } else { Ended::Failed(refusal) };
                }
                Ok(None) => return Ended::At(at),
                // The connection died, and nobody knows when.
                Err(_) => return Ended::Anew,
            };
            match event {
                WatchEvent::Added(raw) | WatchEvent::Modified(raw) => {
                    at.clone_from(&raw.metadata.resource_version);
                    let item = self.sink.read(&self.id, raw);
                    self.sink.changed(&self.id, item);
                }
                WatchEvent::Deleted(raw) => {
                    at.clone_from(&raw.metadata.resource_version);
                    self.sink.deleted(&self.id, &raw);
                }
                WatchEvent::Bookmark(mark) => {
                    at = mark.metadata.resource_version;
                    self.sink.reached(&self.id, version(&at));
                }
                // 410 is "too old"; whatever else it is, a list is the way out.
                WatchEvent::Error(_) => return Ended::Anew,
            }
        }
    }

    /// Reads everything, in pages. A page that is too old begins the list anew.
    async fn list(&self) -> Result<String, Refusal> {
        let seen = self.sink.newest(&self.id);
        let mut items = Vec::new();
        let mut more: Option<String> = None;
        let mut restarts = 0;
        loop {
            let page = match self.page(PAGE, more.take()).await {
                Err(refusal) if refusal.status == 410 && restarts < RESTARTS => {
                    restarts += 1;
                    items.clear();
                    continue;
                }
                page => page?,
            };
            for (n, raw) in page.items.into_iter().enumerate() {
                items.push(self.sink.read(&self.id, raw));
                // Checking a spec takes a while: others have their turn too.
                if n % 32 == 31 {
                    tokio::task::yield_now().await;
                }
            }
            more = page.metadata.more.filter(|token| !token.is_empty());
            if more.is_none() {
                let at = page.metadata.resource_version;
                if self.sink.listed(&self.id, items, version(&at), seen) {
                    tracing::error!(path = %self.path, "the API server's storage was set back");
                }
                return Ok(at);
            }
        }
    }

    /// The storage's version now.
    async fn probe(&self) -> Result<u64, Refusal> {
        Ok(version(&self.page(1, None).await?.metadata.resource_version))
    }

    async fn page(&self, limit: u32, more: Option<String>) -> Result<RawList, Refusal> {
        let params = ListParams {
            field_selector: self.selector(),
            limit: Some(limit),
            continue_token: more,
            ..ListParams::default()
        };
        let request = Request::new(&self.path);
        let request = if self.metadata_only { request.list_metadata(&params) } else { request.list(&params) };
        self.api.send(&self.doing("list"), request).await
    }

    fn doing(&self, verb: &'static str) -> Doing {
        let resource = self.path.rsplit('/').next().unwrap_or_default();
        let doing = Doing::new(verb, resource, self.namespace(), self.name.as_deref().unwrap_or_default());
        doing.of_group(if self.metadata_only { "" } else { ps_api::GROUP })
    }

    fn namespace(&self) -> &str {
        if self.name.is_some() { "" } else { self.id.only.as_deref().unwrap_or_default() }
    }

    fn selector(&self) -> Option<String> {
        self.name.as_ref().map(|name| format!("metadata.name={name}"))
    }

    async fn wait(&self, failures: u32) {
        let grown = WAITS.0.saturating_mul(1 << failures.min(6)).min(WAITS.1);
        let share = f64::from(self.sink.jitter()) / f64::from(u16::MAX);
        tokio::time::sleep(grown.mul_f64(0.75 + share / 2.0)).await;
    }
}
