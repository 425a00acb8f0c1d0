//! A recipient without a browser: the mail in, the gateway's verbs out, the secret opened.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use ps_core::encode::{b64, from_b64};
use ps_core::time::Timestamp;
use ps_envelope::{ClaimToken, Facts, Opener, Payload};
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
}

impl Recipient {
    pub fn new(invitation: &Invitation) -> Self {
        let (base, fragment) = invitation.link.split_once("/#").unwrap();
        let opener = Opener::from_fragment(fragment).unwrap();
        Self { base: base.to_owned(), opener, code: invitation.code.clone(), token: fresh_token() }
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
        let facts = facts(&claimed.body, &[], None);
        let message = from_b64(claimed.body["ciphertext"].as_str().unwrap()).unwrap();
        let payload: Payload = self.opener.unlock(facts, None).unwrap().open(None, &message).unwrap();
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

    /// Without a passphrase it depends on the link alone.
    fn proof(&self) -> String {
        let facts = Facts::new(Timestamp::from_millis(0), &[]).unwrap();
        b64(self.opener.unlock(facts, None).unwrap().proof().expose())
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
