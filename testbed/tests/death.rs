//! Servers die with the process that started them, however it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a panic in a test is the failure report"
)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ps_testbed::process::{Process, children};
use ps_testbed::{Testbed, wait_until};

const PLAY_THE_PARENT: &str = "PS_TESTBED_TEST_PARENT";

/// Not a test by itself: what the other test starts, to be killed.
#[tokio::test]
async fn parent() {
    if std::env::var_os(PLAY_THE_PARENT).is_none() {
        return;
    }
    let testbed = Testbed::new();
    let bao = testbed.bao().await.unwrap();
    testbed.smtp().await.unwrap();
    testbed.postgres().await.unwrap();
    testbed.cluster().await.unwrap();
    println!("started {}", bao.pid().unwrap());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn killing_the_parent_ends_its_servers() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "parent", "--nocapture"]).env(PLAY_THE_PARENT, "1").env_remove("PS_TESTBED");
    let parent = Process::spawn("parent", command).unwrap();
    let minute = Duration::from_secs(60);
    wait_until("the servers of the parent", minute, async || {
        assert!(parent.ended().unwrap().is_none(), "{}", parent.log_text().unwrap());
        parent.log_text().unwrap().contains("started ").then_some(())
    })
    .await
    .unwrap();
    let children = children(parent.pid());
    assert!(children.len() >= 6, "OpenBao, the mail server, PostgreSQL and a cluster's three: {children:?}");
    parent.kill().unwrap();
    wait_until("the end of the servers", minute, async || {
        children.iter().all(|pid| !Path::new(&format!("/proc/{pid}/exe")).exists()).then_some(())
    })
    .await
    .unwrap();
}
