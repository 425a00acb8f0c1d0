//! The mailer that speaks to a mail server.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use lettre::transport::smtp::extension::ClientId;
use ps_core::error::Fault;
use ps_core::mail::{CodeMail, LinkMail, NoticeMail};
use ps_core::ports::{Clock, MailError, Mailer};
use tokio::time::Instant;

use crate::compose::{Composer, Message};
use crate::config::{SmtpConfig, Timeouts};
use crate::failure::Failure;
use crate::pool::Pool;
use crate::session::Dialer;
use crate::tls::{client_config, server_name};

/// Sends mail through one server, over at most four connections.
///
/// A send takes at most `timeouts.session + timeouts.data`. It tries once: retries are the caller's, by the error's class;
/// only a connection from the pool that turns out to be closed is replaced silently, before anything was said about a
/// recipient. Dropping the future before it is done closes the connection.
pub struct SmtpMailer {
    composer: Composer,
    pool: Arc<Pool>,
    timeouts: Timeouts,
    clock: Arc<dyn Clock>,
}

impl SmtpMailer {
    /// A mailer; connects to nothing yet. `clock` gives the messages their dates.
    ///
    /// # Errors
    /// Misconfigured, with the field.
    pub fn new(config: SmtpConfig, clock: Arc<dyn Clock>) -> Result<Self, Fault> {
        config.check()?;
        let composer = Composer::new(&config.from, &config.sender_name)?;
        let dialer = Dialer {
            server_name: server_name(config.server_name.as_deref().unwrap_or(&config.host))?,
            tls: client_config(config.ca_pem.as_deref())?,
            login: config.username.zip(config.password),
            hello: ClientId::Domain(config.hello_name),
            host: config.host,
            port: config.port,
            mode: config.tls,
            timeouts: config.timeouts,
        };
        let pool = Pool::new(dialer, config.pool_size);
        Ok(Self { composer, pool, timeouts: config.timeouts, clock })
    }

    /// Ends the idle connections, each within two seconds. For a shutdown.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn send(&self, message: &Message) -> Result<(), MailError> {
        let outcome = self.try_send(message).await;
        let (id, to) = (&message.id, message.to.domain());
        match &outcome {
            Ok(()) => tracing::debug!(message_id = %id, domain = %to, "mail accepted"),
            Err(failure) => {
                tracing::debug!(message_id = %id, domain = %to, phase = ?failure.phase, cause = ?failure.cause, "mail not accepted")
            }
        }
        outcome.map_err(Failure::into_error)
    }

    async fn try_send(&self, message: &Message) -> Result<(), Failure> {
        let deadline = Instant::now() + self.timeouts.session;
        let mut lease = self.pool.lease(deadline).await?;
        let mut outcome = lease.session.send(message, self.timeouts, deadline).await;
        if lease.reused && outcome.as_ref().is_err_and(Failure::is_stale) {
            lease = self.pool.renew(lease, deadline).await?;
            outcome = lease.session.send(message, self.timeouts, deadline).await;
        }
        let reusable = match &outcome {
            Ok(()) => true,
            Err(failure) => !failure.ends_session() && lease.session.reset().await,
        };
        if reusable {
            self.pool.give_back(lease);
        }
        outcome
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn ready(&self) -> Result<(), MailError> {
        let lease = self.pool.lease(Instant::now() + self.timeouts.session).await.map_err(Failure::into_error)?;
        self.pool.give_back(lease);
        Ok(())
    }

    async fn send_link(&self, mail: &LinkMail) -> Result<(), MailError> {
        let message = self.composer.link(mail, self.clock.now()).map_err(MailError::Refused)?;
        self.send(&message).await
    }

    async fn send_code(&self, mail: &CodeMail) -> Result<(), MailError> {
        let message = self.composer.code(mail, self.clock.now()).map_err(MailError::Refused)?;
        self.send(&message).await
    }

    async fn send_notice(&self, mail: &NoticeMail) -> Result<(), MailError> {
        let message = self.composer.notice(mail, self.clock.now()).map_err(MailError::Refused)?;
        self.send(&message).await
    }
}

impl fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dialer = &self.pool.dialer;
        f.debug_struct("SmtpMailer").field("host", &dialer.host).field("port", &dialer.port).finish_non_exhaustive()
    }
}
