//! The folder source of manifests.
