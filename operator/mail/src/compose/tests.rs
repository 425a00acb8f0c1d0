use ps_core::delivery::{NoticeKind, Recipient};
use ps_core::ids::Key;
use ps_core::link::Verification;
use ps_core::secret::SecretString;
use ps_core::time::Span;

use super::*;
use crate::body::{CODE, LINK};

const URL: &str = "https://secrets.example/#ps1.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

fn presentation(from: &str, sender_name: &str) -> Presentation {
    Presentation {
        from: from.into(),
        sender_name: sender_name.into(),
        public_url: "https://secrets.example".into(),
        templates: Templates::built_in().unwrap(),
    }
}

fn composer() -> Composer {
    Composer::new(presentation("sender@ours.example", "Platform Team")).unwrap()
}

fn link_mail() -> LinkMail {
    LinkMail {
        to: Recipient { email: "alice@vendor.example".into(), name: Some("Alice".into()), locale: None },
        message_id: "a1.b2@ours.example".into(),
        sender: "Bob".into(),
        link: SecretString::new(URL.into()),
        opening_code: SecretString::new("ABCD-EFGH".into()),
        expires_at: Timestamp::parse_rfc3339("2026-11-22T20:30:59Z").unwrap(),
        works_for: Some(Span::from_secs(3600)),
        kinds: Verification::ALL.to_vec(),
    }
}

fn now() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-22T16:24:09Z").unwrap()
}

fn text(message: &Message) -> String {
    String::from_utf8(message.bytes.expose().to_vec()).unwrap()
}

#[test]
fn a_link_mail_says_what_it_must() {
    let message = composer().link(&link_mail(), now()).unwrap();
    let mail = text(&message);
    for wanted in [
        "Date: Sun, 22 Nov 2026 16:24:09 +0000\r\n",
        "From: Platform Team\r\n <sender@ours.example>\r\n",
        "To: Alice\r\n <alice@vendor.example>\r\n",
        "Message-ID: <a1.b2@ours.example>\r\n",
        "Subject: Bob sends you a credential\r\n",
        "Auto-Submitted: auto-generated\r\n",
        "Hello Alice,\r\n",
        "Opening code: ABCD-EFGH\r\n",
        "until 22 November 2026, 20:30 UTC",
        "works for 1 hour after you open it",
        "passphrase",
        "one-time code",
        "asked to sign in",
        "leads to secrets.example",
        "This was not meant for me",
    ] {
        assert!(mail.contains(wanted), "{wanted:?} is missing in:\n{mail}");
    }
    assert_eq!(mail.matches(URL).count(), 2, "once in each part");
    assert!(mail.contains(&format!("\r\n\r\n{URL}\r\n\r\n")), "alone on its line");
    assert!(mail.contains(&format!("href=\"{URL}\"")));
    assert!(!mail.contains("img") && !mail.contains(LINK) && !mail.contains(CODE));
    assert!(mail.ends_with("--\r\n") && !mail.replace("\r\n", "").contains(['\r', '\n']));
}

#[test]
fn what_does_not_apply_is_not_said() {
    let mail = LinkMail { works_for: None, kinds: Vec::new(), sender: " ".into(), ..link_mail() };
    let mail = LinkMail { to: Recipient { name: None, ..mail.to.clone() }, ..mail };
    let mail = text(&composer().link(&mail, now()).unwrap());
    assert!(mail.contains("Hello,\r\n") && mail.contains("Subject: Platform Team sends you a credential\r\n"));
    for word in ["replaced", "passphrase", "one-time code", "sign in"] {
        assert!(!mail.contains(word), "{word} in {mail}");
    }
}

#[test]
fn each_kind_of_verification_is_announced_by_itself() {
    let words = [
        (Verification::Passphrase, "asked for a passphrase"),
        (Verification::EmailCode, "asks for a one-time code"),
        (Verification::Oidc, "asked to sign in"),
    ];
    for (kind, _) in words {
        let (composer, mail) = (composer(), LinkMail { kinds: vec![kind], ..link_mail() });
        let rendered = composer.draft_link(&mail).unwrap().rendered;
        for part in [rendered.text, rendered.html] {
            let part = part.split_whitespace().collect::<Vec<_>>().join(" ");
            for (other, text) in words {
                assert_eq!(part.contains(text), other == kind, "{kind:?}: {text} in {part}");
            }
        }
    }
}

#[test]
fn names_are_escaped_and_can_add_no_header() {
    let sender = "Eve <b>&\"'\r\nBcc: x@y.example\u{1}\u{2}".to_owned();
    let name = Some("Größe\r\n.\r\nX: y".to_owned());
    let mail = LinkMail { to: Recipient { name, ..link_mail().to }, sender, ..link_mail() };
    let mail = text(&composer().link(&mail, now()).unwrap());
    let (header, body) = mail.split_once("\r\n\r\n").unwrap();
    assert!(!header.contains("\r\nBcc") && !header.contains("\r\nX:"), "{header}");
    assert!(body.contains("&amp;") && !body.contains("<b>&\""), "{body}");
    assert_eq!(mail.matches("#ps1.").count(), 2, "a mark in a name is no link");
    for line in mail.split("\r\n") {
        assert!(line.len() <= 998 && line.is_ascii() && line != ".", "{line}");
    }
}

