//! The mailer that the configuration asks for.

use std::sync::Arc;

use anyhow::Context as _;
use ps_core::ports::{Clock, Mailer};
use ps_mail::{OutboxMailer, Presentation, SmtpConfig, SmtpMailer, Templates, Timeouts, TlsMode};

use crate::config::{Config, SmtpTls, secret_file};

/// The mailer, and its pool of sessions if it has one, to be closed at the end.
pub(crate) type Mailers = (Arc<dyn Mailer>, Option<Arc<SmtpMailer>>);

/// Makes it; nothing is sent yet.
pub(crate) fn mailer(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Mailers> {
    if let Some(outbox) = &config.outbox {
        let mailer = OutboxMailer::new(outbox, presentation(config)?, clock.clone())?;
        return Ok((Arc::new(mailer), None));
    }
    let smtp = Arc::new(SmtpMailer::new(smtp_config(config)?, clock.clone())?);
    Ok((smtp.clone(), Some(smtp)))
}

/// How mails look, with the templates read and tried.
///
/// # Errors
/// If a template can't be read, or makes no proper mail.
pub fn presentation(config: &Config) -> anyhow::Result<Presentation> {
    let (sender_name, from) = match &config.smtp {
        None => {
            let domain = Some(config.mail_domain()).filter(|domain| domain.contains('.'));
            let domain = domain.unwrap_or_else(|| "localhost.localdomain".into());
            (config.sender.clone(), format!("password-sender@{domain}"))
        }
        Some(smtp) => match smtp.from.split_once('<') {
            Some((name, rest)) => {
                (name.trim().trim_matches('"').to_owned(), rest.trim_end_matches('>').trim().to_owned())
            }
            None => (config.sender.clone(), smtp.from.trim().to_owned()),
        },
    };
    let templates = match &config.mail.templates {
        Some(folder) => Templates::load(folder)?,
        None => Templates::built_in()?,
    };
    Ok(Presentation { from, sender_name, public_url: config.public_url.clone(), templates })
}

/// The mail server's settings, with its secrets and templates read.
///
/// # Errors
/// If a file that the configuration names can't be read.
pub fn smtp_config(config: &Config) -> anyhow::Result<SmtpConfig> {
    let smtp = config.smtp.as_ref().context("smtp: name a mail server")?;
    let ca = smtp
        .ca_file
        .as_ref()
        .map(|p| std::fs::read_to_string(p).with_context(|| format!("smtp.caFile: {}", p.display())));
    let limit = smtp.timeout.to_std();
    let default = Timeouts::default();
    let timeouts = Timeouts {
        connect: default.connect.min(limit),
        command: default.command.min(limit),
        data: default.data.min(limit),
        session: default.session.min(limit),
    };
    Ok(SmtpConfig {
        host: smtp.host.clone(),
        port: smtp.port.unwrap_or(if smtp.tls == SmtpTls::Implicit { 465 } else { 587 }),
        tls: if smtp.tls == SmtpTls::Implicit { TlsMode::Implicit } else { TlsMode::Starttls },
        ca_pem: ca.transpose()?,
        server_name: None,
        username: smtp.username.clone(),
        password: smtp.password_file.as_deref().map(secret_file).transpose()?,
        hello_name: config.mail_domain(),
        presentation: presentation(config)?,
        timeouts,
        pool_size: 4,
    })
}
