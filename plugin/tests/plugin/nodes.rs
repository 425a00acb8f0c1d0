//! Three nodes on raft: standbys, step-down, the death of the leader, and a search of all that they store.

use std::collections::HashSet;
use std::time::Duration;

use ps_testbed::{OpenBao, OpenBaoNodes, wait_until};

use crate::claims::race;
use crate::leases::sealed;
use crate::stand::{COMMAND, Holder, MOUNT, NAME, SOON, plugin_processes, program, set_up};
use crate::storage::{Kept, everything_kept};

pub(crate) async fn start() -> OpenBaoNodes {
    let cluster = OpenBaoNodes::start(3).await.unwrap();
    let mut sha256 = String::new();
    for node in cluster.nodes() {
        sha256 = node.install_plugin(COMMAND, &program()).unwrap();
    }
    let active = cluster.active().await.unwrap();
    active.register_plugin(NAME, COMMAND, &sha256, &[]).await.unwrap();
    active.mount(MOUNT, serde_json::json!({ "type": NAME })).await.unwrap();
    set_up(active).await;
    for node in cluster.nodes() {
        answers(node).await;
    }
    cluster
}

/// Waits until the mount answers through this node.
pub(crate) async fn answers(node: &OpenBao) {
    wait_until("the mount to answer", SOON * 2, async || {
        node.request("GET", "send/config", None)
            .await
            .is_ok_and(|(status, answer)| status == 200 && answer["data"]["public_url"] != "")
            .then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_claimant_over_three_nodes_through_step_down_and_death() {
    let cluster = start().await;
    let all: Vec<&OpenBao> = cluster.nodes().iter().collect();

    // Right after it was written, by a standby.
    let standbys = cluster.standbys().await.unwrap();
    for round in 0..6 {
        let link = Holder::issue(cluster.active().await.unwrap(), &format!("s{round}")).await;
        let standby = standbys[round % standbys.len()];
        let (status, answer) = link.claim(standby).await;
        assert_eq!(status, 200, "round {round}: {answer}");
        assert_eq!(link.open(&answer, "password"), format!("s{round}"));
        assert_eq!(link.state(standby).await, "claimed", "a standby shows what is");
    }
    let issued = Holder::issue(standbys[0], "through a standby").await;
    assert_eq!(issued.state(standbys[1]).await, "open");

    for round in 0..3 {
        let link = Holder::issue(all[round % 3], "raced").await;
        assert_eq!(race(&link, &all, 64).await.len(), 1, "round {round}");
    }

    // The active node steps down while 64 browsers ask.
    let link = Holder::issue(all[0], "stepped").await;
    let active = cluster.active().await.unwrap();
    let processes = plugin_processes(active, COMMAND);
    let (won, stepped) = tokio::join!(race(&link, &all, 64), active.request("PUT", "sys/step-down", None));
    stepped.unwrap();
    let now = cluster.active().await.unwrap();
    answers(now).await;
    let more = race(&link, &[now], 16).await;
    assert_eq!(won.len() + more.len(), usize::from(link.state(now).await != "open"), "at most one, and it stays");
    assert!(won.len() + more.len() <= 1);
    // What the plugin knew as the active node's is gone with its process.
    let after = plugin_processes(active, COMMAND);
    assert!(processes.len() == 1 && !after.contains(&processes[0]), "{processes:?}, {after:?}");

    // The leader dies right after it has answered.
    let claimed = Holder::issue(now, "claimed before").await;
    let acknowledged = Holder::issue(now, "acknowledged before").await;
    let open = Holder::issue(now, "open before").await;
    assert_eq!(claimed.claim(now).await.0, 200);
    assert_eq!(acknowledged.claim(now).await.0, 200);
    assert_eq!(acknowledged.acknowledge(now).await.0, 200);
    let dead = now.address().to_owned();
    now.kill().unwrap();
    let next = cluster.active().await.unwrap();
    assert_ne!(next.address(), dead);
    answers(next).await;
    assert_eq!(acknowledged.claim_again(next).await.0, 410, "an acknowledged claim is durable");
    assert_eq!(claimed.elsewhere(1).claim(next).await.0, 409);
    let (status, answer) = claimed.claim_again(next).await;
    assert_eq!((status, claimed.open(&answer, "password")), (200, "claimed before".to_owned()));
    assert_eq!(race(&open, &[next], 16).await.len(), 1);
}

/// A server asks each node for housekeeping once a minute; a standby can't write, and has nothing to complain of.
#[tokio::test(flavor = "multi_thread")]
async fn rounds_on_standbys_are_no_errors() {
    let cluster = start().await;
    let active = cluster.active().await.unwrap();
    let body = serde_json::json!({"password": "short-lived", "ttl": "1s"});
    let link = Holder::of(active, "any", &body).await;
    // The second round of the active node: a minute after its first, so each standby had one after the mount was there.
    wait_until("two rounds", Duration::from_secs(200), async || {
        let counts = active.call("GET", "send/metrics", None).await.ok()?;
        (counts["data"]["sweeps"].as_u64()? >= 2).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(link.state(active).await, "expired");
    for node in cluster.nodes() {
        let log = node.log_text().unwrap();
        let about = |line: &&str| line.contains("rollback") || line.contains(NAME) || line.contains("housekeeping");
        let bad = |line: &&str| line.contains("[ERROR]") || line.contains("[WARN]");
        let complaints: Vec<&str> = log.lines().filter(bad).filter(about).collect();
        assert!(complaints.is_empty(), "{}: {complaints:?}", node.address());
    }
}

/// `S`, and whatever else must not be at rest, in the decrypted storage of a node: with links of every sort.
#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_stored() {
    let bao = OpenBao::raft().await.unwrap();
    crate::stand::prepare(&bao).await;
    let (mut secrets, mut stored, mut leased) = (HashSet::new(), HashSet::new(), HashSet::new());
    for number in 0..3 {
        let link = Holder::issue(&bao, &format!("plain-{number}")).await;
        let body =
            serde_json::json!({"password": format!("phrased-{number}"), "passphrase": format!("phrase-{number}")});
        let phrased = bao.call("POST", "send/link/any", Some(&body)).await.unwrap();
        secrets.insert(phrased["data"]["opening_code"].as_str().unwrap().to_owned());
        let url = phrased["data"]["url"].as_str().unwrap().to_owned();
        secrets.extend([format!("plain-{number}"), format!("phrased-{number}"), format!("phrase-{number}")]);
        for fragment in [link.fragment.as_str(), url.split_once('#').unwrap().1] {
            let bytes = ps_core::encode::from_b64(fragment.strip_prefix("ps1.").unwrap()).unwrap();
            secrets.insert(fragment.strip_prefix("ps1.").unwrap().to_owned());
            secrets.insert(standard(fragment));
            secrets.insert(hex::encode(&bytes));
        }
        stored.insert(link.id.clone());
        leased.insert(link.id.clone());
        bao.call("GET", &format!("send/lease/{}", link.id), None).await.unwrap();
        if number == 1 {
            assert_eq!(link.claim(&bao).await.0, 200);
        }
    }
    // Sealed elsewhere, and so a lease; and with a lease that its role demands, put on it or still awaited.
    bao.call("POST", "send/roles/leased", Some(&serde_json::json!({"require_lease": true}))).await.unwrap();
    let (body, outside) = sealed(|_| {});
    bao.call("POST", "send/sealed/any", Some(&body)).await.unwrap();
    let (body, demanded) = sealed(|_| {});
    bao.call("POST", "send/sealed/leased", Some(&body)).await.unwrap();
    secrets.insert("sealed elsewhere".to_owned());
    leased.extend([outside.id.clone(), demanded.id.clone()]);
    let content = serde_json::json!({"password": "on-a-lease"});
    secrets.insert("on-a-lease".to_owned());
    let (awaited, put) = (Holder::of(&bao, "leased", &content).await, Holder::of(&bao, "leased", &content).await);
    bao.call("GET", &format!("send/lease/{}", put.id), None).await.unwrap();
    leased.insert(put.id.clone());
    stored.extend([&outside, &demanded, &awaited, &put].map(|link| link.id.clone()));
    for link in [&outside, &demanded, &awaited, &put] {
        let text = link.fragment.strip_prefix("ps1.").unwrap();
        secrets.extend([text.to_owned(), standard(text), hex::encode(ps_core::encode::from_b64(text).unwrap())]);
    }
    let (mut rows_seen, mut leases_seen) = (HashSet::new(), HashSet::new());
    let (mut read, mut unread) = (0, Vec::new());
    for kept in everything_kept(&bao).await {
        let Kept { path, status, answer } = &kept;
        let text = format!("{path} {answer}");
        if *status == 200 {
            read += 1;
        } else {
            unread.push(format!("{path}: {status} {answer}"));
        }
        // What is there must be seen, or the search proves nothing.
        let holds = |id: &&String| kept.value().contains(id.as_str());
        if path.starts_with("logical/") {
            rows_seen.extend(stored.iter().filter(holds).cloned());
        } else if path.starts_with("sys/expire/id/send/") {
            leases_seen.extend(leased.iter().filter(holds).cloned());
        }
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} is stored under {path}");
        }
    }
    assert!(read > 20, "only {read} values could be read");
    assert_eq!(rows_seen, stored, "the rows of these links are among what was searched");
    assert_eq!(leases_seen, leased, "and their leases");
    // What the server itself does not show even here: nothing of a mount's, and no lease.
    let ours = |path: &&String| path.starts_with("logical/") || path.starts_with("sys/expire/");
    assert_eq!(unread.iter().filter(ours).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(unread.len() <= 8, "not searched: {unread:#?}");
}

/// The key of a link in the other alphabet of base64.
fn standard(fragment: &str) -> String {
    fragment.strip_prefix("ps1.").unwrap_or(fragment).replace('-', "+").replace('_', "/")
}
