//! Mail servers that greylist, refuse, hang and hang up: at most one live link is ever mailed per attempt.

use std::collections::BTreeSet;
use std::time::Duration;

use ps_core::encode::from_b64;
use ps_core::ids::Key;
use ps_core::link::State;
use ps_core::ports::{Ledger as _, LinkStore as _};
use ps_ledger::EmbeddedLedger;
use ps_store::EmbeddedStore;
use ps_testbed::{Fault, Mail, OpenBao, Phase, SmtpOptions, SmtpServer, Testbed, memory_of, unique};
use serde_json::{Value, json};

use crate::support::{Invitation, KvSource, Needle, Recipient, SOON, Search, Seen, Setup, Stand, kv_delivery};

/// An operator with a mail server of its own, and as many credentials as are wanted.
struct Scene {
    bao: &'static OpenBao,
    smtp: SmtpServer,
    stand: Stand,
    mount: String,
}

impl Scene {
    async fn new(hold: &'static str) -> Self {
        Self::with(Setup { smtp_timeout: "1s", hold, ..Setup::default() }).await
    }

    async fn with(setup: Setup) -> Self {
        let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
        let smtp = SmtpServer::start(SmtpOptions::default()).await.unwrap();
        let stand = Stand::with_smtp(setup, &smtp).await;
        let mount = KvSource::new(bao).await.mount;
        let anywhere = format!("path \"{mount}/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}");
        stand.connect(bao, bao.address(), &anywhere).await;
        Self { bao, smtp, stand, mount }
    }

    async fn deliver(&self, name: &str) -> (KvSource, String) {
        let (source, to) = (KvSource::below(self.bao, &self.mount).await, format!("{}@v.example", unique("m")));
        self.stand.apply(name, &kv_delivery(name, &to, &source, "1h", "1s", Value::Null));
        (source, to)
    }

    /// The mails once the delivery is settled, and the one link among them that can be opened.
    async fn settled(&self, name: &str, to: &str, what: &str) -> (Vec<Mail>, Recipient) {
        let delivered = |s: &Seen| matches!(s.condition("Delivered").0, "True" | "Unknown");
        self.stand.wait_status(name, what, SOON * 2, delivered).await;
        let mails = self.smtp.wait_for_mails(to, 1, SOON).await.unwrap();
        let links: BTreeSet<String> = mails.iter().map(|mail| Invitation::of(mail).link).collect();
        let ids: BTreeSet<_> = mails.iter().map(|mail| mail.message_id.clone()).collect();
        assert_eq!(links.len(), ids.len(), "{what}: one Message-ID per link");
        let mut live = Vec::new();
        for mail in &mails {
            let invitation = Invitation::of(mail);
            let recipient = Recipient::new(&invitation);
            if recipient.lookup().await.state() == "open" && !live.iter().any(|(link, _)| *link == invitation.link) {
                live.push((invitation.link, recipient));
            }
        }
        assert_eq!(live.len(), 1, "{what}: live links among {} mails", mails.len());
        (mails, live.remove(0).1)
    }
}

/// Nothing was sent, and the status says for what it waits: the fault's name, its words, and when it tries again.
async fn assert_waits(stand: &Stand, name: &str, what: &str, reason: &str, said: impl Fn(&str) -> bool) {
    // A busy machine may miss another step first.
    let waits = |s: &Seen| s.condition("Ready").1 == reason && said(s.condition("Ready").2);
    let seen = stand.wait_status(name, &format!("{reason} for {what}"), SOON, waits).await;
    assert_eq!((seen.condition("Ready").0, seen.is("Reconciling"), seen.stalled()), ("False", true, None), "{what}");
    assert!(!seen.is("Delivered") && !seen.text("/status/nextWakeUp").is_empty(), "{what}: {:?}", seen.0);
}

