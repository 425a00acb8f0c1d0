//! A folder of templates: what it changes, and what is refused, with file, line and remedy.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is the failure report"
)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use common::{DEADLINE, FixedClock, LINK, config, link_mail, mailer, presentation, somebody};
use ps_core::error::{Class, Fault};
use ps_core::ports::{Clock as _, Mailer as _};
use ps_mail::{Kind, Language, OutboxMailer, Presentation, Preview, SmtpConfig, Templates, preview};
use ps_testbed::{SmtpOptions, SmtpServer};
use tempfile::TempDir;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn refusal(name: &str, content: &str) -> String {
    let fault = Templates::load(folder(&[(name, content)]).path()).unwrap_err();
    assert_eq!((fault.code.as_str(), fault.class), ("mail-template-refused", Class::Misconfigured), "{content}");
    assert!(!fault.remedy.is_empty() && fault.field.as_deref() == Some("mail.templates"), "{fault}");
    fault.to_string()
}

fn with(templates: Templates) -> Presentation {
    Presentation { templates, ..presentation("sender@ours.example", "Platform team") }
}

fn made(files: &[(&str, &str)], kind: Kind, locale: &str) -> Preview {
    let templates = Templates::load(folder(files).path()).unwrap();
    preview(with(templates), kind, Some(locale), FixedClock.now()).unwrap()
}

#[test]
fn a_template_replaces_ours_for_all_languages_or_for_one() {
    let files = [
        ("link.txt", "{{ words.hello }}\n{{ link }}\n{{ code }}\n"),
        (
            "link.de.txt",
            "Moin {{ name }}\n{{ link }}\n{{ code }} ({{ works_for }}, {{ until }}, {{ sender }}, {{ host }})\n",
        ),
        ("link.de.subject", "Für {{ name | upper }}"),
    ];
    let german = made(&files, Kind::Link, "de-AT");
    assert_eq!(german.subject, "Für ALICE EXAMPLE");
    assert!(german.text.starts_with("Moin Alice Example\nhttps://secrets.example/#ps1."), "{}", german.text);
    assert!(german.text.contains("(1 Stunde, 22. November 2026, 20:24 Uhr (UTC), Platform team, secrets.example)"));
    let french = made(&files, Kind::Link, "fr");
    assert!(french.text.starts_with("Bonjour Alice Example,\nhttps://"), "{}", french.text);
    assert_eq!(french.subject, "Platform team vous envoie des identifiants");
    // What the folder does not have is as it was.
    let ours = preview(presentation("sender@ours.example", "Platform team"), Kind::Link, Some("fr"), FixedClock.now());
    assert_eq!(french.html, ours.unwrap().html);
}

#[test]
fn one_layout_changes_the_html_of_every_kind() {
    let layout = "<p>ACME</p>{% block title %}{% endblock %}{% block content %}{% endblock %}<p>{{ direction }}</p>";
    for kind in Kind::ALL {
        let mail = made(&[("layout.html", layout)], kind, "ar");
        let direction = if kind == Kind::Notice { "ltr" } else { "rtl" };
        assert!(
            mail.html.starts_with("<p>ACME</p>") && mail.html.ends_with(&format!("<p>{direction}</p>")),
            "{kind:?}"
        );
    }
}

#[test]
fn a_mounted_config_map_is_read() {
    let folder = folder(&[]);
    let data = folder.path().join("..2026_11_30");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("code.subject"), "{{ words.subject }}!").unwrap();
    symlink(&data, folder.path().join("..data")).unwrap();
    symlink("..data/code.subject", folder.path().join("code.subject")).unwrap();
    let templates = Templates::load(folder.path()).unwrap();
    let mail = preview(with(templates), Kind::Code, None, FixedClock.now()).unwrap();
    assert!(mail.subject.ends_with('!'), "{}", mail.subject);
}

