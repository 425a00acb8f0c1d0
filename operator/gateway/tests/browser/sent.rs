//! Links that are really sealed, in a gateway's store.

use ps_core::ids::LinkId;
use ps_core::link::{Link, Record, State};
use ps_core::ports::LinkStore as _;
use ps_core::secret::SecretString;
use ps_core::time::Span;
use ps_envelope::{Field, FieldKind, FreshSecret, OpeningCode, Payload, Preview, SealInput, seal};

use crate::support::{Server, T};

const TTL: Span = Span::from_secs(4 * 3600);
const WINDOW: Span = Span::from_secs(900);

/// What a mail holds.
pub(crate) struct Sent {
    pub(crate) id: LinkId,
    pub(crate) link: String,
    pub(crate) code: String,
}

/// Puts a link with two fields.
pub(crate) async fn put(server: &Server) -> Sent {
    let text = |text: &str| SecretString::new(text.to_owned());
    let field = |key: &str, kind, value: &str| Field { key: key.into(), label: key.into(), kind, value: text(value) };
    let payload = Payload {
        title: Some(text("Shop database")),
        sender: Some(text("Platform team")),
        works_for: Some(Span::from_secs(3600)),
        fields: vec![
            field("username", FieldKind::Text, "alice"),
            field("password", FieldKind::Password, "correct horse battery staple"),
        ],
        ..Payload::default()
    };
    let code = OpeningCode::from_random([1, 2, 3, 4, 5]).unwrap();
    let sealed = seal(SealInput {
        secret: FreshSecret::from_fill(getrandom::fill).unwrap(),
        passphrase: None,
        factor: None,
        opening_code: Some(&code),
        payload: &payload,
        preview: &Preview { title: text("Shop database"), sender: text("Platform team"), works_for: payload.works_for },
        not_after: T + TTL + WINDOW,
        claim_window: WINDOW,
        kinds: &[],
    })
    .unwrap();
    let link = sealed.secret.to_url(&format!("http://{}", server.address)).unwrap().expose().to_owned();
    let sent = Sent { id: sealed.sealed.id, link, code: code.shown().unwrap().expose().to_owned() };
    let record = Link::new(sealed.sealed, T + TTL, sealed.ciphertext, sealed.preview);
    server.store.insert(&Record::Link(Box::new(record))).await.unwrap();
    sent
}

/// The state of a record.
pub(crate) async fn state(server: &Server, id: LinkId) -> State {
    server.store.get(id).await.unwrap().unwrap().value.link().unwrap().state
}
