//! Leases: lifetime, renewal, revocation, and their end with the token that asked.

use std::time::Duration;

use ps_core::ids::Digest;
use ps_core::secret::SecretString;
use ps_core::time::{Span, Timestamp};
use ps_envelope::{Field, FieldKind, FreshSecret, OpeningCode, Payload, Preview, SealInput, seal};
use ps_testbed::{OpenBao, TokenOptions, unique, wait_until};
use serde_json::{Value, json};

use crate::programs::{SENDER_POLICY, as_answered, send, token_file};
use crate::stand::{Holder, PUBLIC_URL, SOON, prepare, shared};

fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

/// A link sealed as a client does it: what goes to `sealed/ROLE`, and its holder.
pub(crate) fn sealed(change: impl FnOnce(&mut ps_core::link::Sealed)) -> (Value, Holder) {
    let field = Field {
        key: "password".to_owned(),
        label: String::new(),
        kind: FieldKind::Password,
        value: SecretString::new("sealed elsewhere".to_owned()),
    };
    let payload = Payload { fields: vec![field], ..Payload::default() };
    let code = OpeningCode::from_random([1, 2, 3, 4, 5]).unwrap();
    let link = seal(SealInput {
        secret: FreshSecret::from_random(Digest::of(unique("s").as_bytes()).0),
        passphrase: None,
        factor: None,
        opening_code: Some(&code),
        payload: &payload,
        preview: &Preview::default(),
        not_after: now() + Span::from_secs(8 * 3600),
        claim_window: Span::from_secs(900),
        kinds: &[],
    })
    .unwrap();
    let url = link.secret.to_url(PUBLIC_URL).unwrap();
    let answer = json!({"lease_id": "", "data": {"url": url.expose(), "id": link.sealed.id.to_string(),
        "opening_code": code.shown().unwrap().expose()}});
    let mut record = link.sealed;
    change(&mut record);
    let body = json!({"sealed": record, "ciphertext": ps_core::encode::b64(&link.ciphertext),
        "preview": ps_core::encode::b64(&link.preview), "ttl": "1h"});
    (body, Holder::from_answer(&answer))
}

async fn revoke(bao: &OpenBao, lease: &Value) {
    bao.call("PUT", "sys/leases/revoke", Some(&json!({"lease_id": lease, "sync": true}))).await.unwrap();
}

#[tokio::test]
async fn a_sealed_link_is_a_lease_and_opens() {
    let bao = shared().await;
    let (body, holder) = sealed(|_| {});
    let answer = bao.call("POST", "send/sealed/any", Some(&body)).await.unwrap();
    assert!(answer["lease_id"].as_str().unwrap().starts_with("send/sealed/any/"), "{answer}");
    assert_eq!((&answer["lease_duration"], &answer["renewable"]), (&json!(3600), &json!(true)));
    let (status, again) = bao.request("POST", "send/sealed/any", Some(&body)).await.unwrap();
    assert_eq!(status, 409, "{again}");
    // Longer, but never past what was sealed in.
    let renew = |increment: u64| json!({"lease_id": answer["lease_id"], "increment": increment});
    let renewed = bao.call("PUT", "sys/leases/renew", Some(&renew(7200))).await.unwrap();
    assert!((7195..=7200).contains(&renewed["lease_duration"].as_u64().unwrap()), "{renewed}");
    let renewed = bao.call("PUT", "sys/leases/renew", Some(&renew(100 * 3600))).await.unwrap();
    let longest = 8 * 3600 - 900;
    assert!((longest - 30..=longest).contains(&renewed["lease_duration"].as_u64().unwrap()), "{renewed}");
    let (status, claimed) = holder.claim(bao).await;
    assert_eq!(status, 200, "{claimed}");
    assert_eq!(holder.open(&claimed, "password"), "sealed elsewhere");
    let (status, answer) = bao.request("PUT", "sys/leases/renew", Some(&renew(60))).await.unwrap();
    assert_eq!(status, 400, "a link that was opened is not prolonged: {answer}");
}

