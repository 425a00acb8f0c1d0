//! Sign-ins at a real OpenID provider: the right one, and each that is not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ps_core::error::{Class, Fault};
use ps_core::link::verification::SignInRefusal;
use ps_core::ports::{Clock, Identities, SignIn};
use ps_core::secret::SecretString;
use ps_core::time::{Span, Timestamp};
use ps_identity::{Nobody, Provider, ProviderConfig};
use ps_testbed::OidcServer;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const HOME: &str = "https://links.example/";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const NONCE: &str = "the-nonce-of-this-link-and-this-browser";
const ALICE: &str = "alice@vendor.example";

/// The real time, and what a test adds to it.
#[derive(Default)]
struct Shifted(AtomicI64);

impl Clock for Shifted {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let millis = i64::try_from(since.as_millis()).unwrap();
        Timestamp::from_millis(millis + self.0.load(Ordering::SeqCst))
    }
}

struct Stand {
    server: OidcServer,
    provider: Provider,
    clock: Arc<Shifted>,
}

impl Stand {
    async fn start(auth_method: &str) -> Self {
        let server = OidcServer::start(HOME, auth_method).await.unwrap();
        let clock = Arc::new(Shifted::default());
        let provider = Provider::new(config(&server), clock.clone()).unwrap();
        Self { server, provider, clock }
    }

    async fn behave(&self, behaviour: Value) {
        let mut whole = json!({"email": ALICE, "emailVerified": true});
        for (name, value) in behaviour.as_object().unwrap() {
            whole[name] = value.clone();
        }
        self.server.behave(&whole).await.unwrap();
    }

    /// An authorization code, as the recipient's page gets it.
    async fn code(&self, nonce: &str) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
        let parameters = [
            ("response_type", "code"),
            ("client_id", self.server.client_id()),
            ("scope", "openid email"),
            ("redirect_uri", HOME),
            ("state", "tab"),
            ("nonce", nonce),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
        ];
        let back = self.server.sign_in(&parameters).await.unwrap();
        let of = |name: &str| back.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        assert_eq!(of("state").as_deref(), Some("tab"));
        of("code").unwrap()
    }

    async fn check(&self, code: &str, verifier: &str) -> Result<Result<(), SignInRefusal>, Fault> {
        self.provider.sign_in(&SignIn { code, verifier, nonce: NONCE.into(), email: ALICE }).await
    }

    async fn sign_in(&self) -> Result<Result<(), SignInRefusal>, Fault> {
        let code = self.code(NONCE).await;
        self.check(&code, VERIFIER).await
    }
}

fn config(server: &OidcServer) -> ProviderConfig {
    ProviderConfig {
        issuer: server.issuer().to_owned(),
        client_id: server.client_id().to_owned(),
        client_secret: SecretString::new(server.client_secret().to_owned()),
        redirect_uri: HOME.to_owned(),
        ca_pem: None,
        timeout: Duration::from_secs(2),
    }
}

const fn refused(why: SignInRefusal) -> Result<Result<(), SignInRefusal>, Fault> {
    Ok(Err(why))
}

#[tokio::test]
async fn the_recipient_signs_in_with_either_way_of_authenticating_the_client() {
    for method in ["client_secret_basic", "client_secret_post"] {
        let stand = Stand::start(method).await;
        for behaviour in [json!({}), json!({"email": "alice@VENDOR.example"}), json!({"emailVerified": "true"})] {
            stand.behave(behaviour.clone()).await;
            assert_eq!(stand.sign_in().await, Ok(Ok(())), "{method} {behaviour}");
        }
        let counts = stand.server.counts().await.unwrap();
        assert_eq!((counts.discovery, counts.keys, counts.token), (1, 1, 3), "discovery and keys are remembered");
    }
}

#[tokio::test]
async fn every_other_account_and_every_forged_token_is_refused() {
    use SignInRefusal::{Email, SignIn as Bad, Unverified};
    let stand = Stand::start("client_secret_basic").await;
    let now = stand.clock.now().as_millis() / 1000;
    let client = stand.server.client_id().to_owned();
    for (behaviour, why) in [
        (json!({"email": "bob@vendor.example"}), Email),
        (json!({"email": "Alice@vendor.example"}), Email),
        (json!({"emailVerified": false}), Unverified),
        (json!({"emailVerified": null}), Unverified),
        (json!({"emailVerified": "yes"}), Unverified),
        (json!({"claims": {"email": null}}), Unverified),
        (json!({"claims": {"nonce": "another-link's"}}), Bad),
        (json!({"claims": {"nonce": null}}), Bad),
        (json!({"claims": {"aud": "another-client"}}), Bad),
        (json!({"claims": {"aud": ["another-client"]}}), Bad),
        (json!({"claims": {"aud": [client.clone(), "another-client"]}}), Bad),
        (json!({"claims": {"aud": null}}), Bad),
        (json!({"claims": {"azp": "another-client"}}), Bad),
        (json!({"claims": {"iss": "https://other.example"}}), Bad),
        (json!({"claims": {"iss": null}}), Bad),
        (json!({"claims": {"exp": now - 120}}), Bad),
        (json!({"claims": {"exp": null}}), Bad),
        (json!({"claims": {"iat": now + 600}}), Bad),
        (json!({"claims": {"exp": "soon"}}), Bad),
        (json!({"sign": "otherKey"}), Bad),
        (json!({"sign": "unknownKey"}), Bad),
        (json!({"sign": "none"}), Bad),
        (json!({"sign": "hmac"}), Bad),
    ] {
        stand.behave(behaviour.clone()).await;
        assert_eq!(stand.sign_in().await, refused(why), "{behaviour}");
    }
    stand.behave(json!({"claims": {"aud": [client.clone(), "another-client"], "azp": client}})).await;
    assert_eq!(stand.sign_in().await, Ok(Ok(())), "several audiences, and it was made for us");
}

