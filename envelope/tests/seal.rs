//! Sealing and opening together, as the operator and a client do it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use proptest::prelude::*;
use ps_core::ids::LinkId;
use ps_core::link::Verification;
use ps_core::secret::{SecretBytes, SecretString};
use ps_core::time::{Span, Timestamp};
use ps_envelope::{
    ClaimToken, Error, FactorSecret, Facts, Field, FieldKind, FreshSecret, LinkSecret, Opener, OpeningCode, Passphrase,
    Payload, Preview, Purpose, SealInput, SealedLink, seal,
};

const AT: Timestamp = Timestamp::from_secs(1_800_000_000);
const PASSPHRASE: &str = "correct horse battery staple";

fn payload(value: &str) -> Payload {
    let value = SecretString::new(value.to_owned());
    let field = Field { key: "pass".into(), label: "Password".into(), kind: FieldKind::Password, value };
    Payload { fields: vec![field], ..Payload::default() }
}

fn preview() -> Preview {
    Preview {
        title: SecretString::new("Database".into()),
        sender: SecretString::new("ops@example.com".into()),
        works_for: None,
    }
}

fn factor(byte: u8) -> FactorSecret {
    FactorSecret::from_bytes(SecretBytes::new(vec![byte; 32])).unwrap()
}

fn sealed_with(value: &str, kinds: &[Verification]) -> Result<SealedLink, Error> {
    let passphrase = Passphrase::new(PASSPHRASE).unwrap();
    let r = factor(9);
    let code = OpeningCode::from_random([1, 2, 3, 4, 5]).unwrap();
    seal(SealInput {
        secret: FreshSecret::from_random([5; 32]),
        passphrase: kinds.contains(&Verification::Passphrase).then_some(&passphrase),
        factor: kinds.iter().any(|k| *k != Verification::Passphrase).then_some(&r),
        opening_code: Some(&code),
        payload: &payload(value),
        preview: &preview(),
        not_after: AT,
        claim_window: Span::from_secs(900),
        kinds,
    })
}

fn sealed(value: &str) -> SealedLink {
    sealed_with(value, &[]).unwrap()
}

fn opener(link: &SealedLink) -> Opener {
    Opener::from_fragment(link.secret.to_fragment().unwrap().expose()).unwrap()
}

fn facts(kinds: &[Verification]) -> Facts {
    Facts::new(AT, kinds).unwrap()
}

#[test]
fn the_whole_way_with_every_factor() {
    let kinds = [Verification::Oidc, Verification::Passphrase, Verification::EmailCode];
    let link = sealed_with("hunter2", &kinds).unwrap();
    // What a gateway tells.
    let names: Vec<_> = link.sealed.kinds.iter().map(|k| k.as_str()).collect();
    assert_eq!(names, ["passphrase", "emailCode", "oidc"]);
    let facts = Facts::from_lookup(link.sealed.not_after, &names, link.sealed.kdf.map(|k| k.as_str())).unwrap();

    let client = opener(&link);
    assert_eq!(client.id(), link.sealed.id);
    assert!(link.sealed.access.matches(client.access().expose()));
    assert!(link.sealed.decline.matches(client.decline().expose()));
    let preview = client.open_preview(&facts, &link.preview).unwrap();
    assert_eq!((preview.title.expose(), preview.sender.expose()), ("Database", "ops@example.com"));

    let wrong = client.unlock(facts.clone(), Some(&Passphrase::new("x").unwrap())).unwrap();
    assert!(!link.sealed.proof.matches(wrong.proof().expose()));
    let right = client.unlock(facts, Some(&Passphrase::new(&format!("{PASSPHRASE}\n")).unwrap())).unwrap();
    assert!(link.sealed.proof.matches(right.proof().expose()));
    let opened = right.open(Some(&factor(9)), &link.ciphertext).unwrap();
    assert_eq!(opened.fields[0].value.expose(), "hunter2");
    assert_eq!(right.open(Some(&factor(8)), &link.ciphertext).err(), Some(Error::NotAuthentic));
    assert_eq!(right.open(None, &link.ciphertext).err(), Some(Error::Factor("R")));
    assert_eq!(wrong.open(Some(&factor(9)), &link.ciphertext).err(), Some(Error::NotAuthentic));
}

