//! `--check-confinement`: tries what a process that was taken over would try, and says what came of it.
#![allow(clippy::print_stdout, reason = "this is what the option is for")]

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, ExitCode};

use ps_gateway::confine::Confinement;

/// Prints one line per promise and per attempt. Fails if an attempt succeeded that the report promises to stop.
pub(crate) fn run(links: &Path, report: &Confinement) -> ExitCode {
    for name in &report.in_force {
        println!("in force: {name}");
    }
    for name in &report.lacking {
        println!("lacking: {name}");
    }
    let landlock = report.in_force.iter().any(|name| name.starts_with("landlock: files"));
    let seccomp = report.in_force.iter().any(|name| name.starts_with("seccomp"));
    let outside = links.parent().unwrap_or(Path::new("/")).join("outside");
    let attempts = [
        ("read a file elsewhere", landlock, File::open("/etc/passwd").is_err()),
        ("list a folder elsewhere", landlock, fs::read_dir("/").is_err()),
        ("write a file elsewhere", landlock, File::create(outside).is_err()),
        ("make a folder in the links folder", landlock, fs::create_dir(links.join("sub")).is_err()),
        ("run a program", seccomp, Command::new("/bin/true").status().is_err()),
        ("connect", seccomp || landlock, TcpStream::connect(("127.0.0.1", 1)).is_err_and(denied)),
        ("listen", seccomp || landlock, TcpListener::bind(("127.0.0.1", 0)).is_err()),
        ("send a datagram", seccomp, UdpSocket::bind(("127.0.0.1", 0)).is_err()),
        ("signal its parent", seccomp, nix::sys::signal::kill(nix::unistd::getppid(), None).is_err()),
    ];
    let mut sound = true;
    for (what, promised, stopped) in attempts {
        let verdict = if stopped { "stopped" } else { "possible" };
        println!("{verdict}: {what}");
        sound &= stopped || !promised;
    }
    let own = links.join("self-check");
    let works = fs::write(&own, b"x").and_then(|()| fs::read(&own)).and_then(|_| fs::remove_file(&own)).is_ok();
    println!("{}: use the links folder", if works { "works" } else { "broken" });
    let thread = std::thread::Builder::new().spawn(|| ()).is_ok_and(|t| t.join().is_ok());
    println!("{}: start a thread", if thread { "works" } else { "broken" });
    if sound && works && thread { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether it was stopped here, and not by nobody listening there.
fn denied(error: std::io::Error) -> bool {
    error.kind() != std::io::ErrorKind::ConnectionRefused
}
