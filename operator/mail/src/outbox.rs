//! A folder instead of a mail server, for trying things out.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use ps_core::error::{Class, Fault};
use ps_core::mail::{CodeMail, LinkMail, NoticeMail};
use ps_core::ports::{Clock, MailError, Mailer};

use crate::compose::{Composer, Message};

/// Writes each mail into a folder, as `<Message-ID>.eml` with mode 0600, instead of sending it.
///
/// **For trying things out only.** It stores links at rest, which is what everything else here avoids (invariant 2):
/// whoever reads the folder, or a backup of it, can open what was "sent". It says so in the log when it is made.
pub struct OutboxMailer {
    composer: Composer,
    folder: PathBuf,
    clock: Arc<dyn Clock>,
}

impl OutboxMailer {
    /// A mailer that writes into `folder`, which is made (0700) if it is missing.
    ///
    /// # Errors
    /// Misconfigured if `from` is not an address, or the folder can't be made.
    pub fn new(folder: &Path, from: &str, sender_name: &str, clock: Arc<dyn Clock>) -> Result<Self, Fault> {
        let composer = Composer::new(from, sender_name)?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|e| outbox_fault(Class::Misconfigured, &e).field("outbox"))?;
        tracing::warn!(
            folder = %folder.display(),
            "mail is not sent but written to a folder: links are stored at rest there; use this for trying things out only"
        );
        Ok(Self { composer, folder: folder.to_owned(), clock })
    }

    async fn put(&self, message: Message) -> Result<(), MailError> {
        // A Message-ID is a dot-atom and a host name; of these only the slash means something in a file's name.
        let path = self.folder.join(format!("{}.eml", message.id.replace('/', "_")));
        let written = tokio::task::spawn_blocking(move || write(&path, &message)).await;
        let written = written.unwrap_or_else(|e| Err(io::Error::other(e)));
        written.map_err(|e| MailError::NotSent(outbox_fault(Class::Transient, &e)))
    }
}

/// Whole or not at all: first under another name. A second sending replaces the first.
fn write(path: &Path, message: &Message) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(message.bytes.expose())?;
    fs::rename(&draft, path)
}

#[async_trait]
impl Mailer for OutboxMailer {
    async fn ready(&self) -> Result<(), MailError> {
        match tokio::fs::metadata(&self.folder).await {
            Ok(meta) if meta.is_dir() => Ok(()),
            Ok(_) => Err(MailError::NotSent(outbox_fault(Class::Misconfigured, &io::ErrorKind::NotADirectory.into()))),
            Err(error) => Err(MailError::NotSent(outbox_fault(Class::Transient, &error))),
        }
    }

    async fn send_link(&self, mail: &LinkMail) -> Result<(), MailError> {
        let message = self.composer.link(mail, self.clock.now()).map_err(MailError::Refused)?;
        self.put(message).await
    }

    async fn send_code(&self, mail: &CodeMail) -> Result<(), MailError> {
        let message = self.composer.code(mail, self.clock.now()).map_err(MailError::Refused)?;
        self.put(message).await
    }

    async fn send_notice(&self, mail: &NoticeMail) -> Result<(), MailError> {
        let message = self.composer.notice(mail, self.clock.now()).map_err(MailError::Refused)?;
        self.put(message).await
    }
}

fn outbox_fault(class: Class, error: &io::Error) -> Fault {
    let message = format!("the outbox folder can't be written: {}", error.kind());
    Fault::new(class, "mail-outbox", message).remedy("name a folder that the operator may write")
}
