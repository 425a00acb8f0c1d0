//! Database static roles: the proof reaches the target, at the promised time, for all who share the role.

use std::time::{Duration, Instant};

use ps_core::time::Timestamp;
use ps_testbed::{HttpProxy, Testbed, unique, wait_until};
use serde_json::json;

use crate::support::{Invitation, Recipient, RoleSource, SOON, Setup, Stand, role_delivery};

const AFTER: Duration = Duration::from_secs(6);

#[tokio::test]
async fn the_old_password_lives_as_long_as_promised_and_no_longer() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let role = RoleSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect(bao, bao.address(), &role.policy()).await;
    let to = format!("{}@vendor.example", unique("dave"));
    stand.apply("report", &role_delivery("report", &to, &role, "10m", "6s", json!({})));

    let recipient = stand.recipient(&to).await;
    let before = Instant::now();
    let claimed = recipient.claim().await;
    let after = Instant::now();
    let fields = recipient.unseal(&claimed);
    assert_eq!((&fields["username"], &fields["password"]), (&role.user, &role.password));

    let mut looked = 0;
    while before.elapsed() + Duration::from_millis(700) < AFTER {
        assert!(role.logs_in(&role.password).await, "dead after {:?} of {AFTER:?}", before.elapsed());
        looked += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(looked > 2);
    assert_eq!(role.current(bao).await, role.password);
    wait_until("the old password to be refused", SOON, async || (!role.logs_in(&role.password).await).then_some(()))
        .await
        .unwrap();
    let late = after.elapsed().saturating_sub(AFTER);
    assert!(late < Duration::from_secs(4), "{late:?} late");

    let seen = stand.wait_rotated("report", SOON).await;
    assert_eq!((seen.text("/status/evidence/scope"), seen.text("/status/evidence/by")), ("Target", "Us"));
    let time = |pointer| Timestamp::parse_rfc3339(seen.text(pointer)).unwrap();
    let promised = time("/status/retrievedAt").as_millis() + 6_000;
    assert_eq!(time("/status/rotationDueAt").as_millis(), promised);
    let delay = time("/status/evidence/at").as_millis() - promised;
    assert!((0..3_000).contains(&delay), "proven {delay} ms after it was due");
    let fresh = role.current(bao).await;
    assert!(fresh != role.password && role.logs_in(&fresh).await && !role.logs_in(&role.password).await);
}

#[tokio::test]
async fn the_page_shows_what_vault_held_and_the_target_refuses_it_afterwards() {
    let testbed = Testbed::connect_or_start().unwrap();
    let bao = testbed.bao().await.unwrap();
    let browser = testbed.browser().await.unwrap().clone().with_deadline(Duration::from_secs(120));
    let role = RoleSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect(bao, bao.address(), &role.policy()).await;
    let to = format!("{}@vendor.example", unique("erin"));
    let more = json!({"link": {"claimWindow": "10s"}, "context": {"title": "Database of the reports"}});
    stand.apply("report", &role_delivery("report", &to, &role, "10m", "15s", more));
    let invitation = Invitation::of(&stand.mail(&to).await);
    let (user, held) = bao.static_creds(&role.mount, &role.role).await.unwrap();
    assert!(role.logs_in(&held).await, "before it is opened");

    let report = browser.run("open_link", json!({"link": invitation.link, "code": invitation.code})).await.unwrap();
    assert_eq!(report.result["title"], "Database of the reports");
    assert_eq!(
        report.result["fields"],
        json!([
            {"key": "username", "kind": "text", "value": user},
            {"key": "password", "kind": "password", "value": held},
        ])
    );
    assert_eq!(report.result["hiddenBefore"], true, "a password is not in the document before it is asked for");
    assert_eq!(report.result["states"], json!(["ask", "opened", "done", "over:mine"]));
    assert!(report.page_errors.is_empty() && report.console.is_empty(), "{:?}", report.page_errors);

    let seen = stand.wait_rotated("report", SOON).await;
    assert_eq!((seen.text("/status/evidence/scope"), seen.text("/status/evidence/by")), ("Target", "Us"));
    assert!(seen.is("Retrieved") && seen.condition("Retrieved").2.contains("saved"));
    let fresh = role.current(bao).await;
    assert!(fresh != held && role.logs_in(&fresh).await && !role.logs_in(&held).await);
    assert_eq!(Recipient::new(&invitation).claim().await.code(), "gone");
}

