//! What kubectl shows and teaches, as golden files; and FlowSchemas, which are seen in the API server's metrics.

use std::time::Duration;

use ps_testbed::{Testbed, unique, wait_until};
use serde_json::{Value, json};

use crate::golden_files::{assert_golden, compare, masked, table};
use crate::stand::{Setup, Stand, name};
use crate::support::{KvSource, SOON, kv_delivery};

/// With a stamp annotation of this length; its first part is a digest of namespace and name.
const STAMP: &str = "passwordsender.io/stamp: ";

#[tokio::test]
async fn kubectl_shows_the_story() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect(bao, &source.policy()).await;
    let cluster_wide = name("prod");
    let object = json!({"apiVersion": "passwordsender.io/v1alpha1", "kind": "ClusterVaultConnection",
        "metadata": {"name": cluster_wide}, "spec": {"address": "https://vault.example.com:8200", "namespaces": [stand.tenant],
        "auth": {"kubernetes": {"mount": "kubernetes", "role": "team", "audience": "vault",
            "serviceAccountRef": {"name": "password-sender"}}}}});
    stand.cluster.apply(&object.to_string()).await.unwrap();
    let to = format!("{}@vendor.example", unique("alice"));
    let more = json!({"link": {"claimWindow": "1s"}});
    stand.apply(&kv_delivery("webshop", &to, &source, "10m", "1s", more.clone())).await;
    let recipient = stand.recipient(&to).await;
    let nowhere = json!({"source": {"vault": {"kv": {"path": "not/allowed"}}}});
    stand.apply(&kv_delivery("wrong-path", "bob@vendor.example", &source, "10m", "1s", nowhere)).await;
    stand.wait_status("wrong-path", "stalled", SOON, |s| s.stalled().is_some()).await;
    stand.wait_status("webshop", "delivered", SOON, |s| s.is("Delivered")).await;

    let (mount, address) = (source.mount.as_str(), bao.address());
    let names = [
        (stand.tenant.as_str(), "NAMESPACE"),
        (mount, "MOUNT"),
        (source.path.as_str(), "PATH"),
        (stand.auth.as_str(), "AUTH"),
        (cluster_wide.as_str(), "CLUSTER-WIDE"),
        (address, "ADDRESS"),
    ];
    let get = async |words: &[&str]| {
        let words = [&["get", "-n", &stand.tenant], words].concat();
        let ours = ["webshop", "wrong-path", "vault", cluster_wide.as_str()];
        let text = stand.kubectl(&words, "").await;
        table(&text, &names, |name| ours.iter().any(|ours| name.rsplit('/').next() == Some(ours)))
    };
    assert_golden("get-delivered", &get(&["secretdeliveries"]).await);
    assert_golden("get-delivered-wide", &get(&["secretdeliveries", "-o", "wide"]).await);
    assert_golden("get-connections", &get(&["vcon,cvcon"]).await);
    assert_golden("get-connections-wide", &get(&["vcon,cvcon", "-o", "wide"]).await);
    assert_golden("get-category", &get(&["password-sender"]).await);
    assert_eq!(get(&["sd"]).await, get(&["secretdelivery"]).await);
    let selected = async |field: &str| {
        stand.kubectl(&["get", "sd", "-n", &stand.tenant, "--field-selector", field, "-o", "name"], "").await
    };
    assert_eq!(selected("spec.source.vault.connectionRef.name=vault").await.lines().count(), 2);
    for field in [format!("spec.recipient.email={to}"), "status.summary=Delivered".to_owned()] {
        let one = selected(&field).await;
        assert!(one.lines().count() == 1 && one.contains("/webshop"), "{field}: {one}");
    }

    assert_eq!(recipient.open().await["password"], source.password);
    assert_eq!(recipient.acknowledge().await.state(), "retrieved");
    stand.wait_rotated("webshop", SOON).await;
    for reason in ["Delivered", "Retrieved", "Rotated"] {
        stand.event(&stand.tenant, "webshop", reason).await;
    }
    stand.wait_rests("webshop").await;
    assert_golden("get-rotated", &get(&["secretdeliveries"]).await);
    assert_golden("get-rotated-wide", &get(&["secretdeliveries", "-o", "wide"]).await);
    for object in ["webshop", "wrong-path"] {
        let said = stand.kubectl(&["describe", "secretdelivery", object, "-n", &stand.tenant], "").await;
        let in_spec = usize::from(object == "webshop");
        assert_eq!(said.matches(&to).count(), in_spec, "no address in full but the spec's own");
        assert!(!said.contains(&source.password));
        assert_golden(&format!("describe-{object}"), &described(&said, &to, &names));
    }
}

