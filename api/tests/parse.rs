//! Text that is no manifest, or nearly one: always a fault that says what to do, never a panic, never somebody's value.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a panic in a test is its failure report"
)]

use proptest::prelude::*;
use ps_api::{Document, Kind, Limits, Object, SecretDelivery, documents, parse, read, resolve};
use ps_core::delivery::{ConnectionRef, NoticeKind, Source, Strategy as Rotation};
use ps_core::error::{Class, Fault};
use ps_core::time::Span;

const KV: &str = "
apiVersion: passwordsender.io/v1alpha1
kind: SecretDelivery
metadata: {name: a, namespace: shop, annotations: {passwordsender.io/stamp: abc.def}}
spec:
  recipient: {email: alice@vendor.example}
  source: {vault: {connectionRef: {name: prod}, kv: {mount: secret, path: apps/db}}}
  fields: [{key: user}, {key: pass, kind: password}]
  rotation: {strategy: WriteNewVersion, afterRetrieval: 5m}
";

fn fault(yaml: &str) -> Fault {
    let fault = parse(yaml, &Limits::default()).expect_err(yaml);
    assert_eq!((fault.code.as_str(), fault.class), ("invalid-spec", Class::Misconfigured), "{fault}");
    assert!(!fault.remedy.is_empty() && fault.field.is_some(), "{fault:?}");
    fault
}

fn one(yaml: &str) -> Document {
    documents(yaml, &Limits::default()).unwrap().pop().unwrap()
}

fn delivery(yaml: &str) -> SecretDelivery {
    match one(yaml).object.unwrap() {
        Object::Delivery(delivery) => *delivery,
        other => panic!("{other:?}"),
    }
}

#[test]
fn defaults_are_filled_in() {
    let document = one(KV);
    assert_eq!(document.key.to_string(), "shop/a");
    assert_eq!(document.stamp.unwrap().as_str(), "abc.def");
    let spec = resolve(&delivery(KV)).unwrap();
    assert_eq!(
        spec.source,
        Source::Kv2 { mount: "secret".into(), path: "apps/db".into(), keys: vec!["user".into(), "pass".into()] }
    );
    assert_eq!(spec.connection.namespace, "shop");
    assert_eq!((spec.ttl, spec.claim_window), (Span::from_secs(4 * 3600), Span::from_secs(300)));
    assert_eq!(spec.rotation.strategy, Rotation::WriteNewVersion);
    assert_eq!(spec.rotation.keys, ["pass"]);
    assert!(
        spec.rotation.on_expiry
            && spec.rotation.on_revocation
            && spec.rotation.on_locked
            && !spec.rotation.before_delivery
    );
    assert!(!spec.revoked && spec.notify.is_none() && spec.redeliver.is_none());
    let role = KV
        .replace("kv: {mount: secret, path: apps/db}", "database: {mount: db, staticRole: r}")
        .replace("  fields: [{key: user}, {key: pass, kind: password}]\n", "")
        .replace("strategy: WriteNewVersion, afterRetrieval: 5m}", "afterRetrieval: 1h}\n  notify: {email: a@b}");
    let spec = resolve(&delivery(&role)).unwrap();
    assert_eq!((spec.rotation.strategy, spec.claim_window), (Rotation::RotateRole, Span::from_secs(900)));
    assert_eq!(spec.rotation.keys, ["password"]);
    assert_eq!(
        spec.fields.iter().map(|f| (f.key.as_str(), f.kind.as_str())).collect::<Vec<_>>(),
        [("username", "text"), ("password", "password")]
    );
    assert!(spec.notify.unwrap().on.contains(&NoticeKind::Declined));
}

