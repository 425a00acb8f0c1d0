//! Clients that hang up in the middle: whatever had been asked is done or it is not, and the mount goes on.

use ps_testbed::OpenBao;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::leases::sealed;
use crate::stand::{Holder, NAME, SOON, plugin_processes, prepare};

const ROUNDS: usize = 16;

/// A request over a connection of its own.
pub(crate) struct Asked {
    stream: TcpStream,
}

impl Asked {
    pub(crate) async fn send(bao: &OpenBao, method: &str, path: &str, body: &Value) -> Self {
        let (host, token) = (bao.address().strip_prefix("http://").unwrap(), bao.root_token());
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} /v1/{path} HTTP/1.1\r\nHost: {host}\r\nX-Vault-Token: {token}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(host).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        Self { stream }
    }

    /// Waits for the answer, and says how many turns other tasks had until then.
    pub(crate) async fn turns(self) -> usize {
        let (mut turns, end) = (0, tokio::time::Instant::now() + SOON);
        while self.stream.try_read(&mut [0; 1024]).is_err() {
            assert!(tokio::time::Instant::now() < end, "no answer");
            tokio::task::yield_now().await;
            turns += 1;
        }
        turns
    }

    /// Lets other tasks have so many turns, and closes the connection.
    pub(crate) async fn hang_up(self, turns: usize) {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }
}

/// Asks, and hangs up sooner or later: before, while and after it is done. `whole` is about how long it takes.
async fn hang_up(bao: &OpenBao, method: &str, path: &str, body: &Value, (round, whole): (usize, usize)) {
    let asked = Asked::send(bao, method, path, body).await;
    if round + 1 == ROUNDS {
        asked.turns().await;
    } else {
        asked.hang_up(whole * round / (ROUNDS - 2)).await;
    }
}

