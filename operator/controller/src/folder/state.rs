//! From what was known and what is seen to what is known next. Pure: time and sights come in, a step goes out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ps_api::Kind;
use ps_core::delivery::ConnectionRef;
use ps_core::error::{Class, Fault};
use ps_core::ids::Key;
use ps_core::time::{Span, Timestamp};

use super::names::{CONFIRM, status_file};
use super::object::{Delivery, KnownConnection, uses};
use super::read::{FileSight, SETTLED, Sight, Sighting, file_fault};

/// How long something must be missing before it counts as deleted.
pub(super) const ABSENCE: Span = Span::from_secs(10);
/// From this many on, more than half of everything at once is no ordinary deletion.
const MANY: usize = 3;

/// When the next look comes while there is more to parse.
const SOON: Span = Span::from_millis(1);

/// All that the source knows.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) deliveries: BTreeMap<Key, Arc<Delivery>>,
    pub(super) connections: BTreeMap<ConnectionRef, KnownConnection>,
    /// Objects whose note can't be read: neither new nor gone, and nobody knows what they last asked for. What their
    /// files say now is left alone until a person has mended that.
    pub(super) unreadable: BTreeMap<Key, Fault>,
    /// Files that are wrong as a whole, or hold what another file holds already.
    pub(super) files: BTreeMap<String, Fault>,
    /// What is wrong with the folder as a whole.
    pub(super) folder: Option<Fault>,
    /// The folder could not be read the last time, so nothing is known to be absent.
    pub(super) blind: bool,
    /// Some files wait for the next look, so what is not known may be in them.
    pub(super) partial: bool,
}

/// What one sight changes.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// The state after it.
    pub(super) next: State,
    /// Deliveries to look at again.
    pub(super) changed: BTreeSet<Key>,
    /// When to look at the folder again, at the latest.
    pub(super) again: Option<Timestamp>,
    /// Files that must be parsed again: something they held before is needed now.
    pub(super) parse_again: BTreeSet<String>,
    /// The confirmation has served its purpose, or serves none.
    pub(super) confirmation_used: bool,
}

impl State {
    /// What is known after `sight`. `uid` makes a uid for a new object.
    ///
    /// # Errors
    /// Only what `uid` returns.
    pub(super) fn step(
        &self,
        sight: &Sight,
        now: Timestamp,
        uid: &mut dyn FnMut() -> Result<String, Fault>,
    ) -> Result<Step, Fault> {
        let mut step = Step::default();
        step.next.unreadable.clone_from(&self.unreadable);
        let mut pass = Pass::new(sight);
        for (key, places) in pass.deliveries.iter().filter(|(key, _)| !self.unreadable.contains_key(**key)) {
            let known = self.deliveries.get(*key);
            let incumbent = known.map(|k| k.note.file.as_str());
            let Some((file, sighting)) = choose(&key.to_string(), places, incumbent, &pass.standing, &mut pass.faults)
            else {
                continue;
            };
            let next = match known {
                Some(known) => known.seen(sighting, file),
                // A uid for nothing, where the text was not kept, costs nothing.
                None => Delivery::unknown((*key).clone(), uid()?).seen(sighting, file),
            };
            match (next, known) {
                (Some(next), Some(known)) if known.is(&next) => {
                    drop(step.next.deliveries.insert((*key).clone(), Arc::clone(known)))
                }
                (Some(next), _) => drop(step.next.deliveries.insert((*key).clone(), Arc::new(next))),
                (None, known) => {
                    step.parse_again.insert(file.to_owned());
                    step.next.deliveries.extend(known.map(|known| ((*key).clone(), Arc::new(known.unread(None)))));
                }
            }
        }
        for (name, places) in &pass.connections {
            let key = name_of(name);
            let known = self.connections.get(name);
            let incumbent = known.map(|k| k.file.as_str());
            let Some((file, sighting)) = choose(&key, places, incumbent, &pass.standing, &mut pass.faults) else {
                continue;
            };
            match KnownConnection::seen(known, sighting, file) {
                Some(next) => drop(step.next.connections.insert(name.clone(), next)),
                None => {
                    step.parse_again.insert(file.to_owned());
                    step.next.connections.extend(known.map(|known| (name.clone(), known.clone())));
                }
            }
        }
        self.keep_unread(&pass, &mut step.next);
        self.judge_absence(sight, now, &mut step);
        if pass.unsettled || !step.parse_again.is_empty() {
            sooner(&mut step.again, now + SETTLED);
        }
        if sight.partial {
            sooner(&mut step.again, now + SOON);
        }
        step.next.partial = sight.partial;
        step.next.files = pass.faults;
        step.changed = self.differences(&step.next);
        Ok(step)
    }

