//! What an API server would say about an object, said here: structure first, then every CEL rule of the same schema.

use std::sync::OnceLock;

use kube::core::cel::{self, CompiledSchema, ErrorKind, ValidationErrors};
use ps_core::error::Fault;
use serde_json::Value;

use crate::check::check;
use crate::fault::{Problem, fault_of, invalid};
use crate::parse::Kind;

/// A schema with its rules compiled, once per process.
struct Schema {
    /// The part below `spec`.
    spec: Value,
    /// The whole object's rules.
    rules: CompiledSchema,
}

fn schema(kind: Kind) -> &'static Schema {
    static SCHEMAS: [OnceLock<Schema>; 3] = [OnceLock::new(), OnceLock::new(), OnceLock::new()];
    let [delivery, connection, cluster] = &SCHEMAS;
    let place = match kind {
        Kind::Delivery => delivery,
        Kind::Connection => connection,
        Kind::ClusterConnection => cluster,
    };
    place.get_or_init(|| {
        let root = crate::crd::schema(&crate::crd::crd(kind));
        Schema {
            spec: root.pointer("/properties/spec").cloned().unwrap_or(Value::Null),
            rules: cel::compile_schema(&root),
        }
    })
}

/// Checks the `spec` of an object of that kind as an API server would at creation, and refuses unknown fields too.
///
/// # Errors
/// Misconfigured, `invalid-spec`: the first field in order of path, its remedy, and the names of the other wrong fields.
pub fn validate(kind: Kind, object: &Value) -> Result<(), Fault> {
    run(kind, object, None)
}

/// As [`validate`], and checks the rules about changes: `old` is the object as it was accepted last.
///
/// # Errors
/// As [`validate`].
pub fn validate_update(kind: Kind, object: &Value, old: &Value) -> Result<(), Fault> {
    run(kind, object, Some(old))
}

fn run(kind: Kind, object: &Value, old: Option<&Value>) -> Result<(), Fault> {
    let schema = schema(kind);
    let Some(spec) = object.get("spec") else {
        return Err(invalid("spec", "spec is required and missing", "add it; examples/ shows one of each kind"));
    };
    let problems = check(&schema.spec, spec, "spec");
    // As in an API server, rules are evaluated only on what has the right shape.
    if let Some(fault) = fault_of(problems) {
        return Err(fault);
    }
    match cel::validate_compiled(&schema.rules, &subset(object), old.map(subset).as_ref()) {
        Ok(()) => Ok(()),
        Err(errors) => {
            Err(fault_of(problems_of(errors)).unwrap_or_else(|| invalid("spec", "a rule failed", "see the schema")))
        }
    }
}

/// Only the spec: rules never look at metadata or status.
fn subset(object: &Value) -> Value {
    serde_json::json!({ "spec": object.get("spec").cloned().unwrap_or(Value::Null) })
}

fn problems_of(errors: ValidationErrors) -> Vec<Problem> {
    let errors = errors.into_vec();
    // A rule over several fields fails to evaluate when one of them is malformed; that one has a message of its own.
    let spoken = errors.iter().any(|e| e.kind == ErrorKind::ValidationFailure);
    errors
        .into_iter()
        .filter(|e| !spoken || e.kind == ErrorKind::ValidationFailure)
        .map(|e| match (e.kind, e.message.split_once("; ")) {
            (ErrorKind::ValidationFailure, Some((wrong, remedy))) => Problem::new(e.field_path, wrong, remedy),
            (ErrorKind::ValidationFailure, None) => Problem::new(e.field_path, e.message, "see the schema"),
            // The text of an evaluation error may quote values; the kind is enough.
            (kind, _) => {
                Problem::new(e.field_path, format!("a rule could not be evaluated ({kind:?})"), "see the schema")
            }
        })
        .collect()
}
