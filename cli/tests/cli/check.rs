//! `check`, on the examples and on faults.

use std::path::Path;

use crate::support::{command, run, run_with};

const GOOD: &str = "\
apiVersion: passwordsender.io/v1alpha1
kind: VaultConnection
metadata: {name: prod}
spec:
  address: https://vault.example.com:8200
  auth: {appRole: {roleId: abc, secretIdRef: {name: s, key: k}}}
";

#[test]
fn the_examples_are_in_order() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let home = tempfile::tempdir().unwrap();
    let ran = run(command(home.path(), &["check", examples.to_str().unwrap()])).exits(0);
    assert!(
        ran.out.contains("kv.yaml: SecretDelivery shop/api-key-for-bob: ok") && ran.out.contains(" 0 faults"),
        "{}",
        ran.out
    );
}

#[test]
fn each_fault_is_told_with_field_and_remedy() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(home.path().join(name), text).unwrap();
    write("good.yaml", GOOD);
    write("twice.yaml", GOOD);
    write("typo.yml", &GOOD.replace("prod", "typo").replace("address", "adress"));
    write("junk.yaml", "{[\u{1b}");
    write("bytes.yaml", "x");
    std::fs::write(home.path().join("bytes.yaml"), [0xff, 0xfe]).unwrap();
    write("good.status.yaml", "not: a manifest");
    write(".hidden.yaml", "not: a manifest");
    write("notes.txt", "not a manifest");
    let ran = run(command(home.path(), &["check", home.path().to_str().unwrap()])).exits(1);
    for wanted in [
        "good.yaml: VaultConnection default/prod: ok",
        "twice.yaml: VaultConnection default/prod: FAULT\n  metadata.name: the same object stands in",
        "typo.yml: VaultConnection default/typo: FAULT\n  spec.ad",
        "remedy: ",
        "junk.yaml: FAULT",
        "bytes.yaml: FAULT",
        "3 objects, 4 faults",
    ] {
        assert!(ran.out.contains(wanted), "{wanted:?} is missing in {}", ran.out);
    }
    assert!(
        !ran.out.contains('\x1b') && !ran.out.contains("status.yaml") && !ran.out.contains("hidden"),
        "{}",
        ran.out
    );
    let ran = run_with(command(home.path(), &["check", "-"]), GOOD.as_bytes()).exits(0);
    assert!(ran.out.starts_with("standard input: VaultConnection default/prod: ok"), "{}", ran.out);
    run(command(home.path(), &["check", "nowhere.yaml"])).exits(1);
    std::fs::create_dir(home.path().join("empty")).unwrap();
    run(command(home.path(), &["check", home.path().join("empty").to_str().unwrap()])).exits(2);
}
