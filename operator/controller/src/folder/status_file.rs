//! `NAME.status.yaml` beside the manifests: the status for people, and the stamp for the operator.
//!
//! It looks like the object in a cluster, so the same tools read it. It is never read as a manifest; the stamp is the
//! only thing that is read back, because backups of the folder carry it and the Git repository behind it does not.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use ps_api::{API_VERSION, Kind, STAMP_ANNOTATION};
use ps_core::error::{Class, Fault};
use ps_core::ids::{Key, Stamp};
use ps_core::status::{Status, keep_transition_times};
use serde::{Deserialize, Serialize};

use super::names::status_file;

/// Largest status file that is read, in bytes; ours have a few kilobytes.
const MOST: u64 = 256 * 1024;
/// First line of each file.
const HEADER: &str = "# Written by password-sender. It is not a manifest: changes here are overwritten.\n";

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Content {
    api_version: String,
    kind: String,
    metadata: Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<serde_yaml::Value>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
    generation: i64,
    annotations: std::collections::BTreeMap<String, String>,
}

/// What is to be written.
pub(super) struct Update<'a> {
    pub(super) key: &'a Key,
    pub(super) uid: &'a str,
    pub(super) generation: i64,
    /// `None` keeps the stamp that is there.
    pub(super) stamp: Option<&'a Stamp>,
    /// `None` keeps the status that is there.
    pub(super) status: Option<&'a Status>,
}

/// The stamp in an object's status file. Junk, or a file of another object's name inside, is read for what it says: a
/// stamp that was made for another name shows itself.
pub(super) fn stamp(folder: &Path, key: &Key) -> Option<Stamp> {
    head(&text(folder, key)?)?.metadata.annotations.remove(STAMP_ANNOTATION).map(Stamp::from_annotation)
}

/// Writes what changed. Atomic: a reader sees the old file or the new one. The stamp is durable when this returns, the
/// status need not be: it is a projection.
///
/// # Errors
/// Transient, code `status-not-written`.
pub(super) fn write(folder: &Path, update: &Update<'_>) -> Result<(), Fault> {
    let name = file_name(update.key)?;
    let there = text(folder, update.key);
    let old = there.as_deref().and_then(|text| whole(text).or_else(|| head(text)));
    let mut new =
        Content { api_version: API_VERSION.to_owned(), kind: Kind::Delivery.as_str().to_owned(), ..Content::default() };
    new.metadata.name.clone_from(&update.key.name);
    new.metadata.namespace.clone_from(&update.key.namespace);
    update.uid.clone_into(&mut new.metadata.uid);
    new.metadata.generation = update.generation;
    if let Some(old) = old {
        new.metadata
            .annotations
            .extend(old.metadata.annotations.into_iter().filter(|(name, _)| name == STAMP_ANNOTATION));
        new.status = old.status;
    }
    if let Some(stamp) = update.stamp {
        new.metadata.annotations.insert(STAMP_ANNOTATION.to_owned(), stamp.as_str().to_owned());
    }
    if let Some(status) = update.status {
        let mut status = status.clone();
        if let Some(shown) = new.status.take().and_then(|shown| serde_yaml::from_value::<Status>(shown).ok()) {
            keep_transition_times(&mut status, &shown);
        }
        new.status = Some(serde_yaml::to_value(status).map_err(|_| failed(&name, "it has no YAML form"))?);
    }
    let text = serde_yaml::to_string(&new).map_err(|_| failed(&name, "it has no YAML form"))?;
    let text = format!("{HEADER}{text}");
    if there.is_some_and(|there| there == text) {
        return Ok(());
    }
    replace(folder, &name, &text, update.stamp.is_some()).map_err(|e| failed(&name, &e.kind().to_string()))
}

/// Removes an object's status file; one that is not there is no error.
///
/// # Errors
/// Transient, code `status-not-written`.
pub(super) fn remove(folder: &Path, key: &Key) -> Result<(), Fault> {
    let name = file_name(key)?;
    match std::fs::remove_file(folder.join(&name)) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(failed(&name, &e.kind().to_string())),
    }
}

/// The text of an object's status file; `None` if there is none, or none that could be ours.
fn text(folder: &Path, key: &Key) -> Option<String> {
    let path = folder.join(status_file(key)?);
    let meta = std::fs::metadata(&path).ok()?;
    if !meta.is_file() || meta.len() > MOST {
        return None;
    }
    std::fs::read_to_string(path).ok()
}

fn whole(text: &str) -> Option<Content> {
    serde_yaml::from_str(text).ok()
}

/// Everything but the status, which is the last and the longest part of what we write.
fn head(text: &str) -> Option<Content> {
    let cut = text.split_once("\nstatus:").and_then(|(head, _)| whole(head));
    // Somebody may have sorted it otherwise.
    cut.filter(|content| content.metadata.annotations.contains_key(STAMP_ANNOTATION)).or_else(|| whole(text))
}

