//! Real servers for tests, on free loopback ports: [`Cluster`] (a Kubernetes API), [`OpenBao`], [`Postgres`],
//! [`SmtpServer`], [`Browser`].
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let testbed = ps_testbed::Testbed::connect_or_start()?; // one per process, or the one that PS_TESTBED names
//! let bao = testbed.bao().await?;
//! let mount = ps_testbed::unique("kv"); // a mount, a database user and a mailbox of its own for each test
//! bao.mount_kv2(&mount).await?;
//! # Ok(()) }
//! ```
//!
//! [`HttpProxy`] stands between a client and one of them, and loses or spoils answers; [`ApiProxy`] does it in front of
//! the Kubernetes API.
//!
//! A test that seals, kills or faults a server starts one of its own ([`OpenBao::raft`], [`SmtpServer::start`],
//! [`OidcServer::start`], [`Cluster::start`]).
//! Every server is a child that dies with this process, even if it is killed; what it writes lies under
//! `target/testbed/run` and goes with it, its log stays in `target/testbed/log`. Nothing skips: a missing piece is
//! installed (`install`), or the error names the command that gets it.

mod api_proxy;
mod browser;
mod dirs;
mod http;
pub mod install;
mod install_go;
mod install_vault;
mod kubernetes;
mod kubernetes_api;
mod kubernetes_apply;
mod kubernetes_audit;
mod kubernetes_bao;
mod kubernetes_etcd;
mod kubernetes_files;
mod memory;
mod oidc;
mod openbao;
mod openbao_api;
mod openbao_nodes;
mod openbao_plugin;
mod ports;
mod postgres;
pub mod process;
mod proxy;
mod proxy_rules;
mod proxy_wire;
mod shared;
mod smtp;
mod smtp_fault;
mod tls;
mod vendor;
mod wait;

pub use api_proxy::ApiProxy;
pub use browser::{Browser, Report, Request, Screen};
pub use dirs::{RunDir, log_dir, state_dir, unique, workspace};
pub use install_go::KUBERNETES_VERSION;
pub use kubernetes::{AuditLevel, Cluster, ClusterOptions};
pub use kubernetes_api::Finished;
pub use kubernetes_audit::AuditEvent;
pub use kubernetes_bao::KubernetesRole;
pub use memory::{holds_bytes, memory_of};
pub use oidc::{OidcCounts, OidcServer};
pub use openbao::OpenBao;
pub use openbao_api::{AppRole, KvVersion, Token, TokenOptions};
pub use openbao_nodes::OpenBaoNodes;
pub use ports::{free_port, free_port_pair};
pub use postgres::Postgres;
pub use proxy::HttpProxy;
pub use proxy_rules::{ProxyAction, ProxyRequest, ProxyRule};
pub use shared::{ENVIRONMENT_VARIABLE, Environment, Testbed};
pub use smtp::{Mail, SmtpEvent, SmtpOptions, SmtpServer};
pub use smtp_fault::{Fault, Phase};
pub use tls::{Certificates, ServerName};
pub use vendor::{VENDOR_VARIABLE, Vendor};
pub use wait::wait_until;
