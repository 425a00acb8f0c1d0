//! Checks a manifest against the structural part of the schema, as an API server does before it looks at CEL rules, and
//! stricter in one point: an unknown field is refused, with the nearest known one, where a server may just drop it.
//!
//! Only keywords that our own schemas use are understood; a test fails if a schema ever has another.

use ps_core::time::Timestamp;
use serde_json::{Map, Value};

use crate::fault::Problem;

/// Most problems that are reported at once.
const MOST: usize = 20;

/// All that is wrong with `value`, which stands at `path`.
pub(crate) fn check(schema: &Value, value: &Value, path: &str) -> Vec<Problem> {
    let mut walk = Walk { root: schema, root_path: path, problems: Vec::new() };
    walk.node(schema, value, path);
    walk.problems
}

struct Walk<'a> {
    root: &'a Value,
    root_path: &'a str,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn add(&mut self, path: &str, message: String, remedy: &str) {
        if !self.is_full() {
            self.problems.push(Problem::new(path, message, remedy));
        }
    }

    /// Whether nothing more is reported: then the rest is not looked at, however much of it there is.
    fn is_full(&self) -> bool {
        self.problems.len() >= MOST
    }

    fn node(&mut self, schema: &Value, value: &Value, path: &str) {
        if self.is_full() {
            return;
        }
        let wanted = schema.get("type").and_then(Value::as_str).unwrap_or("object");
        match (wanted, value) {
            ("object", Value::Object(map)) => self.object(schema, map, path),
            ("array", Value::Array(items)) => self.array(schema, items, path),
            ("string", Value::String(text)) => self.string(schema, text, path),
            ("integer", Value::Number(n)) if n.is_i64() => self.integer(schema, n.as_i64().unwrap_or_default(), path),
            ("boolean", Value::Bool(_)) => {}
            (_, Value::Null) => {
                self.add(path, format!("{} is empty", leaf(path)), "give it a value or remove the line");
            }
            _ => self.add(
                path,
                format!("{} must be {}, not {}", leaf(path), kind(wanted), kind_of(value)),
                remedy_for(wanted),
            ),
        }
    }

    fn object(&mut self, schema: &Value, map: &Map<String, Value>, path: &str) {
        let count = map.len() as u64;
        if let Some(most) = bound(schema, "maxProperties").filter(|most| count > *most) {
            self.add(path, format!("{} has more than {most} entries", leaf(path)), "remove some of them");
            return;
        }
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !map.contains_key(name) {
                self.add(&join(path, name), format!("{name} is required and missing"), "add it");
            }
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, child) in map {
            match (properties.and_then(|p| p.get(name)), schema.get("additionalProperties")) {
                (Some(known), _) => self.node(known, child, &join(path, name)),
                (None, Some(any)) if any.is_object() => self.node(any, child, &join(path, name)),
                (None, _) => self.unknown(properties, name, path),
            }
        }
    }

    fn unknown(&mut self, properties: Option<&Map<String, Value>>, name: &str, path: &str) {
        if self.is_full() {
            return;
        }
        let siblings: Vec<&str> = properties.into_iter().flatten().map(|(known, _)| known.as_str()).collect();
        let elsewhere = || {
            let mut found = Vec::new();
            find(self.root, self.root_path, name, &mut found);
            found.into_iter().next()
        };
        let remedy = match nearest(name, &siblings) {
            Some(known) => format!("did you mean {}?", join(path, known)),
            None => match elsewhere() {
                Some(place) => format!("did you mean {place}?"),
                None if siblings.is_empty() => "remove it".to_owned(),
                None => format!("remove it; known here are {}", siblings.join(", ")),
            },
        };
        self.add(&join(path, name), format!("there is no field {}", shown(name)), &remedy);
    }

    fn array(&mut self, schema: &Value, items: &[Value], path: &str) {
        let count = items.len() as u64;
        if bound(schema, "minItems").is_some_and(|least| count < least) {
            self.add(path, format!("{} must not be an empty list", leaf(path)), "list something or remove the line");
        }
        if let Some(most) = bound(schema, "maxItems").filter(|most| count > *most) {
            self.add(path, format!("{} has more than {most} entries", leaf(path)), "shorten the list");
            return;
        }
        let Some(inner) = schema.get("items") else { return };
        for (i, item) in items.iter().enumerate() {
            self.node(inner, item, &format!("{path}[{i}]"));
        }
    }

    fn string(&mut self, schema: &Value, text: &str, path: &str) {
        let length = text.chars().count() as u64;
        if bound(schema, "minLength").is_some_and(|least| length < least) {
            self.add(path, format!("{} must not be empty", leaf(path)), "write something or remove the line");
        }
        if let Some(most) = bound(schema, "maxLength").filter(|most| length > *most) {
            self.add(path, format!("{} is longer than {most} characters", leaf(path)), "shorten it");
        }
        if schema.get("format").and_then(Value::as_str) == Some("date-time") && !is_date_time(text) {
            self.add(
                path,
                format!("{} is not a date and time with a time zone", leaf(path)),
                "write it like 2026-12-01T00:00:00Z",
            );
        }
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
            let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
            if !allowed.contains(&text) {
                let hint = nearest(text, &allowed).map(|near| format!("did you mean {near}?")).unwrap_or_default();
                self.add(
                    path,
                    format!("{} must be one of {}", leaf(path), allowed.join(", ")),
                    if hint.is_empty() { "choose one of these" } else { &hint },
                );
            }
        }
    }

    fn integer(&mut self, schema: &Value, number: i64, path: &str) {
        // Bounds in a derived schema are floats; ours are small whole numbers.
        let least = schema.get("minimum").and_then(Value::as_f64);
        let most = schema.get("maximum").and_then(Value::as_f64);
        let number = number as f64;
        if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
            let (least, most) = (least.unwrap_or(f64::MIN), most.unwrap_or(f64::MAX));
            self.add(
                path,
                format!("{} must be from {least} to {most}", leaf(path)),
                "choose a number within these bounds",
            );
        }
    }
}

