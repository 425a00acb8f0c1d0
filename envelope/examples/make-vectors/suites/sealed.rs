//! Derived values, the facts of a link, associated data and the record's hashes.

use ps_core::encode::b64;
use ps_core::ids::{Digest, LinkId};
use ps_core::link::{Sealed, Verification, kinds_text};
use ps_core::secret::SecretBytes;
use ps_core::time::{Span, Timestamp};
use ps_envelope::{FactorSecret, Facts, LinkSecret, OpeningCode, Passphrase, Purpose, Stretched};
use serde_json::{Value, json};

use super::{bad, good, seed};

/// `S` as a client gets it.
pub(super) fn link_secret(s: &[u8; 32]) -> LinkSecret {
    LinkSecret::parse_fragment(&format!("ps1.{}", b64(s))).unwrap()
}

pub(super) const ALL_KINDS: [&[Verification]; 8] = {
    use Verification::{EmailCode, Oidc, Passphrase};
    [
        &[],
        &[Passphrase],
        &[EmailCode],
        &[Oidc],
        &[Passphrase, EmailCode],
        &[Passphrase, Oidc],
        &[EmailCode, Oidc],
        &[Passphrase, EmailCode, Oidc],
    ]
};

pub(super) fn names(kinds: &[Verification]) -> Vec<&'static str> {
    kinds.iter().map(|k| k.as_str()).collect()
}

pub(super) fn derive() -> Vec<Value> {
    let (p, r) = (seed("p").to_vec(), seed("r").to_vec());
    let none = Vec::new();
    let mut cases = Vec::new();
    for (name, s, p, r) in [
        ("link only", seed("s"), &none, &none),
        ("passphrase", seed("s"), &p, &none),
        ("e-mailed code", seed("s"), &none, &r),
        ("passphrase and e-mailed code", seed("s"), &p, &r),
        ("passphrase and e-mailed code trade places", seed("s"), &r, &p),
        ("the e-mailed code's bytes as passphrase", seed("s"), &r, &none),
        ("zero link", [0; 32], &none, &none),
        ("link with all bits set", [0xff; 32], &none, &none),
        ("zero link, zero passphrase", [0; 32], &vec![0; 32], &none),
        ("everything zero", [0; 32], &vec![0; 32], &vec![0; 32]),
    ] {
        let link = link_secret(&s);
        let d = ps_envelope::derive(&link).unwrap();
        let stretched = Stretched::from_bytes(SecretBytes::new(p.clone())).unwrap();
        let factor = (!r.is_empty()).then(|| FactorSecret::from_bytes(SecretBytes::new(r.clone())).unwrap());
        cases.push(good(
            name,
            json!({"s": b64(&s), "p": b64(p), "r": b64(r)}),
            json!({
                "id": b64(&d.id.0),
                "access": b64(d.access.expose()),
                "decline": b64(d.decline.expose()),
                "salt": b64(&d.salt),
                "previewKey": b64(d.preview_key.expose()),
                "proof": b64(ps_envelope::proof(&link, &stretched).unwrap().expose()),
                "key": b64(ps_envelope::key(&link, &stretched, factor.as_ref()).unwrap().expose()),
            }),
        ));
    }
    let s = b64(&seed("s"));
    for (name, p, r) in [
        ("P of 31 bytes", vec![1; 31], vec![]),
        ("P of 33 bytes", vec![1; 33], vec![]),
        ("P of one byte", vec![1], vec![]),
        ("R of 31 bytes", vec![], vec![1; 31]),
        ("R of 16 bytes", vec![], vec![1; 16]),
        ("R of 64 bytes", vec![], vec![1; 64]),
    ] {
        cases.push(bad(name, json!({"s": s, "p": b64(&p), "r": b64(&r)}), "wrong-length"));
    }
    cases
}

