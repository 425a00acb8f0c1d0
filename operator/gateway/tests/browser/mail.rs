//! The mails' HTML in a browser, as mail programs show it: narrow and wide, without scripts, pictures, or a style sheet.

use std::path::Path;

use ps_testbed::Screen;
use serde_json::{Value, json};

use crate::browser;

fn golden(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mail/tests/golden");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// Of each mail: its links, and what must be read in it.
const MAILS: [(&str, &[&str], &[&str]); 5] = [
    ("link.en.html", &[LINK], &["Open the credential", "ABCD-EFGH", "Is this mail genuine?"]),
    ("link.ar.html", &[LINK], &["ABCD-EFGH"]),
    ("code.en.html", &[], &["1234-5678"]),
    ("code.ar.html", &[], &["1234-5678"]),
    ("notice.html", &[], &["The credential was opened"]),
];
const LINK: &str = "https://secrets.example/#ps1.THIS-IS-A-SAMPLE-AND-OPENS-NOTHING";

#[tokio::test]
async fn each_mail_is_read_on_a_phone_and_a_desktop_without_scrolling_sideways() {
    for (screen, width) in [(Screen::Phone, 320), (Screen::Desktop, 1280)] {
        for (name, links, words) in MAILS {
            let args = json!({"html": golden(name), "contextOptions": {"javaScriptEnabled": false}});
            let report = browser(3).await.on(screen).run("show_mail", args).await.unwrap();
            assert_eq!(report.result["asked"], json!([]), "{name}: nothing is fetched from anywhere");
            let shown = report.result["shown"].as_array().unwrap();
            assert_eq!(shown.len(), 2, "{name}: with its style sheet and without");
            for one in shown {
                let what = format!("{name} on a {screen:?}: {one}");
                assert_eq!((&one["width"], &one["sideways"]), (&json!(width), &Value::Bool(false)), "{what}");
                assert_eq!((&one["links"], &one["visible"]), (&json!(links), &Value::Bool(true)), "{what}");
                assert_eq!((&one["pictures"], &one["scripts"]), (&json!(0), &json!(0)), "{what}");
                let text = one["text"].as_str().unwrap();
                assert!(words.iter().all(|word| text.contains(word)), "{what}");
                let dir = if name.contains(".ar.") { "rtl" } else { "ltr" };
                assert_eq!(one["dir"], dir, "{what}");
            }
        }
    }
}
