//! A mailed link, in the hands of somebody who meets dead and fenced gateways.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use ps_core::encode::{b64, from_b64};
use ps_core::ids::Digest;
use ps_core::link::Verification;
use ps_core::secret::SecretBytes;
use ps_core::time::Timestamp;
use ps_envelope::{ClaimToken, FactorSecret, Facts, Opener};
use serde_json::{Value, json};

use crate::support::Invitation;

pub struct Link {
    base: String,
    opener: Opener,
    code: String,
    token: ClaimToken,
    /// A claim was sent, and nobody knows whether it arrived.
    unsure: bool,
    acknowledged: bool,
    kinds: &'static [Verification],
    /// How many mailed codes were typed.
    pub typed: usize,
    /// A claim arrived, its answer did not, and the window to ask again was over before anybody answered.
    pub lost: bool,
    /// What a claim gave.
    pub opened: Option<BTreeMap<String, String>>,
}

impl Link {
    /// As `base` serves it: for a folder that was copied, another gateway than the mail names.
    pub fn new(invitation: &Invitation, base: &str) -> Self {
        let (_, fragment) = invitation.link.split_once("/#").unwrap();
        let token = ClaimToken::from_fill(|out| {
            use std::io::Read as _;
            std::fs::File::open("/dev/urandom")?.read_exact(out)
        });
        Self {
            base: base.to_owned(),
            opener: Opener::from_fragment(fragment).unwrap(),
            code: invitation.code.clone(),
            token: token.unwrap(),
            unsure: false,
            acknowledged: false,
            kinds: &[],
            typed: 0,
            lost: false,
            opened: None,
        }
    }

    /// The same for a link that demands something of its holder.
    pub fn demanding(self, kinds: &'static [Verification]) -> Self {
        Self { kinds, ..self }
    }

    /// Its state; a word that is no state if the gateway refuses to speak of it. `None` if there is no gateway.
    pub async fn state(&self) -> Option<String> {
        let (status, body) = self.ask("lookup", json!({})).await?;
        let state = body.get("state").or_else(|| body.pointer("/error/state")).and_then(Value::as_str);
        Some(state.map_or_else(|| format!("refused with {status}"), str::to_owned))
    }

    /// Tries to claim it, as often as it takes to learn what became of it. Whether it is ours now.
    pub async fn claim(&mut self) -> bool {
        let proof = b64(self.unlock(Timestamp::from_millis(0)).proof().expose());
        let first = json!({"openingCode": self.code, "proof": proof, "tokenHash": b64(&self.token.hash().0)});
        let again = json!({"proof": proof, "token": self.token.to_text().unwrap().expose()});
        for body in [Some(first), self.unsure.then_some(again)].into_iter().flatten() {
            match self.ask("claim", body).await {
                Some((200, body)) => {
                    let not_after = Timestamp::from_millis(body["notAfter"].as_i64().unwrap());
                    let message = from_b64(body["ciphertext"].as_str().unwrap()).unwrap();
                    let r = body["r"].as_str().map(|r| SecretBytes::new(from_b64(r).unwrap()));
                    let r = r.map(|r| FactorSecret::from_bytes(r).unwrap());
                    let payload = self.unlock(not_after).open(r.as_ref(), &message).unwrap();
                    let fields = payload.fields.iter().map(|f| (f.key.clone(), f.value.expose().to_owned()));
                    self.opened = Some(fields.collect());
                    return true;
                }
                Some(_) => {}
                None => self.unsure = true,
            }
        }
        self.lost = self.unsure && self.state().await.is_some_and(|state| state == "retrieved");
        false
    }

    pub async fn acknowledge(&mut self) {
        if !self.acknowledged && self.opened.is_some() {
            let token = self.token.to_text().unwrap().expose().to_owned();
            let answer = self.ask("acknowledge", json!({"token": token})).await;
            self.acknowledged = answer.is_some_and(|(status, _)| status == 200);
        }
    }

    fn unlock(&self, not_after: Timestamp) -> ps_envelope::Unlocked<'_> {
        self.opener.unlock(Facts::new(not_after, self.kinds).unwrap(), None).unwrap()
    }

    /// A step of the verb `code`.
    pub async fn step(&self, mut step: Value) -> Option<(u16, Value)> {
        step["tokenHash"] = b64(&self.token.hash().0).into();
        if step["step"] != "status" {
            step["openingCode"] = self.code.clone().into();
        }
        self.ask("code", step).await
    }

    /// What the identity token must say: it binds a sign-in to this link and this claimant.
    pub fn nonce(&self) -> String {
        b64(&Digest::of(&[&self.opener.id().0[..], &self.token.hash().0].concat()).0)
    }

    /// Where it is served.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `None` without an answer, or if the gateway can't say now.
    async fn ask(&self, verb: &str, mut body: Value) -> Option<(u16, Value)> {
        let members = body.as_object_mut().unwrap();
        members.insert("id".into(), serde_json::to_value(self.opener.id()).unwrap());
        members.insert("access".into(), b64(self.opener.access().expose()).into());
        let url = format!("{}/api/v1/links/{verb}", self.base);
        let answer = client().post(url).json(&body).send().await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.json().await.ok()?;
        (status != 503 && status != 429).then_some((status, body))
    }
}

/// Keeps no connections: one to a gateway that is gone would be of no use.
fn client() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        // An error says that the process has a provider already, which is as good.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        builder.timeout(Duration::from_secs(5)).build().unwrap()
    })
}
