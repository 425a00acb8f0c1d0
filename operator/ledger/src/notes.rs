//! What the folder source remembers of its files, and who holds the folder.

use ps_core::error::Fault;
use ps_core::ids::Key;

use crate::index;

/// What the folder source remembers of one manifest: it gives files the identity and history that an API server gives objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectNote {
    /// Namespace and name.
    pub key: Key,
    /// The uid that was given to this incarnation.
    pub uid: String,
    /// Counts changes of the spec, from 1.
    pub generation: i64,
    /// The last good spec, as text; it stands while the file does not parse.
    pub spec_text: String,
    /// Digest of that spec, in whatever form the source compares.
    pub spec_digest: String,
}

impl ObjectNote {
    /// Refuses a note that is larger than an entry may be.
    ///
    /// # Errors
    /// `entry-too-large`.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let size = self.uid.len() + self.spec_text.len() + self.spec_digest.len();
        index::fits("object note", &self.key, size)
    }
}
