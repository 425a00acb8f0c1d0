//! A marked secret passes through the flows of a cluster, and is searched for in everything that is left of them
//! (invariants 1 and 2): logs, statuses, Events, etcd, the API server's audit log with all requests and answers, OpenBao's
//! storage and audit log, metrics, audit trails, memory.

use std::fs;

use ps_core::encode::from_b64;
use ps_testbed::{
    AuditLevel, Cluster, ClusterOptions, Fault, HttpProxy, OpenBao, Phase, ProxyAction, ProxyRule, Testbed, memory_of,
    unique, wait_until,
};
use serde_json::{Value, json};

use crate::stand::{Program, Setup, Stand};
use crate::support::{
    Invitation, KvSource, Needle, PAST_TTL, Recipient, RoleSource, SOON, Search, client, kv_delivery, role_delivery,
};

const NAMES: [&str; 9] = ["expired", "opened", "revoked", "declined", "disputed", "held", "lost", "failing", "deleted"];

/// What opens one delivery, as needles.
fn link_needles(name: &str, invitation: &Invitation, into: &mut Vec<Needle>) {
    let text = invitation.fragment().strip_prefix("ps1.").unwrap();
    into.push(Needle::new(&format!("the link of {name}"), text));
    into.push(Needle::bytes(&format!("S of {name}"), &from_b64(text).unwrap()));
    into.push(Needle::new(&format!("the opening code of {name}"), &invitation.code));
    into.push(Needle::new(&format!("the bare opening code of {name}"), &invitation.code.replace('-', "")));
}

#[tokio::test]
async fn a_marked_secret_is_nowhere_in_the_cluster_and_the_link_only_in_the_mail() {
    let options = ClusterOptions { audit: AuditLevel::RequestResponse, ..ClusterOptions::default() };
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(options).await.unwrap()));
    let bao = OpenBao::raft().await.unwrap();
    let proxy = HttpProxy::start(bao.address()).unwrap();
    let setup = Setup { operators: 2, gateways: 2, level: "trace", ..Setup::default() };
    let stand = Stand::prepare_on(setup, cluster).await;
    cluster.trust_from(&bao, &stand.auth).await.unwrap();
    let mount = KvSource::new(&bao).await.mount;
    let role = RoleSource::new(&bao).await;
    let anywhere = format!("path \"{mount}/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}\n");
    let policy = format!("{anywhere}{}", role.policy());
    stand.connect_as(&bao, &proxy.address(), &stand.tenant, &policy, json!({})).await;
    stand.run().await;

    let mut needles = vec![Needle::new("the first password of the role", &role.password)];
    let mut ciphertexts = Vec::new();
    let smtp = Testbed::connect_or_start().unwrap().smtp().await.unwrap();
    let mut links = Vec::new();
    for name in NAMES {
        // Every encoding has something to change in it.
        let mark = format!("{}<&=\"%/\\+ü€>", unique("CanaryMark"));
        let source = KvSource::with_password(&bao, &mount, &mark).await;
        let to = format!("{}@v.example", unique(name));
        needles.push(Needle::new(&format!("the secret of {name}"), &mark));
        match name {
            "held" => smtp.fault(&Fault::reply(Phase::Rcpt, 451, "Later").only_for(&to).times(2)).await.unwrap(),
            "lost" => smtp.fault(&Fault::close(Phase::Final).stored().only_for(&to).times(1)).await.unwrap(),
            "failing" => {
                let read = ProxyRule::new(&format!("/data/{}", source.path), ProxyAction::DoneBut(500));
                proxy.rule(read.method("GET").times(1));
                proxy.rule(ProxyRule::new(&source.path, ProxyAction::DoneButDrop).method("PATCH").times(1));
            }
            _ => {}
        }
        let sender = format!("{}@v.example", unique("sender"));
        let more = json!({"notify": {"email": sender, "events": ["Retrieved", "Declined", "Rotated"]}});
        let ttl = if name == "expired" { "1m" } else { "1h" };
        stand.apply(&kv_delivery(name, &to, &source, ttl, "1s", more)).await;
        links.push((name, to, source));
    }
    let role_to = format!("{}@v.example", unique("role"));
    stand.apply(&role_delivery("role", &role_to, &role, "1h", "1s", Value::Null)).await;

    for (name, to, source) in &links {
        let mail = stand.mail(to).await;
        let invitation = Invitation::of(&mail);
        link_needles(name, &invitation, &mut needles);
        let recipient = Recipient::new(&invitation);
        match *name {
            "expired" => {}
            "revoked" => {
                stand.wait_status(name, "delivered", SOON, |s| s.is("Delivered")).await;
                stand.patch(name, json!({"spec": {"revoked": true}})).await;
            }
            "deleted" => stand.delete(name).await,
            "declined" => assert_eq!(recipient.decline().await.status, 200),
            _ => {
                let claimed = recipient.claim().await;
                assert_eq!(recipient.unseal(&claimed)["password"], source.password, "{name}");
                let ciphertext = from_b64(claimed.body["ciphertext"].as_str().unwrap()).unwrap();
                ciphertexts.push(Needle::bytes(&format!("the ciphertext of {name}"), &ciphertext[..48]));
                recipient.acknowledge().await;
                if *name == "disputed" {
                    assert_eq!(recipient.decline().await.status, 200);
                }
            }
        }
    }
    let invitation = Invitation::of(&stand.mail(&role_to).await);
    link_needles("role", &invitation, &mut needles);
    assert_eq!(Recipient::new(&invitation).open().await["password"], role.password);

    // Needle and control: planted through the API, so that it must be where objects are kept and logged.
    let planted = unique("Planted<\"canary");
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "planted"}, "stringData": {"k": planted}});
    let secrets = format!("/api/v1/namespaces/{}/secrets", stand.tenant);
    cluster.call("POST", &secrets, Some(&secret)).await.unwrap();

    for (name, _, source) in &links {
        if *name == "deleted" {
            stand.wait_gone(&stand.uri(name), SOON).await;
            stand.wait_nothing_owed(PAST_TTL).await;
        } else {
            stand.wait_rotated(name, PAST_TTL).await;
        }
        let fresh = source.now(&bao).await["password"].as_str().unwrap().to_owned();
        assert_ne!(fresh, source.password, "{name}");
        needles.push(Needle::new(&format!("the new password of {name}"), &fresh));
    }
    stand.wait_rotated("role", SOON).await;
    needles.push(Needle::new("the new password of the role", &role.current(&bao).await));

    let search = Search::new(needles);
    search.assert_it_finds_what_is_there();
    let control = Search::new(vec![Needle::new("control", &planted)]);
    search_cluster(&stand, &search, &control).await;
    search_vault(&search, &bao, &mount);
    search_programs(&stand, &search).await;
    tokens_are_in_no_log_of_ours(&stand);
    ciphertext_goes_with_compaction(cluster, Search::new(ciphertexts)).await;

    // And once more after a restart, which reads everything that is remembered.
    stand.restart_operators().await;
    search_cluster(&stand, &search, &control).await;
    search_programs(&stand, &search).await;
}

