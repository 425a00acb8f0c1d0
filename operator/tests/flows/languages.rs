//! The recipient's language, and templates of the configuration, up to the mail that arrives.

use std::fs;

use ps_testbed::{Testbed, unique};
use serde_json::json;

use crate::support::{KvSource, Setup, Stand, kv_delivery};

#[tokio::test]
async fn a_mail_is_in_the_recipients_language_and_by_the_configured_templates() {
    let testbed = Testbed::connect_or_start().unwrap();
    let (bao, smtp) = (testbed.bao().await.unwrap(), testbed.smtp().await.unwrap());
    let source = KvSource::new(bao).await;
    let stand = Stand::prepare(Setup::default(), smtp);
    let config = fs::read_to_string(stand.path("config.yaml")).unwrap();
    let with_templates = config.replace("mail: {hold: 15m}", "mail: {hold: 15m, templates: templates}");
    assert_ne!(config, with_templates);
    fs::write(stand.path("config.yaml"), with_templates).unwrap();
    fs::create_dir(stand.path("templates")).unwrap();
    fs::write(stand.path("templates/link.subject"), "[ACME] {{ words.subject }}\n").unwrap();
    stand.run().await;
    stand.connect_by_approle(bao, &source.policy()).await;

    let to = format!("{}@vendor.example", unique("alice"));
    let context = json!({"title": "ONLY-INSIDE-1", "purpose": "ONLY-INSIDE-2", "note": "ONLY-INSIDE-3",
        "environment": "ONLY-INSIDE-4", "url": "https://only-inside-5.example/"});
    let recipient = json!({"email": to, "name": "Zoë", "locale": "de-CH"});
    let more = json!({"context": context, "recipient": recipient});
    stand.apply("shop", &kv_delivery("shop", &to, &source, "10m", "15s", more));
    let mail = stand.mail(&to).await;
    assert_eq!(mail.subject, "[ACME] Platform team sendet Ihnen Zugangsdaten");
    assert_eq!(mail.header("content-language"), Some("de"));
    let (text, html) = (mail.text.unwrap(), mail.html.unwrap());
    assert!(text.contains("Guten Tag Zoë,") && text.contains("gelten die Zugangsdaten 15 Sekunden lang"), "{text}");
    for part in [text, html] {
        assert!(!part.to_lowercase().contains("only-inside") && !part.contains(&source.password), "{part}");
    }
}
