//! Unreachable files: a `.rs` that no `mod` names is not compiled, and its tests do not run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use ps_testbed::workspace;

use super::{Findings, tracked_files};
use crate::metadata::Metadata;

pub(super) fn check() -> Result<Findings> {
    let metadata = Metadata::load()?;
    let mut reached = BTreeSet::new();
    for target in metadata.members().flat_map(|package| &package.targets) {
        let root_of_folder = !target.kind.iter().any(|kind| kind == "custom-build");
        follow(&target.src_path, root_of_folder, &mut reached)?;
    }
    let mut errors = Vec::new();
    for path in tracked_files()?.iter().filter(|path| path.ends_with(".rs")) {
        if !reached.contains(&workspace().join(path)) {
            errors.push(format!("{path} is not part of any crate: no `mod` leads to it"));
        }
    }
    Ok(Findings { errors, warnings: Vec::new() })
}

/// Notes a file and all that its `mod` and `include!` lines lead to. `root`: its modules lie beside it (lib.rs, main.rs,
/// mod.rs, tests/x.rs), not in a folder of its name.
fn follow(file: &Path, root: bool, reached: &mut BTreeSet<PathBuf>) -> Result<()> {
    if !file.is_file() || !reached.insert(file.to_owned()) {
        return Ok(());
    }
    let beside = file.parent().unwrap_or(file);
    let below = if root { beside.to_owned() } else { beside.join(file.file_stem().unwrap_or_default()) };
    for found in mentions(&fs::read_to_string(file)?) {
        match found {
            Mention::Module(name) => {
                follow(&below.join(format!("{name}.rs")), false, reached)?;
                follow(&below.join(&name).join("mod.rs"), true, reached)?;
            }
            Mention::Path(path) => follow(&plain(&beside.join(path)), true, reached)?,
            Mention::Include(path) => follow(&beside.join(path), false, reached)?,
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Mention {
    /// `mod name;`
    Module(String),
    /// `#[path = "…"] mod name;`
    Path(String),
    /// `include!("…")`
    Include(String),
}

fn mentions(text: &str) -> Vec<Mention> {
    let mut found = Vec::new();
    let mut path = None;
    for text in text.lines().map(str::trim) {
        if let Some(rest) = text.strip_prefix("#[path = \"") {
            path = rest.split('"').next().map(str::to_owned);
        } else if let Some(name) = module_name(text) {
            found.push(path.take().map_or(Mention::Module(name), Mention::Path));
        } else if let Some((_, rest)) = text.split_once("include!(\"") {
            found.extend(rest.split('"').next().map(|file| Mention::Include(file.to_owned())));
        }
    }
    found
}

/// The name in `mod name;`, with any visibility or attribute before it.
fn module_name(text: &str) -> Option<String> {
    let declaration = text.strip_suffix(';')?;
    let (before, name) = declaration.rsplit_once("mod ")?;
    let before = before.trim_end();
    let fine = before.is_empty() || before.ends_with("pub") || before.ends_with(')') || before.ends_with(']');
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (fine && plain && !before.starts_with("//")).then(|| name.to_owned())
}

/// The path without `..`, where it exists.
fn plain(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_found() {
        let text = "mod a;\npub(crate) mod b;\n#[cfg(test)] mod c;\n// mod d;\nmod e {\n#[path = \"x/y.rs\"]\nmod f;\nlet mod_g = 1;\n    include!(\"h.rs\");\n";
        let module = |name: &str| Mention::Module(name.to_owned());
        let expected =
            [module("a"), module("b"), module("c"), Mention::Path("x/y.rs".into()), Mention::Include("h.rs".into())];
        assert_eq!(mentions(text), expected);
    }

    #[test]
    fn modules_are_followed_beside_and_below() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        let root = write("lib.rs", "mod a;\nmod b;\n");
        let expected = [
            root.clone(),
            write("a.rs", "mod c;"),
            write("a/c.rs", ""),
            write("b/mod.rs", "mod d;"),
            write("b/d.rs", ""),
        ];
        write("orphan.rs", "");
        let mut reached = BTreeSet::new();
        follow(&root, true, &mut reached).unwrap();
        assert_eq!(reached, expected.into_iter().collect());
    }
}
