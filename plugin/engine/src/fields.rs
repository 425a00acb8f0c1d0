//! Reading a request's fields: from the command line everything is text, from JSON it has types; both are taken.
//!
//! No value is repeated in an error, and a name only if it looks like one: servers act on some texts in errors.

use ps_core::secret::SecretString;
use ps_core::time::Span;
use serde_json::{Map, Value};

use crate::message::{Failure, Kind};

/// The fields of one request. What was not taken is refused at the end.
pub(crate) struct Fields(Map<String, Value>);

pub(crate) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Kind::Invalid, message)
}

impl Fields {
    pub(crate) fn new(data: Map<String, Value>) -> Self {
        Self(data)
    }

    /// Null counts as absent.
    pub(crate) fn raw(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// Text; a number or truth value is taken as it is written.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        self.raw(name).map(|value| text(value).ok_or_else(|| invalid(format!("{name} must be text")))).transpose()
    }

    /// Secret text.
    pub(crate) fn secret(&mut self, name: &str) -> Result<Option<SecretString>, Failure> {
        Ok(self.text(name)?.map(SecretString::new))
    }

    /// Text of at most `most` bytes.
    pub(crate) fn short(&mut self, name: &str, most: usize) -> Result<Option<String>, Failure> {
        let text = self.text(name)?;
        if text.as_ref().is_some_and(|text| text.len() > most) {
            return Err(invalid(format!("{name} must have at most {most} bytes")));
        }
        Ok(text)
    }

    /// A span of time: `4h`, `90m`, or a number of seconds.
    pub(crate) fn span(&mut self, name: &str) -> Result<Option<Span>, Failure> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let seconds = text.parse::<i64>().ok().filter(|seconds| (0..=100 * 366 * 86_400).contains(seconds));
        let span = seconds.map(Span::from_secs).or_else(|| Span::parse(&text));
        span.map(Some).ok_or_else(|| invalid(format!("{name} must be a duration such as 4h, or a number of seconds")))
    }

    /// True or false.
    pub(crate) fn truth(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.as_str() {
            "true" | "1" => Ok(Some(true)),
            "false" | "0" => Ok(Some(false)),
            _ => Err(invalid(format!("{name} must be true or false"))),
        }
    }

    /// A whole number that is not negative.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| invalid(format!("{name} must be a whole number")))
    }

    /// A list of texts, or one text with commas.
    pub(crate) fn list(&mut self, name: &str) -> Result<Option<Vec<String>>, Failure> {
        let wrong = || invalid(format!("{name} must be a list, or text with commas"));
        let items = match self.raw(name) {
            None => return Ok(None),
            Some(Value::Array(items)) => items.into_iter().map(text).collect::<Option<Vec<_>>>().ok_or_else(wrong)?,
            Some(other) => text(other).ok_or_else(wrong)?.split(',').map(|item| item.trim().to_owned()).collect(),
        };
        Ok(Some(items.into_iter().filter(|item| !item.is_empty()).collect()))
    }

    /// An object, or text with JSON of one.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Map<String, Value>>, Failure> {
        let object = match self.raw(name) {
            None => return Ok(None),
            Some(Value::Object(object)) => Some(object),
            Some(Value::String(text)) => serde_json::from_str(&text).ok(),
            Some(_) => None,
        };
        object.map(Some).ok_or_else(|| invalid(format!("{name} must be a JSON object")))
    }

    /// What is left.
    pub(crate) fn rest(self) -> Map<String, Value> {
        self.0
    }

    /// Refuses what is left.
    pub(crate) fn end(self) -> Result<(), Failure> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) if plain(name) => Err(invalid(format!("{name} is no field of this path: see path-help"))),
            Some(_) => Err(invalid("a field that this path does not have: see path-help")),
        }
    }
}

/// Whether a name may be repeated in an error.
fn plain(name: &str) -> bool {
    (1..=40).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Text of a plain value.
pub(crate) fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        Fields::new(value.as_object().cloned().unwrap())
    }

    #[test]
    fn text_and_types_are_the_same() {
        for value in [json!("2h"), json!("7200"), json!(7200)] {
            assert_eq!(fields(json!({ "ttl": value })).span("ttl"), Ok(Some(Span::from_secs(7200))));
        }
        for value in [json!(true), json!("true"), json!(1), json!("1")] {
            assert_eq!(fields(json!({ "x": value })).truth("x"), Ok(Some(true)));
        }
        for value in [json!(["a", "b"]), json!("a, b"), json!("a,,b,")] {
            assert_eq!(fields(json!({ "x": value })).list("x").unwrap().unwrap(), ["a", "b"]);
        }
        for value in [json!({"a": 1}), json!("{\"a\": 1}")] {
            assert_eq!(fields(json!({ "x": value })).object("x").unwrap().unwrap().len(), 1);
        }
        assert_eq!(fields(json!({"x": null})).text("x"), Ok(None));
    }

    #[test]
    fn nothing_sent_is_repeated() {
        let sent = "cannot write to readonly storage";
        let mut taken = fields(json!({"a": sent, "b": {"c": sent}, "d": [[sent]], "e": sent}));
        let errors = [
            taken.span("a").unwrap_err(),
            taken.text("b").unwrap_err(),
            taken.list("d").unwrap_err(),
            taken.truth("e").unwrap_err(),
            fields(json!({ sent: 1 })).end().unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.kind == Kind::Invalid && !error.message.contains("readonly")));
        assert!(fields(json!({"titel": 1})).end().unwrap_err().message.contains("titel"));
    }
}
