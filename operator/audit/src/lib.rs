//! The audit trail: a file of JSON lines in a hash chain, its writer, its readers, and its verification without anything
//! but the file.
//!
//! One line is `{"v":1,"n":0,"ledger":"…","id":"…","event":{…},"prev":"…","sum":"…"}`:
//! - `n` counts lines from 0, `ledger` names the ledger whose trail it is, `id` is the event's derived id;
//! - `prev` is the SHA-256, in hex, of the previous line exactly as written, without its newline. An auditor checks it
//!   with `sed -n 7p audit.jsonl | tr -d '\n' | sha256sum`. The first line's `prev` is that of the text [`genesis`];
//! - `sum` is the SHA-256 of the line without its `sum`:
//!   `sed -n 7p audit.jsonl | sed 's/,"sum":"[0-9a-f]*"}$/}/' | tr -d '\n' | sha256sum`. It protects the last line, which
//!   no later line vouches for, against accidents.
//!
//! Whoever can write the file can make up another chain: only a [`Head`] that is kept elsewhere (the ledger, a second
//! disk, the log collector that has the mirror) shows that. [`verify_file`] takes one.
//!
//! Events are written at least once (invariant 10): after a crash the same event may come twice. Its id is the same, so
//! [`verify`] counts one and compares the other.
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a panic in a test is its failure report"))]

mod line;
mod lines;
mod read;
mod report;
mod streams;
mod tail;
mod trail;
mod verify;
mod writer;

pub use line::{Head, MAX_LINE, genesis};
pub use read::{EventReader, witness};
pub use report::{Broken, Defect, Gap, Report, Together};
pub use trail::{FileTrail, Mirror};
pub use verify::{verify, verify_file, verify_together};
