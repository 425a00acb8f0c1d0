//! Links that are really sealed, in a gateway's store.

use ps_core::ids::LinkId;
use ps_core::link::{Link, Record, State, Verification};
use ps_core::ports::LinkStore;
use ps_core::secret::SecretString;
use ps_core::time::{Span, Timestamp};
use ps_envelope::{
    FactorSecret, Field, FieldKind, File, FreshSecret, OpeningCode, Passphrase, Payload, Preview, SealInput, seal,
};

use crate::support::{Server, T};

const TTL: Span = Span::from_secs(24 * 3600);
const WINDOW: Span = Span::from_secs(900);

/// A private key, and a name for it that no file may have.
pub(crate) const KEY: &str =
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
pub(crate) const KEY_NAME: &str = "../.ssh/id_ed25519";

/// What a mail holds.
pub(crate) struct Sent {
    pub(crate) id: LinkId,
    pub(crate) link: String,
    pub(crate) code: String,
}

/// Puts a link with two fields.
pub(crate) async fn put(server: &Server) -> Sent {
    put_with(server, None).await
}

/// The same, with a passphrase.
pub(crate) async fn put_with(server: &Server, passphrase: Option<&str>) -> Sent {
    put_in(&*server.store, &server.address.to_string(), passphrase, T).await
}

/// The same, in this store and at this time, for the gateway at this address.
pub(crate) async fn put_in(store: &dyn LinkStore, address: &str, passphrase: Option<&str>, now: Timestamp) -> Sent {
    let kinds = if passphrase.is_some() { &[Verification::Passphrase][..] } else { &[] };
    put_payload(store, address, (kinds, passphrase), now, &two_fields()).await
}

/// Puts a link that demands these of whoever opens it, and no passphrase.
pub(crate) async fn put_demanding(server: &Server, kinds: &[Verification]) -> Sent {
    put_payload(&*server.store, &server.address.to_string(), (kinds, None), T, &two_fields()).await
}

/// Puts a link with a private key and these files.
pub(crate) async fn put_files(server: &Server, files: Vec<File>) -> Sent {
    let payload = Payload { fields: vec![field(KEY_NAME, FieldKind::SshKey, KEY)], files, ..two_fields() };
    put_payload(&*server.store, &server.address.to_string(), (&[], None), T, &payload).await
}

fn text(text: &str) -> SecretString {
    SecretString::new(text.to_owned())
}

fn field(key: &str, kind: FieldKind, value: &str) -> Field {
    Field { key: key.into(), label: key.into(), kind, value: text(value) }
}

fn two_fields() -> Payload {
    Payload {
        title: Some(text("Shop database")),
        sender: Some(text("Platform team")),
        works_for: Some(Span::from_secs(3600)),
        fields: vec![
            field("username", FieldKind::Text, "alice"),
            field("password", FieldKind::Password, "correct horse battery staple"),
        ],
        ..Payload::default()
    }
}

async fn put_payload(
    store: &dyn LinkStore,
    address: &str,
    (kinds, passphrase): (&[Verification], Option<&str>),
    now: Timestamp,
    payload: &Payload,
) -> Sent {
    let code = OpeningCode::from_random([1, 2, 3, 4, 5]).unwrap();
    let passphrase = passphrase.map(|typed| Passphrase::new(typed).unwrap());
    let due = kinds.iter().any(|kind| *kind != Verification::Passphrase);
    let factor = due.then(|| FactorSecret::from_fill(getrandom::fill).unwrap());
    let sealed = seal(SealInput {
        secret: FreshSecret::from_fill(getrandom::fill).unwrap(),
        passphrase: passphrase.as_ref(),
        factor: factor.as_ref(),
        opening_code: Some(&code),
        payload,
        preview: &Preview { title: text("Shop database"), sender: text("Platform team"), works_for: payload.works_for },
        not_after: now + TTL + WINDOW,
        claim_window: WINDOW,
        kinds,
    })
    .unwrap();
    let link = sealed.secret.to_url(&format!("http://{address}")).unwrap().expose().to_owned();
    let sent = Sent { id: sealed.sealed.id, link, code: code.shown().unwrap().expose().to_owned() };
    let record = Link::new(sealed.sealed, now + TTL, sealed.ciphertext, sealed.preview);
    store.insert(&Record::Link(Box::new(record))).await.unwrap();
    sent
}

/// The record as it is stored.
pub(crate) async fn record(server: &Server, id: LinkId) -> Link {
    server.store.get(id).await.unwrap().unwrap().value.link().unwrap().clone()
}

/// The state of a record.
pub(crate) async fn state(server: &Server, id: LinkId) -> State {
    record(server, id).await.state
}