/// What the API server keeps, shows and logs.
async fn search_cluster(stand: &Stand, search: &Search, control: &Search) {
    let cluster = stand.cluster;
    for path in [
        "/apis/passwordsender.io/v1alpha1/secretdeliveries",
        "/apis/passwordsender.io/v1alpha1/vaultconnections",
        "/apis/events.k8s.io/v1/events",
        "/apis/coordination.k8s.io/v1/leases",
    ] {
        let list = cluster.call("GET", path, None).await.unwrap();
        assert!(list["items"].as_array().is_some_and(|items| !items.is_empty()), "{path}");
        assert_eq!(search.found_in(&serde_json::to_vec(&list).unwrap()), [""; 0], "{path}");
    }
    // Writes come into the database file a moment later.
    let there = wait_until("the control in etcd", SOON, async || {
        (!control.found_in(&cluster.etcd_raw_bytes().ok()?).is_empty()).then_some(())
    });
    there.await.unwrap();
    for (place, bytes) in [
        ("etcd's database", cluster.etcd_raw_bytes().unwrap()),
        ("etcd's log", cluster.etcd_wal_bytes().unwrap()),
        ("the API server's audit log", fs::read(cluster.audit_log()).unwrap()),
    ] {
        assert!(!control.found_in(&bytes).is_empty(), "what is planted is not found in {place}");
        assert_eq!(search.found_in(&bytes), [""; 0], "{place}");
    }
}

fn search_vault(search: &Search, bao: &OpenBao, mount: &str) {
    let audit = fs::read_to_string(bao.audit_log().unwrap()).unwrap();
    assert!(audit.contains(&format!("{mount}/data/")), "its audit log tells of our reads");
    assert_eq!(search.found_below(&bao.folder().unwrap()), [""; 0], "OpenBao's storage and audit log");
}

