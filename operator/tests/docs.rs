//! What the documents say is so: links lead somewhere, commands exist, examples parse, every code, field and metric is described.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ps_api::{Limits, Object, connection, parse, resolve};
use ps_operator::config::Config;
use ps_testbed::workspace;

/// Why a command of the documents can be trusted.
enum Kept {
    /// Something runs it: this file holds this text.
    By(&'static str, &'static str),
    /// Nothing does, for this reason. The operator's options are compared with its help all the same.
    Not(&'static str),
}
use Kept::{By, Not};

/// Every command in a fenced block of these documents.
const COMMANDS: &[(&str, Kept)] = &[
    ("cargo xtask demo", Not("it waits for a person; the same without one is the next")),
    ("cargo xtask demo --open-for-me", By("xtask/src/demo.rs", "open_for_me")),
    ("cargo xtask test", By(".ci/run", "cargo xtask test")),
    ("cargo xtask check", By(".ci/run", "cargo xtask check")),
    ("cargo build --release -p ps-operator -p ps-gateway -p ps-cli", Not("it takes minutes; CI builds the same in debug")),
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
        "password-sender-operator restore accept --config /etc/password-sender/config.yaml --data /var/lib/password-sender/data",
        Not("the flows' restore test is to run it"),
    ),
    ("password-sender check /var/lib/password-sender/manifests", By("cli/src/help.rs", "{program} check manifests/")),
    ("password-sender audit verify /var/lib/password-sender/data/audit.jsonl", By("xtask/src/demo.rs", "\"audit\", \"verify\"")),
    ("sed -n 7p audit.jsonl | tr -d '\\n' | sha256sum", By("operator/audit/src/lib.rs", "sed -n 7p audit.jsonl | tr -d")),
    (
        "sed -n 7p audit.jsonl | sed 's/,\"sum\":\"[0-9a-f]*\"}$/}/' | tr -d '\\n' | sha256sum",
        By("operator/audit/src/lib.rs", "sed 's/,\"sum\":\"[0-9a-f]*\"}$/}/'"),
    ),
];

/// Words of the sources that look like a fault's code and are none.
const NO_CODES: &[&str] = &[
    "argon2id-19456-2-1",
    "auto-generated",
    "check-and-set",
    "date-time",
    "delete-record",
    "destroy-version",
    "flush-audit",
    "injected", // by tests
    "password-sender",
    "password-sender-gateway",
    "password-sender-operator",
    "quoted-printable",
    "rotate-role",
    "send-held",
    "static-creds",
    "write-new-version",
];
/// Second halves of the databases' codes.
const DATABASE_CODES: &[&str] =
    &["busy", "disk-full", "io", "failed", "stopped", "unwritable", "corrupt", "version", "schema-foreign", "file-odd"];
const CLASSES: [&str; 4] = ["transient", "permanent", "misconfigured", "denied"];

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
                prose(text).lines().filter_map(|l| l.strip_prefix('#')).any(|l| anchor(l.trim_start_matches('#')) == heading)
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
fn every_command_is_run_or_has_a_reason() {
    let mut unused: BTreeSet<&str> = COMMANDS.iter().map(|(line, _)| *line).collect();
    for document in ["README.md", "docs/operations.md", "examples/standalone/README.md"] {
        let text = text(document);
        let blocks = [fenced(&text, "sh"), fenced(&text, "console")].concat();
        for line in blocks.iter().flat_map(|b| b.lines()).map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            assert!(COMMANDS.iter().any(|(known, _)| *known == line), "{document}: {line:?} is not in COMMANDS");
            unused.remove(line);
            check_options(line);
        }
    }
    assert_eq!(unused, BTreeSet::new(), "no document has these any more");
    for (line, kept) in COMMANDS {
        match kept {
            By(file, needle) => assert!(text(file).contains(needle), "{line}: {file} does not hold {needle:?} any more"),
            Not(reason) => assert!(!reason.is_empty(), "{line}"),
        }
    }
}

/// The operator must know every option that a document gives it.
fn check_options(line: &str) {
    let Some(rest) = line.strip_prefix("password-sender-operator ") else { return };
    let words: Vec<&str> = rest.split_whitespace().take_while(|word| !word.starts_with("--")).collect();
    let help = Command::new(env!("CARGO_BIN_EXE_password-sender-operator")).args(&words).arg("--help").output().unwrap();
    assert!(help.status.success(), "{line}");
    let help = String::from_utf8(help.stdout).unwrap();
    for option in rest.split_whitespace().filter(|word| word.starts_with("--")) {
        assert!(help.contains(&format!("{option} ")), "{line}: {option}");
    }
}

#[test]
fn the_unit_starts_what_exists() {
    let unit = text("examples/standalone/password-sender-operator.service");
    let mut count = 0;
    for line in unit.lines().filter_map(|l| l.strip_prefix("ExecStartPre=").or_else(|| l.strip_prefix("ExecStart="))) {
        check_options(line.strip_prefix("/usr/local/bin/").unwrap());
        count += 1;
    }
    assert_eq!(count, 2);
}

