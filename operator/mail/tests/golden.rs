//! What each language's mails look like, as golden files; and that their HTML says the same.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is the failure report"
)]

mod common;

use std::fs;
use std::path::PathBuf;

use common::{FixedClock, presentation};
use ps_core::ports::Clock as _;
use ps_mail::{Kind, Language, Preview, preview};

/// Set to `write`, golden files are written instead of compared.
const RENEW: &str = "PS_GOLDEN";

fn made(kind: Kind, language: Language) -> Preview {
    let look = presentation("password-sender@example.com", "Platform team, Example GmbH");
    preview(look, kind, Some(language.code()), FixedClock.now()).unwrap()
}

fn assert_golden(name: &str, seen: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var(RENEW).is_ok_and(|value| value == "write") {
        return fs::write(&path, seen).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let differs = golden.lines().zip(seen.lines()).position(|(golden, seen)| golden != seen);
    assert!(
        golden == seen,
        "tests/golden/{name} differs from line {:?} on; seen:\n{seen}\nIf this is meant: {RENEW}=write cargo test -p ps-mail --test golden",
        differs.map(|line| line + 1)
    );
}

fn as_text(mail: &Preview) -> String {
    format!("Subject: {}\n\n{}\n", mail.subject, mail.text)
}

#[test]
fn each_language_writes_as_it_did() {
    for language in Language::ALL {
        for kind in [Kind::Link, Kind::Code] {
            assert_golden(&format!("{}.{}.txt", kind.as_str(), language.code()), &as_text(&made(kind, language)));
        }
    }
    assert_golden("notice.txt", &as_text(&made(Kind::Notice, Language::En)));
}

/// One that runs from left to right, and one from right to left.
#[test]
fn html_is_as_it_was() {
    for language in [Language::En, Language::Ar] {
        for kind in [Kind::Link, Kind::Code] {
            assert_golden(&format!("{}.{}.html", kind.as_str(), language.code()), &made(kind, language).html);
        }
    }
    assert_golden("notice.html", &made(Kind::Notice, Language::En).html);
}

/// What a program that shows HTML makes of it: no more than it needs of the rules.
fn words_of(html: &str) -> String {
    let body = html.split_once("<body").unwrap().1;
    let text = body.split('<').filter_map(|piece| piece.split_once('>')).map(|(_, text)| text).collect::<String>();
    let text = text.replace("&quot;", "\"").replace("&#x27;", "'").replace("&#x2f;", "/").replace("&amp;", "&");
    squeezed(&text.replace("&ldquo;", "\"").replace("&rdquo;", "\""))
}

/// Without white space, which the two parts have in other places.
fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[test]
fn html_and_text_say_the_same() {
    for language in Language::ALL {
        for kind in [Kind::Link, Kind::Code] {
            let mail = made(kind, language);
            let html = words_of(&mail.html);
            for paragraph in mail.text.split("\n\n").flat_map(|part| part.split("\n- ")) {
                let paragraph = squeezed(paragraph.trim_start_matches("- "));
                let in_html = html.contains(&paragraph) || mail.html.contains(&format!("href=\"{paragraph}\""));
                assert!(in_html, "{language:?} {kind:?}: {paragraph} is not in {html}");
            }
            let header = format!("<html lang=\"{}\" dir=\"{}\">", language.tag(), language.direction());
            assert!(mail.html.contains(&header), "{language:?}");
            // Nothing is fetched, and nothing runs.
            for bad in ["<script", "<img", "src=", "url(", "@import", "<link", "http-equiv"] {
                assert!(!mail.html.contains(bad), "{language:?} {kind:?} has {bad}");
            }
            assert!(mail.html.len() < 16 * 1024, "Gmail cuts off long mails");
            let (links, code) = if kind == Kind::Link { (1, "ABCD-EFGH") } else { (0, "1234-5678") };
            for part in [&mail.text, &mail.html] {
                assert_eq!((part.matches("#ps1.").count(), part.matches(code).count()), (links, 1), "{language:?}");
            }
            assert!(!mail.subject.contains(code) && mail.text.lines().all(|line| line.chars().count() <= 76));
        }
    }
}

/// The page must say that such a link is incomplete, not that it is unknown.
#[test]
fn the_sample_link_is_no_link() {
    let mail = made(Kind::Link, Language::En);
    let link = mail.text.lines().find(|line| line.starts_with("https://")).unwrap();
    let secret = link.split_once("#ps1.").unwrap().1;
    assert_ne!(secret.len(), 43, "as many characters as a real one");
}