    /// Deliveries whose text rests, and is needed to judge a document of this sight.
    pub(super) fn rest_in(&self, sight: &Sight) -> Vec<Key> {
        let documents = sight.files.values().filter_map(|file| match file {
            FileSight::Documents(documents) => Some(documents.iter()),
            FileSight::Broken(_) | FileSight::Unsettled | FileSight::Later => None,
        });
        let of_ours = documents.flatten().filter(|document| document.kind == Kind::Delivery);
        let rests = |document: &&Sighting| {
            self.deliveries.get(&document.key).is_some_and(|known| known.text_rests && known.is_to_judge(document))
        };
        of_ours.filter(rests).map(|document| document.key.clone()).collect()
    }

    /// The note of a delivery turns out not to be readable any more.
    pub(super) fn lose(&mut self, key: &Key, fault: Fault) {
        self.deliveries.remove(key);
        self.unreadable.insert(key.clone(), fault);
    }

    /// Every delivery that is known, even if nothing more of it is.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.deliveries.keys().chain(self.unreadable.keys())
    }

    /// Whether nothing was ever known of this folder.
    pub(super) fn is_new(&self) -> bool {
        self.deliveries.is_empty() && self.connections.is_empty() && self.unreadable.is_empty()
    }

    /// What is known after a look that failed: everything as it was, and nothing is missing.
    pub(super) fn blinded(&self, fault: Fault) -> Self {
        let mut next = self.clone();
        for delivery in next.deliveries.values_mut().filter(|d| d.absent_since.is_some()) {
            Arc::make_mut(delivery).absent_since = None;
        }
        next.connections.values_mut().for_each(|c| c.absent_since = None);
        next.folder = Some(fault);
        next.blind = true;
        next
    }

    /// Objects whose file is there but can't be read stay as they are.
    fn keep_unread(&self, pass: &Pass<'_>, next: &mut State) {
        for (key, known) in &self.deliveries {
            if pass.standing.contains(known.note.file.as_str()) && !next.deliveries.contains_key(key) {
                next.deliveries.insert(key.clone(), Arc::new(known.unread(pass.faults.get(&known.note.file))));
            }
        }
        for (name, known) in &self.connections {
            if pass.standing.contains(known.file.as_str()) && !next.connections.contains_key(name) {
                next.connections.insert(name.clone(), KnownConnection { absent_since: None, ..known.clone() });
            }
        }
    }

    /// What is missing: for how long, and whether that is believed.
    fn judge_absence(&self, sight: &Sight, now: Timestamp, step: &mut Step) {
        let missing: Vec<&Arc<Delivery>> = self
            .deliveries
            .iter()
            .filter(|(key, _)| !step.next.deliveries.contains_key(key))
            .map(|(_, known)| known)
            .collect();
        let open: Vec<&Arc<Delivery>> = missing.iter().copied().filter(|known| !known.note.deleting).collect();
        let present = step.next.deliveries.values().filter(|d| !d.note.deleting).count();
        let many = open.len() >= MANY && open.len() > present;
        let due = |since: Option<Timestamp>| now.since(since.unwrap_or(now)) >= ABSENCE;
        let all_due = open.iter().all(|known| due(known.absent_since));
        let believed = !sight.crowded && (!many || (sight.confirmed && all_due));
        step.confirmation_used = sight.confirmed && (open.is_empty() || believed);
        for known in missing {
            let mut next = Delivery::clone(known);
            next.fault = None;
            if !known.note.deleting {
                let since = known.absent_since.unwrap_or(now);
                next.absent_since = Some(since);
                if !due(known.absent_since) {
                    sooner(&mut step.again, since + ABSENCE);
                } else if believed {
                    next.note.deleting = true;
                }
            }
            step.next.deliveries.insert(known.note.key.clone(), Arc::new(next));
        }
        for (name, known) in &self.connections {
            if step.next.connections.contains_key(name) {
                continue;
            }
            if sight.crowded || many || !due(known.absent_since) {
                let since = known.absent_since.unwrap_or(now);
                sooner(&mut step.again, since + ABSENCE);
                step.next
                    .connections
                    .insert(name.clone(), KnownConnection { absent_since: Some(since), ..known.clone() });
            }
        }
        step.again = step.again.filter(|at| *at > now);
        step.next.folder = match (many && !believed, sight.crowded) {
            (_, true) => Some(
                Fault::new(
                    Class::Misconfigured,
                    "folder-crowded",
                    "the manifests folder holds more than 10000 manifests, the rest is not read",
                )
                .remedy("Move some of them to a folder of their own, with an operator of its own"),
            ),
            (true, false) => Some(held(open.len(), open.len() + present)),
            (false, false) => None,
        };
    }

    /// Deliveries that look different, or whose connection does.
    fn differences(&self, next: &State) -> BTreeSet<Key> {
        let mut changed: BTreeSet<Key> = next
            .deliveries
            .iter()
            .filter(|(key, delivery)| {
                self.deliveries.get(key).is_none_or(|before| !Arc::ptr_eq(before, delivery) && before.differs(delivery))
            })
            .map(|(key, _)| key.clone())
            .collect();
        let mut names: BTreeSet<&ConnectionRef> = self.connections.keys().collect();
        names.extend(next.connections.keys());
        names.retain(|name| {
            let form = |state: &'_ State| state.connections.get(name).map(|c| c.server.clone());
            form(self) != form(next)
        });
        // Those that name a changed one as their clean-up are resolved in another way too.
        let cleaned = next.connections.iter().filter(|(_, c)| names.iter().any(|name| c.is_cleaned_by(name)));
        let cleaned: Vec<&ConnectionRef> = cleaned.map(|(name, _)| name).collect();
        names.extend(cleaned);
        for name in names {
            changed.extend(next.deliveries.iter().filter(|(_, d)| uses(d, name)).map(|(key, _)| key.clone()));
        }
        changed
    }
}

