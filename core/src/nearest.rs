//! "Did you mean": the known name that is most like an unknown one.

/// How alike two names must be (Jaro-Winkler, 0 to 1) for one to be offered for the other.
const ALIKE: f64 = 0.75;

/// From serde's message "unknown field `x`, expected one of `a`, `b`": the name most like `x`, if one is like it at all.
#[must_use]
pub fn nearest_field(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("unknown field `")?;
    let (unknown, rest) = rest.split_once('`')?;
    let unknown = unknown.to_lowercase();
    let known = rest.split('`').skip(1).step_by(2);
    known
        .map(|name| (strsim::jaro_winkler(&unknown, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_and_none_where_none_is_near() {
        let message = |x: &str| format!("unknown field `{x}`, expected one of `publicUrl`, `listen`, `smtp` at line 1");
        assert_eq!(nearest_field(&message("publicURL")).as_deref(), Some("publicUrl"));
        assert_eq!(nearest_field(&message("lisen")).as_deref(), Some("listen"));
        assert_eq!(nearest_field(&message("zzz")), None);
        assert_eq!(nearest_field("missing field `smtp`"), None);
    }
}