#[test]
fn the_manifests_of_the_readme_are_accepted() {
    let blocks = fenced(&text("README.md"), "yaml");
    assert!(!blocks.is_empty());
    for object in blocks.iter().flat_map(|b| parse(b, &Limits::default()).unwrap()) {
        match object {
            Object::Delivery(delivery) => drop(resolve(&delivery).unwrap()),
            Object::Connection(object) => drop(connection(&object).unwrap()),
        }
    }
}

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

/// Source lines without comments and without the module `tests` at their end.
fn code(path: &Path) -> String {
    let text = text(path);
    let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    own.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join(" ")
}

/// Literals in kebab-case, with the class that stands right before them, if one does.
fn literals(code: &str) -> Vec<(Option<String>, String)> {
    let parts: Vec<&str> = code.split('"').collect();
    let is_word = |word: &&str| {
        let plain = word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        plain && word.starts_with(|c: char| c.is_ascii_lowercase()) && !word.ends_with('-')
    };
    let class = |before: &str| {
        let name = before.trim_end().strip_suffix(',')?.rsplit_once("Class::")?.1.to_lowercase();
        CLASSES.contains(&name.as_str()).then_some(name)
    };
    let pairs = parts.windows(2).filter(|pair| is_word(&pair[1]));
    let pairs = pairs.map(|pair| (class(pair[0]), pair[1].to_owned()));
    pairs.filter(|(class, word)| class.is_some() || word.contains('-')).collect()
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["core/src", "api/src", "operator"] {
        files(Path::new(folder), ".rs", &mut found);
    }
    let left_out = ["/tests/", "/conformance/", "operator/gateway/", "operator/sqlite/"];
    found.retain(|path| {
        let path = path.to_str().unwrap();
        !left_out.iter().any(|part| path.contains(part)) && !path.ends_with("tests.rs")
    });
    assert!(found.len() > 80, "{}", found.len());
    found
}

/// The table rows of docs/operations.md whose second column is a class: code to class.
fn described() -> BTreeMap<String, String> {
    let operations = text("docs/operations.md");
    let rows = operations.lines().filter_map(|line| {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let class = columns.get(2).filter(|class| CLASSES.contains(class))?;
        Some((columns[1].split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>(), (*class).to_owned()))
    });
    rows.flat_map(|(codes, class)| codes.into_iter().map(move |code| (code, class.clone()))).collect()
}

#[test]
fn every_code_of_a_fault_is_described_with_its_class() {
    let (rows, words) = (described(), quoted(&text("docs/operations.md")));
    let mut classes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut missing = BTreeSet::new();
    for path in sources() {
        if path.ends_with("service/refusal.rs") {
            continue;
        }
        for (class, code) in literals(&code(&path)).into_iter().filter(|(_, code)| !NO_CODES.contains(&code.as_str())) {
            if !words.contains(&code) {
                missing.insert(format!("{}: {code}", path.display()));
            }
            classes.entry(code).or_default().extend(class);
        }
    }
    assert_eq!(missing, BTreeSet::new(), "codes that docs/operations.md does not describe (or words for NO_CODES)");
    for (code, class) in &rows {
        let known = classes.get(code).filter(|known| !known.is_empty());
        assert!(known.is_none_or(|known| known.contains(class)), "{code} is {known:?}, not {class}");
    }
    let mut all: String = sources().iter().map(|path| code(path)).collect();
    all.push_str(&code(Path::new("envelope/src/error.rs")));
    for code in rows.keys().filter(|code| !code.starts_with("NAME-")) {
        assert!(all.contains(&format!("\"{code}\"")), "nothing has the code {code} any more");
    }
}

#[test]
fn the_codes_of_the_databases_and_of_the_gateway_are_described() {
    let rows = described();
    let sqlite: String = ["fault", "open", "lib"].map(|name| code(Path::new(&format!("operator/sqlite/src/{name}.rs")))).concat();
    for word in DATABASE_CODES {
        assert!(rows.contains_key(&format!("NAME-{word}")), "NAME-{word}");
        assert!(sqlite.contains(&format!("\"{word}\"")) || sqlite.contains(&format!("-{word}\"")), "{word}");
    }
    let protocol = quoted(&text("docs/link-protocol.md"));
    for (_, code) in literals(&code(Path::new("core/src/service/refusal.rs"))) {
        assert!(protocol.contains(&code), "docs/link-protocol.md lacks {code}");
    }
}

#[test]
fn every_metric_is_described() {
    let source = code(Path::new("operator/src/metrics.rs"));
    let ends = ["_total", "_seconds", "_ready", "_timed", "_info"];
    let is_name = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && ends.iter().any(|end| word.ends_with(end));
    let names: Vec<&str> = source.split('"').skip(1).step_by(2).filter(is_name).collect();
    assert!(names.len() >= 8, "{names:?}");
    let words = quoted(&text("docs/operations.md"));
    for name in names {
        let full = format!("password_sender_{name}");
        assert!(words.iter().any(|word| word.split('{').next() == Some(&full)), "docs/operations.md lacks {full}");
    }
}
