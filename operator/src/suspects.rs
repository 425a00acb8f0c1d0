//! Stores that were damaged, put aside for an investigation. They hold ciphertext that nobody erases, so they don't stay
//! for ever.
//!
//! Neither renaming nor removing them is a failpoint, so no crash story is played here: only a damaged store leads to it,
//! and every start does again what an earlier one left undone. Killed before its rename, the damage is found once more;
//! killed between two of them, a write-ahead log may stand beside no database, and SQLite takes none of it into a fresh one.

use std::path::Path;

use anyhow::Context as _;
use ps_core::time::{Span, Timestamp};

const PREFIX: &str = "suspect-";

/// No link of such a store outlives it: a manifest may ask for 30 days at most, and a day to claim again. With an hour for
/// clocks that differ.
const KEPT_FOR: Span = Span::from_secs(31 * 86_400 + 3600);

/// Renames the store's files, so that the next open makes a fresh one. They are kept for an investigation: they hold
/// nothing but ciphertext.
///
/// # Errors
/// If they can't be renamed.
pub fn put_aside(links: &Path) -> anyhow::Result<()> {
    let stamp = crate::clock::now().as_millis();
    for name in [ps_store::FILE.to_owned(), format!("{}-wal", ps_store::FILE), format!("{}-shm", ps_store::FILE)] {
        let from = links.join(&name);
        if from.symlink_metadata().is_ok() {
            let to = links.join(format!("{PREFIX}{stamp}-{name}"));
            std::fs::rename(&from, &to).with_context(|| format!("{} can't be put aside", from.display()))?;
        }
    }
    Ok(())
}

/// Removes those whose links are all past their greatest expiry. What can't be removed is told, and stops nothing: whoever
/// owns the gateway's process can put anything there.
pub fn let_go(links: &Path, now: Timestamp) {
    let entries = match std::fs::read_dir(links) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(kind = %error.kind(), "the folder of links can't be searched for stores that were put aside");
            return;
        }
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(at) = name.to_str().and_then(put_aside_at) else { continue };
        if now.since(at) < KEPT_FOR {
            continue;
        }
        match std::fs::remove_file(entry.path()) {
            Ok(()) => tracing::info!(file = %name.display(), "removed: no link in it could be open any more"),
            Err(error) => tracing::warn!(file = %name.display(), kind = %error.kind(), "it could not be removed"),
        }
    }
}

/// When a file of this name was put aside; `None` if it was not.
fn put_aside_at(name: &str) -> Option<Timestamp> {
    let (stamp, file) = name.strip_prefix(PREFIX)?.split_once('-')?;
    file.starts_with(ps_store::FILE).then(|| stamp.parse().map(Timestamp::from_millis).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn names(links: &Path) -> Vec<String> {
        let names = std::fs::read_dir(links).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_put_aside_goes_when_none_of_its_links_could_be_open() {
        let folder = tempfile::tempdir().unwrap();
        let links = folder.path();
        for name in ["links.db", "links.db-wal", "links.db-shm"] {
            std::fs::write(links.join(name), "damaged").unwrap();
        }
        let before = clock::now();
        put_aside(links).unwrap();
        let after = clock::now();
        std::fs::write(links.join("links.db"), "fresh").unwrap();
        let aside = names(links);
        assert_eq!(aside.len(), 4, "{aside:?}");
        assert_eq!(aside.iter().filter(|name| put_aside_at(name).is_some()).count(), 3, "{aside:?}");

        let_go(links, after);
        let_go(links, before + KEPT_FOR - Span::from_secs(1));
        assert_eq!(names(links), aside, "their time is not over");
        let_go(links, after + KEPT_FOR);
        assert_eq!(names(links), ["links.db"]);
    }

    #[test]
    fn nothing_else_is_removed_and_what_resists_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let links = folder.path();
        let kept =
            ["links.db", "suspect-", "suspect-1", "suspect-1-else", "suspect-x-links.db", "suspicion-1-links.db"];
        for name in kept.into_iter().chain(["suspect-2-links.db", "suspect-2-links.db-wal"]) {
            std::fs::write(links.join(name), "something").unwrap();
        }
        // Whoever owns the gateway's process made this.
        std::fs::create_dir(links.join("suspect-1-links.db")).unwrap();
        let_go(links, clock::now());
        let mut left: Vec<&str> = kept.into_iter().chain(["suspect-1-links.db"]).collect();
        left.sort_unstable();
        assert_eq!(names(links), left);
        let_go(&links.join("nowhere"), clock::now());
    }
}
