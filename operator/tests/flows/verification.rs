//! E-mailed codes, passphrases and sign-ins, in combination, with a real mail server and a real identity provider.

use std::time::Duration;

use ps_core::encode::from_b64;
use ps_core::link::{Record, Verification};
use ps_core::ports::LinkStore as _;
use ps_core::time::Timestamp;
use ps_store::EmbeddedStore;
use ps_testbed::{Fault, OidcServer, Phase, SmtpOptions, SmtpServer, Testbed, unique, wait_until};
use serde_json::{Value, json};

use crate::support::{
    Invitation, KvSource, Needle, Recipient, SOON, Search, Setup, Stand, VERIFIER, code_in, hand_in, kv_delivery,
    mail_a_code, shared_smtp, sign_in, wrong_code,
};

/// A delivery that demands something, as far as its mail.
pub(crate) struct Demanding {
    pub(crate) stand: Stand,
    pub(crate) source: KvSource,
    pub(crate) to: String,
    pub(crate) invitation: Invitation,
}

impl Demanding {
    pub(crate) async fn start(verification: Value, notify: &[&str]) -> Self {
        let smtp = shared_smtp().await;
        Self::on(Stand::with_smtp(Setup::default(), smtp).await, smtp, verification, notify).await
    }

    pub(crate) async fn on(stand: Stand, smtp: &SmtpServer, verification: Value, notify: &[&str]) -> Self {
        let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
        let source = KvSource::new(bao).await;
        stand.connect(bao, bao.address(), &source.policy()).await;
        let to = format!("{}@v.example", unique("verified"));
        let events: Vec<&str> = ["Retrieved"].iter().chain(notify).copied().collect();
        let more = json!({
            "verification": verification,
            "notify": {"email": format!("sender.{to}"), "events": events},
        });
        stand.apply("shop", &kv_delivery("shop", &to, &source, "1h", "1s", more));
        let invitation = Invitation::of(&smtp.wait_for_mail(&to, SOON).await.unwrap());
        stand.wait_status("shop", "delivered", SOON, |s| s.is("Delivered")).await;
        Self { stand, source, to, invitation }
    }

    pub(crate) fn recipient(&self, kinds: &[Verification]) -> Recipient {
        Recipient::demanded(&self.invitation, kinds, None)
    }

    /// The code in the latest of so many mails: the first one is the link's.
    pub(crate) async fn code(&self, mails: usize) -> String {
        code_in(shared_smtp().await, &self.to, mails).await
    }
}

