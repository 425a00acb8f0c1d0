//! A gateway that was taken over tries to pass over a factor. The test plays it: it has write access to the records, and what
//! recipients send it, and nothing else.

use ps_core::encode::{b64, from_b64_array};
use ps_core::ids::Digest;
use ps_core::link::verification::{Ask, JudgeKey, Request, SignInVerdict};
use ps_core::link::{Claim, JournalEntry, JournalEvent, Link, Record, Release, State, Verification};
use ps_core::ports::LinkStore as _;
use ps_core::time::Timestamp;
use ps_store::EmbeddedStore;
use ps_testbed::{OidcServer, Testbed};
use serde_json::{Value, json};

use super::verification::Demanding;
use crate::support::{Invitation, Recipient, SOON, Setup, Stand, shared_smtp, sign_in, wrong_code};

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

type Attack = fn(&mut Link, &Recipient);

/// Each with the code by which the operator must name it.
const ATTACKS: [(&str, Attack); 4] = [
    ("factor-passed-over", |link, recipient| {
        // It has the proof from a claim that it refused.
        let proof = from_b64_array(&recipient.proof()).unwrap();
        link.claim = Some(Claim { proof, token_hash: recipient.token_hash(), at: now() });
        (link.state, link.request) = (State::Claimed, None);
        let seq = u32::try_from(link.journal.len()).unwrap();
        link.journal.push(JournalEntry { seq, at: now(), event: JournalEvent::Claimed });
    }),
    ("factor-passed-over", |link, recipient| {
        link.release = Some(Release { r: [7; 32], token_hash: recipient.token_hash() });
    }),
    ("forged-verdict", |link, recipient| {
        let verdict = link.verdict.as_mut().unwrap();
        verdict.released = Some(recipient.token_hash());
        verdict.email_code.as_mut().unwrap().passed = Some(recipient.token_hash());
    }),
    ("forged-verdict", |link, _| link.verdict.as_mut().unwrap().email_code.as_mut().unwrap().mails_left = 3),
];

#[tokio::test]
async fn a_factor_is_not_passed_over_by_whoever_writes_the_records() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    for (code, attack) in ATTACKS {
        let on = Demanding::start(json!({"emailCode": {}}), &[]).await;
        let recipient = on.recipient(&[Verification::EmailCode]);
        let sent = recipient.judged(json!({"step": "mail"})).await;
        assert_eq!(sent.body["emailCode"]["status"], "sent");
        change(&on, &recipient, attack).await;
        on.stand.wait_rotated("shop", SOON).await;
        assert_eq!((on.stand.audited("shop", "Tampered"), on.stand.audited("shop", "Claimed")), (1, 0), "{code}");
        let trail = std::fs::read_to_string(on.stand.audit_file()).unwrap();
        assert!(trail.contains(code), "the trail does not say {code}");
        on.source.assert_replaced(bao).await;
    }
}

/// A delivery that demands a sign-in, as far as its mail, and the provider.
async fn demanding_a_sign_in() -> (Demanding, OidcServer, String) {
    let smtp = shared_smtp().await;
    let stand = Stand::prepare(Setup::default(), smtp);
    let home = format!("{}/", stand.public_url());
    let server = OidcServer::start(&home, "client_secret_basic").await.unwrap();
    stand.with_oidc(&server);
    stand.run().await;
    let on = Demanding::on(stand, smtp, json!({"oidc": {}}), &[]).await;
    (on, server, home)
}

/// Whether the right person has signed in before, the operator's name for it, and the attack.
const SIGN_IN_ATTACKS: [(bool, &str, Attack); 4] = [
    (false, "forged-verdict", |link, recipient| {
        let verdict = link.verdict.as_mut().unwrap();
        verdict.released = Some(recipient.token_hash());
        *verdict.sign_in.as_mut().unwrap() = SignInVerdict { refused: None, passed: Some(recipient.token_hash()) };
    }),
    (false, "forged-verdict", |link, recipient| {
        let mut verdict = link.verdict.as_deref().unwrap().clone();
        verdict.released = Some(recipient.token_hash());
        verdict.sign_in.as_mut().unwrap().passed = Some(recipient.token_hash());
        link.verdict = Some(Box::new(verdict.signed(link.sealed.id, &JudgeKey([7; 32]))));
        link.release = Some(Release { r: [7; 32], token_hash: recipient.token_hash() });
    }),
    (false, "factor-passed-over", |link, recipient| {
        link.release = Some(Release { r: [7; 32], token_hash: recipient.token_hash() });
    }),
    (true, "factor-passed-over", |link, _| link.release.as_mut().unwrap().r = [7; 32]),
];

#[tokio::test]
async fn a_sign_in_is_not_forged_by_whoever_writes_the_records() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    for (right, code, attack) in SIGN_IN_ATTACKS {
        let (on, server, home) = demanding_a_sign_in().await;
        let recipient = on.recipient(&[Verification::Oidc]);
        let account = if right { on.to.as_str() } else { "mallory@v.example" };
        server.behave(&json!({"email": account, "emailVerified": true})).await.unwrap();
        let answer = recipient.judged(sign_in(&server, &recipient, &home).await).await;
        assert_eq!(answer.body["oidc"]["status"], if right { "passed" } else { "refused" });
        change(&on, &recipient, attack).await;
        on.stand.wait_rotated("shop", SOON).await;
        assert_eq!((on.stand.audited("shop", "Tampered"), on.stand.audited("shop", "Claimed")), (1, 0), "{code}");
        assert_eq!(on.stand.audited("shop", "SignInPassed"), usize::from(right), "{code}");
        let trail = std::fs::read_to_string(on.stand.audit_file()).unwrap();
        assert!(trail.contains(code), "the trail does not say {code}");
        assert_ne!(recipient.claim().await.status, 200, "{code}");
        on.source.assert_replaced(bao).await;
    }
}

