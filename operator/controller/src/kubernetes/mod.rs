//! Manifests and connections from a Kubernetes cluster, behind the same ports as a folder.
//!
//! * Everything is followed by watches ([`follow`]); what they show is kept small ([`object`]) and changes by rules
//!   without I/O ([`state`]). Secrets are never watched: each is read by name when it is needed ([`secret`]).
//! * Nothing is made up: before the first complete list, for a namespace that is not watched, and after the API server's
//!   storage was set back, [`Manifests::get`] answers a transient fault and not "there is none", which would withdraw
//!   links.
//! * Every write names the incarnation that it is meant for ([`patch`]), and its answer is taken over at once: the
//!   controller reads its own writes.
//! * Events are sent beside the work ([`events`]), by rules without I/O ([`notes`]).

mod api;
mod connection;
mod events;
mod follow;
mod notes;
mod object;
mod patch;
mod ports;
mod raw;
mod read;
mod secret;
mod state;
#[cfg(test)]
mod tests;
mod token;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{join, join_all};
use kube::Client;
use ps_api::{GROUP, VERSION};
use ps_core::delivery::{ConnectionKind, ConnectionRef};
use ps_core::entry::Entry;
use ps_core::error::Fault;
use ps_core::ids::Key;
use ps_core::ports::{Clock, Random};
use ps_core::status::Status;
use tokio::sync::Notify;

pub use self::events::REPORTER;
pub use self::notes::{EventNote, Severity, notes, stalled};
pub use self::object::{FINALIZER, LET_GO_ANNOTATION};
pub use self::secret::USABLE_LABEL;

use self::api::Api;
use self::connection::KnownConnection;
use self::events::{About, Outbox};
use self::follow::{Follower, Sink};
use self::object::Known;
use self::raw::Raw;
use self::state::{FeedId, Item, KnownNamespace, State, What};

/// What a source is told once.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespaces to watch; empty for all of them.
    pub namespaces: Vec<String>,
    /// The operator's own namespace: where the secrets and service accounts of cluster-wide connections lie.
    pub operator_namespace: String,
    /// This process, in Events: the pod's name. Cut to 128 characters.
    pub instance: String,
    /// The audiences of our own token ([`ps_kubernetes::own_audiences`]): none of them is ever asked for.
    pub own_audiences: Vec<String>,
    /// [`KubernetesSource::newest`] of an earlier process, so that a storage that was set back while nobody looked is
    /// noticed at start; 0 if not known.
    pub newest_seen: u64,
    /// Whether connections may lead to `http://` on this machine. For tests: in a cluster this machine is the operator's
    /// own pod, and whatever listens there would take a tenant for the operator.
    pub allow_http: bool,
    /// Where namespaced `VaultConnection`s may lead, as `https://host[:port]`; empty for anywhere.
    pub vault_addresses: Vec<String>,
}

/// Deliveries and connections of a cluster.
pub struct KubernetesSource {
    api: Api,
    options: Options,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    state: Mutex<State>,
    /// Deliveries became dirty.
    wake: Notify,
    /// A watch has come up, or the storage was set back.
    moved: Notify,
    outbox: Outbox,
}

impl KubernetesSource {
    /// A source that has seen nothing yet; [`KubernetesSource::run`] makes it see.
    #[must_use]
    pub fn new(client: Client, options: Options, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        let api = Api::new(client);
        let state = State::new(feeds(&options.namespaces), options.newest_seen);
        let outbox = Outbox::new(api.clone(), &options.instance);
        let (wake, moved) = (Notify::new(), Notify::new());
        Self { api, options, clock, random, state: Mutex::new(state), wake, moved, outbox }
    }

    /// Keeps the watches up and sends Events, for ever.
    pub async fn run(&self) {
        let followers: Vec<_> = feeds(&self.options.namespaces).into_iter().map(|id| self.follower(id)).collect();
        join(join_all(followers.iter().map(Follower::run)), self.outbox.run()).await;
    }

    /// Waits until every watch has seen a complete list. Start the controller then: what it asks for before is answered
    /// by faults.
    pub async fn synced(&self) {
        loop {
            let moved = self.moved.notified();
            let mut moved = std::pin::pin!(moved);
            moved.as_mut().enable();
            if self.is_synced() {
                return;
            }
            moved.await;
        }
    }