#[test]
fn any_combination_of_factors_can_be_demanded() {
    use ps_core::link::Verification::{EmailCode, Oidc, Passphrase};
    let phrase = "passphrase: {secretKeyRef: {name: p, key: k}}";
    let plain = resolve(&delivery(KV)).unwrap();
    assert!(plain.kinds().is_empty());
    assert!(!serde_json::to_string(&plain).unwrap().contains("email_code"), "digests of older entries stay equal");
    for (asked, kinds) in [
        ("emailCode: {}".to_owned(), vec![EmailCode]),
        ("oidc: {}".to_owned(), vec![Oidc]),
        (format!("oidc: {{}}, emailCode: {{}}, {phrase}"), vec![Passphrase, EmailCode, Oidc]),
    ] {
        let text = KV.replace("  rotation:", &format!("  verification: {{{asked}}}\n  rotation:"));
        assert_eq!(resolve(&delivery(&text)).unwrap().kinds(), kinds, "{asked}");
    }
    let odd = KV.replace("  rotation:", "  verification: {emailCode: {length: 4}}\n  rotation:");
    assert_eq!(fault(&odd).field.as_deref(), Some("spec.verification.emailCode.length"));
}

#[test]
fn unknown_fields_are_refused_with_the_one_that_was_meant() {
    for (wrong, right, field, hint) in [
        ("recipient: {email", "recipent: {email", "spec.recipent", "spec.recipient"),
        ("rotation:", "ttl: 4h\n  rotation:", "spec.ttl", "spec.link.ttl"),
        (
            "afterRetrieval: 5m",
            "afterRetreival: 5m, afterRetrieval: 5m",
            "spec.rotation.afterRetreival",
            "spec.rotation.afterRetrieval",
        ),
        ("{key: user}", "{key: user, lable: x}", "spec.fields[0].lable", "spec.fields[0].label"),
        ("metadata: {", "metadata: {nmae: b, ", "metadata.nmae", "metadata.name"),
        ("spec:", "sepc: {}\nspec:", "sepc", "spec"),
    ] {
        let fault = fault(&KV.replace(wrong, right));
        assert_eq!(fault.field.as_deref(), Some(field), "{fault}");
        assert!(fault.remedy.contains(hint), "{fault}");
    }
}

#[test]
fn types_and_shapes_are_checked_with_their_path() {
    for (wrong, right, field) in [
        ("email: alice@vendor.example", "email: 5", "spec.recipient.email"),
        ("email: alice@vendor.example", "email: null", "spec.recipient.email"),
        ("{email: alice@vendor.example}", "alice@vendor.example", "spec.recipient"),
        ("{email: alice@vendor.example}", "{name: x}", "spec.recipient.email"),
        ("path: apps/db", "path: apps/db, version: 3", "spec.source.vault.kv.version"),
        ("path: apps/db", "path: apps/db, version: '2'", "spec.source.vault.kv.version"),
        ("kind: password", "kind: Password", "spec.fields[1].kind"),
        ("rotation:", "deliverBefore: 2026-12-01\n  rotation:", "spec.deliverBefore"),
        ("rotation:", "revoked: \"true\"\n  rotation:", "spec.revoked"),
        ("rotation:", "redeliver: 2\n  rotation:", "spec.redeliver"),
        ("rotation:", "redeliver: .inf\n  rotation:", "spec.redeliver"),
        ("rotation:", "completion: onDelivered\n  rotation:", "spec.completion"),
        ("[{key: user}, {key: pass, kind: password}]", "[]", "spec.fields"),
        ("  recipient", "  x-recipient", "spec.recipient"),
    ] {
        let fault = fault(&KV.replace(wrong, right));
        assert!(fault.field.as_deref() == Some(field), "{field}: {fault}");
    }
    assert_eq!(
        fault("{apiVersion: passwordsender.io/v1alpha1, kind: SecretDelivery, metadata: {name: x}}").field.as_deref(),
        Some("spec")
    );
}

