//! Looks at the folder: which manifests there are and what they say, without judging what that means.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ps_api::{Document, Kind, Limits, Parsed, read};
use ps_core::error::{Class, Fault};
use ps_core::ids::{Digest, Key, Stamp};
use ps_core::time::{Span, Timestamp};

use super::names::{CONFIRM, MARKER, is_manifest};

/// Most manifests that are looked at in one folder.
const MOST_FILES: usize = 10_000;
/// Documents that are parsed in one look; the rest waits for the next one, a moment later. Parsed ones take ten kilobytes
/// each until they are judged.
const MOST_PARSED: usize = 500;
/// How long a file must have been left alone before it is judged: somebody may be in the middle of writing it.
pub(super) const SETTLED: Span = Span::from_millis(200);

/// One document, as seen. Ten thousand of them stay in memory, so the text goes once it was judged.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sighting {
    /// Which kind of object.
    pub(super) kind: Kind,
    /// Which object.
    pub(super) key: Key,
    /// The stamp annotation.
    pub(super) stamp: Option<Stamp>,
    /// Digest of the document.
    pub(super) digest: Digest,
    /// The document itself, in the look that parsed it; later looks at the same file go without.
    pub(super) content: Option<Arc<Document>>,
}

impl Sighting {
    pub(super) fn of(document: Document) -> Self {
        Self {
            kind: document.kind,
            key: document.key.clone(),
            stamp: document.stamp.clone(),
            digest: Digest::of(document.value.to_string().as_bytes()),
            content: Some(Arc::new(document)),
        }
    }
}

/// One file, as seen.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FileSight {
    /// Its documents.
    Documents(Arc<[Sighting]>),
    /// It can't be read as manifests.
    Broken(Fault),
    /// It was written a moment ago: look again before judging it.
    Unsettled,
    /// Too many others were parsed in this look: it is the next one's.
    Later,
}

/// The folder, as seen in one pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sight {
    /// Manifests by file name.
    pub(super) files: BTreeMap<String, FileSight>,
    /// Some are the next look's: what was not seen may be in them.
    pub(super) partial: bool,
    /// Files beyond [`MOST_FILES`] were left out, so absence of anything proves nothing.
    pub(super) crowded: bool,
    /// A person confirms that many deletions at once are meant.
    pub(super) confirmed: bool,
}

impl FileSight {
    /// How many documents were parsed in this look.
    fn fresh(&self) -> usize {
        match self {
            Self::Documents(documents) => documents.iter().filter(|d| d.content.is_some()).count(),
            Self::Broken(_) | Self::Unsettled | Self::Later => 0,
        }
    }

    /// The same without the documents' content.
    fn without_content(&self) -> Self {
        match self {
            Self::Documents(documents) => {
                Self::Documents(documents.iter().map(|d| Sighting { content: None, ..d.clone() }).collect())
            }
            other => other.clone(),
        }
    }
}

/// What a file was when it was parsed last: the same again needs no second parse.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// When anything about the file changed last. A program can set the time of modification, not this one.
    fn at(&self) -> Timestamp {
        let (secs, nanos) = self.changed;
        Timestamp::from_millis(secs.saturating_mul(1000).saturating_add(nanos / 1_000_000))
    }
}

/// Reads a folder again and again, parsing only what changed.
#[derive(Debug)]
pub(super) struct Reader {
    folder: PathBuf,
    limits: Limits,
    parsed: BTreeMap<String, (Fingerprint, FileSight)>,
}

