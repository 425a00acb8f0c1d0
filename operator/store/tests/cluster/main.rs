//! The Kubernetes store against a real API server and etcd.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

mod backwards;
mod conform;
mod erase;
mod fence;
mod hostile;
mod support;
mod watch;
#[tokio::test]
async fn zz_probe() {
    let c = support::testbed().await;
    let ns = support::namespace(c).await;
    for accept in ["application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"] {
        let out = std::process::Command::new("curl").args(["-sk", "-H", &format!("Authorization: Bearer {}", c.admin_token()), "-H", &format!("Accept: {accept}"), &format!("{}/api/v1/namespaces/{ns}/secrets?fieldSelector=type%3Dpasswordsender.io%2Flink-record&limit=1", c.server())]).output().unwrap();
        println!("{}", String::from_utf8_lossy(&out.stdout));
    }
}
