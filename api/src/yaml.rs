//! YAML as manifests may use it: one value per document, no key twice, nothing that grows out of proportion.
//!
//! The parser underneath accepts duplicate keys (the last wins) and expands aliases. Here every node is counted as it is
//! built, so a bomb of aliases stops at [`crate::Limits::nodes`], and a second key of the same name is an error.

use std::cell::Cell;
use std::fmt;

use ps_core::error::Fault;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::check::shown;
use crate::fault::invalid;
use crate::parse::Limits;

/// Every document of a text, in order; empty ones are left out.
///
/// # Errors
/// `invalid-spec` naming line and column: too large, not YAML, a duplicate key, a key that is no text, a tag, too many
/// nodes, too deep, too many documents.
pub(crate) fn values(text: &str, limits: &Limits) -> Result<Vec<Value>, Fault> {
    if text.len() > limits.bytes {
        return Err(invalid(
            "",
            format!("the file is larger than {} bytes", limits.bytes),
            "split it; a manifest has a few kilobytes",
        ));
    }
    let budget = Cell::new(limits.nodes);
    let mut out = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        if out.len() >= limits.documents {
            return Err(invalid("", format!("the file has more than {} documents", limits.documents), "split it"));
        }
        let seed = Strict { budget: &budget, depth: limits.depth };
        match seed.deserialize(document) {
            Ok(Value::Null) => {}
            Ok(value) => out.push(value),
            Err(error) => return Err(unreadable(&error)),
        }
    }
    Ok(out)
}

/// The fault of a text that is not YAML, or not YAML as [`values`] wants it; it quotes nothing but names of keys.
fn unreadable(error: &serde_yaml::Error) -> Fault {
    let place =
        error.location().map(|at| format!(" at line {}, column {}", at.line(), at.column())).unwrap_or_default();
    // Messages of the strict visitor start with this word and hold no values; those of the parser are not passed on,
    // because a file that is no manifest at all may hold anything.
    let text = error.to_string();
    let reason = text.split_once(OURS).map(|(_, ours)| ours.split(" at line ").next().unwrap_or(ours));
    match reason {
        Some(reason) => invalid("", format!("{reason}{place}"), "correct that line"),
        None => invalid(
            "",
            format!("the file is not valid YAML{place}"),
            "correct that line; indentation and quotes are the usual causes",
        ),
    }
}

/// Marks messages that this module wrote.
const OURS: &str = "strict: ";

#[derive(Clone, Copy)]
struct Strict<'a> {
    budget: &'a Cell<usize>,
    depth: usize,
}

impl Strict<'_> {
    fn spend<E: serde::de::Error>(self) -> Result<(), E> {
        match self.budget.get().checked_sub(1) {
            Some(rest) => {
                self.budget.set(rest);
                Ok(())
            }
            None => Err(E::custom(format!("{OURS}the file has too many values, perhaps by its aliases"))),
        }
    }

    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => Err(E::custom(format!("{OURS}the file is nested too deep"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.spend()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain value")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        // Infinities have no JSON form; no field of ours is a float, so the check refuses them as a null.
        Ok(serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_i128<E: serde::de::Error>(self, _value: i128) -> Result<Value, E> {
        Err(E::custom(format!("{OURS}a number is too large")))
    }

    fn visit_u128<E: serde::de::Error>(self, _value: u128) -> Result<Value, E> {
        Err(E::custom(format!("{OURS}a number is too large")))
    }

    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, _access: A) -> Result<Value, A::Error> {
        Err(A::Error::custom(format!("{OURS}YAML tags are not allowed")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let below = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(below)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let below = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = access.next_key_seed(Strict { depth: 0, ..self })? {
            let Value::String(key) = key else {
                return Err(A::Error::custom(format!("{OURS}a key is not a text")));
            };
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("{OURS}the key {} is there twice", shown(&key))));
            }
            map.insert(key, access.next_value_seed(below)?);
        }
        Ok(Value::Object(map))
    }
}
