//! What there is: clock, dice, manifests, ledger, store, Vault, mailbox, audit trail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use ps_core::audit::Event;
use ps_core::delivery::*;
use ps_core::entry::{Common, Entry, Obligation, TagKey};
use ps_core::error::{Class, Fault};
use ps_core::ids::{Digest, Key, LinkId};
use ps_core::link::Record;
use ps_core::status::Status;
use ps_core::time::{Span, Timestamp};

pub type Shared = Arc<World>;

pub struct World(Mutex<State>);

/// A mail as received: `S` is in `link`.
#[derive(Clone)]
pub struct Mail {
    pub key: Key,
    pub link: String,
    pub code: String,
    pub record: LinkId,
    pub value: String,
    pub token: [u8; 32],
    pub place: String,
    pub strategy: Strategy,
}

#[derive(Clone)]
pub struct Version {
    pub value: String,
    pub created: i64,
    pub destroyed: bool,
}

#[derive(Clone)]
pub enum Secret {
    /// With its period, where Vault rotates it by itself.
    Static {
        value: String,
        rotated: i64,
        period: Option<i64>,
    },
    Kv2(Vec<Version>),
    Kv1(String),
}

/// A data folder, and what is wrong with the records in it.
#[derive(Clone, Default)]
pub struct Backup {
    pub ledger: BTreeMap<Key, (Entry, u64)>,
    pub store: BTreeMap<LinkId, (Record, u64)>,
    pub tampered: BTreeMap<LinkId, &'static str>,
}

#[derive(Default)]
pub struct State {
    pub now: i64,
    rng: u64,
    pub version: u64,
    pub manifests: BTreeMap<Key, Manifest>,
    /// What a manifest said before somebody broke it.
    pub broken: BTreeMap<Key, Box<Spec>>,
    pub ledger: BTreeMap<Key, (Entry, u64)>,
    pub store: BTreeMap<LinkId, (Record, u64)>,
    pub vault: BTreeMap<String, Secret>,
    /// Connections (or `store`, `manifests`, `status`, `audit`) that do not work until a time, and how they fail.
    pub down: BTreeMap<String, (i64, Class)>,
    /// Deliveries whose records the store refuses to write for good, links and tombstones alike.
    pub unwritable: BTreeSet<Key>,
    /// Connections that lead to another server until a time.
    pub moved: BTreeMap<String, i64>,
    pub values: u64,
    pub mails: Vec<Mail>,
    /// Notices as received: of which delivery, of what, Message-ID.
    pub notices: BTreeSet<(Key, String, String)>,
    pub audit: Vec<Event>,
    /// The operators' own events on the trail: delivery and incarnation, and each sequence number.
    pub audited: BTreeMap<(Key, String), BTreeSet<u64>>,
    pub late: Vec<(String, ps_core::rotation::Step)>,
    pub backup: Backup,
    pub restores: u32,
    pub restored: Option<String>,
    pub fenced: bool,
    /// How far each operator's clock is off.
    pub skews: BTreeMap<String, i64>,
    /// An operator that has just decided to end a link, and which delivery's: the moment for a race.
    pub racing: Option<(String, Key)>,
    /// An operator that is killed, or stops for a minute, while it sends a mail.
    pub caught: Option<(String, Trap)>,
    /// Operators that were told to send nothing.
    pub paused: BTreeSet<String>,
    /// `deliverBefore` of what an operator issues, and when by its clock it was about to send.
    pub limits: BTreeMap<(String, Key), Option<Timestamp>>,
    pub sending: BTreeMap<String, Vec<Timestamp>>,
    /// Records whose mail the restored ledger does not know of.
    pub forgotten_mails: BTreeSet<LinkId>,
    /// The token that each record was claimed with, as far as anything that was not rolled back can tell.
    pub claims: BTreeMap<LinkId, [u8; 32]>,
    /// Records that a recipient really claimed, or really declined.
    pub ever_claimed: BTreeSet<LinkId>,
    pub ever_declined: BTreeSet<LinkId>,
    pub claims_per_key: BTreeMap<Key, u32>,
    /// Deliveries whose manifest was deleted at some time.
    pub deleted: BTreeSet<Key>,
    /// How often each delivery may be claimed: once, and once more for each time that sending again was asked for.
    pub permits: BTreeMap<Key, u32>,
    /// Codes as received, by record, the latest last.
    pub codes: BTreeMap<LinkId, Vec<String>>,
    /// Who has typed a code that was mailed, and who has signed in as the recipient: record and hash of the token.
    pub typed: BTreeSet<(LinkId, Digest)>,
    pub signed_in: BTreeSet<(LinkId, Digest)>,
    /// Records that a taken-over gateway altered in a way that must be found.
    pub tampered: BTreeMap<LinkId, &'static str>,
    /// The sources that an entry has ever said are being rotated.
    pub intended: BTreeSet<Digest>,
    pub faults: bool,
    /// The latest status of each delivery. Nobody reads it but tests.
    pub statuses: BTreeMap<Key, Status>,
    /// The latest that was put. Nothing may depend on it.
    pub shown: BTreeMap<Key, Status>,
    /// How often each port's method had its effect.
    pub calls: BTreeMap<(&'static str, &'static str), u32>,
    pub replay: Vec<String>,
}