#[tokio::test]
async fn sign_ins_that_are_anothers_old_forged_or_for_another_link_do_not_pass_and_the_right_one_does() {
    let (on, server, home) = demanding_a_sign_in().await;
    let recipient = on.recipient(&[Verification::Oidc]);
    let right = json!({"email": on.to, "emailVerified": true});
    let but = |name: &str, value: Value| {
        let mut behaviour = right.clone();
        behaviour[name] = value;
        behaviour
    };
    let refused = async |answer: Value, why: &str, what: &str| {
        let said = recipient.judged(answer).await;
        assert_eq!(said.body["oidc"], json!({"status": "refused", "reason": why}), "{what}");
        assert_eq!(recipient.claim().await.code(), "verification-due", "{what}");
    };
    let hour_ago = now().as_millis() / 1000 - 3600;
    let old = json!({"iat": hour_ago - 600, "auth_time": hour_ago - 600, "exp": hour_ago});
    for (behaviour, why, what) in [
        (but("email", "mallory@v.example".into()), "email", "someone else's"),
        (but("claims", old), "signIn", "an old one"),
        (but("claims", json!({"aud": "another-client"})), "signIn", "for another client"),
        (but("sign", "otherKey".into()), "signIn", "signed by somebody else"),
        (but("sign", "none".into()), "signIn", "signed by nobody"),
    ] {
        server.behave(&behaviour).await.unwrap();
        refused(sign_in(&server, &recipient, &home).await, why, what).await;
    }
    server.behave(&right).await.unwrap();
    // The right person, in the same browser, but for a link that the gateway has made up, whose nonce names that one.
    let (base, _) = on.invitation.link.split_once('#').unwrap();
    let link = format!("{base}#ps1.{}", b64(&[9; 32]));
    let another = Recipient::demanded(&Invitation { link, ..on.invitation.clone() }, &[Verification::Oidc], None);
    refused(sign_in(&server, &another, &home).await, "signIn", "for another link").await;
    let elsewhere = on.recipient(&[Verification::Oidc]);
    let theirs = sign_in(&server, &elsewhere, &home).await;
    refused(theirs.clone(), "signIn", "for another browser").await;
    refused(theirs, "signIn", "an answer that was used before").await;

    let passed = recipient.judged(sign_in(&server, &recipient, &home).await).await;
    assert_eq!(passed.body["oidc"], json!({"status": "passed"}));
    assert_eq!(recipient.open().await["password"], on.source.password);
    on.stand.wait_rotated("shop", SOON).await;
    for (kind, count) in [("SignInRefused", 8), ("SignInPassed", 1), ("Verified", 1), ("Claimed", 1), ("Tampered", 0)] {
        assert_eq!(on.stand.audited("shop", kind), count, "{kind}");
    }
}

#[tokio::test]
async fn whoever_writes_requests_gets_no_more_mails_and_tries_than_anybody() {
    let on = Demanding::start(json!({"emailCode": {}}), &[]).await;
    let recipient = on.recipient(&[Verification::EmailCode]);
    recipient.judged(json!({"step": "mail"})).await;
    let code = on.code(2).await;
    assert_eq!(
        recipient.judged(json!({"step": "code", "emailCode": wrong_code(&code)})).await.body["emailCode"]["triesLeft"],
        4
    );
    // It guesses without waiting, fifteen times and more, and asks for mails in between.
    let store = EmbeddedStore::open(&on.stand.path("data/links")).unwrap();
    let mut landed = 0;
    for guess in 0..60_u8 {
        let found = store.get(recipient.id()).await.unwrap().unwrap();
        let mut link = found.value.link().unwrap().clone();
        if link.state != State::Open {
            break;
        }
        if link.open_request().is_some() {
            tokio::time::timeout(SOON, store.changes(found.version, 16)).await.unwrap().unwrap();
            continue;
        }
        let seq = link.verdict.as_ref().unwrap().answered + 1;
        let ask = if guess % 3 == 0 { Ask::Mail } else { Ask::Code(Digest([guess; 32])) };
        link.request = Some(Box::new(Request { seq, at: now(), token_hash: recipient.token_hash(), ask }));
        // The operator may have been faster.
        landed += usize::from(store.replace(&Record::Link(Box::new(link)), found.version).await.is_ok());
    }
    drop(store);
    assert!(landed >= 10, "only {landed} of its requests reached the operator");
    assert!(on.stand.audited("shop", "CodeMailed") <= 3);
    assert!(on.stand.audited("shop", "CodeWrong") <= 15);
    assert_eq!((on.stand.audited("shop", "Verified"), on.stand.audited("shop", "Claimed")), (0, 0));
    assert_ne!(recipient.claim().await.status, 200);
}

async fn change(on: &Demanding, recipient: &Recipient, attack: Attack) {
    let store = EmbeddedStore::open(&on.stand.path("data/links")).unwrap();
    let found = store.get(recipient.id()).await.unwrap().unwrap();
    let mut link = found.value.link().unwrap().clone();
    attack(&mut link, recipient);
    store.replace(&Record::Link(Box::new(link)), found.version).await.unwrap();
}
