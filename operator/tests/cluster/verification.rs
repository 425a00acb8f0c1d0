//! A passphrase, an e-mailed code and a sign-in, all demanded of one browser, through three gateways and two operators; the
//! one that leads is killed between the code and the sign-in. Whatever passes is held in the ledger, so the next one goes on.

use std::fs;

use ps_core::encode::from_b64;
use ps_core::link::Verification;
use ps_testbed::{OidcServer, Testbed, memory_of, unique};
use serde_json::json;

use crate::stand::{Program, Setup, Stand};
use crate::support::{
    Invitation, KvSource, Needle, Recipient, SOON, Search, VERIFIER, client, code_in, hand_in, kv_delivery,
    mail_a_code, sign_in, wrong_code,
};

const PHRASE: &str = "correct horse battery staple";
const KINDS: [Verification; 3] = [Verification::Passphrase, Verification::EmailCode, Verification::Oidc];

async fn installed(provider: &OidcServer) -> Stand {
    let (issuer, authorize) = (provider.issuer(), provider.authorization_endpoint());
    let more = format!(
        "oidc: {{issuer: \"{issuer}\", clientId: {}, clientSecretFile: secrets/oidc, authorizationEndpoint: \
         \"{authorize}\", timeout: 5s}}",
        provider.client_id()
    );
    let (client, endpoint) = ("--oidc-client-id", "--oidc-authorization-endpoint");
    let gateway_args = vec![format!("{client}={}", provider.client_id()), format!("{endpoint}={authorize}")];
    let setup = Setup { operators: 2, gateways: 3, level: "trace", more, gateway_args, ..Setup::default() };
    let stand = Stand::prepare(setup).await;
    fs::write(stand.path("secrets/oidc"), provider.client_secret()).unwrap();
    let phrase = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"value": PHRASE},
        "metadata": {"name": "passphrase", "namespace": stand.tenant, "labels": {"passwordsender.io/usable": "true"}}});
    stand.cluster.apply(&phrase.to_string()).await.unwrap();
    stand.run().await;
    stand
}

