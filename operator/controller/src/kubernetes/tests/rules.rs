//! What is known, and how it changes.

use super::*;

#[tokio::test]
async fn absence_is_never_made_up() {
    let w = World::new(&[]);
    let code = async |w: &World, key: &Key| w.source.get(key).await.map_err(|f| (f.class, f.code)).err();
    assert_eq!(code(&w, &key("a")).await, Some((Class::Transient, "kubernetes-not-synced".into())));
    let id = FeedId { what: What::Deliveries, only: None };
    w.source.trouble(&id, Some(&Fault::new(Class::Denied, "kubernetes-denied", "may not list").remedy("Grant it")));
    assert_eq!(code(&w, &key("a")).await, Some((Class::Transient, "kubernetes-denied".into())));
    assert!(w.source.resolve(&ConnectionRef::namespaced("shop", "prod")).await.unwrap_err().is_transient());
    w.list(What::Deliveries, &[], 5);
    assert!(w.source.get(&key("a")).await.unwrap().is_none());
    assert!(!w.source.is_synced());
    // A watch that is down does not make known things unknown.
    w.source.trouble(&id, Some(&Fault::new(Class::Transient, "kubernetes-unreachable", "down")));
    assert!(w.source.get(&key("a")).await.unwrap().is_none() && w.source.fault().is_some());
    let few = World::new(&["shop"]);
    assert_eq!(code(&few, &Key::new("other", "a")).await, Some((Class::Transient, "namespace-not-watched".into())));
}

#[tokio::test]
async fn one_bad_object_stalls_alone() {
    let mut bad = delivery("bad", 10);
    bad["spec"]["rotation"]["strategy"] = json!("Teleport");
    let w = World::synced(&[delivery("good", 11), bad], &[], &[], &[]);
    assert!(w.source.get(&key("good")).await.unwrap().unwrap().spec.is_ok());
    let fault = w.source.get(&key("bad")).await.unwrap().unwrap().spec.unwrap_err();
    assert_eq!((fault.code.as_str(), fault.field.as_deref()), ("invalid-spec", Some("spec.rotation.strategy")));
    assert!(!fault.remedy.is_empty());
}

#[tokio::test]
async fn newer_wins_and_only_a_complete_list_makes_things_vanish() {
    let w = World::synced(&[delivery("a", 10), delivery("b", 11)], &[], &[], &[]);
    let mut newer = delivery("a", 120);
    newer["metadata"]["generation"] = json!(2);
    newer["spec"]["revoked"] = json!(true);
    w.source.answered(&key("a"), &raw(&newer), None);
    w.changed(What::Deliveries, &delivery("a", 10));
    assert_eq!(w.dirty(), ["shop/a"]);
    assert_eq!(w.source.get(&key("a")).await.unwrap().unwrap().generation, 2);
    // A list that was begun before: `a` is younger than it, `b` is gone, `c` is new.
    let id = FeedId { what: What::Deliveries, only: None };
    let items = vec![w.source.read(&id, raw(&delivery("c", 105)))];
    assert!(!w.source.listed(&id, items, 110, 100), "an answer to a write of ours meanwhile proves nothing");
    assert_eq!(w.source.keys(), [key("a"), key("c")]);
    assert_eq!(w.dirty(), ["shop/b", "shop/c"]);
    w.deleted(&delivery("c", 130));
    w.deleted(&delivery("a", 60));
    assert_eq!(w.source.keys(), [], "deleted is deleted, the uid is the same");
    w.changed(What::Deliveries, &delivery("a", 140));
    let mut former = delivery("a", 135);
    former["metadata"]["uid"] = json!("another");
    w.deleted(&former);
    assert_eq!(w.source.keys(), [key("a")], "the end of a former incarnation is not that of its successor");
}

#[tokio::test]
async fn a_storage_that_was_set_back_is_said_and_believed_when_it_is_accepted() {
    let w = World::synced(&[delivery("a", 90), delivery("b", 91)], &[], &[], &[]);
    assert!(w.list(What::Deliveries, &[delivery("a", 40)], 60));
    assert!(w.source.went_back().await.contains("100 and is at 60"));
    let fault = w.source.get(&key("a")).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (Class::Transient, "kubernetes-went-back"));
    assert!(w.source.put_status(&key("a"), "uid-a", &Status::default()).await.is_err() && w.asked().is_empty());
    w.dirty();
    w.source.accept_back();
    assert_eq!(w.dirty(), ["shop/a"]);
    assert_eq!((w.source.keys(), w.source.newest_of(What::Deliveries)), (vec![key("a")], 60));
    // It may have caught up before we looked: an object that grew younger tells.
    let w = World::synced(&[delivery("a", 90)], &[], &[], &[]);
    assert!(w.list(What::Deliveries, &[delivery("a", 40)], 200));
    assert!(w.source.went_back().await.contains("shop/a"));
    // One that is there though it was deleted, or had not been there, at a later version.
    let mut w = World::synced(&[delivery("a", 90)], &[], &[], &[]);
    assert!(w.list(What::Deliveries, &[delivery("a", 90), delivery("b", 70)], 200));
    assert!(w.source.went_back().await.contains("shop/b is at resourceVersion 70 and was not there at 100"));
    // An answer to a write of ours shows one object, and says nothing of others before it.
    w = World::synced(&[delivery("a", 90)], &[], &[], &[]);
    w.source.answered(&key("a"), &raw(&delivery("a", 150)), None);
    assert!(!w.list(What::Deliveries, &[delivery("a", 150), delivery("b", 140)], 160), "the watch was behind");
    assert!(w.list(What::Deliveries, &[delivery("a", 150), delivery("c", 155)], 170), "the list was not");
    // At start, against what an earlier process saw.
    let state = State::new(feeds(&[]), 500);
    assert!(state.feeds.iter().all(|(id, feed)| (feed.newest == 500) == (id.what == What::Deliveries)));
}