async fn ids(bao: &OpenBao) -> Vec<String> {
    let (_, listed) = bao.request("LIST", "send/links", None).await.unwrap();
    let keys = listed["data"]["keys"].as_array().cloned().unwrap_or_default();
    keys.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

async fn journal(bao: &OpenBao, id: &str) -> (String, Vec<Value>) {
    let read = bao.call("GET", &format!("send/links/{id}"), None).await.unwrap();
    let told = read["data"]["journal"].as_array().unwrap().iter().map(|entry| entry["event"].clone()).collect();
    (read["data"]["state"].as_str().unwrap().to_owned(), told)
}

/// The mount serves as before, from the same process.
async fn goes_on(bao: &OpenBao, pids: &[u32]) {
    assert_eq!(plugin_processes(bao, NAME), pids, "the plugin did not fall over");
    let link = Holder::issue(bao, "afterwards").await;
    let (status, answer) = link.claim(bao).await;
    assert_eq!((status, link.open(&answer, "password")), (200, "afterwards".to_owned()));
}

async fn start() -> (OpenBao, Vec<u32>) {
    let bao = OpenBao::raft().await.unwrap();
    prepare(&bao).await;
    let pids = plugin_processes(&bao, NAME);
    assert_eq!(pids.len(), 1);
    (bao, pids)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_who_hangs_up_leaves_a_whole_link_or_none() {
    let (bao, pids) = start().await;
    let content = json!({"password": "nobody was told"});
    let whole = Asked::send(&bao, "POST", "send/link/any", &content).await.turns().await;
    for round in 0..ROUNDS {
        hang_up(&bao, "POST", "send/link/any", &content, (round, whole)).await;
    }
    // One may still be made now; whole at any time.
    let all = ids(&bao).await;
    println!("link: {} of {ROUNDS} were made", all.len() - 1);
    assert!((2..=ROUNDS + 1).contains(&all.len()), "{all:?}");
    for id in &all {
        assert_eq!(journal(&bao, id).await, ("open".to_owned(), Vec::new()));
        bao.call("DELETE", &format!("send/links/{id}"), None).await.unwrap();
        assert_eq!(journal(&bao, id).await.0, "revoked");
    }

    let (mut done, mut revoked) = (0, 0);
    let whole = Asked::send(&bao, "POST", "send/sealed/any", &sealed(|_| {}).0).await.turns().await;
    for round in 0..ROUNDS {
        let (body, holder) = sealed(|_| {});
        hang_up(&bao, "POST", "send/sealed/any", &body, (round, whole)).await;
        let (status, answer) = bao.request("POST", "send/sealed/any", Some(&body)).await.unwrap();
        assert!(matches!(status, 200 | 409), "round {round}: {status} {answer}");
        done += usize::from(status == 409);
        // A lease that the server could not hand out it takes back, and the link with it.
        let (status, answer) = holder.claim(&bao).await;
        match status {
            200 => assert_eq!(holder.open(&answer, "password"), "sealed elsewhere"),
            410 => {
                assert_eq!(answer["error"]["state"], "revoked", "round {round}: {answer}");
                revoked += 1;
            }
            _ => panic!("round {round}: {status} {answer}"),
        }
    }
    assert!(done > 0, "whoever waited for the answer had it done");
    println!("sealed: {done} of {ROUNDS} were done, {revoked} taken back");
    goes_on(&bao, &pids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hangs_up_on_a_lease_can_have_another() {
    let (bao, pids) = start().await;
    let mut taken_back = 0;
    let link = Holder::issue(&bao, "leased").await;
    let whole = Asked::send(&bao, "GET", &format!("send/lease/{}", link.id), &Value::Null).await.turns().await;
    for round in 0..ROUNDS {
        let link = Holder::issue(&bao, "leased").await;
        let path = format!("send/lease/{}", link.id);
        hang_up(&bao, "GET", &path, &Value::Null, (round, whole)).await;
        let (status, answer) = bao.request("GET", &path, None).await.unwrap();
        if status == 410 {
            assert_eq!(link.state(&bao).await, "revoked", "round {round}");
            taken_back += 1;
            continue;
        }
        assert_eq!(status, 200, "round {round}: {answer}");
        let revoke = json!({"lease_id": answer["lease_id"], "sync": true});
        bao.call("PUT", "sys/leases/revoke", Some(&revoke)).await.unwrap();
        assert_eq!(journal(&bao, &link.id).await.0, "revoked", "round {round}");
        assert_eq!(link.claim(&bao).await.0, 410);
    }
    println!("lease: {taken_back} of {ROUNDS} taken back");
    goes_on(&bao, &pids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_who_hangs_up_may_say_it_again() {
    let (bao, pids) = start().await;
    let link = Holder::issue(&bao, "kept").await;
    assert_eq!(link.claim(&bao).await.0, 200);
    let whole = Asked::send(&bao, "POST", "send/gateway/acknowledge", &link.acknowledge_body()).await.turns().await;
    let mut counts = [0, 0];
    for round in 0..ROUNDS {
        let link = Holder::issue(&bao, "kept").await;
        assert_eq!(link.claim(&bao).await.0, 200);
        hang_up(&bao, "POST", "send/gateway/acknowledge", &link.acknowledge_body(), (round, whole)).await;
        let (state, told) = journal(&bao, &link.id).await;
        assert!(state == "claimed" && told.len() == 1 || state == "retrieved" && told.len() == 2, "{state} {told:?}");
        counts[0] += usize::from(state == "retrieved");
        let (status, answer) = link.acknowledge(&bao).await;
        assert_eq!(status, 200, "round {round}: {answer}");
        assert_eq!(
            journal(&bao, &link.id).await,
            ("retrieved".to_owned(), vec![json!("claimed"), json!("acknowledged")])
        );
        assert_eq!(link.claim_again(&bao).await.0, 410);

        let link = Holder::issue(&bao, "not mine").await;
        hang_up(&bao, "POST", "send/gateway/decline", &link.decline_body(), (round, whole)).await;
        let (state, told) = journal(&bao, &link.id).await;
        assert!(state == "open" && told.is_empty() || state == "declined" && told.len() == 1, "{state} {told:?}");
        counts[1] += usize::from(state == "declined");
        let (status, answer) = link.not_mine(&bao).await;
        assert_eq!(status, 200, "round {round}: {answer}");
        assert_eq!(journal(&bao, &link.id).await, ("declined".to_owned(), vec![json!("declined")]));
        assert_eq!(link.claim(&bao).await.0, 410);
    }
    println!("of {ROUNDS}: acknowledged and declined at once: {counts:?}");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}: whoever waited for the answer had it done");
    goes_on(&bao, &pids).await;
}
