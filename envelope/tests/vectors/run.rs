//! One function for each suite: from `in` to `out`.

use ps_core::encode::{b64, from_b64, from_b64_array};
use ps_core::ids::{Digest, LinkId};
use ps_core::link::{Kdf, Sealed, kinds_text};
use ps_core::secret::SecretBytes;
use ps_core::time::{Span, Timestamp};
use ps_envelope::{
    Error, FactorSecret, Facts, LinkSecret, Opener, OpeningCode, Passphrase, Payload, Preview, Purpose, Stretched, pad,
};
use serde_json::{Value, json};

pub(crate) fn text<'a>(input: &'a Value, name: &str) -> &'a str {
    input[name].as_str().unwrap_or_else(|| panic!("{name} is not text"))
}

/// BYTES of the README: base64url text, or a prefix, a unit many times and a suffix.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    let read = |v: &Value| from_b64(v.as_str().unwrap()).unwrap();
    if value.is_string() {
        return read(value);
    }
    let times = usize::try_from(value["times"].as_u64().unwrap()).unwrap();
    [read(&value["prefix"]), read(&value["unit"]).repeat(times), read(&value["suffix"])].concat()
}

fn purpose(input: &Value) -> Purpose {
    match text(input, "purpose") {
        "payload" => Purpose::Payload,
        "preview" => Purpose::Preview,
        other => panic!("{other}"),
    }
}

fn link(input: &Value) -> LinkSecret {
    LinkSecret::parse_fragment(&format!("ps1.{}", text(input, "s"))).unwrap()
}

fn factor(value: &Value) -> Result<Option<FactorSecret>, Error> {
    value.as_str().map(|r| FactorSecret::from_bytes(SecretBytes::new(from_b64(r).unwrap()))).transpose()
}

fn told(input: &Value) -> Result<Facts, Error> {
    let kinds: Vec<_> = input["kinds"].as_array().unwrap().iter().map(|k| k.as_str().unwrap()).collect();
    Facts::from_lookup(Timestamp::from_millis(input["notAfter"].as_i64().unwrap()), &kinds, input["kdf"].as_str())
}

pub(crate) fn base64(input: &Value) -> Result<Value, Error> {
    let bytes = from_b64(text(input, "text")).ok_or(Error::Base64("text"))?;
    Ok(json!({"bytes": b64(&bytes)}))
}

pub(crate) fn fragment(input: &Value) -> Result<Value, Error> {
    let s = LinkSecret::parse_fragment(text(input, "fragment"))?;
    Ok(json!({"s": b64(s.expose()), "fragment": s.to_fragment()?.expose()}))
}

pub(crate) fn passphrase(input: &Value) -> Result<Value, Error> {
    let passphrase = Passphrase::new(text(input, "typed"))?;
    let salt = input["salt"].as_str().map(|s| from_b64_array(s).unwrap());
    let p = salt.map(|salt| passphrase.stretch(Kdf::Argon2id19456x2x1, &salt)).transpose()?;
    Ok(json!({"normalised": b64(passphrase.expose().as_bytes()), "p": p.map(|p| b64(p.expose()))}))
}

pub(crate) fn opening_code(input: &Value) -> Result<Value, Error> {
    let code = OpeningCode::parse(text(input, "typed"))?;
    let id = LinkId::parse(text(input, "id")).unwrap();
    Ok(json!({"code": code.expose(), "shown": code.shown()?.expose(), "hash": b64(&code.hash(id).0)}))
}

pub(crate) fn derive(input: &Value) -> Result<Value, Error> {
    let s = link(input);
    let p = Stretched::from_bytes(SecretBytes::new(from_b64(text(input, "p")).unwrap()))?;
    let r = if text(input, "r").is_empty() { None } else { factor(&input["r"])? };
    let d = ps_envelope::derive(&s)?;
    Ok(json!({
        "id": d.id.to_string(), "access": b64(d.access.expose()), "decline": b64(d.decline.expose()),
        "salt": b64(&d.salt), "previewKey": b64(d.preview_key.expose()),
        "proof": b64(ps_envelope::proof(&s, &p)?.expose()),
        "key": b64(ps_envelope::key(&s, &p, r.as_ref())?.expose()),
    }))
}

pub(crate) fn facts(input: &Value) -> Result<Value, Error> {
    let facts = told(input)?;
    Ok(json!({"kindsText": kinds_text(facts.kinds()), "kdfText": facts.kdf().map_or("", Kdf::as_str)}))
}

pub(crate) fn aad(input: &Value) -> Result<Value, Error> {
    let kinds: Vec<_> = text(input, "kindsText").split(',').filter(|k| !k.is_empty()).collect();
    let kdf = Some(text(input, "kdfText")).filter(|k| !k.is_empty());
    let facts = Facts::from_lookup(Timestamp::from_millis(input["notAfter"].as_i64().unwrap()), &kinds, kdf)?;
    let id = LinkId::parse(text(input, "id")).unwrap();
    Ok(json!({"aad": b64(&facts.aad(purpose(input), id))}))
}

pub(crate) fn padding(input: &Value) -> Result<Value, Error> {
    let len = usize::try_from(input["length"].as_u64().unwrap()).unwrap();
    Ok(json!({"padded": pad::padded_len(len)}))
}

pub(crate) fn frame(input: &Value) -> Result<Value, Error> {
    let plaintext = bytes(&input["plaintext"]);
    Ok(json!({"json": b64(pad::unframe(&plaintext, purpose(input).max_json())?)}))
}

