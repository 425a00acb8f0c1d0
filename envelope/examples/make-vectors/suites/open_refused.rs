//! Whole messages that a client must refuse.

use ps_core::encode::{b64, lp};
use ps_envelope::{Passphrase, Purpose, Stretched};
use serde_json::{Value, json};

use super::open::{Message, PAYLOAD, PREVIEW, encrypt};
use super::sealed::{ALL_KINDS, link_secret};
use super::{bad, seed};

pub(super) fn all() -> Vec<Value> {
    [changed(), told_wrong(), sealed_wrong()].concat()
}

/// The message was changed on its way.
fn changed() -> Vec<Value> {
    let m = Message::payload("changed", &[]);
    let sealed = m.sealed();
    let flipped = |at: usize, bit: u8| {
        let mut changed = sealed.clone();
        changed[at] ^= 1 << bit;
        changed
    };
    let last = sealed.len() - 1;
    let not = "not-authentic";
    let len = "bad-message-length";
    let mut cases = Vec::new();
    for (name, message, error) in [
        ("first bit flipped", flipped(0, 7), not),
        ("a bit in the middle flipped", flipped(100, 3), not),
        ("a bit of the padding flipped", flipped(last - 16, 0), not),
        ("first bit of the tag flipped", flipped(last - 15, 7), not),
        ("last bit flipped", flipped(last, 0), not),
        ("tag zero", [&sealed[..=last - 16], &[0; 16]].concat(), not),
        ("tag in front", [&sealed[last - 15..], &sealed[..=last - 16]].concat(), not),
        ("blocks swapped", [&sealed[64..128], &sealed[..64], &sealed[128..]].concat(), not),
        ("plaintext with a tag behind", [&m.plaintext[..], &sealed[last - 15..]].concat(), not),
        ("one byte cut off the end", sealed[..last].to_vec(), len),
        ("one byte cut off the front", sealed[1..].to_vec(), len),
        ("one byte more", [&sealed[..], &[0]].concat(), len),
        ("tag only", sealed[last - 15..].to_vec(), len),
        ("no tag", sealed[..=last - 16].to_vec(), len),
        ("empty", Vec::new(), len),
    ] {
        cases.push(bad(name, m.input(&message), error));
    }
    cases
}

/// The client is told, or types, something else than what was sealed.
fn told_wrong() -> Vec<Value> {
    let mut cases = Vec::new();
    let plain = Message::payload("told", &[]);
    let strong = Message::payload("told", ALL_KINDS[7]);
    let mut case = |name: &str, message: &Message, change: &dyn Fn(&mut Value), error: &str| {
        let mut input = message.input(&message.sealed());
        change(&mut input);
        cases.push(bad(name, input, error));
    };
    let not = "not-authentic";
    case("another link", &plain, &|v| v["s"] = b64(&seed("another")).into(), not);
    case("notAfter a millisecond later", &plain, &|v| v["notAfter"] = 1_800_000_000_001_i64.into(), not);
    case("notAfter a millisecond earlier", &plain, &|v| v["notAfter"] = 1_799_999_999_999_i64.into(), not);
    case("notAfter below zero", &plain, &|v| v["notAfter"] = (-1).into(), "bad-time");
    case("payload opened as preview", &plain, &|v| v["purpose"] = "preview".into(), not);
    let preview = Message::new("told", Purpose::Preview, &[], PREVIEW.as_bytes());
    case("preview opened as payload", &preview, &|v| v["purpose"] = "payload".into(), not);
    case(
        "a kind added",
        &plain,
        &|v| {
            v["kinds"] = json!(["oidc"]);
            v["r"] = b64(&seed("r")).into();
        },
        not,
    );
    case("a kind taken away", &strong, &|v| v["kinds"] = json!(["passphrase", "oidc"]), not);
    case("one kind for another", &Message::payload("told", ALL_KINDS[2]), &|v| v["kinds"] = json!(["oidc"]), not);
    case("kinds in another order", &strong, &|v| v["kinds"] = json!(["oidc", "emailCode", "passphrase"]), "bad-kinds");
    case("a kind twice", &strong, &|v| v["kinds"] = json!(["passphrase", "emailCode", "oidc", "oidc"]), "bad-kinds");
    case(
        "all kinds taken away",
        &strong,
        &|v| {
            (v["kinds"], v["kdf"], v["passphrase"], v["r"]) = (json!([]), Value::Null, Value::Null, Value::Null);
        },
        not,
    );
    case("weaker KDF", &strong, &|v| v["kdf"] = "argon2id-8-1-1".into(), "bad-kdf");
    case("no KDF", &strong, &|v| v["kdf"] = Value::Null, "bad-kdf");
    case("KDF without passphrase", &plain, &|v| v["kdf"] = "argon2id-19456-2-1".into(), "bad-kdf");
    case("wrong passphrase", &strong, &|v| v["passphrase"] = "correct horse battery stapler".into(), not);
    case("passphrase in another case", &strong, &|v| v["passphrase"] = "Correct horse battery staple".into(), not);
    case("passphrase with a space behind", &strong, &|v| v["passphrase"] = "correct horse battery staple ".into(), not);
    case("empty passphrase", &strong, &|v| v["passphrase"] = "".into(), "passphrase-empty");
    case("no passphrase", &strong, &|v| v["passphrase"] = Value::Null, "factor-mismatch");
    case("a passphrase too many", &plain, &|v| v["passphrase"] = "x".into(), "factor-mismatch");
    case("wrong R", &strong, &|v| v["r"] = b64(&seed("another")).into(), not);
    case(
        "R with one bit flipped",
        &strong,
        &|v| {
            let mut r = seed("r");
            r[31] ^= 1;
            v["r"] = b64(&r).into();
        },
        not,
    );
    case("R of 31 bytes", &strong, &|v| v["r"] = b64(&seed("r")[..31]).into(), "wrong-length");
    case("no R", &strong, &|v| v["r"] = Value::Null, "factor-mismatch");
    case("an R too many", &plain, &|v| v["r"] = b64(&seed("r")).into(), "factor-mismatch");
    cases
}

