//! A folder of templates, as it is read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use ps_core::error::Fault;

use super::check::refused;
use super::{Kind, Part};
use crate::language::Language;

/// Largest template.
const MAX_BYTES: usize = 64 * 1024;

/// Reads every file by its name. Hidden ones are passed over: a mounted ConfigMap has some.
///
/// # Errors
/// For a folder or file that can't be read or has another name than a template.
pub(super) fn read(folder: &Path) -> Result<BTreeMap<String, String>, Fault> {
    let shown = folder.display().to_string();
    let unreadable = |error: std::io::Error| refused(&shown, None, &format!("can't be read: {error}"), "name a folder");
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if !is_template(&name) {
            let names = "remove it, or name it KIND.PART or KIND.LANGUAGE.PART, as in link.html or code.de.txt \
                (kinds: link, code, notice; parts: subject, txt, html; notices have no language), or layout.html";
            return Err(refused(&name, None, "no template has this name", names));
        }
        let source = one(&folder.join(&name)).map_err(|(why, remedy)| refused(&name, None, &why, remedy))?;
        all.insert(name, source);
    }
    Ok(all)
}

fn one(path: &Path) -> Result<String, (String, &'static str)> {
    let unreadable = |error: std::io::Error| (format!("can't be read: {error}"), "make it a file that we may read");
    let (mut bytes, limit) = (Vec::new(), MAX_BYTES as u64 + 1);
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() > MAX_BYTES {
        return Err((format!("is larger than {MAX_BYTES} bytes"), "shorten it; pictures go by reference"));
    }
    let text = String::from_utf8(bytes).map_err(|_| ("is not UTF-8".to_owned(), "save it as UTF-8"))?;
    if text.contains(|c: char| c.is_control() && !['\n', '\r', '\t'].contains(&c)) {
        return Err(("has control characters".to_owned(), "remove them"));
    }
    Ok(text)
}

fn is_template(name: &str) -> bool {
    let kind = |kind: &str| Kind::ALL.into_iter().find(|known| known.as_str() == kind);
    let part = |part: &str| Part::ALL.iter().any(|known| known.extension() == part);
    let language = |code: &str| Language::ALL.iter().any(|known| known.code() == code);
    match *name.split('.').collect::<Vec<_>>().as_slice() {
        ["layout", "html"] => true,
        [k, p] => kind(k).is_some() && part(p),
        // Notices are in English.
        [k, l, p] => kind(k).is_some_and(|kind| kind != Kind::Notice) && language(l) && part(p),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_templates_are_taken_for_templates() {
        for good in ["layout.html", "link.html", "link.de.txt", "code.ar.subject", "notice.subject"] {
            assert!(is_template(good), "{good}");
        }
        for bad in [
            "",
            "link",
            "link.htm",
            "link.html~",
            "links.txt",
            "link.xx.txt",
            "notice.de.txt",
            "layout.de.html",
            "a.b.c.d",
        ] {
            assert!(!is_template(bad), "{bad}");
        }
    }
}