#[test]
fn foreign_and_nameless_objects_are_refused_as_a_whole() {
    for (wrong, right, words) in [
        ("kind: SecretDelivery", "kind: SecretDelivry", "SecretDelivery"),
        ("kind: SecretDelivery", "kind: Secret", "kind Secret"),
        ("kind: SecretDelivery", "kind: 5", "kind is missing"),
        ("v1alpha1", "v1", "v1alpha1"),
        ("name: a,", "", "metadata.name"),
        ("name: a,", "generateName: a,", "generateName"),
        ("name: a,", "name: Ä,", "metadata.name"),
        ("name: a,", "name: ../a,", "metadata.name"),
        ("name: a,", "name: 5,", "metadata.name"),
        ("namespace: shop", "namespace: a.b", "metadata.namespace"),
        ("metadata: {", "metadata: {labels: {a: 1}, ", "labels"),
    ] {
        let fault = fault(&KV.replace(wrong, right));
        assert!(fault.to_string().contains(words), "{words}: {fault}");
    }
}

#[test]
fn objects_of_other_kinds_beside_ours_are_named_and_left_alone() {
    let text = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n---\n{KV}---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: r, namespace: shop}}\nrules: [{{verbs: [get]}}]\n---\n\
         apiVersion: secrets.hashicorp.com/v1beta1\nkind: VaultConnection\nmetadata: {{name: v}}\n---\n\
         apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a.yaml]\n"
    );
    let parsed = read(&text, &Limits::default()).unwrap();
    assert_eq!(parsed.documents.len(), 1);
    assert!(parsed.documents[0].object.is_ok());
    let foreign: Vec<_> = parsed.foreign.iter().map(|f| (f.kind.as_str(), f.name.as_str())).collect();
    assert_eq!(foreign, [("Namespace", "shop"), ("Role", "r"), ("VaultConnection", "v"), ("Kustomization", "")]);
    assert_eq!(documents(&text, &Limits::default()).unwrap().len(), 1);
    // What may be meant to be ours is still a fault, so that a typing error does not make a delivery vanish.
    for (version, kind) in [
        ("v1", "SecretDelivery"),
        ("passwordsender.io/v1alpha1", "Secret"),
        ("password-sender.io/v1alpha1", "Secret"),
        ("example.com/v1", "SecretDelivry"),
        ("v1", "VaultConnection"),
        ("example.com/v1", "ClusterVaultConection"),
    ] {
        let fault = fault(&format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n"));
        assert!(["kind", "apiVersion"].contains(&fault.field.as_deref().unwrap()), "{fault}");
    }
}

#[test]
fn a_list_as_kubectl_prints_it_is_its_items() {
    let item: serde_json::Value = serde_yaml::from_str(KV).unwrap();
    for (version, kind) in [("v1", "List"), ("passwordsender.io/v1alpha1", "SecretDeliveryList")] {
        let list = serde_json::json!({"apiVersion": version, "kind": kind, "items": [item, item], "metadata": {}});
        assert_eq!(documents(&list.to_string(), &Limits::default()).unwrap().len(), 2, "{kind}");
    }
}

const CLUSTER: &str = "
apiVersion: passwordsender.io/v1alpha1
kind: ClusterVaultConnection
metadata: {name: prod}
spec:
  address: https://vault.example.com:8200
  auth: {kubernetes: {role: r, serviceAccountRef: {name: sa}, audience: vault}}
  namespaces: [shop]
";

#[test]
fn a_cluster_wide_connection_lies_in_no_namespace() {
    let document = one(CLUSTER);
    assert_eq!(
        (document.kind, document.key.namespace.as_str(), document.key.name.as_str()),
        (Kind::ClusterConnection, "", "prod")
    );
    assert!(matches!(document.object.unwrap(), Object::ClusterConnection(_)));
    let fault = fault(&CLUSTER.replace("{name: prod}", "{name: prod, namespace: shop}"));
    assert_eq!(fault.field.as_deref(), Some("metadata.namespace"));
}

#[test]
fn a_delivery_says_which_kind_of_connection_it_means() {
    assert_eq!(resolve(&delivery(KV)).unwrap().connection, ConnectionRef::namespaced("shop", "prod"));
    let of = |kind: &str| KV.replace("{name: prod}", &format!("{{name: prod, kind: {kind}}}"));
    let named = resolve(&delivery(&of("VaultConnection"))).unwrap();
    assert_eq!(named.digest(), resolve(&delivery(KV)).unwrap().digest(), "the default, written out, is no change");
    let shared = resolve(&delivery(&of("ClusterVaultConnection"))).unwrap();
    assert_eq!(shared.connection, ConnectionRef::cluster("shop", "prod"));
    assert_eq!(fault(&of("Cluster")).field.as_deref(), Some("spec.source.vault.connectionRef.kind"));
}

