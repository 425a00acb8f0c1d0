//! A folder of manifests, behind the same port as a cluster: files that are added, changed and removed act like apply
//! and delete.
//!
//! * A file holds one or more documents of our kinds; `*.yaml` and `*.yml` directly in the folder count, no sub-folders.
//! * An object is known by namespace and name, so renaming its file changes nothing. If two files hold the same object,
//!   the one that had it first keeps it (else the first by file name), and the other file is a fault.
//! * A file is judged when it has been left alone for 200 ms. While it does not parse, or asks for a change that the
//!   schema forbids, its objects go on with their last good spec, and [`FolderSource::fault`] says what is wrong.
//! * A deletion is believed after ten seconds of absence from a folder that can be read. More than half of everything,
//!   and three at least, waits for a file `.confirm-deletions`. A folder that can't be read, or that lost its marker
//!   `.password-sender`, deletes nothing.
//! * Objects of other kinds, which a folder that a cluster is fed from holds too, are named in the log and left alone.
//! * A `ClusterVaultConnection` serves the namespaces that it lists. Namespaces have no labels here, so a selector matches
//!   none; its secrets lie under `_operator/`, where a namespace's own would lie under its name.
//! * Status and stamp are in `NAME.status.yaml` beside the manifests.
//!
//! [`state`] holds the rules, without any I/O; [`read`] looks; this module ties them to the ports.

mod connections;
pub mod memory;
mod names;
mod object;
mod read;
mod secrets;
mod state;
mod status_file;
mod told;
mod watch;

#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use async_trait::async_trait;
use ps_core::delivery::Manifest;
use ps_core::error::{Class, Fault};
use ps_core::ids::{Key, Stamp};
use ps_core::ports::{Clock, Manifests, Random};
use ps_core::status::Status;
use ps_core::time::Timestamp;
use tokio::sync::{Mutex, MutexGuard, Notify};

use self::memory::{Note, ObjectMemory, Unreadable};
use self::names::CONFIRM;
use self::object::Delivery;
use self::read::{Reader, Sight};
use self::state::State;
use self::status_file::Update;
use self::told::{lose, say};

/// Status files that may be written at the same time.
const PENS: usize = 32;

/// Which folders.
#[derive(Clone, Debug)]
pub struct Folders {
    /// The manifests; the operator must be able to write to it.
    pub manifests: PathBuf,
    /// The secrets, as `NAMESPACE/NAME/KEY`.
    pub secrets: PathBuf,
}

/// Deliveries and connections from a folder.
pub struct FolderSource {
    folders: Folders,
    memory: Arc<dyn ObjectMemory>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    reader: Arc<StdMutex<Reader>>,
    /// Held across a look and what is made of it, so that an older look never overtakes a younger one.
    looking: Mutex<()>,
    /// Held by everything that writes to notes, and by whatever takes an object out.
    turn: Mutex<()>,
    /// Held while an object's status file is written or removed; by the key's hash. Different objects don't wait for each
    /// other's disk.
    pens: [Mutex<()>; PENS],
    state: StdMutex<Arc<State>>,
    dirty: StdMutex<BTreeSet<Key>>,
    wake: Notify,
}

