//! Opening a file that somebody else may have written.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ps_core::error::{Class, Fault};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use crate::{Error, PATIENCE, Profile, fault};

/// Page cache of the writer, in KiB.
const WRITER_CACHE: i32 = 1024;
/// Page cache of each reader, in KiB.
const READER_CACHE: i32 = 256;

/// Makes the folder and an empty file where they are missing, and returns the file's path free of symbolic links.
///
/// An existing file is never opened here: closing a descriptor of it would drop the locks that SQLite holds on it in this process.
pub(crate) fn prepare(folder: &Path, file: &str, profile: Profile) -> Result<PathBuf, Fault> {
    let name = profile.name;
    let wrong = |what: &'static str| move |e: std::io::Error| fault::path(name, what, &e);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(wrong("the folder can't be made"))?;
    let folder = folder.canonicalize().map_err(wrong("the folder can't be read"))?;
    narrow(&folder, 0o700, name);
    let path = folder.join(file);
    match fs::symlink_metadata(&path) {
        Ok(found) if found.is_file() && found.nlink() == 1 => narrow(&path, 0o600, name),
        Ok(_) => {
            return Err(Fault::new(
                Class::Permanent,
                &format!("{name}-file-odd"),
                format!("{name}: {file} is not a plain file with one name"),
            )
            .remedy("Somebody has put a link or a device there: remove it"));
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let made =
                OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(&path);
            match made {
                Ok(_) => {}
                // Another process was faster.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(fault::path(name, "the file can't be made", &e)),
            }
        }
        Err(e) => return Err(fault::path(name, "the file can't be read", &e)),
    }
    Ok(path)
}

/// Takes rights away from others; a folder of another owner (a mounted volume) is used as it is.
fn narrow(path: &Path, mode: u32, name: &str) {
    let Ok(found) = fs::symlink_metadata(path) else {
        return;
    };
    if found.mode() & 0o777 & !mode != 0
        && let Err(e) = fs::set_permissions(path, Permissions::from_mode(mode))
    {
        tracing::warn!(
            database = name,
            error = %e.kind(),
            mode = format!("{:o}", found.mode() & 0o777),
            "other users of this machine have rights on the data folder or file"
        );
    }
}

/// Knows what the schema must be, and at which of SQLite's schema cookies that was last seen to be so.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    name: &'static str,
    expected: Arc<[String]>,
    cookie: i64,
}

impl Guard {
    fn new(profile: Profile) -> Result<Self, rusqlite::Error> {
        let model = Connection::open_in_memory()?;
        model.execute_batch(profile.schema)?;
        Ok(Self { name: profile.name, expected: schema(&model)?.into(), cookie: -1 })
    }

    /// Refuses if the schema is another one than ours. To be called in a transaction; costs one read of the header
    /// unless the schema has been touched.
    ///
    /// # Errors
    /// `NAME-schema-foreign`.
    pub(crate) fn check(&mut self, connection: &Connection) -> Result<(), Error> {
        let cookie = connection.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get::<_, i64>(0))?;
        if cookie == self.cookie {
            return Ok(());
        }
        if schema(connection)? != *self.expected {
            return Err(
                fault::foreign(self.name, "its tables, indexes, views or triggers are not the ones we made").into()
            );
        }
        self.cookie = cookie;
        Ok(())
    }
}

/// The schema as SQLite keeps it, byte for byte, except on which pages. Two objects on one page are told apart from ours.
fn schema(connection: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    let mut statement = connection.prepare(
        "SELECT quote(type) || quote(name) || quote(tbl_name) || quote(sql)
         FROM sqlite_schema AS a
         UNION ALL
         SELECT 'on one page' FROM sqlite_schema GROUP BY rootpage HAVING count(*) > 1
         ORDER BY 1",
    )?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}

