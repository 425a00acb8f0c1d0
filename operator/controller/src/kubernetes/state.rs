//! What the watches have shown so far, and the rules by which it changes. No I/O.
//!
//! * Newer wins: an object is replaced by a higher resourceVersion only, so the answer to a write of ours and the watch's
//!   own word may come in any order.
//! * Only a complete list makes objects vanish, and only those that are not younger than it.
//! * A list that is older than what was seen means that the API server's storage was set back: what it says then counts
//!   in full, and nothing is told to the controller until somebody has taken note ([`State::back`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ps_core::delivery::{ConnectionKind, ConnectionRef};
use ps_core::error::{Class, Fault};
use ps_core::ids::Key;

use super::connection::KnownConnection;
use super::object::Known;

/// What one watch is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum What {
    Deliveries,
    Connections,
    ClusterConnections,
    Namespaces,
}

/// One watch: of everything of its kind, or of one namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FeedId {
    pub(super) what: What,
    /// `None` for all of them. For [`What::Namespaces`], the name.
    pub(super) only: Option<String>,
}

impl FeedId {
    fn covers(&self, namespace: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == namespace)
    }
}

/// How a watch stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Feed {
    /// Whether a complete list was seen.
    pub(super) synced: bool,
    /// The newest version seen, of any object or of the whole.
    pub(super) newest: u64,
    /// Everything up to this version was shown, by lists and the watch: answers to our own writes don't count.
    pub(super) complete: u64,
    /// Why it is not up to date.
    pub(super) fault: Option<Fault>,
}

/// What is kept of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownNamespace {
    pub(super) uid: Box<str>,
    pub(super) version: u64,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) terminating: bool,
}

/// One object of any watch.
pub(super) enum Item {
    Delivery(Key, Arc<Known>),
    Connection(Key, Arc<KnownConnection>),
    Cluster(String, Arc<KnownConnection>),
    Namespace(String, Arc<KnownNamespace>),
}

/// See the module.
#[derive(Default)]
pub(super) struct State {
    pub(super) deliveries: BTreeMap<Key, Arc<Known>>,
    pub(super) connections: BTreeMap<Key, Arc<KnownConnection>>,
    pub(super) clusters: BTreeMap<String, Arc<KnownConnection>>,
    pub(super) namespaces: BTreeMap<String, Arc<KnownNamespace>>,
    pub(super) feeds: BTreeMap<FeedId, Feed>,
    /// Why it is thought that the storage was set back, until [`super::KubernetesSource::accept_back`].
    pub(super) back: Option<String>,
    /// Deliveries to look at again.
    pub(super) dirty: BTreeSet<Key>,
}

/// Objects of one kind by name, the same for all kinds.
trait Dated {
    fn version(&self) -> u64;
}
impl Dated for Known {
    fn version(&self) -> u64 {
        self.version
    }
}
impl Dated for KnownConnection {
    fn version(&self) -> u64 {
        self.version
    }
}
impl Dated for KnownNamespace {
    fn version(&self) -> u64 {
        self.version
    }
}

impl State {
    /// A state in which nothing was seen yet. `newest` is the newest version of deliveries that an earlier process saw.
    pub(super) fn new(feeds: impl IntoIterator<Item = FeedId>, newest: u64) -> Self {
        let feed =
            |id: &FeedId| Feed { newest: if id.what == What::Deliveries { newest } else { 0 }, ..Feed::default() };
        Self { feeds: feeds.into_iter().map(|id| (id.clone(), feed(&id))).collect(), ..Self::default() }
    }

    /// Why nothing can be said about objects of a kind in a namespace, if so. Always transient: absence is never made up.
    pub(super) fn blind(&self, what: What, namespace: &str) -> Option<Fault> {
        let transient = |code: &str, message: String| Some(Fault::new(Class::Transient, code, message));
        if let Some(why) = &self.back {
            return transient(
                "kubernetes-went-back",
                format!("the API server seems to be restored from a backup: {why}"),
            );
        }
        let Some(feed) =
            self.feeds.iter().find(|(id, _)| id.what == what && id.covers(namespace)).map(|(_, feed)| feed)
        else {
            return Some(
                Fault::new(
                    Class::Transient,
                    "namespace-not-watched",
                    format!("the namespace {namespace} is not among those that this operator watches"),
                )
                .remedy(
                    "Add it to the operator's namespaces, so that what is owed there is known to be wanted or gone",
                ),
            );
        };
        match &feed.fault {
            _ if feed.synced => None,
            Some(fault) => Some(Fault { class: Class::Transient, ..fault.clone() }),
            None => transient("kubernetes-not-synced", "the API server has not told everything yet".to_owned()),
        }
    }

