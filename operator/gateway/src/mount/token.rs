//! The token: read from a file, again when the file changes, renewed as long as the server lets it.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ps_core::secret::SecretString;
use serde_json::Value;
use tokio::time::Instant;

use super::http::Http;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// A renewal that failed is tried again after this.
const AGAIN: Duration = Duration::from_secs(30);
/// A token longer than this is none.
const LONGEST: usize = 8 * 1024;

/// The token in use.
pub(super) struct TokenFile {
    path: PathBuf,
    current: Mutex<Option<Arc<SecretString>>>,
}

impl TokenFile {
    pub(super) fn new(path: PathBuf) -> Self {
        let file = Self { path, current: Mutex::new(None) };
        file.read_again();
        file
    }

    /// The token, if the file has ever held one.
    pub(super) fn current(&self) -> Option<Arc<SecretString>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file, and says whether another token came of it. A file that is empty or gone changes nothing: whoever
    /// writes it may be in the middle of that.
    pub(super) fn read_again(&self) -> bool {
        let Some(found) = self.read() else { return false };
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let another = current.as_ref().is_none_or(|current| current.expose() != found.expose());
        if another {
            *current = Some(Arc::new(found));
        }
        another
    }

    fn read(&self) -> Option<SecretString> {
        let text = SecretString::new(fs::read_to_string(&self.path).ok()?);
        let token = text.expose().trim();
        let plain = !token.is_empty() && token.len() <= LONGEST && token.bytes().all(|byte| byte.is_ascii_graphic());
        plain.then(|| SecretString::new(token.to_owned()))
    }

    /// Looks at the file and renews the token. Never ends.
    pub(super) async fn keep(&self, http: &Http) {
        let mut due = Instant::now();
        loop {
            if self.read_again() {
                tracing::info!("a new token was read");
                due = Instant::now();
            }
            if Instant::now() >= due
                && let Some(token) = self.current()
            {
                due = Instant::now() + renew(http, &token).await;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Renews the token, and says when to do it next: at half of its life. One that can't be renewed is left to whoever writes the
/// file.
async fn renew(http: &Http, token: &SecretString) -> Duration {
    let Some((status, body)) = http.post("auth/token/renew-self", token, b"{}".to_vec()).await else { return AGAIN };
    if status != 200 {
        return AGAIN;
    }
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    let lives = answer.pointer("/auth/lease_duration").and_then(Value::as_u64).unwrap_or(0);
    if lives == 0 {
        // It lives for ever, or there is nothing to renew.
        return Duration::from_secs(3600);
    }
    Duration::from_secs((lives / 2).clamp(1, 86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_and_nonsense_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let file = TokenFile::new(path.clone());
        assert!(file.current().is_none());
        fs::write(&path, "hvs.one\n").unwrap();
        assert!(file.read_again() && !file.read_again());
        for nonsense in ["", "\n", "two words", "t\u{fc}r"] {
            fs::write(&path, nonsense).unwrap();
            assert!(!file.read_again(), "{nonsense:?}");
        }
        fs::write(&path, "x".repeat(LONGEST + 1)).unwrap();
        assert!(!file.read_again());
        fs::remove_file(&path).unwrap();
        assert!(!file.read_again());
        assert_eq!(file.current().unwrap().expose(), "hvs.one");
        fs::write(&path, "hvs.two").unwrap();
        assert!(file.read_again());
        assert_eq!(file.current().unwrap().expose(), "hvs.two");
    }
}
