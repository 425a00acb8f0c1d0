//! The CEL rules, as data: each is a pure function, so that a rule used in five places is written once.
//!
//! Every message has two halves, `what is wrong; what to do`, and names its field: an API server shows it as it is,
//! and [`crate::validate`] splits it into a fault's message and remedy.
//!
//! Regular expressions keep to what RE2 and Rust's `regex` read alike: ASCII classes, no look-around, no `\d` or `\s`.

use kube::core::Rule;

/// A rule with its message.
pub(crate) fn rule(cel: &str, message: &str) -> Rule {
    Rule::new(cel).message(message)
}

/// A rule of a whole object whose failure is the fault of one field of it, given as `.a.b`.
pub(crate) fn rule_at(field: &str, cel: &str, message: &str) -> Rule {
    rule(cel, message).field_path(field)
}

/// A duration of hours, minutes and seconds within bounds. Five digits and the field's `maxLength` keep every sum far
/// below what Go's duration can hold.
pub(crate) fn duration(name: &str, min: &str, max: &str) -> Rule {
    rule(
        &format!(
            "self.matches('^([0-9]{{1,5}}[hms])+$') && duration(self) >= duration('{min}') && duration(self) <= duration('{max}')"
        ),
        &format!(
            "{name} must be a duration from {min} to {max}; write hours, minutes and seconds, such as 90s, 15m or 1h30m"
        ),
    )
}

/// One line of text: no control characters, so nothing can end a mail header or a log line early.
pub(crate) fn one_line(name: &str) -> Rule {
    rule(
        r"!self.matches('[\\x00-\\x1f\\x7f]')",
        &format!("{name} must be one line without control characters; remove line breaks and tabs"),
    )
}

/// Text of several lines: line breaks and tabs, but no other control characters.
pub(crate) fn text(name: &str) -> Rule {
    rule(
        r"!self.matches('[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f]')",
        &format!("{name} must not contain control characters; only line breaks and tabs are allowed"),
    )
}

/// An e-mail address as RFC 5321 allows it, without quoted local parts, in ASCII.
pub(crate) fn email(name: &str) -> Rule {
    rule(
        "self.matches('^[!#$%&*+/=?^_`{|}~0-9A-Za-z-]+([.][!#$%&*+/=?^_`{|}~0-9A-Za-z-]+)*@[0-9A-Za-z]([0-9A-Za-z-]*[0-9A-Za-z])?([.][0-9A-Za-z]([0-9A-Za-z-]*[0-9A-Za-z])?)*$') && self.indexOf('@') <= 64",
        &format!(
            "{name} must be one bare e-mail address; write it like alice@vendor.example, a name goes into recipient.name"
        ),
    )
}

/// A Vault path: segments with single slashes between them, none of them `.` or `..`.
pub(crate) fn vault_path(name: &str) -> Rule {
    rule(
        r"self.matches('^[^/\\x00-\\x1f\\x7f]+(/[^/\\x00-\\x1f\\x7f]+)*$') && !self.matches('(^|/)[.][.]?(/|$)')",
        &format!(
            "{name} must be a path without slashes at its ends and without empty, '.' or '..' segments; write it like apps/db"
        ),
    )
}

/// One segment of a Vault path.
pub(crate) fn vault_name(name: &str) -> Rule {
    rule(
        r"self.matches('^[^/\\x00-\\x1f\\x7f]+$') && self != '.' && self != '..'",
        &format!("{name} must be a single name; it is no path and has no slashes"),
    )
}

/// The name of an object: a DNS subdomain (RFC 1123).
pub(crate) fn object_name(name: &str) -> Rule {
    rule(
        "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$')",
        &format!("{name} must be the name of an object; use lower-case letters, digits, '-' and '.'"),
    )
}

/// A key of a Kubernetes Secret, and of a file in the secrets folder.
pub(crate) fn secret_key(name: &str) -> Rule {
    rule(
        "self.matches('^[A-Za-z0-9._-]+$') && self != '.' && self != '..'",
        &format!("{name} must be a key of a Secret; use letters, digits, '-', '_' and '.'"),
    )
}

/// A list without repetitions.
pub(crate) fn unique(name: &str) -> Rule {
    rule("self.all(a, self.exists_one(b, b == a))", &format!("{name} must not repeat an entry; remove the second one"))
}
