//! A person at a terminal: prompts, second tries, hidden values, "saved?".

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use nix::pty::{OpenptyResult, openpty};
use ps_core::link::State;

use crate::operator::CODE;
use crate::support::{PASSPHRASE, PATIENCE, Reaped, SECRET, Wanted, World};

/// The binary on a terminal of its own.
struct Session {
    child: Reaped,
    master: File,
    seen: Arc<Mutex<String>>,
    read_to: usize,
}

impl Session {
    fn start(command: &Command) -> Self {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        // `setsid` of util-linux gives it the terminal that a login would.
        let mut on_terminal = Command::new("setsid");
        on_terminal.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args()).env_clear();
        on_terminal.env("PATH", "/usr/bin:/bin");
        on_terminal.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let end = || Stdio::from(slave.try_clone().unwrap());
        let child = on_terminal.stdin(end()).stdout(end()).stderr(end()).spawn().expect("setsid, of util-linux");
        drop((slave, on_terminal));
        let seen = Arc::new(Mutex::new(String::new()));
        let (mut reader, sink) = (File::from(master.try_clone().unwrap()), seen.clone());
        std::thread::spawn(move || {
            let mut chunk = [0_u8; 1024];
            // The last reader of a terminal gets an error, not an end.
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                sink.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..count]));
            }
        });
        Self { child: Reaped(child), master: File::from(master), seen, read_to: 0 }
    }

    /// Waits for a text after what was waited for last.
    fn expect(&mut self, text: &str) {
        let start = Instant::now();
        loop {
            let seen = self.seen.lock().unwrap().clone();
            if let Some(at) = seen[self.read_to..].find(text) {
                self.read_to += at + text.len();
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{text:?} did not come: {seen}");
            std::thread::yield_now();
        }
    }

    fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    fn all(&self) -> String {
        self.seen.lock().unwrap().clone()
    }

    fn exits(mut self, code: i32) -> String {
        let status = self.child.0.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{}", self.all());
        self.all()
    }
}

#[test]
fn a_person_opens_a_link() {
    let world = World::new();
    let sent = world.put(&Wanted::default());
    let mut session = Session::start(&world.command(&["open"]));
    session.expect("Paste the link (not shown): ");
    // Broken over two lines, as mail programs do.
    let (head, tail) = sent.url.split_at(sent.url.len() - 20);
    session.types(&format!("{head}\r{tail}\r"));
    session.expect("The rest");
    session.expect("What    Shop database");
    session.expect("Opening code");
    session.types("0000-0001\r");
    session.expect("mistyped");
    // Typed wrong and corrected on the line.
    session.types(&format!("xx\x7f\x7f{}\r", sent.code.to_lowercase()));
    session.expect("Password  ••••••••");
    session.expect("Show the hidden values? [y/N] ");
    assert!(!session.all().contains(SECRET));
    session.types("y\r");
    session.expect(&format!("Password  {SECRET}"));
    session.expect("Saved? Then it is erased. [y/N] ");
    session.types("yes\r");
    session.expect("Acknowledged");
    let all = session.exits(0);
    assert!(!all.contains("ps1.") && !all.contains(tail), "the link is not shown: {all}");
    assert_eq!(world.state(&sent), State::Retrieved);
}

#[test]
fn what_nobody_has_seen_is_not_acknowledged() {
    let world = World::new();
    let sent = world.put(&Wanted::default());
    let (link, code) = (world.path("link"), world.path("code"));
    let files = ["--link-file", link.to_str().unwrap(), "--code-file", code.to_str().unwrap()];
    let mut session = Session::start(&world.command(&[&["open", "--acknowledge"][..], &files].concat()));
    session.expect("Show the hidden values? [y/N] ");
    session.types("\r");
    session.expect("so nothing was acknowledged");
    let all = session.exits(2);
    assert!(!all.contains(SECRET), "{all}");
    // Nobody to ask: the same.
    let args = [&["open", "--acknowledge", "--no-input"][..], &files].concat();
    let mut session = Session::start(&world.command(&args));
    session.expect("so nothing was acknowledged");
    session.exits(2);
    assert_eq!(world.state(&sent), State::Claimed);
}

