//! The program itself: killed and started again, as the operator's child, confined, and under a flood.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use ps_core::link::{Record, State};
use ps_core::ports::LinkStore as _;
use ps_core::time::Timestamp;
use ps_gateway::inherited::{LIFT, RAISE};
use ps_gateway::verbs::{Holder, Sample};
use ps_store::EmbeddedStore;

use tokio::task::JoinSet;

use crate::support::{Conn, PATIENCE, Reply, post};

const PROGRAM: &str = env!("CARGO_BIN_EXE_password-sender-gateway");
/// One program is started at a time, so that no other inherits what is meant for it.
static STARTING: Mutex<()> = Mutex::new(());

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

pub(crate) struct Gateway {
    pub(crate) child: Child,
    log: Receiver<String>,
    pub(crate) said: Vec<String>,
    pub(crate) address: SocketAddr,
}

impl Gateway {
    pub(crate) fn start(links: &Path, args: &[&str], hand_down: &[&dyn AsFd]) -> Self {
        let one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let close_on_exec = |flag| {
            for fd in hand_down {
                fcntl(fd.as_fd(), FcntlArg::F_SETFD(flag)).unwrap();
            }
        };
        close_on_exec(FdFlag::empty());
        let mut child = Command::new(PROGRAM)
            .arg("--links")
            .arg(links)
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        close_on_exec(FdFlag::FD_CLOEXEC);
        drop(one);
        let (lines, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        let mut gateway = Self { child, log, said: Vec::new(), address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let line = gateway.wait_for("serving address=");
        let address = line.split("address=").nth(1).unwrap().split(' ').next().unwrap();
        gateway.address = address.parse().unwrap();
        gateway
    }

    /// Waits until it logs a line that holds `words`.
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Ok(line) = self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) else {
                panic!("never said {words:?}, but: {:#?}", self.said);
            };
            self.said.push(line.clone());
            if line.contains(words) {
                return line;
            }
        }
    }

    pub(crate) async fn call(&self, verb: &str, body: &impl serde::Serialize) -> Reply {
        Conn::open(self.address).await.ask(&post(verb, body)).await
    }

    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Waits for its end; its exit code, and all that it has said.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end: {:#?}", self.said);
            std::thread::yield_now();
        };
        self.said.extend(self.log.iter());
        (status.code(), std::mem::take(&mut self.said).join("\n"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(crate) async fn put(store: &EmbeddedStore, seed: &str) -> Holder {
    let Sample { holder, link } = Sample::new(seed, &[], now());
    store.insert(&Record::Link(Box::new(link))).await.unwrap();
    holder
}

#[tokio::test]
async fn a_claim_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let links = folder.path().join("links");
    let store = EmbeddedStore::open(&links).unwrap();
    let holder = put(&store, "killed").await;
    let mut gateway = Gateway::start(&links, &["--listen", "127.0.0.1:0"], &[]);
    let first = gateway.call("claim", &holder.claim()).await;
    assert_eq!(first.status, 200);
    gateway.child.kill().unwrap();
    gateway.child.wait().unwrap();

    let gateway = Gateway::start(&links, &["--listen", "127.0.0.1:0"], &[]);
    assert_eq!(gateway.call("claim", &holder.elsewhere(1).claim()).await.refusal(), "409 claimed");
    assert_eq!(gateway.call("claim", &holder.claim_again()).await.body, first.body);
    assert_eq!(gateway.call("acknowledge", &holder.acknowledge()).await.status, 200);
    let found = store.get(holder.id).await.unwrap().unwrap();
    assert_eq!(found.value.link().map(|l| (l.state, l.ciphertext.is_none())), Some((State::Retrieved, true)));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(gateway.child.id().cast_signed()), nix::sys::signal::SIGTERM)
        .unwrap();
    assert_eq!(gateway.ended().0, Some(0), "asked to stop, it stops");
}