#[test]
fn an_object_written_around_the_schema_is_a_fault_of_its_own() {
    let good: serde_json::Value = serde_yaml::from_str(KV).unwrap();
    let cluster: serde_json::Value = serde_yaml::from_str(CLUSTER).unwrap();
    for (base, at, value) in [
        (&good, "/spec/rotation/strategy", serde_json::json!("Sometimes")),
        (&good, "/spec/source/vault/connectionRef", serde_json::json!({"kind": "Cluster", "name": "x"})),
        (&good, "/spec/recipient", serde_json::json!({})),
        (&good, "/spec", serde_json::json!(null)),
        (&good, "/spec/fields", serde_json::json!({"0": 1})),
        (&good, "/spec/source/vault", serde_json::json!({"connectionRef": {"name": "x"}, "transit": {}})),
        (&cluster, "/spec/auth", serde_json::json!({"jwt": {}})),
        (&cluster, "/spec/auth/kubernetes/audience", serde_json::json!("")),
        (&cluster, "/spec/auth/kubernetes", serde_json::json!({"role": "r"})),
        (&cluster, "/spec/namespaces", serde_json::json!("shop")),
        (&cluster, "/spec/namespaces", serde_json::json!([null])),
    ] {
        let mut object = base.clone();
        *object.pointer_mut(at).unwrap() = value;
        let document = Document::read(object).unwrap();
        let fault = document.object.expect_err(at);
        assert!(fault.field.as_deref().unwrap().starts_with("spec") && !fault.remedy.is_empty(), "{fault:?}");
    }
}

#[test]
fn one_bad_document_does_not_hide_which_objects_there_are() {
    let two = format!("{KV}---\n{}---\n# nothing\n---\n", KV.replace("name: a,", "name: b,").replace("5m", "5x"));
    let documents = documents(&two, &Limits::default()).unwrap();
    assert_eq!(
        documents.iter().map(|d| (d.key.name.as_str(), d.object.is_ok())).collect::<Vec<_>>(),
        [("a", true), ("b", false)]
    );
    assert!(parse("", &Limits::default()).unwrap().is_empty());
    assert!(parse("# only a comment\n---\n", &Limits::default()).unwrap().is_empty());
}

#[test]
fn what_kubectl_prints_is_accepted() {
    let printed = KV.replace("metadata: {", "status: {summary: Delivered, junk: [1]}\nmetadata: {uid: x, generation: 3, generateName: a-, managedFields: [{manager: kubectl}], ");
    assert!(one(&printed).object.is_ok());
}

#[test]
fn hostile_yaml_is_a_fault_that_quotes_nothing() {
    let bomb = {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            text += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "));
        }
        text
    };
    let deep = "[".repeat(100_000);
    let nested = format!("{}x{}", "[".repeat(60), "]".repeat(60));
    let wide = format!("[{}]", "0,".repeat(200_000));
    let huge = "x".repeat(2 * 1024 * 1024);
    let documents = "---\na: b\n".repeat(2000);
    let twice = KV.replace("recipient:", "recipient: {email: x@y}\n  recipient:");
    for text in [
        bomb.as_str(),
        &deep,
        &nested,
        &wide,
        &huge,
        &documents,
        &twice,
        "a: b: hunter2",
        "&a [*a]",
        "*a",
        "{1: 2}",
        "? [a]\n: b",
        "!!binary aGk=",
        "!secret hunter2",
        "just hunter2",
        "[hunter2]",
        "'",
        "\t",
        "\u{0}",
        "a: \u{7}",
        "%YAML 9.9\n---\na",
        "<<: {a: b}",
        "99999999999999999999999999999",
        "-----BEGIN",
    ] {
        let fault = fault(text);
        assert!(!fault.to_string().contains("hunter2"), "{fault}");
        assert!(fault.to_string().len() < 600, "{fault}");
    }
    assert!(fault(&twice).to_string().contains("recipient is there twice"), "{}", fault(&twice));
    let short = Limits { bytes: 10, ..Limits::default() };
    assert!(parse(KV, &short).unwrap_err().to_string().contains("10 bytes"));
}

