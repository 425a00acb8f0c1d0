//! The identity provider in the configuration.

use std::path::PathBuf;

use ps_core::time::Span;
use serde::Deserialize;

use super::{ConfigError, is_safe, span};

/// The OpenID provider at which recipients sign in whose delivery says `verification.oidc`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Oidc {
    /// The issuer, exactly as its discovery document names it. `http://` is for loopback only.
    pub issuer: String,
    /// This installation's name at the provider, a confidential client whose redirect URI is `publicUrl` and a slash.
    pub client_id: String,
    /// File with the client's secret.
    pub client_secret_file: PathBuf,
    /// Where people are asked to sign in: the provider's `authorization_endpoint`. Standalone tells its gateway; in a cluster
    /// gateways have options of their own. Needed by `standalone` only.
    #[serde(default)]
    pub authorization_endpoint: Option<String>,
    /// What is asked for, separated by spaces. Default `openid email`.
    #[serde(default = "default_scope")]
    pub scope: String,
    /// PEM file with the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Longest wait for one answer. Default `10s`.
    #[serde(default = "default_timeout", deserialize_with = "span")]
    pub timeout: Span,
}

fn default_scope() -> String {
    "openid email".to_owned()
}

const fn default_timeout() -> Span {
    Span::from_secs(10)
}

impl Oidc {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let field = |field, why: &str| Err(ConfigError::Field { field, why: why.to_owned() });
        let plain = |text: &str| !text.is_empty() && text.len() <= 2000 && text.bytes().all(|b| b.is_ascii_graphic());
        if !is_safe(&self.issuer) || !plain(&self.issuer) || self.issuer.contains(['#', '?']) {
            return field("oidc.issuer", "an https address without query and fragment (http:// is for loopback only)");
        }
        if !plain(&self.client_id) {
            return field("oidc.clientId", "visible ASCII characters, at most 2000");
        }
        let endpoint = self.authorization_endpoint.as_deref();
        if endpoint.is_some_and(|e| !is_safe(e) || !plain(e) || e.contains('#')) {
            return field("oidc.authorizationEndpoint", "an https address without a fragment");
        }
        if !self.scope.split(' ').any(|s| s == "openid") || !self.scope.split(' ').all(plain) {
            return field("oidc.scope", "words separated by single spaces, openid among them");
        }
        if self.timeout < Span::from_secs(1) || self.timeout > Span::from_secs(30) {
            return field("oidc.timeout", "between 1s and 30s");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oidc() -> Oidc {
        Oidc {
            issuer: "https://id.example.com".into(),
            client_id: "password-sender".into(),
            client_secret_file: "secret".into(),
            authorization_endpoint: Some("https://id.example.com/authorize?x=y".into()),
            scope: default_scope(),
            ca_file: None,
            timeout: default_timeout(),
        }
    }

    #[test]
    fn bad_values_name_their_field() {
        assert!(oidc().check().is_ok());
        type Spoil = fn(&mut Oidc);
        let cases: [(&str, Spoil); 10] = [
            ("oidc.issuer", |o| o.issuer = "http://id.example.com".into()),
            ("oidc.issuer", |o| o.issuer = "http://localhost.example.com".into()),
            ("oidc.issuer", |o| o.issuer = "https://id.example.com?x".into()),
            ("oidc.clientId", |o| o.client_id = String::new()),
            ("oidc.clientId", |o| o.client_id = "a b".into()),
            ("oidc.authorizationEndpoint", |o| o.authorization_endpoint = Some("https://id/#x".into())),
            ("oidc.authorizationEndpoint", |o| o.authorization_endpoint = Some("http://127.0.0.1.example.com/".into())),
            ("oidc.scope", |o| o.scope = "email".into()),
            ("oidc.scope", |o| o.scope = "openid  email".into()),
            ("oidc.timeout", |o| o.timeout = Span::from_secs(31)),
        ];
        for (field, spoil) in cases {
            let mut bad = oidc();
            spoil(&mut bad);
            let told = bad.check().err().map(|e| e.to_string()).unwrap_or_default();
            assert!(told.starts_with(field), "{field}: {told}");
        }
    }
}
