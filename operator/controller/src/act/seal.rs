//! From a reading to a sealed link, in memory.

use std::sync::Arc;

use ps_core::delivery::{FieldSpec, Spec, Strategy};
use ps_core::entry::ReleaseKey;
use ps_core::error::{Class, Fault};
use ps_core::link;
use ps_core::link::email_code::CodeKey;
use ps_core::link::verification::JudgeKey;
use ps_core::ports::{Random, Reading};
use ps_core::secret::SecretString;
use ps_core::time::Timestamp;
use ps_envelope::{
    FactorSecret, Field, FieldKind, FreshSecret, LinkSecret, OpeningCode, Passphrase, Payload, Preview, SealInput,
};

/// A sealed link and what the mail needs.
pub(super) struct Sealed {
    pub(super) sealed: link::Sealed,
    pub(super) ciphertext: Vec<u8>,
    pub(super) preview: Vec<u8>,
    pub(super) link: SecretString,
    pub(super) opening_code: SecretString,
    pub(super) judging: Option<Judging>,
}

/// What the ledger keeps of a link that demands an e-mailed code or a sign-in.
pub(super) struct Judging {
    pub(super) release: ReleaseKey,
    pub(super) code_key: CodeKey,
    pub(super) judge_key: JudgeKey,
}

/// Seals what was read. With a passphrase it takes tens of milliseconds and 19 MiB, off the async threads.
pub(super) async fn seal(
    spec: &Spec,
    sender: &str,
    reading: Reading,
    passphrase: Option<SecretString>,
    not_after: Timestamp,
    public_url: &str,
    random: Arc<dyn Random>,
) -> Result<Sealed, Fault> {
    let payload = payload(spec, sender, reading)?;
    let preview = Preview { title: secret(&spec.context.title), sender: secret(sender), works_for: payload.works_for };
    let (window, url, kinds) = (spec.claim_window, public_url.to_owned(), spec.kinds());
    let work = move || {
        let passphrase =
            passphrase.map(|p| Passphrase::new(p.expose())).transpose().map_err(ps_envelope::Error::fault)?;
        let secret = FreshSecret::from_fill(|out| random.fill(out))?;
        let code = OpeningCode::from_fill(|out| random.fill(out))?;
        let judged = kinds.iter().any(|kind| *kind != link::Verification::Passphrase);
        let factor = judged.then(|| FactorSecret::from_fill(|out| random.fill(out))).transpose()?;
        let done = ps_envelope::seal(SealInput {
            secret,
            passphrase: passphrase.as_ref(),
            factor: factor.as_ref(),
            opening_code: Some(&code),
            payload: &payload,
            preview: &preview,
            not_after,
            claim_window: window,
            kinds: &kinds,
        })
        .map_err(ps_envelope::Error::fault)?;
        let judging = factor.map(|r| judging(&r, &done.secret, &*random)).transpose()?;
        Ok(Sealed {
            judging,
            link: done.secret.to_url(&url).map_err(ps_envelope::Error::fault)?,
            opening_code: code.shown().map_err(ps_envelope::Error::fault)?,
            sealed: done.sealed,
            ciphertext: done.ciphertext,
            preview: done.preview,
        })
    };
    if spec.passphrase.is_none() {
        return work();
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Fault::new(Class::Transient, "seal-interrupted", "sealing was interrupted"))?
}

fn judging(r: &FactorSecret, secret: &LinkSecret, random: &dyn Random) -> Result<Judging, Fault> {
    let mut release = ReleaseKey([0; 32]);
    // It has 32 bytes: that is what it was made of.
    release.0.iter_mut().zip(r.expose()).for_each(|(to, from)| *to = *from);
    let mut judge_key = JudgeKey([0; 32]);
    random.fill(&mut judge_key.0)?;
    let derived = ps_envelope::derive(secret).map_err(ps_envelope::Error::fault)?;
    Ok(Judging { release, code_key: CodeKey::from_access(derived.access.expose()), judge_key })
}

fn payload(spec: &Spec, sender: &str, mut reading: Reading) -> Result<Payload, Fault> {
    let every: Vec<FieldSpec>;
    let wanted = if spec.fields.is_empty() {
        every = reading.fields.keys().map(|key| default_field(key)).collect();
        &every
    } else {
        &spec.fields
    };
    let mut fields = Vec::with_capacity(wanted.len());
    for (index, want) in wanted.iter().enumerate() {
        let Some(value) = reading.fields.remove(&want.key) else {
            return Err(Fault::new(
                Class::Misconfigured,
                "field-missing",
                format!("the source has no key {:?}", want.key),
            )
            .field(format!("spec.fields[{index}].key"))
            .remedy("Name a key that the secret has, or leave spec.fields out to deliver every key"));
        };
        fields.push(Field {
            key: want.key.clone(),
            label: want.label.clone(),
            kind: match FieldKind::parse(&want.kind) {
                FieldKind::Unknown => FieldKind::Text,
                kind => kind,
            },
            value,
        });
    }
    let context = &spec.context;
    let text = |t: &str| (!t.is_empty()).then(|| secret(t));
    let payload = Payload {
        title: text(&context.title),
        purpose: text(&context.purpose),
        environment: text(&context.environment),
        url: text(&context.url),
        note: text(&context.note),
        sender: text(sender),
        works_for: (spec.rotation.strategy != Strategy::None).then_some(spec.rotation.after_retrieval),
        fields,
        files: Vec::new(),
    };
    payload.validate().map_err(ps_envelope::Error::fault)?;
    Ok(payload)
}

/// A key that nobody described: shown under its own name, hidden if the name sounds secret.
fn default_field(key: &str) -> FieldSpec {
    let lower = key.to_ascii_lowercase();
    let hidden = ["pass", "secret", "token", "key", "pin"].iter().any(|word| lower.contains(word));
    FieldSpec { label: String::new(), key: key.to_owned(), kind: if hidden { "password" } else { "text" }.to_owned() }
}

fn secret(text: &str) -> SecretString {
    SecretString::new(text.to_owned())
}
