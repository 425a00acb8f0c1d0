//! The claim token of each link, kept before it is used: whoever lost a reply may ask again with it.
//!
//! One file a link, `$XDG_STATE_HOME/password-sender/claims/ID`, mode 0600, the token and a newline. The id opens nothing,
//! and neither does the token without the link.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use ps_core::ids::LinkId;
use ps_core::secret::{SecretBytes, SecretString};
use ps_envelope::ClaimToken;

use crate::failure::{Exit, Failure};

/// Characters of a token in base64url.
const TOKEN_TEXT: usize = 43;

/// The folder of claim tokens.
#[derive(Debug)]
pub(crate) struct Claims {
    folder: PathBuf,
}

impl Claims {
    /// Where the environment says: `XDG_STATE_HOME` if it is absolute, else below `HOME`.
    pub(crate) fn from_environment() -> Result<Self, Failure> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
        let state = state.ok_or_else(|| {
            Failure::usage(
                "there is no folder to remember the claim in, so a lost reply would lose the secret. Nothing was opened",
                "Set XDG_STATE_HOME to a folder of yours",
            )
        })?;
        Ok(Self::new(&state))
    }

    fn new(state: &Path) -> Self {
        Self { folder: state.join("password-sender").join("claims") }
    }

    fn path(&self, id: LinkId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// The token of a link, if one was kept. Tokens are written whole, so anything else in its place is not ours to
    /// replace.
    pub(crate) fn load(&self, id: LinkId) -> Result<Option<ClaimToken>, Failure> {
        let failed = |e: io::Error| Failure::io(format!("read {}", self.path(id).display()), &e);
        let open = OpenOptions::new().read(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(self.path(id));
        let mut file = match open {
            Ok(file) => file,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let damaged =
            || Failure::new(Exit::Other, format!("{} holds no claim", self.path(id).display()), "Remove that file");
        let text = match SecretBytes::try_fill(TOKEN_TEXT, |out| file.read_exact(out)) {
            Ok(text) => SecretString::from_utf8(text).map_err(|_| damaged())?,
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged()),
            Err(e) => return Err(failed(e)),
        };
        ClaimToken::parse(text.expose()).map(Some).map_err(|_| damaged())
    }

    /// The token of a link, made and kept durably if there was none.
    pub(crate) fn load_or_make(&self, id: LinkId) -> Result<ClaimToken, Failure> {
        if let Some(token) = self.load(id)? {
            return Ok(token);
        }
        let token = ClaimToken::from_fill(getrandom::fill)
            .map_err(|e| Failure::io("draw random bytes", &io::Error::other(e.to_string())))?;
        let failed = |e: io::Error| {
            Failure::io(format!("keep the claim in {}, so nothing was opened", self.folder.display()), &e)
        };
        if self.keep(id, &token).map_err(failed)? {
            return Ok(token);
        }
        // Another process was first: two that open one link on one machine are one claimant.
        self.load(id)?.ok_or_else(|| failed(io::Error::from(io::ErrorKind::AlreadyExists)))
    }

    /// Writes a token whole and durably, unless there is one.
    fn keep(&self, id: LinkId, token: &ClaimToken) -> io::Result<bool> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let text = token.to_text().map_err(io::Error::other)?;
        let path = self.path(id);
        // Named by its content, so that no two writers share one.
        let draft = self.folder.join(format!(".{id}.{}", token.hash()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        let written = file.write_all(text.expose().as_bytes()).and_then(|()| file.write_all(b"\n"));
        let linked = written.and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&draft, &path));
        fs::remove_file(&draft)?;
        match linked {
            Ok(()) => File::open(&self.folder)?.sync_all().map(|()| true),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Forgets the token of a link that needs it no more. If that fails, a useless file stays.
    pub(crate) fn forget(&self, id: LinkId) {
        fs::remove_file(self.path(id)).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_read_back() {
        let state = tempfile::tempdir().unwrap();
        let claims = Claims::new(state.path());
        let (a, b) = (LinkId([1; 16]), LinkId([2; 16]));
        assert!(claims.load(a).unwrap().is_none());
        let made = claims.load_or_make(a).unwrap().hash();
        assert_eq!(claims.load_or_make(a).unwrap().hash(), made);
        assert_eq!(claims.load(a).unwrap().unwrap().hash(), made);
        assert_ne!(claims.load_or_make(b).unwrap().hash(), made);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&claims.path(a)), mode(&claims.folder)), (0o600, 0o700));
        assert_eq!(fs::read_dir(&claims.folder).unwrap().count(), 2, "no drafts");
        claims.forget(a);
        assert!(claims.load(a).unwrap().is_none());
    }

    #[test]
    fn junk_is_named_and_links_are_not_followed() {
        let state = tempfile::tempdir().unwrap();
        let claims = Claims::new(state.path());
        let id = LinkId([3; 16]);
        claims.load_or_make(id).unwrap();
        for junk in ["", "short", &"*".repeat(43), &"A".repeat(42)] {
            fs::write(claims.path(id), junk).unwrap();
            assert!(claims.load(id).is_err() && claims.load_or_make(id).is_err(), "{junk}");
        }
        claims.forget(id);
        claims.load_or_make(id).unwrap();
        fs::rename(claims.path(id), claims.folder.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(claims.folder.join("elsewhere"), claims.path(id)).unwrap();
        assert!(claims.load(id).is_err());
    }

    #[test]
    fn racers_on_one_machine_are_one_claimant() {
        let state = tempfile::tempdir().unwrap();
        let hashes: Vec<_> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Claims::new(state.path()).load_or_make(LinkId([4; 16])).map(|t| t.hash())))
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let first = Claims::new(state.path()).load(LinkId([4; 16])).unwrap().unwrap().hash();
        assert!(hashes.into_iter().all(|hash| hash.unwrap() == first));
    }
}
