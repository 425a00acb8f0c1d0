//! What one delivery costs: writes of the Kubernetes API, Events, requests to Vault. The figures are those of docs/performance.md;
//! a change that adds one fails here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ps_testbed::{AuditEvent, OpenBao, Testbed, unique, wait_until};
use serde_json::{Value, json};

use crate::stand::{Setup, Stand};
use crate::support::{KvSource, RoleSource, SOON, kv_delivery, role_delivery};

/// What was asked by our programs, in order.
fn ours(stand: &Stand) -> Vec<AuditEvent> {
    let ours = format!("system:serviceaccount:{}:password-sender-", stand.names.own);
    let mut events = stand.cluster.audit_events().unwrap();
    events.retain(|e| e.user.starts_with(&ours) && (200..300).contains(&e.code));
    events
}

/// The same but for what does not belong to a delivery: the Lease, the fence, the ledger-wide entry, tokens.
fn asked(stand: &Stand) -> Vec<AuditEvent> {
    let nobodys =
        |e: &AuditEvent| e.resource == "leases" || e.subresource == "token" || e.name == "fence" || e.name == "common";
    let mut events = ours(stand);
    events.retain(|e| !nobodys(e));
    events
}

fn writes(events: &[AuditEvent]) -> usize {
    let changes = |e: &&AuditEvent| matches!(e.verb.as_str(), "create" | "update" | "patch" | "delete");
    events.iter().filter(changes).filter(|e| e.resource != "events").count()
}

fn by_kind(events: &[AuditEvent]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for e in events.iter().filter(|e| e.verb != "watch" && e.verb != "list") {
        let name = if e.name.starts_with("link-") { " (link)" } else { "" };
        *kinds.entry(format!("{} {}{}{name}", e.verb, e.resource, e.subresource)).or_default() += 1;
    }
    kinds
}

fn is_update_of_a_link(e: &AuditEvent) -> bool {
    e.verb == "update" && e.name.starts_with("link-")
}

fn vault_requests(stand: &Stand) -> Vec<String> {
    let log = stand.operators[0].log_text();
    let of = |line: &str| {
        let operation = line.split("operation=\"").nth(1)?.split('"').next()?;
        (operation != "login").then(|| operation.to_owned())
    };
    log.lines().filter(|line| line.contains("asked Vault")).filter_map(of).collect()
}

/// One delivery from its manifest to its rest.
struct Life {
    events: Vec<AuditEvent>,
    /// Writes until the record is put.
    put: usize,
    vault: Vec<String>,
    /// From before the opening until it was said that it is saved.
    saved_within: Duration,
}

/// Delivers, opens, and waits for the proof and for what comes after it. Opened at once, and `saved` at once as well, or never
/// acknowledged: then the window ends when the rotation is due.
async fn life(stand: &Stand, name: &str, to: &str, manifest: &str, saved: bool) -> Life {
    let (before, vault) = (asked(stand).len(), vault_requests(stand).len());
    stand.apply(manifest).await;
    let recipient = stand.recipient(to).await;
    let put = wait_until("the record in the log", SOON, async || {
        let events = asked(stand);
        let at = events[before..].iter().position(|e| e.verb == "create" && e.uri.contains(&stand.names.links))?;
        Some(writes(&events[before..=before + at]))
    });
    let put = put.await.unwrap();
    let begun = Instant::now();
    recipient.open().await;
    if saved {
        assert_eq!(recipient.acknowledge().await.state(), "retrieved");
    }
    let saved_within = begun.elapsed();
    stand.wait_rotated(name, SOON).await;
    stand.wait_rests(name).await;
    // The last Event is sent beside the work.
    stand.event(&stand.tenant, name, "Rotated").await;
    let done = wait_until("the last write in the log", SOON, async || {
        let events = asked(stand);
        let statuses = events[before..].iter().filter(|e| e.subresource == "status").count();
        let events = events[before..].to_vec();
        (statuses >= 3 && events.iter().filter(|e| e.resource == "events").count() >= 3).then_some(events)
    });
    Life { events: done.await.unwrap(), put, vault: vault_requests(stand).split_off(vault), saved_within }
}

async fn stand(bao: &OpenBao, policy: &str) -> Stand {
    let more = "selfCheck: {mode: \"Off\"}".to_owned();
    let stand = Stand::start(Setup { more, ..Setup::default() }).await;
    stand.connect(bao, policy).await;
    stand
}

