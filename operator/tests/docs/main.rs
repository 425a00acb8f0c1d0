//! What the documents say is so: links lead somewhere, commands exist, examples parse, every code, field and metric is described.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

mod codes;
mod commands;
mod config;
mod preview;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ps_api::{Limits, Object, cluster_connection, connection, parse, resolve};
use ps_testbed::workspace;

fn text(path: impl AsRef<Path>) -> String {
    let path = workspace().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Files below a folder of the repository whose name ends so, without what is built or installed.
fn files(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(workspace().join(folder)).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let path = folder.join(&name);
        let is_ours = !["target", "node_modules", ".git", "dist"].contains(&name.as_str());
        if entry.file_type().unwrap().is_dir() && is_ours {
            files(&path, end, found);
        } else if name.ends_with(end) {
            found.push(path);
        }
    }
}

fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(Path::new(""), ".md", &mut found);
    assert!(found.len() > 20, "{found:?}");
    found
}

/// The contents of fenced blocks of a language; indented blocks (in lists) too.
fn fenced(document: &str, language: &str) -> Vec<String> {
    let (mut found, mut block) = (Vec::new(), None::<(bool, String)>);
    for line in document.lines() {
        match (line.trim().strip_prefix("```"), &mut block) {
            (Some(word), None) => block = Some((word == language, String::new())),
            (Some(_), Some(_)) => found.extend(block.take().filter(|(wanted, _)| *wanted).map(|(_, text)| text)),
            (None, Some((_, text))) => text.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    assert!(block.is_none(), "a fenced block has no end");
    found
}

/// The lines outside of fenced blocks.
fn prose(document: &str) -> String {
    let mut inside = false;
    let lines = document.lines().filter(|line| {
        let fence = line.trim().starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What stands in backticks.
fn quoted(document: &str) -> BTreeSet<String> {
    prose(document).split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for path in documents() {
        let document = prose(&text(&path));
        for target in document.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let there = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let is_there = workspace().join(&there).exists();
            let has = |text: &str| {
                prose(text)
                    .lines()
                    .filter_map(|l| l.strip_prefix('#'))
                    .any(|l| anchor(l.trim_start_matches('#')) == heading)
            };
            if !is_there || (!heading.is_empty() && !has(&text(&there))) {
                wrong.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_source_file_that_is_named_exists() {
    let ours = documents().into_iter().filter(|path| path.starts_with("docs") || path == Path::new("README.md"));
    for path in ours {
        for name in quoted(&text(&path)).iter().filter(|name| name.contains('/') && name.ends_with(".rs")) {
            assert!(workspace().join(name).is_file(), "{}: {name}", path.display());
        }
    }
}

#[test]
fn the_manifests_of_the_readme_are_accepted() {
    let blocks = fenced(&text("README.md"), "yaml");
    assert!(!blocks.is_empty());
    for object in blocks.iter().flat_map(|b| parse(b, &Limits::default()).unwrap()) {
        match object {
            Object::Delivery(delivery) => drop(resolve(&delivery).unwrap()),
            Object::Connection(object) => drop(connection(&object).unwrap()),
            Object::ClusterConnection(object) => drop(cluster_connection(&object, "", "", None).unwrap()),
        }
    }
}

#[test]
fn links_and_blocks_are_found() {
    assert_eq!(anchor("Status: what each reason means"), "status-what-each-reason-means");
    let document = "a `b`\n```sh\nc `d`\n```\n  ```yaml\n  e\n  ```\n";
    assert_eq!(fenced(document, "sh"), ["c `d`\n"]);
    assert_eq!(fenced(document, "yaml"), ["  e\n"]);
    assert_eq!(quoted(document), BTreeSet::from(["b".to_owned()]));
}
