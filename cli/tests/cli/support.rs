//! A gateway with a clock of its own, links sealed by `ps-envelope`, and runs of the binary.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ps_core::link::{Link, Record, State, Verification};
use ps_core::ports::{Clock, LinkStore as _};
use ps_core::secret::{SecretBytes, SecretString};
use ps_core::service::{
    AcknowledgeRequest, ClaimAnswer, ClaimRequest, CodeAnswer, CodeRequest, DeclineRequest, LinkService, LookupAnswer,
    LookupRequest, Refusal, StateAnswer,
};
use ps_core::time::{Span, Timestamp};
use ps_envelope::{
    FactorSecret, Field, FieldKind, File, FreshSecret, OpeningCode, Passphrase, Payload, Preview, SealInput, seal,
};
use ps_gateway::server::{Bounds, serve};
use ps_gateway::{Settings, router};
use ps_store::MemoryStore;
use ps_store::service::{Fence, StoreLinkService};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// What the links of these tests carry.
pub(crate) const SECRET: &str = "hunter2 it's";
/// The passphrase of those that have one.
pub(crate) const PASSPHRASE: &str = "correct horse";
/// `R` of those that demand an e-mailed code.
pub(crate) const FACTOR: [u8; 32] = [7; 32];
/// When the gateway's clock begins.
pub(crate) const T: Timestamp = Timestamp::from_secs(1_900_000_000);
/// How long a link is open, and how long a claim may be repeated.
pub(crate) const TTL: Span = Span::from_secs(3600);
pub(crate) const WINDOW: Span = Span::from_secs(900);
/// Nothing in these tests may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A service whose answers to claims can be held back, after the claim is durable.
struct Lossy {
    inner: Arc<dyn LinkService>,
    lossy: Arc<AtomicBool>,
    claimed: Arc<Notify>,
}

#[async_trait]
impl LinkService for Lossy {
    async fn lookup(&self, request: &LookupRequest, now: Timestamp) -> Result<LookupAnswer, Refusal> {
        self.inner.lookup(request, now).await
    }

    async fn claim(&self, request: &ClaimRequest, now: Timestamp) -> Result<ClaimAnswer, Refusal> {
        let answer = self.inner.claim(request, now).await;
        if self.lossy.load(Ordering::SeqCst) {
            self.claimed.notify_one();
            std::future::pending::<()>().await;
        }
        answer
    }

    async fn acknowledge(&self, request: &AcknowledgeRequest, now: Timestamp) -> Result<StateAnswer, Refusal> {
        self.inner.acknowledge(request, now).await
    }

    async fn decline(&self, request: &DeclineRequest, now: Timestamp) -> Result<StateAnswer, Refusal> {
        self.inner.decline(request, now).await
    }

    async fn code(&self, request: &CodeRequest, now: Timestamp) -> Result<CodeAnswer, Refusal> {
        self.inner.code(request, now).await
    }
}

pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) address: SocketAddr,
    pub(crate) home: TempDir,
    pub(crate) fence: Fence,
    pub(crate) store: Arc<MemoryStore>,
    clock: Arc<TestClock>,
    lossy: Arc<AtomicBool>,
    claimed: Arc<Notify>,
}