#[tokio::test]
async fn a_delivery_costs_twelve_writes_and_six_requests_to_vault() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let (first, kv, role) = (KvSource::new(bao).await, KvSource::new(bao).await, RoleSource::new(bao).await);
    let saved = KvSource::new(bao).await;
    let stand = stand(bao, &[first.policy(), kv.policy(), role.policy(), saved.policy()].concat()).await;
    // It logs in.
    let window = |window: &str| -> Value { json!({"link": {"claimWindow": window}}) };
    let to = |name: &str| format!("{}@v.example", unique(name));
    let nobody = to("first");
    stand.apply(&kv_delivery("first", &nobody, &first, "10m", "1h", json!({}))).await;
    stand.recipient(&nobody).await;
    // Its own last writes are not counted.
    stand.wait_status("first", "delivered", SOON, |s| s.is("Delivered")).await;
    stand.event(&stand.tenant, "first", "Delivered").await;

    let alice = to("kv");
    let Life { events, put, vault, .. } =
        life(&stand, "kv", &alice, &kv_delivery("kv", &alice, &kv, "10m", "3s", window("3s")), false).await;
    assert!(put <= 3, "{put} writes until the record is put\n{:#?}", by_kind(&events));
    assert!(writes(&events) <= 12, "{} writes\n{:#?}", writes(&events), by_kind(&events));
    assert!(events.iter().filter(|e| e.resource == "events").count() <= 4, "{:#?}", by_kind(&events));
    assert_eq!(vault, ["capabilities", "read", "read", "write", "destroy", "metadata"]);

    let bob = to("role");
    let Life { events, vault, .. } =
        life(&stand, "role", &bob, &role_delivery("role", &bob, &role, "10m", "3s", window("3s")), false).await;
    assert!(writes(&events) <= 12, "{} writes\n{:#?}", writes(&events), by_kind(&events));
    assert_eq!(vault.len(), 5, "{vault:?}");

    // Whoever says at once that it is saved causes one write of the record more, and no other. Where that comes later than half
    // a second after the opening, entry and status have told of the opening by themselves before.
    let carol = to("saved");
    let Life { events, saved_within, .. } =
        life(&stand, "saved", &carol, &kv_delivery("saved", &carol, &saved, "10m", "3s", json!({})), true).await;
    let of_record: Vec<usize> = (0..events.len()).filter(|n| is_update_of_a_link(&events[*n])).collect();
    let [opened, acknowledged] = of_record[..] else { panic!("{:#?}", by_kind(&events)) };
    let between = writes(&events[opened + 1..acknowledged]);
    let most = if saved_within < Duration::from_millis(500) { 0 } else { 2 };
    assert!(between <= most, "{between} writes before it was said that it is saved, in {saved_within:?}");
    assert!(writes(&events) - between <= 12, "{} writes\n{:#?}", writes(&events), by_kind(&events));
    assert!(events.iter().filter(|e| e.resource == "events").count() <= 4, "{:#?}", by_kind(&events));
}

/// What a watch tells is never asked. With links open, one operator leading, one standing by and two gateways, what is left is
/// one request every few seconds per process, for what no watch tells: who leads, and where the API server stands
/// (docs/decisions/0066-asked-and-watched.md).
#[tokio::test]
async fn at_rest_each_process_asks_one_question_every_two_seconds() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let kv = KvSource::new(bao).await;
    let more = "selfCheck: {mode: \"Off\"}".to_owned();
    let stand = Stand::start(Setup { operators: 2, gateways: 2, more, ..Setup::default() }).await;
    stand.connect(bao, &kv.policy()).await;
    let names = ["one", "two", "three"];
    for name in names {
        let to = format!("{}@v.example", unique(name));
        stand.apply(&kv_delivery(name, &to, &kv, "10m", "1h", json!({}))).await;
        stand.recipient(&to).await;
    }
    for name in names {
        stand.wait_rests(name).await;
        stand.event(&stand.tenant, name, "Delivered").await;
    }
    let (before, begun) = (ours(&stand).len(), Instant::now());
    let rested = wait_until("twelve seconds in which things go on", SOON, async || {
        let events = ours(&stand).split_off(before);
        let renewed = events.iter().filter(|e| e.resource == "leases" && e.verb == "update").count();
        (begun.elapsed() >= Duration::from_secs(12) && renewed > 0).then_some(events)
    });
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for e in rested.await.unwrap().iter().filter(|e| e.resource != "leases") {
        let of = e.user.rsplit('-').next().unwrap();
        let what = if e.uri.ends_with("&limit=1") { "where it stands" } else { e.name.as_str() };
        let place = if e.namespace == stand.names.links { " of links" } else { "" };
        *asked.entry(format!("{of}: {} {}{place} ({what})", e.verb, e.resource)).or_default() += 1;
    }
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    let most = |kind: &str| match kind {
        "operator: list secrets of links (where it stands)" => seconds / 2 + 1,
        "gateway: list secrets of links (where it stands)" => 2 * (seconds / 2 + 1),
        // Who stands by has no watch that could break.
        "operator: list secrets (where it stands)" => seconds / 5 + 1,
        // How far the audit trail is known, every half minute; what is old in the fence, every minute.
        "operator: get secrets (common)" | "operator: update secrets (common)" => 1,
        "operator: get secrets of links (fence)" => 1,
        // Watches are asked to end after five minutes, and tokens after some.
        kind if kind.contains(": watch ") || kind.contains("token") => 4,
        _ => 0,
    };
    assert!(asked.iter().all(|(kind, times)| *times <= most(kind)), "{asked:#?}");
    assert!(asked.contains_key("gateway: list secrets of links (where it stands)"), "{asked:#?}");
}