#[tokio::test]
async fn revoking_a_lease_revokes_the_link_as_often_as_it_is_asked() {
    let bao = shared().await;
    let (body, holder) = sealed(|_| {});
    let answer = bao.call("POST", "send/sealed/any", Some(&body)).await.unwrap();
    revoke(bao, &answer["lease_id"]).await;
    assert_eq!(holder.state(bao).await, "revoked");
    assert_eq!(holder.claim(bao).await.0, 410);

    let link = Holder::issue(bao, "x").await;
    let path = format!("send/lease/{}", link.id);
    let first = bao.call("GET", &path, None).await.unwrap();
    let second = bao.call("GET", &path, None).await.unwrap();
    assert_ne!(first["lease_id"], second["lease_id"]);
    assert!(!first.to_string().contains(&link.fragment));
    revoke(bao, &first["lease_id"]).await;
    revoke(bao, &second["lease_id"]).await;
    assert_eq!(link.state(bao).await, "revoked");
    assert_eq!(bao.request("GET", &path, None).await.unwrap().0, 410);
}

#[tokio::test]
async fn a_link_goes_with_the_token_that_asked_for_its_lease() {
    let bao = shared().await;
    let policy = unique("sender");
    let hcl =
        "path \"send/lease/*\" { capabilities = [\"read\"] }\npath \"send/link/any\" { capabilities = [\"update\"] }";
    bao.policy(&policy, hcl).await.unwrap();
    let token = bao.token(&[&policy], &TokenOptions::default()).await.unwrap();
    let (_, answer) = bao.request_as(&token.token, "POST", "send/link/any", Some(&json!({"a": "b"}))).await.unwrap();
    let link = Holder::from_answer(&answer);
    let (status, answer) = bao.request_as(&token.token, "GET", &format!("send/lease/{}", link.id), None).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    bao.call("POST", "auth/token/revoke-accessor", Some(&json!({"accessor": token.accessor}))).await.unwrap();
    let revoked =
        wait_until("the link to go with its token", SOON, async || (link.state(bao).await == "revoked").then_some(()));
    revoked.await.unwrap();
}

/// A link that is sealed by its sender is a lease from the beginning: made by a client, and by the command line.
#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_link_goes_with_the_token_that_sent_it() {
    let bao = OpenBao::dev().await.unwrap();
    prepare(&bao).await;
    bao.call("POST", "send/roles/onboarding", Some(&json!({}))).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let gone = async |token: &str, other: &Holder, link: &Holder, lease: &Value| {
        let look = json!({ "lease_id": lease });
        assert_eq!(bao.request("PUT", "sys/leases/lookup", Some(&look)).await.unwrap().0, 200);
        assert_eq!(link.state(&bao).await, "open");
        bao.call("POST", "auth/token/revoke", Some(&json!({ "token": token }))).await.unwrap();
        wait_until("the link to go with its token", SOON, async || (link.state(&bao).await == "revoked").then_some(()))
            .await
            .unwrap();
        assert_eq!(link.claim(&bao).await.0, 410);
        assert_eq!(bao.request("PUT", "sys/leases/lookup", Some(&look)).await.unwrap().0, 400, "and its lease");
        assert_eq!(other.state(&bao).await, "open", "another's stays");
    };
    let (body, other) = sealed(|_| {});
    bao.call("POST", "send/sealed/onboarding", Some(&body)).await.unwrap();

    let token = std::fs::read_to_string(token_file(&bao, folder.path(), SENDER_POLICY).await).unwrap();
    let (body, link) = sealed(|_| {});
    let (status, answer) = bao.request_as(&token, "POST", "send/sealed/onboarding", Some(&body)).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    gone(&token, &other, &link, &answer["lease_id"]).await;

    let file = token_file(&bao, folder.path(), SENDER_POLICY).await;
    let arguments = ["--to", "vault:send", "--role", "onboarding", "-f", "password=-", "--json"];
    let sent = send(bao.address(), &file, &arguments, "sealed at home\n");
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let printed: Value = serde_json::from_slice(&sent.stdout).unwrap();
    let link = Holder::from_answer(&as_answered(&printed));
    gone(&std::fs::read_to_string(&file).unwrap(), &other, &link, &printed["leaseId"]).await;
}