pub(crate) fn payload(input: &Value) -> Result<Value, Error> {
    let payload = Payload::from_json(&bytes(&input["json"]))?;
    // What we read we can write, and read again, unless it is of a later version.
    match payload.to_json() {
        Ok(written) => assert_eq!(shown(&Payload::from_json(written.expose())?), shown(&payload)),
        Err(error) => assert_eq!(error, Error::FieldKind),
    }
    Ok(json!({"payload": shown(&payload)}))
}

pub(crate) fn preview(input: &Value) -> Result<Value, Error> {
    let preview = Preview::from_json(&bytes(&input["json"]))?;
    let written = Preview::from_json(preview.to_json()?.expose())?;
    assert_eq!(written.title.expose(), preview.title.expose());
    let mut out = json!({"title": preview.title.expose(), "sender": preview.sender.expose()});
    if let Some(span) = preview.works_for {
        out["worksForMs"] = span.as_millis().into();
    }
    Ok(out)
}

fn shown(payload: &Payload) -> Value {
    let fields: Vec<_> = payload
        .fields
        .iter()
        .map(|f| json!({"key": f.key, "label": f.label, "kind": f.kind.as_str(), "value": f.value.expose()}))
        .collect();
    let mut out = json!({ "fields": fields });
    let texts = [
        ("title", &payload.title),
        ("purpose", &payload.purpose),
        ("environment", &payload.environment),
        ("url", &payload.url),
        ("note", &payload.note),
        ("sender", &payload.sender),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            out[name] = text.expose().into();
        }
    }
    if let Some(span) = payload.works_for {
        out["worksForMs"] = span.as_millis().into();
    }
    if !payload.files.is_empty() {
        let files = payload.files.iter();
        out["files"] =
            files.map(|f| json!({"name": f.name, "type": f.media_type, "data": b64(f.data.expose())})).collect();
    }
    out
}

pub(crate) fn open(input: &Value) -> Result<Value, Error> {
    let facts = told(input)?;
    let message = bytes(&input["message"]);
    let s = link(input);
    let d = ps_envelope::derive(&s)?;
    let purpose = purpose(input);
    let mut out = json!({
        "id": d.id.to_string(), "access": b64(d.access.expose()), "decline": b64(d.decline.expose()),
        "salt": b64(&d.salt), "previewKey": b64(d.preview_key.expose()), "aad": b64(&facts.aad(purpose, d.id)),
        "p": null, "proof": null, "key": null,
    });
    let opener = Opener::from_fragment(s.to_fragment()?.expose())?;
    if purpose == Purpose::Preview {
        let preview = opener.open_preview(&facts, &message)?;
        out["plaintext"] = b64(d.preview_key.open(&facts, d.id, &message)?.expose()).into();
        out["preview"] = json!({"title": preview.title.expose(), "sender": preview.sender.expose()});
        return Ok(out);
    }

    // As a client does it, and then step by step for the values in between.
    let passphrase = input["passphrase"].as_str().map(Passphrase::new).transpose()?;
    let r = factor(&input["r"])?;
    let unlocked = opener.unlock(facts.clone(), passphrase.as_ref())?;
    let payload = unlocked.open(r.as_ref(), &message)?;
    let p = match (&passphrase, facts.kdf()) {
        (Some(passphrase), Some(kdf)) => passphrase.stretch(kdf, &d.salt)?,
        _ => Stretched::none(),
    };
    assert_eq!(unlocked.proof().expose(), ps_envelope::proof(&s, &p)?.expose());
    let key = ps_envelope::key(&s, &p, r.as_ref())?;
    out["p"] = b64(p.expose()).into();
    out["proof"] = b64(unlocked.proof().expose()).into();
    out["key"] = b64(key.expose()).into();
    out["plaintext"] = b64(key.open(&facts, d.id, &message)?.expose()).into();
    out["payload"] = shown(&payload);
    Ok(out)
}

pub(crate) fn record(input: &Value) -> Result<Value, Error> {
    let (facts, s) = (told(input)?, link(input));
    let d = ps_envelope::derive(&s)?;
    let p = match (input["passphrase"].as_str(), facts.kdf()) {
        (Some(typed), Some(kdf)) => Passphrase::new(typed)?.stretch(kdf, &d.salt)?,
        _ => Stretched::none(),
    };
    let code = input["openingCode"].as_str().map(OpeningCode::parse).transpose()?;
    let sealed = Sealed {
        id: d.id,
        access: Digest::of(d.access.expose()),
        decline: Digest::of(d.decline.expose()),
        proof: Digest::of(ps_envelope::proof(&s, &p)?.expose()),
        code: code.map(|c| c.hash(d.id)),
        kinds: facts.kinds().to_vec(),
        kdf: facts.kdf(),
        not_after: facts.not_after(),
        claim_window: Span::from_millis(input["claimWindowMs"].as_i64().unwrap()),
        ciphertext_hash: Digest::of(&bytes(&input["ciphertext"])),
        preview_hash: Digest::of(&bytes(&input["preview"])),
    };
    Ok(json!({
        "id": d.id.to_string(), "accessHash": b64(&sealed.access.0), "declineHash": b64(&sealed.decline.0),
        "proofHash": b64(&sealed.proof.0), "openingCodeHash": sealed.code.map_or_else(String::new, |c| b64(&c.0)),
        "ciphertextHash": b64(&sealed.ciphertext_hash.0), "previewHash": b64(&sealed.preview_hash.0),
        "digest": b64(&sealed.digest().0),
    }))
}
