//! What the plugin's process still knows after it has answered: its memory is read as a debugger would.

use std::time::Duration;

use ps_testbed::{OpenBao, holds_bytes, memory_of, unique, wait_until};
use serde_json::json;

use crate::stand::{COMMAND, Holder, PUBLIC_URL, plugin_processes, prepare};

/// A secret, in the forms in which a process may hold it.
struct Needle {
    name: String,
    forms: Vec<Vec<u8>>,
}

impl Needle {
    fn text(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), forms: vec![text.as_bytes().to_vec(), hex::encode(text).into_bytes()] }
    }

    /// The key of a link: its text, its bytes, and other ways to write them.
    fn key(name: &str, fragment: &str) -> Self {
        let text = fragment.strip_prefix("ps1.").unwrap();
        let bytes = ps_core::encode::from_b64(text).unwrap();
        let standard = text.replace('-', "+").replace('_', "/");
        let hex = hex::encode(&bytes);
        let forms =
            [text.as_bytes().to_vec(), bytes, standard.into_bytes(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
        Self { name: name.to_owned(), forms: forms.into() }
    }
}

/// Which of them are in the memory of this process. What it holds for certain (its configuration) must be among what was
/// read, or the search proves nothing.
fn found(pid: u32, needles: &[Needle]) -> Vec<String> {
    let (mut found, mut control) = (Vec::new(), 0);
    let look = |line: &str, piece: &[u8]| {
        control += usize::from(holds_bytes(piece, PUBLIC_URL.as_bytes()));
        for needle in needles.iter().filter(|needle| needle.forms.iter().any(|form| holds_bytes(piece, form))) {
            found.push(format!("{} in {}", needle.name, line.split_whitespace().nth(5).unwrap_or("nameless memory")));
        }
    };
    memory_of(pid, look).unwrap();
    assert!(control > 0, "the configuration must be found in memory, or the search proves nothing");
    found
}

/// Waits until the answer's buffers are wiped: the server may have the answer before the plugin is done with it.
async fn gone(pid: u32, needles: &[Needle]) {
    for needle in needles {
        for form in &needle.forms {
            assert!(
                holds_bytes(&[b"before", form.as_slice(), b"after"].concat(), form),
                "{} would be found",
                needle.name
            );
        }
    }
    let mut last = Vec::new();
    let wiped = wait_until("nothing to be found", Duration::from_secs(5), async || {
        last = found(pid, needles);
        last.is_empty().then_some(())
    });
    wiped.await.unwrap_or_else(|e| panic!("{e}: {last:?}"));
}

/// Of the answer nothing stays. Of the request, what the connection's two read buffers hold (TLS and HTTP/2) until something
/// comes after it: docs/threat-model.md says so.
#[tokio::test]
async fn no_key_outlives_its_answer_and_no_value_the_requests_after_it() {
    let bao = OpenBao::dev().await.unwrap();
    prepare(&bao).await;
    let pid = plugin_processes(&bao, COMMAND)[0];
    let mut sent = Vec::new();
    for with_phrase in [false, true, false] {
        let (value, phrase) = (unique("CanaryValue"), unique("CanaryPhrase"));
        let mut body = json!({"username": "alice", "password": value, "title": "A title"});
        sent.push(Needle::text("a value", &value));
        if with_phrase {
            body["passphrase"] = json!(phrase);
            sent.push(Needle::text("a passphrase", &phrase));
        }
        let answer = bao.call("POST", "send/link/any", Some(&body)).await.unwrap();
        let url = answer["data"]["url"].as_str().unwrap();
        let code = answer["data"]["opening_code"].as_str().unwrap();
        gone(pid, &[Needle::key("S", url.split_once('#').unwrap().1), Needle::text("the opening code", code)]).await;
    }
    let value = unique("CanaryValue");
    let link = Holder::issue(&bao, &value).await;
    assert_eq!(link.claim(&bao).await.0, 200);
    gone(pid, &[Needle::key("S", &link.fragment)]).await;
    sent.push(Needle::text("a claimed value", &value));
    assert!(!found(pid, &sent).is_empty(), "the control: what is known to stay for a while is found");
    for _ in 0..2 {
        let (status, _) =
            bao.request("POST", "send/gateway/lookup", Some(&json!({"id": "x".repeat(64 << 10)}))).await.unwrap();
        assert_eq!(status, 400);
    }
    gone(pid, &sent).await;
}