fn bound(schema: &Value, keyword: &str) -> Option<u64> {
    schema.get(keyword).and_then(Value::as_u64)
}

fn join(path: &str, name: &str) -> String {
    let name = shown(name);
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// A name from a manifest, fit for a message: cut, and without control characters.
pub(crate) fn shown(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c.is_control() { '?' } else { c }).take(64).collect();
    if clean.chars().count() < name.chars().count() { format!("{clean}…") } else { clean }
}

fn leaf(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn kind(schema_type: &str) -> &'static str {
    match schema_type {
        "object" => "a map",
        "array" => "a list",
        "string" => "a text",
        "integer" => "a whole number",
        _ => "true or false",
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Object(_) => "a map",
        Value::Array(_) => "a list",
        Value::String(_) => "a text",
        Value::Number(_) => "a number",
        Value::Bool(_) => "true or false",
        Value::Null => "nothing",
    }
}

fn remedy_for(schema_type: &str) -> &'static str {
    match schema_type {
        "object" => "write its fields on lines of their own, indented",
        "array" => "write it like [a, b]",
        "string" => "put it in quotes",
        "integer" => "write the number without quotes and without a fraction",
        _ => "write true or false, without quotes",
    }
}

/// RFC 3339 as Kubernetes reads it: a `T` in the middle and a zone at the end, on top of being a real date.
fn is_date_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let zone = text.ends_with('Z')
        || bytes.len().checked_sub(6).and_then(|at| bytes.get(at)).is_some_and(|sign| matches!(sign, b'+' | b'-'));
    bytes.get(10) == Some(&b'T') && bytes.len() >= 20 && zone && Timestamp::parse_rfc3339(text).is_some()
}

/// The known name that was probably meant.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    // Anything much longer than our names is no typing mistake, and the distance costs length × length.
    if name.len() > 64 {
        return None;
    }
    let lower = name.to_lowercase();
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(name.len()) / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Paths of every field called `name` in a schema.
fn find(schema: &Value, path: &str, name: &str, found: &mut Vec<String>) {
    for (key, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let here = join(path, key);
        if key == name {
            found.push(here.clone());
        }
        find(below, &here, name, found);
    }
    if let Some(items) = schema.get("items") {
        find(items, &format!("{path}[]"), name, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_field_that_was_meant() {
        assert_eq!(nearest("recipent", &["recipient", "source"]), Some("recipient"));
        assert_eq!(nearest("ttl", &["recipient", "source"]), None);
        assert_eq!(nearest("claimwindow", &["claimWindow", "ttl"]), Some("claimWindow"));
        assert_eq!(nearest(&"x".repeat(10_000), &["x"]), None);
    }

    #[test]
    fn what_is_not_reported_is_not_looked_at() {
        let schema = serde_json::json!({"type": "object", "properties": {"password": {"type": "string"}}});
        let many: Map<String, Value> = (0..300_000).map(|n| (format!("pasword{n}"), Value::Null)).collect();
        let begun = std::time::Instant::now();
        assert_eq!(check(&schema, &Value::Object(many), "spec").len(), MOST);
        assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
    }

    #[test]
    fn knows_dates() {
        for good in ["2026-12-01T00:00:00Z", "2026-12-01T00:00:00.5+01:00"] {
            assert!(is_date_time(good), "{good}");
        }
        for bad in [
            "",
            "2026-12-01",
            "2026-12-01 00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-12-01T00:00:00",
            "é".repeat(9).as_str(),
        ] {
            assert!(!is_date_time(bad), "{bad}");
        }
    }

    #[test]
    fn every_keyword_of_our_schemas_is_understood() {
        fn walk(schema: &Value, at: &str) {
            const KNOWN: [&str; 21] = [
                "type",
                "properties",
                "required",
                "enum",
                "minLength",
                "maxLength",
                "minItems",
                "maxItems",
                "maxProperties",
                "minimum",
                "maximum",
                "format",
                "default",
                "items",
                "additionalProperties",
                "description",
                "title",
                "x-kubernetes-validations",
                "x-kubernetes-list-type",
                "x-kubernetes-list-map-keys",
                "x-kubernetes-preserve-unknown-fields",
            ];
            for (keyword, value) in schema.as_object().expect("a schema is a map") {
                assert!(KNOWN.contains(&keyword.as_str()), "{at}: {keyword} is not checked on the client side");
                if keyword == "format" {
                    assert!(["date-time", "int32", "int64"].contains(&value.as_str().unwrap()), "{at}: format {value}");
                }
                if keyword == "properties" {
                    value.as_object().unwrap().iter().for_each(|(name, below)| walk(below, &format!("{at}.{name}")));
                }
                if keyword == "items" || keyword == "additionalProperties" {
                    walk(value, &format!("{at}[]"));
                }
                // Only the status has one, and nobody checks a status on the client side.
                assert!(keyword != "default" || at == "SecretDelivery.status", "{at} has a default");
            }
        }
        for kind in crate::Kind::ALL {
            walk(&crate::crd::schema(&crate::crd::crd(kind)), kind.as_str());
        }
    }
}
