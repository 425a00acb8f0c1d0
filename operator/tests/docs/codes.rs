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
    "check-sign-in",
    "date-time",
    "delete-record",
    "destroy-version",
    "flush-audit",
    "injected", // by tests
    "mail-code",
    "password-sender",
    "password-sender-gateway",
    "password-sender-operator",
    "quoted-printable",
    "rotate-role",
    "send-held",
    "static-creds",
    "static-roles",
    "user-agent",
    "vault-agent",
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

/// The names that a source gives to metrics: what stands first between parentheses, or behind the prefix in a text.
fn metrics(code: &str, prefix: &str) -> BTreeSet<String> {
    let is_name = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let parts: Vec<&str> = code.split('"').collect();
    let calls = parts.windows(2).filter(|pair| {
        let before = pair[0].trim_end();
        before.ends_with('(') && !["Some(", "const_label("].iter().any(|other| before.ends_with(other))
    });
    let named = calls.map(|pair| pair[1]).filter(|word| is_name(word));
    let texts = code.split(prefix).skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
        // A name that is put together is found where its parts are.
        rest.get(..end).filter(|name| is_name(name) && !name.ends_with('_'))
    });
    named.chain(texts).map(str::to_owned).collect()
}

/// What a table or a sentence calls a metric, without its labels.
fn words() -> BTreeSet<String> {
    quoted(&text("docs/operations.md")).iter().filter_map(|word| word.split('{').next().map(str::to_owned)).collect()
}

#[test]
fn every_metric_is_described() {
    let names = metrics(&code(Path::new("operator/src/metrics.rs")), "password_sender_");
    for name in ["events_total", "leader", "self_check_ok", "rotation_delay_seconds", "build_info"] {
        assert!(names.contains(name), "{name} is not found any more: {names:?}");
    }
    let words = words();
    let full: BTreeSet<String> = names.iter().map(|name| format!("password_sender_{name}")).collect();
    assert_eq!(full.difference(&words).collect::<Vec<_>>(), Vec::<&String>::new(), "docs/operations.md lacks these");
    let described = words.iter().filter(|word| word.starts_with("password_sender_"));
    let gone: Vec<_> = described.filter(|word| !full.contains(*word) && *word != GATEWAY_PREFIX).collect();
    assert_eq!(gone, Vec::<&String>::new(), "docs/operations.md has metrics that there are not");
}

/// Before each name in the gateway's table.
const GATEWAY_PREFIX: &str = "password_sender_gateway_";

#[test]
fn every_metric_of_the_gateway_is_described() {
    let names = |file: &str| metrics(&code(Path::new(&format!("operator/gateway/src/{file}.rs"))), GATEWAY_PREFIX);
    let mut all = names("counters");
    all.extend(names("admin"));
    // The store's have one prefix more.
    let store = names("backend").into_iter().map(|name| format!("store_{}", name.trim_start_matches("store_")));
    all.extend(store);
    for name in ["requests_total", "connections", "fenced", "store_behind", "store_went_back_total"] {
        assert!(all.contains(name), "{name} is not found any more: {all:?}");
    }
    let words = words();
    assert_eq!(all.difference(&words).collect::<Vec<_>>(), Vec::<&String>::new(), "docs/operations.md lacks these");
}

#[test]
fn metrics_are_found_by_their_names() {
    let code = r##"gauge("one", "Help."); Opts::new("two_total", "x") (   "three", a) Some("p") y.const_label("v", 1) "# p_four_total x" "p_{name}" p_five_"##;
    assert_eq!(metrics(code, "p_"), ["one", "two_total", "three", "four_total"].map(str::to_owned).into());
}

#[test]
fn literals_are_found_with_their_class() {
    let found =
        literals(r#"Fault::new(Class::Denied, "gone", "x"); hold(  "two-words", "A b"); "no-", "Not-a", "one""#);
    let expected = [(Some("denied".to_owned()), "gone".to_owned()), (None, "two-words".to_owned())];
    assert_eq!(found, expected);
}
