//! Nothing of this machine in the repository: registries, tokens, folders of whoever wrote it.

use std::fs;

use anyhow::Result;
use ps_testbed::workspace;

use super::{Findings, tracked_files};

/// What no file may hold, and why. Written in two parts, so that this file does not find itself.
const NOWHERE: &[(&str, &str, &str)] = &[
    ("/ro", "ot/", "a folder of one machine"),
    ("/wo", "rk/main", "a folder of one machine"),
    ("/wo", "rk/shared", "a folder of one machine"),
    ("_auth", "Token", "a registry's token"),
    ("--index", "-url", "a package registry"),
    ("--extra-index", "-url", "a package registry"),
];
/// The only registry that a Cargo.lock names.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(super) fn check() -> Result<Findings> {
    let mut errors = Vec::new();
    for path in tracked_files()? {
        // What is no UTF-8 is a picture or an archive, and is searched as far as it is text.
        let bytes = fs::read(workspace().join(&path))?;
        errors.extend(judge(&path, &String::from_utf8_lossy(&bytes)));
    }
    Ok(Findings { errors, warnings: Vec::new() })
}

fn judge(path: &str, text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut found = |why: &str| errors.push(format!("{path}:{}: {why}", number + 1));
        for (start, end, why) in NOWHERE {
            let needle = [*start, *end].concat();
            if line.contains(&needle) {
                found(why);
            }
        }
        if home_folder(line) {
            found("a folder of one machine");
        }
        let other_source = line.starts_with("source = ") && !line.contains(CRATES_IO);
        if path.ends_with("Cargo.lock") && other_source {
            found("a source that is not crates.io");
        }
        if path.ends_with("package-lock.json") && line.contains("\"resolved\": \"http") {
            found("a registry's address: write the lock file with omit-lockfile-registry-resolved");
        }
    }
    errors
}

/// A home folder with a name, unless it is a container's made-up one.
fn home_folder(line: &str) -> bool {
    let marker = ["/ho", "me/"].concat();
    line.split(&marker).skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_and_registries_are_found() {
        let root = format!("see {}x", ["/ro", "ot/"].concat());
        let home = format!("see {}me/x", ["/ho", "me/"].concat());
        assert_eq!(judge("a.md", &format!("fine\n{root}\n{home}")).len(), 2);
        assert_eq!(judge("Cargo.lock", &format!("source = \"{CRATES_IO}\"\nsource = \"registry+https://x\"")).len(), 1);
        assert_eq!(judge("w/package-lock.json", "  \"resolved\": \"https://x/y.tgz\"").len(), 1);
        assert_eq!(judge("a.md", "the /tmp folder, and ~/x"), Vec::<String>::new());
    }
}