impl World {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (store, clock, fence) = (Arc::new(MemoryStore::default()), Arc::new(TestClock::default()), Fence::lifted());
        let (lossy, claimed) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let mut settings = Settings::new(clock.clone());
        settings.rate = None;
        let counters = settings.counters.clone();
        let inner = Arc::new(StoreLinkService::new(store.clone(), fence.clone()));
        let service = Arc::new(Lossy { inner, lossy: lossy.clone(), claimed: claimed.clone() });
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, router(service, settings), Bounds::default(), counters, std::future::pending()));
        let world = Self { runtime, address, home: tempfile::tempdir().unwrap(), fence, store, clock, lossy, claimed };
        world.set_time(T);
        world
    }

    pub(crate) fn set_time(&self, now: Timestamp) {
        self.clock.0.store(now.as_millis(), Ordering::SeqCst);
    }

    /// Puts a link.
    pub(crate) fn put(&self, wanted: &Wanted) -> Sent {
        let code = OpeningCode::from_random([1, 2, 3, 4, 5]).unwrap();
        let passphrase = Passphrase::new(PASSPHRASE).unwrap();
        let factor = FactorSecret::from_bytes(SecretBytes::new(FACTOR.to_vec())).unwrap();
        let demanded = [(wanted.passphrase, Verification::Passphrase), (wanted.email_code, Verification::EmailCode)];
        let kinds: Vec<_> = demanded.into_iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| kind).collect();
        let text = |text: &str| Some(SecretString::new(text.to_owned()));
        let field = |key: &str, label: &str, kind, value: &str| Field {
            key: key.to_owned(),
            label: label.to_owned(),
            kind,
            value: SecretString::new(value.to_owned()),
        };
        let mut payload = Payload {
            title: text("Shop database"),
            sender: text("Platform team"),
            works_for: Some(Span::from_secs(3600)),
            fields: vec![
                field("username", "Username", FieldKind::Text, "alice"),
                field("password", "Password", FieldKind::Password, SECRET),
            ],
            ..Payload::default()
        };
        if wanted.file {
            let data = SecretBytes::new(b"a key".to_vec());
            payload.files.push(File { name: "id_ed25519".into(), media_type: "text/plain".into(), data });
        }
        let sealed = seal(SealInput {
            secret: FreshSecret::from_fill(getrandom::fill).unwrap(),
            passphrase: wanted.passphrase.then_some(&passphrase),
            factor: wanted.email_code.then_some(&factor),
            opening_code: Some(&code),
            payload: &payload,
            preview: &Preview {
                title: SecretString::new("Shop database".into()),
                sender: SecretString::new("Platform \x1b[31mteam".into()),
                works_for: payload.works_for,
            },
            not_after: T + TTL,
            claim_window: WINDOW,
            kinds: &kinds,
        })
        .unwrap();
        let id = sealed.sealed.id;
        let mut preview_message = sealed.preview;
        if wanted.altered {
            preview_message[0] ^= 1;
        }
        let url = sealed.secret.to_url(&format!("http://{}", self.address)).unwrap().expose().to_owned();
        let link = Link::new(sealed.sealed, T + TTL, sealed.ciphertext, preview_message);
        self.runtime.block_on(self.store.insert(&Record::Link(Box::new(link)))).unwrap();
        let sent = Sent { url, code: code.shown().unwrap().expose().to_owned(), id };
        std::fs::write(self.path("link"), format!("Hello,\nopen <{}>.\nBye\n", sent.url)).unwrap();
        std::fs::write(self.path("code"), format!("{}\n", sent.code)).unwrap();
        std::fs::write(self.path("passphrase"), format!("{PASSPHRASE}\n")).unwrap();
        sent
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Where the claim of a link is kept.
    pub(crate) fn claim(&self, sent: &Sent) -> PathBuf {
        self.home.path().join("state/password-sender/claims").join(sent.id.to_string())
    }

    pub(crate) fn state(&self, sent: &Sent) -> State {
        let found = self.runtime.block_on(self.store.get(sent.id)).unwrap().unwrap();
        found.value.link().unwrap().state
    }

    /// The binary, in a home of its own.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        command(self.home.path(), args)
    }

    /// Runs it with the link and the code from files, and nobody to ask.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        let (link, code) = (self.path("link"), self.path("code"));
        let files = ["--no-input", "--link-file", link.to_str().unwrap(), "--code-file", code.to_str().unwrap()];
        let (verb, rest) = args.split_first().unwrap();
        let all: Vec<&str> = [*verb].into_iter().chain(files).chain(rest.iter().copied()).collect();
        run(self.command(&all))
    }

    /// Starts it, waits until the gateway has claimed and keeps its answer back, and kills it.
    pub(crate) fn kill_between(&self, args: &[&str]) {
        self.lossy.store(true, Ordering::SeqCst);
        let (link, code) = (self.path("link"), self.path("code"));
        let files = ["--no-input", "--link-file", link.to_str().unwrap(), "--code-file", code.to_str().unwrap()];
        let mut child =
            self.command(&[args, &files].concat()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let claimed = async { tokio::time::timeout(PATIENCE, self.claimed.notified()).await };
        self.runtime.block_on(claimed).expect("it claims");
        child.kill().unwrap();
        child.wait().unwrap();
        self.lossy.store(false, Ordering::SeqCst);
    }
}

/// What a link should have.
#[derive(Default)]
pub(crate) struct Wanted {
    pub(crate) passphrase: bool,
    pub(crate) email_code: bool,
    pub(crate) file: bool,
    /// The gateway tells another preview than the sealed one.
    pub(crate) altered: bool,
}

pub(crate) struct Sent {
    pub(crate) url: String,
    pub(crate) code: String,
    pub(crate) id: ps_core::ids::LinkId,
}

pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ran {
    /// Checks the exit code, and that nothing that must stay secret was said on standard error.
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "out: {}\nerr: {}", self.out, self.err);
        for secret in [SECRET, PASSPHRASE, "ps1."] {
            assert!(!self.err.contains(secret), "{secret} in {}", self.err);
        }
        assert!(!self.err.contains('\x1b'), "{:?}", self.err);
        self
    }

    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "{text:?} is missing in {}", self.err);
        self
    }
}

/// The binary with an environment of its own.
pub(crate) fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_password-sender"));
    command.args(args).env_clear().env("HOME", home).env("XDG_STATE_HOME", home.join("state")).stdin(Stdio::null());
    command
}

pub(crate) fn run(mut command: Command) -> Ran {
    command.output().unwrap().into()
}

/// Runs it with `input` on standard input.
pub(crate) fn run_with(mut command: Command, input: &[u8]) -> Ran {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that refuses early need not read it all.
    drop(child.stdin.take().unwrap().write_all(input));
    child.wait_with_output().unwrap().into()
}

/// Waits until `done` holds.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// Kills and reaps a child, whatever becomes of its test.
pub(crate) struct Reaped(pub(crate) Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
