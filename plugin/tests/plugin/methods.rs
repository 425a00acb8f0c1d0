//! A rotation by a request of the role's own: the daemon makes it with the method that the role names.

use std::process::Command;

use ps_testbed::process::{Process, Signal};
use ps_testbed::{HttpProxy, OpenBao, wait_until};
use serde_json::{Value, json};

use crate::programs::{AGENT_POLICY, beside, token_file};
use crate::stand::{Holder, SOON, prepare};

const DOOMED: &str = "path \"secret/data/doomed\" {\n  capabilities = [\"delete\"]\n}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_asked_for_with_its_method() {
    let bao = OpenBao::raft().await.unwrap();
    prepare(&bao).await;
    bao.mount_kv2("secret").await.unwrap();
    for path in ["told", "doomed"] {
        bao.kv_put("secret", path, json!({"by": "nobody"})).await.unwrap();
    }
    let data = |by: &str| json!({"data": {"by": by}});
    let roles = [
        // Nothing said is POST.
        ("unsaid", json!({"rotate_path": "secret/data/told", "rotate_data": data("unsaid")})),
        ("post", json!({"rotate_path": "secret/data/told", "rotate_method": "POST", "rotate_data": data("post")})),
        ("put", json!({"rotate_path": "secret/data/told", "rotate_method": "PUT", "rotate_data": data("put")})),
        ("delete", json!({"rotate_path": "secret/data/doomed", "rotate_method": "DELETE"})),
    ];
    for (role, how) in &roles {
        let mut body = json!({"rotate_engine": "request", "rotate_after": "1s"});
        body.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
        bao.call("POST", &format!("send/roles/{role}"), Some(&body)).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let token = token_file(&bao, folder.path(), &format!("{AGENT_POLICY}{DOOMED}")).await;
    // The server takes PUT and POST for the same; what stands between sees which it is.
    let between = HttpProxy::start(bao.address()).unwrap();
    between.keep_requests(16 << 20);
    let mut command = Command::new(beside("password-sender-operator"));
    command.args(["vault-agent", "--vault-addr", &between.address(), "--vault-token-file"]).arg(&token);
    let agent = Process::spawn_with_stop_signal("vault-agent", command, Signal::SIGTERM).unwrap();
    for (role, method, path, status) in [
        ("unsaid", "POST", "secret/data/told", 200),
        ("post", "POST", "secret/data/told", 200),
        ("put", "PUT", "secret/data/told", 200),
        ("delete", "DELETE", "secret/data/doomed", 204),
    ] {
        between.forget();
        between.keep_requests(16 << 20);
        let link = Holder::of(&bao, role, &json!({"password": "x"})).await;
        assert_eq!(link.not_mine(&bao).await.0, 200);
        let seen = wait_until(role, SOON * 2, async || {
            let read = bao.call("GET", &format!("send/links/{}", link.id), None).await.ok()?;
            (read["data"]["evidence"]["scope"] == "request").then(|| read["data"].clone())
        });
        let shown = seen.await.unwrap_or_else(|error| panic!("{error}\n{}", agent.log_text().unwrap()));
        assert_eq!(shown["evidence"]["seen"], format!("{method} {path} was answered {status}"));
        assert_eq!((&shown["rotation"]["owed"], &shown["rotation"]["cause"]), (&json!(false), &json!("declined")));
        let made: Vec<_> = between.requests().into_iter().filter(|one| one.path == format!("/v1/{path}")).collect();
        assert!(!made.is_empty(), "{role}");
        assert!(made.iter().all(|one| one.method == method && one.server == Some(status)), "{role}: {made:?}");
        let begins = format!("{method} /v1/{path} ");
        let kept = between.kept_requests().unwrap();
        let made = kept.iter().find(|one| one.starts_with(begins.as_bytes())).unwrap();
        let text = String::from_utf8_lossy(made);
        let body = text.split_once("\r\n\r\n").unwrap().1;
        if method == "DELETE" {
            assert_eq!(body, "", "nothing is sent with it");
            let gone = bao.kv_get("secret", "doomed", 1).await.unwrap();
            assert!(gone.is_none_or(|version| version.data.is_none()), "it is deleted");
        } else {
            assert_eq!(serde_json::from_str::<Value>(body).unwrap(), data(role));
            let told = bao.kv_get("secret", "told", 0).await.unwrap().unwrap().data.unwrap();
            assert_eq!(told["by"], role);
        }
    }
}
