//! Files that users see: the generated CRDs, and every example.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a panic in a test is its failure report"
)]

use std::path::{Path, PathBuf};

use ps_api::{Limits, Object, cluster_connection, connection, crds, parse, read, resolve};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn yaml_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yaml_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            found.push(path);
        }
    }
}

#[test]
fn the_committed_crds_are_the_generated_ones() {
    assert_eq!(crds(), crds());
    let mut committed = Vec::new();
    yaml_files(&workspace().join("crds"), &mut committed);
    assert_eq!(committed.len(), crds().len(), "crds/ holds a file that nothing generates");
    for (name, yaml) in crds() {
        let there = std::fs::read_to_string(workspace().join("crds").join(&name)).unwrap_or_default();
        assert!(there == yaml, "crds/{name} is not what the types say: run `cargo run -p ps-api --example crds`");
    }
}

#[test]
fn every_example_parses_and_resolves() {
    let mut files = Vec::new();
    yaml_files(&workspace().join("examples"), &mut files);
    assert!(files.len() >= 6, "examples are missing: {files:?}");
    for file in files {
        // The operator's own configuration; operator/tests/docs checks it.
        if file.ends_with("standalone/config.yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let parsed = read(&text, &Limits::default()).unwrap_or_else(|fault| panic!("{}: {fault}", file.display()));
        assert!(parsed.documents.len() + parsed.foreign.len() > 0, "{} is empty", file.display());
        let objects = parse(&text, &Limits::default()).unwrap_or_else(|fault| panic!("{}: {fault}", file.display()));
        for object in objects {
            match object {
                Object::Delivery(delivery) => drop(resolve(&delivery).unwrap()),
                Object::Connection(object) => drop(connection(&object).unwrap()),
                Object::ClusterConnection(object) => {
                    let names = object.spec.namespaces.clone().unwrap_or_default();
                    assert!(!names.is_empty(), "{}: a connection that nobody may use", file.display());
                    for name in names {
                        drop(cluster_connection(&object, &name, "password-sender", None).unwrap());
                    }
                }
            }
        }
    }
}
