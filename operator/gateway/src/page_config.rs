//! Reading `--page-config`: one YAML file, unknown fields refused with the nearest name.

use std::io::{self, Read as _};
use std::path::Path;

use ps_core::nearest::nearest_field;
use ps_core::page::{Brand, PageConfig};

/// The longest file that is read, in bytes: two texts in every language, and a logo.
const MAX_BYTES: u64 = 128 * 1024;

/// Why the page's configuration can't be used. It says which field, and what to write instead.
#[derive(Debug, thiserror::Error)]
pub enum PageConfigFault {
    /// The file can't be read, or is too large.
    #[error("can't be read: {0}")]
    Read(String),
    /// It does not parse.
    #[error("{why}{}", hint.as_ref().map_or(String::new(), |name| format!(". Did you mean `{name}`?")))]
    Parse {
        /// What, and where.
        why: String,
        /// The nearest known name of an unknown field.
        hint: Option<String>,
    },
    /// A field can't be used.
    #[error(transparent)]
    Field(#[from] ps_core::page::PageConfigError),
}

/// Reads a file; `-` is standard input.
///
/// # Errors
/// [`PageConfigFault`].
pub fn load(path: &Path) -> Result<Brand, PageConfigFault> {
    let mut text = String::new();
    let read = |from: &mut dyn io::Read, text: &mut String| from.take(MAX_BYTES + 1).read_to_string(text);
    let result = if path == Path::new("-") {
        read(&mut io::stdin().lock(), &mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| read(&mut file, &mut text))
    };
    result.map_err(|error| PageConfigFault::Read(error.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(PageConfigFault::Read(format!("larger than {MAX_BYTES} bytes")));
    }
    parse(&text)
}

/// Parses and checks.
///
/// # Errors
/// [`PageConfigFault`].
pub fn parse(text: &str) -> Result<Brand, PageConfigFault> {
    let config: PageConfig = serde_yaml::from_str(text).map_err(|error| {
        let why = error.to_string();
        PageConfigFault::Parse { hint: nearest_field(&why), why }
    })?;
    Ok(config.brand()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_becomes_a_brand() {
        let brand = parse("name: Example GmbH\ncolor: \"#0a5c8f\"\ncontact: {default: Ask us}\n").unwrap();
        assert!(brand.json.contains(r#""name":"Example GmbH""#), "{}", brand.json);
    }

    #[test]
    fn mistakes_are_named() {
        let said = |text: &str| parse(text).unwrap_err().to_string();
        assert!(said("colour: red").ends_with("Did you mean `color`?"), "{}", said("colour: red"));
        assert!(said("color: red").starts_with("color: "));
        assert!(said("name: [x]").contains("name"));
    }

    #[test]
    fn files_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("page.yaml");
        std::fs::write(&file, format!("# {}\nname: X\n", "x".repeat(200 * 1024))).unwrap();
        assert!(matches!(load(&file), Err(PageConfigFault::Read(_))));
        std::fs::write(&file, "name: X\n").unwrap();
        assert_eq!(load(&file).unwrap().json, r#"{"name":"X"}"#);
        assert!(matches!(load(&folder.path().join("none")), Err(PageConfigFault::Read(_))));
    }
}