#[tokio::test]
async fn connections_are_resolved_for_the_namespace_that_asks() {
    let own = ConnectionRef::namespaced;
    let w = World::synced(
        &[],
        &[connection("own", "prod", &json!({}))],
        &[
            connection("all", "listed", &json!({"namespaces": ["shop"]})),
            connection("all", "labelled", &json!({"namespaceSelector": {"matchLabels": {"tier": "a"}}})),
            connection("all", "nobody", &json!({})),
            connection("all", "odd", &json!({"address": "nonsense"})),
        ],
        &[namespace("shop", &json!({"tier": "a"}), 60, false), namespace("other", &json!({"tier": "b"}), 61, false)],
    );
    let code = async |name: ConnectionRef| w.source.resolve(&name).await.map(|c| c.secrets_in).map_err(|f| f.code);
    assert_eq!(code(own("shop", "prod")).await, Ok("shop".into()));
    assert_eq!(code(ConnectionRef::cluster("shop", "listed")).await, Ok("operator".into()));
    assert_eq!(code(ConnectionRef::cluster("shop", "labelled")).await, Ok("operator".into()));
    assert_eq!(code(ConnectionRef::cluster("operator", "nobody")).await, Ok("operator".into()), "to clean up");
    for (name, expected) in [
        (own("other", "prod"), "no-such-connection"),
        (own("shop", "../other/prod"), "no-such-connection"),
        (own("shop", "listed"), "no-such-connection"),
        (ConnectionRef::cluster("shop", "prod"), "no-such-connection"),
        (ConnectionRef::cluster("other", "listed"), "connection-not-allowed"),
        (ConnectionRef::cluster("other", "labelled"), "connection-not-allowed"),
        (ConnectionRef::cluster("shop", "nobody"), "connection-not-allowed"),
        (ConnectionRef::cluster("shop", "odd"), "invalid-spec"),
    ] {
        let fault = w.source.resolve(&name).await.unwrap_err();
        assert_eq!(
            (fault.code.as_str(), fault.class, fault.remedy.is_empty()),
            (expected, Class::Misconfigured, false),
            "{name:?}"
        );
    }
}

#[tokio::test]
async fn who_cleans_up_must_be_allowed_to_and_be_at_the_same_place() {
    let own = |cleanup: &str| connection("own", cleanup, &json!({"cleanupConnectionRef": {"name": cleanup}}));
    // The same address, and a server of the tenant's own behind it.
    let bent = |how: &str| {
        let pem = "-----BEGIN CERTIFICATE-----\nbWluZQ==\n-----END CERTIFICATE-----\n";
        let (field, value) = if how == "name" { ("tlsServerName", "mine.example.com") } else { ("caBundle", pem) };
        connection("own", how, &json!({"cleanupConnectionRef": {"name": "good"}, field: value}))
    };
    let w = World::synced(
        &[],
        &[own("good"), own("strange"), own("elsewhere"), own("missing"), bent("name"), bent("authority")],
        &[
            connection("all", "good", &json!({"namespaces": ["shop"]})),
            connection("all", "strange", &json!({"namespaces": ["other"]})),
            connection("all", "elsewhere", &json!({"namespaces": ["shop"], "address": "https://evil:8200"})),
        ],
        &[],
    );
    let code = async |name: &str| {
        let fault = w.source.resolve(&ConnectionRef::namespaced("shop", name)).await.err();
        fault.map(|f| (f.code, f.field.unwrap_or_default()))
    };
    let at = |code: &str| Some((code.to_owned(), "spec.cleanupConnectionRef.name".to_owned()));
    assert_eq!(code("good").await, None);
    assert_eq!(code("strange").await, at("connection-not-allowed"));
    assert_eq!(code("elsewhere").await, at("cleanup-elsewhere"));
    assert_eq!(code("missing").await, at("no-such-connection"));
    assert_eq!(code("name").await, at("cleanup-elsewhere"));
    assert_eq!(code("authority").await, at("cleanup-elsewhere"));
}

