//! Audit events, their hash chain, its offline verification, and where it is written.