#[tokio::test]
async fn every_factor_is_judged_by_whoever_leads_and_leaves_no_trace() {
    let testbed = Testbed::connect_or_start().unwrap();
    let (bao, smtp) = (testbed.bao().await.unwrap(), testbed.smtp().await.unwrap());
    let provider = OidcServer::start_for_any_port().await.unwrap();
    let stand = installed(&provider).await;
    let home = format!("{}/", stand.public_url());
    let source = KvSource::new(bao).await;
    stand.connect(bao, &source.policy()).await;
    let to = format!("{}@v.example", unique("factors"));
    let phrase = json!({"secretKeyRef": {"name": "passphrase", "key": "value"}});
    let verification = json!({"verification": {"passphrase": phrase, "emailCode": {}, "oidc": {}}});
    stand.apply(&kv_delivery("factors", &to, &source, "1h", "1s", verification)).await;
    let invitation = Invitation::of(&stand.mail(&to).await);
    stand.wait_status("factors", "delivered", SOON, |s| s.is("Delivered")).await;
    provider.behave(&json!({"email": to, "emailVerified": true})).await.unwrap();
    let recipient = Recipient::demanded(&invitation, &KINDS, Some(PHRASE));
    let elsewhere = Recipient::demanded(&invitation, &KINDS, Some(PHRASE));

    assert_eq!(recipient.claim().await.code(), "verification-due");
    assert_eq!(recipient.judged(mail_a_code()).await.body["emailCode"]["status"], "sent");
    let code = code_in(smtp, &to, 2).await;
    assert_eq!(recipient.judged(hand_in(wrong_code(&code))).await.body["emailCode"]["triesLeft"], 4);
    let passed = ps_testbed::wait_until("the right code to be looked at", SOON, async || {
        let answer = recipient.judged(hand_in(&code)).await;
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(passed.await.unwrap().body["emailCode"]["status"], "passed");
    assert_eq!(recipient.claim().await.code(), "verification-due", "a sign-in is due too");

    stand.operators[stand.leader().await].kill();
    let step = sign_in(&provider, &recipient, &home).await;
    let passed = recipient.judged(step.clone()).await;
    assert_eq!(
        (&passed.body["oidc"]["status"], &passed.body["emailCode"]["status"]),
        (&json!("passed"), &json!("passed")),
        "{} {}\n{}",
        passed.status,
        passed.body,
        stand.tails()
    );
    assert_eq!(elsewhere.claim().await.code(), "verification-due", "what passed, passed for one browser");
    let wrong = Recipient::demanded(&invitation, &KINDS, Some("battery staple"));
    assert_eq!(wrong.claim().await.code(), "verification-due", "and for one token");

    let claimed = recipient.claim().await;
    assert_eq!(recipient.unseal(&claimed)["password"], source.password);
    let r = from_b64(claimed.body["r"].as_str().unwrap()).unwrap();
    assert_eq!(recipient.acknowledge().await.state(), "retrieved");
    stand.wait_rotated("factors", SOON).await;
    source.assert_replaced(bao).await;
    let counts = [("CodeMailed", 1), ("CodeWrong", 1), ("CodePassed", 1), ("SignInPassed", 1), ("Verified", 1)];
    for (kind, count) in [&counts[..], &[("Claimed", 1), ("Tampered", 0)]].concat() {
        assert_eq!(stand.audited_by_all("factors", kind), count, "{kind}\n{}", stand.tails());
    }

    let released = Search::new(vec![Needle::bytes("R", &r)]);
    released.assert_it_finds_what_is_there();
    no_trace(&stand, &released).await;
    // A gateway hands it on, and a worker's stack may show it a while longer (docs/threat-model.md).
    for operator in stand.operators.iter().filter(|operator| operator.is_up()) {
        not_in_what_it_remembers(operator, &stand.names.links, &released).await;
    }
    let search = Search::new(vec![
        Needle::new("the passphrase", PHRASE),
        Needle::new("the mailed code", &code),
        Needle::new("the bare mailed code", &code.replace('-', "")),
    ]);
    search.assert_it_finds_what_is_there();
    no_trace(&stand, &search).await;
    for program in stand.operators.iter().chain(&stand.gateways).filter(|program| program.is_up()) {
        not_in_what_it_remembers(program, &stand.names.links, &search).await;
    }
    // Spent, and of no use without the client's secret. In memory a connection's buffer may hold them a while longer.
    let spent = Search::new(vec![
        Needle::new("the authorization code", step["authorizationCode"].as_str().unwrap()),
        Needle::new("the verifier", VERIFIER),
    ]);
    spent.assert_it_finds_what_is_there();
    no_trace(&stand, &spent).await;
    let secret = Search::new(vec![Needle::new("the client's secret", provider.client_secret())]);
    for program in stand.operators.iter().chain(&stand.gateways) {
        assert_eq!(secret.found_in(program.log_text().as_bytes()), [""; 0], "log");
    }
}

/// Nothing of it in what is shown, logged or kept.
async fn no_trace(stand: &Stand, search: &Search) {
    let (links, own) = (&stand.names.links, &stand.names.own);
    let of = |namespace: &str, what: &str| format!("/api/v1/namespaces/{namespace}/{what}");
    let events = of(&stand.tenant, "events");
    for path in [stand.uri("factors"), events, of(links, "secrets"), of(own, "secrets")] {
        let (status, found) = stand.cluster.request("GET", &path, None).await.unwrap();
        assert_eq!(status, 200, "{path}");
        assert_eq!(search.found_in(&serde_json::to_vec(&found).unwrap()), [""; 0], "{path}");
    }
    for (n, _) in stand.operators.iter().enumerate() {
        let trail = fs::read(stand.path(&format!("audit-{n}.jsonl"))).unwrap_or_default();
        assert_eq!(search.found_in(&trail), [""; 0], "the trail of operator {n}");
    }
    for program in stand.operators.iter().chain(&stand.gateways) {
        assert_eq!(search.found_in(program.log_text().as_bytes()), [""; 0], "log");
    }
}

/// `known` is in its memory for certain.
async fn not_in_what_it_remembers(program: &Program, known: &str, search: &Search) {
    let metrics = format!("http://127.0.0.1:{}/metrics", program.admin);
    let page = client().get(metrics).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("password_sender_"), "{page}");
    assert_eq!(search.found_in(page.as_bytes()), [""; 0], "metrics");
    let control = Search::new(vec![Needle::new("control", known)]);
    let (mut there, mut found) = (0, Vec::new());
    memory_of(program.pid(), |name, piece| {
        there += control.found_in(piece).len();
        found.extend(search.found_in(piece).into_iter().map(|what| format!("{what} in {name}")));
    })
    .unwrap();
    assert!(there > 0, "its memory must be found to hold what it holds, or the search proves nothing");
    assert_eq!(
        found,
        [""; 0],
        "memory of the program on admin port {} (a gateway: {})",
        program.admin,
        program.port > 0
    );
}
