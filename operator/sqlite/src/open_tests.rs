use std::os::unix::fs::symlink;

use super::*;
use crate::{Database, fault};

const PROFILE: Profile = Profile {
    name: "test",
    application_id: 77,
    version: 3,
    schema: "CREATE TABLE t (one INTEGER PRIMARY KEY, v BLOB NOT NULL) STRICT;
             CREATE INDEX t_v ON t (v);",
    counter: "none",
    readers: 1,
    max_value: 100_000,
};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn code(result: Result<Database, Fault>) -> String {
    let fault = result.expect_err("must be refused");
    assert!(!fault.remedy.is_empty(), "{fault}");
    fault.code
}

/// Opens a good database, closes it, lets `edit` change the file, and opens it again.
fn after(edit: &str) -> Result<Database, Fault> {
    let dir = folder();
    drop(Database::open(dir.path(), "x.db", PROFILE).unwrap());
    let foreign = Connection::open(dir.path().join("x.db")).unwrap();
    foreign.execute_batch(edit).unwrap();
    drop(foreign);
    Database::open(dir.path(), "x.db", PROFILE)
}

#[test]
fn opens_again_what_it_made() {
    assert!(after("").is_ok());
    assert!(after("INSERT INTO t VALUES (1, x'00')").is_ok());
}

#[test]
fn refuses_a_schema_that_is_not_ours() {
    for edit in [
        "CREATE TRIGGER e AFTER INSERT ON t BEGIN DELETE FROM t; END",
        "CREATE VIEW w AS SELECT * FROM t",
        "CREATE TABLE u (a)",
        "CREATE VIRTUAL TABLE f USING fts5(a)",
        "DROP INDEX t_v",
        "DROP INDEX t_v; CREATE INDEX t_v ON t (one)",
        "DROP INDEX t_v; CREATE INDEX t_v  ON t (v)",
        "ALTER TABLE t ADD COLUMN c INTEGER",
        "DROP TABLE t; CREATE VIEW t AS SELECT 1 AS one, x'' AS v",
        "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET rootpage = 2",
        "PRAGMA application_id=78",
        "ANALYZE",
    ] {
        let found = code(after(edit));
        assert!(found == "test-schema-foreign" || found == "test-corrupt", "{edit}: {found}");
    }
    assert_eq!(code(after("PRAGMA user_version=4")), "test-version");
    assert_eq!(code(after("PRAGMA user_version=0")), "test-version");
}

#[test]
fn leaves_a_database_of_somebody_else_alone() {
    let dir = folder();
    let path = dir.path().join("x.db");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE theirs (a)").unwrap();
    drop(other);
    let before = std::fs::read(&path).unwrap();
    assert_eq!(code(Database::open(dir.path(), "x.db", PROFILE)), "test-schema-foreign");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn refuses_what_is_no_database() {
    let dir = folder();
    std::fs::write(dir.path().join("x.db"), [7_u8; 8192]).unwrap();
    assert_eq!(code(Database::open(dir.path(), "x.db", PROFILE)), "test-corrupt");
}

#[test]
fn follows_no_links() {
    let dir = folder();
    let other = dir.path().join("other");
    drop(Database::open(&other, "y.db", PROFILE).unwrap());
    let target = other.join("y.db");
    type Link = fn(&Path, &Path) -> std::io::Result<()>;
    let links: [Link; 2] = [|a, b| symlink(a, b), |a, b| std::fs::hard_link(a, b)];
    for link in links {
        let mine = folder();
        let path = mine.path().join("x.db");
        link(&target, &path).unwrap();
        assert_eq!(code(Database::open(mine.path(), "x.db", PROFILE)), "test-file-odd");
    }
    // A link that is swapped in after the look is refused by SQLite itself, and a linked log, too.
    let mine = folder();
    symlink(&target, mine.path().join("x.db")).unwrap();
    assert!(connect(&mine.path().join("x.db"), PROFILE, 64).is_err());
    drop(std::fs::remove_file(mine.path().join("x.db")));
    drop(Database::open(mine.path(), "x.db", PROFILE).unwrap());
    std::fs::write(dir.path().join("victim"), b"").unwrap();
    symlink(dir.path().join("victim"), mine.path().join("x.db-wal")).unwrap();
    assert!(Database::open(mine.path(), "x.db", PROFILE).is_err());
    assert_eq!(std::fs::read(dir.path().join("victim")).unwrap(), b"");
}

#[test]
fn keeps_others_out() {
    let dir = folder();
    let inner = dir.path().join("a/b");
    let database = Database::open(&inner, "x.db", PROFILE).unwrap();
    let mode = |path: &Path| std::fs::symlink_metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    let mut seen = 0;
    for entry in std::fs::read_dir(&inner).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
        seen += 1;
    }
    assert!(seen >= 2, "database and log");
    drop(database);
    std::fs::set_permissions(&inner, Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(inner.join("x.db"), Permissions::from_mode(0o666)).unwrap();
    drop(Database::open(&inner, "x.db", PROFILE).unwrap());
    assert_eq!((mode(&inner), mode(&inner.join("x.db"))), (0o700, 0o600));
}

#[test]
fn many_may_make_it_at_once() {
    let dir = folder();
    let results: Vec<_> = std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..8).map(|_| scope.spawn(|| Database::open(dir.path(), "x.db", PROFILE))).collect();
        tasks.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for result in results {
        result.unwrap();
    }
}

#[test]
fn every_connection_is_hardened() {
    let dir = folder();
    let path = prepare(dir.path(), "x.db", PROFILE).unwrap();
    let (writer, _) = first(&path, PROFILE).unwrap();
    for (pragma, value) in [
        ("secure_delete", 1),
        ("trusted_schema", 0),
        ("cell_size_check", 1),
        ("synchronous", 2),
        ("temp_store", 2),
        ("mmap_size", 0),
    ] {
        assert_eq!(number(&writer, pragma).unwrap(), value, "{pragma}");
    }
    assert!(writer.db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE).unwrap());
    assert!(!writer.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER).unwrap());
    let oversized = writer.execute("INSERT INTO t VALUES (1, zeroblob(100001))", []);
    assert_eq!(fault::of("x", &oversized.unwrap_err()).code, "x-failed");
}
