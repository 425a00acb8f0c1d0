//! `preview-mail`, and templates by configuration, with the program itself.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const CONFIG: &str =
    "publicUrl: https://links.example.com/x\noutbox: out\nsender: Platform team\nmail: {templates: templates}\n";

fn run(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_password-sender-operator"));
    command.current_dir(folder).args(words).output().unwrap()
}

fn preview(folder: &Path, words: &[&str]) -> String {
    let output = run(folder, &[&["preview-mail"], words].concat());
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_mail_can_be_looked_at_before_anybody_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    let look = |words: &[&str]| preview(folder.path(), words);
    assert!(look(&[]).starts_with("Subject: Password Sender sends you a credential\n\nHello Alice Example,\n"));
    assert!(look(&["--locale", "de-AT", "--text"]).contains("\nÖffnungscode: ABCD-EFGH\n"));
    assert!(look(&["--locale", "ar", "--html"]).contains("<html lang=\"ar\" dir=\"rtl\">"));
    assert!(look(&["--kind", "code", "--locale", "fr"]).contains("\n1234-5678\n"));
    assert!(look(&["--kind", "notice"]).starts_with("Subject: The credential was opened: shop/webshop\n"));
    let message = look(&["--eml"]);
    assert!(message.contains("Message-ID: <") && message.contains("\r\nMIME-Version: 1.0\r\n"), "{message}");
    for (words, said) in [
        (&["--locale", "xx"][..], "only in en, de, fr"),
        (&["--html", "--eml"], "cannot be used with"),
        (&["--kind", "letter"], "link, code, notice"),
    ] {
        let output = run(folder.path(), &[&["preview-mail"], words].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(said), "{error}");
    }
}

#[test]
fn the_example_templates_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let templates = ps_testbed::workspace().join("examples/mail-templates");
    let config =
        format!("publicUrl: https://links.example.com\noutbox: out\nmail: {{templates: {}}}\n", templates.display());
    fs::write(folder.path().join("c.yaml"), config).unwrap();
    for kind in ["link", "code", "notice"] {
        let html = preview(folder.path(), &["--config", "c.yaml", "--kind", kind, "--locale", "ar", "--html"]);
        assert!(html.starts_with("<!DOCTYPE html>") && html.contains(">Example GmbH</td>"), "{html}");
        assert_eq!(html.contains("dir=\"rtl\""), kind != "notice", "{html}");
    }
    let german = preview(folder.path(), &["--config", "c.yaml", "--locale", "de"]);
    assert!(german.starts_with("Subject: Password Sender: Zugangsdaten für Sie\n"), "{german}");
}

#[test]
fn templates_of_the_configuration_are_used_or_refused_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("c.yaml"), CONFIG).unwrap();
    fs::create_dir(folder.path().join("templates")).unwrap();
    let template = |content: &str| fs::write(folder.path().join("templates/link.subject"), content).unwrap();
    template("A key from {{ sender }} at {{ host }}");
    let mail = preview(folder.path(), &["--config", "c.yaml"]);
    assert!(mail.starts_with("Subject: A key from Platform team at links.example.com\n"), "{mail}");
    assert!(mail.contains("\nhttps://links.example.com/x/#ps1."), "{mail}");
    assert!(run(folder.path(), &["check-config", "--config", "c.yaml"]).status.success());
    template("A key\nfrom {{ sendr }}");
    for words in [["check-config", "--config", "c.yaml"], ["preview-mail", "--config", "c.yaml"]] {
        let output = run(folder.path(), &words);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        let wanted = "mail.templates: link.subject, line 2: names something that is not there at `sendr`";
        assert!(error.contains(wanted), "{error}");
    }
}
