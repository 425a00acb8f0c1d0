//! The plugin and the server die at any moment; what was answered stays true.

use std::time::Duration;

use ps_testbed::{OpenBao, wait_until};
use serde_json::json;
use tokio::task::JoinSet;

use crate::claims::post;
use crate::stand::{Holder, SOON, prepare};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_server_that_is_killed() {
    let bao = OpenBao::raft().await.unwrap();
    prepare(&bao).await;
    let mut links = Vec::new();
    for number in 0..12 {
        links.push(Holder::issue(&bao, &format!("value {number}")).await);
    }
    // Half of them claimed, a quarter acknowledged as well, and then at once the end.
    let mut work = JoinSet::new();
    for link in links.iter().take(6) {
        let (address, token) = (bao.address().to_owned(), bao.root_token().to_owned());
        let body = link.claim_body();
        work.spawn(async move { post(&address, &token, "send/gateway/claim", &body).await.unwrap().0 });
    }
    while let Some(status) = work.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    for link in &links[..3] {
        assert_eq!(link.acknowledge(&bao).await.0, 200);
    }
    bao.kill().unwrap();
    bao.restart().await.unwrap();
    bao.unseal().await.unwrap();
    wait_until("the mount", SOON, async || {
        bao.request("GET", "send/config", None).await.is_ok_and(|(status, _)| status == 200).then_some(())
    })
    .await
    .unwrap();
    for (number, link) in links.iter().enumerate() {
        let wanted = match number {
            0..3 => "retrieved",
            3..6 => "claimed",
            _ => "open",
        };
        assert_eq!(link.state(&bao).await, wanted, "link {number}");
        let (status, _) = link.elsewhere(9).claim(&bao).await;
        assert_eq!(status, [410, 409, 200, 200][number / 3], "link {number}");
    }
    let (status, answer) = links[4].claim_again(&bao).await;
    assert_eq!((status, links[4].open(&answer, "password")), (200, "value 4".to_owned()));
}

/// The server asks once a minute; until then a tidy does the same.
#[tokio::test(flavor = "multi_thread")]
async fn time_is_kept_without_anybody_asking() {
    let bao = OpenBao::raft().await.unwrap();
    prepare(&bao).await;
    let body = json!({"password": "short-lived", "ttl": "1s"});
    let tidied = Holder::of(&bao, "any", &body).await;
    let events = async || bao.call("GET", "send/events", None).await.unwrap()["data"].to_string();
    wait_until("the link to expire", SOON, async || {
        bao.call("POST", "send/tidy", None).await.unwrap();
        events().await.contains(&tidied.id).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(tidied.claim(&bao).await.0, 410);
    let swept = Holder::of(&bao, "any", &body).await;
    wait_until("the server's own round", Duration::from_secs(150), async || {
        events().await.contains(&swept.id).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(swept.state(&bao).await, "expired");
}
