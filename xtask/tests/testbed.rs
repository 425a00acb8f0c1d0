//! `cargo xtask testbed up` prints how to reach servers that answer, and `down` leaves none of them behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is the failure report"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use ps_testbed::process::{Process, children};
use ps_testbed::{ENVIRONMENT_VARIABLE, state_dir, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const MINUTE: Duration = Duration::from_secs(60);

fn testbed(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("testbed").args(arguments).env_remove(ENVIRONMENT_VARIABLE);
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

/// All processes below one, by their ids.
fn below(ancestor: u32) -> Vec<u32> {
    children(ancestor).into_iter().flat_map(|child| [vec![child], below(child)].concat()).collect()
}

/// The status of an answer, over plain HTTP.
async fn get(url: &str, header: &str) -> u16 {
    let (authority, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(authority).await.unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(MINUTE, stream.read_to_end(&mut answer)).await.expect("an answer in time").unwrap();
    String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap().parse().unwrap()
}

/// The variables that its output would set in a shell.
fn exported(log: &str) -> BTreeMap<String, String> {
    let exports = log.lines().filter_map(|line| line.strip_prefix("export "));
    let pairs = exports.flat_map(|line| line.split(' ')).filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
async fn what_up_started_answers_and_down_leaves_nothing() {
    let files = [state_dir().join("up.pid"), state_dir().join("up.json")];
    assert!(files.iter().all(|file| !file.exists()), "a testbed is up already: `cargo xtask testbed down` stops it");
    let up = Process::spawn("up", testbed(&["up", "--no-cluster"])).unwrap();
    let log = || up.log_text().unwrap();
    let printed = async || {
        assert!(up.ended().unwrap().is_none(), "{}", log());
        log().contains("# Ctrl-C, or").then(|| exported(&log()))
    };
    let environment = wait_until("what to use", MINUTE, printed).await.unwrap();

    let health = get(&format!("{}/v1/sys/health", environment["BAO_ADDR"]), "").await;
    assert_eq!(health, 200, "initialised, unsealed and active");
    let token = format!("x-vault-token: {}\r\n", environment["VAULT_TOKEN"]);
    let known = get(&format!("{}/v1/auth/token/lookup-self", environment["VAULT_ADDR"]), &token).await;
    assert_eq!(known, 200, "the token is known there");
    for port in ["PGPORT", "SMTP_PORT", "SMTPS_PORT"] {
        let port: u16 = environment[port].parse().unwrap();
        TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    }
    let mails = log().lines().find_map(|line| line.split("curl -s ").nth(1)).unwrap().to_owned();
    assert_eq!(get(mails.trim(), "").await, 200);
    assert!(Path::new(&environment["SMTP_CA"]).is_file());
    assert_eq!(Path::new(&environment[ENVIRONMENT_VARIABLE]), files[1]);
    assert!(fs::read_to_string(&files[1]).unwrap().contains(&environment["BAO_ADDR"]), "tests are led there as well");

    let another = testbed(&["up", "--no-cluster"]).output().unwrap();
    let said = text(&another);
    assert!(!another.status.success() && said.contains(&format!("up already (process {})", up.pid())), "{said}");

    let (started, its) = (below(up.pid()), format!("-{}-", up.pid()));
    let folders = || {
        let places = [state_dir().join("run"), std::env::temp_dir()];
        let entries = places.iter().flat_map(|place| fs::read_dir(place).unwrap().flatten());
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.contains(&its)).collect::<Vec<_>>()
    };
    assert!(started.len() >= 3 && !folders().is_empty(), "{started:?} in {:?}", folders());
    let down = testbed(&["down"]).output().unwrap();
    assert!(down.status.success() && text(&down).contains("testbed is down"), "{}", text(&down));
    let status = up.wait(MINUTE).unwrap();
    assert!(status.success(), "{status}\n{}", log());
    let gone = async || started.iter().all(|pid| !Path::new(&format!("/proc/{pid}/exe")).exists()).then_some(());
    wait_until("the end of all servers", MINUTE, gone).await.unwrap();
    assert_eq!(folders(), [""; 0]);
    assert!(files.iter().all(|file| !file.exists()));
    assert!(text(&testbed(&["down"]).output().unwrap()).contains("no testbed is up"));
}