/// Opens the writer's connection; makes the schema in an empty file, and verifies it in any other.
pub(crate) fn first(file: &Path, profile: Profile) -> Result<(Connection, Guard), Fault> {
    let inner = || -> Result<(Connection, Guard), Error> {
        let mut guard = Guard::new(profile)?;
        let connection = connect(file, profile, WRITER_CACHE)?;
        // Nothing is changed in a file that isn't ours, not even its journal mode.
        if !is_empty(&connection)? {
            verify(&connection, profile, &mut guard)?;
        }
        use_wal(&connection, profile)?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        if is_empty(&connection)? {
            connection.execute_batch(profile.schema)?;
            connection.pragma_update(None, "application_id", profile.application_id)?;
            connection.pragma_update(None, "user_version", profile.version)?;
        }
        verify(&connection, profile, &mut guard)?;
        connection.execute_batch("COMMIT")?;
        // `checkpoint` does it.
        connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
        Ok((connection, guard))
    };
    inner().map_err(|e| into_fault(e, profile))
}

/// Opens a reader's connection.
pub(crate) fn further(file: &Path, profile: Profile, guard: &Guard) -> Result<crate::reader::Reader, Fault> {
    let inner = || -> Result<Connection, Error> {
        let connection = connect(file, profile, READER_CACHE)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    };
    let connection = inner().map_err(|e| into_fault(e, profile))?;
    Ok(crate::reader::Reader::new(connection, guard.clone()))
}

/// Opens the connection of the thread that copies the log.
pub(crate) fn checkpointer(file: &Path, profile: Profile) -> Result<Connection, rusqlite::Error> {
    connect(file, profile, READER_CACHE)
}

fn into_fault(error: Error, profile: Profile) -> Fault {
    match error.into_cas(profile.name) {
        ps_core::ports::CasError::Failed(fault) => fault,
        // Opening does no compare-and-swap.
        other => Fault::new(Class::Transient, &format!("{}-failed", profile.name), other.to_string()),
    }
}

fn connect(file: &Path, profile: Profile, cache_kib: i32) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let mut connection = Connection::open_with_flags(file, flags)?;
    patient(&mut connection)?;
    for (option, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
        // Without it a statement whose plan might depend on a parameter is compiled anew each time it is bound.
        (DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true),
    ] {
        connection.set_db_config(option, on)?;
    }
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, profile.max_value)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update_and_check(None, "mmap_size", 0, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Waits for other processes in short steps, so that a lock is found free soon after it is, for at most [`PATIENCE`].
/// The first steps are as short as an ordinary commit.
pub(crate) fn patient(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    const STEP: Duration = Duration::from_millis(1);
    const FIRST: (i32, Duration) = (20, Duration::from_micros(100));
    let steps = i32::try_from(PATIENCE.as_millis()).unwrap_or(i32::MAX);
    connection.busy_handler(Some(move |tried: i32| {
        std::thread::sleep(if tried < FIRST.0 { FIRST.1 } else { STEP });
        tried < steps + FIRST.0
    }))
}

fn is_empty(connection: &Connection) -> Result<bool, rusqlite::Error> {
    let objects = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
    Ok(objects == 0 && number(connection, "application_id")? == 0 && number(connection, "user_version")? == 0)
}

fn verify(connection: &Connection, profile: Profile, guard: &mut Guard) -> Result<(), Error> {
    if number(connection, "application_id")? != profile.application_id {
        return Err(fault::foreign(profile.name, "it is a database of another program").into());
    }
    let version = number(connection, "user_version")?;
    if version != profile.version {
        return Err(fault::version(profile.name, version, profile.version).into());
    }
    guard.check(connection)
}

fn number(connection: &Connection, pragma: &str) -> Result<i32, rusqlite::Error> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}

/// Two processes that open a new file at once may find it locked here without SQLite waiting by itself.
fn use_wal(connection: &Connection, profile: Profile) -> Result<(), Error> {
    const STEP: Duration = Duration::from_millis(5);
    let mut waited = Duration::ZERO;
    loop {
        let mode = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(_) => {
                return Err(Fault::new(
                    Class::Misconfigured,
                    &format!("{}-unwritable", profile.name),
                    format!("{}: the volume does not support SQLite's write-ahead log", profile.name),
                )
                .remedy("Use a local file system for the data folder")
                .into());
            }
            Err(e) if waited < PATIENCE && e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {}
            Err(e) => return Err(e.into()),
        }
        std::thread::sleep(STEP);
        waited += STEP;
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
