//! The program as a process: started by hand, by a server, and left by one.

use std::process::{Command, Stdio};

use ps_testbed::{OpenBao, Vendor, unique, wait_until};
use serde_json::json;

use crate::stand::{
    COMMAND, Holder, MOUNT, NAME, PUBLIC_URL, SOON, plugin_processes, prepare, program, set_up, shared, sockets_of,
};

/// As a server that offers these versions, or none, would start it.
fn by_hand(versions: Option<&str>) -> (Option<i32>, String, String) {
    let mut command = Command::new(program());
    command.env_clear().stdin(Stdio::null());
    if let Some(versions) = versions {
        command.env("VAULT_BACKEND_PLUGIN", "6669da05-b1c8-4f49-97d9-c8e5bed98e20");
        command.env("PLUGIN_PROTOCOL_VERSIONS", versions);
    }
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn by_hand_it_says_how_it_is_registered() {
    let (code, out, err) = by_hand(None);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("bao plugin register -sha256=") && err.contains(&format!("secret {NAME}\n")), "{err}");
    assert!(err.contains(&format!("-command={COMMAND} ")) && err.contains(&format!("-path=send {NAME}\n")), "{err}");
}

#[test]
fn an_older_protocol_is_refused_not_answered() {
    for versions in ["3,4", "4", ""] {
        let (code, out, err) = by_hand(Some(versions));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{versions}");
        assert!(err.contains("plugin protocol"), "{err}");
    }
    let (code, out, err) = by_hand(Some("5"));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("certificate"), "{err}");
}

#[tokio::test]
async fn it_is_listed_with_version_and_hash() {
    let bao = shared().await;
    let version = format!("v{}", env!("CARGO_PKG_VERSION"));
    let listed = bao.call("GET", "sys/plugins/catalog", None).await.unwrap();
    let detailed = listed["data"]["detailed"].as_array().unwrap();
    let ours = detailed.iter().find(|plugin| plugin["name"] == NAME).unwrap();
    assert_eq!((&ours["version"], &ours["type"]), (&json!(version), &json!("secret")));
    let mounts = bao.call("GET", "sys/mounts", None).await.unwrap();
    let mount = &mounts["data"]["send/"];
    assert_eq!(mount["running_plugin_version"], version);
    assert_eq!(mount["running_sha256"].as_str().unwrap().len(), 64);
    // Without a type the server asks the program what it is.
    let sha256 = bao.install_plugin("untyped", &program()).unwrap();
    let body = json!({"sha256": sha256, "command": "untyped"});
    bao.call("PUT", "sys/plugins/catalog/untyped", Some(&body)).await.ok();
    let (status, _) = bao.request("GET", "sys/health", None).await.unwrap();
    assert_eq!(status, 200);
}

#[tokio::test]
async fn reload_seal_and_disable_leave_no_process_and_no_socket() {
    let bao = OpenBao::raft().await.unwrap();
    prepare(&bao).await;
    let link = Holder::issue(&bao, "kept").await;
    let one = |what: &'static str| {
        let pids = plugin_processes(&bao, COMMAND);
        assert_eq!(pids.len(), 1, "{what}: {pids:?}");
        pids[0]
    };
    let gone = async |pid: u32| {
        wait_until("the plugin's end", SOON, async || {
            (!plugin_processes(&bao, COMMAND).contains(&pid) && sockets_of(pid) == 0).then_some(())
        })
        .await
        .unwrap();
    };
    let first = one("mounted");
    assert_eq!(sockets_of(first), 1);
    bao.call("PUT", "sys/plugins/reload/backend", Some(&json!({ "plugin": NAME }))).await.unwrap();
    gone(first).await;
    assert_eq!(link.state(&bao).await, "open");
    // Another file, another hash: registered first, then reloaded.
    let mut bytes = std::fs::read(program()).unwrap();
    bytes.extend_from_slice(b"\n");
    let other = bao.folder().unwrap().join("other");
    std::fs::write(&other, bytes).unwrap();
    let second = one("reloaded");
    let sha256 = bao.install_plugin("next", &other).unwrap();
    bao.register_plugin(NAME, "next", &sha256, &[]).await.unwrap();
    bao.call("PUT", "sys/plugins/reload/backend", Some(&json!({ "plugin": NAME }))).await.unwrap();
    gone(second).await;
    assert_eq!(link.state(&bao).await, "open");

    let pids = plugin_processes(&bao, "next");
    assert_eq!(pids.len(), 1);
    bao.seal().await.unwrap();
    wait_until("the plugin's end", SOON, async || plugin_processes(&bao, "next").is_empty().then_some(()))
        .await
        .unwrap();
    assert_eq!(sockets_of(pids[0]), 0);
    bao.unseal().await.unwrap();
    let (status, answer) = link.claim(&bao).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(link.open(&answer, "password"), "kept");

    bao.call("DELETE", &format!("sys/mounts/{MOUNT}"), None).await.unwrap();
    wait_until("the plugin's end", SOON, async || plugin_processes(&bao, "next").is_empty().then_some(()))
        .await
        .unwrap();
    bao.mount(MOUNT, json!({ "type": NAME })).await.unwrap();
    set_up(&bao).await;
    let (status, _) = bao.request("LIST", "send/links", None).await.unwrap();
    assert_eq!(status, 404, "a new mount is empty");
}

