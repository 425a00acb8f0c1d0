//! Searching what a secret must not be in.

use std::fs;
use std::path::{Path, PathBuf};

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ps_testbed::holds_bytes;

/// All files below a folder.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let kind = entry.file_type();
            if kind.as_ref().is_ok_and(fs::FileType::is_dir) {
                folders.push(path);
            } else if kind.is_ok_and(|kind| kind.is_file()) {
                files.push(path);
            }
        }
    }
    files
}

/// Whether bytes occur in a file, or in any file of a folder.
pub fn holds(place: &Path, needle: &[u8]) -> bool {
    let files = if place.is_dir() { files_below(place) } else { vec![place.to_owned()] };
    // A file that goes while it is searched (a journal, a temporary file) holds nothing any more.
    files.iter().filter_map(|file| fs::read(file).ok()).any(|bytes| holds_bytes(&bytes, needle))
}

/// Copies a folder with all that is in it.
pub fn copy_tree(from: &Path, to: &Path) {
    for file in files_below(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, &target).unwrap();
    }
}

/// A secret in every form in which it could have leaked.
pub struct Needle {
    /// What it is, for messages: never the secret itself.
    pub name: String,
    forms: Vec<(String, Vec<u8>)>,
}

impl Needle {
    pub fn new(name: &str, secret: &str) -> Self {
        let mut needle = Self::bytes(name, secret.as_bytes());
        needle.form(
            "quoted-printable",
            escaped_only(secret.as_bytes(), |b| b == b'=' || b > 126, |b| format!("={b:02X}")),
        );
        needle.form("percent", escaped_only(secret.as_bytes(), |b| !is_unreserved(b), |b| format!("%{b:02X}")));
        needle.form("JSON", serde_json::to_string(secret).unwrap().trim_matches('"').as_bytes().to_vec());
        needle.form("Go's JSON", go_json(secret).into_bytes());
        needle.form("HTML", secret.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;").into_bytes());
        needle.form("Rust's Debug", format!("{secret:?}").trim_matches('"').as_bytes().to_vec());
        needle.form("UTF-16 LE", secret.encode_utf16().flat_map(u16::to_le_bytes).collect());
        needle.form("UTF-16 BE", secret.encode_utf16().flat_map(u16::to_be_bytes).collect());
        needle
    }

    /// Of something that is no text.
    pub fn bytes(name: &str, bytes: &[u8]) -> Self {
        let mut needle = Self { name: name.to_owned(), forms: Vec::new() };
        needle.form("raw", bytes.to_vec());
        needle.form("hex", hex(bytes).into_bytes());
        needle.form("HEX", hex(bytes).to_uppercase().into_bytes());
        needle.form("every byte percent", bytes.iter().flat_map(|b| format!("%{b:02X}").into_bytes()).collect());
        for (name, engine) in [("base64", &STANDARD_NO_PAD), ("base64url", &URL_SAFE_NO_PAD)] {
            for shift in 0..3 {
                needle.form(&format!("{name} at {shift}"), aligned(engine, bytes, shift));
            }
        }
        needle
    }

    fn form(&mut self, name: &str, bytes: Vec<u8>) {
        assert!(bytes.len() >= 8, "{}: {name} is too short to be searched for", self.name);
        if !self.forms.iter().any(|(_, known)| *known == bytes) {
            self.forms.push((name.to_owned(), bytes));
        }
    }

    /// Every form, planted between other bytes: a search that does not find all of them proves nothing.
    pub fn planted(&self) -> impl Iterator<Item = (&str, Vec<u8>)> {
        self.forms.iter().map(|(name, form)| (name.as_str(), [b"before \0".as_slice(), form, b"\0 after"].concat()))
    }
}

/// Many needles, searched for at once.
pub struct Search {
    needles: Vec<Needle>,
    /// By the first two bytes: which needle and which form may begin there.
    table: Vec<Vec<(usize, usize)>>,
}

impl Search {
    pub fn new(needles: Vec<Needle>) -> Self {
        let mut table = vec![Vec::new(); 1 << 16];
        for (n, needle) in needles.iter().enumerate() {
            for (f, (_, form)) in needle.forms.iter().enumerate() {
                table[usize::from(u16::from_be_bytes([form[0], form[1]]))].push((n, f));
            }
        }
        Self { needles, table }
    }

    /// Each needle and form that occurs, once.
    pub fn found_in(&self, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        let mut at = 0;
        while at + 1 < bytes.len() {
            if bytes[at] == 0 && bytes[at..].starts_with(&[0; 512]) {
                at += 500; // empty memory, of which there is much
                continue;
            }
            for (n, f) in &self.table[usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))] {
                let needle = &self.needles[*n];
                let (name, form) = &needle.forms[*f];
                let what = format!("{} as {name}", needle.name);
                if bytes[at..].starts_with(form) && !found.contains(&what) {
                    found.push(what);
                }
            }
            at += 1;
        }
        found
    }

    /// What occurs in the files below a folder, with the file.
    pub fn found_below(&self, folder: &Path) -> Vec<String> {
        let files = files_below(folder).into_iter().filter_map(|f| Some((fs::read(&f).ok()?, f)));
        files
            .flat_map(|(bytes, f)| self.found_in(&bytes).into_iter().map(move |w| format!("{w} in {}", f.display())))
            .collect()
    }

    /// Fails unless every form of every needle is found where it is planted.
    pub fn assert_it_finds_what_is_there(&self) {
        for needle in &self.needles {
            for (form, planted) in needle.planted() {
                let wanted = format!("{} as {form}", needle.name);
                assert!(self.found_in(&planted).contains(&wanted), "{wanted} would not be found");
            }
        }
    }
}

/// What of the encoding does not depend on the bytes around.
fn aligned(engine: &impl base64::Engine, bytes: &[u8], shift: usize) -> Vec<u8> {
    let mut shifted = vec![0; shift];
    shifted.extend(bytes);
    let text = engine.encode(&shifted).into_bytes();
    let from = (shift * 8).div_ceil(6);
    let to = shifted.len() * 8 / 6;
    text[from..to].to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~".contains(&b)
}

fn escaped_only(bytes: &[u8], which: impl Fn(u8) -> bool, escape: impl Fn(u8) -> String) -> Vec<u8> {
    bytes.iter().flat_map(|b| if which(*b) { escape(*b).into_bytes() } else { vec![*b] }).collect()
}

/// Go escapes what could end a script element.
fn go_json(text: &str) -> String {
    let json = serde_json::to_string(text).unwrap();
    let json = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    json.trim_matches('"').to_owned()
}