    /// Whether every watch has seen a complete list.
    pub(super) fn synced(&self) -> bool {
        self.feeds.values().all(|feed| feed.synced)
    }

    /// A complete list was seen at `version`; when it was asked for, `seen` was the newest version known. Returns whether
    /// it says that the storage was set back.
    pub(super) fn replace(&mut self, id: &FeedId, items: Vec<Item>, version: u64, seen: u64) -> bool {
        let before = self.feeds.get(id).cloned().unwrap_or_default();
        let back = self.set_back(seen, before.complete, &items, version);
        if let Some(why) = &back {
            self.back.get_or_insert_with(|| why.clone());
        }
        let mut listed = BTreeSet::new();
        for item in items {
            listed.insert(match &item {
                Item::Delivery(key, _) | Item::Connection(key, _) => key.clone(),
                Item::Cluster(name, _) | Item::Namespace(name, _) => Key::new("", name),
            });
            self.apply(item, back.is_some());
        }
        let young = |at: u64| back.is_none() && at > version;
        let namespaced = |key: &Key| id.covers(&key.namespace);
        let mut gone = Vec::new();
        match id.what {
            What::Deliveries => {
                let old =
                    self.deliveries.iter().filter(|(k, d)| namespaced(k) && !listed.contains(k) && !young(d.version));
                gone.extend(old.map(|(k, _)| k.clone()));
            }
            What::Connections => {
                let old =
                    self.connections.iter().filter(|(k, d)| namespaced(k) && !listed.contains(k) && !young(d.version));
                gone.extend(old.map(|(k, _)| k.clone()));
            }
            What::ClusterConnections => {
                let old =
                    self.clusters.iter().filter(|(k, d)| !listed.contains(&Key::new("", *k)) && !young(d.version));
                gone.extend(old.map(|(k, _)| Key::new("", k)));
            }
            What::Namespaces => {
                let old = self
                    .namespaces
                    .iter()
                    .filter(|(k, d)| id.covers(k) && !listed.contains(&Key::new("", *k)) && !young(d.version));
                gone.extend(old.map(|(k, _)| Key::new("", k)));
            }
        }
        for key in gone {
            self.forget(id.what, &key);
        }
        let (newest, complete) = if back.is_some() {
            (version, version)
        } else {
            (before.newest.max(version), before.complete.max(version))
        };
        let waited = !self.synced();
        self.feeds.insert(id.clone(), Feed { synced: true, newest, complete, fault: None });
        if waited && self.synced() {
            // What is known now is no change: whoever waited for this looks at everything by itself.
            self.dirty.clear();
        }
        back.is_some()
    }

    /// What proves that the storage was set back: the whole is older than what was seen, or one object is, or one is there
    /// that was not there (any more) at a later version than its own.
    fn set_back(&self, seen: u64, complete: u64, items: &[Item], version: u64) -> Option<String> {
        if version < seen {
            return Some(format!("it was at resourceVersion {seen} and is at {version} now"));
        }
        items.iter().find_map(|item| {
            let Item::Delivery(key, now) = item else { return None };
            let Some(before) = self.deliveries.get(key).filter(|before| before.uid == now.uid) else {
                return (0 < now.version && now.version <= complete)
                    .then(|| format!("{key} is at resourceVersion {} and was not there at {complete}", now.version));
            };
            // A write of ours may be younger than the list; what is older than the list must be in it.
            (now.version < before.version && before.version <= version)
                .then(|| format!("{key} was at resourceVersion {} and is at {} now", before.version, now.version))
        })
    }

    /// An object as its watch shows it.
    pub(super) fn changed(&mut self, id: &FeedId, item: Item) {
        let version = self.answered(id, item);
        self.reached(id, version);
    }

    /// An object as the answer to a request of ours shows it: nothing is said of others up to its version.
    pub(super) fn answered(&mut self, id: &FeedId, item: Item) -> u64 {
        let version = match &item {
            Item::Delivery(_, known) => known.version,
            Item::Connection(_, known) | Item::Cluster(_, known) => known.version,
            Item::Namespace(_, known) => known.version,
        };
        self.apply(item, false);
        if let Some(feed) = self.feeds.get_mut(id) {
            feed.newest = feed.newest.max(version);
        }
        version
    }

