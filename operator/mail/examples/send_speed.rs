//! Measures how many mails per second a mail server takes from one mailer with its four connections:
//! `cargo run -p ps-mail --example send_speed -- PORT USER PASSWORD_FILE CA_FILE RECIPIENT COUNT`.
//! What it finds bounds every measurement of deliveries on that server. Prints a `figure NAME VALUE` line for `cargo xtask bench`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a measuring program: a failure may end it, and it prints its figures"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ps_core::delivery::Recipient;
use ps_core::mail::LinkMail;
use ps_core::ports::{Clock, Mailer as _};
use ps_core::secret::SecretString;
use ps_core::time::{Span, Timestamp};
use ps_mail::{Presentation, SmtpConfig, SmtpMailer, Templates, Timeouts, TlsMode};

const AT: Timestamp = Timestamp::from_secs(1_795_364_649);
/// As many as an operator works on at once.
const WORKERS: usize = 16;

#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        AT
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, user, password, ca, to, count] = arguments.as_slice() else {
        panic!("send_speed PORT USER PASSWORD_FILE CA_FILE RECIPIENT COUNT");
    };
    let read = |path: &str| std::fs::read_to_string(path).unwrap().trim_end().to_owned();
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let config = SmtpConfig {
        host: "localhost".into(),
        port: port.parse().unwrap(),
        tls: TlsMode::Starttls,
        ca_pem: Some(read(ca)),
        server_name: None,
        username: Some(user.clone()),
        password: Some(SecretString::new(read(password))),
        hello_name: "operator.example".into(),
        presentation: Presentation {
            from: "sender@ours.example".into(),
            sender_name: "Platform team".into(),
            public_url: "https://secrets.example".into(),
            templates: Templates::built_in().unwrap(),
        },
        timeouts: Timeouts::default(),
        pool_size: 4,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(send(config, to.clone(), count.parse().unwrap()));
}

fn mail(to: &str, number: usize) -> LinkMail {
    LinkMail {
        to: Recipient { email: to.into(), name: Some("Alice".into()), locale: Some("en".into()) },
        message_id: format!("speed.{number}.{}@ours.example", std::process::id()),
        sender: "Platform team".into(),
        link: SecretString::new("https://secrets.example/#ps1.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8".into()),
        opening_code: SecretString::new("ABCD-EFGH".into()),
        expires_at: AT + Span::from_secs(3600),
        works_for: Some(Span::from_secs(3600)),
        kinds: Vec::new(),
    }
}

async fn send(config: SmtpConfig, to: String, count: usize) {
    let mailer = Arc::new(SmtpMailer::new(config, Arc::new(FixedClock)).unwrap());
    mailer.ready().await.unwrap();
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..WORKERS {
        let (mailer, next, to) = (Arc::clone(&mailer), Arc::clone(&next), to.clone());
        all.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                mailer.send_link(&mail(&to, number)).await.unwrap();
            }
        });
    }
    all.join_all().await;
    println!("figure mails_per_s {:.1}", count as f64 / start.elapsed().as_secs_f64());
    mailer.close().await;
}
