//! Reads `FRAGMENT CODE` lines and prints the body of each link's first claim: what a client sends to `claim`. For measuring
//! programs that may not link this crate.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring program: a failure may end it, and it prints what it made"
)]

use std::io::{BufRead as _, Read as _};

use ps_core::encode::b64;
use ps_core::time::Timestamp;
use ps_envelope::{ClaimToken, Facts, Opener};
use serde_json::json;

fn main() {
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let (fragment, code) = line.split_once(' ').unwrap();
        let opener = Opener::from_fragment(fragment).unwrap();
        let facts = Facts::new(Timestamp::from_millis(0), &[]).unwrap();
        let proof = b64(opener.unlock(facts, None).unwrap().proof().expose());
        let token = ClaimToken::from_fill(|out| std::fs::File::open("/dev/urandom")?.read_exact(out));
        let token: Result<_, std::io::Error> = token;
        let access = b64(opener.access().expose());
        let hash = b64(&token.unwrap().hash().0);
        println!(
            "{}",
            json!({"id": opener.id(), "access": access, "openingCode": code, "proof": proof, "tokenHash": hash})
        );
    }
}