#[test]
fn the_record_knows_hashes_only() {
    let link = sealed("hunter2");
    assert!(link.sealed.ciphertext_hash.matches(&link.ciphertext));
    assert!(link.sealed.preview_hash.matches(&link.preview));
    let code =
        OpeningCode::parse(OpeningCode::from_random([1, 2, 3, 4, 5]).unwrap().shown().unwrap().expose()).unwrap();
    assert_eq!(link.sealed.code, Some(code.hash(link.sealed.id)));
    assert_ne!(link.sealed.code, Some(code.hash(LinkId([0; 16]))));
    let record = serde_json::to_string(&link.sealed).unwrap();
    let client = opener(&link);
    for secret in [client.access().expose(), client.decline().expose(), link.secret.expose()] {
        assert!(!record.contains(&ps_core::encode::b64(secret)));
    }
}

#[test]
fn factors_and_kinds_must_fit_together() {
    let passphrase = Passphrase::new(PASSPHRASE).unwrap();
    let r = factor(1);
    for (kinds, p, r, want) in [
        (&[Verification::Passphrase][..], None, None, "passphrase"),
        (&[], Some(&passphrase), None, "passphrase"),
        (&[Verification::EmailCode], None, None, "R"),
        (&[Verification::Oidc], None, None, "R"),
        (&[], None, Some(&r), "R"),
    ] {
        let input = SealInput {
            secret: FreshSecret::from_random([5; 32]),
            passphrase: p,
            factor: r,
            opening_code: None,
            payload: &payload("x"),
            preview: &preview(),
            not_after: AT,
            claim_window: Span::ZERO,
            kinds,
        };
        assert_eq!(seal(input).err(), Some(Error::Factor(want)), "{kinds:?}");
    }
}

#[test]
fn lengths_look_alike() {
    let len = |n: usize| sealed(&"x".repeat(n)).ciphertext.len();
    assert_eq!(len(0), 272);
    assert_eq!(len(0), len(100));
    assert_eq!(len(5100), len(5200));
}

#[test]
fn every_bit_of_a_message_counts() {
    let link = sealed("hunter2");
    let client = opener(&link);
    let unlocked = client.unlock(facts(&[]), None).unwrap();
    for at in 0..link.ciphertext.len() {
        for bit in 0..8 {
            let mut changed = link.ciphertext.clone();
            changed[at] ^= 1 << bit;
            assert_eq!(unlocked.open(None, &changed).err(), Some(Error::NotAuthentic), "{at} {bit}");
        }
        assert!(unlocked.open(None, &link.ciphertext[..at]).is_err(), "{at}");
    }
    for at in 0..link.preview.len() {
        let mut changed = link.preview.clone();
        changed[at] ^= 0x10;
        assert_eq!(client.open_preview(&facts(&[]), &changed).err(), Some(Error::NotAuthentic), "{at}");
    }
}

#[test]
fn every_part_of_the_associated_data_counts() {
    let link = sealed("hunter2");
    let client = opener(&link);
    let open = |facts: Facts| client.unlock(facts, None).unwrap().open(None, &link.ciphertext).err();
    assert_eq!(open(facts(&[])), None);
    for bit in 0..53 {
        let at = Timestamp::from_millis(AT.as_millis() ^ (1 << bit));
        assert_eq!(open(Facts::new(at, &[]).unwrap()), Some(Error::NotAuthentic), "bit {bit}");
    }
    // The kinds alone, with the key unchanged: opened with the key itself.
    use Verification::{EmailCode, Oidc, Passphrase as Phrase};
    for kinds in [&[Phrase][..], &[EmailCode], &[Oidc], &[Phrase, EmailCode, Oidc]] {
        let key = ps_envelope::key(&link.secret, &ps_envelope::Stretched::none(), None).unwrap();
        assert_eq!(key.open(&facts(kinds), link.sealed.id, &link.ciphertext).err(), Some(Error::NotAuthentic));
        assert!(client.open_preview(&facts(kinds), &link.preview).is_err());
    }
    let key = ps_envelope::key(&link.secret, &ps_envelope::Stretched::none(), None).unwrap();
    let other = LinkId([0; 16]);
    assert_eq!(key.open(&facts(&[]), other, &link.ciphertext).err(), Some(Error::NotAuthentic));
    // The purposes: each message under the other's key.
    let d = ps_envelope::derive(&link.secret).unwrap();
    assert_eq!(d.preview_key.open(&facts(&[]), d.id, &link.ciphertext).err(), Some(Error::NotAuthentic));
    let key = ps_envelope::key(&link.secret, &ps_envelope::Stretched::none(), None).unwrap();
    assert_eq!(key.open(&facts(&[]), d.id, &link.preview).err(), Some(Error::NotAuthentic));
}

