//! What one delivery costs: writes of the Kubernetes API, Events, requests to Vault. The figures are those of docs/performance.md;
//! a change that adds one fails here.

use std::collections::BTreeMap;

use ps_testbed::{AuditEvent, OpenBao, Testbed, unique, wait_until};
use serde_json::{Value, json};

use crate::stand::{Setup, Stand};
use crate::support::{KvSource, RoleSource, SOON, kv_delivery, role_delivery};

/// What was asked by one of our programs, in order, but for what does not belong to a delivery: the Lease, the fence, the
/// ledger-wide entry, tokens.
fn asked(stand: &Stand) -> Vec<AuditEvent> {
    let ours = format!("system:serviceaccount:{}:password-sender-", stand.names.own);
    let nobodys =
        |e: &AuditEvent| e.resource == "leases" || e.subresource == "token" || e.name == "fence" || e.name == "common";
    let mut events = stand.cluster.audit_events().unwrap();
    events.retain(|e| e.user.starts_with(&ours) && (200..300).contains(&e.code) && !nobodys(e));
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

fn vault_requests(stand: &Stand) -> Vec<String> {
    let log = stand.operators[0].log_text();
    let of = |line: &str| {
        let operation = line.split("operation=\"").nth(1)?.split('"').next()?;
        (operation != "login").then(|| operation.to_owned())
    };
    log.lines().filter(|line| line.contains("asked Vault")).filter_map(of).collect()
}

/// Delivers, opens, and waits for the proof and for what comes after it. Opened at once, and `saved` at once as well, or never
/// acknowledged: then the window ends when the rotation is due.
async fn life(
    stand: &Stand,
    name: &str,
    to: &str,
    manifest: &str,
    saved: bool,
) -> (Vec<AuditEvent>, usize, Vec<String>) {
    let (before, vault) = (asked(stand).len(), vault_requests(stand).len());
    stand.apply(manifest).await;
    let recipient = stand.recipient(to).await;
    let put = wait_until("the record in the log", SOON, async || {
        let events = asked(stand);
        let at = events[before..].iter().position(|e| e.verb == "create" && e.uri.contains(&stand.names.links))?;
        Some(writes(&events[before..=before + at]))
    });
    let put = put.await.unwrap();
    recipient.open().await;
    if saved {
        assert_eq!(recipient.acknowledge().await.state(), "retrieved");
    }
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
    (done.await.unwrap(), put, vault_requests(stand).split_off(vault))
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
    let (events, put, vault) =
        life(&stand, "kv", &alice, &kv_delivery("kv", &alice, &kv, "10m", "3s", window("3s")), false).await;
    assert!(put <= 3, "{put} writes until the record is put\n{:#?}", by_kind(&events));
    assert!(writes(&events) <= 12, "{} writes\n{:#?}", writes(&events), by_kind(&events));
    assert!(events.iter().filter(|e| e.resource == "events").count() <= 4, "{:#?}", by_kind(&events));
    assert_eq!(vault, ["capabilities", "read", "read", "write", "destroy", "metadata"]);

    let bob = to("role");
    let (events, _, vault) =
        life(&stand, "role", &bob, &role_delivery("role", &bob, &role, "10m", "3s", window("3s")), false).await;
    assert!(writes(&events) <= 12, "{} writes\n{:#?}", writes(&events), by_kind(&events));
    assert_eq!(vault.len(), 5, "{vault:?}");

    // Whoever says that it is saved causes one write of the record and one of the entry; the window has no end then.
    let carol = to("saved");
    let (events, _, _) =
        life(&stand, "saved", &carol, &kv_delivery("saved", &carol, &saved, "10m", "3s", json!({})), true).await;
    assert!(writes(&events) <= 13, "{} writes\n{:#?}", writes(&events), by_kind(&events));
    assert!(events.iter().filter(|e| e.resource == "events").count() <= 4, "{:#?}", by_kind(&events));
}
