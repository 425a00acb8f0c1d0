//! What is erased is gone: from every read of what is there now at once, from reads of what was there with etcd's history,
//! from etcd's file after compaction and defragmentation.

use ps_core::ids::Digest;
use ps_core::link::{Command, Proof, Record, apply};
use ps_core::ports::LinkStore as _;
use ps_store::conformance::{preimage, sample};
use ps_store::kubernetes::Rights;
use ps_testbed::{Cluster, ClusterOptions};

use crate::support::{id, name, namespace, now, path, store, until};

fn count(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).filter(|window| *window == needle).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_take_etcd_holds_no_ciphertext() {
    // Its own: compaction is not for the others.
    let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
    let namespace = namespace(&cluster).await;
    let (store, _) = store(&cluster, &namespace, Rights::Operator).await;
    let needle = b"NEEDLE-in-the-sealed-bytes".repeat(40);
    let link = sample(id(1), now(), &needle);
    let version = store.insert(&Record::Link(Box::new(link.clone()))).await.unwrap();
    cluster.etcd_compact_and_defrag().await.unwrap();
    assert!(
        count(&cluster.etcd_raw_bytes().unwrap(), b"NEEDLE-in-the-sealed-bytes") >= 40,
        "the search finds what is there"
    );

    let access = preimage(id(1), "access");
    let claim =
        Command::Claim { access, code: None, proof: Proof(preimage(id(1), "proof")), token_hash: Digest::of(&[7; 32]) };
    let claimed = apply(&link, &claim, now()).next.unwrap();
    let version = store.replace(&Record::Link(Box::new(claimed.clone())), version).await.unwrap();
    let over = apply(&claimed, &Command::Acknowledge { access, token: [7; 32] }, now()).next.unwrap();
    store.replace(&Record::Link(Box::new(over)), version).await.unwrap();

    let secret = cluster.call("GET", &path(&namespace, &name(id(1))), None).await.unwrap();
    let data = secret["data"].as_object().unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["record"], "what is there now has nothing of what was erased");
    let text = secret.to_string();
    assert!(!text.contains("last-applied") && count(text.as_bytes(), b"TkVFRExF") == 0);
    cluster.etcd_compact_and_defrag().await.unwrap();
    assert_eq!(count(&cluster.etcd_raw_bytes().unwrap(), b"NEEDLE-in-the"), 0, "nor does etcd's file");
    // Its log does for a while, as the store says.
    let log = count(&cluster.etcd_wal_bytes().unwrap(), b"NEEDLE-in-the");
    println!("the write-ahead log still holds {log} copies");
    assert!(store.erasure().contains("log"));
}

/// The beginning of the needle.
const NEEDLE_IN_BASE64: &[u8] = b"TkVFRExF";

/// A link that was erased, and how the API can be asked for the time before.
struct Past {
    cluster: Cluster,
    folder: String,
    before: u64,
    open: u64,
}

impl Past {
    async fn new(api_server_arguments: Vec<String>) -> Self {
        let cluster =
            Cluster::start(ClusterOptions { api_server_arguments, ..ClusterOptions::default() }).await.unwrap();
        let namespace = namespace(&cluster).await;
        let (store, _) = store(&cluster, &namespace, Rights::Operator).await;
        let before = cluster.etcd_revision().await.unwrap();
        let link = sample(id(1), now(), &b"NEEDLE-in-the-sealed-bytes".repeat(40));
        let version = store.insert(&Record::Link(Box::new(link))).await.unwrap();
        let open = cluster.etcd_revision().await.unwrap();
        store.replace(&Record::Void { id: id(1) }, version).await.unwrap();
        let folder = format!("/api/v1/namespaces/{namespace}/secrets");
        Self { cluster, folder, before, open }
    }

    async fn answer(&self, query: &str) -> String {
        self.cluster.kubectl(&["get", "--raw", &format!("{}{query}", self.folder)]).await.unwrap_or_default()
    }

    /// Whether a list as of then, and a watch from then on, give the ciphertext. What is there now never does.
    async fn list_and_watch(&self) -> [bool; 2] {
        let has = |answer: &str| count(answer.as_bytes(), NEEDLE_IN_BASE64) > 0;
        let (open, before) = (self.open, self.before);
        let secret = format!("/{}", name(id(1)));
        for now in [
            String::new(),
            "?resourceVersion=0".to_owned(),
            format!("?resourceVersion={open}"),
            format!("?resourceVersion={open}&resourceVersionMatch=NotOlderThan"),
            secret.clone(),
            format!("{secret}?resourceVersion={open}"),
        ] {
            let answer = self.answer(&now).await;
            assert!(answer.contains("link-") && !has(&answer), "{now}: what is there now");
        }
        let list = self.answer(&format!("?resourceVersion={open}&resourceVersionMatch=Exact")).await;
        let watch = self.answer(&format!("?watch=true&timeoutSeconds=1&resourceVersion={before}")).await;
        [has(&list), has(&watch)]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_is_readable_until_it_is_compacted_if_secrets_have_no_watch_cache() {
    let past = Past::new(vec!["--watch-cache-sizes=secrets#0".to_owned()]).await;
    assert_eq!(past.list_and_watch().await, [true, true], "Kubernetes has a past");
    past.cluster.etcd_compact_and_defrag().await.unwrap();
    assert_eq!(past.list_and_watch().await, [false, false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_watch_cache_the_past_is_readable_for_longer() {
    let past = Past::new(vec!["--etcd-compaction-interval=4s".to_owned()]).await;
    assert_eq!(past.list_and_watch().await, [true, true], "Kubernetes has a past");
    // What etcd has forgotten, the API server still knows by heart, until it compacts by itself.
    past.cluster.etcd_compact_and_defrag().await.unwrap();
    assert!(past.list_and_watch().await[1]);
    until("lists to end", async || !past.list_and_watch().await[0]).await;
    assert!(past.list_and_watch().await[1], "the watch's past is not compacted: if this fails, say so in the docs");
    past.cluster.stop_api_server().unwrap();
    past.cluster.start_api_server().await.unwrap();
    assert_eq!(past.list_and_watch().await, [false, false]);
}