#[test]
fn messages_that_no_sealer_makes_are_refused_by_length() {
    let d = || ps_envelope::derive(&sealed("x").secret).unwrap();
    for len in [0, 15, 16, 271, 273, Purpose::Preview.max_message() + 1, 1 << 22] {
        let got = d().preview_key.open(&facts(&[]), d().id, &vec![0; len]);
        assert_eq!(got.err(), Some(Error::MessageLength), "{len}");
    }
}

#[test]
fn a_claim_token_reads_back() {
    let token = ClaimToken::from_fill(|out| {
        out.fill(3);
        Ok::<(), Error>(())
    })
    .unwrap();
    let again = ClaimToken::parse(token.to_text().unwrap().expose()).unwrap();
    assert_eq!(token.hash(), again.hash());
    assert!(token.hash().matches(&[3; 32]));
    assert_eq!(ClaimToken::parse("AAAA").err(), Some(Error::Length("token")));
}

#[test]
fn nothing_prints() {
    let link = sealed_with("hunter2", &[Verification::EmailCode]).unwrap();
    let client = opener(&link);
    let unlocked = client.unlock(facts(&[Verification::EmailCode]), None).unwrap();
    let opened = unlocked.open(Some(&factor(9)), &link.ciphertext).unwrap();
    let phrase = Passphrase::new("hunter2").unwrap();
    let input = SealInput {
        secret: FreshSecret::from_random([5; 32]),
        passphrase: Some(&phrase),
        factor: Some(&factor(9)),
        opening_code: Some(&OpeningCode::from_random([1, 2, 3, 4, 5]).unwrap()),
        payload: &payload("hunter2"),
        preview: &preview(),
        not_after: AT,
        claim_window: Span::ZERO,
        kinds: &[],
    };
    let told = format!("{input:?} {link:?} {client:?} {unlocked:?} {opened:?} {:?} {:?}", link.secret, factor(9));
    for secret in ["hunter2", "Database", "ps1.", &ps_core::encode::b64(link.secret.expose())] {
        assert!(!told.contains(secret), "{told}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_sealed_opens(value in any::<String>(), s in any::<[u8; 32]>(), at in 0_i64..1 << 53, emailed in any::<bool>()) {
        let kinds: &[_] = if emailed { &[Verification::EmailCode] } else { &[] };
        let r = factor(7);
        let r = emailed.then_some(&r);
        let (payload, at) = (payload(&value), Timestamp::from_millis(at));
        let link = seal(SealInput {
            secret: FreshSecret::from_random(s), passphrase: None, factor: r, opening_code: None, payload: &payload,
            preview: &preview(), not_after: at, claim_window: Span::ZERO, kinds,
        }).unwrap();
        prop_assert_eq!(link.secret.expose(), s);
        let client = opener(&link);
        let facts = Facts::new(at, kinds).unwrap();
        prop_assert!(client.open_preview(&facts, &link.preview).is_ok());
        let opened = client.unlock(facts, None).unwrap().open(r, &link.ciphertext).unwrap();
        prop_assert_eq!(opened.fields[0].value.expose(), value);
    }

    #[test]
    fn parsers_never_panic(text in any::<String>(), bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _fragment = LinkSecret::parse_fragment(&text);
        let _fragment = LinkSecret::parse_fragment(&format!("ps1.{text}"));
        let _code = OpeningCode::parse(&text);
        let _passphrase = Passphrase::new(&text);
        let _token = ClaimToken::parse(&text);
        let client = opener(&sealed("x"));
        prop_assert!(client.open_preview(&facts(&[]), &bytes).is_err());
    }

    #[test]
    fn fragments_have_one_spelling(s in any::<[u8; 32]>(), at in 0_usize..47, c in any::<char>()) {
        let text = format!("ps1.{}", ps_core::encode::b64(&s));
        let mut changed: Vec<char> = text.chars().collect();
        changed[at] = c;
        let changed: String = changed.into_iter().collect();
        if let Ok(other) = LinkSecret::parse_fragment(&changed) {
            prop_assert_eq!(other.expose() == s, changed == text);
        }
    }
}