#[tokio::test]
async fn transient_refusals_keep_the_message_and_send_it_once() {
    let scene = Scene::new("15m").await;
    let mut deliveries = Vec::new();
    for (index, (phase, at)) in
        [(Phase::Rcpt, "RCPT"), (Phase::Data, "DATA"), (Phase::Final, "the end of the message"), (Phase::Mail, "MAIL")]
            .into_iter()
            .enumerate()
    {
        let (name, what) = (format!("later-{index}"), format!("451 at {phase:?}"));
        let (source, to) = (KvSource::below(scene.bao, &scene.mount).await, format!("{}@v.example", unique("later")));
        // MAIL comes before the server knows for whom it is, so it comes last: it holds everything back.
        let fault = Fault::reply(phase, 451, "4.7.1 Greylisted, come back later");
        scene.smtp.fault(&if phase == Phase::Mail { fault } else { fault.only_for(&to) }).await.unwrap();
        scene.stand.apply(&name, &kv_delivery(&name, &to, &source, "1h", "1s", Value::Null));
        let said = |text: &str| ["come back later", at, "451 4.7.1"].iter().all(|word| text.contains(word));
        assert_waits(&scene.stand, &name, &what, "SmtpDeferred", said).await;
        assert_eq!(scene.smtp.mails(&to).await.unwrap().len(), 0, "{what}");
        deliveries.push((name, source, to, what));
    }
    scene.smtp.clear_faults().await.unwrap();
    for (name, source, to, what) in deliveries {
        let (mails, recipient) = scene.settled(&name, &to, &what).await;
        assert_eq!(mails.len(), 1, "{what}");
        assert_eq!(scene.stand.status(&name).attempt(), 1, "{what}: the same link all the time");
        assert_eq!(recipient.open().await["password"], source.password);
        scene.stand.wait_rotated(&name, SOON).await;
        source.assert_replaced(scene.bao).await;
    }
}

/// What is in the files that a process has open, named or not.
fn found_in_open_files(pid: u32, search: &Search) -> Vec<String> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().map(|entry| entry.path());
    let files = open.filter(|path| std::fs::metadata(path).is_ok_and(|meta| meta.is_file()));
    files.flat_map(|path| search.found_in(&std::fs::read(path).unwrap_or_default())).collect()
}

#[tokio::test]
async fn a_message_that_is_held_is_in_no_file() {
    let scene = Scene::with(Setup { smtp_timeout: "1s", level: "trace", ..Setup::default() }).await;
    let source = KvSource::with_password(scene.bao, &scene.mount, &unique("HeldCanary")).await;
    let to = format!("{}@v.example", unique("held"));
    // The server keeps what it says it can't take yet: this test has in hand what the operator holds in its memory alone.
    scene.smtp.fault(&Fault::reply(Phase::Final, 451, "4.3.0 Later").stored().only_for(&to)).await.unwrap();
    scene.stand.apply("held", &kv_delivery("held", &to, &source, "1h", "1s", Value::Null));
    let mail = scene.smtp.wait_for_mail(&to, SOON).await.unwrap();
    let invitation = Invitation::of(&mail);
    let text = invitation.fragment().strip_prefix("ps1.").unwrap();
    let search = Search::new(vec![
        Needle::new("the link", text),
        Needle::bytes("S", &from_b64(text).unwrap()),
        Needle::new("the opening code", &invitation.code),
        Needle::new("the secret", &source.password),
    ]);
    search.assert_it_finds_what_is_there();
    assert!(search.found_in(mail.text.as_ref().unwrap().as_bytes()).contains(&"the link as raw".to_owned()));
    let held = |s: &Seen| s.condition("Delivered").1 == "Sending" && s.condition("Ready").1 == "SmtpDeferred";
    // At once, and after it was tried again.
    for tries in [1, 3] {
        let mails = scene.smtp.wait_for_mails(&to, tries, SOON).await.unwrap();
        assert!(mails.iter().all(|mail| mail.message_id == mails[0].message_id), "the same message");
        scene.stand.wait_status("held", "the hold", SOON, held).await;
        for folder in ["data", "manifests", "secrets"] {
            assert_eq!(search.found_below(&scene.stand.path(folder)), [""; 0], "{folder}");
        }
        for (who, pid) in [("operator", scene.stand.pid()), ("gateway", scene.stand.gateway_pid())] {
            assert_eq!(found_in_open_files(pid, &search), [""; 0], "open in the {who}");
        }
        assert_eq!(search.found_in(scene.stand.log_text().as_bytes()), [""; 0], "log");
        assert_eq!(search.found_in(scene.stand.metrics().await.as_bytes()), [""; 0], "metrics");
    }
    // The control: it is held all the time, in the operator's memory and nowhere else; the secret isn't even there.
    let mut in_memory = Vec::new();
    memory_of(scene.stand.pid(), |_, piece| in_memory.extend(search.found_in(piece))).unwrap();
    assert!(in_memory.iter().any(|what| what.starts_with("the link as")), "{in_memory:?}");
    assert!(!in_memory.iter().any(|what| what.starts_with("the secret as")), "{in_memory:?}");
    assert!(held(&scene.stand.status("held")), "{:?}", scene.stand.status("held").0);

    scene.smtp.clear_faults().await.unwrap();
    let (_, recipient) = scene.settled("held", &to, "the same link in the end").await;
    assert_eq!(scene.stand.status("held").attempt(), 1);
    assert_eq!(recipient.open().await["password"], source.password);
    scene.stand.wait_rotated("held", SOON).await;
}

