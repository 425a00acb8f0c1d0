//! `docs/plugin.md`, followed: its commands in order, on a server that knows nothing yet.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use ps_testbed::{OpenBao, Vendor, workspace};
use serde_json::Value;

use crate::programs::beside;
use crate::stand::{COMMAND, Holder, PUBLIC_URL, program};

/// The commands in fenced blocks.
fn commands() -> Vec<String> {
    let text = std::fs::read_to_string(workspace().join("docs/plugin.md")).unwrap();
    let (mut found, mut inside) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside {
            found.push(line.to_owned());
        }
    }
    found
}

/// A shell in this folder, with the programs of the document and a server's address and token.
fn shell(bao: &OpenBao, folder: &Path, line: &str) -> Output {
    let path = std::env::join_paths(
        [folder, program().parent().unwrap()]
            .map(Path::to_owned)
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    )
    .unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(folder).env("PATH", path).env("HOME", folder).stdin(Stdio::null());
    for vendor in ["BAO", "VAULT"] {
        command.env(format!("{vendor}_ADDR"), bao.address()).env(format!("{vendor}_TOKEN"), bao.root_token());
        command.env(format!("{vendor}_FORMAT"), "json");
    }
    command.output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_document_work() {
    let bao = OpenBao::raft().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let sha256 = bao.install_plugin(COMMAND, &program()).unwrap();
    std::os::unix::fs::symlink(Vendor::chosen().ensure().unwrap(), folder.path().join("bao")).unwrap();
    std::fs::copy(program(), folder.path().join(COMMAND)).unwrap();
    beside("password-sender");
    for (name, text) in [
        ("pw.txt", "hunter2"),
        ("phrase.txt", "correct horse battery staple"),
        ("user.txt", "alice"),
        (&format!("{COMMAND}.sha256"), &format!("{sha256}  {COMMAND}")),
    ] {
        std::fs::write(folder.path().join(name), format!("{text}\n")).unwrap();
    }
    let issues = |line: &str| line.starts_with("bao write send/link/");
    let sends = |line: &str| line.starts_with("password-sender send ");
    let mut lines: Vec<String> = commands()
        .into_iter()
        .filter(|line| line.starts_with("bao ") || line.starts_with("sha256sum ") || sends(line))
        .collect();
    // What the document begins with needs what it tells after that.
    lines.sort_by_key(|line| issues(line) || sends(line));
    assert_eq!(lines.len(), 7, "{lines:?}");
    let mut answers = HashMap::new();
    for line in &lines {
        // Without a terminal, what is asked for comes from files.
        let unattended = line.replace("-f password --passphrase", "-f password=@pw.txt --passphrase-file phrase.txt");
        let run = if sends(line) {
            assert_ne!(&unattended, line);
            format!("{unattended} --no-input --json")
        } else {
            unattended
        };
        let output = shell(&bao, folder.path(), &run);
        assert!(output.status.success(), "{run}: {}", String::from_utf8_lossy(&output.stderr));
        answers.insert(line.clone(), output.stdout);
    }
    let answer = |wanted: &dyn Fn(&str) -> bool| -> Value {
        let (_, answer) = answers.iter().find(|(line, _)| wanted(line)).unwrap();
        serde_json::from_slice(answer).unwrap()
    };
    let issued = Holder::from_answer(&answer(&issues));
    let sent = answer(&sends);
    let fragment = sent["url"].as_str().unwrap().strip_prefix(&format!("{PUBLIC_URL}/#")).unwrap().to_owned();
    let sealed = ps_envelope::Opener::from_fragment(&fragment).unwrap().id().to_string();
    for id in [&issued.id, &sealed] {
        let read = bao.call("GET", &format!("send/links/{id}"), None).await.unwrap();
        assert_eq!(read["data"]["state"], "open");
    }
    // The role that the document makes asks for the passphrase that its commands give.
    let line = lines.iter().find(|line| issues(line)).unwrap().replace(" passphrase=@phrase.txt", "");
    let refused = shell(&bao, folder.path(), &line);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("requires a passphrase"), "{said}");
}
