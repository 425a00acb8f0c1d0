//! A short-lived token of a service account (TokenRequest), for one audience, and never for the API server itself.

use kube::core::Request;
use kube::core::params::PostParams;
use ps_core::error::{Class, Fault};
use ps_core::secret::SecretString;
use ps_kubernetes::fault::Doing;
use serde::Deserialize;
use serde_json::json;

use super::api::{Api, is_name};

/// The shortest life that the API server gives, in seconds. The token is shown once, at login.
const LIFE: u32 = 600;

#[derive(Deserialize)]
struct Answer {
    status: AnswerStatus,
}

#[derive(Deserialize)]
struct AnswerStatus {
    #[serde(deserialize_with = "secret")]
    token: SecretString,
}

fn secret<'de, D: serde::Deserializer<'de>>(d: D) -> Result<SecretString, D::Error> {
    String::deserialize(d).map(SecretString::new)
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    aud: Audiences,
    #[serde(default)]
    iss: String,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
    #[default]
    None,
}

/// Asks for a token.
///
/// # Errors
/// Misconfigured: `audience-refused` (empty, or the API server's own), `no-such-service-account`, `kubernetes-terminating`;
/// Denied: `token-forbidden`, with the Role to grant; `token-audience` if the answer is not what was asked for; else what
/// the API server's refusal means.
pub(super) async fn request(
    api: &Api,
    own: &[String],
    namespace: &str,
    account: &str,
    audience: &str,
) -> Result<SecretString, Fault> {
    check(own, audience)?;
    if !is_name(namespace) || !is_name(account) {
        return Err(no_such(namespace, account));
    }
    let doing = Doing::new("create", "serviceaccounts/token", namespace, account);
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [audience], "expirationSeconds": LIFE},
    });
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let answer = api.send::<Answer>(&doing, Request::new(path).create(&PostParams::default(), body)).await;
    let token = answer.map_err(|refusal| match refusal.status {
        404 => no_such(namespace, account),
        403 if !refusal.terminating => forbidden(namespace, account),
        _ => refusal.fault,
    })?;
    let token = token.status.token;
    examine(&token, audience)?;
    Ok(token)
}

/// What may be asked for at all.
fn check(own: &[String], audience: &str) -> Result<(), Fault> {
    let bare = |text: &str| text.trim().trim_end_matches('/').to_ascii_lowercase();
    let wanted = bare(audience);
    let usual = ["https://kubernetes.default.svc", "kubernetes.default.svc", "kubernetes.default", "kubernetes", "api"];
    let refused = wanted.is_empty()
        || usual.contains(&wanted.as_str())
        || wanted.starts_with("https://kubernetes.default.svc.")
        || own.iter().any(|own| bare(own) == wanted);
    if refused { Err(refuse(audience)) } else { Ok(()) }
}

/// Whether the token is for that audience alone. The issuer is what an API server takes as its own audience by default.
fn examine(token: &SecretString, audience: &str) -> Result<(), Fault> {
    let claims = claims(token).ok_or_else(|| wrong("its token can't be read"))?;
    let exact = match &claims.aud {
        Audiences::One(one) => one == audience,
        Audiences::Many(many) => matches!(many.as_slice(), [one] if one == audience),
        Audiences::None => false,
    };
    if claims.iss.trim_end_matches('/') == audience.trim_end_matches('/') {
        return Err(refuse(audience));
    }
    if exact { Ok(()) } else { Err(wrong("its token is for other audiences than the one that was asked for")) }
}

fn claims(token: &SecretString) -> Option<Claims> {
    use base64::Engine as _;
    let part = token.expose().split('.').nth(1)?;
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn refuse(audience: &str) -> Fault {
    let what =
        if audience.trim().is_empty() { "an empty audience".to_owned() } else { format!("the audience {audience}") };
    let message = format!("{what} is the API server's own; whoever holds such a token can act in the cluster");
    Fault::new(Class::Misconfigured, "audience-refused", message)
        .field("spec.auth.kubernetes.audience")
        .remedy("Write the audience of Vault's role, such as vault")
}

fn wrong(what: &str) -> Fault {
    Fault::new(Class::Denied, "token-audience", format!("the API server's answer is refused: {what}"))
        .remedy("See what changes TokenRequests between the operator and the API server")
}

fn no_such(namespace: &str, account: &str) -> Fault {
    let message = format!("there is no service account {account} in namespace {namespace}");
    Fault::new(Class::Misconfigured, "no-such-service-account", message)
        .field("spec.auth.kubernetes.serviceAccountRef.name")
        .remedy(format!("Run: kubectl create serviceaccount -n {namespace} {account}"))
}

fn forbidden(namespace: &str, account: &str) -> Fault {
    let message = format!("the operator may not ask for a token of service account {namespace}/{account}");
    Fault::new(Class::Denied, "token-forbidden", message).remedy(format!(
        "Grant the operator's service account a Role in namespace {namespace}: apiGroups [\"\"], resources \
         [serviceaccounts/token], resourceNames [{account}], verbs [create]"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &serde_json::Value) -> SecretString {
        use base64::Engine as _;
        let part = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims.to_string());
        SecretString::new(format!("h.{part}.s"))
    }

    #[test]
    fn the_api_servers_audiences_are_refused() {
        let own = ["https://127.0.0.1:6443".to_owned(), "cluster-a".to_owned()];
        for bad in [
            "",
            " ",
            "https://kubernetes.default.svc",
            "https://Kubernetes.default.svc/",
            "kubernetes.default.svc",
            "api",
            "https://kubernetes.default.svc.cluster.local",
            "https://127.0.0.1:6443/",
            "Cluster-A",
        ] {
            let fault = check(&own, bad).unwrap_err();
            assert_eq!((fault.class, fault.code.as_str()), (Class::Misconfigured, "audience-refused"), "{bad}");
            assert!(fault.field.is_some() && !fault.remedy.is_empty());
        }
        for good in ["vault", "https://vault.example.com", "openbao"] {
            check(&own, good).unwrap();
        }
    }

    #[test]
    fn the_answer_must_be_for_that_audience_alone() {
        let code = |claims: serde_json::Value| examine(&token(&claims), "vault").err().map(|f| f.code);
        assert_eq!(code(json!({"aud": ["vault"], "iss": "https://k"})), None);
        assert_eq!(code(json!({"aud": "vault"})), None);
        for bad in [
            json!({}),
            json!({"aud": []}),
            json!({"aud": ["vault", "api"]}),
            json!({"aud": ["api"]}),
            json!({"aud": 5}),
        ] {
            assert_eq!(code(bad.clone()).as_deref(), Some("token-audience"), "{bad}");
        }
        assert_eq!(code(json!({"aud": ["vault"], "iss": "vault"})).as_deref(), Some("audience-refused"));
        assert!(examine(&SecretString::new("junk".into()), "vault").is_err());
    }
}