    /// A watch is known to be complete up to this version.
    pub(super) fn reached(&mut self, id: &FeedId, version: u64) {
        if let Some(feed) = self.feeds.get_mut(id) {
            feed.newest = feed.newest.max(version);
            feed.complete = feed.complete.max(version);
        }
    }

    /// An object is gone, seen at `version`.
    pub(super) fn deleted(&mut self, id: &FeedId, key: &Key, uid: &str, version: u64) {
        let there = match id.what {
            What::Deliveries => self.deliveries.get(key).map(|k| (k.version, *k.uid == *uid)),
            What::Connections => self.connections.get(key).map(|k| (k.version, true)),
            What::ClusterConnections => self.clusters.get(&key.name).map(|k| (k.version, true)),
            What::Namespaces => self.namespaces.get(&key.name).map(|k| (k.version, *k.uid == *uid)),
        };
        // Another incarnation may have been seen already, in the answer to a request of ours.
        if there.is_some_and(|(at, same)| same || at <= version) {
            self.forget(id.what, key);
        }
        self.reached(id, version);
    }

    /// Connections of a namespace, or all that use a cluster-wide one, or all of a namespace.
    fn touch(&mut self, uses: impl Fn(&Key, &Known) -> bool) {
        let touched: Vec<Key> =
            self.deliveries.iter().filter(|(key, known)| uses(key, known)).map(|(key, _)| key.clone()).collect();
        self.dirty.extend(touched);
    }

    fn touch_users(&mut self, connection: &ConnectionRef) {
        self.touch(|key, known| {
            let uses = known.spec.as_ref().ok().map(|s| &s.connection);
            uses.is_some_and(|c| c.name == connection.name && c.kind == connection.kind)
                && (connection.kind == ConnectionKind::ClusterVaultConnection || key.namespace == connection.namespace)
        });
    }

    fn apply(&mut self, item: Item, whatever: bool) {
        match item {
            Item::Delivery(key, known) => {
                let before = self.deliveries.get(&key);
                if before.is_some_and(|b| !whatever && b.version >= known.version) {
                    return;
                }
                // It was read beside the lock: a status may have been sent meanwhile.
                let mut known = known;
                if let Some(before) = before.filter(|b| b.uid == known.uid && b.sent != known.sent) {
                    Arc::make_mut(&mut known).sent = before.sent;
                }
                if before.is_none_or(|b| known.is_news(b)) {
                    self.dirty.insert(key.clone());
                }
                self.deliveries.insert(key, known);
            }
            Item::Connection(key, known) => {
                if newer(self.connections.get(&key), &known, whatever) {
                    let name = ConnectionRef::namespaced(&key.namespace, &key.name);
                    let news =
                        self.connections.insert(key, Arc::clone(&known)).is_none_or(|b| !b.says_the_same(&known));
                    if news {
                        self.touch_users(&name);
                    }
                }
            }
            Item::Cluster(name, known) => {
                if newer(self.clusters.get(&name), &known, whatever) {
                    let reference = ConnectionRef::cluster("", &name);
                    let news = self.clusters.insert(name, Arc::clone(&known)).is_none_or(|b| !b.says_the_same(&known));
                    if news {
                        self.touch_users(&reference);
                    }
                }
            }
            Item::Namespace(name, known) => {
                if newer(self.namespaces.get(&name), &known, whatever) {
                    let before = self.namespaces.insert(name.clone(), Arc::clone(&known));
                    if before.is_none_or(|b| b.labels != known.labels || b.terminating != known.terminating) {
                        self.touch(|key, _| key.namespace == name);
                    }
                }
            }
        }
    }

    pub(super) fn forget(&mut self, what: What, key: &Key) {
        match what {
            What::Deliveries => {
                self.deliveries.remove(key);
                self.dirty.insert(key.clone());
            }
            What::Connections => {
                self.connections.remove(key);
                self.touch_users(&ConnectionRef::namespaced(&key.namespace, &key.name));
            }
            What::ClusterConnections => {
                self.clusters.remove(&key.name);
                self.touch_users(&ConnectionRef::cluster("", &key.name));
            }
            What::Namespaces => {
                self.namespaces.remove(&key.name);
                self.touch(|k, _| k.namespace == key.name);
            }
        }
    }
}

fn newer<T: Dated>(before: Option<&Arc<T>>, now: &Arc<T>, whatever: bool) -> bool {
    whatever || before.is_none_or(|b| b.version() < now.version())
}
