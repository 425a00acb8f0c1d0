//! Back and forward, in a browser: whoever returns finds their link as it is then, and nobody finds what they had seen.

use ps_core::link::JournalEvent;
use ps_testbed::Screen;
use serde_json::json;

use crate::browser;
use crate::sent::{self, put};
use crate::support::Server;

/// Another site, as a browser sees it: the same gateway under another name, without a link.
fn another_site(server: &Server) -> String {
    format!("http://localhost:{}/", server.address.port())
}

/// Opens a link, goes to and fro, opens it again, saves it, and goes to and fro; says how often the browser had kept the page.
async fn wanders(server: &Server, screen: Screen, elsewhere: &str, there: &str, keeps: bool) -> u64 {
    let sent = put(server).await;
    let args = json!({"link": sent.link, "code": sent.code, "elsewhere": elsewhere, "there": there, "keeps": keeps});
    let report = browser(3).await.on(screen).run("back_and_forward", args).await.unwrap();
    let states = ["ask", "opened", there, "ask", there, "ask", "opened", "done"];
    let later = [there, "over:mine", there, "over:mine"];
    assert_eq!(report.result["states"], json!([&states[..], &later[..]].concat()));
    assert_eq!(report.result["value"], "correct horse battery staple");
    assert!(report.page_errors.is_empty(), "{:?}", report.page_errors);
    let journal: Vec<_> = sent::record(server, sent.id).await.journal.iter().map(|entry| entry.event).collect();
    assert_eq!(journal, [JournalEvent::Claimed, JournalEvent::Acknowledged]);
    report.result["kept"].as_u64().unwrap()
}

#[tokio::test]
async fn back_and_forward_show_a_link_as_it_is_now_and_the_browser_keeps_no_page() {
    let server = Server::start().await;
    for screen in Screen::ALL {
        let kept = wanders(&server, screen, &another_site(&server), "noLink", false).await;
        assert_eq!(kept, 0, "a page that is kept as it was left is a copy of what it showed");
    }
}

#[tokio::test]
async fn a_browser_that_keeps_pages_as_they_were_left_keeps_no_secret() {
    let server = Server::start().await;
    for screen in Screen::ALL {
        let kept = wanders(&server, screen, &another_site(&server), "noLink", true).await;
        assert_eq!(kept, 4, "each time they went back, or this shows nothing");
    }
}

#[tokio::test]
async fn back_to_another_link_in_the_same_tab_shows_that_link() {
    let server = Server::start().await;
    for screen in Screen::ALL {
        let other = put(&server).await;
        wanders(&server, screen, &other.link, "ask", false).await;
        let link = sent::record(&server, other.id).await;
        assert_eq!((link.journal.len(), link.tries.wrong_codes), (0, 0), "the other one is as it was");
    }
}
