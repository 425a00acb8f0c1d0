//! A marked secret passes through all flows, and is searched for in everything that is left of them (invariants 1 and 2).

use std::time::Duration;

use ps_core::encode::from_b64;
use ps_core::link::Verification;
use ps_testbed::{
    Fault, HttpProxy, Mail, OpenBao, Phase, ProxyAction, ProxyRule, SmtpOptions, SmtpServer, memory_of, unique,
    wait_until,
};
use serde_json::{Value, json};

use crate::support::{
    Invitation, KvSource, Needle, Recipient, RoleSource, SOON, Search, Setup, Stand, kv_delivery, role_delivery,
};

/// What somebody thought of who knows the recipient. Every encoding has something to change in it.
fn phrase() -> String {
    format!("{}<&=\"%/\\+ü€>", unique("CanaryPhrase"))
}

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
    let (version_1, letters) = (unique("kv1"), unique("letters"));
    bao.mount_kv1(&version_1).await.unwrap();
    bao.password_policy(&letters, "length = 24\nrule \"charset\" { charset = \"abcdefghijkmnpqrstuvwxyz\" }")
        .await
        .unwrap();
    let rights = format!(
        "path \"{mount}/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}\n\
         path \"{version_1}/*\" {{ capabilities = [\"read\", \"update\"] }}\n\
         path \"sys/policies/password/{letters}/generate\" {{ capabilities = [\"read\"] }}\n{}",
        role.policy()
    );
    stand.connect(&bao, &proxy.address(), &rights).await;

    let (mut needles, mut codes) = (Vec::new(), Vec::new());
    let names = [
        "opened",
        "revoked",
        "declined",
        "disputed",
        "held",
        "lost",
        "failing",
        "raced",
        "phrased",
        "expired",
        "removed",
        "version-1",
        "policied",
        "again",
    ];
    let phrase = phrase();
    stand.secret("phrase", "passphrase", &phrase);
    needles.push(Needle::new(PHRASE, &phrase));
    let mut links = Vec::new();
    for name in names {
        // Every encoding has something to change in it.
        let mark = format!("{}<&=\"%/\\+ü€>", unique("CanaryMark"));
        let source = match name {
            "version-1" => kv1_source(&bao, &version_1, &mark).await,
            _ => KvSource::with_password(&bao, &mount, &mark).await,
        };
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
        let sender = format!("{}@v.example", unique("sender"));
        let mut more = json!({"notify": {"email": sender, "events": ["Retrieved", "Declined", "Expired", "Rotated"]}});
        if name == "phrased" {
            let key = json!({"secretKeyRef": {"name": "phrase", "key": "passphrase"}});
            more["verification"] = json!({"passphrase": key});
        }
        match name {
            "version-1" => more["source"] = json!({"vault": {"kv": {"version": 1}}}),
            "policied" => more["rotation"] = json!({"passwordPolicy": letters}),
            _ => {}
        }
        let ttl = if name == "expired" { "1m" } else { "1h" };
        stand.apply(name, &kv_delivery(name, &to, &source, ttl, "1s", more.clone()));
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
            "removed" => {
                stand.wait_status(name, "delivered", SOON, |s| s.is("Delivered")).await;
                stand.remove(name);
            }
            "phrased" => {
                let kinds = [Verification::Passphrase];
                let wrong = Recipient::demanded(&invitation, &kinds, Some("not this one"));
                assert_eq!(wrong.claim().await.status, 403);
                let recipient = Recipient::demanded(&invitation, &kinds, Some(&phrase));
                let claimed = wait_until("its turn", SOON, async || {
                    Some(recipient.claim().await).filter(|answer| answer.status == 200)
                });
                assert_eq!(recipient.unseal(&claimed.await.unwrap())["password"], source.password);
            }
            "again" => {
                stand.wait_status(name, "delivered", SOON, |s| s.is("Delivered")).await;
                let mut again = more.clone();
                again["redeliver"] = json!("2");
                stand.apply(name, &kv_delivery(name, to, source, "1h", "1s", again));
                let mails = smtp.wait_for_mails(to, 2, SOON).await.unwrap();
                assert_eq!(recipient.claim().await.state(), "revoked");
                let second = Invitation::of(&mails[1]);
                link_needles(name, &second, &mut needles, &mut codes);
                let opened = Recipient::new(&second).open().await;
                needles.push(Needle::new("what was sent again", &opened["password"]));
            }
            // Nobody opens it.
            "expired" => {}
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
        // The status of what was removed goes with it.
        let rotated = wait_until("the rotation", SOON * 2, async || {
            (now(&bao, name, source).await != source.password).then_some(())
        });
        rotated.await.unwrap_or_else(|e| panic!("{name}: {e}\n{}", stand.log_text()));
        if *name != "removed" {
            stand.wait_rotated(name, SOON).await;
        }
        let fresh = now(&bao, name, source).await;
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
    let mut owners: Vec<(&str, &str)> = links.iter().map(|(name, to, ..)| (*name, to.as_str())).collect();
    owners.push(("role", &role_to));
    for (name, _, _, more) in &links {
        let sender = more["notify"]["email"].as_str().unwrap();
        smtp.wait_for_mail(sender, SOON).await.unwrap_or_else(|e| panic!("no notice of {name}: {e}"));
    }
    for search in [&search, &codes] {
        search_mails(&smtp, search, &owners).await;
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

    // All that is the quietest was written as well: only that level tells of a mail server that is gone when a session ends.
    let (source, to) = (KvSource::below(&bao, &mount).await, format!("{}@v.example", unique("last")));
    stand.apply("last", &kv_delivery("last", &to, &source, "1h", "1h", Value::Null));
    stand.wait_status("last", "delivered", SOON, |s| s.is("Delivered")).await;
    smtp.kill().unwrap();
    stand.stop();
    let log = stand.log_text();
    assert!(log.contains(" TRACE "), "the log is as loud as it can be");
    for search in [&search, &codes] {
        assert_eq!(search.found_in(log.as_bytes()), [""; 0], "log");
    }
}

/// A secret of KV version 1, with no key that nobody names.
async fn kv1_source(bao: &OpenBao, mount: &str, password: &str) -> KvSource {
    let source = KvSource { mount: mount.to_owned(), path: unique("app"), password: password.to_owned() };
    bao.kv1_put(mount, &source.path, json!({"username": "shop", "password": password})).await.unwrap();
    source
}

/// The password that Vault holds now.
async fn now(bao: &OpenBao, name: &str, source: &KvSource) -> String {
    let data = match name {
        "version-1" => bao.kv1_get(&source.mount, &source.path).await.unwrap().unwrap(),
        _ => source.now(bao).await,
    };
    data["password"].as_str().unwrap().to_owned()
}

/// The passphrase, as a needle.
const PHRASE: &str = "the passphrase";

/// A link is in its own recipient's mails and in no other, and no mail holds a value or a passphrase.
async fn search_mails(smtp: &SmtpServer, search: &Search, owners: &[(&str, &str)]) {
    let mails = smtp.all_mails().await.unwrap();
    let (foreign, carrying) = found_in_mails(&mails, search, owners);
    assert_eq!(foreign, [""; 0]);
    assert!(carrying >= owners.len(), "{carrying} mails carry what they must");
    assert!(mails.len() >= carrying + owners.len() - 1, "the notices are there too: {} mails", mails.len());
    let (foreign, carrying) = found_in_mails(&mails, search, &[]);
    assert!(foreign.len() >= owners.len() && carrying == 0, "the control: none of them is anybody's own");
}

/// What is in mails where it does not belong, and how many hold what does.
fn found_in_mails(mails: &[Mail], search: &Search, owners: &[(&str, &str)]) -> (Vec<String>, usize) {
    const OPENS: [&str; 4] = ["the link of", "S of", "the opening code of", "the bare opening code of"];
    let (mut foreign, mut carrying) = (Vec::new(), 0);
    for mail in mails {
        // As it was sent, and as it is read: a long line is broken on its way.
        let read = [&mail.text, &mail.html].into_iter().flatten().map(|text| text.clone().into_bytes());
        let parts = read.chain([mail.raw().unwrap()]);
        let found: Vec<String> = parts.flat_map(|part| search.found_in(&part)).collect();
        let owner = owners.iter().find(|(_, to)| mail.recipients.iter().any(|recipient| recipient == to));
        let is_own = |what: &String| {
            owner.is_some_and(|(name, _)| OPENS.iter().any(|kind| what.starts_with(&format!("{kind} {name} as "))))
        };
        carrying += usize::from(found.iter().any(is_own));
        let others = found.into_iter().filter(|what| !is_own(what));
        foreign.extend(others.map(|what| format!("{what} in a mail to {:?}", mail.recipients)));
    }
    (foreign, carrying)
}

async fn search_files(stand: &Stand, search: &Search, bao: &std::path::Path) {
    // What was erased is truncated from the write-ahead log within a second.
    let quiet = wait_until("nothing in the store's and the ledger's files", Duration::from_secs(10), async || {
        search.found_below(&stand.path("data")).is_empty().then_some(())
    });
    quiet.await.unwrap_or_else(|e| panic!("{e}: {:?}", search.found_below(&stand.path("data"))));
    assert_eq!(search.found_below(&stand.path("manifests")), [""; 0]);
    // The passphrase is there because the sender has put it there.
    let mut secrets = search.found_below(&stand.path("secrets"));
    secrets.retain(|what| !what.starts_with(&format!("{PHRASE} as raw in ")));
    assert_eq!(secrets, [""; 0]);
    assert_eq!(search.found_in(stand.metrics().await.as_bytes()), [""; 0], "metrics");
    let log = stand.log_text();
    assert!(log.contains(" DEBUG "), "louder than usual");
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
        memory_of(pid, |_, piece| {
            there += control.found_in(piece).len();
            let what = search.found_in(piece).into_iter().chain(codes.found_in(piece));
            found.extend(what.map(|what| format!("{what} in the {process}'s memory")));
        })
        .unwrap();
        assert!(there > 0, "the {process}'s own folder must be found in its memory, or the search proves nothing");
    }
    found.sort();
    found.dedup();
    assert_eq!(found, [""; 0]);
}
