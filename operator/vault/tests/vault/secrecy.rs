//! Nothing that is printed, formatted or logged holds a secret, at the lowest level, libraries included.

use std::io::Write;
use std::sync::{Arc, Mutex};

use ps_core::delivery::Strategy;
use ps_core::ports::{Auth, Vault};
use ps_testbed::{Testbed, unique};
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::support::{Bench, connection, key, kv1, kv2, role};

/// Keeps all that is logged by the whole process: libraries' worker threads too.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The forms in which bytes may show up in a log.
fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let list = |radix: fn(&u8) -> String, by: &str| bytes.iter().map(radix).collect::<Vec<_>>().join(by);
    vec![
        secret.to_owned(),
        list(|b| format!("{b}"), ", "),
        list(|b| format!("{b:02x}"), ""),
        secret.escape_debug().to_string(),
    ]
}

#[tokio::test]
async fn no_log_at_trace_level_holds_a_secret() {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).with_ansi(false);
    subscriber.finish().try_init().expect("the only subscriber of this process");

    let testbed = Testbed::connect_or_start().unwrap();
    let (bao, postgres) = (testbed.bao().await.unwrap(), testbed.postgres().await.unwrap());
    let (v2, v1, database, user) = (unique("kv"), unique("kv1"), unique("db"), unique("app"));
    bao.mount_kv2(&v2).await.unwrap();
    bao.mount_kv1(&v1).await.unwrap();
    bao.kv_put(&v2, "x", json!({"a": "canary-old-2", "b": "canary-other-2"})).await.unwrap();
    bao.kv1_put(&v1, "x", json!({"a": "canary-old-1", "b": "canary-other-1"})).await.unwrap();
    postgres.create_user(&user, "first").await.unwrap();
    bao.database_config(&database, "pg", postgres).await.unwrap();
    bao.static_role(&database, "app", "pg", &user, "24h").await.unwrap();
    let policy = unique("policy");
    bao.policy(
        &policy,
        "path \"*\" { capabilities = [\"create\", \"read\", \"update\", \"patch\", \"delete\", \"list\"] }",
    )
    .await
    .unwrap();
    let login = bao.approle(&unique("role"), &[&policy], &json!({"token_ttl": "1h"})).await.unwrap();
    // What the set-up logs is the testbed's own affair.
    log.0.lock().unwrap().clear();

    let bench = Bench::new();
    bench.secrets.put("login/secret-id", &login.secret_id);
    let auth =
        Auth::AppRole { mount: "approle".into(), role_id: login.role_id.clone(), secret_id: key("login", "secret-id") };
    let at = connection(bao.address(), auth);
    let mut secrets = vec![login.secret_id.clone()];
    for text in ["canary-old-2", "canary-other-2", "canary-old-1", "canary-other-1"] {
        secrets.push(text.to_owned());
    }
    for (source, field, strategy) in [
        (kv2(&v2, "x", &[]), "a", Strategy::WriteNewVersion),
        (kv1(&v1, "x", &[]), "a", Strategy::WriteNewVersion),
        (role(&database, "app"), "password", Strategy::RotateRole),
    ] {
        bench.vault.check_rights(&at, &source, strategy).await.unwrap();
        let handed = bench.deliver(&at, &source, &[field]).await;
        secrets.push(handed.field(field).to_owned());
        bench.drive(&at, &source, &handed, strategy, None).await;
        secrets.push(bench.deliver(&at, &source, &[field]).await.field(field).to_owned());
    }
    // Refusals too: a wrong token, a missing secret, a mismatch.
    let wrong = bench.by_token(bao.address(), "s.canary-wrong-token");
    bench.vault.read(&wrong, &kv2(&v2, "x", &[])).await.err().unwrap();
    secrets.push("canary-wrong-token".to_owned());
    bench.vault.read(&at, &kv2(&v2, "nowhere", &[])).await.err().unwrap();
    bench.vault.rotate(&at, &kv2(&v2, "x", &[]), &crate::support::write(Some(77), &["a"])).await.err().unwrap();
    tracing::trace!(bytes = ?b"planted-control", "planted-control");
    let shown = format!("{:?} {:#?} {:?}", bench.vault, bench.vault, bench.vault.requests_total());

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap() + &shown;
    assert!(text.contains("ps_vault"), "our own lines are there");
    assert!(forms("planted-control").iter().any(|form| text.contains(form)), "the search finds what is there");
    assert!(text.contains(&format!("{v2}/data/x")), "the log has what the libraries say of each request");
    for secret in &secrets {
        for form in forms(secret) {
            assert!(!text.contains(&form), "the log holds {form:?}");
        }
    }
    // Tokens: those of the logins are not known here, but their form is.
    for token in text.match_indices("s.").map(|(at, _)| &text[at + 2..]) {
        let run = token.chars().take_while(char::is_ascii_alphanumeric).count();
        assert!(run < 20, "the log holds what looks like a token");
    }
}
