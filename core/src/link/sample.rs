//! A link whose preimages a test knows.

use super::{Command, Link, Proof, Sealed, Step, Verification, apply, opening_code_hash};
use crate::ids::{Digest, LinkId};
use crate::time::{Span, Timestamp};

pub(crate) const ID: LinkId = LinkId([1; 16]);
pub(crate) const ACCESS: [u8; 32] = [2; 32];
pub(crate) const DECLINE: [u8; 32] = [3; 32];
pub(crate) const PROOF: [u8; 32] = [4; 32];
pub(crate) const TOKEN: [u8; 32] = [5; 32];
pub(crate) const WRONG: [u8; 32] = [0; 32];

/// Put at 1000 s, expires at 2000 s, window of 100 s, at most until 3000 s.
pub(crate) fn link(kinds: &[Verification]) -> Link {
    let sealed = Sealed {
        id: ID,
        access: Digest::of(&ACCESS),
        decline: Digest::of(&DECLINE),
        proof: Digest::of(&PROOF),
        code: Some(opening_code_hash(ID, "CODE")),
        kinds: kinds.to_vec(),
        kdf: None,
        not_after: Timestamp::from_secs(3000),
        claim_window: Span::from_secs(100),
        ciphertext_hash: Digest::of(b"ciphertext"),
        preview_hash: Digest::of(b"preview"),
    };
    Link::new(sealed, Timestamp::from_secs(2000), b"ciphertext".to_vec(), b"preview".to_vec())
}

pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

pub(crate) fn code(right: bool) -> Option<Digest> {
    Some(opening_code_hash(ID, if right { "CODE" } else { "EDOC" }))
}

pub(crate) fn lookup() -> Command {
    Command::Lookup { access: ACCESS }
}

pub(crate) fn claim() -> Command {
    Command::Claim { access: ACCESS, code: code(true), proof: Proof(PROOF), token_hash: Digest::of(&TOKEN) }
}

pub(crate) fn claim_again() -> Command {
    Command::ClaimAgain { access: ACCESS, proof: Proof(PROOF), token: TOKEN }
}

pub(crate) fn acknowledge() -> Command {
    Command::Acknowledge { access: ACCESS, token: TOKEN }
}

pub(crate) fn decline() -> Command {
    Command::Decline { access: ACCESS, code: code(true), preimage: DECLINE }
}

/// The link after a command, changed or not.
pub(crate) fn after(link: &Link, command: &Command, secs: i64) -> Link {
    let Step { next, .. } = apply(link, command, at(secs));
    next.unwrap_or_else(|| link.clone())
}

/// A link after several commands at their times.
pub(crate) fn history(steps: &[(Command, i64)]) -> Link {
    steps.iter().fold(link(&[]), |link, (command, secs)| after(&link, command, *secs))
}
