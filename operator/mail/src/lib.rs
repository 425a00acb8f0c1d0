//! Mail: the words, the message, and the way to the server. The only crate that names lettre.
//!
//! The key material `S` is stored nowhere (invariant 2). Here it exists twice while a mail is sent, both wiped when
//! dropped: in [`ps_core::mail::LinkMail`], and in the finished message. The templates never see it: they are rendered
//! with marks in its place, and the link is put in when the message is assembled. What lettre is given would be copied
//! and logged (its `tracing` feature is off for that reason), so the message and the login go past it, straight into the
//! TLS stream, which encrypts them in place.
//!
//! Where to start: [`SmtpMailer`] is the mailer, [`OutboxMailer`] the stand-in for trying things out. What mails say is in
//! `src/language`, one file for each language; how they look, in `templates/`. [`Templates`] lets a folder replace those.
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a panic in a test is its failure report"))]

mod address;
mod body;
mod compose;
mod config;
mod failure;
mod header;
mod language;
mod outbox;
mod pool;
mod preview;
mod session;
mod smtp;
mod templates;
mod tls;
mod wiped;
mod wire;
mod wrap;

pub use address::{Address, AddressError, display_name};
pub use config::{Presentation, SmtpConfig, Timeouts, TlsMode};
pub use language::Language;
pub use outbox::OutboxMailer;
pub use preview::{Preview, preview};
pub use smtp::SmtpMailer;
pub use templates::{Kind, Templates};