#[test]
fn a_template_that_makes_no_proper_mail_is_refused_with_file_line_and_remedy() {
    let html = "<a href=\"{{ link }}\">x</a>\n{{ code }}\n";
    for (name, content, wanted) in [
        ("link.txt", "\n{{ code }}\n", "link.txt: has no link. write {{ link }}"),
        ("link.txt", "\n{{ link }}\n", "link.txt: has no code. write {{ code }}"),
        ("link.txt", "{{ link }}\n{{ code }}\n\n{{ link }}\n", "link.txt, line 4: has the link more than once"),
        ("link.txt", "{{ link }}\n{{ code }}\n{{ code }}\n", "link.txt, line 3: has the code more than once"),
        ("link.txt", "Link: {{ link }}.\n{{ code }}\n", "link.txt, line 1: has more on the link's line"),
        ("link.html", "{{ link }}\n{{ code }}\n", "link.html, line 1: has the link elsewhere than in href"),
        (
            "link.html",
            "{{ code }}\n<a href=\"https://click.example/?to={{ link }}\">x</a>\n",
            "link.html, line 2: has the link elsewhere than in href",
        ),
        ("link.de.html", &format!("{html}{{{{ link }}}}"), "link.de.html, line 3: has the link more than once"),
        // Only where there is a passphrase.
        (
            "link.html",
            &format!("{html}{{% if passphrase %}}\n{{{{ code }}}}{{% endif %}}"),
            "link.html, line 4: has the code more than once",
        ),
        ("link.subject", "{{ code }}", "link.subject, line 1: must not have the code"),
        ("link.subject", "{{ link }}", "link.subject, line 1: must not have the link"),
        ("link.subject", "{% if name %}x{% endif %}", "link.subject: makes no subject"),
        ("link.subject", "a\nb", "link.subject: makes no subject"),
        ("code.txt", "{{ code }}\n{{ link }}\n", "code.txt, line 2: names something that is not there at `link`"),
        ("code.txt", "nothing", "code.txt: has no code"),
        ("code.ar.subject", "{{ code }}", "code.ar.subject, line 1: must not have the code"),
        ("notice.txt", "{{ text }} {{ code }}", "notice.txt, line 1: names something that is not there at `code`"),
        (
            "notice.html",
            "{% autoescape false %}\n{{ text }}{% endautoescape %}",
            "notice.html, line 2: lets markup through",
        ),
        ("link.txt", "a\n{{ sendr }}\n", "link.txt, line 2: names something that is not there at `sendr`"),
        ("link.txt", "{{ words.greeting }}", "at `words.greeting`"),
        ("link.txt", "{{ name | shout }}", "link.txt, line 1: uses something that templates don't have"),
        ("link.txt", "{{ range(3) }}", "link.txt, line 1: "),
        ("link.txt", "a\n{% if %}", "link.txt, line 2: is not a template"),
        ("link.html", "{% extends \"other.html\" %}", "link.html, line 1: fails"),
        ("link.txt", "{{ 1 / 0 }}", "link.txt, line 1: fails"),
        ("link.txt", "{{ \"\\u0007\" }}{{ code }}\n{{ link }}", "link.txt, line 1: makes control characters"),
        ("link.txt", "a\u{1}b", "link.txt: has control characters"),
        ("layout.html", "{{ title }}", "layout.html, line 1: names something"),
        ("links.txt", "", "links.txt: no template has this name. remove it, or name it KIND.PART"),
        ("notice.de.txt", "", "notice.de.txt: no template has this name"),
    ] {
        let refused = refusal(name, content);
        assert!(refused.starts_with("mail.templates: ") && refused.contains(wanted), "{content:?}: {refused}");
    }
}

#[test]
fn no_template_takes_for_ever_or_grows_without_end() {
    let nested = (0..6).map(|n| format!("{{% for c{n} in \"{}\" %}}", "x".repeat(50))).collect::<String>();
    let loops = nested + "{{ code }}" + &"{% endfor %}".repeat(6);
    for content in [loops.as_str(), "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}"] {
        let begin = std::time::Instant::now();
        let refused = refusal("link.txt", content);
        assert!(begin.elapsed() < DEADLINE, "{refused}");
    }
    let long = format!("{{% for c in \"{}\" %}}{}{{% endfor %}}", "x".repeat(200), "y".repeat(1000));
    assert!(refusal("link.txt", &long).contains("makes more than 64 KiB"));
    let large = "x".repeat(64 * 1024 + 1);
    assert!(refusal("link.txt", &large).contains("is larger than 65536 bytes"));
}

#[test]
fn a_folder_that_is_none_is_said_so() {
    let folder = folder(&[]);
    let missing: Fault = Templates::load(&folder.path().join("missing")).unwrap_err();
    assert!(missing.to_string().contains("missing: can't be read"), "{missing}");
    fs::create_dir(folder.path().join("link.txt")).unwrap();
    assert!(Templates::load(folder.path()).unwrap_err().to_string().contains("link.txt: can't be read"));
    let binary = self::folder(&[]);
    fs::write(binary.path().join("link.txt"), [0xff, 0xfe]).unwrap();
    assert!(Templates::load(binary.path()).unwrap_err().to_string().contains("link.txt: is not UTF-8"));
}

#[tokio::test]
async fn what_a_server_gets_is_made_with_the_folders_templates() {
    let server = SmtpServer::start(SmtpOptions::default()).await.unwrap();
    let files = [("link.ja.txt", "鍵\n{{ link }}\n{{ code }}\n"), ("link.ja.subject", "{{ name }} 様への鍵")];
    let look = with(Templates::load(folder(&files).path()).unwrap());
    let to = somebody();
    let mut mail = link_mail(&to);
    mail.to.locale = Some("ja-JP".into());
    mailer(SmtpConfig { presentation: look.clone(), ..config(&server) }).send_link(&mail).await.unwrap();
    let got = server.wait_for_mail(&to, DEADLINE).await.unwrap();
    assert_eq!(got.subject, "Alice Größe 様への鍵");
    assert_eq!(got.text.unwrap().lines().collect::<Vec<_>>(), ["鍵", LINK, common::CODE]);
    // The same from the folder that stands in for a server.
    let outbox = tempfile::tempdir().unwrap();
    OutboxMailer::new(outbox.path(), look, Arc::new(FixedClock)).unwrap().send_link(&mail).await.unwrap();
    let file = fs::read_dir(outbox.path()).unwrap().next().unwrap().unwrap().path();
    assert!(fs::read_to_string(file).unwrap().contains(LINK));
    assert_eq!(Language::of_tag(Some("ja-JP")), Language::Ja);
}