#[tokio::test]
async fn as_a_child_it_is_fenced_wakes_its_parent_and_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let links = folder.path().join("links");
    let store = EmbeddedStore::open(&links).unwrap();
    let holder = put(&store, "child").await;
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let (woken, wake) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let (nudged, nudge) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let numbers = [listener.as_raw_fd(), wake.as_raw_fd(), nudged.as_raw_fd()].map(|fd| fd.to_string());
    let [listen_fd, wake_fd, nudge_fd] = &numbers;
    let args = ["--listen-fd", listen_fd, "--wake-fd", wake_fd, "--nudge-fd", nudge_fd];
    let (forgotten, held) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let mut gateway = Gateway::start(&links, &args, &[&listener, &wake, &nudged, &held]);
    assert_eq!(gateway.address, listener.local_addr().unwrap());
    drop((listener, wake, nudged, held));
    // A descriptor that was not named is closed: this would wait for ever if the gateway still had the other end.
    assert_eq!(std::fs::File::from(forgotten).read(&mut [0]).unwrap(), 0);

    let (mut woken, mut nudge) = (std::fs::File::from(woken), std::fs::File::from(nudge));
    assert_eq!(gateway.call("claim", &holder.claim()).await.refusal(), "503 not-ready");
    assert_eq!(gateway.call("lookup", &holder.lookup()).await.status, 200);
    nudge.write_all(&[b'c', LIFT]).unwrap();
    gateway.wait_for("fence lifted");
    let mut byte = [0];
    woken.read_exact(&mut byte).unwrap();
    assert_eq!(byte[0], LIFT, "it says that claims are answered from now on");
    assert_eq!(gateway.call("claim", &holder.claim()).await.status, 200);
    woken.read_exact(&mut byte).unwrap();
    nudge.write_all(&[RAISE]).unwrap();
    gateway.wait_for("fence raised");
    assert_eq!(gateway.call("claim", &holder.claim_again()).await.refusal(), "503 not-ready");

    drop(nudge);
    let (code, said) = gateway.ended();
    assert_eq!(code, Some(0), "{said}");
    let mut rest = Vec::new();
    woken.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "one byte per change");
}

#[test]
fn wrong_descriptors_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refuse = |args: &[&str]| {
        let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let output = Command::new(PROGRAM).arg("--links").arg(folder.path()).args(args).output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refuse(&["--listen-fd", "99"]).contains("descriptor 99 was not handed down"));
    assert!(refuse(&["--listen-fd", "1"]).contains("descriptor 1 was not handed down"));
    assert!(refuse(&["--listen-fd", "7", "--wake-fd", "7"]).contains("named twice"));
    assert!(refuse(&[]).contains("--listen"));
    assert!(refuse(&["--listen", "127.0.0.1:0", "--trusted-proxy", "10.0.0/8"]).contains("address range"));
}

#[test]
fn confined_it_can_do_only_its_work() {
    let folder = tempfile::tempdir().unwrap();
    let links = folder.path().join("links");
    let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(PROGRAM).arg("--links").arg(&links).arg("--check-confinement").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}");
    assert!(output.status.success(), "{said}");
    for line in [
        "in force: no core files",
        "in force: not dumpable",
        "in force: no new privileges",
        "in force: seccomp",
        "stopped: run a program",
        "stopped: connect",
        "stopped: listen",
        "stopped: receive datagrams",
        "stopped: make a datagram socket",
        "stopped: signal its parent",
        "works: use the links folder",
        "works: start a thread",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    // Where the kernel has no Landlock it must say so; where it has, it must hold.
    let landlock = said.contains("in force: landlock: files below the links folder only");
    assert_ne!(landlock, said.contains("lacking: landlock: files below the links folder only"), "{said}");
    for what in ["read a file elsewhere", "list a folder elsewhere", "write a file elsewhere"] {
        assert_eq!(landlock, said.contains(&format!("stopped: {what}")), "{what}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_unknown_ids_cost_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let links = folder.path().join("links");
    let gateway = Gateway::start(&links, &["--listen", "127.0.0.1:0", "--rate", "0"], &[]);
    let flood = |rounds: std::ops::Range<u32>| {
        let address = gateway.address;
        async move {
            let mut conn = Conn::open(address).await;
            for round in rounds {
                let batch: Vec<u8> =
                    (0..50).flat_map(|n| post("lookup", &Holder::new(&format!("{round} {n}")).lookup())).collect();
                conn.send(&batch).await;
                for _ in 0..50 {
                    assert_eq!(conn.reply(false).await.unwrap().status, 404);
                }
            }
        }
    };
    // On many connections: each stranger waits a little for the answer.
    let from_many = async |first: u32, rounds: u32| {
        let mut floods: JoinSet<()> = (0..50).map(|n| flood(first + n * rounds..first + (n + 1) * rounds)).collect();
        while let Some(done) = floods.join_next().await {
            done.unwrap();
        }
    };
    // Warm: threads, caches and arenas are there.
    from_many(0, 1).await;
    let before = gateway.resident_kib();
    from_many(100, 4).await;
    let grown = gateway.resident_kib().saturating_sub(before);
    println!("resident {before} KiB, and {grown} KiB more after 10 000 unknown ids");
    assert!(grown < 4096, "grown by {grown} KiB from {before}");
    assert!(before < 64 * 1024, "{before} KiB");
}
