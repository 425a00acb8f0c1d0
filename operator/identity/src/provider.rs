//! The provider: discovery and keys, remembered for a while; the exchange of a code.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::JwkSet;
use ps_core::error::Fault;
use ps_core::link::verification::SignInRefusal;
use ps_core::ports::{Clock, Identities, SignIn};
use ps_core::secret::SecretString;
use ps_core::time::{Span, Timestamp};
use reqwest::{Client, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::token::{Expected, Verdict, judge};
use crate::{fault, http};

/// How long discovery and keys are believed.
const REMEMBERED: Span = Span::from_secs(3600);
/// The shortest time between two looks for keys that are not known: a token of anybody's can ask for one.
const KEYS_GAP: Span = Span::from_secs(60);

/// How the provider is reached, and as whom.
#[derive(Debug)]
pub struct ProviderConfig {
    /// The issuer, exactly as its discovery document names it: `https://id.example.com`. `http://` is for loopback only.
    pub issuer: String,
    /// This installation's name at the provider.
    pub client_id: String,
    /// Its secret there.
    pub client_secret: SecretString,
    /// Where the provider sends people back to: PUBLIC_URL and a slash.
    pub redirect_uri: String,
    /// PEM of the authorities to trust; `None` for the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Longest wait for one answer.
    pub timeout: Duration,
}

/// The port where no provider is configured.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

#[async_trait]
impl Identities for Nobody {
    async fn ready(&self) -> Result<(), Fault> {
        Err(fault::not_configured())
    }

    async fn sign_in(&self, _: &SignIn<'_>) -> Result<Result<(), SignInRefusal>, Fault> {
        Err(fault::not_configured())
    }
}

/// An OpenID provider.
pub struct Provider {
    config: ProviderConfig,
    http: Client,
    clock: Arc<dyn Clock>,
    known: Mutex<Option<Arc<Known>>>,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider").field("issuer", &self.config.issuer).finish_non_exhaustive()
    }
}

/// What was discovered.
struct Known {
    token_endpoint: String,
    basic: bool,
    keys: JwkSet,
    at: Timestamp,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Provider {
    /// A provider; nothing is sent yet.
    ///
    /// # Errors
    /// Misconfigured if the issuer is no https address, or the authorities can't be used.
    pub fn new(config: ProviderConfig, clock: Arc<dyn Clock>) -> Result<Self, Fault> {
        if !secure(&config.issuer) {
            return Err(fault::odd("issuer", "it must begin with https:// (http:// is for loopback only)"));
        }
        let http = http::client(config.ca_pem.as_deref(), config.timeout)?;
        Ok(Self { config, http, clock, known: Mutex::default() })
    }

    /// What is known, discovered anew after an hour, or where it is older than `than`. Concurrent callers wait for one look.
    async fn known(&self, than: Option<Timestamp>) -> Result<Arc<Known>, Fault> {
        let mut known = self.known.lock().await;
        let now = self.clock.now();
        let fresh = |k: &&Arc<Known>| {
            let age = now.since(k.at);
            age < REMEMBERED && age >= Span::ZERO && than.is_none_or(|than| k.at > than)
        };
        if let Some(known) = known.as_ref().filter(fresh) {
            return Ok(known.clone());
        }
        let found = Arc::new(self.discover(now).await?);
        *known = Some(found.clone());
        Ok(found)
    }

    async fn discover(&self, now: Timestamp) -> Result<Known, Fault> {
        const WHAT: &str = "discovery document";
        let issuer = &self.config.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let body = http::get(&self.http, &url, WHAT).await?;
        let found: Discovery = serde_json::from_slice(&body).map_err(|_| fault::odd(WHAT, "it is not one"))?;
        if found.issuer != *issuer {
            return Err(fault::odd(WHAT, "it names another issuer"));
        }
        if !secure(&found.token_endpoint) || !secure(&found.jwks_uri) {
            return Err(fault::odd(WHAT, "an endpoint is not https"));
        }
        let body = http::get(&self.http, &found.jwks_uri, "keys").await?;
        let keys = read_keys(&body).ok_or_else(|| fault::odd("keys", "it is no set of keys"))?;
        // The default of the specification where nothing is said.
        let methods = found.token_endpoint_auth_methods_supported;
        let basic = methods.is_none_or(|all| all.iter().any(|m| m == "client_secret_basic"));
        Ok(Known { token_endpoint: found.token_endpoint, basic, keys, at: now })
    }

    /// Exchanges the code; the identity token, or a refusal.
    async fn exchange(&self, known: &Known, answer: &SignIn<'_>) -> Result<Result<SecretString, SignInRefusal>, Fault> {
        const WHAT: &str = "token endpoint";
        let ProviderConfig { client_id, client_secret, redirect_uri, .. } = &self.config;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", answer.code),
            ("code_verifier", answer.verifier),
            ("redirect_uri", redirect_uri),
        ];
        let basic = known.basic.then(|| basic(client_id, client_secret));
        if basic.is_none() {
            form.extend([("client_id", client_id.as_str()), ("client_secret", client_secret.expose())]);
        }
        let posted = http::post(&self.http, &known.token_endpoint, encoded(&form), basic.as_ref(), WHAT).await?;
        match posted.status {
            200 => match serde_json::from_slice::<Tokens>(&posted.body) {
                Ok(Tokens { id_token: Some(token) }) => Ok(Ok(SecretString::new(token))),
                Ok(_) => Err(fault::odd(WHAT, "it gives no identity token; does the scope hold openid?")),
                Err(_) => Err(fault::odd(WHAT, "its answer is none")),
            },
            400 | 401 | 403 => {
                let error = serde_json::from_slice::<Refusal>(&posted.body).map(|r| r.error).unwrap_or_default();
                match error.as_str() {
                    "invalid_client" | "unauthorized_client" | "unsupported_grant_type" => Err(fault::client_refused()),
                    _ if posted.status != 400 => Err(fault::client_refused()),
                    _ => Ok(Err(SignInRefusal::SignIn)),
                }
            }
            status @ (429 | 500..) => Err(fault::unreachable(WHAT, &format!("status {status}"))),
            status => Err(fault::odd(WHAT, &format!("status {status}"))),
        }
    }
}