#[tokio::test]
async fn a_login_that_the_mail_server_refuses_is_said_and_mended_without_a_second_mail() {
    let scene = Scene::new("15m").await;
    scene.smtp.fault(&Fault::reply(Phase::Auth, 535, "5.7.8 Authentication credentials invalid")).await.unwrap();
    let (source, to) = scene.deliver("login").await;
    let refused = |s: &Seen| s.stalled() == Some("SmtpLoginRefused");
    let seen = scene.stand.wait_status("login", "the refusal", SOON, refused).await;
    let said = seen.condition("Stalled").2;
    assert!(said.starts_with("smtp.username: ") && said.contains("refuses the login (535 5.7.8)"), "{said}");
    assert!(said.contains("user and password are right"), "the remedy: {said}");
    assert_eq!((seen.condition("Ready").0, seen.is("Delivered")), ("False", false));
    assert!(!seen.text("/status/nextWakeUp").is_empty(), "it is looked at again");
    // Nothing was read or sealed for a mail that could not leave.
    assert_eq!((seen.attempt(), scene.smtp.mails(&to).await.unwrap().len()), (0, 0));
    scene.smtp.clear_faults().await.unwrap();
    let (mails, recipient) = scene.settled("login", &to, "the right login").await;
    assert_eq!((mails.len(), scene.stand.status("login").attempt()), (1, 1));
    assert_eq!(recipient.open().await["password"], source.password);
    scene.stand.wait_rotated("login", SOON).await;
    source.assert_replaced(scene.bao).await;
}

#[tokio::test]
async fn hanging_and_hanging_up_in_each_phase_is_overcome() {
    let scene = Scene::new("15m").await;
    for (index, phase) in Phase::ALL.into_iter().enumerate() {
        for (kind, fault) in [("hangs", Fault::hang(phase)), ("closes", Fault::close(phase))] {
            let (name, what) = (format!("{kind}-{index}"), format!("{kind} at {phase:?}"));
            // A start of its own, so that a session begins with the connection.
            scene.stand.stop();
            // A message whose answer is lost is sent once more and then left as unknown; all else is tried until it works.
            let once = phase == Phase::Final;
            scene.smtp.fault(&if once { fault.times(1) } else { fault }).await.unwrap();
            let (source, to) = scene.deliver(&name).await;
            scene.stand.run().await;
            if !once {
                let reason = if kind == "hangs" { "SmtpTimeout" } else { "SmtpConnectionLost" };
                let said = |text: &str| at(phase).iter().any(|at| text.contains(at));
                assert_waits(&scene.stand, &name, &what, reason, said).await;
                scene.smtp.clear_faults().await.unwrap();
            }
            let (mails, recipient) = scene.settled(&name, &to, &what).await;
            assert_eq!(mails.len(), 1, "{what}");
            assert_eq!(recipient.open().await["password"], source.password, "{what}");
            scene.smtp.clear_faults().await.unwrap();
        }
    }
}

