//! What a visit tells: the page speaks the visitor's language, and tells nobody where they came from.

use std::path::Path;

use ps_testbed::{RunDir, Screen};
use serde_json::{Value, json};

use crate::browser;
use crate::sent::put;
use crate::support::Server;

/// A text of the page as it was written in this language.
fn written(language: &str, key: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/src/i18n");
    let text = std::fs::read_to_string(folder.join(format!("{language}.json"))).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()[key].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_page_speaks_the_first_language_of_the_browser_that_it_knows_and_else_english() {
    let server = Server::start().await;
    let link = put(&server).await.link;
    let by_locale = |locale: &str| json!({"link": link, "contextOptions": {"locale": locale}});
    let by_list = |languages: &[&str]| json!({"link": link, "languages": languages});
    for (screen, args, language) in [
        (Screen::Desktop, by_locale("fr-CA"), "fr"),
        (Screen::Phone, by_locale("pt-BR"), "pt"),
        (Screen::Phone, by_locale("ar-EG"), "ar"),
        // Swahili: nobody has written it.
        (Screen::Desktop, by_locale("sw-KE"), "en"),
        (Screen::Desktop, by_list(&["sv-SE", "nl-BE", "fr"]), "nl"),
        (Screen::Desktop, by_list(&[]), "en"),
    ] {
        let profile = RunDir::new("profile").unwrap();
        let report = browser(3).await.on(screen).run_in("language", args.clone(), profile.path()).await.unwrap();
        let shown = &report.result;
        assert_eq!((&shown["lang"], &shown["chosen"]), (&json!(language), &json!(language)), "{args}: {shown}");
        assert_eq!(shown["heading"], written(language, "ask.h"), "{args}");
        assert_eq!(shown["dir"], if language == "ar" { "rtl" } else { "ltr" }, "{args}");
        let texts: Vec<_> = report.requests.iter().filter(|r| r.url.ends_with(&format!("/{language}.json"))).collect();
        assert_eq!(texts.len(), 1, "the visitor's language is asked for: {:?}", report.requests);
        assert!(report.page_errors.is_empty(), "{:?}", report.page_errors);
    }
}

#[tokio::test]
async fn no_request_names_the_page_that_it_comes_from() {
    let server = Server::start().await;
    for screen in Screen::ALL {
        let sent = put(&server).await;
        let args = json!({"link": sent.link, "code": sent.code});
        let report = browser(3).await.on(screen).run("referrer", args).await.unwrap();
        let (result, base) = (&report.result, sent.link.split('#').next().unwrap());
        assert_eq!(result["referrers"], json!([]), "{result}");
        assert!(result["looked"].as_u64().unwrap() > 6, "{result}");
        assert_eq!(result["careless"], format!("{base}careless"), "the search must find what is there");
        assert_eq!(result["address"], sent.link, "cleaned at once: the token is where no request takes it along");
        assert!(report.page_errors.is_empty(), "{:?}", report.page_errors);
    }
}
