//! From a request's fields to what a link carries.

use ps_core::secret::SecretString;
use ps_envelope::{Field, FieldKind, Passphrase, Payload, Preview};
use serde_json::{Map, Value};

use crate::fields::{Fields, invalid, text};
use crate::message::Failure;

/// What a person wants to send.
pub(crate) struct Content {
    pub(crate) payload: Payload,
    pub(crate) preview: Preview,
    pub(crate) passphrase: Option<Passphrase>,
}

/// Reads all that is left in a request for a new link.
pub(crate) fn read(mut from: Fields) -> Result<Content, Failure> {
    let title = from.secret("title")?;
    let sender = from.secret("sender")?;
    // An empty one is refused, not taken for none: whoever names it means to have one.
    let passphrase = from.secret("passphrase")?;
    let passphrase = passphrase.map(|text| Passphrase::new(text.expose())).transpose().map_err(wrong)?;
    let (purpose, environment) = (from.secret("purpose")?, from.secret("environment")?);
    let (url, note) = (from.secret("url")?, from.secret("note")?);
    let mut fields = match from.raw("fields") {
        None => Vec::new(),
        Some(Value::Array(items)) => items.into_iter().map(described).collect::<Result<_, _>>()?,
        Some(Value::Object(named)) => plain(named)?,
        // The command line gives JSON as text.
        Some(Value::String(json)) => match serde_json::from_str(&json) {
            Ok(Value::Array(items)) => items.into_iter().map(described).collect::<Result<_, _>>()?,
            Ok(Value::Object(named)) => plain(named)?,
            _ => return Err(form()),
        },
        Some(_) => return Err(form()),
    };
    fields.extend(plain(from.rest())?);
    let payload = Payload {
        title: title.clone(),
        purpose,
        environment,
        url,
        note,
        sender: sender.clone(),
        works_for: None,
        fields,
        files: Vec::new(),
    };
    payload.validate().map_err(wrong)?;
    let preview = Preview { title: title.unwrap_or_default(), sender: sender.unwrap_or_default(), works_for: None };
    preview.validate().map_err(wrong)?;
    Ok(Content { payload, preview, passphrase })
}

/// Keys and values; the kind is guessed from the key and the value.
fn plain(named: Map<String, Value>) -> Result<Vec<Field>, Failure> {
    named.into_iter().map(|(key, value)| field(key, String::new(), None, value)).collect()
}

/// `{"key", "value", "label", "kind"}`.
fn described(item: Value) -> Result<Field, Failure> {
    let Value::Object(item) = item else { return Err(form()) };
    let mut item = Fields::new(item);
    let key = item.text("key")?.ok_or_else(form)?;
    let value = item.raw("value").ok_or_else(form)?;
    let label = item.text("label")?.unwrap_or_default();
    let kind = item.text("kind")?.map(|name| match FieldKind::parse(&name) {
        FieldKind::Unknown => Err(invalid("kind must be text, password, url, multiline, totp or sshKey")),
        kind => Ok(kind),
    });
    item.end()?;
    field(key, label, kind.transpose()?, value)
}

fn field(key: String, label: String, kind: Option<FieldKind>, value: Value) -> Result<Field, Failure> {
    let value = text(value).map(SecretString::new);
    let value = value.ok_or_else(|| invalid("the value of a field must be text"))?;
    let kind = kind.unwrap_or_else(|| FieldKind::guess(&key, value.expose()));
    Ok(Field { key, label, kind, value })
}

fn form() -> Failure {
    invalid(
        "fields must be a list of {\"key\", \"value\"}, each with \"label\" and \"kind\" if you like, or an object of keys and values",
    )
}

/// The envelope's errors repeat nothing of their input.
pub(crate) fn wrong(error: ps_envelope::Error) -> Failure {
    invalid(error.to_string())
}

impl From<ps_envelope::Error> for Failure {
    fn from(error: ps_envelope::Error) -> Self {
        wrong(error)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn content(value: Value) -> Result<Content, Failure> {
        read(Fields::new(value.as_object().cloned().unwrap()))
    }

    #[test]
    fn what_is_not_named_becomes_a_field() {
        let Content { payload, preview, passphrase } = content(json!({
            "username": "alice", "password": "p", "note": "n", "title": "T", "passphrase": "x", "port": 5432, "cert": "a\nb",
        }))
        .unwrap();
        let fields: Vec<_> = payload.fields.iter().map(|f| (f.key.as_str(), f.kind, f.value.expose())).collect();
        assert_eq!(
            fields,
            [
                ("cert", FieldKind::Multiline, "a\nb"),
                ("password", FieldKind::Password, "p"),
                ("port", FieldKind::Text, "5432"),
                ("username", FieldKind::Text, "alice"),
            ]
        );
        assert_eq!((preview.title.expose(), payload.note.unwrap().expose().len()), ("T", 1));
        assert!(passphrase.is_some());
    }

    #[test]
    fn fields_may_be_described_in_order_and_as_text() {
        let list = json!([{"key": "b", "value": "1", "label": "B", "kind": "totp"}, {"key": "a", "value": "2"}]);
        for fields in [list.clone(), Value::String(list.to_string())] {
            let payload = content(json!({ "fields": fields })).unwrap().payload;
            let found: Vec<_> = payload.fields.iter().map(|f| (f.key.as_str(), f.kind)).collect();
            assert_eq!(found, [("b", FieldKind::Totp), ("a", FieldKind::Text)]);
        }
    }

    #[test]
    fn what_makes_no_link_is_refused() {
        for bad in [
            json!({}),
            json!({"title": "only a title"}),
            json!({"a": {}}),
            json!({"a": []}),
            json!({"fields": 1}),
            json!({"fields": "x"}),
            json!({"fields": [1]}),
            json!({"fields": [{"key": "a"}]}),
            json!({"fields": [{"key": "a", "value": "1", "kind": "odd"}]}),
            json!({"fields": [{"key": "a", "value": "1", "more": 1}]}),
            json!({"fields": [{"key": "a", "value": "1"}], "a": "twice"}),
            json!({"": "no key"}),
            json!({"a": "1", "title": "x".repeat(201)}),
            json!({"a": "1", "passphrase": "x".repeat(1025)}),
            json!({"a": "1", "passphrase": ""}),
        ] {
            assert!(content(bad.clone()).is_err(), "{bad}");
        }
    }
}