#[tokio::test]
async fn a_lease_that_was_put_on_a_link_is_renewed() {
    let bao = shared().await;
    let link = Holder::of(bao, "any", &json!({"password": "x", "ttl": "1h"})).await;
    let lives = async || {
        let read = bao.call("GET", &format!("send/links/{}", link.id), None).await.unwrap();
        let at = |name: &str| Timestamp::parse_rfc3339(read["data"][name].as_str().unwrap()).unwrap();
        at("expires_at").since(at("issued_at")).as_millis() / 1000
    };
    let answer = bao.call("GET", &format!("send/lease/{}", link.id), None).await.unwrap();
    assert_eq!(answer["renewable"], true, "{answer}");
    assert!((3590..=3600).contains(&answer["lease_duration"].as_u64().unwrap()), "{answer}");
    let renew = |increment: u64| json!({"lease_id": answer["lease_id"], "increment": increment});
    let renewed = bao.call("PUT", "sys/leases/renew", Some(&renew(7200))).await.unwrap();
    assert!((7195..=7200).contains(&renewed["lease_duration"].as_u64().unwrap()), "{renewed}");
    assert!((7200..=7230).contains(&lives().await), "the link lives as long as its lease: {}", lives().await);
    // Never past what was sealed in: the longest that the mount allows, from when it was made.
    let renewed = bao.call("PUT", "sys/leases/renew", Some(&renew(100 * 3600))).await.unwrap();
    let longest = 72 * 3600;
    assert!((longest - 60..=longest).contains(&renewed["lease_duration"].as_u64().unwrap()), "{renewed}");
    assert!((259_140..=259_200).contains(&lives().await), "{}", lives().await);
    // Shorter, too, as with any lease.
    bao.call("PUT", "sys/leases/renew", Some(&renew(600))).await.unwrap();
    assert!((600..=660).contains(&lives().await), "{}", lives().await);
    let (status, claimed) = link.claim(bao).await;
    assert_eq!((status, link.open(&claimed, "password")), (200, "x".to_owned()));
    let (status, refused) = bao.request("PUT", "sys/leases/renew", Some(&renew(60))).await.unwrap();
    assert_eq!(status, 400, "a link that was opened is not prolonged: {refused}");
}

#[tokio::test]
async fn a_lease_that_ends_by_time_leaves_the_claimant_the_window() {
    let bao = shared().await;
    let (mut body, holder) = sealed(|_| {});
    body["ttl"] = json!("2s");
    let claimed = bao.call("POST", "send/sealed/any", Some(&body)).await.unwrap();
    let (mut body, unopened) = sealed(|_| {});
    body["ttl"] = json!("2s");
    let left = bao.call("POST", "send/sealed/any", Some(&body)).await.unwrap();
    assert_eq!(holder.claim(bao).await.0, 200);
    for lease in [&claimed["lease_id"], &left["lease_id"]] {
        let ended = wait_until("the lease to end", SOON, async || {
            // A lease that is over is an invalid one.
            let body = json!({ "lease_id": lease });
            let (status, _) = bao.request("PUT", "sys/leases/lookup", Some(&body)).await.unwrap();
            (status == 400).then_some(())
        });
        ended.await.unwrap();
    }
    assert_eq!(unopened.state(bao).await, "expired");
    tokio::time::timeout(Duration::from_secs(10), async {
        assert_eq!(holder.claim_again(bao).await.0, 200, "the claimant may repeat until the window ends");
    })
    .await
    .unwrap();
    assert_eq!(holder.state(bao).await, "claimed");
}

#[tokio::test]
async fn a_role_may_demand_a_lease() {
    let bao = shared().await;
    let role = unique("leased");
    bao.call("POST", &format!("send/roles/{role}"), Some(&json!({"require_lease": true}))).await.unwrap();
    let content = json!({"password": "x", "ttl": "2h"});
    let (leased, unleased) = (Holder::of(bao, &role, &content).await, Holder::of(bao, &role, &content).await);
    let lives = async |link: &Holder| {
        let read = bao.call("GET", &format!("send/links/{}", link.id), None).await.unwrap();
        let at = |name: &str| Timestamp::parse_rfc3339(read["data"][name].as_str().unwrap()).unwrap();
        (at("expires_at").since(at("issued_at")).as_millis() / 1000, read["data"]["awaits_lease"].clone())
    };
    assert_eq!(lives(&unleased).await, (60, json!(true)));
    let answer = bao.call("GET", &format!("send/lease/{}", leased.id), None).await.unwrap();
    assert!(answer["lease_duration"].as_u64().unwrap() > 7000, "{answer}");
    assert_eq!(lives(&leased).await, (7200, json!(false)));
}

