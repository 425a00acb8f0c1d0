//! What a recipient does beyond typing an opening code: codes from mails, and sign-ins.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ps_core::ids::Digest;
use ps_testbed::{OidcServer, SmtpServer};
use serde_json::{Value, json};

use super::{Recipient, SOON};

/// The PKCE verifier of every sign-in here (RFC 7636, appendix B).
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// The code in the latest of so many mails.
pub async fn code_in(smtp: &SmtpServer, to: &str, mails: usize) -> String {
    let received = smtp.wait_for_mails(to, mails, SOON).await.unwrap();
    let text = received.last().unwrap().text.clone().unwrap();
    let is_code =
        |line: &&str| line.len() == 9 && line.split('-').all(|part| part.parse::<u32>().is_ok() && part.len() == 4);
    text.lines().map(str::trim).find(is_code).expect("a code in the mail").to_owned()
}

/// The step that asks for a mail with a code.
pub fn mail_a_code() -> Value {
    json!({"step": "mail"})
}

/// The step that hands a code in.
pub fn hand_in(code: &str) -> Value {
    json!({"step": "code", "emailCode": code})
}

/// Another code than the right one.
pub fn wrong_code(code: &str) -> &'static str {
    if code == "0000-0000" { "0000-0001" } else { "0000-0000" }
}

/// Signs in at the provider for one recipient, and says the step that hands its answer in.
pub async fn sign_in(server: &OidcServer, recipient: &Recipient, home: &str) -> Value {
    let challenge = URL_SAFE_NO_PAD.encode(Digest::of(VERIFIER.as_bytes()).0);
    let nonce = recipient.nonce();
    let parameters = [
        ("response_type", "code"),
        ("client_id", server.client_id()),
        ("scope", "openid email"),
        ("redirect_uri", home),
        ("state", "tab"),
        ("nonce", nonce.as_str()),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ];
    let back = server.sign_in(&parameters).await.unwrap();
    let code = back.iter().find(|(name, _)| name == "code").map(|(_, code)| code.clone()).unwrap();
    json!({"step": "oidc", "authorizationCode": code, "verifier": VERIFIER})
}
