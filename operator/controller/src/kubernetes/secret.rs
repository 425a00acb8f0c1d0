//! One value of one Secret. It is asked for by name, read once, and kept nowhere.

use std::collections::BTreeMap;

use kube::core::Request;
use kube::core::params::GetParams;
use ps_core::delivery::SecretKeyRef;
use ps_core::error::{Class, Fault};
use ps_core::secret::{SecretBytes, SecretString};
use ps_kubernetes::fault::Doing;
use serde::Deserialize;

use super::api::{Api, is_name};

/// A Secret that a delivery or connection names must carry this label, with the value `true`: whoever may write
/// deliveries is thereby not given every Secret of the namespace.
pub const USABLE_LABEL: &str = "passwordsender.io/usable";

/// Largest value, in bytes.
const MOST: usize = 64 * 1024;

#[derive(Deserialize)]
struct Secret {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    data: BTreeMap<String, Base64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    labels: BTreeMap<String, String>,
}

/// A value as the API server writes it; it is wiped when dropped, and does not print.
struct Base64(SecretBytes);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(|text| Self(SecretBytes::new(text.into_bytes())))
    }
}

/// Reads it.
///
/// # Errors
/// Misconfigured: `secret-unavailable` (no such Secret, no such key, empty, too large, no text), `secret-not-usable` (no
/// label); Denied: `secret-forbidden`, with the Role to grant; else what the API server's refusal means.
pub(super) async fn read(api: &Api, namespace: &str, key: &SecretKeyRef) -> Result<SecretString, Fault> {
    if !is_name(namespace) || !is_name(&key.name) {
        let remedy = format!("Name a Secret of namespace {namespace} by its name alone");
        return Err(unavailable(namespace, key, "has a name that no Secret can have", &remedy));
    }
    let doing = Doing::new("get", "secrets", namespace, &key.name);
    let path = format!("/api/v1/namespaces/{namespace}/secrets");
    let answer = api.send::<Secret>(&doing, Request::new(path).get(&key.name, &GetParams::default())).await;
    let secret = answer.map_err(|refusal| match refusal.status {
        404 => unavailable(namespace, key, "does not exist", &put(namespace, key)),
        403 if !refusal.terminating => forbidden(namespace, &key.name),
        _ => refusal.fault,
    })?;
    value(namespace, key, &secret)
}

fn value(namespace: &str, key: &SecretKeyRef, secret: &Secret) -> Result<SecretString, Fault> {
    if secret.metadata.labels.get(USABLE_LABEL).map(String::as_str) != Some("true") {
        let name = &key.name;
        let message = format!("the Secret {namespace}/{name} is not marked as one that may be used here");
        return Err(Fault::new(Class::Misconfigured, "secret-not-usable", message)
            .remedy(format!("Run: kubectl label secret -n {namespace} {name} {USABLE_LABEL}=true")));
    }
    let fault = |what: &str| unavailable(namespace, key, what, &put(namespace, key));
    let Base64(text) = secret.data.get(&key.key).ok_or_else(|| fault("has no such key"))?;
    let bytes = decoded(text).ok_or_else(|| fault("can't be read"))?;
    let trimmed = without_line_break(bytes.expose());
    if trimmed.is_empty() {
        return Err(fault("is empty"));
    }
    if trimmed.len() > MOST {
        return Err(fault(&format!("is larger than {MOST} bytes")));
    }
    SecretString::from_utf8(SecretBytes::new(trimmed.to_vec())).map_err(|_| fault("is not UTF-8 text"))
}

/// One line break at the end is not part of it, as in the secrets folder: `--from-file` keeps it.
fn without_line_break(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\n").map_or(text, |line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn decoded(text: &SecretBytes) -> Option<SecretBytes> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text.expose()).ok().map(SecretBytes::new)
}

fn unavailable(namespace: &str, key: &SecretKeyRef, what: &str, remedy: &str) -> Fault {
    let message = format!("the Secret {namespace}/{}, key {}, {what}", key.name, key.key);
    Fault::new(Class::Misconfigured, "secret-unavailable", message).remedy(remedy)
}

fn put(namespace: &str, key: &SecretKeyRef) -> String {
    format!("Put the value under key {} of Secret {} in namespace {namespace}", key.key, key.name)
}

fn forbidden(namespace: &str, name: &str) -> Fault {
    let message = format!("the operator may not read Secret {namespace}/{name}");
    Fault::new(Class::Denied, "secret-forbidden", message).remedy(format!(
        "Grant the operator's service account a Role in namespace {namespace}: apiGroups [\"\"], resources [secrets], \
         resourceNames [{name}], verbs [get]"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn key() -> SecretKeyRef {
        SecretKeyRef { name: "vault".into(), key: "token".into() }
    }

    fn of(labels: &Value, data: &Value) -> Result<SecretString, Fault> {
        let secret = serde_json::from_value(json!({"metadata": {"labels": labels}, "data": data})).unwrap();
        value("shop", &key(), &secret)
    }

    #[test]
    fn a_marked_secret_is_read_without_its_last_line_break() {
        let usable = json!({"passwordsender.io/usable": "true", "other": "x"});
        for (text, secret) in [("czNjcmV0", "s3cret"), ("czNjcmV0Cg==", "s3cret"), ("czNjcmV0DQo=", "s3cret")] {
            assert_eq!(of(&usable, &json!({"token": text})).unwrap().expose(), secret);
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_without_quoting_it() {
        let usable = json!({"passwordsender.io/usable": "true"});
        for (data, word) in [
            (json!({}), "no such key"),
            (json!({"other": "czNjcmV0"}), "no such key"),
            (json!({"token": ""}), "empty"),
            (json!({"token": "Cg=="}), "empty"),
            (json!({"token": "//8="}), "UTF-8"),
            (json!({"token": "*"}), "read"),
        ] {
            let fault = of(&usable, &data).err().unwrap();
            assert_eq!((fault.class, fault.code.as_str()), (Class::Misconfigured, "secret-unavailable"));
            assert!(fault.message.contains(word) && fault.message.contains("shop/vault") && !fault.remedy.is_empty());
        }
        for labels in [json!({}), json!({"passwordsender.io/usable": "yes"}), json!({"usable": "true"})] {
            let fault = of(&labels, &json!({"token": "czNjcmV0"})).err().unwrap();
            assert_eq!((fault.class, fault.code.as_str()), (Class::Misconfigured, "secret-not-usable"));
            assert_eq!(fault.remedy, "Run: kubectl label secret -n shop vault passwordsender.io/usable=true");
            assert!(!format!("{fault:?}").contains("s3cret"));
        }
    }

    #[test]
    fn a_role_that_is_missing_is_named_to_the_letter() {
        let remedy = forbidden("shop", "vault").remedy;
        assert!(
            remedy.contains("namespace shop")
                && remedy.contains("resourceNames [vault]")
                && remedy.contains("verbs [get]")
        );
    }
}
