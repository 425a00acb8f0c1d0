//! The folder for trying things out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is the failure report"
)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use common::{FixedClock, LINK, link_mail, presentation};
use ps_core::ports::{MailError, Mailer};
use ps_mail::OutboxMailer;

#[tokio::test]
async fn each_mail_is_a_private_file_and_a_second_sending_replaces_it() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("new/outbox");
    let outbox = OutboxMailer::new(&folder, presentation("demo@localhost", "Demo"), Arc::new(FixedClock)).unwrap();
    outbox.ready().await.unwrap();
    let mail = link_mail("alice@vendor.example");
    for _ in 0..2 {
        outbox.send_link(&mail).await.unwrap();
    }
    let files = std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path()).collect::<Vec<_>>();
    assert_eq!(files, [folder.join(format!("{}.eml", mail.message_id))]);
    let text = std::fs::read_to_string(&files[0]).unwrap();
    assert!(text.contains(LINK) && text.contains("To: =?utf-8?B?"), "{text}");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&files[0]), mode(&folder)), (0o600, 0o700));
}

#[tokio::test]
async fn it_refuses_what_a_server_would_never_see_and_says_when_it_can_not_write() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("outbox");
    let outbox = OutboxMailer::new(&folder, presentation("demo@localhost", ""), Arc::new(FixedClock)).unwrap();
    assert!(matches!(outbox.send_link(&link_mail("no address")).await, Err(MailError::Refused(_))));
    std::fs::remove_dir(&folder).unwrap();
    assert!(matches!(outbox.ready().await, Err(MailError::NotSent(_))));
    assert!(matches!(outbox.send_link(&link_mail("a@b.example")).await, Err(MailError::NotSent(_))));
    assert!(OutboxMailer::new(&folder, presentation("nobody", ""), Arc::new(FixedClock)).is_err());
}
