//! `--check-confinement`: tries what a process that was taken over would try, and says what came of it.
#![allow(clippy::print_stdout, reason = "this is what the option is for")]

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, ExitCode};

use ps_gateway::confine::{Confinement, Needs};

/// Prints one line per promise and per attempt. Fails if an attempt succeeded that the report promises to stop.
pub(crate) fn run(needs: &Needs, report: &Confinement) -> ExitCode {
    for name in &report.in_force {
        println!("in force: {name}");
    }
    for name in &report.lacking {
        println!("lacking: {name}");
    }
    let landlock = report.in_force.iter().any(|name| name.starts_with("landlock:"));
    let seccomp = report.in_force.iter().any(|name| name.starts_with("seccomp"));
    let folder = needs.folder.as_deref();
    let (outside, sub) = match folder {
        Some(links) => (links.parent().unwrap_or(Path::new("/")).join("outside"), links.join("sub")),
        None => (std::env::temp_dir().join("outside"), std::env::temp_dir().join("sub")),
    };
    // A client of an API server may connect, to its port; where there is no Landlock, to any.
    let (connects, looks_up) = (needs.network.is_some(), needs.network.is_some_and(|network| network.names));
    let attempts = [
        ("read a file elsewhere", landlock, File::open("/etc/passwd").is_err()),
        ("list a folder elsewhere", landlock, fs::read_dir("/").is_err()),
        ("write a file elsewhere", landlock, File::create(outside).is_err()),
        ("make a folder in the links folder", landlock, fs::create_dir(sub).is_err()),
        ("run a program", seccomp, Command::new("/bin/true").status().is_err()),
        ("connect", landlock || (seccomp && !connects), TcpStream::connect(("127.0.0.1", 1)).is_err_and(denied)),
        ("listen", seccomp || landlock, TcpListener::bind(("127.0.0.1", 0)).is_err()),
        ("receive datagrams", seccomp, UdpSocket::bind(("127.0.0.1", 0)).is_err()),
        ("make a datagram socket", seccomp && !looks_up, datagram().is_err()),
        ("signal its parent", seccomp, nix::sys::signal::kill(nix::unistd::getppid(), None).is_err()),
    ];
    let mut sound = true;
    for (what, promised, stopped) in attempts {
        let verdict = if stopped { "stopped" } else { "possible" };
        println!("{verdict}: {what}");
        sound &= stopped || !promised;
    }
    let works = if let Some(links) = folder {
        let own = links.join("self-check");
        let works = fs::write(&own, b"x").and_then(|()| fs::read(&own)).and_then(|_| fs::remove_file(&own)).is_ok();
        println!("{}: use the links folder", if works { "works" } else { "broken" });
        works
    } else {
        let works = needs.readable.iter().filter(|path| path.is_file()).all(|path| File::open(path).is_ok());
        println!("{}: read the files of the connection", if works { "works" } else { "broken" });
        works
    };
    let thread = std::thread::Builder::new().spawn(|| ()).is_ok_and(|t| t.join().is_ok());
    println!("{}: start a thread", if thread { "works" } else { "broken" });
    if sound && works && thread { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn datagram() -> nix::Result<std::os::fd::OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    socket(AddressFamily::Inet, SockType::Datagram, SockFlag::empty(), None)
}

/// Whether it was stopped here, and not by nobody listening there.
fn denied(error: std::io::Error) -> bool {
    error.kind() != std::io::ErrorKind::ConnectionRefused
}
