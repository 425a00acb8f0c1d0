//! Whole messages that open. They are sealed here with the cipher itself, so that wrong ones can be made too.

use chacha20poly1305::{AeadInOut as _, ChaCha20Poly1305, KeyInit as _, Nonce};
use ps_core::encode::b64;
use ps_core::link::Verification;
use ps_core::secret::SecretBytes;
use ps_core::time::Timestamp;
use ps_envelope::pad::padded_len;
use ps_envelope::{Derived, FactorSecret, Facts, Passphrase, Purpose, Stretched};
use serde_json::{Value, json};

use super::sealed::{ALL_KINDS, link_secret, names};
use super::{good, open_refused, seed};

pub(super) const PAYLOAD: &str =
    r#"{"v":1,"title":"Database","fields":[{"key":"pass","label":"Password","kind":"password","value":"hunter2"}]}"#;
pub(super) const PREVIEW: &str = r#"{"v":1,"title":"Database","sender":"ops@example.com"}"#;

/// A message and all that it was made of.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) s: [u8; 32],
    pub(super) passphrase: Option<String>,
    pub(super) r: Option<[u8; 32]>,
    pub(super) purpose: Purpose,
    pub(super) kinds: Vec<Verification>,
    pub(super) not_after: i64,
    pub(super) plaintext: Vec<u8>,
}

impl Message {
    pub(super) fn new(name: &str, purpose: Purpose, kinds: &[Verification], json: &[u8]) -> Self {
        let mut plaintext = u32::try_from(json.len()).unwrap().to_be_bytes().to_vec();
        plaintext.extend_from_slice(json);
        plaintext.resize(padded_len(json.len()), 0);
        let with = |wanted: &[Verification]| kinds.iter().any(|k| wanted.contains(k));
        Self {
            s: seed(name),
            passphrase: with(&[Verification::Passphrase]).then(|| "correct horse battery staple".into()),
            r: with(&[Verification::EmailCode, Verification::Oidc]).then(|| seed("r")),
            purpose,
            kinds: kinds.to_vec(),
            not_after: 1_800_000_000_000,
            plaintext,
        }
    }

    pub(super) fn payload(name: &str, kinds: &[Verification]) -> Self {
        Self::new(name, Purpose::Payload, kinds, PAYLOAD.as_bytes())
    }

    pub(super) fn facts(&self) -> Facts {
        Facts::new(Timestamp::from_millis(self.not_after), &self.kinds).unwrap()
    }

    pub(super) fn derived(&self) -> Derived {
        ps_envelope::derive(&link_secret(&self.s)).unwrap()
    }

    pub(super) fn p(&self) -> Stretched {
        self.passphrase.as_ref().map_or_else(Stretched::none, |typed| {
            let facts = self.facts();
            Passphrase::new(typed).unwrap().stretch(facts.kdf().unwrap(), &self.derived().salt).unwrap()
        })
    }

    pub(super) fn key(&self) -> Vec<u8> {
        if self.purpose == Purpose::Preview {
            return self.derived().preview_key.expose().to_vec();
        }
        let r = self.r.map(|r| FactorSecret::from_bytes(SecretBytes::new(r.to_vec())).unwrap());
        ps_envelope::key(&link_secret(&self.s), &self.p(), r.as_ref()).unwrap().expose().to_vec()
    }

    pub(super) fn aad(&self) -> Vec<u8> {
        self.facts().aad(self.purpose, self.derived().id)
    }

    pub(super) fn sealed(&self) -> Vec<u8> {
        encrypt(&self.key(), [0; 12], &self.aad(), &self.plaintext)
    }

    pub(super) fn input(&self, message: &[u8]) -> Value {
        json!({
            "s": b64(&self.s), "passphrase": self.passphrase, "r": self.r.map(|r| b64(&r)),
            "purpose": self.purpose.as_str(), "kinds": names(&self.kinds),
            "kdf": self.facts().kdf().map(|k| k.as_str()), "notAfter": self.not_after, "message": b64(message),
        })
    }