/// What the operator calls a phase; a server that goes may be missed a step later.
fn at(phase: Phase) -> &'static [&'static str] {
    match phase {
        Phase::Connect | Phase::Ehlo => &["connecting", "the greeting"],
        Phase::Starttls => &["STARTTLS", "the TLS handshake"],
        Phase::Auth => &["the login"],
        Phase::Mail => &["MAIL"],
        Phase::Rcpt => &["RCPT"],
        Phase::Data => &["DATA"],
        Phase::Final => &["the end of the message"],
    }
}

#[tokio::test]
async fn a_reply_lost_after_the_message_sends_the_same_message_once_more() {
    let scene = Scene::new("15m").await;
    let (source, to) = (KvSource::below(scene.bao, &scene.mount).await, format!("{}@v.example", unique("lost")));
    scene.smtp.fault(&Fault::close(Phase::Final).stored().times(1).only_for(&to)).await.unwrap();
    scene.stand.apply("lost", &kv_delivery("lost", &to, &source, "1h", "1s", Value::Null));
    let (mails, recipient) = scene.settled("lost", &to, "one reply lost").await;
    assert_eq!((mails.len(), mails[0].message_id.as_deref()), (2, mails[1].message_id.as_deref()));
    assert!(scene.stand.status("lost").is("Delivered"));
    assert_eq!(recipient.open().await["password"], source.password);
    scene.stand.wait_rotated("lost", SOON).await;

    // Both replies lost: nobody knows, the link stays, and it works.
    let (source, to) = (KvSource::below(scene.bao, &scene.mount).await, format!("{}@v.example", unique("lost")));
    scene.smtp.fault(&Fault::close(Phase::Final).stored().only_for(&to)).await.unwrap();
    scene.stand.apply("unknown", &kv_delivery("unknown", &to, &source, "1h", "1s", Value::Null));
    let (mails, recipient) = scene.settled("unknown", &to, "both replies lost").await;
    assert_eq!(mails.len(), 2);
    let seen = scene.stand.status("unknown");
    assert_eq!((seen.condition("Delivered").0, seen.condition("Delivered").1), ("Unknown", "AnswerLost"));
    assert_eq!(recipient.open().await["password"], source.password);
    scene.stand.wait_rotated("unknown", SOON).await;
    source.assert_replaced(scene.bao).await;
}

#[tokio::test]
async fn a_message_held_for_too_long_is_given_up_for_a_new_attempt() {
    let scene = Scene::new("3s").await;
    let (source, to) = (KvSource::below(scene.bao, &scene.mount).await, format!("{}@v.example", unique("held")));
    scene.smtp.fault(&Fault::reply(Phase::Rcpt, 451, "4.3.0 Later").only_for(&to)).await.unwrap();
    scene.stand.apply("held", &kv_delivery("held", &to, &source, "1h", "1s", Value::Null));
    scene.stand.wait_status("held", "a second attempt", SOON, |s| s.attempt() >= 2).await;
    scene.smtp.clear_faults().await.unwrap();
    let (mails, recipient) = scene.settled("held", &to, "held for too long").await;
    assert_eq!(mails.len(), 1);
    assert!(scene.stand.audited("held", "Superseded") >= 1);
    assert_eq!(recipient.open().await["password"], source.password);
    scene.stand.wait_rotated("held", SOON).await;
    source.assert_replaced(scene.bao).await;
}

