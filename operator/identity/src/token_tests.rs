//! What is no token at all. Whole tokens are judged in `tests/provider.rs`, as a real provider signs them.

use jsonwebtoken::jwk::JwkSet;
use ps_core::link::verification::SignInRefusal;
use ps_core::time::Timestamp;

use super::*;

fn judged(token: &str, keys: &JwkSet) -> Verdict {
    let expected = Expected { issuer: "https://id.example", client_id: "links", nonce: "n", email: "a@v.example" };
    judge(token, keys, &expected, Timestamp::from_secs(1_800_000_000))
}

#[test]
fn nonsense_is_refused() {
    let none = JwkSet { keys: Vec::new() };
    let no_signature = "eyJhbGciOiJub25lIn0.eyJlbWFpbCI6ImFAdi5leGFtcGxlIn0.";
    let hmac = "eyJhbGciOiJIUzI1NiJ9.eyJlbWFpbCI6ImFAdi5leGFtcGxlIn0.AAAA";
    for token in ["", ".", "..", "a.b.c", "eyJ9.e30.", no_signature, hmac, &"x".repeat(200_000), "é.é.é"] {
        assert_eq!(
            judged(token, &none),
            Verdict::Refused(SignInRefusal::SignIn),
            "{}",
            token.get(..20).unwrap_or(token)
        );
    }
}

#[test]
fn without_its_key_nothing_is_said_of_a_token() {
    let rs256 = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.e30.AAAA";
    assert_eq!(judged(rs256, &JwkSet { keys: Vec::new() }), Verdict::UnknownKey);
    // A key for encryption, a symmetric one, and one of another kind are none.
    for key in [
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"1","use":"enc"}"#,
        r#"{"kty":"oct","k":"AQAB","kid":"1"}"#,
        r#"{"kty":"EC","crv":"P-256","x":"AQAB","y":"AQAB","kid":"1"}"#,
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"2"}"#,
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"1","alg":"PS256"}"#,
    ] {
        let keys = JwkSet { keys: vec![serde_json::from_str(key).unwrap()] };
        assert_eq!(judged(rs256, &keys), Verdict::UnknownKey, "{key}");
    }
}
