//! Paths in Vault, from manifests: checked before any of them reaches a URL.
//!
//! The URL library drops `..` segments silently and vaultrs panics on some headers, so what is odd is refused here.
//! Segments are percent-encoded where the URL is built (rustify, over the `url` crate).

use ps_core::error::{Class, Fault};

/// Longest mount, path or name, in bytes; Vault's own limits are lower for most.
const MAX_BYTES: usize = 1024;

/// The manifest's field that a path part comes from.
pub(crate) mod field {
    use ps_core::delivery::Source;

    /// What a source is named by: the field to change, or to be allowed, where Vault refuses a request about it.
    pub(crate) const fn of(source: &Source) -> &'static str {
        match source {
            Source::Kv2 { .. } | Source::Kv1 { .. } => KV_PATH,
            Source::DatabaseStatic { .. } => DATABASE_ROLE,
        }
    }

    pub(crate) const KV_MOUNT: &str = "spec.source.vault.kv.mount";
    pub(crate) const KV_PATH: &str = "spec.source.vault.kv.path";
    pub(crate) const KV_KEYS: &str = "spec.source.vault.kv.keys";
    pub(crate) const KV_VERSION: &str = "spec.source.vault.kv.version";
    pub(crate) const DATABASE_MOUNT: &str = "spec.source.vault.database.mount";
    pub(crate) const DATABASE_ROLE: &str = "spec.source.vault.database.staticRole";
    pub(crate) const PASSWORD_POLICY: &str = "spec.rotation.passwordPolicy";
    pub(crate) const ROTATION_KEYS: &str = "spec.rotation.keys";
    /// Of a `VaultConnection` or `ClusterVaultConnection`, as are those below.
    pub(crate) const TOKEN: &str = "spec.auth.token.secretKeyRef";
    pub(crate) const APPROLE: &str = "spec.auth.appRole";
    pub(crate) const APPROLE_SECRET: &str = "spec.auth.appRole.secretIdRef";
    pub(crate) const APPROLE_MOUNT: &str = "spec.auth.appRole.mount";
    pub(crate) const KUBERNETES: &str = "spec.auth.kubernetes";
    pub(crate) const KUBERNETES_MOUNT: &str = "spec.auth.kubernetes.mount";
    pub(crate) const KUBERNETES_AUDIENCE: &str = "spec.auth.kubernetes.audience";
}

/// Joins parts with `/`, after each was checked.
///
/// # Errors
/// Misconfigured `vault-path-invalid`, with the field of the part: empty, longer than 1024 bytes, a control character, or
/// a segment that is empty, `.` or `..`.
pub(crate) fn join(parts: &[(&str, Option<&'static str>)]) -> Result<String, Fault> {
    for (part, field) in parts {
        check(part).map_err(|defect| {
            let fault = Fault::new(Class::Misconfigured, "vault-path-invalid", format!("the path {part:?} {defect}"))
                .remedy("Name it as Vault lists it, without slashes at its ends");
            match field {
                Some(field) => fault.field(*field),
                None => fault,
            }
        })?;
    }
    Ok(parts.iter().map(|(part, _)| *part).collect::<Vec<_>>().join("/"))
}

fn check(part: &str) -> Result<(), &'static str> {
    if part.len() > MAX_BYTES {
        return Err("is longer than 1024 bytes");
    }
    if part.chars().any(char::is_control) {
        return Err("holds a control character");
    }
    for segment in part.split('/') {
        match segment {
            "" => return Err("has an empty segment"),
            "." | ".." => return Err("has a segment of dots"),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_are_refused_with_their_field() {
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", "a/.", "a\nb", "a\u{7f}", &"x".repeat(1025)] {
            let fault = join(&[("secret", None), (bad, Some(field::KV_PATH))]).expect_err(bad);
            assert_eq!((fault.code.as_str(), fault.field.as_deref()), ("vault-path-invalid", Some(field::KV_PATH)));
        }
    }

    #[test]
    fn names_with_spaces_percents_and_letters_of_any_script_pass() {
        let joined = join(&[("team/kv", None), ("data", None), ("a b/c%2Fd/ü?#/..x/…", None)]);
        assert_eq!(joined.as_deref(), Ok("team/kv/data/a b/c%2Fd/ü?#/..x/…"));
    }
}
