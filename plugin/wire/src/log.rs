//! Log lines as the server reads them from stderr: one JSON object, whose `@` fields are text.
//!
//! A server that finds anything but text there dies of it, with all that it serves. So only [`line`] makes such lines, from
//! text alone, and it is tested with whatever text there can be. What other crates log stays out.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Longer text is cut: the server splits lines of more than 64 KiB.
const LONGEST_TEXT: usize = 4096;
/// What our own crates' names begin with.
const OURS: &str = "ps_plugin";

/// Sends all that our crates log, from info on, to stderr. A panic is logged by its place; what it says is not.
pub fn start() {
    // An error says that somebody logs already.
    tracing_subscriber::registry().with(Lines).try_init().unwrap_or_default();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        write(&line("error", "a panic", SystemTime::now(), [("place", place)]));
    }));
}

struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if !metadata.target().starts_with(OURS) || *metadata.level() > Level::INFO {
            return;
        }
        let level = match *metadata.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            _ => "info",
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { message, rest } = fields;
        write(&line(level, &message, SystemTime::now(), rest));
    }
}

fn write(line: &str) {
    // A server that is gone reads nothing.
    std::io::stderr().write_all(line.as_bytes()).unwrap_or_default();
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        write!(text, "{value:?}").unwrap_or_default();
        self.put(field.name(), text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.to_owned());
    }
}

impl Fields {
    fn put(&mut self, name: &'static str, text: String) {
        if name == "message" {
            self.message = text;
        } else {
            self.rest.push((name, text));
        }
    }
}

/// One line, with its end.
fn line<'a>(level: &str, message: &str, at: SystemTime, fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut object = Map::new();
    for (name, text) in fields {
        // Names with an @ are the server's.
        object.insert(name.replace('@', "_"), Value::String(cut(&text)));
    }
    for (name, text) in [("@level", level.to_owned()), ("@message", cut(message)), ("@timestamp", timestamp(at))] {
        object.insert(name.to_owned(), Value::String(text));
    }
    let mut text = Value::Object(object).to_string();
    text.push('\n');
    text
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(LONGEST_TEXT)).unwrap_or_default().to_owned()
}

/// RFC 3339 in UTC with exactly six digits of a second: anything else is read as plain text.
fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", since.subsec_micros())
}

/// Year, month and day of a day since 1970-01-01, counted in years that begin in March.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day = days % 146_097;
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year + era * 400 + next, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(secs: u64, micros: u32) -> SystemTime {
        UNIX_EPOCH + Duration::new(secs, micros * 1000)
    }

    #[test]
    fn times_have_six_digits() {
        assert_eq!(timestamp(at(0, 0)), "1970-01-01T00:00:00.000000Z");
        assert_eq!(timestamp(at(951_782_400, 5)), "2000-02-29T00:00:00.000005Z");
        assert_eq!(timestamp(at(1_796_083_199, 999_999)), "2026-11-30T23:59:59.999999Z");
        assert_eq!(timestamp(at(1_798_761_600, 0)), "2027-01-01T00:00:00.000000Z");
    }

    proptest! {
        #[test]
        fn whatever_is_logged_is_one_line_of_text_fields(
            message in any::<String>(), name in any::<String>(), value in "\\PC{0,9000}", secs in 0_u64..4_000_000_000
        ) {
            let line = line("info", &message, at(secs, 1), [(name.as_str(), value), ("@level", "x".to_owned())]);
            prop_assert!(line.ends_with('\n') && line.matches('\n').count() == 1 && line.len() < 65_536);
            let read: Value = serde_json::from_str(&line).unwrap();
            for field in ["@level", "@message", "@timestamp"] {
                prop_assert!(read[field].is_string());
            }
            prop_assert!(read.as_object().unwrap().values().all(Value::is_string));
            prop_assert_eq!(read["@timestamp"].as_str().unwrap().len(), 27);
        }
    }
}