impl FolderSource {
    /// Opens a folder: reads what is remembered, then looks at the folder once. A folder that can't be read is not an
    /// error: its deliveries go on as remembered, and [`FolderSource::folder_fault`] says what is wrong.
    ///
    /// # Errors
    /// What the memory or the random generator says.
    pub async fn open(
        folders: Folders,
        memory: Arc<dyn ObjectMemory>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, Fault> {
        let mut state = State { blind: true, ..State::default() };
        for note in memory.all().await? {
            match note {
                Ok(note) => drop(state.deliveries.insert(note.key.clone(), Arc::new(Delivery::remembered(note)))),
                Err(Unreadable { key, fault }) => lose(&mut state, &key, *fault),
            }
        }
        let dirty = state.keys().cloned().collect();
        let source = Self {
            reader: Arc::new(StdMutex::new(Reader::new(folders.manifests.clone()))),
            folders,
            memory,
            clock,
            random,
            looking: Mutex::new(()),
            turn: Mutex::new(()),
            pens: std::array::from_fn(|_| Mutex::new(())),
            state: StdMutex::new(Arc::new(state)),
            dirty: StdMutex::new(dirty),
            wake: Notify::new(),
        };
        // To its end: what names something else in the folder must find it.
        loop {
            source.rescan().await?;
            if !lock(&source.state).partial {
                return Ok(source);
            }
        }
    }

    /// Looks at the folder once. Returns when to look again at the latest, if there is a reason to.
    ///
    /// # Errors
    /// What the memory or the random generator says: then nothing of this look counts, and the next one sees it again.
    pub async fn rescan(&self) -> Result<Option<Timestamp>, Fault> {
        let _looking = self.looking.lock().await;
        let now = self.clock.now();
        // A folder without marker is a new one only if nothing was ever known of it.
        let is_new = lock(&self.state).is_new();
        let reader = Arc::clone(&self.reader);
        let look = blocking(move || lock(&reader).look(now, is_new)).await;
        let _turn = self.turn.lock().await;
        let mut before = Arc::clone(&lock(&self.state));
        let sight = match look {
            Ok(sight) => sight,
            Err(fault) => {
                if before.folder.as_ref() != Some(&fault) {
                    tracing::warn!(code = %fault.code, "{fault}");
                }
                *lock(&self.state) = Arc::new(before.blinded(fault));
                return Ok(None);
            }
        };
        let lost = self.wake(&mut before, &sight).await?;
        let mut step = before.step(&sight, now, &mut || uid(self.random.as_ref()))?;
        // Notes first: what others see is what is remembered.
        for key in &step.changed {
            if let Some(next) = step.next.deliveries.get(key)
                && before.deliveries.get(key).is_none_or(|known| known.note != next.note)
            {
                match self.whole(next).await {
                    Ok(note) => self.memory.save(&note).await?,
                    Err(fault) if fault.is_transient() => return Err(fault),
                    Err(fault) => lose(&mut step.next, key, fault),
                }
            }
        }
        step.changed.extend(lost);
        say(&before, &step.next);
        drop(before);
        for delivery in step.next.deliveries.values_mut().filter(|d| d.note.last_good.is_some()) {
            Arc::make_mut(delivery).rest();
        }
        *lock(&self.state) = Arc::new(step.next);
        for file in &step.parse_again {
            lock(&self.reader).forget(file);
        }
        if step.confirmation_used {
            self.use_confirmation().await;
        }
        self.mark(step.changed);
        Ok(step.again)
    }

    /// Takes back the texts by which this sight's changes are judged. Answers whose can't be read any more.
    async fn wake(&self, before: &mut Arc<State>, sight: &Sight) -> Result<Vec<Key>, Fault> {
        let mut lost = Vec::new();
        for key in before.rest_in(sight) {
            let text = match self.memory.load(&key).await {
                Ok(note) => note.and_then(|note| note.last_good),
                Err(fault) if fault.is_transient() => return Err(fault),
                Err(fault) => {
                    lose(Arc::make_mut(before), &key, fault);
                    lost.push(key);
                    continue;
                }
            };
            if let Some(delivery) = Arc::make_mut(before).deliveries.get_mut(&key) {
                Arc::make_mut(delivery).wake(text);
            }
        }
        Ok(lost)
    }

    /// A note with its text, as it is to be written down.
    async fn whole(&self, delivery: &Delivery) -> Result<Note, Fault> {
        let mut note = delivery.note.clone();
        if delivery.text_rests {
            note.last_good = self.memory.load(&note.key).await?.and_then(|known| known.last_good);
        }
        Ok(note)
    }

    /// What is wrong with the manifest of `key` now, while its delivery goes on with its last good spec.
    #[must_use]
    pub fn fault(&self, key: &Key) -> Option<Fault> {
        lock(&self.state).deliveries.get(key).and_then(|d| d.fault.clone())
    }

    /// Files that are wrong as a whole, by name: junk, duplicates.
    #[must_use]
    pub fn file_faults(&self) -> BTreeMap<String, Fault> {
        lock(&self.state).files.clone()
    }

    /// What is wrong with the folder: not readable, not mounted, deletions that wait for a confirmation.
    #[must_use]
    pub fn folder_fault(&self) -> Option<Fault> {
        lock(&self.state).folder.clone()
    }

    /// Every delivery that is known.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        lock(&self.state).keys().cloned().collect()
    }

    /// Deliveries of which something is remembered that can't be read: nothing is done for their files.
    #[must_use]
    pub fn unreadable(&self) -> BTreeMap<Key, Fault> {
        lock(&self.state).unreadable.clone()
    }

