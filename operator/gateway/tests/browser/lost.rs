//! Answers that are lost on their way to a browser: nothing is lost with them, and nobody else gets anything.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use ps_core::ids::LinkId;
use ps_core::link::{JournalEvent, State};
use ps_core::ports::LinkStore;
use ps_core::time::Timestamp;
use ps_store::EmbeddedStore;
use ps_testbed::process::Process;
use ps_testbed::{HttpProxy, ProxyAction, ProxyRule, RunDir, Screen, free_port, wait_until};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::browser;
use crate::sent::{self, Sent, put, put_in};
use crate::support::{PATIENCE, Server};

/// A proxy in front of a gateway, which does this to the first claim: the gateway has done it then.
fn losing(gateway: &str, action: ProxyAction) -> HttpProxy {
    let proxy = HttpProxy::start(&format!("http://{gateway}")).unwrap();
    proxy.rule(ProxyRule::new("/links/claim", action).times(1));
    proxy
}

/// The same link, by way of the proxy.
fn through(proxy: &HttpProxy, link: &str) -> String {
    format!("{}/#{}", proxy.address(), link.split_once('#').unwrap().1)
}

async fn wait_claimed(store: &dyn LinkStore, id: LinkId) {
    let claimed = async || {
        let found = store.get(id).await.unwrap().unwrap();
        (found.value.link().unwrap().state == State::Claimed).then_some(())
    };
    wait_until("the commit", PATIENCE, claimed).await.unwrap();
}

async fn glances(screen: Screen, profile: &RunDir, args: Value) -> Value {
    browser(3).await.on(screen).run_in("glance_at_link", args, profile.path()).await.unwrap().result
}

#[tokio::test]
async fn the_page_itself_asks_again_when_an_answer_is_cut() {
    let server = Server::start().await;
    for screen in Screen::ALL {
        let proxy = losing(&server.address.to_string(), ProxyAction::DoneButDrop);
        let Sent { id, link, code } = put(&server).await;
        let args = json!({"link": through(&proxy, &link), "code": code});
        let report = browser(3).await.on(screen).run("lose_answer", args).await.unwrap();
        assert_eq!(report.result["states"], json!(["ask", "opened", "done"]));
        assert_eq!(report.result["value"], "correct horse battery staple");
        let journal: Vec<_> = sent::record(&server, id).await.journal.iter().map(|entry| entry.event).collect();
        assert_eq!(journal, [JournalEvent::Claimed, JournalEvent::Acknowledged]);
        let claims: Vec<_> = proxy.requests().into_iter().filter(|r| r.path.ends_with("/links/claim")).collect();
        assert_eq!(
            claims.iter().map(|r| (r.server, r.client)).collect::<Vec<_>>(),
            [(Some(200), None), (Some(200), Some(200))]
        );
    }
}

#[tokio::test]
async fn a_tab_that_is_closed_before_its_answer_came_opens_the_link_later() {
    let server = Server::start().await;
    for screen in Screen::ALL {
        let proxy = losing(&server.address.to_string(), ProxyAction::DoneButHang);
        let Sent { id, link, code } = put(&server).await;
        let link = through(&proxy, &link);
        let (profile, folder) = (RunDir::new("profile").unwrap(), RunDir::new("told").unwrap());
        let leave = folder.path().join("leave");
        let args = json!({"link": link, "code": code, "leave": leave});
        let found = browser(3).await.on(screen);
        let (report, ()) = tokio::join!(found.run_in("lose_answer", args, profile.path()), async {
            wait_claimed(&*server.store, id).await;
            fs::write(&leave, "now").unwrap();
        });
        assert_eq!(report.unwrap().result["states"], json!(["ask"]));
        let stranger = glances(screen, &RunDir::new("stranger").unwrap(), json!({"link": link})).await;
        assert_eq!(stranger, json!({"state": "over:claimed", "fields": 0}));
        let back = glances(screen, &profile, json!({"link": link, "press": true})).await;
        assert_eq!(back, json!({"state": "opened", "fields": 2}));
    }
}

