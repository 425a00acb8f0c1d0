//! Vault's answers: the envelope, and values as secrets.

use std::collections::BTreeMap;
use std::fmt;

use ps_core::delivery::Tags;
use ps_core::rotation::tag;
use ps_core::secret::{SecretBytes, SecretString};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// Fields of a secret, by name.
pub(crate) type Fields = BTreeMap<String, SecretString>;

/// A JSON object whose values are not parsed yet: slices of the answer.
pub(crate) type RawFields<'a> = BTreeMap<String, &'a RawValue>;

/// The whole envelope, as far as Vault and OpenBao agree on it; everything may be missing.
#[derive(Deserialize)]
pub(crate) struct Envelope<'a> {
    #[serde(borrow, default)]
    pub(crate) data: Option<&'a RawValue>,
    #[serde(default)]
    pub(crate) auth: Option<Auth>,
    #[serde(default)]
    pub(crate) warnings: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) request_id: Option<String>,
}

/// A token that was just issued or renewed.
#[derive(Deserialize)]
pub(crate) struct Auth {
    #[serde(deserialize_with = "secret")]
    pub(crate) client_token: SecretString,
    /// Seconds; 0 for a token that never expires.
    #[serde(default)]
    pub(crate) lease_duration: u64,
    #[serde(default)]
    pub(crate) renewable: bool,
}

/// Reads the envelope.
pub(crate) fn envelope(body: &SecretBytes) -> Option<Envelope<'_>> {
    serde_json::from_slice(body.expose()).ok()
}

/// Reads `data` as a type that holds no secret.
pub(crate) fn data<T: DeserializeOwned>(body: &SecretBytes) -> Option<T> {
    serde_json::from_str(envelope(body)?.data?.get()).ok()
}

/// Reads `data` as an object of unparsed values.
pub(crate) fn raw_data(body: &SecretBytes) -> Option<RawFields<'_>> {
    serde_json::from_str(envelope(body)?.data?.get()).ok()
}

/// Vault's `errors`; none if the answer is something else.
pub(crate) fn errors(body: &SecretBytes) -> Vec<String> {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<String>,
    }
    serde_json::from_slice(body.expose()).map_or_else(|_| Vec::new(), |said: Errors| said.errors)
}

/// The wanted fields as secrets; all of them if none is named. A field that is `null` counts as absent.
pub(crate) fn fields(raw: &RawFields<'_>, wanted: &[String]) -> Option<Fields> {
    let mut fields = Fields::new();
    for (key, value) in raw {
        if wanted.is_empty() || wanted.contains(key) {
            let Some(text) = value_text(value)? else { continue };
            fields.insert(key.clone(), text);
        }
    }
    Some(fields)
}

/// A tag for each field; the values are forgotten.
pub(crate) fn tags(fields: &Fields, tag_key: &SecretBytes) -> Tags {
    fields.iter().map(|(name, value)| (name.clone(), tag(tag_key, name, value.expose()))).collect()
}

/// One value as text: strings as they are, numbers and booleans as their JSON, objects and arrays as compact JSON.
/// `Some(None)` for `null`; `None` if it cannot be read.
#[expect(clippy::option_option, reason = "absent and unreadable are two answers")]
pub(crate) fn value_text(value: &RawValue) -> Option<Option<SecretString>> {
    let json = value.get();
    match json.as_bytes().first()? {
        b'"' => {
            let mut reader = serde_json::Deserializer::from_str(json);
            secret(&mut reader).ok().map(Some)
        }
        b'n' => Some(None),
        b'{' | b'[' => compact(json).map(Some),
        _ => Some(Some(SecretString::new(json.to_owned()))),
    }
}

/// Drops the white space between JSON tokens.
fn compact(json: &str) -> Option<SecretString> {
    let mut out = Zeroizing::new(Vec::with_capacity(json.len()));
    let (mut quoted, mut escaped) = (false, false);
    for byte in json.bytes() {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            quoted = byte == b'"';
        }
        out.push(byte);
    }
    SecretString::from_utf8(SecretBytes::new(std::mem::take(&mut *out))).ok()
}

/// A JSON string that is a secret.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(#[serde(deserialize_with = "secret")] pub(crate) SecretString);