#[async_trait]
impl Identities for Provider {
    async fn ready(&self) -> Result<(), Fault> {
        Ok(())
    }

    async fn sign_in(&self, answer: &SignIn<'_>) -> Result<Result<(), SignInRefusal>, Fault> {
        let mut known = self.known(None).await?;
        let token = match self.exchange(&known, answer).await? {
            Ok(token) => token,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let expected = Expected {
            issuer: &self.config.issuer,
            client_id: &self.config.client_id,
            nonce: &answer.nonce,
            email: answer.email,
        };
        let mut verdict = judge(token.expose(), &known.keys, &expected, self.clock.now());
        if verdict == Verdict::UnknownKey && self.clock.now().since(known.at) >= KEYS_GAP {
            // Keys are rotated now and then.
            known = self.known(Some(known.at)).await?;
            verdict = judge(token.expose(), &known.keys, &expected, self.clock.now());
        }
        Ok(match verdict {
            Verdict::Passed => Ok(()),
            Verdict::Refused(why) => Err(why),
            Verdict::UnknownKey => Err(SignInRefusal::SignIn),
        })
    }
}

/// Keys that are not whole are left out, and those of unknown kinds sign nothing ([`judge`]): a set may hold some.
fn read_keys(body: &[u8]) -> Option<JwkSet> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(body).ok()?;
    Some(JwkSet { keys: set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect() })
}

/// TLS, or this machine.
fn secure(address: &str) -> bool {
    let Ok(url) = Url::parse(address) else { return false };
    let loopback = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

/// RFC 6749, 2.3.1: both parts form-encoded first.
fn basic(id: &str, secret: &SecretString) -> SecretString {
    let one = |text: &str| {
        let encoded = encoded(&[("", text)]);
        SecretString::new(encoded.expose().trim_start_matches('=').to_owned())
    };
    let pair = SecretString::new(format!("{}:{}", one(id).expose(), one(secret.expose()).expose()));
    SecretString::new(format!("Basic {}", STANDARD.encode(pair.expose())))
}

/// `application/x-www-form-urlencoded`.
fn encoded(form: &[(&str, &str)]) -> SecretString {
    let mut out = String::with_capacity(4096);
    for (name, value) in form {
        if !out.is_empty() {
            out.push('&');
        }
        push_encoded(&mut out, name);
        out.push('=');
        push_encoded(&mut out, value);
    }
    SecretString::new(out)
}

fn push_encoded(out: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._*".contains(&byte) {
            out.push(char::from(byte));
            continue;
        }
        out.push('%');
        for nibble in [byte >> 4, byte & 15] {
            out.push(HEX.get(usize::from(nibble)).copied().map_or('0', char::from));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_encodings() {
        for (address, fine) in [
            ("https://id.example.com/realms/x", true),
            ("http://127.0.0.1:9000", true),
            ("http://localhost/x", true),
            ("http://id.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("ftp://127.0.0.1", false),
            ("id.example.com", false),
        ] {
            assert_eq!(secure(address), fine, "{address}");
        }
        assert_eq!(encoded(&[("a", "b c&d=é"), ("e", "")]).expose(), "a=b%20c%26d%3D%C3%A9&e=");
        // RFC 7617's own example of a header's form, with the encoding of RFC 6749.
        assert_eq!(
            basic("Aladdin", &SecretString::new("open:sesame".into())).expose(),
            format!("Basic {}", STANDARD.encode("Aladdin:open%3Asesame"))
        );
    }

    #[test]
    fn odd_keys_do_not_spoil_a_set() {
        let set = br#"{"keys":[{"kty":"XYZ"},{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"1"},{"kty":"RSA"},7]}"#;
        let found = read_keys(set).unwrap();
        assert!(found.keys.iter().any(|key| key.common.key_id.as_deref() == Some("1")), "{found:?}");
        assert!(read_keys(b"[]").is_none());
    }
}
