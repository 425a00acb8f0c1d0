//! Every code of a fault and every metric is in docs/operations.md, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::{files, quoted, text};

/// Words of the sources that look like a fault's code and are none.
const NO_CODES: &[&str] = &[
    "api-server",
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
    "static-roles",
    "user-agent",
    "write-new-version",
];
/// Second halves of the databases' codes.
const DATABASE_CODES: &[&str] =
    &["busy", "disk-full", "io", "failed", "stopped", "unwritable", "corrupt", "version", "schema-foreign", "file-odd"];
const CLASSES: [&str; 4] = ["transient", "permanent", "misconfigured", "denied"];

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
    let left_out = ["/tests/", "/conformance/", "operator/gateway/", "operator/sqlite/", "operator/src/failpoints"];
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
    let is_known = |path: &Path, code: &str| {
        let second_half = code.strip_prefix("store-").or_else(|| code.strip_prefix("ledger-"));
        // What is wrong with a record is a list in the text, everything else a row.
        let is_listed = path.ends_with("link/check.rs") && words.contains(code);
        rows.contains_key(code) || is_listed || second_half.is_some_and(|half| DATABASE_CODES.contains(&half))
    };
    let mut classes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut missing = BTreeSet::new();
    for path in sources() {
        if path.ends_with("service/refusal.rs") {
            continue;
        }
        for (class, code) in literals(&code(&path)).into_iter().filter(|(_, code)| !NO_CODES.contains(&code.as_str())) {
            if !is_known(&path, &code) {
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
    let sqlite: String =
        ["fault", "open", "lib"].map(|name| code(Path::new(&format!("operator/sqlite/src/{name}.rs")))).concat();
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
    let is_name = |word: &&str| {
        word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && ends.iter().any(|end| word.ends_with(end))
    };
    let names: Vec<&str> = source.split('"').skip(1).step_by(2).filter(is_name).collect();
    assert!(names.len() >= 8, "{names:?}");
    let words = quoted(&text("docs/operations.md"));
    for name in names {
        let full = format!("password_sender_{name}");
        assert!(words.iter().any(|word| word.split('{').next() == Some(&full)), "docs/operations.md lacks {full}");
    }
}

#[test]
fn literals_are_found_with_their_class() {
    let found =
        literals(r#"Fault::new(Class::Denied, "gone", "x"); hold(  "two-words", "A b"); "no-", "Not-a", "one""#);
    let expected = [(Some("denied".to_owned()), "gone".to_owned()), (None, "two-words".to_owned())];
    assert_eq!(found, expected);
}
