//! What is erased is gone: from every read at once, from etcd's file after compaction and defragmentation.

use ps_core::ids::Digest;
use ps_core::link::{Command, Proof, Record, apply};
use ps_core::ports::LinkStore as _;
use ps_store::conformance::{preimage, sample};
use ps_store::kubernetes::Rights;
use ps_testbed::{Cluster, ClusterOptions};

use crate::support::{id, name, namespace, now, path, store};

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
    assert_eq!(data.keys().collect::<Vec<_>>(), ["record"], "no read returns what was erased");
    let text = secret.to_string();
    assert!(!text.contains("last-applied") && count(text.as_bytes(), b"TkVFRExF") == 0);
    cluster.etcd_compact_and_defrag().await.unwrap();
    assert_eq!(count(&cluster.etcd_raw_bytes().unwrap(), b"NEEDLE-in-the"), 0, "nor does etcd's file");
    // Its log does for a while, as the store says.
    let log = count(&cluster.etcd_wal_bytes().unwrap(), b"NEEDLE-in-the");
    println!("the write-ahead log still holds {log} copies");
    assert!(store.erasure().contains("log"));
}
