//! Exactly one claimant, whatever happens at the same time.

use std::time::Duration;

use ps_testbed::{OpenBao, unique};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cancelled::Asked;
use crate::stand::{Holder, shared};

/// Lets so many browsers claim at once, and gives the winners with their answers.
pub(crate) async fn race(link: &Holder, nodes: &[&OpenBao], racers: usize) -> Vec<(Holder, Value)> {
    race_watched(link, nodes, racers, &watch::Sender::new(0)).await
}

/// The same; `over` counts those who have an answer, or know that they get none.
pub(crate) async fn race_watched(
    link: &Holder,
    nodes: &[&OpenBao],
    racers: usize,
    over: &watch::Sender<usize>,
) -> Vec<(Holder, Value)> {
    let way = |node: &&OpenBao| Way {
        address: node.address().to_owned(),
        token: node.root_token().to_owned(),
        path: "send/gateway/claim",
    };
    race_along(link, &nodes.iter().map(way).collect::<Vec<_>>(), racers, over).await
}

/// Where a claim is asked for.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) address: String,
    pub(crate) token: String,
    /// Below `/v1/`.
    pub(crate) path: &'static str,
}

/// The same along these ways, one racer after another along the next.
pub(crate) async fn race_along(
    link: &Holder,
    ways: &[Way],
    racers: usize,
    over: &watch::Sender<usize>,
) -> Vec<(Holder, Value)> {
    let mut running = JoinSet::new();
    for browser in 0..racers {
        let racer = link.elsewhere(browser);
        let (Way { address, token, path }, body) = (ways[browser % ways.len()].clone(), racer.claim_body());
        running.spawn(async move { (racer, post(&address, &token, path, &body).await) });
    }
    let mut winners = Vec::new();
    while let Some(racer) = running.join_next().await {
        let (racer, answer) = racer.unwrap();
        over.send_modify(|over| *over += 1);
        let Some((status, answer)) = answer else { continue };
        match status {
            200 => winners.push((racer, answer)),
            409 => assert_eq!(answer["error"]["code"], "claimed"),
            // Of a node that is going down, or has just come up.
            307 | 500..=503 => {}
            other => panic!("{other}: {answer}"),
        }
    }
    winners
}