    /// The folder of manifests.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folders.manifests
    }

    /// A delivery of exactly this uid.
    fn incarnation(&self, key: &Key, uid: &str) -> Result<Note, Fault> {
        let state = lock(&self.state);
        match state.deliveries.get(key) {
            Some(known) if known.note.uid == uid => Ok(known.note.clone()),
            _ => Err(Fault::new(Class::Transient, "object-changed", format!("{key} is another object by now"))),
        }
    }

    /// Reads the confirmation away, so that it can't confirm anything else later.
    async fn use_confirmation(&self) {
        let path = self.folders.manifests.join(CONFIRM);
        if let Err(error) = blocking(move || std::fs::remove_file(path)).await {
            tracing::warn!(file = CONFIRM, kind = %error.kind(), "the confirmation can't be removed; remove it, or it confirms the next deletions too");
        }
    }

    /// The pen of an object's status file. Whoever needs `turn` too takes that first.
    async fn pen(&self, key: &Key) -> Option<MutexGuard<'_, ()>> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % PENS as u64).unwrap_or_default();
        match self.pens.get(place) {
            Some(pen) => Some(pen.lock().await),
            None => None,
        }
    }

    async fn write(&self, note: &Note, stamp: Option<&Stamp>, status: Option<&Status>) -> Result<(), Fault> {
        let (folder, note, stamp, status) =
            (self.folders.manifests.clone(), note.clone(), stamp.cloned(), status.cloned());
        blocking(move || {
            status_file::write(
                &folder,
                &Update {
                    key: &note.key,
                    uid: &note.uid,
                    generation: note.generation,
                    stamp: stamp.as_ref(),
                    status: status.as_ref(),
                },
            )
        })
        .await
    }
}

#[async_trait]
impl Manifests for FolderSource {
    async fn get(&self, key: &Key) -> Result<Option<Manifest>, Fault> {
        let (known, blind, partial, folder) = {
            let state = lock(&self.state);
            if let Some(fault) = state.unreadable.get(key) {
                return Err(fault.clone());
            }
            (state.deliveries.get(key).cloned(), state.blind, state.partial, state.folder.clone())
        };
        let Some(known) = known else {
            if partial {
                return Err(not_to_its_end());
            }
            // What was never seen can't be said to be absent from a folder that can't be read.
            return match folder.filter(|_| blind) {
                Some(fault) => Err(Fault { class: Class::Transient, ..fault }),
                None => Ok(None),
            };
        };
        let (path, name) = (self.folders.manifests.clone(), key.clone());
        let stamp = blocking(move || status_file::stamp(&path, &name)).await;
        Ok(Some(Manifest {
            key: key.clone(),
            uid: known.note.uid.clone(),
            generation: known.note.generation,
            stamp: stamp.or_else(|| known.annotation.clone()),
            deleting: known.note.deleting,
            let_go: false,
            spec: known.spec().map(Box::new),
        }))
    }

    async fn put_stamp(&self, key: &Key, uid: &str, stamp: &Stamp) -> Result<(), Fault> {
        let _pen = self.pen(key).await;
        let note = self.incarnation(key, uid)?;
        self.write(&note, Some(stamp), None).await
    }

    async fn release(&self, key: &Key, uid: &str) -> Result<(), Fault> {
        let _turn = self.turn.lock().await;
        let _pen = self.pen(key).await;
        if !lock(&self.state).deliveries.contains_key(key) {
            return Ok(());
        }
        let note = self.incarnation(key, uid)?;
        if !note.deleting {
            return Err(Fault::new(Class::Transient, "object-changed", format!("{key} is back in the folder")));
        }
        // The stamp goes first: without a note, a stamp that is still there would make the next object look restored.
        let (folder, name) = (self.folders.manifests.clone(), key.clone());
        blocking(move || status_file::remove(&folder, &name)).await?;
        self.memory.remove(key).await?;
        Arc::make_mut(&mut lock(&self.state)).deliveries.remove(key);
        Ok(())
    }

    async fn put_status(&self, key: &Key, uid: &str, status: &Status) -> Result<(), Fault> {
        let _pen = self.pen(key).await;
        let note = self.incarnation(key, uid)?;
        self.write(&note, None, Some(status)).await
    }
}

/// A random uid in the shape of a UUID (RFC 9562, version 4).
fn uid(random: &dyn Random) -> Result<String, Fault> {
    let mut bytes = [0_u8; 16];
    random.fill(&mut bytes)?;
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = (*version & 0x0f) | 0x40;
    *variant = (*variant & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default().to_owned();
    Ok([part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-"))
}

/// What is not known may be in a file that waits for the next look.
fn not_to_its_end() -> Fault {
    Fault::new(Class::Transient, "folder-unreadable", "the manifests folder has not been read to its end yet")
}

/// Runs something that waits for a disk where waiting hurts nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            // A panic in `work` goes on here.
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and this future with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// A poisoned lock guards plain data that is replaced as a whole; it is as good as before.
fn lock<T>(mutex: &StdMutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
