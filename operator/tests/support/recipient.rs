//! A recipient without a browser: the mail in, the gateway's verbs out, the secret opened.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use ps_core::encode::{b64, from_b64};
use ps_core::link::Verification;
use ps_core::secret::SecretBytes;
use ps_core::time::Timestamp;
use ps_envelope::{ClaimToken, FactorSecret, Facts, Opener, Passphrase, Payload};
use ps_testbed::Mail;
use serde_json::{Value, json};

/// Link and opening code, as a person reads them in the mail.
#[derive(Clone)]
pub struct Invitation {
    pub link: String,
    pub code: String,
}

impl Invitation {
    /// From the plain text of a mail.
    pub fn of(mail: &Mail) -> Self {
        let text = mail.text.as_deref().expect("a plain text part");
        let link = text.lines().find(|line| line.contains("/#ps1.")).expect("a link in the mail").trim().to_owned();
        let code = text.lines().find_map(|line| line.strip_prefix("Opening code: ")).expect("an opening code");
        Self { link, code: code.trim().to_owned() }
    }

    /// What follows `#`.
    pub fn fragment(&self) -> &str {
        self.link.split_once('#').unwrap().1
    }
}

/// An answer of the gateway.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// The refusal's code; empty for an answer that is none.
    pub fn code(&self) -> &str {
        self.body.pointer("/error/code").and_then(Value::as_str).unwrap_or_default()
    }

    /// `state`, of an answer or of a refusal.
    pub fn state(&self) -> &str {
        let state = self.body.get("state").or_else(|| self.body.pointer("/error/state"));
        state.and_then(Value::as_str).unwrap_or_default()
    }
}

/// Somebody who holds a link, in one browser.
pub struct Recipient {
    base: String,
    opener: Opener,
    code: String,
    token: ClaimToken,
    kinds: Vec<Verification>,
    passphrase: Option<String>,
}

impl Recipient {
    pub fn new(invitation: &Invitation) -> Self {
        let (base, fragment) = invitation.link.split_once("/#").unwrap();
        let opener = Opener::from_fragment(fragment).unwrap();
        let (base, code) = (base.to_owned(), invitation.code.clone());
        Self { base, opener, code, token: fresh_token(), kinds: Vec::new(), passphrase: None }
    }

    /// The same for a link that demands something of its holder.
    pub fn demanded(invitation: &Invitation, kinds: &[Verification], passphrase: Option<&str>) -> Self {
        let passphrase = passphrase.map(str::to_owned);
        Self { kinds: kinds.to_vec(), passphrase, ..Self::new(invitation) }
    }

    /// What the identity token must say: it binds a sign-in to this link and this browser.
    pub fn nonce(&self) -> String {
        b64(&ps_core::ids::Digest::of(&[&self.opener.id().0[..], &self.token.hash().0].concat()).0)
    }

    /// One step of the verb `code`.
    pub async fn step(&self, step: Value) -> Answer {
        let mut body = step;
        body["tokenHash"] = b64(&self.token.hash().0).into();
        if body["step"] != "status" {
            body["openingCode"] = self.code.clone().into();
        }
        self.ask("code", body).await
    }

    /// A step, and its status until the operator has answered.
    pub async fn judged(&self, step: Value) -> Answer {
        let first = self.step(step).await;
        if first.body.get("retryAfterMs").is_none() {
            return first;
        }
        let last = ps_testbed::wait_until("the operator's verdict", super::SOON, async || {
            let answer = self.step(json!({"step": "status"})).await;
            answer.body.get("retryAfterMs").is_none().then_some(answer)
        });
        last.await.unwrap()
    }

    /// A claim whose link had reached a path or a query.
    pub async fn claim_exposed(&self) -> Answer {
        let mut body = self.claim_body();
        body["exposed"] = true.into();
        self.ask("claim", body).await
    }