/// The sealer did something else than the protocol says.
fn sealed_wrong() -> Vec<Value> {
    let mut cases = Vec::new();
    let m = Message::payload("sealed", &[]);
    let (key, aad, id) = (m.key(), m.aad(), m.derived().id);
    let not = "not-authentic";
    let mut one = [0; 12];
    one[11] = 1;
    let with = |key: &[u8], aad: &[u8]| encrypt(key, [0; 12], aad, &m.plaintext);
    let told = |version: &[u8], purpose: &[u8], at: &[u8]| with(&key, &lp(&[version, purpose, &id.0, at, b"", b""]));
    let (v1, payload) = (&b"password-sender/v1"[..], &b"payload"[..]);
    let at = 1_800_000_000_000_i64;
    let time = at.to_be_bytes();
    assert_eq!(told(v1, payload, &time), m.sealed(), "the wrong ones differ in one thing only");
    let preview_key = m.derived().preview_key;
    let proof = ps_envelope::proof(&link_secret(&m.s), &m.p()).unwrap();
    for (name, message) in [
        ("nonce one", encrypt(&key, one, &aad, &m.plaintext)),
        ("no associated data", with(&key, b"")),
        ("associated data cut off", with(&key, &aad[..aad.len() - 4])),
        ("another version", told(b"password-sender/v2", payload, &time)),
        ("purpose preview", told(v1, b"preview", &time)),
        ("time in little-endian order", told(v1, payload, &at.to_le_bytes())),
        ("time in seconds", told(v1, payload, &(at / 1000).to_be_bytes())),
        ("time as text", told(v1, payload, at.to_string().as_bytes())),
        ("under the preview key", with(preview_key.expose(), &aad)),
        ("under the proof", with(proof.expose(), &aad)),
        ("under S itself", with(&m.s, &aad)),
    ] {
        cases.push(bad(name, m.input(&message), not));
    }

    let mut passphrase = Message::payload("sealed", ALL_KINDS[1]);
    let typed = passphrase.passphrase.clone().unwrap();
    let p = Passphrase::new(&typed).unwrap().stretch(passphrase.facts().kdf().unwrap(), &[0; 16]).unwrap();
    let key = ps_envelope::key(&link_secret(&passphrase.s), &p, None).unwrap();
    let message = encrypt(key.expose(), [0; 12], &passphrase.aad(), &passphrase.plaintext);
    cases.push(bad("passphrase stretched with a zero salt", passphrase.input(&message), not));
    passphrase.passphrase = Some(format!("{typed}\n\n"));
    let message = passphrase.sealed();
    passphrase.passphrase = Some(typed);
    cases.push(bad("passphrase sealed with its second line end", passphrase.input(&message), not));
    let message = encrypt(
        ps_envelope::key(&link_secret(&passphrase.s), &Stretched::none(), None).unwrap().expose(),
        [0; 12],
        &passphrase.aad(),
        &passphrase.plaintext,
    );
    cases.push(bad("sealed without the passphrase that its kinds name", passphrase.input(&message), not));

    let mut reframed = |name: &str, error: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut message = m.clone();
        change(&mut message.plaintext);
        cases.push(bad(name, message.input(&message.sealed()), error));
    };
    let len = PAYLOAD.len();
    reframed("first padding byte not zero", "bad-frame", &|p| p[4 + len] = 1);
    reframed("last padding byte not zero", "bad-frame", &|p| *p.last_mut().unwrap() = 1);
    reframed("one padding step too many", "bad-frame", &|p| p.resize(272, 0));
    reframed("padded to twice the length", "bad-frame", &|p| p.resize(512, 0));
    reframed("no padding", "bad-message-length", &|p| p.truncate(4 + len));
    reframed("one padding byte too many", "bad-message-length", &|p| p.push(0));
    reframed("length past the end", "bad-frame", &|p| p[3] = 253);
    reframed("length zero", "bad-frame", &|p| p[3] = 0);
    reframed("no length", "bad-frame", &|p| p.rotate_left(4));

    for (name, json, error) in [
        ("a member twice", r#"{"v":1,"title":"a","title":"b","fields":[]}"#, "duplicate-member"),
        ("version 2", r#"{"v":2,"fields":[{"key":"k","label":"","kind":"text","value":"v"}]}"#, "bad-version"),
        ("no field", r#"{"v":1,"fields":[]}"#, "item-count"),
        ("no JSON", "", "bad-json"),
        ("a preview in place of a payload", PREVIEW, "missing-member"),
    ] {
        let message = Message::new("sealed", Purpose::Payload, &[], json.as_bytes());
        cases.push(bad(name, message.input(&message.sealed()), error));
    }
    let latin = Message::new("sealed", Purpose::Payload, &[], b"{\"v\":1,\"title\":\"\xe9\",\"fields\":[]}");
    cases.push(bad("JSON in Latin-1", latin.input(&latin.sealed()), "bad-json"));
    let long = format!(r#"{{"v":1,"title":"{}","sender":""}}"#, "a".repeat(201));
    let long = Message::new("sealed", Purpose::Preview, &[], long.as_bytes());
    cases.push(bad("preview with a title of 201 characters", long.input(&long.sealed()), "text-too-long"));
    cases
}