#[tokio::test]
async fn an_emailed_code_opens_the_link_in_the_browser_that_typed_it() {
    let kinds = [Verification::EmailCode];
    let on = Demanding::start(json!({"emailCode": {}}), &[]).await;
    let recipient = on.recipient(&kinds);
    assert_eq!(recipient.lookup().await.body["kinds"], json!(["emailCode"]));
    let early = recipient.claim().await;
    assert_eq!((early.status, early.code()), (403, "verification-due"));

    let sent = recipient.judged(mail_a_code()).await;
    assert_eq!((&sent.body["emailCode"]["status"], &sent.body["emailCode"]["mailsLeft"]), (&json!("sent"), &json!(2)));
    let code = on.code(2).await;
    let refused = recipient.judged(hand_in(wrong_code(&code))).await;
    assert_eq!(
        (&refused.body["emailCode"]["status"], &refused.body["emailCode"]["triesLeft"]),
        (&json!("wrong"), &json!(4))
    );
    let passed = wait_until("the right code to be looked at", SOON, async || {
        let answer = recipient.judged(hand_in(&code)).await;
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(passed.await.unwrap().body["emailCode"]["status"], "passed");

    let elsewhere = on.recipient(&kinds);
    assert_eq!(elsewhere.step(json!({"step": "status"})).await.body["emailCode"]["status"], "none");
    assert_eq!(elsewhere.claim().await.code(), "verification-due");
    assert_eq!(elsewhere.judged(hand_in(&code)).await.body["emailCode"]["status"], "none", "a code passes once");
    assert_eq!(recipient.open().await["password"], on.source.password);
    on.stand.wait_rotated("shop", SOON).await;
    for (kind, count) in [("CodeMailed", 1), ("CodeWrong", 1), ("CodePassed", 1), ("Verified", 1), ("Claimed", 1)] {
        assert_eq!(on.stand.audited("shop", kind), count, "{kind}");
    }
    assert_eq!(on.stand.audited("shop", "Tampered"), 0);
}

#[tokio::test]
async fn a_code_outlives_a_restart_and_a_second_browser_may_take_over() {
    let kinds = [Verification::EmailCode];
    let on = Demanding::start(json!({"emailCode": {}}), &[]).await;
    let (first, second) = (on.recipient(&kinds), on.recipient(&kinds));
    first.judged(mail_a_code()).await;
    let code = on.code(2).await;
    on.stand.kill();
    on.stand.run().await;
    assert_eq!(first.judged(hand_in(&code)).await.body["emailCode"]["status"], "passed");
    // Another mail is asked for in another browser, which then is the one.
    let sent = wait_until("another mail", SOON * 2, async || {
        let answer = second.judged(mail_a_code()).await;
        (answer.body["emailCode"]["mailsLeft"] == 1).then_some(answer)
    });
    assert_eq!(sent.await.unwrap().body["emailCode"]["status"], "sent");
    let code = on.code(3).await;
    assert_eq!(second.judged(hand_in(&code)).await.body["emailCode"]["status"], "passed");
    assert_eq!(first.claim().await.code(), "verification-due", "its release was taken over");
    assert_eq!(second.open().await["password"], on.source.password);
    on.stand.wait_rotated("shop", SOON).await;
}

#[tokio::test]
async fn wrong_codes_after_a_right_opening_code_lock_the_link_in_the_end() {
    let on = Demanding::start(json!({"emailCode": {}}), &["Locked"]).await;
    let recipient = on.recipient(&[Verification::EmailCode]);
    // Without the opening code nothing of it counts.
    let stranger = Recipient::new(&Invitation { code: "0000-0000".into(), ..on.invitation.clone() });
    assert_eq!(stranger.step(mail_a_code()).await.code(), "wrong-code");
    let mut tries = 0;
    for mails in 2..=4 {
        let sent = wait_until("the mail", SOON, async || {
            let answer = recipient.judged(mail_a_code()).await;
            (answer.status == 200).then_some(answer)
        });
        assert_eq!(sent.await.unwrap().body["emailCode"]["status"], "sent");
        let code = on.code(mails).await;
        for left in (0..5).rev() {
            let answer = wait_until("the try to be looked at", SOON * 2, async || {
                let answer = recipient.judged(hand_in(wrong_code(&code))).await;
                (answer.status != 429).then_some(answer)
            });
            let answer = answer.await.unwrap();
            tries += 1;
            match (mails, left) {
                (4, 0) => assert!(answer.state() == "locked", "{:?}", answer.body),
                (_, 0) => assert_eq!(answer.body["emailCode"]["status"], "usedUp"),
                _ => assert_eq!(answer.body["emailCode"]["triesLeft"], left, "{:?}", answer.body),
            }
        }
    }
    assert_eq!(tries, 15);
    // So many requests in a row may have used up what one client may ask.
    let claim = wait_until("an answer", SOON, async || {
        let answer = recipient.claim().await;
        (answer.status != 429).then_some(answer)
    });
    assert_eq!(claim.await.unwrap().state(), "locked");
    on.stand.wait_rotated("shop", SOON).await;
    assert_told_of_a_lock(&on.stand, &on.to, "shop").await;
    assert_eq!((on.stand.audited("shop", "CodeMailed"), on.stand.audited("shop", "Locked")), (3, 1));
    assert_eq!(shared_smtp().await.wait_for_mails(&on.to, 4, SOON).await.unwrap().len(), 4, "one link, three codes");
}

/// One mail to the sender, and its words are those of a lock.
async fn assert_told_of_a_lock(stand: &Stand, to: &str, name: &str) {
    let told = stand.mails(&format!("sender.{to}"), 1, SOON).await;
    let [mail] = told.as_slice() else { panic!("{name}: {told:?}") };
    let (subject, text) = (&mail.subject, mail.text.as_deref().unwrap());
    assert!(subject.starts_with("The link is locked after too many wrong passphrases or codes"), "{subject}");
    assert!(subject.ends_with(name), "{subject}");
    assert!(text.contains("Too many wrong passphrases or e-mailed codes: the link is locked."), "{text}");
    assert!(!text.contains(to), "{text}");
}

/// Ten wrong passphrases, each looked at: the waits between them are cut short in the record.
async fn guess_until_it_locks(stand: &Stand, guesser: &Recipient) {
    let store = EmbeddedStore::open(&stand.path("data/links")).unwrap();
    for left in (0..10).rev() {
        let answer = guesser.claim().await;
        if left == 0 {
            assert_eq!((answer.status, answer.code(), answer.state()), (410, "gone", "locked"), "{:?}", answer.body);
            break;
        }
        assert_eq!((answer.status, answer.code()), (403, "wrong-proof"), "{:?}", answer.body);
        assert_eq!(answer.body["error"]["attemptsLeft"], left, "{:?}", answer.body);
        assert_eq!(guesser.claim().await.code(), "slow-down", "nobody guesses without a wait");
        wait_until("the wait to be over", SOON, async || {
            let found = store.get(guesser.id()).await.unwrap().unwrap();
            let mut link = found.value.link().unwrap().clone();
            link.tries.wait_until = Timestamp::EPOCH;
            // The operator may have been faster.
            store.replace(&Record::Link(Box::new(link)), found.version).await.ok()
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn wrong_passphrases_lock_the_link_tell_the_sender_and_rotate_only_where_that_is_said() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let smtp = shared_smtp().await;
    let stand = Stand::prepare(Setup::default(), smtp);
    stand.secret("phrase", "passphrase", "correct horse");
    stand.run().await;
    let rotated = KvSource::new(bao).await;
    let kept = KvSource::below(bao, &rotated.mount).await;
    stand.connect(bao, bao.address(), &(rotated.policy() + &kept.policy())).await;
    let kinds = [Verification::Passphrase];
    let mut holders = Vec::new();
    // The one that is kept first: until it is looked at, there is time to rotate it by mistake.
    for (name, on_locked, source) in [("keep", "Keep", &kept), ("rotate", "Rotate", &rotated)] {
        let to = format!("{}@v.example", unique(name));
        let more = json!({
            "verification": {"passphrase": {"secretKeyRef": {"name": "phrase", "key": "passphrase"}}},
            "rotation": {"onLocked": on_locked},
            "notify": {"email": format!("sender.{to}"), "events": ["Locked"]},
        });
        stand.apply(name, &kv_delivery(name, &to, source, "1h", "1s", more));
        let invitation = Invitation::of(&smtp.wait_for_mail(&to, SOON).await.unwrap());
        stand.wait_status(name, "delivered", SOON, |s| s.is("Delivered")).await;
        guess_until_it_locks(&stand, &Recipient::demanded(&invitation, &kinds, Some("battery staple"))).await;
        assert_told_of_a_lock(&stand, &to, name).await;
        holders.push(Recipient::demanded(&invitation, &kinds, Some("correct horse")));
    }
    stand.wait_rotated("rotate", SOON).await;
    rotated.assert_replaced(bao).await;
    stand.wait_rests("keep").await;
    assert!(kept.is_untouched(bao).await, "rotation.onLocked: Keep");
    assert_eq!(stand.status("keep").condition("Rotated").1, "NotDue");
    for (name, holder) in ["keep", "rotate"].into_iter().zip(&holders) {
        assert_eq!(holder.claim().await.state(), "locked", "{name}: nor does the right one open it");
        assert_eq!((stand.audited(name, "Locked"), stand.audited(name, "Claimed")), (1, 0), "{name}");
        assert_eq!(stand.audited(name, "Tampered"), 0, "{name}");
    }
}

#[tokio::test]
async fn a_mail_server_that_refuses_is_told_and_one_that_waits_is_waited_for() {
    let smtp = SmtpServer::start(SmtpOptions::default()).await.unwrap();
    let stand = Stand::with_smtp(Setup::default(), &smtp).await;
    let on = Demanding::on(stand, &smtp, json!({"emailCode": {}}), &[]).await;
    let recipient = on.recipient(&[Verification::EmailCode]);
    smtp.fault(&Fault::reply(Phase::Rcpt, 550, "No").only_for(&on.to).times(1)).await.unwrap();
    let refused = recipient.judged(mail_a_code()).await;
    assert_eq!(
        (&refused.body["emailCode"]["status"], &refused.body["emailCode"]["mailsLeft"]),
        (&json!("notSent"), &json!(2))
    );
    smtp.fault(&Fault::reply(Phase::Rcpt, 451, "Later").only_for(&on.to).times(1)).await.unwrap();
    let sent = recipient.judged(mail_a_code()).await;
    assert_eq!((&sent.body["emailCode"]["status"], &sent.body["emailCode"]["mailsLeft"]), (&json!("sent"), &json!(1)));
    let code = code_in(&smtp, &on.to, 2).await;
    assert_eq!(recipient.judged(hand_in(&code)).await.body["emailCode"]["status"], "passed");
    assert_eq!(recipient.open().await["password"], on.source.password);
    assert_eq!(on.stand.audited("shop", "CodeRefused"), 1);
}

#[tokio::test]
async fn a_sign_in_with_the_recipients_address_opens_the_link() {
    let smtp = shared_smtp().await;
    let stand = Stand::prepare(Setup::default(), smtp);
    let home = format!("{}/", stand.public_url());
    let server = OidcServer::start(&home, "client_secret_basic").await.unwrap();
    stand.with_oidc(&server);
    stand.run().await;
    let on = Demanding::on(stand, smtp, json!({"oidc": {}}), &[]).await;
    let recipient = on.recipient(&[Verification::Oidc]);
    let offer = &recipient.lookup().await.body["oidc"];
    let wanted = json!({
        "authorizationEndpoint": server.authorization_endpoint(), "clientId": server.client_id(), "scope": "openid email",
    });
    assert_eq!(*offer, wanted);

    for (account, verified, reason) in [("mallory@v.example", true, "email"), (on.to.as_str(), false, "unverified")] {
        server.behave(&json!({"email": account, "emailVerified": verified})).await.unwrap();
        let answer = recipient.judged(sign_in(&server, &recipient, &home).await).await;
        assert_eq!(answer.body["oidc"], json!({"status": "refused", "reason": reason}));
        assert_eq!(recipient.claim().await.code(), "verification-due");
    }
    server.behave(&json!({"email": on.to, "emailVerified": true})).await.unwrap();
    // What was given to another browser is of no use here: its nonce names that browser's token.
    let other = on.recipient(&[Verification::Oidc]);
    let stolen = recipient.judged(sign_in(&server, &other, &home).await).await;
    assert_eq!(stolen.body["oidc"], json!({"status": "refused", "reason": "signIn"}));
    let passed = recipient.judged(sign_in(&server, &recipient, &home).await).await;
    assert_eq!(passed.body["oidc"], json!({"status": "passed"}));
    assert_eq!(recipient.open().await["password"], on.source.password);
    on.stand.wait_rotated("shop", SOON).await;
    assert_eq!((on.stand.audited("shop", "SignInRefused"), on.stand.audited("shop", "SignInPassed")), (3, 1));
}

#[tokio::test]
async fn all_three_are_demanded_of_one_browser_and_no_trace_of_them_stays() {
    let smtp = SmtpServer::start(SmtpOptions::default()).await.unwrap();
    let stand = Stand::prepare(Setup { level: "trace", ..Setup::default() }, &smtp);
    let home = format!("{}/", stand.public_url());
    let server = OidcServer::start(&home, "client_secret_post").await.unwrap();
    stand.with_oidc(&server);
    stand.secret("phrase", "passphrase", "correct horse");
    stand.run().await;
    let verification =
        json!({"passphrase": {"secretKeyRef": {"name": "phrase", "key": "passphrase"}}, "emailCode": {}, "oidc": {}});
    let on = Demanding::on(stand, &smtp, verification, &[]).await;
    server.behave(&json!({"email": on.to, "emailVerified": true})).await.unwrap();
    let kinds = [Verification::Passphrase, Verification::EmailCode, Verification::Oidc];
    let recipient = Recipient::demanded(&on.invitation, &kinds, Some("correct horse"));
    let forgetful = Recipient::demanded(&on.invitation, &kinds, Some("battery staple"));

    let answer = sign_in(&server, &recipient, &home).await;
    let passed = recipient.judged(answer.clone()).await;
    assert_eq!(
        (&passed.body["oidc"]["status"], &passed.body["emailCode"]["status"]),
        (&json!("passed"), &json!("none"))
    );
    assert_eq!(recipient.claim().await.code(), "verification-due", "a code is due too");
    recipient.judged(mail_a_code()).await;
    let code = code_in(&smtp, &on.to, 2).await;
    recipient.judged(hand_in(&code)).await;
    assert_eq!(forgetful.claim().await.code(), "verification-due", "another browser");
    let claimed = recipient.claim().await;
    assert_eq!(recipient.unseal(&claimed)["password"], on.source.password);
    let r = from_b64(claimed.body["r"].as_str().unwrap()).unwrap();
    assert_eq!(recipient.acknowledge().await.state(), "retrieved");
    on.stand.wait_rotated("shop", SOON).await;
    on.stand.wait_rests("shop").await;

    let search = Search::new(vec![
        Needle::bytes("R", &r),
        Needle::new("the mailed code", &code),
        Needle::new("the bare mailed code", &code.replace('-', "")),
        Needle::new("the authorization code", answer["authorizationCode"].as_str().unwrap()),
        Needle::new("the verifier", VERIFIER),
        Needle::new("the client's secret", server.client_secret()),
    ]);
    search.assert_it_finds_what_is_there();
    let quiet = wait_until("nothing of it in the files", Duration::from_secs(10), async || {
        search.found_below(&on.stand.path("data")).is_empty().then_some(())
    });
    quiet.await.unwrap_or_else(|e| panic!("{e}: {:?}", search.found_below(&on.stand.path("data"))));
    assert_eq!(search.found_below(&on.stand.path("manifests")), [""; 0]);
    assert_eq!(search.found_in(on.stand.log_text().as_bytes()), [""; 0], "log");
    assert_eq!(search.found_in(on.stand.metrics().await.as_bytes()), [""; 0], "metrics");
}

#[tokio::test]
async fn without_a_provider_a_delivery_that_demands_a_sign_in_stalls_and_reads_nothing() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect(bao, bao.address(), &source.policy()).await;
    let to = format!("{}@v.example", unique("no-provider"));
    let more = json!({"verification": {"oidc": {}}});
    stand.apply("shop", &kv_delivery("shop", &to, &source, "1h", "1h", more));
    let seen = stand.wait_status("shop", "the stall", SOON, |s| s.is("Stalled")).await;
    let stalled = seen.condition("Stalled");
    assert_eq!(stalled.1, "OidcNotConfigured", "{stalled:?}");
    assert!(stalled.2.contains("spec.verification.oidc"), "{stalled:?}");
}

#[tokio::test]
async fn an_exposed_link_opens_and_its_sender_is_told() {
    let on = Demanding::start(json!({}), &["Exposed"]).await;
    let recipient = on.recipient(&[]);
    let claimed = recipient.claim_exposed().await;
    assert_eq!(recipient.unseal(&claimed)["password"], on.source.password);
    on.stand.wait_rotated("shop", SOON).await;
    assert_eq!(on.stand.audited("shop", "Exposed"), 1);
    let notices = on.stand.mails(&format!("sender.{}", on.to), 2, SOON).await;
    assert!(notices.iter().any(|mail| mail.subject.contains("exposed")), "{notices:?}");
}
