//! Compare-and-swap of rows, and what refusals say.

use std::time::Duration;

use ps_core::error::{Class, Fault};
use ps_core::ports::CasError;
use ps_kubernetes::{MAX_DATA, Row};
use ps_testbed::{ProxyAction, ProxyRule};
use serde_json::json;

use crate::{KIND, client, client_of, role, row, shared, space, table};

fn failed<T: std::fmt::Debug>(result: Result<T, CasError>) -> Fault {
    match result {
        Err(CasError::Failed(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_compared_and_swapped() {
    let cluster = shared().await;
    let namespace = space(cluster).await;
    let table = table(client(cluster, &namespace).await, &namespace);
    assert_eq!(table.get("a").await, Ok(None));
    let one = table.create(&row("a", "1")).await.unwrap();
    assert_eq!(table.get("a").await, Ok(Some((row("a", "1"), one))));
    assert_eq!(table.create(&row("a", "1")).await, Err(CasError::AlreadyExists));
    let two = table.replace(&row("a", "2"), one).await.unwrap();
    let three = table.replace(&row("a", "2"), two).await.unwrap();
    assert!(one < two && two < three, "each write is a change");
    for stale in [0, one, two, three + 1, u64::MAX] {
        assert_eq!(table.replace(&row("a", "x"), stale).await, Err(CasError::Conflict), "{stale}");
        assert_eq!(table.delete("a", stale).await, Err(CasError::Conflict), "{stale}");
    }
    assert_eq!(table.replace(&row("b", "1"), three).await, Err(CasError::Conflict), "of nothing");
    table.delete("a", three).await.unwrap();
    assert_eq!((table.get("a").await, table.delete("a", three).await), (Ok(None), Err(CasError::Conflict)));
    let anew = table.create(&row("a", "2")).await.unwrap();
    assert!(anew > three);
    assert_eq!(table.replace(&row("a", "x"), three).await, Err(CasError::Conflict), "made anew");
    assert_eq!((table.purge("a").await, table.purge("a").await), (Ok(true), Ok(false)));

    // A list in pages shows one moment; other types are not in it.
    cluster.kubectl(&["-n", &namespace, "create", "secret", "generic", "other", "--from-literal=a=b"]).await.unwrap();
    for n in 0..7 {
        table.create(&row(&format!("r{n}"), "1")).await.unwrap();
    }
    let (mut next, mut names, mut positions) = (None, Vec::new(), Vec::new());
    loop {
        let page = table.page(next.as_deref(), 3).await.unwrap();
        names.extend(page.rows.into_iter().map(|meta| meta.name));
        positions.push(page.position);
        table.create(&row(&format!("later{}", names.len()), "1")).await.unwrap();
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(names, (0..7).map(|n| format!("r{n}")).collect::<Vec<_>>());
    assert!(positions.len() == 3 && positions.iter().all(|position| *position == positions[0]), "{positions:?}");
    assert!(table.position().await.unwrap() > positions[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_are_looked_up() {
    let cluster = shared().await;
    let namespace = space(cluster).await;
    let proxy = cluster.proxy().unwrap();
    let direct = table(client(cluster, &namespace).await, &namespace);
    let table =
        table(client_of(cluster.kubeconfig_via(&proxy, &namespace, "operator").await.unwrap()).await, &namespace);
    let actions = [
        ProxyAction::DoneBut(500),
        ProxyAction::DoneBut(409),
        ProxyAction::DoneBut(504),
        ProxyAction::DoneButDrop,
        ProxyAction::Drop,
        ProxyAction::Refuse(409),
        ProxyAction::Refuse(429),
        ProxyAction::Refuse(500),
        ProxyAction::Refuse(503),
    ];
    for (n, action) in actions.into_iter().enumerate() {
        let name = format!("row{n}");
        let rule = |method: &str| proxy.rule(ProxyRule::new("/secrets", action.clone()).method(method).times(1));
        rule("POST");
        let one = table.create(&row(&name, "1")).await.unwrap_or_else(|e| panic!("create {action:?}: {e}"));
        rule("PUT");
        let two = table.replace(&row(&name, "2"), one).await.unwrap_or_else(|e| panic!("replace {action:?}: {e}"));
        assert_eq!(direct.get(&name).await, Ok(Some((row(&name, "2"), two))), "{action:?}");
        rule("DELETE");
        match (action.clone(), table.delete(&name, two).await) {
            // Gone, and the refusal says that it was not us: it can't be told from somebody else's deletion.
            (ProxyAction::DoneBut(409), Err(CasError::Conflict)) | (_, Ok(())) => {}
            (_, other) => panic!("delete {action:?}: {other:?}"),
        }
        assert_eq!(direct.get(&name).await, Ok(None), "{action:?}");
        proxy.clear();
    }
    // A read is repeated, within its time.
    let version = direct.create(&row("r", "1")).await.unwrap();
    for status in [429, 503, 504] {
        proxy.rule(ProxyRule::new("/secrets/r", ProxyAction::Refuse(status)).method("GET").times(2));
        assert_eq!(table.get("r").await, Ok(Some((row("r", "1"), version))), "{status}");
        proxy.clear();
    }
    proxy.rule(ProxyRule::new("/secrets/r", ProxyAction::Refuse(429)).method("GET"));
    assert_eq!(failed(table.get("r").await).code, "kubernetes-busy");
    proxy.clear();
    // An answer that never comes does not hold anybody for long.
    proxy.rule(ProxyRule::new("/secrets/r", ProxyAction::Hang).method("GET"));
    let start = std::time::Instant::now();
    let fault = failed(table.get("r").await);
    assert_eq!((fault.code.as_str(), fault.class), ("kubernetes-unreachable", Class::Transient));
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_say_what_to_do_and_quote_no_secret() {
    let cluster = shared().await;
    let namespace = space(cluster).await;
    let ours = table(client(cluster, &namespace).await, &namespace);
    cluster.service_account(&namespace, "gateway").await.unwrap();
    role(cluster, &namespace, "gateway", &["get", "list", "watch", "update"]).await;
    let gateway = client_of(cluster.kubeconfig_for(&namespace, "gateway").await.unwrap()).await;
    let gateway = table(gateway, &namespace);
    let version = ours.create(&row("a", "1")).await.unwrap();
    let version = gateway.replace(&row("a", "2"), version).await.unwrap();
    for fault in [failed(gateway.create(&row("b", "hunter2")).await), failed(gateway.delete("a", version).await)] {
        assert_eq!((fault.code.as_str(), fault.class), ("kubernetes-denied", Class::Denied));
        assert!(
            fault.remedy.contains(&format!("Role in namespace {namespace}")) && fault.remedy.contains("secrets"),
            "{fault}"
        );
        assert!(!fault.to_string().contains("hunter2"));
    }
    // A name that is another's, whatever is asked.
    cluster
        .kubectl(&["-n", &namespace, "create", "secret", "generic", "other", "--from-literal=a=hunter2"])
        .await
        .unwrap();
    for fault in [
        failed(ours.get("other").await),
        failed(ours.create(&row("other", "1")).await),
        failed(ours.purge("other").await),
    ] {
        assert_eq!(fault.code, "kubernetes-foreign-object");
    }
    // Values are never quoted, also not by what the API server says of bad ones.
    let bad = Row { data: [("hunter2 is no key".to_owned(), b"hunter2".to_vec())].into(), ..row("bad", "1") };
    let fault = failed(ours.create(&bad).await);
    assert_eq!((fault.code.as_str(), fault.class), ("kubernetes-invalid", Class::Permanent));
    // The largest row fits, with the largest annotations that a ledger makes.
    let largest = Row {
        annotations: [("passwordsender.io/sources".to_owned(), "s".repeat(200 * 1024))].into(),
        data: [("entry".to_owned(), vec![7; MAX_DATA])].into(),
        ..row("largest", "")
    };
    let version = ours.create(&largest).await.unwrap();
    assert_eq!(ours.get("largest").await, Ok(Some((largest, version))));
    // A missing namespace.
    let nowhere = table(client(cluster, &namespace).await, "no-such-namespace");
    assert_eq!(failed(nowhere.create(&row("a", "1")).await).code, "kubernetes-denied");
}

/// Whoever may update rows can put finalizers on one, or make it immutable: neither keeps it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_taken_over_gateway_may_write_keeps_no_row() {
    let cluster = shared().await;
    let namespace = space(cluster).await;
    let table = table(client(cluster, &namespace).await, &namespace);
    let path = format!("/api/v1/namespaces/{namespace}/secrets/a");
    for spoil in [
        json!({"metadata": {"finalizers": ["evil.example/stay"]}}),
        json!({"immutable": true}),
        json!({"immutable": true, "metadata": {"finalizers": ["evil.example/stay"]}}),
        json!({"metadata": {"annotations": null, "labels": {"x": "y"}}, "data": {"entry": null}}),
    ] {
        for purge in [true, false] {
            table.create(&row("a", "1")).await.unwrap();
            let spoilt = cluster.call("PATCH", &path, Some(&spoil)).await.unwrap();
            let version: u64 = spoilt["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
            if purge {
                assert_eq!(table.purge("a").await, Ok(true), "{spoil}");
            } else {
                table.delete("a", version).await.unwrap();
            }
            assert_eq!(table.get("a").await, Ok(None), "{spoil}");
        }
    }
    table.create(&row("a", "1")).await.unwrap();
    let spoilt = cluster.call("PATCH", &path, Some(&json!({"immutable": true}))).await.unwrap();
    let version = spoilt["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    assert_eq!(failed(table.replace(&row("a", "2"), version).await).code, "kubernetes-invalid");
    assert_eq!(spoilt["type"], KIND);
}

/// 64 tasks on two clients each add one: none may be lost, also while every tenth answer is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_increments() {
    let cluster = shared().await;
    let namespace = space(cluster).await;
    let proxy = cluster.proxy().unwrap();
    for n in 1..6 {
        proxy.rule(ProxyRule::new("/secrets/sum", ProxyAction::DoneBut(500)).method("PUT").after(n * 10).times(1));
    }
    let direct = table(client(cluster, &namespace).await, &namespace);
    let tables = [
        direct.clone(),
        table(client_of(cluster.kubeconfig_via(&proxy, &namespace, "operator").await.unwrap()).await, &namespace),
    ];
    direct.create(&row("sum", "0")).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..64 {
        let table = tables[task % 2].clone();
        tasks.spawn(async move {
            loop {
                let (found, version) = table.get("sum").await.unwrap().unwrap();
                let sum: u64 = std::str::from_utf8(&found.data["entry"]).unwrap().parse().unwrap();
                match table.replace(&row("sum", &(sum + 1).to_string()), version).await {
                    Ok(_) => return 1,
                    Err(CasError::Conflict) => {}
                    // Nobody knows whether this one was done.
                    Err(CasError::Failed(_)) => return 0,
                    Err(other) => panic!("{other}"),
                }
            }
        });
    }
    let sure: u64 = tasks.join_all().await.into_iter().sum();
    let (found, _) = direct.get("sum").await.unwrap().unwrap();
    let sum: u64 = std::str::from_utf8(&found.data["entry"]).unwrap().parse().unwrap();
    assert!((sure..=64).contains(&sum), "{sure} were told as done, the sum is {sum}");
    assert!(sure >= 64 - 5, "at most the lost answers are unsure: {sure}");
}
