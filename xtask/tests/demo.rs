//! Ctrl-C in the middle of the demo ends all that it started, and leaves nothing behind but caches under `target/`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is the failure report"
)]

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use ps_testbed::process::{Process, children};
use ps_testbed::{wait_until, workspace};

const MINUTE: Duration = Duration::from_secs(60);

/// All processes below one, by their ids.
fn below(ancestor: u32) -> Vec<u32> {
    children(ancestor).into_iter().flat_map(|child| [vec![child], below(child)].concat()).collect()
}

fn entries(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Starts the demo with a home and a temporary folder of its own, ends it by `end` while it waits for a person, and looks
/// what is left.
async fn leaves_nothing(end: impl Fn(Pid)) {
    let home = tempfile::tempdir_in(workspace().join("target")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["demo", "--built"]).process_group(0).env_remove("PS_TESTBED");
    command.env("HOME", home.path()).env("TMPDIR", home.path());
    let demo = Process::spawn("demo", command).unwrap();
    let waits = async || {
        assert!(demo.ended().unwrap().is_none(), "{}", demo.log_text().unwrap());
        demo.log_text().unwrap().contains("Ctrl-C ends the demo").then_some(())
    };
    wait_until("the demo to wait for a person", MINUTE, waits).await.unwrap();
    let (started, run) = (below(demo.pid()), workspace().join("target/testbed/run"));
    let its = format!("-{}-", demo.pid());
    assert!(started.len() >= 3, "OpenBao, the operator and its gateway: {started:?}");
    assert!(entries(&run).iter().any(|name| name.contains(&its)), "its folder");

    end(Pid::from_raw(demo.pid().try_into().unwrap()));
    let status = demo.wait(MINUTE).unwrap();
    assert!(status.success(), "{status}\n{}", demo.log_text().unwrap());
    let gone = async || started.iter().all(|pid| !Path::new(&format!("/proc/{pid}/exe")).exists()).then_some(());
    wait_until("the end of what it started", MINUTE, gone).await.unwrap();
    assert!(entries(&run).iter().all(|name| !name.contains(&its)), "{:?}", entries(&run));
    assert_eq!(entries(home.path()), [""; 0], "what it left at home or in the temporary folder");
}

#[tokio::test]
async fn control_c_ends_all_that_was_started() {
    // As a terminal does it: all of the foreground at once.
    leaves_nothing(|demo| killpg(demo, Signal::SIGINT).unwrap()).await;
}

#[tokio::test]
async fn a_polite_end_from_outside_does_so_as_well() {
    leaves_nothing(|demo| kill(demo, Signal::SIGTERM).unwrap()).await;
}