#[test]
fn what_can_not_be_mailed_is_refused_with_its_field() {
    let refused = |mail: LinkMail| composer().link(&mail, now()).unwrap_err();
    for bad in ["", "alice", "a@b\r\nRCPT TO:<c@d>", "\"a\"@b", "ä@b.example"] {
        let fault = refused(LinkMail { to: Recipient { email: bad.into(), ..link_mail().to }, ..link_mail() });
        assert_eq!((fault.class, fault.field.as_deref()), (Class::Permanent, Some("spec.recipient.email")));
        assert!(bad.is_empty() || !fault.to_string().contains(bad));
    }
    for bad in [
        "",
        "ftp://x/#a",
        "https://x/\"><script>",
        "https:///#a",
        "https://u@x/#a",
        "https://x/#a\r\n",
        &format!("https://x/{}", "a".repeat(700)),
    ] {
        let fault = refused(LinkMail { link: SecretString::new(bad.into()), ..link_mail() });
        assert_eq!(fault.code, "mail-link-invalid");
        assert!(bad.is_empty() || !fault.to_string().contains(bad));
    }
    assert_eq!(
        refused(LinkMail { opening_code: SecretString::new("A\nB".into()), ..link_mail() }).code,
        "mail-link-invalid"
    );
    assert_eq!(refused(LinkMail { message_id: "<a@b>".into(), ..link_mail() }).code, "mail-message-id-invalid");
    assert!(Composer::new(presentation("not an address", "")).is_err());
}

#[test]
fn the_recipients_language_is_in_every_part() {
    let in_german = Recipient { locale: Some("de-AT".into()), ..link_mail().to };
    let mail = text(&composer().link(&LinkMail { to: in_german, ..link_mail() }, now()).unwrap());
    let mail = mail.replace("=\r\n", "");
    for wanted in [
        "Content-Language: de\r\n",
        "Subject: Bob sendet Ihnen Zugangsdaten\r\n",
        "Guten Tag Alice,\r\n",
        "=C3=96ffnungscode:=20ABCD-EFGH\r\n",
        "bis zum 22. November 2026, 20:30 Uhr (UTC)",
        "gelten die Zugangsdaten 1 Stunde lang",
        "<html lang=3D\"de\" dir=3D\"ltr\">",
    ] {
        assert!(mail.contains(wanted), "{wanted:?} is missing in:\n{mail}");
    }
    let in_arabic = Recipient { locale: Some("ar-EG".into()), ..link_mail().to };
    let message = composer().link(&LinkMail { to: in_arabic, ..link_mail() }, now()).unwrap();
    let mail = text(&message);
    assert!(mail.contains("Subject: =?utf-8?B?") && mail.contains("<html lang=3D\"ar\" dir=3D\"rtl\">"), "{mail}");
    // Apart from Arabic words, which would change the places of its digits.
    assert!(mail.contains("\r\n\r\nABCD-EFGH\r\n\r\n"), "{mail}");
    assert!(mail.split("\r\n").all(|line| line.len() <= 998 && line.is_ascii()));
}

#[test]
fn a_code_mail_says_what_it_must_and_takes_nothing_else() {
    let mail = |code: &str| CodeMail {
        to: link_mail().to,
        message_id: "c1@ours.example".into(),
        sender: "Bob".into(),
        code: SecretString::new(code.into()),
        expires_at: now() + Span::from_secs(600),
    };
    let text = text(&composer().code(&mail("1234-5678"), now()).unwrap());
    for wanted in ["Hello Alice,\r\n", "\r\n\r\n1234-5678\r\n\r\n", "for 10 minutes, until 22 November 2026, 16:34 UTC"]
    {
        assert!(text.contains(wanted), "{wanted:?} is missing in:\n{text}");
    }
    assert_eq!(text.matches("1234-5678").count(), 2, "once in each part");
    for bad in ["", "12345678", "1234-567", "1234-567a", "12345-678", "1234-5678\r\n", "1234-5678-"] {
        assert_eq!(composer().code(&mail(bad), now()).unwrap_err().code, "mail-code-invalid", "{bad:?}");
    }
}

#[test]
fn a_notice_says_what_happened_and_to_which_delivery() {
    let all = [
        NoticeKind::Retrieved,
        NoticeKind::Unacknowledged,
        NoticeKind::Expired,
        NoticeKind::Locked,
        NoticeKind::Declined,
        NoticeKind::Tampered,
        NoticeKind::Exposed,
        NoticeKind::Rotated,
        NoticeKind::RotationFailed,
    ];
    for kind in all {
        let mail = NoticeMail {
            to: "bob@ours.example".into(),
            message_id: "n1@ours.example".into(),
            kind,
            delivery: Key::new("team", "alice-db"),
            recipient: "a…@vendor.example".into(),
            at: now(),
            text: "Vault <refuses>.\r\n.\r\nSee the role.".into(),
        };
        let message = composer().notice(&mail, now()).unwrap();
        let mail = text(&message);
        assert_eq!(message.to.as_str(), "bob@ours.example");
        assert!(mail.contains("team/alice-db") && mail.contains("22 November 2026, 16:24 UTC"), "{mail}");
        assert!(mail.contains("&lt;refuses&gt;") && mail.contains("Vault <refuses>"), "{mail}");
        assert!(!mail.contains("\r\n.\r\n"));
    }
}

#[test]
fn no_message_prints() {
    let shown = format!("{:?}", composer().link(&link_mail(), now()).unwrap());
    assert!(!shown.contains("ps1.") && !shown.contains("ABCD") && !shown.contains("lice"), "{shown}");
}