impl Reader {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, limits: Limits::default(), parsed: BTreeMap::new() }
    }

    /// One pass over the folder. `makes_marker` says that a folder without our marker is a new one and gets it.
    ///
    /// # Errors
    /// The folder can't be read, or is not the one it was: nothing may be concluded from what is not in it.
    pub(super) fn look(&mut self, now: Timestamp, makes_marker: bool) -> Result<Sight, Fault> {
        let folder = self.folder.canonicalize().map_err(|e| unreadable(&self.folder, &e))?;
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(|e| unreadable(&folder, &e))? {
            // An error in the middle of a listing means that the listing is not whole.
            let entry = entry.map_err(|e| unreadable(&folder, &e))?;
            if let Some(name) = entry.file_name().to_str().filter(|name| is_manifest(name)) {
                names.push(name.to_owned());
            }
        }
        check_marker(&folder, makes_marker)?;
        names.sort();
        let crowded = names.len() > MOST_FILES;
        names.truncate(MOST_FILES);
        let mut parsed = BTreeMap::new();
        let mut files = BTreeMap::new();
        let (mut fresh, mut partial) = (0, false);
        for name in names {
            let Some((print, sight)) = self.file(&folder, &name, now, fresh < MOST_PARSED) else { continue };
            fresh += sight.fresh();
            partial |= sight == FileSight::Later;
            if let Some(print) = print {
                parsed.insert(name.clone(), (print, sight.without_content()));
            }
            files.insert(name, sight);
        }
        self.parsed = parsed;
        Ok(Sight { files, partial, crowded, confirmed: folder.join(CONFIRM).exists() })
    }

    /// Parses a file anew in the next look, whatever it looks like.
    pub(super) fn forget(&mut self, name: &str) {
        self.parsed.remove(name);
    }

    /// One file; `None` if it went meanwhile or is no file. The fingerprint comes with what is worth keeping.
    fn file(
        &self,
        folder: &Path,
        name: &str,
        now: Timestamp,
        may_parse: bool,
    ) -> Option<(Option<Fingerprint>, FileSight)> {
        let path = folder.join(name);
        let broken = |fault| Some((None, FileSight::Broken(fault)));
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !path.is_symlink() => return None,
            Err(e) => return broken(cannot_read(name, &e)),
        };
        if !real.starts_with(folder) {
            return broken(file_fault(
                name,
                "is a link that leaves the folder",
                "put the manifest itself into the folder",
            ));
        }
        let meta = match std::fs::metadata(&real) {
            Ok(meta) => meta,
            Err(e) => return broken(cannot_read(name, &e)),
        };
        if !meta.is_file() {
            return meta
                .is_dir()
                .then_some(())
                .map_or_else(|| broken(file_fault(name, "is not a regular file", "remove it")), |()| None);
        }
        let print = Fingerprint::of(&meta);
        // A clock far behind the file's time is another clock; waiting for it would take for ever.
        let (age, ahead) = (now.since(print.at()), print.at().since(now));
        if age < SETTLED && ahead < Span::from_secs(60) {
            return Some((None, FileSight::Unsettled));
        }
        if let Some((known, sight)) = self.parsed.get(name)
            && *known == print
        {
            return Some((Some(print), sight.clone()));
        }
        if !may_parse {
            return Some((None, FileSight::Later));
        }
        let sight = match self.text(name, &real) {
            Ok(text) => match read(&text, &self.limits) {
                Ok(parsed) => {
                    say_foreign(name, &parsed);
                    FileSight::Documents(parsed.documents.into_iter().map(Sighting::of).collect())
                }
                Err(fault) => FileSight::Broken(in_file(name, fault)),
            },
            Err(fault) => return broken(fault),
        };
        Some((Some(print), sight))
    }

    fn text(&self, name: &str, path: &Path) -> Result<String, Fault> {
        let most = self.limits.bytes as u64;
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
            .map_err(|e| cannot_read(name, &e))?;
        if bytes.len() as u64 > most {
            return Err(file_fault(name, &format!("is larger than {most} bytes"), "split it"));
        }
        String::from_utf8(bytes)
            .map_err(|_| file_fault(name, "is not UTF-8 text", "save it as UTF-8, or move it out of the folder"))
    }
}

/// Says what in a file is none of our kinds, once for each time that it is parsed.
fn say_foreign(name: &str, parsed: &Parsed) {
    if parsed.foreign.is_empty() {
        return;
    }
    let mut kinds: Vec<&str> = parsed.foreign.iter().map(|f| f.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.truncate(10);
    tracing::info!(file = %shown(name), count = parsed.foreign.len(), kinds = %kinds.join(", "), "left alone: objects of other kinds");
}

/// Finds the marker, or makes it in a folder that never had one.
fn check_marker(folder: &Path, makes_marker: bool) -> Result<(), Fault> {
    let marker = folder.join(MARKER);
    match std::fs::symlink_metadata(&marker) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && makes_marker => std::fs::write(
            &marker,
            "password-sender looks for this file to see that the folder is mounted. Leave it here.\n",
        )
        .map_err(|e| {
            Fault::new(
                Class::Misconfigured,
                "folder-not-writable",
                format!("{MARKER} can't be made in the manifests folder: {}", e.kind()),
            )
            .remedy("Let the operator's user write to the folder; status files go there too")
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Fault::new(
            Class::Transient,
            "folder-not-mounted",
            format!("the manifests folder has no {MARKER}, which it had before"),
        )
        .remedy(format!("Mount the folder again; if it is the right one, make an empty file {MARKER} in it"))),
        Err(e) => Err(unreadable(folder, &e)),
    }
}

fn unreadable(folder: &Path, error: &std::io::Error) -> Fault {
    Fault::new(
        Class::Transient,
        "folder-unreadable",
        format!("the manifests folder {} can't be read: {}", folder.display(), error.kind()),
    )
    .remedy("Mount it, and let the operator's user read it; until then nothing counts as deleted")
}

fn cannot_read(name: &str, error: &std::io::Error) -> Fault {
    file_fault(name, &format!("can't be read: {}", error.kind()), "let the operator's user read it")
}

/// A fault of one file as a whole.
pub(super) fn file_fault(name: &str, what: &str, remedy: &str) -> Fault {
    Fault::new(Class::Misconfigured, "invalid-file", format!("{} {what}", shown(name))).remedy(capitalised(remedy))
}

/// A fault of a file's text, with the file's name.
fn in_file(name: &str, fault: Fault) -> Fault {
    Fault { message: format!("{}: {}", shown(name), fault.message), ..fault }
}

/// A file's name, fit for a message.
fn shown(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).take(100).collect()
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