/// A manifest of arbitrary small parts: most are wrong, some are right.
fn patchwork() -> impl proptest::strategy::Strategy<Value = serde_json::Value> {
    let text = prop_oneof![
        "[ -~]{0,20}",
        "\\PC{0,10}",
        Just("4h".to_owned()),
        Just("a@b".to_owned()),
        Just("None".to_owned()),
        Just("null".to_owned())
    ];
    let name = prop_oneof![
        Just("recipient"),
        Just("source"),
        Just("vault"),
        Just("kv"),
        Just("database"),
        Just("fields"),
        Just("key"),
        Just("rotation"),
        Just("strategy"),
        Just("keys"),
        Just("afterRetrieval"),
        Just("link"),
        Just("ttl"),
        Just("email"),
        Just("name"),
        Just("mount"),
        Just("path"),
    ];
    let leaf = prop_oneof![
        text.prop_map(serde_json::Value::from),
        any::<i64>().prop_map(Into::into),
        any::<bool>().prop_map(Into::into),
        Just(serde_json::Value::Null)
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::hash_map(name.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn junk_never_panics(text in "\\PC{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _outcome = parse(&text, &Limits::default());
        let _outcome = parse(&String::from_utf8_lossy(&bytes), &Limits::default());
    }

    #[test]
    fn a_truncated_manifest_is_a_fault_or_a_whole_one(at in 0_usize..600) {
        let end = (0..=at.min(KV.len())).rev().find(|i| KV.is_char_boundary(*i)).unwrap_or(0);
        for object in documents(&KV[..end], &Limits::default()).into_iter().flatten() {
            if let Err(fault) = object.object {
                prop_assert_eq!(fault.class, Class::Misconfigured);
                prop_assert!(!fault.remedy.is_empty());
            }
        }
    }

    #[test]
    fn a_mutated_manifest_never_panics(at in 0_usize..500, with in "\\PC{0,8}", cut in 0_usize..12) {
        let start = (0..=at.min(KV.len())).rev().find(|i| KV.is_char_boundary(*i)).unwrap_or(0);
        let end = (start + cut).min(KV.len());
        let text = format!("{}{with}{}", &KV[..start], &KV[end..]);
        let _outcome = parse(&text, &Limits::default());
    }

    #[test]
    fn arbitrary_specs_get_a_verdict(spec in patchwork()) {
        let mut object = serde_json::json!({"apiVersion": "passwordsender.io/v1alpha1", "kind": "SecretDelivery", "metadata": {"name": "a"}});
        object["spec"] = spec.clone();
        let yaml = serde_json::to_string(&object).unwrap();
        match documents(&yaml, &Limits::default()) {
            Ok(documents) => for document in documents {
                if let Err(fault) = document.object {
                    prop_assert!(fault.field.is_some() && !fault.remedy.is_empty());
                }
            },
            Err(fault) => prop_assert!(!fault.remedy.is_empty(), "{}", fault),
        }
        // `resolve` trusts nobody: what an older schema let through may be any of this.
        let trusting: Result<SecretDelivery, _> = serde_json::from_value(object);
        if let Ok(delivery) = trusting
            && let Err(fault) = resolve(&delivery)
        {
            prop_assert!(fault.field.is_some() && !fault.remedy.is_empty());
        }
    }
}

#[test]
fn validation_is_fast_enough_for_a_full_folder() {
    // Not a benchmark: a guard against rules or schemas being compiled anew for each manifest.
    let text = format!("{KV}---\n").repeat(50);
    let started = std::time::Instant::now();
    assert_eq!(parse(&text, &Limits::default()).unwrap().len(), 50);
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    println!("{:?} for 50 in this build", started.elapsed());
}