fn replace(folder: &Path, name: &str, text: &str, durable: bool) -> std::io::Result<()> {
    let temporary = folder.join(format!(".{name}.new"));
    let make = || std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary);
    let mut file = match make() {
        // What a crash left behind; made anew, so that a link put there by somebody else is not followed.
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(&temporary)?;
            make()?
        }
        made => made?,
    };
    file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.write_all(text.as_bytes())?;
    if durable {
        file.sync_all()?;
    }
    std::fs::rename(&temporary, folder.join(name))?;
    if durable {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn file_name(key: &Key) -> Result<String, Fault> {
    status_file(key).ok_or_else(|| failed(&key.to_string(), "the name is too long for a file"))
}

fn failed(name: &str, why: &str) -> Fault {
    Fault::new(Class::Transient, "status-not-written", format!("{name} can't be written: {why}"))
        .remedy("Let the operator's user write to the manifests folder, and see that the disk has room")
}

#[cfg(test)]
mod tests {
    use ps_core::status::Condition;

    use super::*;

    #[test]
    fn stamp_and_status_do_not_overwrite_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::new("shop", "a");
        let one = Stamp::new(&key, [1; 16]);
        let status = Status { summary: "Delivered".into(), ..Status::default() };
        let base = Update { key: &key, uid: "u", generation: 2, stamp: None, status: None };
        assert_eq!(stamp(folder.path(), &key), None);
        write(folder.path(), &Update { stamp: Some(&one), ..base }).unwrap();
        write(folder.path(), &Update { status: Some(&status), ..base }).unwrap();
        assert_eq!(stamp(folder.path(), &key), Some(one.clone()));
        let text = std::fs::read_to_string(folder.path().join("shop_a.status.yaml")).unwrap();
        assert!(text.contains("summary: Delivered") && text.contains("kind: SecretDelivery"), "{text}");
        let two = Stamp::new(&key, [2; 16]);
        write(folder.path(), &Update { stamp: Some(&two), ..base }).unwrap();
        assert_eq!(stamp(folder.path(), &key), Some(two));
        let text = std::fs::read_to_string(folder.path().join("shop_a.status.yaml")).unwrap();
        assert!(text.contains("summary: Delivered"), "{text}");
        let mode = std::fs::metadata(folder.path().join("shop_a.status.yaml")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left");
        remove(folder.path(), &key).unwrap();
        remove(folder.path(), &key).unwrap();
        assert_eq!(stamp(folder.path(), &key), None);
    }

    #[test]
    fn the_stamp_is_read_whatever_the_status_says_and_wherever_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::new("default", "a");
        let file = folder.path().join("a.status.yaml");
        let meta = "metadata: {annotations: {passwordsender.io/stamp: s}}";
        let seen = Some(Stamp::from_annotation("s"));
        for text in [
            format!("{meta}\nstatus: {{summary: Delivered}}\n"),
            format!("status: {{summary: Delivered}}\n{meta}\n"),
            format!("kind: x\nstatus:\n  summary: Delivered\n{meta}\n"),
            format!("{meta}\nstatus: [broken\n"),
        ] {
            std::fs::write(&file, &text).unwrap();
            assert_eq!(stamp(folder.path(), &key), seen, "{text}");
        }
    }

    #[test]
    fn a_condition_that_stays_keeps_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::new("default", "a");
        let shown = |ready: &str, at: &str| {
            let ready = Condition {
                r#type: "Ready".into(),
                status: ready.into(),
                reason: "Working".into(),
                message: at.into(),
                observed_generation: 1,
                last_transition_time: at.into(),
            };
            let status = Status { conditions: vec![ready], ..Status::default() };
            write(folder.path(), &Update { key: &key, uid: "u", generation: 1, stamp: None, status: Some(&status) })
                .unwrap();
            let text = std::fs::read_to_string(folder.path().join("a.status.yaml")).unwrap();
            let status: Status = serde_yaml::from_value(whole(&text).unwrap().status.unwrap()).unwrap();
            (status.conditions[0].message.clone(), status.conditions[0].last_transition_time.clone())
        };
        let told = |message: &str, since: &str| (message.to_owned(), since.to_owned());
        assert_eq!(shown("False", "monday"), told("monday", "monday"));
        assert_eq!(shown("False", "tuesday"), told("tuesday", "monday"));
        assert_eq!(shown("True", "wednesday"), told("wednesday", "wednesday"));
    }

    #[test]
    fn the_same_again_writes_nothing() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let key = Key::new("default", "a");
        let status = Status { summary: "Delivered".into(), ..Status::default() };
        let update = Update { key: &key, uid: "u", generation: 1, stamp: None, status: Some(&status) };
        let inode = || std::fs::metadata(folder.path().join("a.status.yaml")).unwrap().ino();
        write(folder.path(), &update).unwrap();
        let first = inode();
        write(folder.path(), &update).unwrap();
        assert_eq!(inode(), first);
    }

    #[test]
    fn junk_is_no_stamp_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::new("default", "a");
        for junk in
            ["", "a: [", "[]", "metadata: 5", "metadata: {annotations: {passwordsender.io/stamp: [1]}}", "\u{0}"]
        {
            std::fs::write(folder.path().join("a.status.yaml"), junk).unwrap();
            assert_eq!(stamp(folder.path(), &key), None, "{junk}");
            let one = Stamp::new(&key, [1; 16]);
            write(folder.path(), &Update { key: &key, uid: "u", generation: 1, stamp: Some(&one), status: None })
                .unwrap();
            assert_eq!(stamp(folder.path(), &key), Some(one));
        }
    }
}