    /// The same browser at another address of the gateway, such as one of its replicas.
    pub fn moved_to(self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self }
    }

    /// The record's name.
    pub fn id(&self) -> ps_core::ids::LinkId {
        self.opener.id()
    }

    pub async fn lookup(&self) -> Answer {
        self.ask("lookup", json!({})).await
    }

    pub async fn claim(&self) -> Answer {
        self.ask("claim", self.claim_body()).await
    }

    /// As [`Recipient::claim`]; `None` while nobody answers.
    pub async fn try_claim(&self) -> Option<Answer> {
        self.try_ask("claim", self.claim_body()).await
    }

    /// The members of a first claim, beside `id` and `access`.
    fn claim_body(&self) -> Value {
        json!({"openingCode": self.code, "proof": self.proof(), "tokenHash": b64(&self.token.hash().0)})
    }

    pub async fn claim_again(&self) -> Answer {
        self.ask("claim", self.claim_again_body()).await
    }

    /// As [`Recipient::claim_again`]; `None` while nobody answers.
    pub async fn try_claim_again(&self) -> Option<Answer> {
        self.try_ask("claim", self.claim_again_body()).await
    }

    fn claim_again_body(&self) -> Value {
        json!({"proof": self.proof(), "token": self.token()})
    }

    pub async fn acknowledge(&self) -> Answer {
        self.ask("acknowledge", json!({"token": self.token()})).await
    }

    pub async fn decline(&self) -> Answer {
        let body = json!({"openingCode": self.code, "decline": b64(self.opener.decline().expose())});
        self.ask("decline", body).await
    }

    /// Claims and opens; panics if either is refused.
    pub async fn open(&self) -> BTreeMap<String, String> {
        let answer = self.claim().await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        self.unseal(&answer)
    }

    /// Opens what a claim gave.
    pub fn unseal(&self, claimed: &Answer) -> BTreeMap<String, String> {
        let kinds: Vec<&str> = self.kinds.iter().map(|k| k.as_str()).collect();
        let kdf = self.passphrase.as_ref().map(|_| "argon2id-19456-2-1");
        let facts = facts(&claimed.body, &kinds, kdf);
        let r = claimed.body["r"].as_str().map(|r| SecretBytes::new(from_b64(r).unwrap()));
        let r = r.map(|r| FactorSecret::from_bytes(r).unwrap());
        let message = from_b64(claimed.body["ciphertext"].as_str().unwrap()).unwrap();
        let passphrase = self.passphrase();
        let unlocked = self.opener.unlock(facts, passphrase.as_ref()).unwrap();
        let payload: Payload = unlocked.open(r.as_ref(), &message).unwrap();
        payload.fields.iter().map(|f| (f.key.clone(), f.value.expose().to_owned())).collect()
    }

    /// Sends a first claim, and goes away without reading the answer.
    pub async fn claim_and_hang_up(&self) {
        let body = self.with_access(self.claim_body()).to_string();
        let host = self.base.strip_prefix("http://").unwrap();
        let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
        let head = format!(
            "POST /api/v1/links/claim HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        tokio::io::AsyncWriteExt::write_all(&mut stream, format!("{head}{body}").as_bytes()).await.unwrap();
        // A reset, not an end: the answer has nowhere to go.
        stream.set_zero_linger().unwrap();
        stream.readable().await.unwrap();
    }

    /// It depends on the link and the passphrase alone.
    pub fn proof(&self) -> String {
        let facts = Facts::new(Timestamp::from_millis(0), &self.kinds).unwrap();
        b64(self.opener.unlock(facts, self.passphrase().as_ref()).unwrap().proof().expose())
    }

    fn passphrase(&self) -> Option<Passphrase> {
        self.passphrase.as_ref().map(|text| Passphrase::new(text).unwrap())
    }

    /// SHA-256 of this browser's claim token.
    pub fn token_hash(&self) -> ps_core::ids::Digest {
        self.token.hash()
    }

    fn token(&self) -> String {
        self.token.to_text().unwrap().expose().to_owned()
    }

    fn with_access(&self, mut body: Value) -> Value {
        let members = body.as_object_mut().unwrap();
        members.insert("id".into(), serde_json::to_value(self.opener.id()).unwrap());
        members.insert("access".into(), b64(self.opener.access().expose()).into());
        body
    }

    async fn ask(&self, verb: &str, body: Value) -> Answer {
        self.try_ask(verb, body).await.unwrap_or_else(|| panic!("no answer to {verb}"))
    }

    async fn try_ask(&self, verb: &str, body: Value) -> Option<Answer> {
        let url = format!("{}/api/v1/links/{verb}", self.base);
        let response = client().post(url).json(&self.with_access(body)).send().await.ok()?;
        let status = response.status().as_u16();
        assert_eq!(response.headers()["cache-control"], "no-store", "{verb}");
        Some(Answer { status, body: response.json().await.ok()? })
    }
}

fn facts(body: &Value, kinds: &[&str], kdf: Option<&str>) -> Facts {
    let not_after = Timestamp::from_millis(body["notAfter"].as_i64().unwrap());
    Facts::from_lookup(not_after, kinds, kdf).unwrap()
}

fn fresh_token() -> ClaimToken {
    use std::io::Read as _;
    ClaimToken::from_fill(|out| std::fs::File::open("/dev/urandom")?.read_exact(out)).unwrap()
}

/// Pools nothing: a pooled connection would belong to the runtime of another test.
pub fn client() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        // An error says that the process has a provider already, which is as good.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        builder.timeout(Duration::from_secs(30)).build().unwrap()
    })
}
