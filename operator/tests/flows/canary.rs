//! A marked secret passes through all flows, and is searched for in everything that is left of them (invariants 1 and 2).

use std::time::Duration;

use ps_core::encode::from_b64;
use ps_testbed::{
    Fault, HttpProxy, OpenBao, Phase, ProxyAction, ProxyRule, SmtpOptions, SmtpServer, unique, wait_until,
};
use serde_json::{Value, json};

use crate::support::{
    Invitation, KvSource, Needle, Recipient, RoleSource, SOON, Search, Setup, Stand, kv_delivery, memory_of,
    role_delivery,
};

/// What opens one delivery, as needles: the link, and the opening code.
fn link_needles(name: &str, invitation: &Invitation, into: &mut Vec<Needle>, codes: &mut Vec<Needle>) {
    let text = invitation.fragment().strip_prefix("ps1.").unwrap();
    into.push(Needle::new(&format!("the link of {name}"), text));
    into.push(Needle::bytes(&format!("S of {name}"), &from_b64(text).unwrap()));
    codes.push(Needle::new(&format!("the opening code of {name}"), &invitation.code));
    codes.push(Needle::new(&format!("the bare opening code of {name}"), &invitation.code.replace('-', "")));
}

#[tokio::test]
async fn a_marked_secret_is_found_nowhere_and_the_link_only_in_the_mail() {
    let bao = OpenBao::raft().await.unwrap();
    let proxy = HttpProxy::start(bao.address()).unwrap();
    let smtp = SmtpServer::start(SmtpOptions::default()).await.unwrap();
    let setup = Setup { level: "trace", smtp_timeout: "2s", ..Setup::default() };
    let stand = Stand::with_smtp(setup, &smtp).await;
    let mount = KvSource::new(&bao).await.mount;
    let role = RoleSource::new(&bao).await;
    let anywhere = format!("path \"{mount}/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}\n");
    stand.connect(&bao, &proxy.address(), &format!("{anywhere}{}", role.policy())).await;

    let (mut needles, mut codes) = (Vec::new(), Vec::new());
    let names = ["opened", "revoked", "declined", "disputed", "held", "lost", "failing", "raced"];
    let mut links = Vec::new();
    for name in names {
        // Every encoding has something to change in it.
        let mark = format!("{}<&=\"%/\\+ü€>", unique("CanaryMark"));
        let source = KvSource::with_password(&bao, &mount, &mark).await;
        let to = format!("{}@v.example", unique(name));
        needles.push(Needle::new(&format!("the secret of {name}"), &mark));
        match name {
            "held" => smtp.fault(&Fault::reply(Phase::Rcpt, 451, "Later").only_for(&to).times(2)).await.unwrap(),
            "lost" => smtp.fault(&Fault::close(Phase::Final).stored().only_for(&to).times(1)).await.unwrap(),
            "failing" => {
                proxy.rule(
                    ProxyRule::new(&format!("/data/{}", source.path), ProxyAction::DoneBut(500)).method("GET").times(1),
                );
                proxy.rule(ProxyRule::new(&source.path, ProxyAction::DoneButDrop).method("PATCH").times(1));
            }
            _ => {}
        }
        let more = json!({"notify": {"email": format!("{}@v.example", unique("sender")), "events": ["Retrieved", "Declined", "Rotated"]}});
        stand.apply(name, &kv_delivery(name, &to, &source, "1h", "1s", more.clone()));
        links.push((name, to, source, more));
    }
    let role_to = format!("{}@v.example", unique("role"));
    stand.apply("role", &role_delivery("role", &role_to, &role, "1h", "1s", Value::Null));
    needles.push(Needle::new("the first password of the role", &role.password));

    for (name, to, source, more) in &links {
        let mail = smtp.wait_for_mail(to, SOON).await.unwrap();
        let invitation = Invitation::of(&mail);
        let raw = mail.raw().unwrap();
        assert!(String::from_utf8_lossy(&raw).contains(&invitation.code), "the mail is where it must be");
        link_needles(name, &invitation, &mut needles, &mut codes);
        let recipient = Recipient::new(&invitation);
        match *name {
            "revoked" => {
                let mut revoked = more.clone();
                revoked["revoked"] = json!(true);
                stand.wait_status(name, "delivered", SOON, |s| s.is("Delivered")).await;
                stand.apply(name, &kv_delivery(name, to, source, "1h", "1s", revoked));
            }
            "declined" => assert_eq!(recipient.decline().await.status, 200),
            "raced" => {
                let wrong = Recipient::new(&Invitation { code: "0000-0000".into(), ..invitation.clone() });
                assert_eq!(wrong.claim().await.status, 403);
                let opened =
                    wait_until("its turn", SOON, async || (recipient.claim().await.status == 200).then_some(()));
                opened.await.unwrap();
                recipient.claim_and_hang_up().await;
            }
            _ => {
                assert_eq!(recipient.open().await["password"], source.password, "{name}");
                recipient.acknowledge().await;
                if *name == "disputed" {
                    assert_eq!(recipient.decline().await.status, 200);
                }
            }
        }
    }
    let invitation = Invitation::of(&smtp.wait_for_mail(&role_to, SOON).await.unwrap());
    link_needles("role", &invitation, &mut needles, &mut codes);
    assert_eq!(Recipient::new(&invitation).open().await["password"], role.password);
    for (name, _, source, _) in &links {
        stand.wait_rotated(name, SOON * 2).await;
        let fresh = source.now(&bao).await["password"].as_str().unwrap().to_owned();
        needles.push(Needle::new(&format!("the new password of {name}"), &fresh));
    }
    stand.wait_rotated("role", SOON).await;
    needles.push(Needle::new("the new password of the role", &role.current(&bao).await));

    let search = Search::new(needles);
    let codes = Search::new(codes);
    search.assert_it_finds_what_is_there();
    codes.assert_it_finds_what_is_there();
    for search in [&search, &codes] {
        search_files(&stand, search, &bao.folder().unwrap()).await;
    }
    // The acts are over when all rest and every connection that was used is idle.
    stand.wait_status("role", "rest", SOON, |s| s.is("Rotated")).await;
    search_memory(&stand, &search, &codes);

    // And once more after a restart, which reads everything that is remembered.
    stand.restart().await;
    for search in [&search, &codes] {
        search_files(&stand, search, &bao.folder().unwrap()).await;
    }
    search_memory(&stand, &search, &codes);
}

