//! Link records: the embedded store, and the conformance suite every store passes.