#[tokio::test]
async fn what_was_sealed_wrongly_is_refused() {
    let bao = shared().await;
    type Spoil = fn(&mut ps_core::link::Sealed);
    let spoils: [(&str, Spoil); 8] = [
        ("notAfter", |sealed| sealed.not_after = now() + Span::from_secs(1)),
        ("notAfter", |sealed| sealed.not_after = now() + Span::from_secs(1000 * 3600)),
        ("claim window", |sealed| sealed.claim_window = Span::from_secs(3600)),
        ("claim window", |sealed| sealed.claim_window = Span::ZERO),
        ("opening code", |sealed| sealed.code = None),
        ("verification", |sealed| sealed.kinds = vec![ps_core::link::Verification::EmailCode]),
        ("passphrase", |sealed| sealed.kinds = vec![ps_core::link::Verification::Passphrase]),
        ("ciphertext", |sealed| sealed.ciphertext_hash = Digest([0; 32])),
    ];
    for (word, spoil) in spoils {
        let (body, holder) = sealed(spoil);
        let (status, answer) = bao.request("POST", "send/sealed/any", Some(&body)).await.unwrap();
        assert_eq!(status, 400, "{word}: {answer}");
        assert!(answer["errors"][0].as_str().unwrap().contains(word), "{word}: {answer}");
        assert_eq!(bao.request("GET", &format!("send/links/{}", holder.id), None).await.unwrap().0, 404);
    }
}

/// A server ends a lease at its mount's `max_lease_ttl`, whatever was asked for. What is answered must be true all the same.
#[tokio::test]
async fn no_link_is_promised_longer_than_its_lease_can_live() {
    let bao = OpenBao::dev().await.unwrap();
    prepare(&bao).await;
    let tune = async |longest: &str| {
        // Vault refuses a limit below the mount's default, which is 768 hours.
        let limits = json!({"max_lease_ttl": longest, "default_lease_ttl": longest});
        bao.call("POST", "sys/mounts/send/tune", Some(&limits)).await.unwrap();
    };
    let lives = async |id: &str| {
        let read = bao.call("GET", &format!("send/links/{id}"), None).await.unwrap();
        let at = |name: &str| Timestamp::parse_rfc3339(read["data"][name].as_str().unwrap()).unwrap();
        at("expires_at").since(at("issued_at")).as_millis()
    };
    tune("30m").await;
    let (mut body, holder) = sealed(|_| {});
    let (status, answer) = bao.request("POST", "send/sealed/any", Some(&body)).await.unwrap();
    let said = answer["errors"][0].as_str().unwrap();
    assert!(status == 400 && said.contains("max_lease_ttl") && said.contains("30m"), "{answer}");
    assert_eq!(bao.request("GET", &format!("send/links/{}", holder.id), None).await.unwrap().0, 404);
    body.as_object_mut().unwrap().remove("ttl");
    let answer = bao.call("POST", "send/sealed/any", Some(&body)).await.unwrap();
    assert_eq!((&answer["lease_duration"], lives(&holder.id).await), (&json!(1800), 1_800_000));
    let renewal = json!({"lease_id": answer["lease_id"], "increment": 7200});
    let renewed = bao.call("PUT", "sys/leases/renew", Some(&renewal)).await.unwrap();
    assert!((1700..=1800).contains(&renewed["lease_duration"].as_u64().unwrap()), "{renewed}");
    assert!((1_700_000..=1_800_000).contains(&lives(&holder.id).await));
    // A link of four hours, on which a lease is put.
    let link = Holder::issue(&bao, "shortened").await;
    let answer = bao.call("GET", &format!("send/lease/{}", link.id), None).await.unwrap();
    assert!(answer["warnings"].to_string().contains("max_lease_ttl"), "{answer}");
    assert_eq!(answer["lease_duration"], 1800);
    let read = bao.call("GET", &format!("send/links/{}", link.id), None).await.unwrap();
    assert_eq!(answer["data"]["expires_at"], read["data"]["expires_at"]);

    // Such a lease ends by time: the link has expired then, and was not revoked; and whoever opened it keeps the window.
    tune("3s").await;
    let (mut bodies, mut holders) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (mut body, holder) = sealed(|_| {});
        body.as_object_mut().unwrap().remove("ttl");
        bodies.push(body);
        holders.push(holder);
    }
    let mut leases = Vec::new();
    for body in &bodies {
        let answer = bao.call("POST", "send/sealed/any", Some(body)).await.unwrap();
        assert_eq!(answer["lease_duration"], 3, "{answer}");
        leases.push(answer["lease_id"].clone());
    }
    assert_eq!(holders[0].claim(&bao).await.0, 200);
    for lease in &leases {
        let ended = wait_until("the lease to end", SOON, async || {
            let (status, _) =
                bao.request("PUT", "sys/leases/lookup", Some(&json!({ "lease_id": lease }))).await.unwrap();
            (status == 400).then_some(())
        });
        ended.await.unwrap();
    }
    assert_eq!(holders[1].state(&bao).await, "expired");
    assert_eq!(holders[0].claim_again(&bao).await.0, 200);
}