#[tokio::test]
async fn connections_lead_to_no_server_that_the_operator_must_not_talk_to() {
    let at = |kind: &str, name: &str, address: &str| {
        connection(kind, name, &json!({"address": address, "namespaces": ["shop"]}))
    };
    let own = |name: &str, address: &str| connection("own", name, &json!({"address": address}));
    let mut w = World::synced(
        &[],
        &[own("clear", "http://127.0.0.1:8200"), own("evil", "https://evil:8200"), own("good", "https://vault:8200/")],
        &[at("all", "clear", "http://localhost"), at("all", "evil", "https://evil:8200")],
        &[],
    );
    async fn code(w: &World, name: ConnectionRef) -> Option<(String, bool)> {
        let fault = w.source.resolve(&name).await.err()?;
        assert_eq!((fault.field.as_deref(), fault.remedy.is_empty()), (Some("spec.address"), false));
        Some((fault.code, fault.class == Class::Denied))
    }
    let (own, all) =
        (|name: &str| ConnectionRef::namespaced("shop", name), |name: &str| ConnectionRef::cluster("shop", name));
    let denied = |code: &str| Some((code.to_owned(), true));
    assert_eq!(code(&w, own("clear")).await, denied("address-in-clear"));
    assert_eq!(code(&w, all("clear")).await, denied("address-in-clear"));
    assert_eq!(code(&w, own("evil")).await, None, "anywhere, by default");
    w.source.options.vault_addresses = vec!["https://other".into(), "https://vault:8200".into()];
    assert_eq!(code(&w, own("evil")).await, denied("address-not-allowed"));
    assert_eq!(code(&w, own("good")).await, None);
    let mut bent = connection("own", "good", &json!({"address": "https://vault:8200", "tlsServerName": "vault"}));
    for (version, name, expected) in [(70, "vault", None), (71, "mine.example.com", denied("address-not-allowed"))] {
        bent["metadata"]["resourceVersion"] = json!(version.to_string());
        bent["spec"]["tlsServerName"] = json!(name);
        w.changed(What::Connections, &bent);
        assert_eq!(code(&w, own("good")).await, expected, "{name}");
    }
    assert_eq!(code(&w, all("evil")).await, None, "whoever writes these is trusted with the cluster");
    w.source.options.allow_http = true;
    assert_eq!(code(&w, all("clear")).await, None);
    assert_eq!(code(&w, own("clear")).await, denied("address-not-allowed"));
}

#[tokio::test]
async fn a_changed_connection_or_namespace_brings_its_deliveries() {
    let mut through_cluster = delivery("c", 10);
    through_cluster["spec"]["source"]["vault"]["connectionRef"] =
        json!({"name": "all", "kind": "ClusterVaultConnection"});
    let w = World::synced(&[delivery("a", 10), through_cluster], &[], &[], &[namespace("shop", &json!({}), 60, false)]);
    let mut prod = connection("own", "prod", &json!({}));
    w.changed(What::Connections, &prod);
    assert_eq!(w.dirty(), ["shop/a"]);
    prod["metadata"]["resourceVersion"] = json!("70");
    prod["metadata"]["labels"] = json!({"x": "y"});
    w.changed(What::Connections, &prod);
    assert_eq!(w.dirty(), Vec::<String>::new(), "it leads to the same place");
    prod["metadata"]["resourceVersion"] = json!("71");
    prod["spec"]["namespace"] = json!("team");
    w.changed(What::Connections, &prod);
    assert_eq!(w.dirty(), ["shop/a"]);
    w.changed(What::ClusterConnections, &connection("all", "all", &json!({})));
    assert_eq!(w.dirty(), ["shop/c"]);
    w.changed(What::Namespaces, &namespace("shop", &json!({"tier": "a"}), 80, false));
    assert_eq!(w.dirty(), ["shop/a", "shop/c"]);
    assert!(!w.source.is_ending("shop"));
    w.changed(What::Namespaces, &namespace("shop", &json!({"tier": "a"}), 81, true));
    assert!(w.source.is_ending("shop") && w.source.is_ending("never-seen"));
}

/// What a delivery can name: a Secret and a service account, by name. Neither leads out of its namespace.
#[test]
fn ten_thousand_resting_deliveries_are_small() {
    let known = Known::read(&read::tests::delivery(&read::tests::good()), None);
    // What lies inline, and the spec that is shared; texts are counted by the JSON form of the spec.
    let inline = std::mem::size_of::<Known>() + std::mem::size_of::<ps_core::delivery::Spec>();
    let texts = serde_json::to_vec(known.spec.as_ref().unwrap().as_ref()).unwrap().len();
    assert!(inline + texts < 4096, "{inline} + {texts}");
}
