//! What the tests of this crate share: connections from a map, clocks, and the loop that a controller would run.

pub(crate) mod fake;

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use ps_core::delivery::{ConnectionRef, Identity, SecretKeyRef, Source, Strategy, Tags};
use ps_core::error::{Class, Fault};
use ps_core::ports::{Auth, Clock, Connection, Connections, Reading, Vault};
use ps_core::rotation::{self, Delivered, Scope, Step, Verdict, tag};
use ps_core::secret::{SecretBytes, SecretString};
use ps_core::time::{Span, Timestamp};
use ps_testbed::{OpenBao, TokenOptions};
use ps_vault::VaultClient;

/// Secrets by `name/key`, changeable while the client runs.
#[derive(Default)]
pub(crate) struct Secrets(Mutex<HashMap<String, String>>);

impl Secrets {
    pub(crate) fn put(&self, name: &str, value: &str) {
        self.0.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }
}

#[async_trait]
impl Connections for Secrets {
    async fn resolve(&self, name: &ConnectionRef) -> Result<Connection, Fault> {
        Err(Fault::new(Class::Misconfigured, "not-used", name.name.clone()))
    }

    async fn secret(&self, namespace: &str, key: &SecretKeyRef) -> Result<SecretString, Fault> {
        assert_eq!(namespace, "team-a");
        let found = self.0.lock().unwrap().get(&format!("{}/{}", key.name, key.key)).cloned();
        found.map(SecretString::new).ok_or_else(|| Fault::new(Class::Misconfigured, "no-secret", key.name.clone()))
    }

    async fn service_account_token(&self, _: &str, account: &str, _: &str) -> Result<SecretString, Fault> {
        Err(Fault::new(Class::Misconfigured, "not-used", account.to_owned()))
    }
}

/// The system's clock, which a test may push ahead.
#[derive(Default)]
pub(crate) struct PushedClock(AtomicI64);

impl PushedClock {
    pub(crate) fn push(&self, by: Span) {
        self.0.fetch_add(by.as_millis(), Ordering::SeqCst);
    }
}

impl Clock for PushedClock {
    fn now(&self) -> Timestamp {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        Timestamp::from_millis(i64::try_from(real).unwrap() + self.0.load(Ordering::SeqCst))
    }
}

/// A client with all that it was made from.
pub(crate) struct Bench {
    pub(crate) vault: VaultClient,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) clock: Arc<PushedClock>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let (secrets, clock) = (Arc::<Secrets>::default(), Arc::<PushedClock>::default());
        let vault = VaultClient::new(Arc::clone(&secrets) as _, Arc::clone(&clock) as _);
        Self { vault, secrets, clock }
    }

    /// A connection whose token is this one.
    pub(crate) fn by_token(&self, address: &str, token: &str) -> Connection {
        self.secrets.put("login/token", token);
        connection(address, Auth::Token { secret: key("login", "token") })
    }

    /// A connection with a token of these policy lines.
    pub(crate) async fn with_policy(&self, bao: &OpenBao, hcl: &str) -> Connection {
        let policy = ps_testbed::unique("policy");
        bao.policy(&policy, hcl).await.unwrap();
        let options = TokenOptions { ttl: Some("10m"), ..TokenOptions::default() };
        let token = bao.token(&[&policy], &options).await.unwrap().token;
        self.by_token(bao.address(), &token)
    }

    /// Requests so far, by operation, whatever became of them.
    pub(crate) fn requests(&self, operation: &str) -> u64 {
        self.vault.requests_total().iter().filter(|count| count.operation == operation).map(|count| count.total).sum()
    }

    /// Requests so far.
    pub(crate) fn all_requests(&self) -> u64 {
        self.vault.requests_total().iter().map(|count| count.total).sum()
    }

    /// Reads, and remembers what a ledger would.
    pub(crate) async fn deliver(&self, at: &Connection, source: &Source, keys: &[&str]) -> Handed {
        let reading = self.vault.read(at, source).await.unwrap();
        let tag_key = SecretBytes::new(vec![7; 32]);
        let tags = reading.fields.iter().map(|(k, v)| (k.clone(), tag(&tag_key, k, v.expose()))).collect();
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        Handed { identity: reading.identity.clone(), reading, tags, keys, tag_key }
    }

    /// Observes and steps until the delivered value is dead or nothing more can be done; gives the steps' names.
    pub(crate) async fn drive(
        &self,
        at: &Connection,
        source: &Source,
        handed: &Handed,
        strategy: Strategy,
        policy: Option<&str>,
    ) -> (Vec<&'static str>, Verdict) {
        let mut steps = Vec::new();
        loop {
            let verdict = self.look(at, source, handed, strategy, policy).await;
            match &verdict {
                Verdict::Alive(Some(step)) if steps.len() < 6 => {
                    self.vault.rotate(at, source, step).await.unwrap();
                    steps.push(step.name());
                }
                _ => return (steps, verdict),
            }
        }
    }

    /// One look.
    pub(crate) async fn look(
        &self,
        at: &Connection,
        source: &Source,
        handed: &Handed,
        strategy: Strategy,
        policy: Option<&str>,
    ) -> Verdict {
        let now = self.clock.now();
        let sight = self.vault.observe(at, source, &handed.identity, &handed.tag_key, now).await.unwrap();
        assert_eq!(sight.at, now);
        let delivered = Delivered {
            identity: &handed.identity,
            tags: &handed.tags,
            keys: &handed.keys,
            strategy,
            password_policy: policy,
        };
        rotation::verdict(&delivered, &sight)
    }
}