/// What our programs log, show, write and keep in memory. Both wipe what they free.
async fn search_programs(stand: &Stand, search: &Search) {
    assert_eq!(search.found_below(&stand.path("")), [""; 0], "audit trails and configuration");
    assert!(trails(stand) > 1000, "the audit trails tell of all this");
    let (mut found, mut loud) = (Vec::new(), false);
    let programs = |list: &'static str, programs: &[Program]| -> Vec<(String, u16, u32, String)> {
        let of = |(n, p): (usize, &Program)| (format!("{list} {n}"), p.admin, p.pid(), p.log_text());
        programs.iter().enumerate().map(of).collect()
    };
    let all = [programs("operator", &stand.operators), programs("gateway", &stand.gateways)].concat();
    for (name, admin, pid, log) in all {
        loud |= log.contains("TRACE") || log.contains("DEBUG");
        found.extend(search.found_in(log.as_bytes()).into_iter().map(|what| format!("{what} in the log of {name}")));
        let page =
            client().get(format!("http://127.0.0.1:{admin}/metrics")).send().await.unwrap().text().await.unwrap();
        assert!(page.contains("password_sender_"), "{name}: {page}");
        found.extend(search.found_in(page.as_bytes()).into_iter().map(|what| format!("{what} in metrics of {name}")));
        let known = Search::new(vec![Needle::new("control", &stand.names.links)]);
        let mut there = 0;
        memory_of(pid, |_, piece| {
            there += known.found_in(piece).len();
            found.extend(search.found_in(piece).into_iter().map(|what| format!("{what} in the memory of {name}")));
        })
        .unwrap();
        assert!(there > 0, "{name}: the links' namespace must be found in its memory, or the search proves nothing");
    }
    assert!(loud, "the logs are as loud as they can be; one that stands by says little");
    found.sort();
    found.dedup();
    assert_eq!(found, [""; 0]);
}

/// The size of all audit trails.
fn trails(stand: &Stand) -> usize {
    let text = |n: usize| fs::read_to_string(stand.path(&format!("audit-{n}.jsonl"))).unwrap_or_default();
    (0..stand.operators.len()).map(|n| text(n).len()).sum()
}

/// At this level the API server's audit log holds the tokens that it gave out (which is why Kubernetes' own advice is to log
/// TokenRequests as metadata). Nothing of ours holds one of a tenant.
fn tokens_are_in_no_log_of_ours(stand: &Stand) {
    let log = fs::read_to_string(stand.cluster.audit_log()).unwrap();
    let account = format!("/namespaces/{}/serviceaccounts/", stand.tenant);
    let lines = log.lines().filter(|line| line.contains(&account) && line.contains("/token"));
    let tokens: Vec<String> = lines
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|line| line.pointer("/responseObject/status/token")?.as_str().map(str::to_owned))
        .collect();
    assert!(!tokens.is_empty(), "the operator asked for a token of the tenant's account");
    // The signature is enough, and no part of it is in another token.
    let signature = |token: &String| token.rsplit('.').next().unwrap().to_owned();
    let needles: Vec<Needle> = tokens.iter().map(|token| Needle::new("a tenant's token", &signature(token))).collect();
    let tokens = Search::new(needles);
    tokens.assert_it_finds_what_is_there();
    assert!(!tokens.found_in(log.as_bytes()).is_empty());
    for program in stand.operators.iter().chain(&stand.gateways) {
        assert_eq!(tokens.found_in(program.log_text().as_bytes()), [""; 0]);
    }
    assert_eq!(tokens.found_below(&stand.path("")), [""; 0]);
    for bytes in [stand.cluster.etcd_raw_bytes().unwrap(), stand.cluster.etcd_wal_bytes().unwrap()] {
        assert_eq!(tokens.found_in(&bytes), [""; 0], "etcd");
    }
}

/// Ciphertext of what was opened may be in etcd's old revisions; it goes with them.
async fn ciphertext_goes_with_compaction(cluster: &Cluster, ciphertexts: Search) {
    ciphertexts.assert_it_finds_what_is_there();
    cluster.etcd_compact_and_defrag().await.unwrap();
    assert_eq!(ciphertexts.found_in(&cluster.etcd_raw_bytes().unwrap()), [""; 0]);
}