/// The state of the record of a delivery's first attempt, read from the files; `None` for a tombstone.
async fn record_of(stand: &Stand, name: &str) -> Option<State> {
    let ledger = EmbeddedLedger::open(&stand.path("data")).unwrap();
    let entry = ledger.get(&Key::new("default", name)).await.unwrap().unwrap().value;
    let store = EmbeddedStore::open(&stand.path("data/links")).unwrap();
    let record = store.get(entry.attempts[0].record).await.unwrap().expect("a record");
    record.value.link().map(|link| link.state)
}

#[tokio::test]
async fn a_message_in_memory_dies_with_its_process_and_its_link_with_it() {
    let scene = Scene::new("15m").await;
    for (name, graceful) in [("stopped", true), ("killed", false)] {
        let (source, to) = (KvSource::below(scene.bao, &scene.mount).await, format!("{}@v.example", unique("held")));
        scene.smtp.fault(&Fault::reply(Phase::Rcpt, 451, "4.3.0 Later").only_for(&to)).await.unwrap();
        scene.stand.apply(name, &kv_delivery(name, &to, &source, "1h", "1h", Value::Null));
        scene.stand.wait_status(name, "the hold", SOON, |s| s.condition("Delivered").1 == "Sending").await;
        if graceful {
            // Before it ends: nothing under that id can ever be opened, whoever has the message.
            scene.stand.stop();
            assert_eq!(record_of(&scene.stand, name).await, None, "a tombstone");
            assert_eq!(scene.stand.audited(name, "Superseded"), 1);
        } else {
            scene.stand.kill();
            assert_eq!(record_of(&scene.stand, name).await, Some(State::Open));
        }
        assert_eq!(scene.smtp.mails(&to).await.unwrap().len(), 0, "{name}: nobody was told");
        scene.smtp.clear_faults().await.unwrap();
        scene.stand.run().await;
        // A killed owner is waited for: a minute, in which it could still send.
        scene
            .stand
            .wait_status(name, "attempt 2", Duration::from_secs(100), |s| s.attempt() == 2 && s.is("Delivered"))
            .await;
        let (mails, recipient) = scene.settled(name, &to, name).await;
        assert_eq!(mails.len(), 1, "{name}");
        assert_eq!(recipient.open().await["password"], source.password);
    }
}

#[tokio::test]
async fn a_final_refusal_withdraws_the_link_and_waits_for_a_person() {
    let scene = Scene::new("15m").await;
    let (source, to) = (KvSource::below(scene.bao, &scene.mount).await, format!("{}@v.example", unique("nobody")));
    let refusal = Fault::reply(Phase::Rcpt, 550, "5.1.1 No such user").only_for(&to).times(1);
    scene.smtp.fault(&refusal).await.unwrap();
    scene.stand.apply("nobody", &kv_delivery("nobody", &to, &source, "1h", "1h", Value::Null));
    let seen = scene.stand.wait_status("nobody", "the refusal", SOON, |s| s.stalled() == Some("MailRefused")).await;
    assert_eq!((seen.condition("Delivered").0, seen.condition("Delivered").1), ("False", "Refused"));
    assert!(seen.condition("Stalled").2.contains("recipient.email"), "{:?}", seen.condition("Stalled"));
    assert!(source.is_untouched(scene.bao).await, "nobody has seen it");
    assert_eq!(scene.smtp.mails(&to).await.unwrap().len(), 0);
    let again = json!({"redeliver": "2"});
    scene.stand.apply("nobody", &kv_delivery("nobody", &to, &source, "1h", "1s", again));
    let (_, recipient) = scene.settled("nobody", &to, "sent again").await;
    assert_eq!(recipient.open().await["password"], source.password);
}