#[tokio::test]
async fn a_password_that_is_rotated_before_its_delivery_is_a_fresh_one_and_rotated_once() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let proxy = HttpProxy::start(bao.address()).unwrap();
    let role = RoleSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect(bao, &proxy.address(), &role.policy()).await;
    let rotations = || proxy.requests().iter().filter(|r| r.path.contains("/rotate-role/")).count();
    let to = format!("{}@v.example", unique("fresh"));
    let before = json!({"rotation": {"beforeDelivery": true}});
    stand.apply("fresh", &role_delivery("fresh", &to, &role, "10m", "2s", before));

    let recipient = stand.recipient(&to).await;
    stand.wait_status("fresh", "delivered", SOON, |s| s.is("Delivered")).await;
    assert_eq!((rotations(), stand.audited("fresh", "RotationBegun")), (1, 1), "before anything was mailed");
    let delivered = recipient.open().await["password"].clone();
    assert_ne!(delivered, role.password, "what others may know by now is not what is delivered");
    assert!(role.logs_in(&delivered).await, "the delivered password");
    assert!(!role.logs_in(&role.password).await, "the one before");

    // Afterwards as for every other one: once, and the delivered one is dead.
    let seen = stand.wait_rotated("fresh", SOON).await;
    assert_eq!((seen.text("/status/evidence/scope"), seen.text("/status/evidence/by")), ("Target", "Us"));
    assert_eq!((rotations(), stand.audited("fresh", "RotationBegun")), (2, 2));
    let now = role.current(bao).await;
    assert!(now != delivered && role.logs_in(&now).await && !role.logs_in(&delivered).await);
    // A restart finds nothing left to do.
    stand.restart().await;
    stand.wait_rests("fresh").await;
    assert_eq!((rotations(), stand.mails(&to, 1, SOON).await.len(), role.current(bao).await), (2, 1, now));
}

#[tokio::test]
async fn when_one_of_two_recipients_of_a_role_is_done_the_other_link_is_withdrawn_or_sent_anew() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let role = RoleSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect(bao, bao.address(), &role.policy()).await;
    let to: Vec<String> = ["first", "stall", "again"].iter().map(|n| format!("{}@v.example", unique(n))).collect();
    stand.apply("first", &role_delivery("first", &to[0], &role, "10m", "2s", json!({})));
    stand.apply("stall", &role_delivery("stall", &to[1], &role, "10m", "2s", json!({})));
    let reissue = json!({"rotation": {"onSourceRotated": "Reissue"}});
    stand.apply("again", &role_delivery("again", &to[2], &role, "10m", "2s", reissue));
    let stalled = stand.recipient(&to[1]).await;
    let reissued = stand.recipient(&to[2]).await;
    assert_eq!(stand.recipient(&to[0]).await.open().await["password"], role.password);
    stand.wait_rotated("first", SOON).await;

    let seen = stand.wait_status("stall", "stalled", SOON, |s| s.stalled() == Some("SourceRotated")).await;
    assert!(seen.condition("Stalled").2.contains("redeliver"), "{:?}", seen.condition("Stalled"));
    assert_eq!(stalled.claim().await.state(), "revoked");
    assert_eq!(seen.text("/status/evidence/by"), "Other");

    let mails = stand.mails(&to[2], 2, SOON).await;
    assert_eq!(reissued.claim().await.state(), "revoked");
    let fields = Recipient::new(&Invitation::of(&mails[1])).open().await;
    let now = role.current(bao).await;
    assert!(fields["password"] == now && now != role.password && role.logs_in(&now).await);
    // Nobody was sent a second one but the one who asked for it, and its own rotation follows.
    stand.wait_status("again", "the second rotation", SOON, |s| s.attempt() == 2 && s.is("Rotated")).await;
    assert!(!role.logs_in(&now).await);
    assert_eq!((stand.mails(&to[0], 1, SOON).await.len(), stand.mails(&to[1], 1, SOON).await.len()), (1, 1));
    assert_eq!(stand.mails(&to[2], 1, SOON).await.len(), 2);
}

#[tokio::test]
async fn a_promise_to_one_recipient_outlives_the_end_of_the_others() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let proxy = HttpProxy::start(bao.address()).unwrap();
    let role = RoleSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect(bao, &proxy.address(), &role.policy()).await;
    let (short, long) = (format!("{}@v.example", unique("short")), format!("{}@v.example", unique("long")));
    stand.apply("short", &role_delivery("short", &short, &role, "10m", "1s", json!({})));
    stand.apply("long", &role_delivery("long", &long, &role, "10m", "7s", json!({})));
    let (first, second) = (stand.recipient(&long).await, stand.recipient(&short).await);
    let start = Instant::now();
    first.open().await;
    second.open().await;
    while start.elapsed() < Duration::from_secs(6) {
        assert!(role.logs_in(&role.password).await, "{:?}", start.elapsed());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut by_us = 0;
    for name in ["short", "long"] {
        let seen = stand.wait_rotated(name, SOON).await;
        // Both fall due at the same moment. Whoever meant to rotate says so on the trail and in the evidence; the other one
        // found it done.
        let begun = stand.audited(name, "RotationBegun");
        assert_eq!(seen.text("/status/evidence/by"), ["Other", "Us"][begun], "{name}");
        by_us += begun;
    }
    assert!(by_us >= 1, "somebody did it");
    assert!(!role.logs_in(&role.password).await);
    // Whoever meant to: it was done once.
    let rotations = proxy.requests().iter().filter(|r| r.path.contains("/rotate-role/")).count();
    assert_eq!(rotations, 1);
}
