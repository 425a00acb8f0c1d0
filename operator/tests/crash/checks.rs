//! What a link may demand of its recipient: an e-mailed code and a sign-in, with gateways and operators that come and go.

use ps_core::encode::b64;
use ps_core::ids::Digest;
use ps_testbed::{Mail, OidcServer, SmtpServer};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::link::Link;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// One identity provider for all cases: each would be a process of its own.
pub async fn provider() -> &'static OidcServer {
    static PROVIDER: OnceCell<OidcServer> = OnceCell::const_new();
    PROVIDER.get_or_init(async || OidcServer::start_for_any_port().await.unwrap()).await
}

/// Whether it is the mail with the link, and not one with a code.
pub fn carries_link(mail: &Mail) -> bool {
    mail.text.as_deref().is_some_and(|text| text.contains("/#ps1."))
}

impl Link {
    /// Goes one step on with what is demanded; whether there is nothing left to do but to claim. Whoever waits for a code in
    /// vain asks for another one, and a sign-in that came to nothing is begun anew.
    pub async fn pass(&mut self, smtp: &SmtpServer, to: &str) -> bool {
        let Some((_, stands)) = self.step(json!({"step": "status"})).await else { return false };
        if stands["state"] != "open" {
            return true;
        }
        if stands.get("retryAfterMs").is_some() {
            return false;
        }
        match (status(&stands, "emailCode"), status(&stands, "oidc")) {
            ("passed", "passed") => return true,
            ("passed", _) => {
                let answer = self.sign_in(to).await;
                self.step(answer).await;
            }
            ("sent" | "wrong", _) => {
                let mails = smtp.mails(to).await.unwrap();
                let codes: Vec<_> = mails.iter().filter(|mail| !carries_link(mail)).collect();
                match codes.last().filter(|_| codes.len() > self.typed) {
                    Some(mail) => {
                        let answer = self.step(json!({"step": "code", "emailCode": code_in(mail)})).await;
                        self.typed = if answer.is_some() { codes.len() } else { self.typed };
                    }
                    None => drop(self.step(json!({"step": "mail"})).await),
                }
            }
            _ => drop(self.step(json!({"step": "mail"})).await),
        }
        false
    }

    async fn sign_in(&self, to: &str) -> Value {
        let (server, home) = (provider().await, format!("{}/", self.base()));
        let (challenge, nonce) = (b64(&Digest::of(VERIFIER.as_bytes()).0), self.nonce());
        let parameters = [
            ("response_type", "code"),
            ("client_id", server.client_id()),
            ("scope", "openid email"),
            ("redirect_uri", home.as_str()),
            ("state", "tab"),
            ("nonce", nonce.as_str()),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("login_hint", to),
        ];
        let back = server.sign_in(&parameters).await.unwrap();
        let code = back.iter().find(|(name, _)| name == "code").map(|(_, code)| code.as_str());
        json!({"step": "oidc", "authorizationCode": code.unwrap(), "verifier": VERIFIER})
    }
}

fn status<'a>(stands: &'a Value, kind: &str) -> &'a str {
    stands[kind]["status"].as_str().unwrap_or_default()
}

fn code_in(mail: &Mail) -> &str {
    let is_code =
        |line: &&str| line.len() == 9 && line.split('-').all(|part| part.len() == 4 && part.parse::<u32>().is_ok());
    mail.text.as_deref().unwrap().lines().map(str::trim).find(is_code).expect("a code in the mail")
}
