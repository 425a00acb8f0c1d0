//! What the operator does with the store by itself passes the same failpoints as what it does for deliveries: killed
//! there, it leaves nothing behind that could be opened.

use std::process::ExitStatus;

use ps_testbed::process::Process;
use ps_testbed::wait_until;

use crate::support::{SOON, Setup, Stand, shared_smtp};

/// A run that is killed at a failpoint. Nobody applies anything, so whatever reaches the store is the operator's own.
async fn killed_at(stand: &Stand, point: &str) -> ExitStatus {
    let mut command = stand.command(&["standalone"]);
    command.arg("--manifests").arg(stand.path("manifests")).arg("--data").arg(stand.path("data"));
    command.env(ps_operator::failpoints::VARIABLE, format!("kill:{point}#1"));
    let process = Process::spawn("operator", command).unwrap();
    let ended = wait_until("the kill", SOON, async || process.ended().unwrap()).await;
    ended.unwrap_or_else(|e| panic!("{point}: {e}\n{}", process.log_text().unwrap()))
}

/// The records in the store, by state.
fn states(stand: &Stand) -> Vec<Option<String>> {
    let links = rusqlite::Connection::open(stand.path("data/links/links.db")).unwrap();
    links.busy_timeout(SOON).unwrap();
    let mut statement = links.prepare("SELECT state FROM links ORDER BY id").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_self_check_and_the_end_of_what_it_left_survive_a_kill_at_each_step() {
    use std::os::unix::process::ExitStatusExt as _;
    let stand = Stand::prepare(Setup { lease: Some("2s"), ..Setup::default() }, shared_smtp().await);
    let killed = async |point: &str| {
        let status = killed_at(&stand, point).await;
        assert_eq!(status.signal(), Some(9), "{point}");
        states(&stand)
    };
    assert_eq!(killed("store.insert.before").await, []);
    // The link that the check would have opened is there, and nobody knows it any more.
    let left = killed("store.insert.after").await;
    assert_eq!(left.len(), 1);
    assert!(left[0].is_some(), "{left:?}");
    assert_eq!(killed("store.replace.before").await, left, "about to be revoked");
    assert_eq!(killed("store.replace.after").await, [None], "revoked: a tombstone without a state");

    stand.run().await;
    let checked = wait_until("a self-check", SOON, async || {
        (stand.metric("password_sender_self_check_ok").await > 0.0).then_some(())
    });
    checked.await.unwrap_or_else(|e| panic!("{e}\n{}", stand.log_text()));
    let clean = wait_until("its link to go", SOON, async || (states(&stand) == [None]).then_some(()));
    clean.await.unwrap_or_else(|e| panic!("{e}: {:?}", states(&stand)));
}