#[tokio::test]
async fn a_code_is_for_one_verifier_one_nonce_and_one_time() {
    let stand = Stand::start("client_secret_basic").await;
    stand.behave(json!({})).await;
    let code = stand.code(NONCE).await;
    assert_eq!(stand.check(&code, &"x".repeat(43)).await, refused(SignInRefusal::SignIn), "another browser's verifier");
    let code = stand.code(NONCE).await;
    assert_eq!(stand.check(&code, VERIFIER).await, Ok(Ok(())));
    assert_eq!(stand.check(&code, VERIFIER).await, refused(SignInRefusal::SignIn), "used up");
    let code = stand.code("of-another-link").await;
    assert_eq!(stand.check(&code, VERIFIER).await, refused(SignInRefusal::SignIn), "another link's nonce");
    assert_eq!(stand.check("made-up&code=x", VERIFIER).await, refused(SignInRefusal::SignIn));
}

#[tokio::test]
async fn keys_that_were_rotated_are_fetched_and_unknown_ones_do_not_make_us_ask_without_end() {
    let stand = Stand::start("client_secret_basic").await;
    stand.behave(json!({})).await;
    assert_eq!(stand.sign_in().await, Ok(Ok(())));
    stand.server.rotate_keys().await.unwrap();
    assert_eq!(stand.sign_in().await, refused(SignInRefusal::SignIn), "asked for a moment ago");
    stand.clock.0.store(60_000, Ordering::SeqCst);
    assert_eq!(stand.sign_in().await, Ok(Ok(())), "a minute later the new keys are found");
    stand.behave(json!({"sign": "unknownKey"})).await;
    for _ in 0..5 {
        assert_eq!(stand.sign_in().await, refused(SignInRefusal::SignIn));
    }
    assert_eq!(stand.server.counts().await.unwrap().keys, 2);
    stand.behave(json!({})).await;
    stand.clock.0.store(60_000 + Span::from_secs(3600).as_millis(), Ordering::SeqCst);
    // Long past the token's own time by our clock: refused, and everything is discovered anew.
    assert_eq!(stand.sign_in().await, refused(SignInRefusal::SignIn));
    assert_eq!(stand.server.counts().await.unwrap().discovery, 3);
}

fn code_of(answer: Result<Result<(), SignInRefusal>, Fault>) -> (String, Class) {
    let fault = answer.expect_err("no verdict");
    (fault.code, fault.class)
}

#[tokio::test]
async fn a_provider_in_trouble_is_no_verdict() {
    let stand = Stand::start("client_secret_basic").await;
    stand.behave(json!({})).await;
    assert_eq!(stand.sign_in().await, Ok(Ok(())));
    for (token, code, class) in [
        (json!(503), "oidc-unreachable", Class::Transient),
        (json!(429), "oidc-unreachable", Class::Transient),
        (json!("close"), "oidc-unreachable", Class::Transient),
        (json!("hang"), "oidc-unreachable", Class::Transient),
        (json!("garbage"), "oidc-provider-odd", Class::Misconfigured),
        (json!("huge"), "oidc-provider-odd", Class::Misconfigured),
        (json!(404), "oidc-provider-odd", Class::Misconfigured),
    ] {
        stand.behave(json!({"token": token})).await;
        assert_eq!(code_of(stand.sign_in().await), (code.to_owned(), class), "{token}");
    }
}

#[tokio::test]
async fn a_provider_that_is_not_what_was_configured_is_named() {
    let stand = Stand::start("client_secret_basic").await;
    for (discovery, code) in [
        (json!({"issuer": "https://other.example"}), "oidc-provider-odd"),
        (json!({"token_endpoint": "http://other.example/token"}), "oidc-provider-odd"),
        (json!({"jwks_uri": "http://other.example/jwks"}), "oidc-provider-odd"),
        (json!({"jwks_uri": null}), "oidc-provider-odd"),
        (json!({"jwks_uri": format!("{}/nothing", stand.server.issuer())}), "oidc-provider-odd"),
    ] {
        stand.behave(json!({"discovery": discovery})).await;
        let fault = stand.check("any", VERIFIER).await.unwrap_err();
        assert_eq!(fault.code, code, "{discovery}");
        assert!(!fault.to_string().contains("other.example"), "a provider's words are not repeated: {fault}");
    }
    stand.behave(json!({})).await;
    let wrong = ProviderConfig { client_secret: SecretString::new("wrong".into()), ..config(&stand.server) };
    let provider = Provider::new(wrong, stand.clock.clone()).unwrap();
    let code = stand.code(NONCE).await;
    let answer = provider.sign_in(&SignIn { code: &code, verifier: VERIFIER, nonce: NONCE.into(), email: ALICE }).await;
    assert_eq!(code_of(answer), ("oidc-client-refused".to_owned(), Class::Misconfigured));
    let insecure = ProviderConfig { issuer: "http://id.example".into(), ..config(&stand.server) };
    assert_eq!(Provider::new(insecure, stand.clock.clone()).unwrap_err().code, "oidc-provider-odd");
}

#[tokio::test]
async fn without_a_provider_nothing_that_needs_one_is_sent() {
    let fault = Nobody.ready().await.unwrap_err();
    assert_eq!((fault.code.as_str(), fault.class), ("oidc-not-configured", Class::Misconfigured));
    assert!(Nobody.sign_in(&SignIn { code: "c", verifier: "v", nonce: String::new(), email: ALICE }).await.is_err());
}
