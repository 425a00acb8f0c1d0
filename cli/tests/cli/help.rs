//! Help as people see it, frozen. After a change that is meant: `UPDATE_GOLDEN=1 cargo test -p ps-cli --test cli help`.

use std::os::unix::process::CommandExt as _;
use std::path::Path;

use crate::support::{command, run};

#[test]
fn help_is_as_it_was_read_last() {
    let home = tempfile::tempdir().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (name, args) in [
        ("top", &["--help"][..]),
        ("open", &["open", "--help"]),
        ("decline", &["decline", "--help"]),
        ("send", &["send", "--help"]),
        ("audit", &["audit", "--help"]),
        ("audit-verify", &["audit", "verify", "--help"]),
        ("check", &["check", "--help"]),
        ("page", &["page", "--help"]),
        ("completions", &["completions", "--help"]),
    ] {
        let ran = run(command(home.path(), args)).exits(0);
        let golden = folder.join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &ran.out).unwrap();
        }
        assert_eq!(ran.out, std::fs::read_to_string(&golden).unwrap(), "{}", golden.display());
        assert!(ran.out.lines().all(|line| line.chars().count() <= 110), "{name} fits a terminal");
    }
}

#[test]
fn a_plugin_of_kubectl_says_its_own_name() {
    let home = tempfile::tempdir().unwrap();
    let mut plugin = command(home.path(), &["open", "--help"]);
    plugin.arg0("kubectl-password_sender");
    let ran = run(plugin).exits(0);
    assert!(
        ran.out.contains("Usage: kubectl password-sender open")
            && ran.out.contains("| kubectl password-sender open --field"),
        "{}",
        ran.out
    );
}

#[test]
fn versions_completions_and_mistakes() {
    let home = tempfile::tempdir().unwrap();
    let ran = run(command(home.path(), &["--version"])).exits(0);
    assert_eq!(ran.out, format!("password-sender {}\n", env!("CARGO_PKG_VERSION")));
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(command(home.path(), &["completions", shell])).exits(0);
        assert!(ran.out.contains("password-sender") && ran.out.contains("acknowledge"), "{shell}");
    }
    run(command(home.path(), &[])).exits(2);
    run(command(home.path(), &["opne"])).exits(2).says("open");
    run(command(home.path(), &["open", "--passphrase=hunter2 it's"])).exits(2).says("--passphrase");
    run(command(home.path(), &["check"])).exits(2);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let home = tempfile::tempdir().unwrap();
    for args in [&["--help"][..], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = command(home.path(), args);
        command.stdout(writer).stderr(std::process::Stdio::piped());
        let ran: crate::support::Ran = command.spawn().unwrap().wait_with_output().unwrap().into();
        assert_eq!(ran.exits(0).err, "");
    }
}