/// `kubectl describe` without what differs from run to run.
fn described(text: &str, to: &str, names: &[(&str, &str)]) -> String {
    let lines = text.lines().filter(|line| !line.contains("Resource Version:"));
    let lines = lines.map(|line| match line.split_once(STAMP) {
        Some((before, _)) => format!("{before}{STAMP}<stamp>\n"),
        None => format!("{}\n", masked(&line.replace(to, "<the recipient>"), names)),
    });
    let text: String = lines.collect();
    let Some((object, events)) = text.split_once("Events:\n") else { return text };
    // Type, reason, age, from and message, set by kubectl as wide as they are.
    let row = |line: &str| {
        let mut cells: Vec<&str> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        if let Some(age) = cells.get_mut(2).filter(|age| age.starts_with(|c: char| c.is_ascii_digit())) {
            *age = "<age>";
        }
        format!("  {}\n", cells.join("  "))
    };
    format!("{object}Events:\n{}", events.lines().map(row).collect::<String>())
}

#[tokio::test]
async fn kubectl_explains() {
    let cluster = Testbed::connect_or_start().unwrap().cluster().await.unwrap();
    cluster.ensure_crds().await.unwrap();
    for (file, words) in [
        ("explain-recursive", &["secretdelivery", "--recursive"][..]),
        ("explain-delivery", &["secretdelivery"]),
        ("explain-spec", &["sd.spec"]),
        ("explain-rotation", &["sd.spec.rotation"]),
        ("explain-link", &["sd.spec.link"]),
        ("explain-status", &["sd.status"]),
        ("explain-conditions", &["sd.status.conditions"]),
        ("explain-connection-recursive", &["vcon", "--recursive"]),
        ("explain-kubernetes-auth", &["vcon.spec.auth.kubernetes"]),
        ("explain-cluster-connection", &["cvcon.spec"]),
    ] {
        let words = [&["explain"], words].concat();
        let mut last = String::new();
        // Discovery follows the CRDs a moment later.
        let same = wait_until("the golden explanation", Duration::from_secs(30), async || {
            match compare(file, &cluster.kubectl(&words).await.ok()?) {
                Ok(()) => return Some(()),
                Err(why) => last = why,
            }
            None
        });
        if same.await.is_err() {
            panic!("{last}");
        }
    }
}

/// API priority and fairness: what operator and gateway ask is dispatched by our FlowSchemas, to our level, and nothing of it
/// is turned away.
#[tokio::test]
async fn requests_of_operator_and_gateway_have_a_level_of_their_own() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect(bao, &source.policy()).await;
    let to = format!("{}@vendor.example", unique("alice"));
    stand.apply(&kv_delivery("shop", &to, &source, "10m", "1h", Value::Null)).await;
    stand.recipient(&to).await.open().await;

    let page = stand.kubectl(&["get", "--raw", "/metrics"], "").await;
    let own = &stand.names.own;
    let count = |metric: &str, schema: &str| -> f64 {
        let of = |line: &&str| line.starts_with(metric) && line.contains(&format!("\"{schema}\""));
        page.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    for who in ["operator", "gateway"] {
        let schema = format!("{own}-{who}");
        let dispatched = count("apiserver_flowcontrol_dispatched_requests_total{", &schema);
        assert!(dispatched > 0.0, "{schema}: {dispatched}");
        assert!(count("apiserver_flowcontrol_rejected_requests_total{", &schema) < 1.0, "{schema}");
    }
    let lines: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("apiserver_flowcontrol_dispatched_requests_total{"))
        .filter(|line| line.contains(&format!("flow_schema=\"{own}-")))
        .collect();
    // What keeps the lease has the level that the API server has for that.
    let level = |line: &str| if line.contains("-lease\"") { "leader-election" } else { own.as_str() };
    let fits = |line: &&str| line.contains(&format!("priority_level=\"{}\"", level(line)));
    assert!(lines.len() >= 2 && lines.iter().all(fits), "{lines:?}");
}