/// One request over a connection of its own; `None` if there was no answer.
pub(crate) async fn post(address: &str, token: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
    use tokio::io::AsyncReadExt as _;
    let host = address.strip_prefix("http://")?;
    let mut stream = TcpStream::connect(host).await.ok()?;
    let body = body.to_string();
    let request = format!(
        "POST /v1/{path} HTTP/1.0\r\nHost: {host}\r\nX-Vault-Token: {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    // A server that answers before it has read all resets the connection; what it said came before that.
    tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await.ok()?.unwrap_or_default();
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_racers_one_wins_and_may_repeat() {
    let bao = shared().await;
    for round in 0..3 {
        let link = Holder::issue(bao, &format!("value {round}")).await;
        let winners = race(&link, &[bao], 64).await;
        assert_eq!(winners.len(), 1, "round {round}");
        let (winner, answer) = &winners[0];
        assert_eq!(winner.open(answer, "password"), format!("value {round}"));
        let (status, again) = winner.claim_again(bao).await;
        assert_eq!((status, &again["data"]["ciphertext"]), (200, &answer["data"]["ciphertext"]));
        assert_eq!(winner.acknowledge(bao).await.0, 200);
        assert_eq!(winner.claim_again(bao).await.0, 410);
        assert_eq!(link.claim(bao).await.0, 410);
        assert_eq!(link.state(bao).await, "retrieved");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimant_that_hangs_up_loses_nothing_and_nobody_else_gains() {
    let bao = shared().await;
    let link = Holder::issue(bao, "measured").await;
    let whole = Asked::send(bao, "POST", "send/gateway/claim", &link.claim_body()).await.turns().await;
    for round in 0..24 {
        let link = Holder::issue(bao, "still there").await;
        // Later in each round: before, while and after the claim is made.
        let asked = Asked::send(bao, "POST", "send/gateway/claim", &link.claim_body()).await;
        asked.hang_up(whole * round / 20).await;
        // The claim happened or it didn't; either way the claimant gets it, and another never does.
        let (status, answer) = match link.claim_again(bao).await {
            (400, _) => link.claim(bao).await,
            other => other,
        };
        let (status, answer) = if status == 409 { link.claim_again(bao).await } else { (status, answer) };
        assert_eq!(status, 200, "round {round}: {answer}");
        assert_eq!(link.open(&answer, "password"), "still there");
        assert_eq!(link.elsewhere(1).claim(bao).await.0, 409);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_passphrase_opens() {
    let bao = shared().await;
    let role = unique("phrased");
    bao.call("POST", &format!("send/roles/{role}"), Some(&json!({"require_passphrase": true}))).await.unwrap();
    let content = json!({"username": "alice", "password": "behind a phrase", "passphrase": "Tr0ub4dor und 3 Bücher"});
    let answer = bao.call("POST", &format!("send/link/{role}"), Some(&content)).await.unwrap();
    let right = Holder::with_passphrase(&answer, Some("Tr0ub4dor und 3 Bücher"));
    let (status, looked) = right.lookup(bao).await;
    assert_eq!((status, &looked["data"]["kinds"]), (200, &json!(["passphrase"])), "{looked}");
    // Without one, and with another: neither is let in, and the next has to wait for a moment each time.
    for (tries, typed) in [None, Some("Tr0ub4dor und 2 Bücher")].into_iter().enumerate() {
        let wrong = Holder::with_passphrase(&answer, typed);
        let (status, refused) = wrong.claim_when_it_may(bao).await;
        assert_eq!((status, &refused["error"]["code"]), (403, &json!("wrong-proof")), "{refused}");
        assert!(refused["error"]["attemptsLeft"].as_u64().is_some_and(|left| left > 0), "{tries}: {refused}");
        assert!(refused.get("data").is_none() && !refused.to_string().contains("ciphertext"), "{refused}");
        assert_eq!(right.state(bao).await, "open");
    }
    let (status, claimed) = right.claim_when_it_may(bao).await;
    assert_eq!(status, 200, "{claimed}");
    assert_eq!(
        (right.open(&claimed, "username"), right.open(&claimed, "password")),
        ("alice".into(), "behind a phrase".into())
    );
    assert_eq!(right.acknowledge(bao).await.0, 200);
    assert_eq!(right.state(bao).await, "retrieved");
}

#[tokio::test]
async fn a_whole_life_is_told_in_order() {
    let bao = shared().await;
    let link = Holder::issue(bao, "told").await;
    let (status, answer) = link.lookup(bao).await;
    assert_eq!((status, &answer["data"]["state"]), (200, &json!("open")));
    assert_eq!(link.claim(bao).await.0, 200);
    assert_eq!(link.acknowledge(bao).await.0, 200);
    assert_eq!(link.not_mine(bao).await.0, 200);
    let read = bao.call("GET", &format!("send/links/{}", link.id), None).await.unwrap();
    let journal: Vec<_> =
        read["data"]["journal"].as_array().unwrap().iter().map(|entry| entry["event"].clone()).collect();
    assert_eq!(journal, ["claimed", "acknowledged", "disputed"]);
    // Paged by one, as a slow reader would.
    let mut after = "0".to_owned();
    let mut told = Vec::new();
    loop {
        let page = bao.call("GET", &format!("send/events?after={after}&limit=1"), None).await.unwrap();
        assert_eq!(page["data"]["reset"], false);
        let lines = page["data"]["events"].as_array().unwrap();
        let Some(line) = lines.first() else { break };
        if line["id"] == link.id.as_str() {
            told.extend(line["events"].as_array().unwrap().clone());
        }
        after = page["data"]["next"].as_str().unwrap().to_owned();
    }
    assert_eq!(told, journal);
    let future = bao.call("GET", "send/events?after=999999999", None).await.unwrap();
    assert_eq!(future["data"]["reset"], true, "a position that was never given out");
}
