//! One claimant, and only one; and that one loses nothing.

use std::sync::Arc;
use std::time::Duration;

use ps_testbed::{RunDir, Testbed, unique, wait_until};
use serde_json::json;

use crate::support::{Invitation, KvSource, Recipient, SOON, Setup, Stand, kv_delivery};

async fn delivered(window: &str) -> (Stand, KvSource, Invitation) {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect(bao, bao.address(), &source.policy()).await;
    let to = format!("{}@v.example", unique("claims"));
    let more = json!({"link": {"claimWindow": window}});
    stand.apply("claims", &kv_delivery("claims", &to, &source, "1h", "1h", more));
    let invitation = Invitation::of(&stand.mail(&to).await);
    (stand, source, invitation)
}

#[tokio::test]
async fn of_sixty_four_claims_at_once_one_wins_and_may_repeat() {
    let (stand, source, invitation) = delivered("1h").await;
    let gate = Arc::new(tokio::sync::Barrier::new(64));
    let racers: Vec<_> = (0..64)
        .map(|_| {
            let (recipient, gate) = (Recipient::new(&invitation), gate.clone());
            tokio::spawn(async move {
                gate.wait().await;
                let answer = recipient.claim().await;
                (recipient, answer)
            })
        })
        .collect();
    let (mut winners, mut losers) = (Vec::new(), Vec::new());
    for racer in racers {
        let (recipient, answer) = racer.await.unwrap();
        match answer.status {
            200 => winners.push((recipient, answer)),
            409 => losers.push(recipient),
            other => panic!("{other}: {:?}", answer.body),
        }
    }
    assert_eq!((winners.len(), losers.len()), (1, 63));
    let (winner, first) = winners.remove(0);
    assert_eq!(winner.unseal(&first)["password"], source.password);
    for _ in 0..3 {
        let again = winner.claim_again().await;
        assert_eq!((again.status, &again.body), (200, &first.body));
    }
    for loser in losers.iter().take(4) {
        assert_eq!((loser.claim().await.code(), loser.claim_again().await.code()), ("claimed", "claimed"));
        assert_eq!(loser.acknowledge().await.code(), "claimed");
    }
    for _ in 0..2 {
        assert_eq!(winner.acknowledge().await.state(), "retrieved");
    }
    assert_eq!(winner.claim_again().await.state(), "retrieved");
    stand.wait_status("claims", "saved", SOON, |s| s.condition("Retrieved").2.contains("saved")).await;
    assert_eq!(stand.audited("claims", "Claimed"), 1);
}

#[tokio::test]
async fn the_right_to_repeat_ends_with_the_window() {
    let (stand, source, invitation) = delivered("3s").await;
    let recipient = Recipient::new(&invitation);
    let first = recipient.claim().await;
    assert_eq!(recipient.unseal(&first)["password"], source.password);
    assert_eq!(recipient.claim_again().await.status, 200);
    wait_until("the end of the window", SOON, async || (recipient.claim_again().await.status == 410).then_some(()))
        .await
        .unwrap();
    let seen =
        stand.wait_status("claims", "the window's end", SOON, |_| stand.audited("claims", "WindowOver") == 1).await;
    assert!(seen.condition("Retrieved").2.contains("not acknowledged"), "{:?}", seen.condition("Retrieved"));
    assert_eq!(recipient.acknowledge().await.state(), "retrieved", "a late acknowledgement counts");
    stand.wait_status("claims", "saved after all", SOON, |s| s.condition("Retrieved").2.contains("saved")).await;
}

#[tokio::test]
async fn a_reply_that_is_lost_on_the_wire_loses_nothing() {
    let (_stand, source, invitation) = delivered("1h").await;
    let recipient = Recipient::new(&invitation);
    recipient.claim_and_hang_up().await;
    wait_until("the claim", SOON, async || (recipient.lookup().await.state() == "claimed").then_some(()))
        .await
        .unwrap();
    let again = recipient.claim_again().await;
    assert_eq!(recipient.unseal(&again)["password"], source.password);
    assert_eq!(Recipient::new(&invitation).claim().await.code(), "claimed");
}

#[tokio::test]
async fn a_closed_tab_loses_nothing_and_another_browser_gets_nothing() {
    let (_stand, _source, invitation) = delivered("1h").await;
    let browser = Testbed::connect_or_start().unwrap().browser().await.unwrap();
    let profile = RunDir::new("profile").unwrap();
    let args = json!({"link": invitation.link, "code": invitation.code, "acknowledge": false});
    let first = browser.run_in("open_link", args, profile.path()).await.unwrap();
    assert_eq!(first.result["fields"].as_array().unwrap().len(), 2);
    let stranger = browser.run("glance_at_link", json!({"link": invitation.link})).await.unwrap();
    assert_eq!(stranger.result, json!({"state": "over:claimed", "fields": 0}));
    let back = json!({"link": invitation.link, "press": true});
    let back = browser.run_in("glance_at_link", back, profile.path()).await.unwrap();
    assert_eq!(back.result, json!({"state": "opened", "fields": 2}));
}

#[tokio::test]
async fn wrong_codes_slow_a_link_down_and_strangers_learn_nothing() {
    let (_stand, source, invitation) = delivered("1h").await;
    let wrong = Recipient::new(&Invitation { code: "0000-0000".into(), ..invitation.clone() });
    let answer = wrong.claim().await;
    assert_eq!((answer.status, answer.code()), (403, "wrong-code"));
    let slow = Recipient::new(&invitation);
    let answer = slow.claim().await;
    assert_eq!((answer.status, answer.code()), (429, "slow-down"));
    let opened = wait_until("the wait to be over", Duration::from_secs(10), async || {
        let answer = slow.claim().await;
        (answer.status == 200).then(|| slow.unseal(&answer))
    });
    assert_eq!(opened.await.unwrap()["password"], source.password);
    let link = format!("{}/#ps1.{}", invitation.link.split_once("/#").unwrap().0, "A".repeat(43));
    let stranger = Recipient::new(&Invitation { link, ..invitation });
    for answer in [stranger.lookup().await, stranger.acknowledge().await, stranger.decline().await] {
        assert_eq!((answer.status, answer.code()), (404, "not-found"));
    }
}
