//! Faults of manifests: always `Misconfigured`, always `invalid-spec`, always with a field and a remedy.

use ps_core::error::{Class, Fault};

/// One thing that is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// JSON path of the field, such as `spec.fields[1].key`.
    pub(crate) path: String,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do.
    pub(crate) remedy: String,
}

impl Problem {
    /// A problem with a field.
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), remedy: remedy.into() }
    }
}

/// A fault of one field.
pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) -> Fault {
    Fault::new(Class::Misconfigured, "invalid-spec", message).field(field).remedy(capitalised(&remedy.into()))
}

/// One fault for all problems: the first in order of path in full, the others by field. `None` if there are none.
pub(crate) fn fault_of(mut problems: Vec<Problem>) -> Option<Fault> {
    problems.sort_by(|a, b| (&a.path, &a.message).cmp(&(&b.path, &b.message)));
    problems.dedup();
    let mut rest = problems.into_iter();
    let first = rest.next()?;
    let mut others: Vec<String> = rest.map(|p| p.path).filter(|path| *path != first.path).collect();
    others.dedup();
    let message = match others.len() {
        0 => first.message,
        n if n <= 5 => format!("{} (also wrong: {})", first.message, others.join(", ")),
        n => format!("{} ({n} more fields are wrong)", first.message),
    };
    Some(invalid(first.path, message, first.remedy))
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}
