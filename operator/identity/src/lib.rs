//! Sign-ins at an OpenID provider. The operator is the confidential client: the recipient's page gets an authorization code,
//! and this crate makes of it a yes or no.
//!
//! [`Provider`] is the port [`ps_core::ports::Identities`]: discovery (OpenID Connect Discovery 1.0), code exchange with the
//! PKCE verifier (RFC 6749, RFC 7636), and the identity token (OpenID Connect Core 1.0, 3.1.3.7). [`Nobody`] is that port
//! where no provider is configured.
//!
//! What a provider says never gets into an error: its words could name people.
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a panic in a test is its failure report"))]

mod address;
mod fault;
mod http;
mod provider;
mod token;

pub use provider::{Nobody, Provider, ProviderConfig};
