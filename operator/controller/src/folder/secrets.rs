//! Secrets as files: `SECRETS_DIR/<namespace>/<name>/<key>`, what a Kubernetes Secret is in a cluster.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ps_core::delivery::SecretKeyRef;
use ps_core::error::{Class, Fault};
use ps_core::secret::{SecretBytes, SecretString};

/// Largest secret, in bytes.
const MOST: u64 = 64 * 1024;

/// Reads one secret. One line break at the end is not part of it.
///
/// # Errors
/// Misconfigured, code `secret-unavailable`: no such file, empty, too large, not UTF-8, or readable by everybody.
pub(super) fn read(folder: &Path, namespace: &str, key: &SecretKeyRef) -> Result<SecretString, Fault> {
    let place = format!("{namespace}/{}/{}", key.name, key.key);
    let fault = |what: &str, remedy: String| {
        Fault::new(Class::Misconfigured, "secret-unavailable", format!("the secret {place} {what}")).remedy(remedy)
    };
    if [namespace, &key.name, &key.key].into_iter().any(|part| !is_one_name(part)) {
        return Err(fault(
            "has a name that can't be one of a file",
            "Correct the name of the secret and of its key".to_owned(),
        ));
    }
    let path = folder.join(namespace).join(&key.name).join(&key.key);
    let put = || format!("Put it into the file {place} of the secrets folder, readable by the operator's user only");
    // Looked at before it is opened: opening a pipe would wait for its other end.
    let meta = std::fs::metadata(&path).map_err(|e| fault(&format!("can't be read: {}", e.kind()), put()))?;
    if !meta.is_file() {
        return Err(fault("is not a file", put()));
    }
    let mut file = File::open(&path).map_err(|e| fault(&format!("can't be read: {}", e.kind()), put()))?;
    let meta = file.metadata().map_err(|e| fault(&format!("can't be read: {}", e.kind()), put()))?;
    if meta.mode() & 0o007 != 0 {
        return Err(fault(
            "is open to every user of this machine",
            format!("Run chmod 600 on the file {place} of the secrets folder, and replace the secret"),
        ));
    }
    if meta.len() > MOST {
        return Err(fault(&format!("is larger than {MOST} bytes"), put()));
    }
    let length = usize::try_from(meta.len()).unwrap_or_default();
    // Filled in place, so that no reallocation leaves a copy behind; a file that shrinks meanwhile is an error.
    let bytes = SecretBytes::try_fill(length, |out| file.read_exact(out)).map_err(|e| {
        fault(&format!("changed while it was read: {}", e.kind()), "Write it to another file and rename it".to_owned())
    })?;
    let text = bytes.expose();
    let trimmed = text.strip_suffix(b"\n").map_or(text, |line| line.strip_suffix(b"\r").unwrap_or(line));
    if trimmed.is_empty() {
        return Err(fault("is empty", put()));
    }
    SecretString::from_utf8(SecretBytes::new(trimmed.to_vec())).map_err(|_| fault("is not UTF-8 text", put()))
}

/// Whether a name stays inside its folder.
fn is_one_name(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= 253
        && part != "."
        && part != ".."
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn put(folder: &Path, bytes: &[u8], mode: u32) -> Result<SecretString, Fault> {
        let at = folder.join("default/vault");
        std::fs::create_dir_all(&at).unwrap();
        std::fs::write(at.join("token"), bytes).unwrap();
        std::fs::set_permissions(at.join("token"), std::fs::Permissions::from_mode(mode)).unwrap();
        get(folder, "vault", "token")
    }

    fn get(folder: &Path, name: &str, key: &str) -> Result<SecretString, Fault> {
        read(folder, "default", &SecretKeyRef { name: name.into(), key: key.into() })
    }

    #[test]
    fn one_line_break_at_the_end_is_not_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        for (bytes, secret) in [
            (&b"s3cret"[..], "s3cret"),
            (b"s3cret\n", "s3cret"),
            (b"s3cret\r\n", "s3cret"),
            (b"s3cret \n\n", "s3cret \n"),
        ] {
            assert_eq!(put(folder.path(), bytes, 0o600).unwrap().expose(), secret);
        }
        assert_eq!(put(folder.path(), b"group", 0o640).unwrap().expose(), "group");
    }

    #[test]
    fn what_is_no_secret_is_refused_without_quoting_it() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |outcome: Result<SecretString, Fault>, word: &str| {
            let fault = outcome.err().unwrap();
            assert_eq!((fault.class, fault.code.as_str()), (Class::Misconfigured, "secret-unavailable"));
            assert!(
                fault.to_string().contains(word) && !fault.remedy.is_empty() && !fault.to_string().contains("s3cret"),
                "{fault}"
            );
        };
        refused(put(folder.path(), b"s3cret", 0o644), "chmod 600");
        refused(put(folder.path(), b"s3cret", 0o602), "chmod 600");
        refused(put(folder.path(), b"", 0o600), "empty");
        refused(put(folder.path(), b"\n", 0o600), "empty");
        refused(put(folder.path(), b"s3cret\xff", 0o600), "UTF-8");
        refused(put(folder.path(), &vec![b'x'; 65 * 1024], 0o600), "larger");
        refused(get(folder.path(), "none", "token"), "default/none/token");
        refused(get(folder.path(), "..", "token"), "name");
        refused(get(folder.path(), "vault", "../vault/token"), "name");
        std::fs::create_dir_all(folder.path().join("default/vault/dir")).unwrap();
        refused(get(folder.path(), "vault", "dir"), "not a file");
    }
}