    fn good(&self, name: &str, content: Value) -> Value {
        // A preview is opened before anything is asked for: it has neither `P` nor a proof nor `key`.
        let payload = self.purpose == Purpose::Payload;
        let (link, d, p) = (link_secret(&self.s), self.derived(), self.p());
        let mut out = json!({
            "id": b64(&d.id.0), "access": b64(d.access.expose()), "decline": b64(d.decline.expose()),
            "salt": b64(&d.salt), "previewKey": b64(d.preview_key.expose()), "p": payload.then(|| b64(p.expose())),
            "proof": payload.then(|| b64(ps_envelope::proof(&link, &p).unwrap().expose())),
            "key": payload.then(|| b64(&self.key())),
            "aad": b64(&self.aad()), "plaintext": b64(&self.plaintext),
        });
        out[self.purpose.as_str()] = content;
        good(name, self.input(&self.sealed()), out)
    }
}

pub(super) fn encrypt(key: &[u8], nonce: [u8; 12], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut message = plaintext.to_vec();
    let cipher = ChaCha20Poly1305::new_from_slice(key).unwrap();
    let tag = cipher.encrypt_inout_detached(&Nonce::from(nonce), aad, message.as_mut_slice().into()).unwrap();
    message.extend_from_slice(&tag);
    message
}

pub(super) fn open() -> Vec<Value> {
    let mut cases = accepted();
    cases.extend(open_refused::all());
    cases
}

fn accepted() -> Vec<Value> {
    let fields = json!([{"key": "pass", "label": "Password", "kind": "password", "value": "hunter2"}]);
    let payload = json!({"title": "Database", "fields": fields});
    let preview = json!({"title": "Database", "sender": "ops@example.com"});
    let mut cases = Vec::new();
    for kinds in ALL_KINDS {
        let name = format!("payload, kinds [{}]", names(kinds).join(","));
        cases.push(Message::payload(&name, kinds).good(&name, payload.clone()));
    }
    for kinds in [ALL_KINDS[0], ALL_KINDS[7]] {
        let name = format!("preview, kinds [{}]", names(kinds).join(","));
        let mut message = Message::new(&name, Purpose::Preview, kinds, PREVIEW.as_bytes());
        (message.passphrase, message.r) = (None, None);
        cases.push(message.good(&name, preview.clone()));
    }
    for typed in ["Ame\u{301}lie\r\n", "\u{1f511}\n"] {
        let name = format!("passphrase typed as {typed:?}");
        let mut message = Message::payload(&name, ALL_KINDS[1]);
        message.passphrase = Some(typed.into());
        cases.push(message.good(&name, payload.clone()));
    }
    for (name, at) in [("time zero", 0), ("the last time", (1 << 53) - 1)] {
        let mut message = Message::payload(name, &[]);
        message.not_after = at;
        cases.push(message.good(name, payload.clone()));
    }
    for len in [252, 253, 268, 269] {
        let name = format!("JSON of {len} bytes");
        let json = format!("{PAYLOAD}{}", " ".repeat(len - PAYLOAD.len()));
        cases.push(Message::new(&name, Purpose::Payload, &[], json.as_bytes()).good(&name, payload.clone()));
    }
    let rich = r#"{"v":1,"worksForMs":3600000,"fields":[{"key":"k","label":"é","kind":"later","value":"\ud83d\ude00"}],"files":[{"name":"a.bin","type":"application/octet-stream","data":"AP8"}],"later":{"v":9}}"#;
    cases.push(Message::new("a later minor version", Purpose::Payload, &[], rich.as_bytes()).good(
        "a later minor version",
        json!({
            "worksForMs": 3_600_000,
            "fields": [{"key": "k", "label": "é", "kind": "unknown", "value": "😀"}],
            "files": [{"name": "a.bin", "type": "application/octet-stream", "data": "AP8"}],
        }),
    ));
    cases
}