#[test]
fn a_wrong_passphrase_is_asked_for_again_and_never_shown() {
    let world = World::new();
    let sent = world.put(&Wanted { passphrase: true, ..Wanted::default() });
    let link = world.path("link");
    let mut session = Session::start(&world.command(&["open", "--show", "--link-file", link.to_str().unwrap()]));
    session.expect("Passphrase (not shown): ");
    session.types("wrong\r");
    session.expect("9 tries are left");
    session.expect("Waiting 1s");
    // The gateway's clock of this test stands still until it is told.
    world.set_time(crate::support::T + ps_core::time::Span::from_secs(2));
    session.expect("Passphrase (not shown): ");
    session.types(&format!("{PASSPHRASE}\r"));
    session.expect(SECRET);
    session.expect("Saved?");
    session.types("\r");
    session.expect("Not acknowledged");
    let all = session.exits(0);
    assert!(!all.contains("wrong\r") && !all.contains(PASSPHRASE), "{all}");
    assert_eq!(world.state(&sent), State::Claimed);
}

#[test]
fn an_emailed_code_is_asked_for_and_typed() {
    let world = World::new();
    let sent = world.put(&Wanted { email_code: true, ..Wanted::default() });
    world.operate(&sent);
    let link = world.path("link");
    let args = ["open", "--show", "--link-file", link.to_str().unwrap()];
    let mut session = Session::start(&world.command(&args));
    session.expect("also asks for a code that is mailed to you");
    session.expect("Have a code mailed? (3 mails are left.) [y/N] ");
    session.types("y\r");
    session.expect("Opening code");
    session.types(&format!("{}\r", sent.code));
    session.expect("Code from the mail (valid ");
    session.types("2468\r");
    session.expect("it has eight digits");
    session.expect("Code from the mail");
    session.types("0000 0000\r");
    session.expect("Wrong code; 4 tries are left");
    session.expect("Waiting 1s");
    world.set_time(crate::support::T + ps_core::time::Span::from_secs(2));
    session.expect("Code from the mail");
    // Interrupted, it goes on with the code that is out; only the opening code is asked for again.
    session.types("\x03");
    session.exits(130);
    let mut session = Session::start(&world.command(&args));
    session.expect("Wrong code; 4 tries are left");
    session.expect("Code from the mail");
    session.types(&format!("{CODE}\r"));
    session.expect("Opening code");
    session.types(&format!("{}\r", sent.code));
    session.expect(SECRET);
    session.expect("Saved?");
    session.types("y\r");
    session.expect("Acknowledged");
    let all = session.exits(0);
    assert_eq!(all.matches("Opening code").count(), 1, "typed once: {all}");
    assert_eq!(world.state(&sent), State::Retrieved);
}

#[test]
fn a_declined_mail_with_a_code_opens_nothing() {
    let world = World::new();
    let sent = world.put(&Wanted { email_code: true, ..Wanted::default() });
    world.operate(&sent);
    let link = world.path("link");
    let mut session = Session::start(&world.command(&["open", "--link-file", link.to_str().unwrap()]));
    session.expect("Have a code mailed?");
    session.types("\r");
    session.expect("nothing was opened");
    session.exits(1);
    world.run(&["open"]).exits(1).says("nobody to type it").says("in a browser");
    assert_eq!(world.state(&sent), State::Open);
}

#[test]
fn secrets_are_not_printed_to_a_terminal_unasked_and_control_c_opens_nothing() {
    let world = World::new();
    let sent = world.put(&Wanted::default());
    for form in [&["open", "--field", "password"][..], &["open", "--output", "json"], &["open", "-o", "env"]] {
        let mut session = Session::start(&world.command(form));
        session.expect("Nothing was opened");
        session.exits(2);
    }
    let mut session = Session::start(&world.command(&["open"]));
    session.expect("Paste the link");
    session.types("abc\x03");
    session.expect("interrupted");
    session.exits(130);
    let link = world.path("link");
    let mut session = Session::start(&world.command(&["decline", "--link-file", link.to_str().unwrap()]));
    session.expect("[y/N] ");
    session.types("\r");
    session.expect("nothing was declined");
    session.exits(1);
    assert_eq!(world.state(&sent), State::Open);
}
