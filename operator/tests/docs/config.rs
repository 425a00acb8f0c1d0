//! The example configuration and the table of its fields, against the parser itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use ps_operator::config::Config;
use ps_testbed::workspace;

use crate::{quoted, text};

/// The fields that a mapping of the configuration may have, as the parser itself names them; none for a plain value.
fn fields(place: &str) -> Vec<String> {
    let probe = if place.is_empty() { "zzz: 1".to_owned() } else { format!("{place}: {{zzz: 1}}") };
    let refused = Config::parse(&probe, Path::new("probe")).unwrap_err().to_string();
    let Some((_, known)) = refused.split_once("unknown field `zzz`, expected ") else { return Vec::new() };
    let known = known.split(" at line").next().unwrap();
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_example_configuration_is_accepted_and_has_every_field() {
    let path = "examples/standalone/config.yaml";
    Config::load(&workspace().join(path)).unwrap();
    let example = text(path);
    let mentioned = |name: &str, below: bool| {
        let lines = example.lines().filter(|line| line.starts_with("  ") == below);
        lines.map(|line| line.trim_start().trim_start_matches("# ")).any(|line| line.starts_with(&format!("{name}:")))
    };
    let described = quoted(&text("docs/operations.md"));
    let top = fields("");
    assert!(top.len() > 10, "{top:?}");
    let mut count = 0;
    for name in top {
        assert!(mentioned(&name, false), "{path} lacks {name}");
        let inner = fields(&name);
        assert!(!inner.is_empty() || described.contains(&name), "docs/operations.md lacks {name}");
        for inner in inner {
            assert!(mentioned(&inner, true), "{path} lacks {name}.{inner}");
            assert!(described.contains(&format!("{name}.{inner}")), "docs/operations.md lacks {name}.{inner}");
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}

#[test]
fn a_configuration_can_be_checked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yaml");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_password-sender-operator"));
        command.arg("check-config").arg("--config").arg(&file).output().unwrap().status.code()
    };
    assert_eq!(check("publicUrl: https://links.example.com\noutbox: out\n"), Some(0));
    assert_eq!(check("publicUrl: https://links.example.com\n"), Some(1), "exit codes are as docs/operations.md says");
}

#[test]
fn fields_are_what_the_parser_knows() {
    assert_eq!(fields("smtp").first().map(String::as_str), Some("host"));
    assert_eq!(fields("sender"), Vec::<String>::new());
}
