//! One testbed for many tests: started by `cargo xtask test` and named in the environment, or by the first test that
//! asks.

use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::browser::Browser;
use crate::kubernetes::{Cluster, ClusterOptions};
use crate::openbao::OpenBao;
use crate::postgres::Postgres;
use crate::smtp::{SmtpOptions, SmtpServer};

/// Names a running testbed: the JSON of an [`Environment`], or the path of a file that holds it.
pub const ENVIRONMENT_VARIABLE: &str = "PS_TESTBED";

/// Where the servers of a testbed are, and how to get in. These are secrets of servers that only tests use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// If one runs.
    pub openbao: Option<OpenBaoAddress>,
    /// If one runs.
    pub postgres: Option<PostgresAddress>,
    /// If one runs.
    pub smtp: Option<SmtpAddress>,
    /// If one runs.
    pub cluster: Option<ClusterAddress>,
}

/// See [`OpenBao`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenBaoAddress {
    /// `http://127.0.0.1:PORT`.
    pub address: String,
    /// The root token.
    pub root_token: String,
}

/// See [`Postgres`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostgresAddress {
    /// On 127.0.0.1.
    pub port: u16,
    /// The superuser.
    pub admin_user: String,
    /// The superuser's password.
    pub admin_password: String,
}

/// See [`SmtpServer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmtpAddress {
    /// SMTP with STARTTLS, on 127.0.0.1.
    pub port: u16,
    /// SMTP over TLS.
    pub tls_port: u16,
    /// Mails and faults, over HTTP.
    pub control_port: u16,
    /// The login's user.
    pub user: String,
    /// The login's password.
    pub password: String,
    /// The CA to trust, a PEM file.
    pub ca_path: PathBuf,
}

/// See [`Cluster`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterAddress {
    /// The API server, `https://127.0.0.1:PORT`.
    pub server: String,
    /// etcd, `http://127.0.0.1:PORT`.
    pub etcd: String,
    /// The token of `admin`.
    pub admin_token: String,
    /// The CA, the kubeconfigs, etcd's data and the audit log.
    pub folder: PathBuf,
}

/// Servers that tests share; each starts when it is first asked for.
#[derive(Debug, Default)]
pub struct Testbed {
    elsewhere: Environment,
    bao: OnceCell<OpenBao>,
    postgres: OnceCell<Postgres>,
    smtp: OnceCell<SmtpServer>,
    browser: OnceCell<Browser>,
    cluster: OnceCell<Cluster>,
}

impl Testbed {
    /// The one testbed of this process: the servers that `PS_TESTBED` names, and its own for what is not named.
    ///
    /// # Errors
    /// If `PS_TESTBED` can't be read.
    pub fn connect_or_start() -> Result<&'static Self> {
        static SHARED: OnceLock<Testbed> = OnceLock::new();
        if let Some(shared) = SHARED.get() {
            return Ok(shared);
        }
        let elsewhere = match std::env::var(ENVIRONMENT_VARIABLE) {
            Ok(value) if !value.is_empty() => Environment::parse(&value)?,
            _ => Environment::default(),
        };
        Ok(SHARED.get_or_init(|| Self { elsewhere, ..Self::default() }))
    }

    /// Servers of their own, ended when dropped.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// OpenBao in memory.
    ///
    /// # Errors
    /// If it can't be started.
    pub async fn bao(&self) -> Result<&OpenBao> {
        let start = async || match &self.elsewhere.openbao {
            Some(at) => Ok(OpenBao::connect(at)),
            None => OpenBao::dev().await,
        };
        self.bao.get_or_try_init(start).await
    }

    /// PostgreSQL.
    ///
    /// # Errors
    /// If it can't be started.
    pub async fn postgres(&self) -> Result<&Postgres> {
        let start = async || match &self.elsewhere.postgres {
            Some(at) => Postgres::connect(at),
            None => Postgres::start().await,
        };
        self.postgres.get_or_try_init(start).await
    }

    /// A mail server with the default options. For faults, see [`SmtpServer::fault`].
    ///
    /// # Errors
    /// If it can't be started.
    pub async fn smtp(&self) -> Result<&SmtpServer> {
        let start = async || match &self.elsewhere.smtp {
            Some(at) => Ok(SmtpServer::connect(at.clone())),
            None => SmtpServer::start(SmtpOptions::default()).await,
        };
        self.smtp.get_or_try_init(start).await
    }

    /// Chromium.
    ///
    /// # Errors
    /// If it can't be installed.
    pub async fn browser(&self) -> Result<&Browser> {
        self.browser.get_or_try_init(Browser::find).await
    }

    /// A Kubernetes API with the default options. A test that stops or restores one starts its own
    /// ([`Cluster::start`]); so does one that reads all of the audit log.
    ///
    /// # Errors
    /// If it can't be installed or started.
    pub async fn cluster(&self) -> Result<&Cluster> {
        let start = async || match &self.elsewhere.cluster {
            Some(at) => Ok(Cluster::connect(at)),
            None => Cluster::start(ClusterOptions::default()).await,
        };
        self.cluster.get_or_try_init(start).await
    }

    /// What is started by now, for other processes.
    #[must_use]
    pub fn environment(&self) -> Environment {
        Environment {
            openbao: self.bao.get().map(OpenBao::environment),
            postgres: self.postgres.get().map(Postgres::environment),
            smtp: self.smtp.get().map(SmtpServer::environment),
            cluster: self.cluster.get().map(Cluster::environment),
        }
    }
}

impl Environment {
    /// From the value of `PS_TESTBED`: JSON, or the path of a file with it.
    ///
    /// # Errors
    /// If it is neither.
    pub fn parse(value: &str) -> Result<Self> {
        let text = if value.trim_start().starts_with('{') {
            value.to_owned()
        } else {
            std::fs::read_to_string(value).with_context(|| format!("{ENVIRONMENT_VARIABLE} names the file {value}"))?
        };
        serde_json::from_str(&text).with_context(|| format!("{ENVIRONMENT_VARIABLE} is not a testbed's environment"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_survives_its_json() {
        let environment = Environment {
            openbao: Some(OpenBaoAddress { address: "http://127.0.0.1:1".into(), root_token: "t".into() }),
            ..Environment::default()
        };
        let json = serde_json::to_string(&environment).unwrap();
        assert_eq!(Environment::parse(&json).unwrap(), environment);
        assert!(Environment::parse("/no/such/file").is_err());
    }
}
