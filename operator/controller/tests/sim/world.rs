//! What there is: clock, dice, manifests, ledger, store, Vault, mailbox, audit trail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use ps_core::audit::Event;
use ps_core::delivery::*;
use ps_core::entry::{Common, Entry};
use ps_core::ids::{Key, LinkId};
use ps_core::link::Record;
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
}

#[derive(Clone)]
pub struct Version {
    pub value: String,
    pub created: i64,
    pub destroyed: bool,
}

#[derive(Clone)]
pub enum Secret {
    Static { value: String, rotated: i64 },
    Kv2(Vec<Version>),
}

#[derive(Clone, Default)]
pub struct Backup {
    pub ledger: BTreeMap<Key, (Entry, u64)>,
    pub store: BTreeMap<LinkId, (Record, u64)>,
    pub at_mail: usize,
}

#[derive(Default)]
pub struct State {
    pub now: i64,
    rng: u64,
    pub version: u64,
    pub manifests: BTreeMap<Key, Manifest>,
    pub ledger: BTreeMap<Key, (Entry, u64)>,
    pub store: BTreeMap<LinkId, (Record, u64)>,
    pub vault: BTreeMap<String, Secret>,
    pub values: u64,
    pub mails: Vec<Mail>,
    pub audit: Vec<Event>,
    pub late: Vec<(String, ps_core::rotation::Step)>,
    pub backup: Backup,
    pub restored: Option<String>,
    pub fenced: bool,
    /// Mails before this index belong to a past that the ledger may not know any more.
    pub forgotten_mails: Vec<LinkId>,
    /// The token that each record was ever claimed with.
    pub claims: BTreeMap<LinkId, [u8; 32]>,
    pub claims_per_key: BTreeMap<Key, u32>,
    /// How often each delivery may be claimed: once, and once more for each time that sending again was asked for.
    pub permits: BTreeMap<Key, u32>,
    pub faults: bool,
    pub replay: Vec<String>,
}

impl World {
    pub fn new(seed: u64) -> Shared {
        let mut state = State {
            now: 1_800_000_000_000,
            rng: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            faults: true,
            ..State::default()
        };
        state.vault.insert(
            "database:db/static-creds/app".into(),
            Secret::Static { value: "start-a".into(), rotated: state.now - 1000 },
        );
        let version = Version { value: "start-b".into(), created: state.now - 1000, destroyed: false };
        state.vault.insert("kv2:secret/apps/b".into(), Secret::Kv2(vec![version]));
        let world = Arc::new(Self(Mutex::new(state)));
        for (n, place) in ["a", "a", "a", "b", "b"].iter().enumerate() {
            let spec = spec(n, place);
            let key = Key::new("default", format!("d{n}"));
            world.lock().permits.insert(key.clone(), 1);
            world.lock().put(&key, spec, None);
        }
        world
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

    pub fn put(&mut self, key: &Key, spec: Spec, stamp: Option<ps_core::ids::Stamp>) {
        let uid = format!("uid-{}", self.random());
        let manifest = Manifest { key: key.clone(), uid, generation: 1, stamp, deleting: false, spec: Ok(Box::new(spec)) };
        self.manifests.insert(key.clone(), manifest);
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
        }
    }
}

/// What a sender asks for at first.
pub fn template(n: usize) -> Spec {
    spec(n, if n < 3 { "a" } else { "b" })
}

fn spec(n: usize, place: &str) -> Spec {
    let kv = place == "b";
    let source = if kv {
        Source::Kv2 { mount: "secret".into(), path: "apps/b".into(), keys: vec![] }
    } else {
        Source::DatabaseStatic { mount: "db".into(), role: "app".into() }
    };
    Spec {
        recipient: Recipient { email: format!("d{n}@vendor.example"), name: None, locale: None },
        connection: ConnectionRef { namespace: "default".into(), name: "vault".into() },
        source,
        fields: vec![],
        context: Context::default(),
        sender: "Team".into(),
        ttl: Span::from_secs(3600),
        claim_window: Span::from_secs(300),
        deliver_before: None,
        passphrase: None,
        rotation: RotationSpec {
            strategy: if kv { Strategy::WriteNewVersion } else { Strategy::RotateRole },
            after_retrieval: Span::from_secs(600 * (1 + n as i64)),
            on_expiry: true,
            on_revocation: true,
            on_locked: true,
            on_source_rotated: if n == 1 { OnSourceRotated::Reissue } else { OnSourceRotated::Stall },
            before_delivery: false,
            keys: vec!["password".into()],
            password_policy: None,
        },
        notify: Some(Notify { email: "sender@example.com".into(), on: vec![NoticeKind::Retrieved, NoticeKind::Rotated] }),
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

pub fn rotate(w: &mut State, place: &str, step: &ps_core::rotation::Step) {
    use ps_core::rotation::Step;
    let fresh = w.fresh_value();
    let now = w.now;
    match (w.vault.get_mut(place), step) {
        (Some(Secret::Static { value, rotated }), Step::RotateRole) => {
            *value = fresh;
            *rotated = now.max(*rotated + 1);
        }
        (Some(Secret::Kv2(versions)), Step::WriteNewVersion { cas, .. }) => {
            if *cas == Some(versions.len() as u64) {
                versions.push(Version { value: fresh, created: now, destroyed: false });
            }
        }
        (Some(Secret::Kv2(versions)), Step::DestroyVersion(n)) => {
            if let Some(v) = versions.get_mut(*n as usize - 1) {
                v.destroyed = true;
            }
        }
        _ => panic!("a step that does not fit its engine"),
    }
}

/// Takes a backup of ledger and store.
pub fn backup(world: &Shared) {
    let mut w = world.lock();
    w.say("backup");
    w.backup = Backup { ledger: w.ledger.clone(), store: w.store.clone(), at_mail: w.mails.len() };
}

pub fn common(w: &State) -> Common {
    Common { tag_key: [7; 32], ledger_id: "sim".into(), audit_head: 0, restored: w.restored.clone() }
}
