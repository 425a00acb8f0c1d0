//! The operator's own memory: the embedded ledger, and the conformance suite every ledger passes.