pub(super) fn facts() -> Vec<Value> {
    const KDF: &str = "argon2id-19456-2-1";
    let at = 1_800_000_000_000_i64;
    let mut cases = Vec::new();
    let input = |kinds: &[&str], kdf: Option<&str>, at: i64| json!({"kinds": kinds, "kdf": kdf, "notAfter": at});
    for kinds in ALL_KINDS {
        let text = kinds_text(kinds);
        let kdf = kinds.contains(&Verification::Passphrase).then_some(KDF);
        let name = if text.is_empty() { "no kinds" } else { &text };
        let output = json!({"kindsText": text, "kdfText": kdf.unwrap_or_default()});
        cases.push(good(name, input(&names(kinds), kdf, at), output));
    }
    for (name, at) in [("time zero", 0), ("the last time", (1 << 53) - 1)] {
        cases.push(good(name, input(&[], None, at), json!({"kindsText": "", "kdfText": ""})));
    }
    let p = "passphrase";
    for (name, kinds, kdf, error) in [
        ("another order", &["emailCode", p][..], Some(KDF), "bad-kinds"),
        ("a kind twice", &["oidc", "oidc"], None, "bad-kinds"),
        ("an unknown kind", &["sms"], None, "bad-kinds"),
        ("an empty kind", &[""], None, "bad-kinds"),
        ("a kind in upper case", &["OIDC"], None, "bad-kinds"),
        ("two kinds in one", &["passphrase,oidc"], Some(KDF), "bad-kinds"),
        ("passphrase without parameters", &[p], None, "bad-kdf"),
        ("parameters without passphrase", &["oidc"], Some(KDF), "bad-kdf"),
        ("parameters without any kind", &[], Some(KDF), "bad-kdf"),
        ("empty parameters", &[p], Some(""), "bad-kdf"),
        ("weaker parameters", &[p], Some("argon2id-8-1-1"), "bad-kdf"),
        ("stronger parameters", &[p], Some("argon2id-65536-3-1"), "bad-kdf"),
        ("another function", &[p], Some("argon2i-19456-2-1"), "bad-kdf"),
        ("parameters in upper case", &[p], Some("ARGON2ID-19456-2-1"), "bad-kdf"),
        ("parameters with a space", &[p], Some("argon2id-19456-2-1 "), "bad-kdf"),
    ] {
        cases.push(bad(name, input(kinds, kdf, at), error));
    }
    for (name, at) in [("a time below zero", -1), ("a time too late", 1 << 53)] {
        cases.push(bad(name, input(&[], None, at), "bad-time"));
    }
    cases
}

pub(super) fn aad() -> Vec<Value> {
    let id: [u8; 16] = std::array::from_fn(|n| seed("aad id")[n]);
    let mut cases = Vec::new();
    for (n, kinds) in ALL_KINDS.into_iter().enumerate() {
        for purpose in [Purpose::Payload, Purpose::Preview] {
            let at = [0, 1, 1_800_000_000_000, (1 << 53) - 1][n % 4];
            let facts = Facts::new(Timestamp::from_millis(at), kinds).unwrap();
            let kdf = facts.kdf().map_or("", |k| k.as_str());
            let text = kinds_text(kinds);
            cases.push(good(
                &format!("{} until {at} for [{text}]", purpose.as_str()),
                json!({"purpose": purpose.as_str(), "id": b64(&id), "notAfter": at, "kindsText": text, "kdfText": kdf}),
                json!({"aad": b64(&facts.aad(purpose, LinkId(id)))}),
            ));
        }
    }
    cases
}

pub(super) fn record() -> Vec<Value> {
    let mut cases = Vec::new();
    for (name, kinds, coded, window) in [
        ("link only, with opening code", ALL_KINDS[0], true, 900_000),
        ("link only, without opening code", ALL_KINDS[0], false, 0),
        ("passphrase", ALL_KINDS[1], true, 900_000),
        ("everything", ALL_KINDS[7], true, 86_400_000),
    ] {
        let s = seed(name);
        let (ciphertext, preview) = (seed("ciphertext"), seed("preview"));
        let at = Timestamp::from_millis(1_800_000_000_000);
        let facts = Facts::new(at, kinds).unwrap();
        let link = link_secret(&s);
        let d = ps_envelope::derive(&link).unwrap();
        let typed = facts.needs_passphrase().then_some("correct horse battery staple");
        let p = typed.map_or_else(Stretched::none, |typed| {
            Passphrase::new(typed).unwrap().stretch(facts.kdf().unwrap(), &d.salt).unwrap()
        });
        let code = coded.then(|| OpeningCode::from_random([9, 8, 7, 6, 5]).unwrap());
        let sealed = Sealed {
            id: d.id,
            access: Digest::of(d.access.expose()),
            decline: Digest::of(d.decline.expose()),
            proof: Digest::of(ps_envelope::proof(&link, &p).unwrap().expose()),
            code: code.as_ref().map(|c| c.hash(d.id)),
            kinds: kinds.to_vec(),
            kdf: facts.kdf(),
            not_after: at,
            claim_window: Span::from_millis(window),
            ciphertext_hash: Digest::of(&ciphertext),
            preview_hash: Digest::of(&preview),
        };
        cases.push(good(
            name,
            json!({
                "s": b64(&s), "passphrase": typed, "r": facts.needs_factor().then(|| b64(&seed("r"))),
                "kinds": names(kinds), "kdf": facts.kdf().map(|k| k.as_str()), "notAfter": at.as_millis(),
                "claimWindowMs": window, "openingCode": code.as_ref().map(|c| c.expose().to_owned()),
                "ciphertext": b64(&ciphertext), "preview": b64(&preview),
            }),
            json!({
                "id": b64(&d.id.0), "accessHash": b64(&sealed.access.0), "declineHash": b64(&sealed.decline.0),
                "proofHash": b64(&sealed.proof.0),
                "openingCodeHash": sealed.code.map_or_else(String::new, |c| b64(&c.0)),
                "ciphertextHash": b64(&sealed.ciphertext_hash.0), "previewHash": b64(&sealed.preview_hash.0),
                "digest": b64(&sealed.digest().0),
            }),
        ));
    }
    cases
}