#[tokio::test]
async fn it_ends_with_a_server_that_is_killed() {
    let bao = OpenBao::dev().await.unwrap();
    prepare(&bao).await;
    let pids = plugin_processes(&bao, COMMAND);
    assert_eq!(pids.len(), 1);
    bao.kill().unwrap();
    let alive =
        |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(COMMAND));
    wait_until("the plugin's end", SOON, async || (!alive(pids[0])).then_some(())).await.unwrap();
    assert_eq!(sockets_of(pids[0]), 0);
}

#[tokio::test]
async fn two_mounts_share_nothing() {
    let bao = OpenBao::dev().await.unwrap();
    prepare(&bao).await;
    bao.mount("other", json!({ "type": NAME })).await.unwrap();
    let link = Holder::issue(&bao, "mine").await;
    let (status, _) = bao.request("GET", &format!("other/links/{}", link.id), None).await.unwrap();
    assert_eq!(status, 404);
    let (status, _) = bao.request("POST", "other/gateway/claim", Some(&link.claim_body())).await.unwrap();
    assert_eq!(status, 404);
    let (status, _) = bao.request("GET", "other/roles/any", None).await.unwrap();
    assert_eq!(status, 404);
    assert_eq!(link.claim(&bao).await.0, 200);
}

#[tokio::test]
async fn a_mount_in_a_namespace_is_one_of_its_own() {
    let bao = OpenBao::dev().await.unwrap();
    prepare(&bao).await;
    let name = unique("team");
    let (status, answer) = bao.request("POST", &format!("sys/namespaces/{name}"), None).await.unwrap();
    if Vendor::chosen() == Vendor::Vault {
        assert_eq!(status, 404, "a Vault without a licence has no namespaces: {answer}");
        return;
    }
    assert_eq!(status, 200, "{answer}");
    let at = |path: &str| format!("{name}/{path}");
    bao.call("POST", &at("sys/mounts/send"), Some(&json!({ "type": NAME }))).await.unwrap();
    assert_eq!(plugin_processes(&bao, COMMAND).len(), 2);
    let config = json!({"public_url": PUBLIC_URL, "max_ttl": "7h"});
    bao.call("POST", &at("send/config"), Some(&config)).await.unwrap();
    bao.call("POST", &at("send/roles/theirs"), Some(&json!({}))).await.unwrap();
    let outside = bao.call("GET", "send/config", None).await.unwrap();
    assert_eq!(outside["data"]["max_ttl"], "72h", "the other mount's settings are its own");
    assert_eq!(bao.request("GET", "send/roles/theirs", None).await.unwrap().0, 404);

    let issue = async || {
        let answer = bao.call("POST", &at("send/link/theirs"), Some(&json!({"password": "inside"}))).await.unwrap();
        Holder::from_answer(&answer)
    };
    let link = issue().await;
    assert_eq!(link.claim(&bao).await.0, 404, "there is no such link outside");
    let (status, answer) = bao.request("POST", &at("send/gateway/claim"), Some(&link.claim_body())).await.unwrap();
    assert_eq!((status, link.open(&answer, "password")), (200, "inside".to_owned()));

    let leased = issue().await;
    let lease = bao.call("GET", &at(&format!("send/lease/{}", leased.id)), None).await.unwrap();
    let body = json!({"lease_id": lease["lease_id"], "sync": true});
    bao.call("PUT", &at("sys/leases/revoke"), Some(&body)).await.unwrap();
    let (status, _) = bao.request("POST", &at("send/gateway/claim"), Some(&leased.claim_body())).await.unwrap();
    assert_eq!(status, 410);

    bao.call("DELETE", &at("sys/mounts/send"), None).await.unwrap();
    wait_until("the plugin's end", SOON, async || (plugin_processes(&bao, COMMAND).len() == 1).then_some(()))
        .await
        .unwrap();
}
