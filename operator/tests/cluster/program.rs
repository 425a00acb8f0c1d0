//! One operator or gateway as a process: started, killed, asked.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ps_testbed::free_port;
use ps_testbed::process::{Process, Signal};

use crate::support::{SOON, client};

/// A program that runs, or ran.
pub struct Program {
    process: Mutex<Option<Process>>,
    logs: Mutex<Vec<PathBuf>>,
    pub port: u16,
    pub admin: u16,
}

impl Program {
    pub fn new(port: u16) -> Self {
        Self { process: Mutex::default(), logs: Mutex::default(), port, admin: free_port().unwrap() }
    }

    pub fn spawn(&self, name: &str, command: Command) {
        let process = Process::spawn(name, command).unwrap();
        lock(&self.logs).push(process.log().to_owned());
        *lock(&self.process) = Some(process);
    }

    /// Whether it was started, and not stopped since.
    pub fn is_wanted(&self) -> bool {
        lock(&self.process).is_some()
    }

    pub fn is_up(&self) -> bool {
        lock(&self.process).as_ref().is_some_and(|p| p.ended().unwrap().is_none())
    }

    pub fn pid(&self) -> u32 {
        lock(&self.process).as_ref().unwrap().pid()
    }

    /// SIGKILL.
    pub fn kill(&self) {
        if let Some(process) = lock(&self.process).take() {
            process.kill().unwrap();
        }
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&self) {
        if let Some(process) = lock(&self.process).take() {
            process.signal(Signal::SIGTERM).unwrap();
            let status = process.wait(SOON).unwrap_or_else(|e| panic!("{e}\n{}", self.tail()));
            assert!(status.success(), "{status}\n{}", self.tail());
        }
    }

    pub fn signal(&self, signal: Signal) {
        lock(&self.process).as_ref().unwrap().signal(signal).unwrap();
    }

    /// All that was logged, by all runs.
    pub fn log_text(&self) -> String {
        let logs = lock(&self.logs).clone();
        logs.iter().map(|log| String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned()).collect()
    }

    pub fn tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(40);
        format!("--- log on admin port {} ---\n{}", self.admin, lines[from..].join("\n"))
    }

    /// The status of a page on the admin port; 0 while nobody answers.
    pub async fn asks(&self, page: &str) -> u16 {
        let url = format!("http://127.0.0.1:{}/{page}", self.admin);
        client().get(url).send().await.map_or(0, |answer| answer.status().as_u16())
    }

    /// One number of the metrics page; 0 while it is not there.
    pub async fn metric(&self, name: &str) -> f64 {
        let url = format!("http://127.0.0.1:{}/metrics", self.admin);
        let page = client().get(url).send().await.unwrap().text().await.unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |number| number.parse().unwrap())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
