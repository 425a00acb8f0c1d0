//! What the operator writes, for people and for machines, and what it keeps the system from writing about it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use ps_testbed::process::Process;
use ps_testbed::{Testbed, free_port, unique, wait_until};
use serde_json::{Map, Value, json};

use crate::support::{KvSource, SOON, Setup, Stand, kv_delivery, program, shared_smtp};

/// One delivery, from its manifest to the proof, and an orderly end. Answers who got the mail.
async fn deliver(stand: &Stand) {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    stand.connect(bao, bao.address(), &source.policy()).await;
    let to = format!("{}@v.example", unique("log"));
    stand.apply("one", &kv_delivery("one", &to, &source, "1h", "1s", json!({})));
    assert_eq!(stand.recipient(&to).await.open().await["password"], source.password);
    stand.wait_rotated("one", SOON).await;
    stand.stop();
}

/// Lines that are one JSON object each.
fn objects(text: &str) -> Vec<Map<String, Value>> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
    text.lines().map(parse).collect()
}

/// A line of the log, whoever speaks: everything side by side, under the same names.
fn assert_uniform(line: &Map<String, Value>) {
    for name in ["timestamp", "level", "message"] {
        assert!(line.get(name).is_some_and(Value::is_string), "{name}: {line:?}");
    }
    let level = line["level"].as_str().unwrap();
    assert!(["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level), "{line:?}");
    assert!(!line.contains_key("fields") && !line.contains_key("target"), "{line:?}");
    assert!(line.values().all(|value| !value.is_object() && !value.is_array()), "{line:?}");
}

#[tokio::test]
async fn in_json_every_line_is_one_flat_object_and_audit_lines_go_to_standard_output() {
    let stand = Stand::prepare(Setup::default(), shared_smtp().await);
    let config = fs::read_to_string(stand.path("config.yaml")).unwrap();
    let json = config.replace("log: {level: debug}", "log: {level: debug, format: json}");
    assert_ne!(json, config);
    fs::write(stand.path("config.yaml"), json + "audit: {stdout: true}\n").unwrap();
    stand.run().await;
    deliver(&stand).await;

    // Standard output and standard error go to one file here.
    let (audit, log): (Vec<_>, Vec<_>) =
        objects(&stand.log_text()).into_iter().partition(|line| line.contains_key("event") && line.contains_key("id"));
    let kept = objects(&fs::read_to_string(stand.audit_file()).unwrap());
    assert!(kept.len() > 5, "{kept:?}");
    assert_eq!(audit, kept, "the same lines as in the file, in the same order");

    log.iter().for_each(assert_uniform);
    let (gateway, ours): (Vec<_>, Vec<_>) = log.into_iter().partition(|line| line.contains_key("process"));
    assert!(gateway.iter().all(|line| line["process"] == "gateway"), "{gateway:?}");
    let said = |lines: &[Map<String, Value>], message: &str| {
        let found = lines.iter().find(|line| line["message"] == message);
        found.unwrap_or_else(|| panic!("nobody says {message:?}: {lines:#?}")).clone()
    };
    // What each says beside its message stands beside it.
    let confined = said(&gateway, "confined");
    assert!(confined["in_force"].as_str().is_some_and(|text| text.contains("seccomp")), "{confined:?}");
    assert_eq!(said(&gateway, "serving")["level"], "INFO");
    let rests = said(&ours, "rests");
    assert_eq!((&rests["delivery"], &rests["level"]), (&json!("default/one"), &json!("DEBUG")));
}

#[tokio::test]
async fn an_operator_that_can_not_start_says_why_in_one_line_of_the_same_format() {
    let stand = Stand::start(Setup::default()).await;
    let config = fs::read_to_string(stand.path("config.yaml")).unwrap();
    for (format, level) in [("json", "{level: debug, format: json}"), ("text", "{level: debug}")] {
        fs::write(stand.path("config.yaml"), config.replace("{level: debug}", level)).unwrap();
        let mut command = stand.command(&["standalone"]);
        // The address of its admin endpoints is taken.
        command.arg("--manifests").arg(stand.path("manifests")).arg("--data").arg(stand.path("elsewhere"));
        let refused = command.output().unwrap();
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(said.matches("admin.listen").count(), 1, "{said}");
        match format {
            "json" => objects(&said).iter().for_each(assert_uniform),
            _ => assert!(said.contains("ERROR"), "{said}"),
        }
    }
}

#[tokio::test]
async fn for_people_the_gateway_speaks_at_its_own_level() {
    let stand = Stand::start(Setup::default()).await;
    deliver(&stand).await;
    let log = stand.log_text();
    let line = log.lines().find(|line| line.contains("gateway: serving address=")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains(" INFO ") && !line.contains('{'), "{line}");
    assert!(!log.contains("\"event\""), "no audit lines unless asked for");
}

#[tokio::test]
async fn for_people_at_the_default_level_the_terminal_tells_the_story_in_its_order() {
    let stand = Stand::start(Setup { level: "", ..Setup::default() }).await;
    deliver(&stand).await;
    let log = stand.log_text();
    assert!(!log.contains(" DEBUG ") && !log.contains(" TRACE "), "louder than the default:\n{log}");
    assert!(log.contains("running; links lead to"), "{log}");
    let mut last = 0;
    for event in ["Accepted", "Issued", "Delivered", "Claimed", "RotationDue", "RotationBegun", "Rotated"] {
        let named = format!(" event={event} ");
        let found: Vec<(usize, &str)> = log.lines().enumerate().filter(|(_, line)| line.contains(&named)).collect();
        let [(at, line)] = found[..] else { panic!("{event} is told {} times:\n{log}", found.len()) };
        assert!(at > last || event == "Accepted", "{event} is told too early:\n{log}");
        let (before, _) = line.split_once(" delivery=default/one ").unwrap_or_else(|| panic!("{line}"));
        let (_, words) = before.split_once(" INFO ").unwrap_or_else(|| panic!("{line}"));
        assert!(words.trim().contains(' '), "{event} is told in words: {line}");
        last = at;
    }
}

/// Runs it as somebody who is not root: of root's processes the kernel does not show whether they can be dumped.
fn as_somebody(command: &mut Command, folder: &Path) -> u32 {
    const NOBODY: u32 = 65_534;
    let me = fs::metadata("/proc/self").unwrap().uid();
    if me != 0 {
        return me;
    }
    for path in [folder.to_owned(), folder.join("manifests"), folder.join("config.yaml")] {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    command.uid(NOBODY).gid(NOBODY);
    NOBODY
}

#[tokio::test]
async fn it_leaves_no_core_file_and_its_memory_is_nobodys() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("manifests")).unwrap();
    let listen = format!("127.0.0.1:{}", free_port().unwrap());
    let config = format!(
        "publicUrl: http://{listen}\nlisten: {listen}\nadmin: {{listen: \"127.0.0.1:0\"}}\nsender: Team\n\
         outbox: {}\n",
        folder.path().join("outbox").display()
    );
    fs::write(folder.path().join("config.yaml"), config).unwrap();
    let mut command = Command::new(program());
    command.arg("standalone").arg("--config").arg(folder.path().join("config.yaml"));
    command.arg("--manifests").arg(folder.path().join("manifests")).arg("--data").arg(folder.path().join("data"));
    command.current_dir(folder.path());
    let mut other = Command::new("sleep");
    other.arg("600").current_dir(folder.path());
    let somebody = as_somebody(&mut command, folder.path());
    as_somebody(&mut other, folder.path());
    let (operator, other) = (Process::spawn("operator", command).unwrap(), Process::spawn("sleep", other).unwrap());
    let runs = wait_until("it to run", SOON, async || {
        let log = operator.log_text().unwrap();
        assert!(operator.ended().unwrap().is_none(), "{log}");
        log.contains("running; links lead to").then_some(())
    });
    runs.await.unwrap_or_else(|e| panic!("{e}\n{}", operator.log_text().unwrap()));
    let owner = |pid: u32, file: &str| fs::metadata(format!("/proc/{pid}/{file}")).unwrap().uid();
    // The folder is its user's; what is in it is root's where the process can't be dumped.
    assert_eq!((owner(other.pid(), "."), owner(other.pid(), "mem")), (somebody, somebody), "the control");
    assert_eq!((owner(operator.pid(), "."), owner(operator.pid(), "mem")), (somebody, 0));
    let limits = fs::read_to_string(format!("/proc/{}/limits", operator.pid())).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    let core: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(core, ["0", "0", "bytes"]);
}
