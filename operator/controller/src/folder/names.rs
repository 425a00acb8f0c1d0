//! Names of files in the folder: which are manifests, which are ours, and which status belongs to which object.

use ps_api::DEFAULT_NAMESPACE;
use ps_core::ids::Key;

/// Shows that the folder is the real one and not an empty mount point.
pub(super) const MARKER: &str = ".password-sender";
/// Put there by a person to say that many deletions at once are meant.
pub(super) const CONFIRM: &str = ".confirm-deletions";
/// End of the names of status files.
const STATUS: &str = ".status.yaml";
/// Longest name of a status file: file systems allow 255 bytes, and the temporary name is longer.
const LONGEST: usize = 240;

/// Whether a file of this name is a manifest.
pub(super) fn is_manifest(name: &str) -> bool {
    let yaml = name.ends_with(".yaml") || name.ends_with(".yml");
    yaml && !name.starts_with('.') && !name.ends_with(STATUS) && !name.ends_with(".status.yml")
}

/// Whether a change of a file of this name is worth a look at the folder.
pub(super) fn is_interesting(name: &str) -> bool {
    is_manifest(name) || name == MARKER || name == CONFIRM
}

/// Whether a file of this name is one that we write ourselves all the time: a status file, or the draft of one.
pub(super) fn is_status(name: &str) -> bool {
    name.ends_with(STATUS) || name.strip_suffix(".new").is_some_and(|draft| draft.ends_with(STATUS))
}

/// The status file of an object: `NAME.status.yaml`, or `NAMESPACE_NAME.status.yaml` outside `default`; an underscore is
/// in neither, so no two objects share one. `None` if the name would be too long for a file.
pub(super) fn status_file(key: &Key) -> Option<String> {
    let name = if key.namespace == DEFAULT_NAMESPACE {
        format!("{}{STATUS}", key.name)
    } else {
        format!("{}_{}{STATUS}", key.namespace, key.name)
    };
    (name.len() <= LONGEST).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_told_from_other_files() {
        for yes in ["a.yaml", "a.yml", "a b.yaml", "status.yaml"] {
            assert!(is_manifest(yes), "{yes}");
        }
        for no in ["a.status.yaml", ".a.yaml", "a.json", "a.yaml~", "a.yaml.swp", ".status.yaml", "yaml", MARKER] {
            assert!(!is_manifest(no), "{no}");
        }
        assert!(is_interesting(CONFIRM) && !is_interesting("a.status.yaml"));
    }

    #[test]
    fn every_object_has_a_status_file_of_its_own() {
        let file = |namespace: &str, name: &str| status_file(&Key::new(namespace, name));
        assert_eq!(file("default", "a.b").as_deref(), Some("a.b.status.yaml"));
        assert_eq!(file("a", "b").as_deref(), Some("a_b.status.yaml"));
        assert_eq!(file("default", &"x".repeat(253)), None);
        assert!(!is_manifest(&file("a", "b").unwrap()));
    }
}