async fn search_files(stand: &Stand, search: &Search, bao: &std::path::Path) {
    // What was erased is truncated from the write-ahead log within a second.
    let quiet = wait_until("nothing in the store's and the ledger's files", Duration::from_secs(10), async || {
        search.found_below(&stand.path("data")).is_empty().then_some(())
    });
    quiet.await.unwrap_or_else(|e| panic!("{e}: {:?}", search.found_below(&stand.path("data"))));
    assert_eq!(search.found_below(&stand.path("manifests")), [""; 0]);
    assert_eq!(search.found_below(&stand.path("secrets")), [""; 0]);
    assert_eq!(search.found_in(stand.metrics().await.as_bytes()), [""; 0], "metrics");
    let log = stand.log_text();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is as loud as it can be");
    assert_eq!(search.found_in(log.as_bytes()), [""; 0], "log");
    assert_eq!(search.found_below(bao), [""; 0], "OpenBao's storage and audit log");
}

/// Neither process keeps anything: both wipe what they free.
fn search_memory(stand: &Stand, search: &Search, codes: &Search) {
    let mut found = Vec::new();
    for (process, pid, known) in
        [("operator", stand.pid(), "manifests"), ("gateway", stand.gateway_pid(), "data/links")]
    {
        let control = Search::new(vec![Needle::new("control", &stand.path(known).display().to_string())]);
        let mut there = 0;
        memory_of(pid, |piece| {
            there += control.found_in(piece).len();
            let what = search.found_in(piece).into_iter().chain(codes.found_in(piece));
            found.extend(what.map(|what| format!("{what} in the {process}'s memory")));
        });
        assert!(there > 0, "the {process}'s own folder must be found in its memory, or the search proves nothing");
    }
    found.sort();
    found.dedup();
    assert_eq!(found, [""; 0]);
}