/// What happens to an operator in the middle of a mail.
#[derive(Clone, Copy)]
pub enum Trap {
    Killed,
    Stopped,
}

/// The server that has every secret, and one that has none.
pub const HOME: &str = "http://vault";
pub const ELSEWHERE: &str = "http://elsewhere";

pub const ROLE: &str = "database:db/static-creds/app";
pub const KV2: &str = "kv2:secret/apps/b";
pub const KV1: &str = "kv1:old/apps/c";
/// A role that Vault rotates by itself every two hours.
pub const PERIODIC: &str = "database:db/static-creds/periodic";

impl World {
    /// Seven deliveries of twelve kinds, which share four sources; two of them demand something of their recipients.
    pub fn new(seed: u64) -> Shared {
        let world = Self::empty(seed);
        for kind in [10, 11] {
            world.lock().deliver(kind);
        }
        let mut kinds: Vec<usize> = (0..10).collect();
        for _ in 0..5 {
            let mut w = world.lock();
            let at = w.dice(kinds.len() as u64) as usize;
            let kind = kinds.swap_remove(at);
            w.deliver(kind);
        }
        world
    }

    pub fn empty(seed: u64) -> Shared {
        let mut state = State {
            now: 1_800_000_000_000,
            rng: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            faults: true,
            ..State::default()
        };
        let rotated = state.now - 1000;
        let role = |value: &str, period| Secret::Static { value: value.into(), rotated, period };
        state.vault.insert(ROLE.into(), role("start-a", None));
        state.vault.insert(PERIODIC.into(), role("start-p", Some(7_200_000)));
        let version = Version { value: "start-b".into(), created: rotated, destroyed: false };
        state.vault.insert(KV2.into(), Secret::Kv2(vec![version]));
        state.vault.insert(KV1.into(), Secret::Kv1("start-c".into()));
        Arc::new(Self(Mutex::new(state)))
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    /// splitmix64: small, and the same everywhere.
    pub fn random(&mut self) -> u64 {
        self.rng = self.rng.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn dice(&mut self, sides: u64) -> u64 {
        self.random() % sides
    }

    pub fn say(&mut self, line: impl Into<String>) {
        let line = format!("{} {}", Timestamp::from_millis(self.now), line.into());
        self.replay.push(line);
    }

    pub fn at(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    /// Keeps an entry, and what it says is about to happen.
    pub fn keep(&mut self, entry: &Entry) -> u64 {
        let begun = |o: &Obligation| o.begun.is_some();
        let rotating = entry.attempts.iter().filter(|a| a.obligation.as_ref().is_some_and(begun));
        self.intended.extend(rotating.map(|a| a.source_key));
        self.intended.extend(entry.rotated_first.as_ref().map(|first| first.source_key));
        let version = self.next_version();
        self.ledger.insert(entry.key.clone(), (entry.clone(), version));
        version
    }

    /// A delivery that nobody has seen yet.
    pub fn deliver(&mut self, kind: usize) -> Key {
        let key = Key::new("default", format!("d{kind}"));
        self.permits.insert(key.clone(), 1);
        self.put(&key, template(kind), None);
        key
    }

    /// Somebody, perhaps we, rotated a source: links of deliveries that ask for it are issued again.
    pub fn allow_reissue(&mut self, place: &str) {
        let reissues =
            |spec: &Spec| spec.rotation.on_source_rotated == OnSourceRotated::Reissue && spec.source.place() == place;
        let asked = self.manifests.values().filter(|m| m.spec.as_ref().is_ok_and(|s| reissues(s))).map(|m| &m.key);
        let broken = self.broken.iter().filter(|(_, spec)| reissues(spec)).map(|(key, _)| key);
        let promised = self.ledger.values().map(|(e, _)| e).filter(|e| {
            e.attempts
                .iter()
                .any(|a| a.terms.on_source_rotated == OnSourceRotated::Reissue && a.source.place() == place)
        });
        let keys: BTreeSet<Key> = asked.chain(broken).chain(promised.map(|e| &e.key)).cloned().collect();
        for key in keys {
            *self.permits.entry(key).or_default() += 1;
        }
    }

    /// The attempt that a record belongs to.
    pub fn attempt_of(&self, record: LinkId) -> Option<&ps_core::entry::Attempt> {
        self.ledger.values().flat_map(|(e, _)| &e.attempts).find(|a| a.record == record)
    }

    pub fn put(&mut self, key: &Key, spec: Spec, stamp: Option<ps_core::ids::Stamp>) {
        let uid = format!("uid-{}", self.random());
        let manifest = Manifest {
            key: key.clone(),
            uid,
            generation: 1,
            stamp,
            deleting: false,
            let_go: false,
            spec: Ok(Box::new(spec)),
        };
        self.manifests.insert(key.clone(), manifest);
    }

    /// How something fails that does not work now.
    pub fn fails(&self, what: &str) -> Option<Fault> {
        let (_, class) = self.down.get(what).filter(|(until, _)| self.now < *until)?;
        Some(Fault::new(*class, &format!("{what}-down"), "it does not work"))
    }

    /// Where a connection leads now.
    pub fn address(&self, connection: &str) -> &'static str {
        if self.moved.get(connection).is_some_and(|until| self.now < *until) { ELSEWHERE } else { HOME }
    }

    pub fn fresh_value(&mut self) -> String {
        self.values += 1;
        format!("value-{}", self.values)
    }

    pub fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Whether a value that was delivered from `place` is really of no use any more.
    pub fn is_dead(&self, place: &str, value: &str) -> bool {
        match &self.vault[place] {
            Secret::Static { value: now, .. } => now != value,
            Secret::Kv2(versions) => versions.iter().all(|v| v.value != value || v.destroyed),
            Secret::Kv1(now) => now != value,
        }
    }
}

/// How many kinds of deliveries there are.
pub const KINDS: usize = 12;

/// What the sender of `d<kind>` asks for at first.
pub fn template(kind: usize) -> Spec {
    let place = [ROLE, ROLE, ROLE, KV2, KV2, KV2, KV1, KV1, PERIODIC, PERIODIC, ROLE, KV2][kind];
    let keys = vec![];
    let source = match place {
        KV2 => Source::Kv2 { mount: "secret".into(), path: "apps/b".into(), keys },
        KV1 => Source::Kv1 { mount: "old".into(), path: "apps/c".into(), keys },
        PERIODIC => Source::DatabaseStatic { mount: "db".into(), role: "periodic".into() },
        _ => Source::DatabaseStatic { mount: "db".into(), role: "app".into() },
    };
    let strategy = match (kind, place) {
        (5, _) => Strategy::None,
        (_, KV1 | KV2) => Strategy::WriteNewVersion,
        _ => Strategy::RotateRole,
    };
    let reissue = matches!(kind, 1 | 4 | 7);
    Spec {
        recipient: Recipient { email: format!("d{kind}@vendor.example"), name: None, locale: None },
        connection: ConnectionRef::namespaced("default", format!("vault{}", kind % 2)),
        source,
        fields: vec![],
        context: Context::default(),
        sender: "Team".into(),
        ttl: Span::from_secs(3600),
        claim_window: Span::from_secs(300),
        deliver_before: None,
        passphrase: None,
        email_code: kind >= 10,
        oidc: kind == 11,
        rotation: RotationSpec {
            strategy,
            after_retrieval: Span::from_secs(600 * (1 + kind as i64 % 4)),
            on_expiry: kind != 9,
            on_revocation: kind != 8,
            on_locked: true,
            on_source_rotated: if reissue { OnSourceRotated::Reissue } else { OnSourceRotated::Stall },
            before_delivery: kind == 2,
            keys: vec!["password".into()],
            password_policy: None,
        },
        notify: Some(Notify {
            email: "sender@example.com".into(),
            on: vec![NoticeKind::Retrieved, NoticeKind::Rotated],
        }),
        completion: Completion::OnRotated,
        redeliver: None,
        on_recreate: OnRecreate::Hold,
        revoked: false,
    }
}

/// A rotation whose reply was lost long ago happens only now.
pub fn late_effect(world: &Shared) {
    let mut w = world.lock();
    if let Some((place, step)) = w.late.pop() {
        w.say(format!("late: {} of {place}", step.name()));
        rotate(&mut w, &place, &step);
    }
}

/// What Vault makes of a step.
pub fn rotate(w: &mut State, place: &str, step: &ps_core::rotation::Step) {
    use ps_core::rotation::Step;
    let fresh = w.fresh_value();
    let now = w.now;
    match (w.vault.get_mut(place), step) {
        (Some(Secret::Static { value, rotated, .. }), Step::RotateRole) => {
            *value = fresh;
            *rotated = now.max(*rotated + 1);
        }
        (Some(Secret::Kv2(versions)), Step::WriteNewVersion { cas, destroy, .. }) => {
            if *cas != Some(versions.len() as u64) {
                return;
            }
            versions.push(Version { value: fresh, created: now, destroyed: false });
            if let Some(n) = destroy {
                versions[*n as usize - 1].destroyed = true;
            }
        }
        (Some(Secret::Kv1(value)), Step::WriteNewVersion { cas: None, destroy: None, .. }) => *value = fresh,
        (Some(Secret::Kv2(versions)), Step::DestroyVersion(n)) => {
            if let Some(v) = versions.get_mut(*n as usize - 1) {
                v.destroyed = true;
            }
        }
        _ => panic!("a step that does not fit its engine"),
    }
    w.allow_reissue(place);
}

/// Takes a backup of ledger and store.
pub fn backup(world: &Shared) {
    let mut w = world.lock();
    w.say("backup");
    w.backup = Backup { ledger: w.ledger.clone(), store: w.store.clone(), tampered: w.tampered.clone() };
}

pub fn common(w: &State) -> Common {
    Common { restored: w.restored.clone(), ..Common::new(TagKey([7; 32]), "sim".into()) }
}