/// Reads a JSON string as a secret.
pub(crate) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = SecretString;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretString, E> {
            Ok(SecretString::new(text.to_owned()))
        }

        fn visit_string<E: de::Error>(self, text: String) -> Result<SecretString, E> {
            Ok(SecretString::new(text))
        }
    }
    deserializer.deserialize_str(Text)
}

/// A JSON object, written so that no copy of it stays behind.
pub(crate) struct Object(Zeroizing<Vec<u8>>);

impl Object {
    /// An object with room for `capacity` bytes of values: sixfold, because that is the most that JSON makes of one.
    pub(crate) fn new(capacity: usize) -> Self {
        let mut out = Zeroizing::new(Vec::with_capacity(capacity.saturating_mul(6).saturating_add(256)));
        out.push(b'{');
        Self(out)
    }

    pub(crate) fn text(&mut self, key: &str, value: &SecretString) {
        self.key(key);
        self.string(value.expose());
    }

    /// `json` is a JSON value already.
    pub(crate) fn raw(&mut self, key: &str, json: &str) {
        self.key(key);
        self.push(json.as_bytes());
    }

    pub(crate) fn object(&mut self, key: &str, value: &Self) {
        self.key(key);
        self.push(&value.0);
        self.push(b"}");
    }

    pub(crate) fn finish(mut self) -> SecretBytes {
        self.push(b"}");
        SecretBytes::new(std::mem::take(&mut *self.0))
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.push(b",");
        }
        self.string(key);
        self.push(b":");
    }

    fn string(&mut self, text: &str) {
        // Strings always serialise; the scratch holds the value only until it is wiped.
        let mut scratch = Zeroizing::new(Vec::with_capacity(text.len().saturating_mul(6).saturating_add(2)));
        if serde_json::to_writer(&mut *scratch, text).is_ok() {
            self.push(&scratch);
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.saturating_mul(2)));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &str, wanted: &[&str]) -> BTreeMap<String, String> {
        let body = SecretBytes::new(body.as_bytes().to_vec());
        let wanted: Vec<String> = wanted.iter().map(|key| (*key).to_owned()).collect();
        let found = fields(&raw_data(&body).unwrap(), &wanted).unwrap();
        found.into_iter().map(|(key, value)| (key, value.expose().to_owned())).collect()
    }

    #[test]
    fn values_of_any_type_become_text() {
        let body = r#"{"data":{"s":"x\u003cy\n","n":1.50,"b":true,"o":{"a" : [1, "c d\" ]"]},"z":null},"extra":1}"#;
        let all = read(body, &[]);
        let expected = [("b", "true"), ("n", "1.50"), ("o", r#"{"a":[1,"c d\" ]"]}"#), ("s", "x<y\n")];
        assert_eq!(all, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert_eq!(read(body, &["b", "z", "nowhere"]).len(), 1);
    }

    #[test]
    fn junk_is_no_envelope_and_has_no_errors() {
        for junk in ["", "null", "[]", "<html>", "{\"data\":", "\u{1}"] {
            let body = SecretBytes::new(junk.as_bytes().to_vec());
            assert!(raw_data(&body).is_none(), "{junk}");
            assert!(errors(&body).is_empty(), "{junk}");
        }
    }

    proptest! {
        #[test]
        fn an_object_reads_back_as_it_was_written(values in proptest::collection::btree_map(".{0,12}", ".{0,40}", 0..6)) {
            let mut inner = Object::new(0);
            for (key, value) in &values {
                inner.text(key, &SecretString::new(value.clone()));
            }
            let mut outer = Object::new(0);
            outer.raw("options", "{\"cas\":1}");
            outer.object("data", &inner);
            let body = outer.finish();
            prop_assert_eq!(read(std::str::from_utf8(body.expose()).unwrap(), &[]), values);
        }

        #[test]
        fn compacting_changes_no_value(text in ".{0,30}", n in any::<i32>()) {
            let value = serde_json::json!({ text.clone(): [n, { "k": text }, []] });
            let spread = serde_json::to_string_pretty(&value).unwrap();
            let packed = compact(&spread).unwrap();
            prop_assert_eq!(packed.expose(), serde_json::to_string(&value).unwrap());
        }
    }
}
