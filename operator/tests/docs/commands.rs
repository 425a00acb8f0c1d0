//! Every command of the documents is run by something, or has a reason; and the operator knows its options.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use ps_audit::{FileTrail, Mirror, genesis};
use ps_core::audit::{Event, EventKind, Writer};
use ps_core::ids::Key;
use ps_core::ports::AuditSink as _;
use ps_core::time::Timestamp;
use ps_testbed::workspace;

use crate::{fenced, text};

/// Why a command of the documents can be trusted.
enum Kept {
    /// Something runs it: this file holds this text.
    By(&'static str, &'static str),
    /// Nothing does, for this reason. The operator's options are compared with its help all the same.
    Not(&'static str),
}
use Kept::{By, Not};

/// A test runs these lines of docs/plugin.md as they stand there.
const PLUGIN: Kept = By("plugin/tests/plugin/document.rs", "fn the_commands_of_the_document_work");

/// Every command in a fenced block of these documents.
const COMMANDS: &[(&str, Kept)] = &[
    ("cargo xtask demo", Not("it waits for a person; the same without one is the next")),
    ("cargo xtask demo --open-for-me", By("xtask/src/test/run.rs", "\"--open-for-me\"")),
    ("cargo xtask test", By(".ci/run", "cargo xtask test")),
    ("cargo xtask check", By(".ci/run", "cargo xtask check")),
    (
        "cargo build --release -p ps-operator -p ps-gateway -p ps-cli",
        Not("it takes minutes; CI builds the same in debug"),
    ),
    (
        "password-sender-operator standalone --config config.yaml --manifests manifests --data data",
        By("operator/tests/support/stand.rs", "\"standalone\""),
    ),
    (
        "password-sender-operator standalone --config /etc/password-sender/config.yaml --manifests /var/lib/password-sender/manifests --data /var/lib/password-sender/data",
        By("operator/tests/support/stand.rs", "\"standalone\""),
    ),
    (
        "password-sender-operator check-config --config /etc/password-sender/config.yaml",
        Not("it reads files of an installed system; this test runs it on others"),
    ),
    (
        "password-sender-operator preview-mail --config /etc/password-sender/config.yaml --kind link --locale de --html",
        By("operator/tests/docs/preview.rs", "\"preview-mail\""),
    ),
    (
        "password-sender-operator restore accept --config /etc/password-sender/config.yaml --data /var/lib/password-sender/data",
        By("operator/tests/flows/restore.rs", "[\"restore\", \"accept\"]"),
    ),
    ("password-sender check /var/lib/password-sender/manifests", By("cli/tests/cli/check.rs", "[\"check\", ")),
    (
        "password-sender audit verify /var/lib/password-sender/data/audit.jsonl",
        By("cli/tests/cli/trail.rs", "[\"audit\", \"verify\"]"),
    ),
    (
        "password-sender audit verify operator-0/audit.jsonl operator-1/audit.jsonl",
        By("cli/tests/cli/trail.rs", "fn the_trails_of_several_pods"),
    ),
    (
        "password-sender-gateway --links links --listen 127.0.0.1:8080 --page-config page.yaml",
        By("operator/gateway/tests/gateway/page.rs", "\"--page-config\""),
    ),
    ("password-sender page --check https://links.example.com/", By("cli/tests/cli/page.rs", "[\"page\", \"--check\"")),
    (
        "bao write send/link/onboarding username=alice password=@pw.txt title=\"VPN access\" ttl=2h passphrase=@phrase.txt",
        PLUGIN,
    ),
    ("sha256sum -c password-sender-plugin.sha256", PLUGIN),
    (
        "bao plugin register -sha256=\"$(sha256sum password-sender-plugin | cut -d' ' -f1)\" -command=password-sender-plugin secret password-sender",
        PLUGIN,
    ),
    ("bao secrets enable -path=send password-sender", PLUGIN),
    ("bao write send/config public_url=https://links.example.com default_ttl=4h max_ttl=72h", PLUGIN),
    ("bao write send/roles/onboarding max_ttl=8h require_passphrase=true", PLUGIN),
    (
        "password-sender send --to vault:send --role onboarding --title \"VPN access\" -f username=@user.txt -f password --passphrase",
        PLUGIN,
    ),
    (
        "password-sender-gateway --store vault --vault-addr https://vault.example.com:8200 --vault-token-file /run/gateway/token --vault-mount send --listen 127.0.0.1:8080",
        By("plugin/tests/plugin/programs.rs", "fn a_gateway_serves_the_links_of_a_mount_and_nothing_else"),
    ),
    (
        "password-sender-operator vault-agent --vault-addr https://vault.example.com:8200 --vault-token-file /etc/password-sender/vault-agent.token --vault-mount send",
        By("plugin/tests/plugin/programs.rs", "[\"vault-agent\", \"--vault-addr\""),
    ),
    ("sed -n 7p audit.jsonl | tr -d '\\n' | sha256sum", By("operator/tests/docs/commands.rs", "fn an_auditor_needs")),
    (
        "sed -n 7p audit.jsonl | sed 's/,\"sum\":\"[0-9a-f]*\"}$/}/' | tr -d '\\n' | sha256sum",
        By("operator/tests/docs/commands.rs", "fn an_auditor_needs"),
    ),
];

#[test]
fn every_command_is_run_or_has_a_reason() {
    let mut unused: BTreeSet<&str> = COMMANDS.iter().map(|(line, _)| *line).collect();
    for document in ["README.md", "docs/operations.md", "docs/plugin.md", "examples/standalone/README.md"] {
        let text = text(document);
        let blocks = [fenced(&text, "sh"), fenced(&text, "console")].concat();
        for line in
            blocks.iter().flat_map(|b| b.lines()).map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            assert!(COMMANDS.iter().any(|(known, _)| *known == line), "{document}: {line:?} is not in COMMANDS");
            unused.remove(line);
            check_options(line);
        }
    }
    assert_eq!(unused, BTreeSet::new(), "no document has these any more");
    for (line, kept) in COMMANDS {
        match kept {
            By(file, needle) => {
                assert!(text(file).contains(needle), "{line}: {file} does not hold {needle:?} any more")
            }
            Not(reason) => assert!(!reason.is_empty(), "{line}"),
        }
    }
}