/// The network is gone when a recipient looks and presses "open", or goes once the gateway has claimed. It is back when the page has
/// said that nobody answers, and then the same browser gets the secret.
async fn loses_its_network(server: &Server, screen: Screen, proxy: &HttpProxy, in_the_middle: bool) {
    let Sent { id, link, code } = put(server).await;
    let folder = RunDir::new("told").unwrap();
    let file = |name: &str| folder.path().join(name);
    let args = json!({
        "link": through(proxy, &link), "code": code, "told": file("told"), "again": file("again"),
        "claimed": in_the_middle.then(|| file("claimed")),
    });
    let found = browser(3).await.on(screen);
    let (report, ()) = tokio::try_join!(found.run("lose_network", args), async {
        if in_the_middle {
            wait_claimed(&*server.store, id).await;
            fs::write(file("claimed"), "now").unwrap();
        }
        let seen = async || file("told").exists().then_some(());
        wait_until("the page to say that nobody answers", Duration::from_secs(90), seen).await.unwrap();
        let state = if in_the_middle { State::Claimed } else { State::Open };
        assert_eq!(sent::state(server, id).await, state);
        proxy.clear();
        fs::write(file("again"), "now").unwrap();
        Ok(())
    })
    .unwrap();
    let first = if in_the_middle { ["ask", "unreachable", "ask"] } else { ["trouble", "ask", "unreachable"] };
    let states = [first, ["opened", "unreachable, opened", "done"]].concat();
    assert_eq!(report.result["states"], json!(states));
    assert_eq!(report.result["value"], "correct horse battery staple");
    assert!(report.page_errors.is_empty(), "{:?}", report.page_errors);
    let journal: Vec<_> = sent::record(server, id).await.journal.iter().map(|entry| entry.event).collect();
    assert_eq!(journal, [JournalEvent::Claimed, JournalEvent::Acknowledged]);
}

#[tokio::test]
async fn a_network_that_is_gone_before_a_claim_takes_nothing_with_it() {
    let server = Server::start().await;
    for screen in Screen::ALL {
        let proxy = HttpProxy::start(&format!("http://{}", server.address)).unwrap();
        proxy.rule(ProxyRule::new("/links/lookup", ProxyAction::Drop).times(1));
        loses_its_network(&server, screen, &proxy, false).await;
        let claims = proxy.requests().into_iter().filter(|r| r.path.ends_with("/links/claim")).count();
        assert_eq!(claims, 1, "what was pressed without a network is not sent later");
    }
}

#[tokio::test]
async fn a_network_that_goes_in_the_middle_of_a_claim_does_not_either() {
    let server = Server::start().await;
    for screen in Screen::ALL {
        let proxy = losing(&server.address.to_string(), ProxyAction::DoneButDrop);
        // Chromium ends no request when its network is switched off: until then, what it asks for is lost here.
        proxy.rule(ProxyRule::new("/links/claim", ProxyAction::Drop));
        proxy.rule(ProxyRule::new("/links/lookup", ProxyAction::Drop).after(1));
        loses_its_network(&server, screen, &proxy, true).await;
    }
}

/// The gateway's own program, on a port that stays.
async fn gateway(links: &Path, port: u16) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_password-sender-gateway"));
    command.arg("--links").arg(links).args(["--listen", &format!("127.0.0.1:{port}")]);
    let process = Process::spawn("gateway", command).unwrap();
    let serves = async || TcpStream::connect(("127.0.0.1", port)).await.ok();
    wait_until("the gateway", PATIENCE, serves).await.unwrap();
    process
}

#[tokio::test]
async fn a_gateway_killed_between_commit_and_reply_takes_nothing_with_it() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now = Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap());
    for screen in Screen::ALL {
        let (folder, port) = (RunDir::new("killed").unwrap(), free_port().unwrap());
        let links = folder.path().join("links");
        let store = EmbeddedStore::open(&links).unwrap();
        let first = gateway(&links, port).await;
        let address = format!("127.0.0.1:{port}");
        let proxy = losing(&address, ProxyAction::DoneButDrop);
        // Until it is dead, what it answers to later claims is lost, too.
        proxy.rule(ProxyRule::new("/links/claim", ProxyAction::Drop));
        let Sent { id, link, code } = put_in(&store, &address, None, now).await;
        let told = folder.path().join("told");
        let args = json!({"link": through(&proxy, &link), "code": code, "told": told});
        let found = browser(3).await.on(screen);
        let (report, _second) = tokio::join!(found.run("lose_answer", args), async {
            wait_claimed(&store, id).await;
            first.kill().unwrap();
            proxy.clear();
            let seen = async || told.exists().then_some(());
            wait_until("the page to say that nobody answers", Duration::from_secs(90), seen).await.unwrap();
            gateway(&links, port).await
        });
        let result = report.unwrap().result;
        assert_eq!(result["states"], json!(["ask", "unreachable", "opened", "done"]));
        assert_eq!(result["value"], "correct horse battery staple");
        let record = store.get(id).await.unwrap().unwrap().value.link().unwrap().clone();
        let journal: Vec<_> = record.journal.iter().map(|entry| entry.event).collect();
        assert_eq!(journal, [JournalEvent::Claimed, JournalEvent::Acknowledged]);
    }
}