/// A delivered credential.
pub(crate) struct Handed {
    pub(crate) reading: Reading,
    pub(crate) identity: Identity,
    pub(crate) tags: Tags,
    pub(crate) keys: Vec<String>,
    pub(crate) tag_key: SecretBytes,
}

impl Handed {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.reading.fields[name].expose()
    }
}

pub(crate) fn key(name: &str, key: &str) -> SecretKeyRef {
    SecretKeyRef { name: name.to_owned(), key: key.to_owned() }
}

pub(crate) fn connection(address: &str, auth: Auth) -> Connection {
    Connection {
        name: ConnectionRef::namespaced("team-a", "prod"),
        address: address.to_owned(),
        vault_namespace: String::new(),
        ca_pem: None,
        tls_server_name: None,
        timeout: Span::from_secs(20),
        auth,
        secrets_in: "team-a".into(),
        cleanup: None,
    }
}

pub(crate) fn kv2(mount: &str, path: &str, keys: &[&str]) -> Source {
    Source::Kv2 { mount: mount.into(), path: path.into(), keys: keys.iter().map(|k| (*k).to_owned()).collect() }
}

pub(crate) fn kv1(mount: &str, path: &str, keys: &[&str]) -> Source {
    Source::Kv1 { mount: mount.into(), path: path.into(), keys: keys.iter().map(|k| (*k).to_owned()).collect() }
}

pub(crate) fn role(mount: &str, role: &str) -> Source {
    Source::DatabaseStatic { mount: mount.into(), role: role.into() }
}

pub(crate) fn write(cas: Option<u64>, keys: &[&str]) -> Step {
    let keys = keys.iter().map(|k| (*k).to_owned()).collect();
    Step::WriteNewVersion { cas, keys, password_policy: None, destroy: None }
}

pub(crate) fn assert_dead(verdict: &Verdict, expected: Scope) {
    assert!(matches!(verdict, Verdict::Dead { scope, .. } if *scope == expected), "{verdict:?}");
}

/// Asserts code and class, and that message or remedy hold these words.
pub(crate) fn assert_fault<T>(outcome: Result<T, Fault>, code: &str, class: Class, words: &[&str]) -> Fault {
    let fault = outcome.err().expect("a fault");
    assert_eq!((fault.code.as_str(), fault.class), (code, class), "{fault}");
    for word in words {
        assert!(fault.to_string().contains(word), "{word:?} is not in: {fault}");
    }
    fault
}
