//! Measures sealing and opening against the bare cipher on the same bytes: `cargo run -p ps-envelope --example seal_speed -- MILLISECONDS`.
//! Prints `figure NAME VALUE` lines for `cargo xtask bench`; a ratio of 1 means "as fast as the bare cipher".
//!
//! * *bare*: one allocation of the message's size, the plaintext copied in, ChaCha20-Poly1305 in place.
//! * *message*: the cipher layer as the product uses it: the key derived, the associated data built, the buffer that wipes itself.
//! * *whole*: [`seal`] and [`Unlocked::open`](ps_envelope::Unlocked::open): JSON written or read, the preview, every
//!   derivation, and the two SHA-256 that the record keeps.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring program: a failure may end it, and it prints its figures"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use chacha20poly1305::{AeadInOut as _, ChaCha20Poly1305, KeyInit as _, Nonce, Tag};
use ps_core::ids::Digest;
use ps_core::secret::SecretString;
use ps_core::time::{Span, Timestamp};
use ps_envelope::{
    Facts, Field, FieldKind, FreshSecret, Opener, OpeningCode, Passphrase, Payload, Preview, SealInput, SealedLink,
    derive, key, seal,
};

const AT: Timestamp = Timestamp::from_secs(1_800_000_000);
const TAG: usize = 16;

fn main() {
    let millis = std::env::args().nth(1).map_or(600, |text| text.parse().unwrap());
    for kib in [1, 64, 256] {
        measure(kib, Duration::from_millis(millis));
    }
}

fn payload(bytes: usize) -> Payload {
    // What a private key or a certificate looks like: text with line breaks.
    let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
    let text: String = std::iter::repeat_n(line, bytes.div_ceil(line.len())).collect::<Vec<_>>().join("\n");
    let value = SecretString::new(text.chars().take(bytes).collect());
    let field = Field { key: "key".into(), label: "Private key".into(), kind: FieldKind::Multiline, value };
    Payload { fields: vec![field], ..Payload::default() }
}

fn sealed(payload: &Payload, preview: &Preview, code: &OpeningCode) -> SealedLink {
    let none: Option<&Passphrase> = None;
    seal(SealInput {
        secret: FreshSecret::from_random([5; 32]),
        passphrase: none,
        factor: None,
        opening_code: Some(code),
        payload,
        preview,
        not_after: AT,
        claim_window: Span::from_secs(900),
        kinds: &[],
    })
    .unwrap()
}

fn bare_seal(plain: &[u8]) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(plain.len() + TAG);
    buffer.extend_from_slice(plain);
    let cipher = ChaCha20Poly1305::new_from_slice(&[7; 32]).unwrap();
    let tag = cipher.encrypt_inout_detached(&Nonce::default(), b"aad", buffer.as_mut_slice().into()).unwrap();
    buffer.extend_from_slice(&tag);
    buffer
}

fn bare_open(message: &[u8]) -> Vec<u8> {
    let (body, tag) = message.split_at(message.len() - TAG);
    let mut buffer = body.to_vec();
    let cipher = ChaCha20Poly1305::new_from_slice(&[7; 32]).unwrap();
    let tag: &Tag = tag.try_into().unwrap();
    cipher.decrypt_inout_detached(&Nonce::default(), b"aad", buffer.as_mut_slice().into(), tag).unwrap();
    buffer
}

/// Runs the candidates in turns, so that a busy neighbour slows all of them, and gives the fastest round of each in microseconds.
fn race<const N: usize>(total: Duration, mut candidates: [&mut dyn FnMut(); N]) -> [f64; N] {
    const ROUND: Duration = Duration::from_millis(8);
    let mut best = [f64::INFINITY; N];
    let end = Instant::now() + total;
    while Instant::now() < end {
        for (best, run) in best.iter_mut().zip(&mut candidates) {
            let (start, mut count) = (Instant::now(), 0_u32);
            while start.elapsed() < ROUND {
                run();
                count += 1;
            }
            *best = best.min(start.elapsed().as_secs_f64() * 1e6 / f64::from(count));
        }
    }
    best
}

fn measure(kib: usize, total: Duration) {
    let payload = payload(kib * 1024);
    let preview =
        Preview { title: SecretString::new("Key".into()), sender: SecretString::new("ops".into()), works_for: None };
    let code = OpeningCode::from_random([1, 2, 3, 4, 5]).unwrap();
    let link = sealed(&payload, &preview, &code);
    let opener = Opener::from_fragment(link.secret.to_fragment().unwrap().expose()).unwrap();
    let facts = || Facts::new(AT, &[]).unwrap();
    let plain = vec![b'x'; link.ciphertext.len() - TAG];
    let message = bare_seal(&plain);
    let stretched = ps_envelope::Stretched::none();

    let [bare, hash, whole] = race(
        total,
        [
            &mut || drop(black_box(bare_seal(black_box(&plain)))),
            &mut || {
                black_box(Digest::of(black_box(&message)));
            },
            &mut || drop(black_box(sealed(&payload, &preview, &code))),
        ],
    );
    let [bare_open, opened, derivations, whole_open] = race(
        total,
        [
            &mut || drop(black_box(bare_open(black_box(&message)))),
            &mut || {
                let key = key(&link.secret, &stretched, None).unwrap();
                drop(black_box(key.open(&facts(), link.sealed.id, black_box(&link.ciphertext)).unwrap()));
            },
            &mut || {
                drop(black_box(derive(&link.secret).unwrap()));
                drop(black_box(key(&link.secret, &stretched, None).unwrap()));
            },
            &mut || drop(black_box(opener.unlock(facts(), None).unwrap().open(None, &link.ciphertext).unwrap())),
        ],
    );
    let figure = |name: &str, value: f64| println!("figure {kib}k.{name} {value:.4}");
    figure("bytes", plain.len() as f64);
    figure("bare_seal_us", bare);
    figure("sha256_us", hash);
    figure("seal_us", whole);
    figure("derivations_us", derivations);
    figure("seal_ratio", bare / whole);
    figure("seal_ratio_with_hash", (bare + hash) / whole);
    figure("bare_open_us", bare_open);
    figure("open_message_us", opened);
    figure("open_us", whole_open);
    figure("open_message_ratio", bare_open / opened);
    figure("open_ratio", bare_open / whole_open);
}
