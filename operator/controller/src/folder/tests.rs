//! The folder source on a real folder, with a clock that the test moves.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ps_core::delivery::{ConnectionRef, SecretKeyRef};
use ps_core::error::{Class, Fault};
use ps_core::ids::{Key, Stamp};
use ps_core::ports::{Clock, Connections as _, Manifests as _, Random};
use ps_core::status::Status;
use ps_core::time::{Span, Timestamp};

use super::memory::{ObjectMemory, VolatileMemory};
use super::state_tests::{connection_yaml, yaml};
use super::{FolderSource, Folders};

/// Starts at the real time, as files do, and then goes as the test says.
struct Hands(AtomicI64);

impl Hands {
    fn turn(&self, span: Span) {
        self.0.fetch_add(span.as_millis(), Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

fn real_now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

struct Os;

impl Random for Os {
    fn fill(&self, out: &mut [u8]) -> Result<(), Fault> {
        getrandom::fill(out).map_err(|_| Fault::new(Class::Transient, "no-randomness", "none"))
    }
}

struct World {
    dir: tempfile::TempDir,
    memory: Arc<VolatileMemory>,
    clock: Arc<Hands>,
    source: FolderSource,
}

impl World {
    async fn new(files: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("m")).unwrap();
        for name in files {
            std::fs::write(dir.path().join("m").join(format!("{name}.yaml")), yaml(name, "a@b.c", "")).unwrap();
        }
        // Ten seconds ahead of the files: they have settled.
        let clock = Arc::new(Hands(AtomicI64::new(real_now() + 10_000)));
        let memory = Arc::new(VolatileMemory::default());
        let source = Self::source(dir.path(), &memory, &clock).await;
        Self { dir, memory, clock, source }
    }

    async fn source(dir: &Path, memory: &Arc<VolatileMemory>, clock: &Arc<Hands>) -> FolderSource {
        let folders = Folders { manifests: dir.join("m"), secrets: dir.join("s") };
        FolderSource::open(folders, Arc::clone(memory) as _, Arc::clone(clock) as _, Arc::new(Os)).await.unwrap()
    }

    /// The operator stops and starts again.
    async fn restart(&mut self) {
        self.source = Self::source(self.dir.path(), &self.memory, &self.clock).await;
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("m").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    /// Eleven seconds pass, with a look at both ends.
    async fn wait(&self) {
        self.source.rescan().await.unwrap();
        self.clock.turn(Span::from_secs(11));
        self.source.rescan().await.unwrap();
    }

    async fn get(&self, name: &str) -> ps_core::delivery::Manifest {
        self.source.get(&key(name)).await.unwrap().unwrap()
    }

    async fn gone(&self, name: &str) -> bool {
        self.source.get(&key(name)).await.unwrap().is_none_or(|m| m.deleting)
    }
}

fn key(name: &str) -> Key {
    Key::new("default", name)
}

#[tokio::test]
async fn files_become_manifests_with_an_identity_that_survives_restarts() {
    let mut w = World::new(&["a", "b"]).await;
    let a = w.get("a").await;
    assert_eq!((a.generation, a.deleting, a.stamp), (1, false, None));
    assert_eq!(a.uid.len(), 36);
    assert!(w.path(".password-sender").exists());
    w.restart().await;
    assert_eq!((w.get("a").await.uid, w.get("a").await.generation), (a.uid.clone(), 1));
    w.write("a.yaml", &yaml("a", "a@b.c", "  revoked: true\n"));
    w.restart().await;
    assert_eq!((w.get("a").await.uid, w.get("a").await.generation), (a.uid, 2));
    assert_eq!(w.source.keys().len(), 2);
}

/// Texts are not kept in memory: a change is judged, and a note written, with the one that was written down.
#[tokio::test]
async fn a_change_is_judged_by_the_last_good_text() {
    let mut w = World::new(&["a"]).await;
    for restarts in [false, true] {
        w.write("a.yaml", &yaml("a", "mallory@b.c", ""));
        if restarts {
            w.restart().await;
        } else {
            w.source.rescan().await.unwrap();
        }
        assert_eq!(w.get("a").await.spec.unwrap().recipient.email, "a@b.c");
        assert_eq!(w.source.fault(&key("a")).unwrap().field.as_deref(), Some("spec.redeliver"));
    }
    w.write("a.yaml", &yaml("a", "bob@b.c", "  redeliver: \"2\"\n"));
    w.source.rescan().await.unwrap();
    assert_eq!(w.get("a").await.spec.unwrap().recipient.email, "bob@b.c");
    assert!(w.source.fault(&key("a")).is_none());
    std::fs::rename(w.path("a.yaml"), w.path("b.yaml")).unwrap();
    w.source.rescan().await.unwrap();
    let note = w.memory.load(&key("a")).await.unwrap().unwrap();
    assert_eq!(note.file, "b.yaml");
    assert!(note.last_good.unwrap().contains("bob@b.c"));
}

#[tokio::test]
async fn the_stamp_is_kept_beside_the_manifest_and_goes_with_it() {
    let w = World::new(&["a", "b", "c"]).await;
    let uid = w.get("a").await.uid;
    let stamp = Stamp::new(&key("a"), [7; 16]);
    w.source.put_stamp(&key("a"), &uid, &stamp).await.unwrap();
    w.source.put_status(&key("a"), &uid, &Status { summary: "Delivered".into(), ..Status::default() }).await.unwrap();
    assert_eq!(w.get("a").await.stamp, Some(stamp.clone()));
    let wrong = w.source.put_stamp(&key("a"), "another", &stamp).await.unwrap_err();
    assert_eq!((wrong.code.as_str(), wrong.class), ("object-changed", Class::Transient));
    assert!(w.source.put_status(&key("none"), &uid, &Status::default()).await.is_err());
    // A status file is never a manifest.
    w.wait().await;
    assert_eq!(w.source.keys().len(), 3);
    // A copy of it carries the stamp of another name, which shows.
    std::fs::copy(w.path("a.status.yaml"), w.path("b.status.yaml")).unwrap();
    assert!(!w.get("b").await.stamp.unwrap().is_for(&key("b")));
    w.remove("a.yaml");
    w.wait().await;
    let a = w.get("a").await;
    assert!(a.deleting && a.spec.is_ok() && a.stamp == Some(stamp));
    w.source.release(&key("a"), &uid).await.unwrap();
    w.source.release(&key("a"), &uid).await.unwrap();
    assert!(w.source.get(&key("a")).await.unwrap().is_none());
    assert!(!w.path("a.status.yaml").exists() && w.memory.load(&key("a")).await.unwrap().is_none());
    // Made anew: another object, without a stamp.
    w.write("a.yaml", &yaml("a", "a@b.c", ""));
    w.wait().await;
    assert!(w.get("a").await.uid != uid && w.get("a").await.stamp.is_none());
}

#[tokio::test]
async fn a_stamp_in_the_manifest_counts_where_there_is_no_status_file() {
    let w = World::new(&[]).await;
    w.write(
        "a.yaml",
        &yaml("a", "a@b.c", "").replace("{name: a}", "{name: a, annotations: {passwordsender.io/stamp: from.backup}}"),
    );
    w.wait().await;
    assert_eq!(w.get("a").await.stamp, Some(Stamp::from_annotation("from.backup")));
    let own = Stamp::new(&key("a"), [1; 16]);
    w.source.put_stamp(&key("a"), &w.get("a").await.uid, &own).await.unwrap();
    assert_eq!(w.get("a").await.stamp, Some(own));
}

#[tokio::test]
async fn what_came_back_is_not_released() {
    let w = World::new(&["a"]).await;
    let uid = w.get("a").await.uid;
    assert_eq!(w.source.release(&key("a"), &uid).await.unwrap_err().code, "object-changed");
    w.remove("a.yaml");
    w.wait().await;
    assert!(w.get("a").await.deleting);
    w.write("a.yaml", &yaml("a", "a@b.c", ""));
    w.wait().await;
    let a = w.get("a").await;
    assert!(!a.deleting && a.uid == uid);
    assert_eq!(w.source.release(&key("a"), &uid).await.unwrap_err().code, "object-changed");
}

#[tokio::test]
async fn a_believed_deletion_survives_a_restart() {
    let mut w = World::new(&["a"]).await;
    w.remove("a.yaml");
    w.wait().await;
    w.restart().await;
    assert!(w.get("a").await.deleting);
}

#[tokio::test]
async fn a_folder_that_is_away_deletes_nothing() {
    let mut w = World::new(&["a"]).await;
    let (there, away) = (w.path(""), w.dir.path().join("away"));
    std::fs::rename(&there, &away).unwrap();
    for empty_mount_point in [false, true] {
        if empty_mount_point {
            std::fs::create_dir(&there).unwrap();
        }
        for _ in 0..3 {
            w.wait().await;
            w.restart().await;
        }
        assert!(!w.get("a").await.deleting);
        let fault = w.source.folder_fault().unwrap();
        assert_eq!((fault.class, fault.remedy.is_empty()), (Class::Transient, false), "{fault}");
        // What was never seen is not said to be absent.
        assert!(w.source.get(&key("unknown")).await.is_err());
        let name = ConnectionRef::namespaced("default", "prod");
        assert_eq!(w.source.resolve(&name).await.unwrap_err().class, Class::Transient);
    }
    std::fs::remove_dir(&there).unwrap();
    std::fs::rename(&away, &there).unwrap();
    w.wait().await;
    assert!(w.source.folder_fault().is_none() && !w.get("a").await.deleting);
    assert!(w.source.get(&key("unknown")).await.unwrap().is_none());
}

/// More documents than are parsed in one look.
#[tokio::test]
async fn a_flood_of_manifests_is_taken_in_looks_and_nothing_is_missed() {
    let mut w = World::new(&["a"]).await;
    for file in 0..40 {
        let texts: Vec<String> = (0..30).map(|n| yaml(&format!("m-{file}-{n}"), "a@b.c", "")).collect();
        w.write(&format!("m-{file}.yaml"), &texts.join("---\n"));
    }
    w.write("z.yaml", &connection_yaml("prod", 1));
    let prod = ConnectionRef::namespaced("default", "prod");
    let mut looks = 1;
    while w.source.rescan().await.unwrap().is_some() {
        looks += 1;
        assert!(looks < 10 && !w.get("a").await.deleting);
        // Nobody hears that something is not there which the next look may find.
        assert_eq!(w.source.resolve(&prod).await.unwrap_err().class, Class::Transient);
        assert_eq!(w.source.get(&key("m-9-29")).await.unwrap_err().class, Class::Transient);
    }
    assert!(looks > 1 && w.source.keys().len() == 1201 && w.source.resolve(&prod).await.is_ok());
    let uid = w.get("m-9-29").await.uid;
    w.restart().await;
    assert!(w.source.keys().len() == 1201 && w.source.resolve(&prod).await.is_ok());
    assert_eq!((w.get("m-9-29").await.uid, w.get("m-9-29").await.generation), (uid, 1));
}

#[tokio::test]
async fn many_files_removed_at_once_wait_for_a_confirmation_file() {
    let mut w = World::new(&["a", "b", "c", "d"]).await;
    for name in ["a", "b", "c"] {
        w.remove(&format!("{name}.yaml"));
    }
    w.wait().await;
    w.restart().await;
    w.wait().await;
    assert!(!w.get("a").await.deleting);
    assert_eq!(w.source.folder_fault().unwrap().code, "deletions-held");
    w.write(".confirm-deletions", "");
    w.wait().await;
    assert!(w.gone("a").await && w.gone("b").await && w.gone("c").await && !w.gone("d").await);
    assert!(!w.path(".confirm-deletions").exists() && w.source.folder_fault().is_none());
}

#[tokio::test]
async fn junk_of_every_kind_harms_nothing_else() {
    let w = World::new(&["good"]).await;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("x.yaml"), yaml("x", "a@b.c", "")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("x.yaml"), w.path("leaves.yaml")).unwrap();
    std::os::unix::fs::symlink(w.path("nowhere"), w.path("dangling.yaml")).unwrap();
    w.write("real.txt", &yaml("linked", "a@b.c", ""));
    std::os::unix::fs::symlink("real.txt", w.path("stays.yaml")).unwrap();
    std::fs::create_dir(w.path("folder.yaml")).unwrap();
    std::fs::write(w.path("binary.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    std::fs::write(w.path("huge.yaml"), vec![b'#'; 1024 * 1024 + 1]).unwrap();
    w.write("empty.yaml", "");
    w.write("secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData: {a: hunter2}\n");
    w.write("half.yaml", yaml("half", "a@b.c", "").split_at(150).0);
    w.write("copy.yaml", &yaml("good", "mallory@b.c", ""));
    w.write(".hidden.yaml", &yaml("hidden", "a@b.c", ""));
    w.write("good.status.yaml", &yaml("status", "a@b.c", ""));
    w.write(&format!("{}.yaml", "l".repeat(200)), &yaml(&"l".repeat(240), "a@b.c", ""));
    w.wait().await;
    w.wait().await;
    let good = w.get("good").await;
    assert_eq!(good.spec.unwrap().recipient.email, "a@b.c");
    assert!(w.get("linked").await.spec.is_ok());
    let faults = w.source.file_faults();
    for file in ["leaves.yaml", "dangling.yaml", "binary.yaml", "huge.yaml", "copy.yaml"] {
        let fault = faults.get(file).unwrap_or_else(|| panic!("{file} has no fault: {faults:?}"));
        assert!(
            fault.class == Class::Misconfigured && !fault.remedy.is_empty() && !fault.to_string().contains("hunter2"),
            "{fault}"
        );
        assert!(fault.to_string().contains(file), "{fault}");
    }
    assert_eq!(faults.len(), 7, "{:?}", faults.keys());
    assert!(!faults.contains_key("secret.yaml"), "objects of other kinds are left alone");
    let mut known: Vec<String> = w.source.keys().into_iter().map(|k| k.name).collect();
    known.sort();
    assert_eq!(known, ["good", "linked"]);
}

#[tokio::test]
async fn a_file_that_was_written_just_now_is_not_judged_yet() {
    let w = World::new(&["a", "b"]).await;
    // The file's own time decides, so the clock stands where the file was written.
    w.write("a.yaml", &yaml("a", "a@b", ""));
    w.clock.0.store(real_now(), Ordering::SeqCst);
    let again = w.source.rescan().await.unwrap();
    assert_eq!(again, Some(w.clock.now() + super::read::SETTLED));
    assert!(w.source.fault(&key("a")).is_none());
    w.clock.turn(Span::from_secs(1));
    w.source.rescan().await.unwrap();
    assert_eq!(w.source.fault(&key("a")).unwrap().field.as_deref(), Some("spec.redeliver"));
    assert_eq!(w.get("a").await.spec.unwrap().recipient.email, "a@b.c");
}

#[tokio::test]
async fn connections_and_secrets_come_from_the_folders() {
    use std::os::unix::fs::PermissionsExt as _;
    let w = World::new(&[]).await;
    w.write("v.yaml", &connection_yaml("prod", 8200));
    w.wait().await;
    let name = |name: &str| ConnectionRef::namespaced("default", name);
    assert_eq!(w.source.resolve(&name("prod")).await.unwrap().address, "http://127.0.0.1:8200");
    let fault = w.source.resolve(&name("other")).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (Class::Misconfigured, "no-such-connection"));
    let at = w.dir.path().join("s/default/vault");
    std::fs::create_dir_all(&at).unwrap();
    std::fs::write(at.join("token"), "t0ken\n").unwrap();
    std::fs::set_permissions(at.join("token"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let secret = SecretKeyRef { name: "vault".into(), key: "token".into() };
    assert_eq!(w.source.secret("default", &secret).await.unwrap().expose(), "t0ken");
    assert!(w.source.secret("other", &secret).await.is_err());
}

#[tokio::test]
async fn a_cluster_wide_connection_serves_the_namespaces_that_it_lists() {
    let w = World::new(&[]).await;
    let shared = |name: &str, cleanup: &str| {
        connection_yaml(name, 8200).replace("kind: VaultConnection", "kind: ClusterVaultConnection").replace(
            "  auth:",
            &format!("  namespaces: [shop]\n  namespaceSelector: {{matchLabels: {{a: b}}}}\n{cleanup}  auth:"),
        )
    };
    w.write("shared.yaml", &shared("prod", "  cleanupConnectionRef: {name: cleanup}\n"));
    // Beside an object of another kind.
    w.write(
        "ns.yaml",
        &format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n---\n{}", shared("plain", "")),
    );
    w.wait().await;
    assert!(w.source.file_faults().is_empty(), "{:?}", w.source.file_faults());
    let shop = |name: &str| ConnectionRef::cluster("shop", name);
    let at = w.source.resolve(&shop("plain")).await.unwrap();
    assert_eq!((at.name, at.secrets_in.as_str(), at.cleanup), (shop("plain"), "_operator", None));
    let refused = async |name: ConnectionRef, code: &str, field: &str| {
        let fault = w.source.resolve(&name).await.unwrap_err();
        assert_eq!(
            (fault.class, fault.code.as_str(), fault.field.as_deref()),
            (Class::Misconfigured, code, Some(field)),
            "{fault}"
        );
        assert!(!fault.remedy.is_empty(), "{fault}");
    };
    refused(ConnectionRef::cluster("default", "plain"), "connection-not-allowed", "spec.namespaces").await;
    refused(shop("none"), "no-such-connection", "spec.source.vault.connectionRef.name").await;
    // A kind of its own: no VaultConnection has this name.
    refused(ConnectionRef::namespaced("shop", "plain"), "no-such-connection", "spec.source.vault.connectionRef.name")
        .await;
    // Whoever cleans up must be there, and may be used by whom it cleans up for.
    refused(shop("prod"), "no-such-connection", "spec.cleanupConnectionRef.name").await;
    w.write("cleanup.yaml", &shared("cleanup", "").replace("[shop]", "[other]"));
    w.wait().await;
    refused(shop("prod"), "connection-not-allowed", "spec.namespaces").await;
    w.write("cleanup.yaml", &shared("cleanup", ""));
    w.wait().await;
    assert_eq!(w.source.resolve(&shop("prod")).await.unwrap().cleanup.as_deref(), Some("cleanup"));
    // The operator itself, whose namespace is the empty one here, may use it to clean up.
    assert!(w.source.resolve(&ConnectionRef::cluster("", "cleanup")).await.is_ok());
}

#[tokio::test]
async fn nobody_logs_in_as_a_service_account_here() {
    let w = World::new(&[]).await;
    let by_account = "{kubernetes: {role: r, serviceAccountRef: {name: sa}, audience: vault}}";
    w.write(
        "v.yaml",
        &connection_yaml("prod", 8200).replace("{token: {secretKeyRef: {name: vault, key: token}}}", by_account),
    );
    w.wait().await;
    let fault = w.source.resolve(&ConnectionRef::namespaced("default", "prod")).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (Class::Misconfigured, "no-service-accounts"));
    assert_eq!(fault.field.as_deref(), Some("spec.auth.kubernetes"));
    assert!(w.source.service_account_token("default", "sa", "vault").await.is_err());
}

#[tokio::test]
async fn a_memory_that_fails_is_asked_again_and_nothing_is_lost() {
    struct Flaky(VolatileMemory, AtomicI64);
    #[async_trait::async_trait]
    impl ObjectMemory for Flaky {
        async fn load(&self, key: &Key) -> Result<Option<super::memory::Note>, Fault> {
            self.0.load(key).await
        }
        async fn save(&self, note: &super::memory::Note) -> Result<(), Fault> {
            if self.1.fetch_sub(1, Ordering::SeqCst) > 0 {
                return Err(Fault::new(Class::Transient, "storage", "the disk is full"));
            }
            self.0.save(note).await
        }
        async fn remove(&self, key: &Key) -> Result<(), Fault> {
            self.0.remove(key).await
        }
        async fn all(&self) -> Result<Vec<Result<super::memory::Note, super::memory::Unreadable>>, Fault> {
            self.0.all().await
        }
    }
    let w = World::new(&[]).await;
    let memory = Arc::new(Flaky(VolatileMemory::default(), AtomicI64::new(0)));
    let folders = Folders { manifests: w.path(""), secrets: w.path("") };
    let source =
        FolderSource::open(folders, Arc::clone(&memory) as _, Arc::clone(&w.clock) as _, Arc::new(Os)).await.unwrap();
    w.write("a.yaml", &yaml("a", "a@b.c", ""));
    w.clock.turn(Span::from_secs(10));
    memory.1.store(1, Ordering::SeqCst);
    assert!(source.rescan().await.is_err());
    assert!(source.get(&key("a")).await.unwrap().is_none(), "seen by others only when it is remembered");
    // The text is not kept between looks, so it takes one look to ask for it and one to use it.
    let again = source.rescan().await.unwrap();
    assert!(again.is_some());
    source.rescan().await.unwrap();
    assert!(source.get(&key("a")).await.unwrap().unwrap().spec.is_ok());
}

/// The real clock and the real watch: added, changed and removed files are told within seconds.
#[tokio::test]
async fn the_watch_tells_what_changed() {
    struct Real;
    impl Clock for Real {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(real_now())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let folders = Folders { manifests: dir.path().to_owned(), secrets: dir.path().to_owned() };
    let source =
        FolderSource::open(folders, Arc::new(VolatileMemory::default()), Arc::new(Real), Arc::new(Os)).await.unwrap();
    let next = async |what: &str| {
        tokio::time::timeout(Duration::from_secs(20), source.next_change())
            .await
            .unwrap_or_else(|_| panic!("{what} was not told"))
    };
    let story = async {
        std::fs::write(dir.path().join("a.yaml"), yaml("a", "a@b.c", "")).unwrap();
        let started = Instant::now();
        assert_eq!(next("an added file").await, key("a"));
        assert!(started.elapsed() < Duration::from_secs(15), "only the slow rhythm saw it");
        let uid = source.get(&key("a")).await.unwrap().unwrap().uid;
        source.put_status(&key("a"), &uid, &Status::default()).await.unwrap();
        // Written beside and renamed over, as editors and git do.
        std::fs::write(dir.path().join("a.tmp"), yaml("a", "a@b.c", "  revoked: true\n")).unwrap();
        std::fs::rename(dir.path().join("a.tmp"), dir.path().join("a.yaml")).unwrap();
        assert_eq!(next("a changed file").await, key("a"));
        assert!(source.get(&key("a")).await.unwrap().unwrap().spec.unwrap().revoked);
    };
    tokio::select! {
        () = source.watch() => {}
        () = story => {}
    }
}