    /// Whether every watch has seen a complete list.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.state().synced()
    }

    /// Why what is known may be out of date, if a watch is down: for `/readyz` and metrics.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.state().feeds.values().find_map(|feed| feed.fault.clone())
    }

    /// Every delivery that is known.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        self.state().deliveries.keys().cloned().collect()
    }

    /// The next delivery to look at again, each once however often it changed meanwhile: it is new, it changed by somebody
    /// else's hand, it is gone, its connection or its namespace changed. What was there when [`KubernetesSource::synced`]
    /// returned is no change: take it from [`KubernetesSource::keys`]. One consumer at a time.
    pub async fn next_change(&self) -> Key {
        loop {
            if let Some(key) = self.state().dirty.pop_first() {
                return key;
            }
            // A wake-up between the look and this line is kept by `Notify`.
            self.wake.notified().await;
        }
    }

    /// Waits until it is thought that the API server's storage was set back (restored from a backup), and says why. Until
    /// [`KubernetesSource::accept_back`], manifests and connections are answered by `kubernetes-went-back`.
    pub async fn went_back(&self) -> String {
        loop {
            let moved = self.moved.notified();
            let mut moved = std::pin::pin!(moved);
            moved.as_mut().enable();
            if let Some(why) = self.state().back.clone() {
                return why;
            }
            moved.await;
        }
    }

    /// What was noticed is written down (a restore is noted in the ledger): go on with what the API server says now.
    pub fn accept_back(&self) {
        let mut state = self.state();
        state.back = None;
        let keys: Vec<Key> = state.deliveries.keys().cloned().collect();
        state.dirty.extend(keys);
        drop(state);
        self.wake.notify_one();
    }

    /// The newest resourceVersion of deliveries that was seen, for [`Options::newest_seen`].
    #[must_use]
    pub fn newest(&self) -> u64 {
        let state = self.state();
        let deliveries = state.feeds.iter().filter(|(id, _)| id.what == What::Deliveries);
        deliveries.map(|(_, feed)| feed.newest).max().unwrap_or(0)
    }

    /// Which connection a delivery uses, for a limit of those worked on at once.
    #[must_use]
    pub fn connection_of(&self, key: &Key) -> Option<ConnectionRef> {
        let state = self.state();
        state.deliveries.get(key)?.spec.as_ref().ok().map(|spec| spec.connection.clone())
    }

    /// Whether this connection may still be used: its object is there, or nobody knows. For one of a namespace that is not
    /// watched, that is never known.
    #[must_use]
    pub fn may_have(&self, name: &ConnectionRef) -> bool {
        let state = self.state();
        let (what, there) = match name.kind {
            ConnectionKind::VaultConnection => {
                (What::Connections, state.connections.contains_key(&Key::new(&name.namespace, &name.name)))
            }
            ConnectionKind::ClusterVaultConnection => {
                (What::ClusterConnections, state.clusters.contains_key(&name.name))
            }
        };
        let gone = name.namespace != self.options.operator_namespace && is_ending(&state, &name.namespace);
        state.blind(what, &name.namespace).is_some() || (there && !gone)
    }

    /// Whether a namespace is known to be on its way out or gone.
    #[must_use]
    pub fn is_ending(&self, namespace: &str) -> bool {
        is_ending(&self.state(), namespace)
    }

    /// Tells an entry's change as Events: call it from [`crate::StepLog::wrote`]. Never blocks.
    pub fn wrote(&self, before: Option<&Entry>, after: &Entry) {
        for note in notes(before, after) {
            self.tell(&after.key, &after.uid, note);
        }
    }

    /// Tells what stands in a delivery's way: call it from [`crate::StepLog::rested`]. Never blocks.
    pub fn rested(&self, key: &Key, status: &Status) {
        let Some(note) = stalled(status) else { return };
        let uid = self.state().deliveries.get(key).map(|known| known.uid.to_string());
        if let Some(uid) = uid {
            self.tell(key, &uid, note);
        }
    }

    /// How many Events were dropped: too many waited, or the API server did not take them.
    #[must_use]
    pub fn events_dropped(&self) -> u64 {
        self.outbox.dropped()
    }

    fn tell(&self, key: &Key, uid: &str, note: EventNote) {
        let homeless = self.is_ending(&key.namespace);
        // What is not owed concerns nobody any more once its namespace goes.
        if !homeless || note.owed {
            self.outbox.tell(About { key: key.clone(), uid: uid.to_owned(), homeless }, note, self.clock.now());
        }
    }

    fn follower(&self, id: FeedId) -> Follower<'_, Self> {
        let of_ours = |plural: &str| match &id.only {
            Some(namespace) => format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{plural}"),
            None => format!("/apis/{GROUP}/{VERSION}/{plural}"),
        };
        let path = match id.what {
            What::Deliveries => of_ours("secretdeliveries"),
            What::Connections => of_ours("vaultconnections"),
            What::ClusterConnections => of_ours("clustervaultconnections"),
            What::Namespaces => "/api/v1/namespaces".to_owned(),
        };
        let metadata_only = id.what == What::Namespaces;
        let name = id.only.clone().filter(|_| metadata_only);
        Follower { api: &self.api, id, path, name, metadata_only, sink: self }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn woken(&self, state: MutexGuard<'_, State>) {
        let dirty = !state.dirty.is_empty();
        drop(state);
        if dirty {
            self.wake.notify_one();
        }
    }
}