/// The operator must know every option that a document gives it.
fn check_options(line: &str) {
    let Some(rest) = line.strip_prefix("password-sender-operator ") else { return };
    let words: Vec<&str> = rest.split_whitespace().take_while(|word| !word.starts_with("--")).collect();
    let help =
        Command::new(env!("CARGO_BIN_EXE_password-sender-operator")).args(&words).arg("--help").output().unwrap();
    assert!(help.status.success(), "{line}");
    let help = String::from_utf8(help.stdout).unwrap();
    for option in rest.split_whitespace().filter(|word| word.starts_with("--")) {
        assert!(help.contains(&format!("{option} ")), "{line}: {option}");
    }
}

/// What a unit starts, without the folder of the program.
fn started(unit: &str) -> Vec<&str> {
    let lines = unit.lines().filter_map(|l| l.strip_prefix("ExecStartPre=").or_else(|| l.strip_prefix("ExecStart=")));
    lines.map(|line| line.strip_prefix("/usr/local/bin/").unwrap()).collect()
}

#[test]
fn the_unit_starts_what_exists() {
    let unit = text("examples/standalone/password-sender-operator.service");
    started(&unit).into_iter().for_each(check_options);
    assert_eq!(started(&unit).len(), 2);
}

#[test]
fn the_unit_of_the_vault_agent_starts_what_exists() {
    let unit = text("examples/plugin/password-sender-vault-agent.service");
    let [line] = started(&unit)[..] else { panic!("{unit}") };
    check_options(line);
    assert!(
        fenced(&text("docs/plugin.md"), "sh").iter().any(|block| block.trim() == line),
        "{line}: as in the document"
    );
    let value = |option: &str| {
        let mut words = line.split_whitespace().skip_while(|word| *word != option);
        words.nth(1).unwrap_or_else(|| panic!("{line} lacks {option}"))
    };
    // What it says must be there first: the token in its file, with a policy that install.sh makes, and the user.
    let of_unit = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let user = of_unit("User=");
    assert!(unit.contains(&format!("/nologin {user}\n")) && unit.contains(&format!("owner {user}, mode 0600")));
    assert_eq!(of_unit("Group="), user);
    assert!(unit.contains(&format!("# {}: a token with the policy send-agent,", value("--vault-token-file"))));
    let install = text("examples/plugin/install.sh");
    assert!(install.contains("for policy in gateway sender agent; do") && install.contains("\"send-$policy\""));
    assert!(text("examples/plugin/agent.hcl").contains(&format!("\"{}/evidence/*\"", value("--vault-mount"))));
    // It has no configuration but these options. A folder's README names what lies there, and nothing else.
    let folder = workspace().join("examples/plugin");
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut there: Vec<String> = names.filter(|name| name != "README.md").collect();
    there.sort();
    let readme = text("examples/plugin/README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| [")?.split_once(']'));
    let mut named: Vec<&str> = rows.map(|(name, _)| name).collect();
    named.sort_unstable();
    assert_eq!(named, there);
}

#[tokio::test]
async fn an_auditor_needs_the_tools_that_are_described_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let trail = FileTrail::open(&file, "LEDGER", Mirror::None).unwrap();
    let event = |seq| Event {
        delivery: Key::new("shop", "a"),
        incarnation: "0011223344556677".into(),
        attempt: 0,
        writer: Writer::Operator,
        seq,
        at: Timestamp::from_secs(1),
        kind: EventKind::Accepted,
        reason: "\"sum\" in a text".into(),
        facts: BTreeMap::new(),
    };
    trail.append(&(0..8).map(event).collect::<Vec<_>>()).await.unwrap();
    let lines = fs::read_to_string(&file).unwrap();
    let line =
        |number: usize| serde_json::from_str::<serde_json::Value>(lines.lines().nth(number - 1).unwrap()).unwrap();
    let says = |command: &str| {
        let output = Command::new("sh").arg("-c").arg(command).current_dir(folder.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
    };
    let described =
        fenced(&text("docs/operations.md"), "sh").into_iter().find(|block| block.contains("sha256sum")).unwrap();
    let commands: Vec<&str> = described.lines().collect();
    assert_eq!(line(8)["prev"], says(commands[0]), "{}", commands[0]);
    assert_eq!(line(7)["sum"], says(commands[1]), "{}", commands[1]);
    assert_eq!(genesis("LEDGER"), "password-sender audit v1 LEDGER", "as docs/operations.md says");
    assert_eq!(line(1)["prev"], says("printf %s 'password-sender audit v1 LEDGER' | sha256sum"));
}