/// Where documents of one key were found: file and document, in order of file name.
type Places<'a> = Vec<(&'a str, &'a Sighting)>;

/// A sight, sorted by object.
struct Pass<'a> {
    deliveries: BTreeMap<&'a Key, Places<'a>>,
    connections: BTreeMap<ConnectionRef, Places<'a>>,
    /// Files that are there but can't be read, or not yet: what they held stands.
    standing: BTreeSet<&'a str>,
    faults: BTreeMap<String, Fault>,
    unsettled: bool,
}

impl<'a> Pass<'a> {
    fn new(sight: &'a Sight) -> Self {
        let mut pass = Self {
            deliveries: BTreeMap::new(),
            connections: BTreeMap::new(),
            standing: BTreeSet::new(),
            faults: BTreeMap::new(),
            unsettled: false,
        };
        for (file, content) in &sight.files {
            match content {
                FileSight::Documents(documents) => documents.iter().for_each(|document| pass.sort(file, document)),
                FileSight::Broken(fault) => {
                    pass.standing.insert(file);
                    pass.faults.insert(file.clone(), fault.clone());
                }
                FileSight::Unsettled => {
                    pass.standing.insert(file);
                    pass.unsettled = true;
                }
                FileSight::Later => {
                    pass.standing.insert(file);
                }
            }
        }
        pass
    }

    fn sort(&mut self, file: &'a str, document: &'a Sighting) {
        match document.kind {
            Kind::Delivery if status_file(&document.key).is_none() => {
                let fault = file_fault(
                    file,
                    "holds a delivery whose name is too long for a status file",
                    "shorten metadata.name to 200 characters",
                );
                self.faults.insert(file.to_owned(), fault);
            }
            Kind::Delivery => self.deliveries.entry(&document.key).or_default().push((file, document)),
            Kind::Connection | Kind::ClusterConnection => {
                let Key { namespace, name } = &document.key;
                let name = match document.kind {
                    Kind::ClusterConnection => ConnectionRef::cluster("", name),
                    _ => ConnectionRef::namespaced(namespace, name),
                };
                self.connections.entry(name).or_default().push((file, document));
            }
        }
    }
}

/// How messages name a connection.
fn name_of(name: &ConnectionRef) -> String {
    if name.kind.is_namespaced() { format!("{}/{}", name.namespace, name.name) } else { name.name.clone() }
}

/// The document that counts: the one in the file where the object was before, else the first by file name. `None` if the
/// file where it was before can't be read just now. Every other place is a fault of its file.
fn choose<'a>(
    name: &str,
    places: &Places<'a>,
    incumbent: Option<&str>,
    standing: &BTreeSet<&str>,
    faults: &mut BTreeMap<String, Fault>,
) -> Option<(&'a str, &'a Sighting)> {
    let keeps = incumbent.filter(|file| standing.contains(file));
    let chosen = match keeps {
        Some(_) => None,
        None => places.iter().position(|(file, _)| Some(*file) == incumbent).or(Some(0)),
    };
    let holder = keeps.or_else(|| places.get(chosen?).map(|(file, _)| *file)).unwrap_or_default();
    for (i, (file, document)) in places.iter().enumerate() {
        if Some(i) != chosen {
            let what = format!("holds {} {name}, which {holder} holds already", document.kind.as_str());
            faults
                .insert((*file).to_owned(), file_fault(file, &what, "remove one of the two, or give it another name"));
        }
    }
    places.get(chosen?).copied()
}

fn held(missing: usize, of: usize) -> Fault {
    Fault::new(
        Class::Misconfigured,
        "deletions-held",
        format!(
            "{missing} of {of} manifests are gone from the folder at once; nothing is deleted until that is confirmed"
        ),
    )
    .remedy(format!("Put them back, or, if it is meant, make an empty file {CONFIRM} in the folder"))
}

fn sooner(at: &mut Option<Timestamp>, other: Timestamp) {
    *at = Some(at.map_or(other, |known| known.min(other)));
}
