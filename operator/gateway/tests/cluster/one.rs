//! One gateway: its fence, its rights, its confinement, its end.

use std::process::Command;

use ps_core::link::State;
use ps_core::ports::LinkStore as _;
use ps_testbed::{Cluster, ClusterOptions, wait_until};

use crate::stand::{Stand, shared};
use crate::support::PATIENCE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_answers_claims_once_the_operator_has_looked_with_four_rights_and_no_more() {
    let cluster = shared().await;
    let stand = Stand::start(cluster).await;
    let (holder, version) = stand.put("one").await;
    let gateway = stand.gateway("pod-1", &["--log", "trace"]);
    stand.operator.reached(version).await;
    let seen = async || (gateway.call("lookup", &holder.lookup()).await.status == 200).then_some(());
    wait_until("the link is known", PATIENCE, seen).await.unwrap();
    assert_eq!(gateway.call("claim", &holder.claim()).await.refusal(), "503 not-ready");
    let (status, why) = gateway.admin("/readyz").await;
    assert!(status == 503 && why.starts_with("fenced"), "{status} {why}");
    assert!(gateway.admin("/metrics").await.1.contains("password_sender_gateway_fenced 1\n"));

    stand.open();
    gateway.ready().await;
    let metrics = gateway.admin("/metrics").await.1;
    for line in
        ["gateway_fenced 0", "gateway_store_behind 0", "gateway_store_records 1", "gateway_store_went_back_total 0"]
    {
        assert!(metrics.contains(&format!("\npassword_sender_{line}\n")), "{line}: {metrics}");
    }
    assert_eq!(gateway.call("lookup", &holder.elsewhere(1).without_access().lookup()).await.refusal(), "404 not-found");
    assert_eq!(gateway.call("claim", &holder.typing(Some("11111111")).claim()).await.status, 403);
    let (second, version) = stand.put("two").await;
    stand.operator.reached(version).await;
    let claimed = wait_until("the wait for typing is over", PATIENCE, async || {
        let reply = gateway.call("claim", &holder.claim()).await;
        (reply.status == 200).then_some(reply)
    });
    let claimed = claimed.await.unwrap();
    assert_eq!(gateway.call("claim", &holder.claim_again()).await.body, claimed.body);
    assert_eq!(gateway.call("acknowledge", &holder.acknowledge()).await.status, 200);
    assert_eq!(gateway.call("decline", &second.not_mine()).await.status, 200);
    assert_eq!(
        (stand.stored(&holder).await.state, stand.stored(&second).await.state),
        (State::Retrieved, State::Declined)
    );

    let (code, said) = gateway.stopped();
    assert_eq!(code, Some(0), "{said}");
    let config = std::fs::read_to_string(&stand.kubeconfig).unwrap();
    let token = serde_json::from_str::<serde_json::Value>(&config).unwrap()["users"][0]["user"]["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let sealed = claimed.json()["ciphertext"].as_str().unwrap().to_owned();
    assert!(token.len() > 20 && sealed.len() > 20);
    for secret in [&token[..], &sealed[..20], &hex::encode(holder.proof)] {
        assert!(!said.contains(secret), "logged at trace");
    }
    let ours = || {
        let events = cluster.audit_events().unwrap();
        events
            .into_iter()
            .filter(|e| e.user.ends_with(":gateway") && e.namespace == stand.namespace)
            .collect::<Vec<_>>()
    };
    let log = wait_until("the log has it all", PATIENCE, async || {
        let events = ours();
        (events.iter().filter(|e| e.verb == "update").count() >= 4).then_some(events)
    });
    for event in log.await.unwrap() {
        assert!(
            ["get", "list", "watch", "update"].contains(&event.verb.as_str()) && event.resource == "secrets",
            "{event:?}"
        );
        assert_ne!(event.code, 403, "{event:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_from_before_a_claim_it_answers_503_until_the_operator_has_looked() {
    let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
    let stand = Stand::start(&cluster).await;
    stand.open();
    let (gateway, other) = (stand.gateway("pod-1", &[]), stand.gateway("pod-2", &[]));
    let (holder, _) = stand.put("restored").await;
    gateway.ready().await;
    other.ready().await;
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("snapshot");
    cluster.etcd_snapshot(&snapshot).await.unwrap();
    let claimed = wait_until("claimed", PATIENCE, async || {
        let reply = gateway.call("claim", &holder.claim()).await;
        (reply.status == 200).then_some(())
    });
    claimed.await.unwrap();
    let known = async || {
        let metrics = other.call("claim", &holder.elsewhere(1).claim()).await;
        (metrics.status == 409).then_some(())
    };
    wait_until("the other one knows", PATIENCE, known).await.unwrap();

    cluster.etcd_restore(&snapshot).await.unwrap();
    let fresh = stand.gateway("pod-3", &[]);
    // All of them, from the first moment on, by anybody: no claim is answered with a payload.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(8);
    while std::time::Instant::now() < deadline {
        for gateway in [&gateway, &other, &fresh] {
            let reply = gateway.call("claim", &holder.elsewhere(2).claim()).await;
            assert!(reply.status == 503 || reply.status == 404, "{} {:?}", reply.status, reply.body);
        }
    }
    let up = async || (stand.operator.epoch() > 0 && stand.operator.fresh().is_ok()).then_some(());
    wait_until("the operator knows", PATIENCE, up).await.unwrap();
    // What the operator can't vouch for is withdrawn (here: voided) before anybody is let in.
    let found = stand.operator.get(holder.id).await.unwrap().unwrap();
    let void = ps_core::link::Record::Void { id: holder.id };
    stand.operator.replace(&void, found.version).await.unwrap();
    stand.open();
    for gateway in [&gateway, &other, &fresh] {
        gateway.ready().await;
        assert_eq!(gateway.call("claim", &holder.elsewhere(2).claim()).await.refusal(), "404 not-found");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_proofs_and_codes_through_either_of_two_add_up() {
    let stand = Stand::start(shared().await).await;
    stand.open();
    let gateways = [stand.gateway("pod-1", &[]), stand.gateway("pod-2", &[])];
    let (holder, version) = stand.put("added up").await;
    stand.operator.reached(version).await;
    for gateway in &gateways {
        gateway.ready().await;
        let seen = async || (gateway.call("lookup", &holder.lookup()).await.status == 200).then_some(());
        wait_until("the link is known", PATIENCE, seen).await.unwrap();
    }
    let wrong_code = holder.typing(Some("11111111")).claim();
    let wrong_proof = holder.mistyped().claim();
    let steps = [(&wrong_proof, 1000, Some(9)), (&wrong_code, 1000, None), (&wrong_proof, 2000, Some(8))];
    for (n, (wrong, wait, left)) in steps.into_iter().enumerate() {
        let (gateway, other) = (&gateways[n % 2], &gateways[(n + 1) % 2]);
        let looked_at = wait_until("the wait is over", PATIENCE, async || {
            let reply = gateway.call("claim", wrong).await;
            (reply.status != 429).then_some(reply)
        });
        let reply = looked_at.await.unwrap();
        let error = &reply.json()["error"];
        assert_eq!((reply.status, &error["retryAfterMs"]), (403, &wait.into()), "{n}: {error}");
        assert_eq!(error.get("attemptsLeft").and_then(serde_json::Value::as_u64), left, "{n}: {error}");
        // The other one has not counted it, and keeps to it all the same, also for what is right.
        assert_eq!(other.call("claim", &holder.claim()).await.refusal(), "429 slow-down", "{n}");
    }
    let tries = stand.stored(&holder).await.tries;
    assert_eq!((tries.wrong_proofs, tries.wrong_codes), (2, 1), "each was counted once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confined_it_can_do_only_its_work() {
    let cluster = shared().await;
    let stand = Stand::start(cluster).await;
    let output = Command::new(env!("CARGO_BIN_EXE_password-sender-gateway"))
        .args(["--store", "kubernetes", "--namespace", &stand.namespace, "--check-confinement", "--kubeconfig"])
        .arg(&stand.kubeconfig)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    for line in [
        "in force: no core files",
        "in force: not dumpable",
        "in force: no new privileges",
        "in force: seccomp",
        "stopped: run a program",
        "stopped: listen",
        "stopped: receive datagrams",
        "stopped: make a datagram socket",
        "stopped: signal its parent",
        "works: read the files of the connection",
        "works: start a thread",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let landlock = said.contains("in force: landlock: reading listed files only");
    for what in ["read a file elsewhere", "list a folder elsewhere", "write a file elsewhere", "connect"] {
        assert_eq!(landlock, said.contains(&format!("stopped: {what}")), "{what}: {said}");
    }
}

#[test]
fn wrong_arguments_are_refused() {
    let refuse = |args: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_password-sender-gateway")).args(args).env_clear().output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let listen = ["--listen", "127.0.0.1:0"];
    assert!(refuse(&listen).contains("--links"));
    assert!(refuse(&[&listen[..], &["--store", "kubernetes"]].concat()).contains("--namespace"));
    assert!(
        refuse(&[&listen[..], &["--store", "kubernetes", "--namespace", "x"]].concat())
            .contains("KUBERNETES_SERVICE_HOST")
    );
    let both = ["--store", "kubernetes", "--namespace", "x", "--links", "/tmp/x"];
    assert!(refuse(&[&listen[..], &both].concat()).contains("cannot be used with"));
    let file = ["--store", "kubernetes", "--namespace", "x", "--kubeconfig", "/nonexistent/config"];
    assert!(refuse(&[&listen[..], &file].concat()).contains("/nonexistent/config can't be used as a kubeconfig"));
}
