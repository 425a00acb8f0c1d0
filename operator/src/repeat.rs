//! What the gateway says, repeated as lines of our own log.
//!
//! It speaks JSON to us whatever our own format is, so that its levels stay its levels. One that was taken over may say
//! anything: its lines are bounded, they are marked as its words, and nothing in them can look like a line of ours.

use std::io::Write as _;
use std::str::FromStr as _;

use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tracing::Level;

use crate::clock::now;
use crate::config::LogFormat;

/// The longest line that is repeated; the rest of it is dropped.
const LONGEST: usize = 4096;

/// What marks a line as the gateway's.
const WHO: &str = "gateway";

/// Repeats until the gateway closes its end.
pub(crate) async fn repeat(mut said: impl AsyncRead + Unpin, format: LogFormat) {
    let mut line = Vec::with_capacity(256);
    let mut chunk = [0_u8; 4096];
    while let Ok(count) = said.read(&mut chunk).await {
        let Some(bytes) = chunk.get(..count).filter(|b| !b.is_empty()) else { break };
        for byte in bytes {
            if *byte != b'\n' {
                if line.len() < LONGEST {
                    line.push(*byte);
                }
                continue;
            }
            Line::of(&line).tell(format);
            line.clear();
        }
    }
    // The last word of one that died in the middle of it.
    if !line.is_empty() {
        Line::of(&line).tell(format);
    }
}

/// One line of the gateway's.
#[derive(Debug, PartialEq)]
struct Line {
    level: Level,
    message: String,
    fields: Map<String, Value>,
}

impl Line {
    fn of(bytes: &[u8]) -> Self {
        let Ok(mut fields) = serde_json::from_slice::<Map<String, Value>>(bytes) else {
            // What is no line of its log: an option that it does not know, a panic.
            let message = String::from_utf8_lossy(bytes).into_owned();
            return Self { level: Level::WARN, message, fields: Map::new() };
        };
        // The time is told by us, and so is who speaks.
        for ours in ["timestamp", "target", "process"] {
            fields.remove(ours);
        }
        let level = fields.remove("level").and_then(|level| Level::from_str(level.as_str()?).ok());
        let message = fields.remove("message").map(|message| plain(&message)).unwrap_or_default();
        Self { level: level.unwrap_or(Level::WARN), message, fields }
    }

    fn tell(self, format: LogFormat) {
        if format == LogFormat::Json {
            // The same stream as our own lines, each written at once. If it is gone, nobody is there to be told.
            return std::io::stderr().write_all(&self.json()).unwrap_or_default();
        }
        let text = self.text();
        match self.level {
            Level::ERROR => tracing::error!(target: "ps_operator::gateway", "{WHO}: {text}"),
            Level::WARN => tracing::warn!(target: "ps_operator::gateway", "{WHO}: {text}"),
            Level::INFO => tracing::info!(target: "ps_operator::gateway", "{WHO}: {text}"),
            Level::DEBUG => tracing::debug!(target: "ps_operator::gateway", "{WHO}: {text}"),
            Level::TRACE => tracing::trace!(target: "ps_operator::gateway", "{WHO}: {text}"),
        }
    }

    /// As our own lines in JSON: all on one level, the message and its fields side by side.
    fn json(self) -> Vec<u8> {
        let mut line = Map::new();
        line.insert("timestamp".into(), now().to_string().into());
        line.insert("level".into(), self.level.as_str().into());
        line.insert("message".into(), self.message.into());
        line.insert("process".into(), WHO.into());
        for (name, value) in self.fields {
            let value = if value.is_object() || value.is_array() { plain(&value).into() } else { value };
            line.entry(name).or_insert(value);
        }
        let mut bytes = Value::Object(line).to_string().into_bytes();
        bytes.push(b'\n');
        bytes
    }

    /// For people, without control characters.
    fn text(&self) -> String {
        let fields = self.fields.iter().map(|(name, value)| format!(" {name}={}", plain(value)));
        let all = std::iter::once(self.message.clone()).chain(fields).collect::<String>();
        all.chars().filter(|c| !c.is_control()).collect()
    }
}

/// A value without the quotes of a text.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A line of the gateway's as one of ours in JSON, without its time.
    fn json_of(said: &str) -> Value {
        let bytes = Line::of(said.as_bytes()).json();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        let mut line: Value = serde_json::from_str(&text).unwrap();
        let time = line.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(ps_core::time::Timestamp::parse_rfc3339(time.as_str().unwrap()).is_some(), "{time}");
        line
    }

    #[test]
    fn a_line_keeps_its_level_and_its_fields_on_one_level() {
        let said = r#"{"timestamp":"1970-01-01T00:00:00Z","level":"ERROR","message":"cannot","code":"x","count":3}"#;
        let ours = json!({"level": "ERROR", "message": "cannot", "process": "gateway", "code": "x", "count": 3});
        assert_eq!(json_of(said), ours);
        let line = Line::of(said.as_bytes());
        assert_eq!((line.level, line.text().as_str()), (Level::ERROR, "cannot code=x count=3"));
    }

    #[test]
    fn nothing_that_it_says_looks_like_a_line_of_ours() {
        let forged =
            r#"{"level":"LOUD","message":"a\nb\u001b[31m","process":"operator","target":"x","deep":{"level":1}}"#;
        let line = json_of(forged);
        assert_eq!((&line["process"], &line["level"]), (&json!("gateway"), &json!("WARN")));
        assert_eq!((&line["deep"], line.get("target")), (&json!(r#"{"level":1}"#), None));
        assert_eq!(Line::of(forged.as_bytes()).text(), r#"ab[31m deep={"level":1}"#);
    }

    #[test]
    fn what_is_no_json_is_repeated_as_a_warning() {
        for said in ["thread panicked", "[1]", "\"text\"", "{\"level\":"] {
            let line = json!({"level": "WARN", "message": said, "process": "gateway"});
            assert_eq!(json_of(said), line, "{said}");
        }
        assert_eq!(Line::of(b"\xff\x07bell").text(), "\u{fffd}bell");
    }
}
