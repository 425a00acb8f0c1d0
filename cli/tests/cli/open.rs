//! `open`, without anybody to ask.

use std::os::unix::fs::PermissionsExt as _;

use ps_core::link::State;
use ps_core::time::Span;

use crate::support::{Reaped, SECRET, Sent, T, TTL, WINDOW, Wanted, World, run, run_with, until};

fn world(wanted: &Wanted) -> (World, Sent) {
    let world = World::new();
    let sent = world.put(wanted);
    (world, sent)
}

#[test]
fn opens_prints_and_acknowledges() {
    let (world, sent) = world(&Wanted::default());
    let ran =
        world.run(&["open", "--acknowledge"]).exits(0).says("What    Shop database").says("From    Platform \u{fffd}");
    assert_eq!(
        ran.out,
        format!(
            "What      Shop database\nFrom      Platform team\nWorks     1h from the first opening\n\nUsername  alice\nPassword  {SECRET}\n"
        )
    );
    assert_eq!(world.state(&sent), State::Retrieved);
    assert!(!world.claim(&sent).exists(), "what is over is forgotten");
    world.run(&["open"]).exits(3).says("erased");
}

#[test]
fn without_acknowledgement_it_can_be_opened_again_until_the_window_ends() {
    let (world, sent) = world(&Wanted::default());
    let ran = world.run(&["open", "--field", "password"]).exits(0).says("Until 2030-").says("--acknowledge");
    assert_eq!(ran.out, SECRET, "nothing but the value");
    assert_eq!(world.state(&sent), State::Claimed);
    let mode = std::fs::metadata(world.claim(&sent)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = std::fs::read_to_string(world.claim(&sent)).unwrap();
    assert!(kept.len() == 44 && !sent.url.contains(kept.trim()), "a token, and not the link");
    // No code this time: whoever has claimed types nothing again.
    let link = world.path("link");
    let args = ["open", "--no-input", "--link-file", link.to_str().unwrap(), "--output", "json"];
    let again = run(world.command(&args)).exits(0).says("You opened it before");
    let value: serde_json::Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!((&value["fields"][1]["value"], &value["title"]), (&SECRET.into(), &"Shop database".into()));
    world.set_time(T + WINDOW);
    world.run(&["open"]).exits(3).says("erased");
    assert!(!world.claim(&sent).exists());
}

#[test]
fn a_lost_reply_loses_nothing() {
    let (world, sent) = world(&Wanted { passphrase: true, ..Wanted::default() });
    let passphrase = world.path("passphrase");
    let extra = ["open", "--passphrase-file", passphrase.to_str().unwrap()];
    world.kill_between(&extra);
    assert_eq!(world.state(&sent), State::Claimed);
    let ran = world.run(&[&extra[..], &["--field", "password", "--acknowledge"]].concat()).exits(0);
    assert_eq!(ran.out, SECRET);
    assert_eq!(world.state(&sent), State::Retrieved);
}

#[test]
fn whoever_is_second_is_told_so() {
    let (world, sent) = world(&Wanted::default());
    world.run(&["open"]).exits(0);
    std::fs::remove_file(world.claim(&sent)).unwrap();
    let ran = world.run(&["open"]).exits(3).says("not by you on this machine").says("decline");
    assert_eq!(ran.out, "");
    // A token of somebody else's is none.
    let other = "A".repeat(43);
    std::fs::write(world.claim(&sent), &other).unwrap();
    world.run(&["open"]).exits(3).says("not by you");
}

#[test]
fn a_wrong_code_opens_nothing() {
    let (world, sent) = world(&Wanted::default());
    std::fs::write(world.path("code"), "ZZZZ-ZZZZ").unwrap();
    world.run(&["open"]).exits(4).says("mistyped");
    std::fs::write(world.path("code"), "00000000").unwrap();
    world.run(&["open"]).exits(4).says("wrong opening code").says("in 1s");
    world.run(&["open"]).exits(5).says("asks to wait");
    assert_eq!(world.state(&sent), State::Open);
    world.set_time(T + Span::from_secs(2));
    std::fs::write(world.path("code"), &sent.code).unwrap();
    world.run(&["open"]).exits(0);
}

#[test]
fn a_passphrase_opens_and_a_wrong_one_does_not() {
    let (world, sent) = world(&Wanted { passphrase: true, ..Wanted::default() });
    world.run(&["open"]).exits(2).says("--passphrase-file");
    let wrong = world.path("wrong");
    std::fs::write(&wrong, "Correct Horse\n").unwrap();
    world.run(&["open", "--passphrase-file", wrong.to_str().unwrap()]).exits(4).says("9 tries are left");
    assert_eq!(world.state(&sent), State::Open);
    world.set_time(T + Span::from_secs(2));
    let right = world.path("passphrase");
    world.run(&["open", "--passphrase-file", right.to_str().unwrap()]).exits(0);
    // Again, with the wrong one: not counted, not opened.
    world.run(&["open", "--passphrase-file", wrong.to_str().unwrap()]).exits(4);
    let ran = world.run(&["open", "--passphrase-file", right.to_str().unwrap(), "--output", "env"]).exits(0);
    assert_eq!(ran.out, "SECRET_USERNAME='alice'\nSECRET_PASSWORD='hunter2 it'\\''s'\n");
}

#[test]
fn after_three_wrong_passphrases_the_opening_code_is_due_as_well() {
    let (world, sent) = world(&Wanted { passphrase: true, ..Wanted::default() });
    let (wrong, right) = (world.path("wrong"), world.path("passphrase"));
    std::fs::write(&wrong, "Correct Horse\n").unwrap();
    for (n, left) in (0..).zip(["9", "8", "7"]) {
        world.set_time(T + Span::from_secs(10 * n));
        let told = format!("{left} tries are left");
        world.run(&["open", "--passphrase-file", wrong.to_str().unwrap()]).exits(4).says(&told);
    }
    world.set_time(T + Span::from_secs(40));
    let code = world.path("code");
    std::fs::write(&code, "00000000").unwrap();
    world.run(&["open", "--passphrase-file", wrong.to_str().unwrap()]).exits(4).says("wrong opening code");
    assert_eq!(world.state(&sent), State::Open);
    world.set_time(T + Span::from_secs(50));
    std::fs::write(&code, &sent.code).unwrap();
    world.run(&["open", "--passphrase-file", right.to_str().unwrap()]).exits(0);
}

#[test]
fn an_expired_link_and_a_foreign_one() {
    let (world, sent) = world(&Wanted::default());
    world.set_time(T + TTL);
    world.run(&["open"]).exits(3).says("expired");
    let (path, unknown) = (world.path("link"), format!("http://{}/#ps1.{}", world.address, "A".repeat(43)));
    std::fs::write(&path, unknown).unwrap();
    world.run(&["open"]).exits(3).says("no such link");
    assert!(!world.claim(&sent).exists());
}

#[test]
fn a_gateway_that_is_not_ready_or_not_there() {
    let (world, sent) = world(&Wanted::default());
    world.fence.raise();
    world.run(&["open"]).exits(5).says("again");
    world.fence.lift();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let elsewhere = sent.url.replace(&world.address.port().to_string(), &port.to_string());
    std::fs::write(world.path("link"), elsewhere).unwrap();
    world.run(&["open"]).exits(5).says("no connection");
    std::fs::write(world.path("link"), sent.url.replace("/#", "/elsewhere/#")).unwrap();
    // Any path before the API's is served, as the page may have been opened under a mangled one.
    world.run(&["open"]).exits(0);
}

#[test]
fn a_link_comes_on_standard_input_even_mangled() {
    let (world, sent) = world(&Wanted::default());
    let code = world.path("code");
    let command =
        || world.command(&["open", "--no-input", "--field", "username", "--code-file", code.to_str().unwrap()]);
    let mangled = sent.url.replace("/#", "/%23");
    let ran = run_with(command(), format!("Open {mangled}.").as_bytes()).exits(0).says("rewritten");
    assert_eq!(ran.out, "alice");
    for (junk, why) in [
        (&b""[..], "no link"),
        (b"\xff\xfe\x00", "not text"),
        (b"ps1.AAAA", "incomplete"),
        (&[b'x'; 300 * 1024], "more than 256 KiB"),
        (format!("http://evil.example/{}", &sent.url[sent.url.find('#').unwrap()..]).as_bytes(), "https://"),
    ] {
        run_with(command(), junk).exits(2).says(why);
    }
}

#[test]
fn a_link_is_no_argument() {
    let (world, sent) = world(&Wanted::default());
    for args in [&["open", &sent.url][..], &[&sent.url], &["opne", &sent.url], &["open", "--link", &sent.url]] {
        let ran = run(world.command(args)).exits(2).says("can be seen by everybody");
        assert_eq!(ran.out, "");
    }
    run(world.command(&["open", "https://s.example/"])).exits(2).says("can be seen by everybody");
    assert_eq!(world.state(&sent), State::Open);
}

#[test]
fn files_must_be_saved_before_they_are_acknowledged() {
    let (world, sent) = world(&Wanted { file: true, ..Wanted::default() });
    world.run(&["open", "--acknowledge"]).exits(2).says("--files");
    assert_eq!(world.state(&sent), State::Claimed);
    let folder = world.path("saved");
    std::fs::create_dir(&folder).unwrap();
    let args = ["open", "--acknowledge", "--files", folder.to_str().unwrap()];
    world.run(&args).exits(0).says("Saved");
    assert_eq!(std::fs::read(folder.join("id_ed25519")).unwrap(), b"a key");
    assert_eq!(world.state(&sent), State::Retrieved);
}

#[test]
fn an_output_that_breaks_is_not_acknowledged() {
    let (world, sent) = world(&Wanted::default());
    let (link, code) = (world.path("link"), world.path("code"));
    let args = [
        "open",
        "--no-input",
        "--acknowledge",
        "--link-file",
        link.to_str().unwrap(),
        "--code-file",
        code.to_str().unwrap(),
    ];
    let mut command = world.command(&args);
    command.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let failed: crate::support::Ran =
        command.stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output().unwrap().into();
    failed.exits(1).says("nothing was acknowledged").says("opens it again");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = world.command(&args);
    command.stdout(writer).stderr(std::process::Stdio::piped());
    let failed: crate::support::Ran = command.spawn().unwrap().wait_with_output().unwrap().into();
    failed.exits(1).says("nothing was acknowledged");
    assert_eq!(world.state(&sent), State::Claimed);
    let missing = world.run(&["open", "--acknowledge", "--field", "Password"]).exits(2).says("username, password");
    assert_eq!((missing.out.as_str(), world.state(&sent)), ("", State::Claimed));
}

#[test]
fn without_a_place_for_the_claim_nothing_is_opened() {
    let (world, sent) = world(&Wanted::default());
    std::fs::write(world.path("state"), "in the way").unwrap();
    world.run(&["open"]).exits(1).says("nothing was opened");
    let (link, code) = (world.path("link"), world.path("code"));
    let args = ["open", "--no-input", "--link-file", link.to_str().unwrap(), "--code-file", code.to_str().unwrap()];
    let mut command = world.command(&args);
    command.env_remove("HOME").env_remove("XDG_STATE_HOME");
    run(command).exits(2).says("XDG_STATE_HOME");
    assert_eq!(world.state(&sent), State::Open);
}

#[test]
fn a_gateway_that_alters_what_was_sealed_gets_nothing() {
    let (world, sent) = world(&Wanted { altered: true, ..Wanted::default() });
    world.run(&["open"]).exits(1).says("not what was sealed").says("Nothing was opened");
    assert_eq!((world.state(&sent), world.claim(&sent).exists()), (State::Open, false));
}

#[test]
fn runs_at_the_same_time_on_one_machine_are_one_claimant() {
    let (world, _) = world(&Wanted::default());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(world.run(&["open", "--field", "password"]).exits(0).out, SECRET));
        }
    });
}

/// While it waits for its link, it has no core file to leave.
#[cfg(target_os = "linux")]
#[test]
fn it_leaves_no_core_file() {
    let (world, _) = world(&Wanted::default());
    let mut command = world.command(&["open", "--no-input"]);
    let child = Reaped(command.stdin(std::process::Stdio::piped()).spawn().unwrap());
    let limits = format!("/proc/{}/limits", child.0.id());
    until("core files are off", || {
        let limits = std::fs::read_to_string(&limits).unwrap_or_default();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).map(str::to_owned);
        core.is_some_and(|core| core.split_whitespace().skip(4).take(2).all(|limit| limit == "0"))
    });
}