fn is_ending(state: &State, namespace: &str) -> bool {
    let known = state.blind(What::Namespaces, namespace).is_none();
    known && state.namespaces.get(namespace).is_none_or(|known| known.terminating)
}

/// One watch per kind, or one per kind and namespace; cluster-wide connections are one in any case.
fn feeds(namespaces: &[String]) -> Vec<FeedId> {
    let mut feeds = vec![FeedId { what: What::ClusterConnections, only: None }];
    for what in [What::Deliveries, What::Connections, What::Namespaces] {
        if namespaces.is_empty() {
            feeds.push(FeedId { what, only: None });
        }
        feeds.extend(namespaces.iter().map(|namespace| FeedId { what, only: Some(namespace.clone()) }));
    }
    feeds
}

impl Sink for KubernetesSource {
    type Item = Item;

    fn read(&self, id: &FeedId, raw: Raw) -> Item {
        let key = Key::new(raw.metadata.namespace.clone().unwrap_or_default(), &raw.metadata.name);
        match id.what {
            What::Deliveries => {
                // Not under the lock: a spec takes a while to be checked. After a set-back generations say nothing.
                let before = {
                    let state = self.state();
                    let known = state.deliveries.get(&key).cloned();
                    known.filter(|known| known.version <= raw.metadata.version() && state.back.is_none())
                };
                Item::Delivery(key, Arc::new(Known::read(&raw, before.as_deref())))
            }
            What::Connections => Item::Connection(key, Arc::new(KnownConnection::own(&raw))),
            What::ClusterConnections => Item::Cluster(key.name, Arc::new(KnownConnection::cluster(&raw))),
            What::Namespaces => {
                let known = KnownNamespace {
                    uid: raw.metadata.uid.as_str().into(),
                    version: raw.metadata.version(),
                    labels: raw.metadata.labels,
                    terminating: raw.metadata.deletion_timestamp.is_some(),
                };
                Item::Namespace(key.name, Arc::new(known))
            }
        }
    }

    fn listed(&self, id: &FeedId, items: Vec<Item>, version: u64, seen: u64) -> bool {
        let mut state = self.state();
        let back = state.replace(id, items, version, seen);
        self.woken(state);
        self.moved.notify_waiters();
        back
    }

    fn changed(&self, id: &FeedId, item: Item) {
        let mut state = self.state();
        state.changed(id, item);
        self.woken(state);
    }

    fn deleted(&self, id: &FeedId, raw: &Raw) {
        let meta = &raw.metadata;
        let key = Key::new(meta.namespace.as_deref().unwrap_or_default(), &meta.name);
        let mut state = self.state();
        state.deleted(id, &key, &meta.uid, meta.version());
        self.woken(state);
    }

    fn reached(&self, id: &FeedId, version: u64) {
        self.state().reached(id, version);
    }

    fn newest(&self, id: &FeedId) -> u64 {
        self.state().feeds.get(id).map_or(0, |feed| feed.newest)
    }

    fn trouble(&self, id: &FeedId, fault: Option<&Fault>) {
        let mut state = self.state();
        let Some(feed) = state.feeds.get_mut(id) else { return };
        let news = feed.fault.as_ref().map(|f| &f.code) != fault.map(|f| &f.code);
        feed.fault = fault.cloned();
        drop(state);
        match fault.filter(|_| news) {
            Some(fault) => tracing::warn!(watch = ?id.what, code = %fault.code, "{fault}"),
            None if news => tracing::info!(watch = ?id.what, "the watch is up to date again"),
            None => {}
        }
    }

    fn jitter(&self) -> u16 {
        let mut two = [0_u8; 2];
        // Without randomness there is no jitter, which is no reason to stop.
        if self.random.fill(&mut two).is_err() {
            return u16::MAX / 2;
        }
        u16::from_be_bytes(two)
    }
}

/// A poisoned lock guards plain data that is changed in whole steps; it is as good as before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
