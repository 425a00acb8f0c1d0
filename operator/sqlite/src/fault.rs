//! What SQLite's errors mean to whoever operates this. SQLite's own texts are left out: they may quote stored values.

use ps_core::error::{Class, Fault};
use ps_core::ports::CasError;
use rusqlite::ErrorCode;

/// Why a piece of work did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The work's own answer.
    #[error(transparent)]
    Said(#[from] CasError),
    /// SQLite refused.
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Said(CasError::Failed(fault))
    }
}

impl Error {
    /// The answer to the caller; `name` is the database's.
    pub(crate) fn into_cas(self, name: &str) -> CasError {
        match self {
            Self::Said(said) => said,
            Self::Sql(error) => CasError::Failed(of(name, &error)),
        }
    }
}

/// The fault that an SQLite error stands for.
pub(crate) fn of(name: &str, error: &rusqlite::Error) -> Fault {
    let number = error.sqlite_error().map_or(0, |e| e.extended_code);
    let (word, class, what, remedy) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => (
            "busy",
            Class::Transient,
            "another process holds the database",
            "If it lasts, restart the process that holds it",
        ),
        Some(ErrorCode::DiskFull) => {
            ("disk-full", Class::Transient, "the disk is full", "Make room on the volume that holds the data folder")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => (
            "unwritable",
            Class::Misconfigured,
            "the database file cannot be opened or written",
            "Give this process's user the data folder, and see that it holds no symbolic links",
        ),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => (
            "corrupt",
            Class::Permanent,
            "the database file is damaged or is not a database",
            "Restore it from a backup, or move it away; deliveries whose records are lost are rotated",
        ),
        Some(ErrorCode::SystemIoFailure) => (
            "io",
            Class::Transient,
            "reading or writing the disk failed",
            "Check the volume that holds the data folder",
        ),
        _ => ("failed", Class::Transient, "the database refused", "Look up the number among SQLite's result codes"),
    };
    Fault::new(class, &format!("{name}-{word}"), format!("{name}: {what} (SQLite {number})")).remedy(remedy)
}

/// The file, or something in it, is not ours.
pub(crate) fn foreign(name: &str, what: &str) -> Fault {
    Fault::new(
        Class::Permanent,
        &format!("{name}-schema-foreign"),
        format!("{name}: {what}"),
    )
    .remedy("Somebody else has written this file: move it away and look at it; deliveries whose records are lost are rotated")
}

/// The file was written by another version.
pub(crate) fn version(name: &str, found: i32, ours: i32) -> Fault {
    Fault::new(
        Class::Permanent,
        &format!("{name}-version"),
        format!("{name}: the file has schema version {found}, this program writes {ours}"),
    )
    .remedy("Run the version of the program that wrote it, or a newer one that can migrate it")
}

/// The folder or the file is not as it should be.
pub(crate) fn path(name: &str, what: &str, error: &std::io::Error) -> Fault {
    Fault::new(Class::Misconfigured, &format!("{name}-unwritable"), format!("{name}: {what}: {}", error.kind()))
        .remedy("Give this process's user the data folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_nothing_that_sqlite_quotes() {
        let error = rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CONSTRAINT),
            Some("cannot store hunter2".into()),
        );
        let fault = of("store", &error);
        assert!(!fault.to_string().contains("hunter2"));
        assert_eq!(fault.code, "store-failed");
    }

    #[test]
    fn tells_whose_turn_it_is() {
        for (number, code, class) in [
            (rusqlite::ffi::SQLITE_BUSY, "x-busy", Class::Transient),
            (rusqlite::ffi::SQLITE_FULL, "x-disk-full", Class::Transient),
            (rusqlite::ffi::SQLITE_CORRUPT, "x-corrupt", Class::Permanent),
            (rusqlite::ffi::SQLITE_NOTADB, "x-corrupt", Class::Permanent),
            (rusqlite::ffi::SQLITE_CANTOPEN, "x-unwritable", Class::Misconfigured),
        ] {
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(number), None);
            let fault = of("x", &error);
            assert_eq!((fault.code.as_str(), fault.class), (code, class));
            assert!(!fault.remedy.is_empty());
        }
    }
}
