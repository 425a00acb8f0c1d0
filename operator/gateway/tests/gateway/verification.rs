//! The verb `code` over both stores and over HTTP, with an operator that this test plays.

use std::sync::Arc;

use ps_core::ids::Digest;
use ps_core::link::email_code::{CodeKey, EmailCode, is_right};
use ps_core::link::verification::{Ask, CodeState, CodeVerdict, Request, SignInRefusal, SignInVerdict, Verdict};
use ps_core::link::{Command, JournalEvent, Record, Release, State, Verification, apply};
use ps_core::ports::LinkStore;
use ps_core::service::{
    CodeAnswer, CodeStep, EmailCodeStatus, LinkService, OidcStatus, Refusal, Released, SignInOffer, WireAsk,
};
use ps_core::time::{Span, Timestamp};
use ps_gateway::verbs::{Holder, Sample};
use ps_store::service::{Fence, StoreLinkService};
use ps_store::{EmbeddedStore, MemoryStore};

use crate::support::{PATIENCE, Server, T};

const CODE: &str = "12345678";
const R: [u8; 32] = [7; 32];

fn code() -> EmailCode {
    EmailCode::parse(CODE).unwrap()
}

fn offer() -> SignInOffer {
    SignInOffer {
        authorization_endpoint: "https://id.example/authorize".into(),
        client_id: "links".into(),
        scope: "openid email".into(),
    }
}

fn signed_in() -> WireAsk {
    WireAsk::SignIn { code: "from-the-provider".into(), verifier: "v".repeat(43) }
}

/// What the operator makes of one request.
fn judged(holder: &Holder, request: &Request, before: Option<&Verdict>) -> Verdict {
    let mut verdict = before.cloned().unwrap_or_else(|| Verdict {
        answered: 0,
        email_code: Some(CodeVerdict {
            state: CodeState::None,
            expires_at: None,
            tries_left: 0,
            mails_left: 3,
            wait_until: Timestamp::EPOCH,
            passed: None,
        }),
        sign_in: Some(SignInVerdict::default()),
        released: None,
        mac: Digest([0; 32]),
    });
    verdict.answered = request.seq;
    let codes = verdict.email_code.as_mut().unwrap();
    match &request.ask {
        Ask::Mail => {
            (codes.state, codes.tries_left, codes.mails_left) = (CodeState::Sent, 5, codes.mails_left - 1);
            codes.expires_at = Some(request.at + Span::from_secs(600));
        }
        Ask::Code(tried) => {
            let hash = CodeKey::from_access(&holder.access).hash(holder.id, &code());
            if is_right(&hash, &request.token_hash, tried) {
                (codes.passed, codes.state) = (Some(request.token_hash), CodeState::None);
                (codes.expires_at, codes.tries_left) = (None, 0);
            } else {
                (codes.state, codes.tries_left) = (CodeState::Wrong, codes.tries_left - 1);
                codes.wait_until = request.at + Span::from_secs(1);
            }
        }
        Ask::SignIn { code, .. } if code == "from-the-provider" => {
            verdict.sign_in.as_mut().unwrap().passed = Some(request.token_hash);
        }
        Ask::SignIn { .. } => {
            verdict.sign_in.as_mut().unwrap().refused = Some((request.token_hash, SignInRefusal::Email));
        }
    }
    let passed = |by: Option<Digest>| by == Some(request.token_hash);
    if passed(verdict.email_code.as_ref().unwrap().passed) && passed(verdict.sign_in.as_ref().unwrap().passed) {
        verdict.released = Some(request.token_hash);
    }
    verdict
}

/// Answers requests of one link until its task is aborted.
async fn operate(store: Arc<dyn LinkStore>, holder: Holder) {
    let mut after = 0;
    loop {
        let found = store.get(holder.id).await.unwrap().unwrap();
        let link = found.value.link().unwrap();
        if let Some(request) = link.open_request() {
            let verdict = judged(&holder, request, link.verdict.as_deref());
            let release = verdict.released.map(|token_hash| Release { r: R, token_hash });
            let judge = Command::Judge { verdict: Box::new(verdict), release };
            let next = apply(link, &judge, T).next.unwrap();
            store.replace(&Record::Link(Box::new(next)), found.version).await.ok();
            continue;
        }
        for change in store.changes(after, 64).await.unwrap() {
            after = after.max(change.seq);
        }
    }
}

const BOTH: [Verification; 2] = [Verification::EmailCode, Verification::Oidc];

fn status(answer: &CodeAnswer) -> (EmailCodeStatus, OidcStatus) {
    (answer.email_code.as_ref().unwrap().status, answer.oidc.as_ref().unwrap().status)
}

async fn whole_story(store: Arc<dyn LinkStore>) {
    let Sample { holder, link } = Sample::new("verification", &BOTH, T);
    store.insert(&Record::Link(Box::new(link))).await.unwrap();
    let service = StoreLinkService::new(store.clone(), Fence::lifted()).with_sign_in(offer());
    assert_eq!(service.lookup(&holder.lookup(), T).await.unwrap().oidc, Some(offer()));
    let ask = async |request, now| service.code(&request, now).await;
    let nothing = ask(holder.code(CodeStep::Status), T).await.unwrap();
    assert_eq!((status(&nothing), nothing.retry_after), ((EmailCodeStatus::None, OidcStatus::None), None));

    let operator = tokio::spawn(operate(store.clone(), holder.clone()));
    let sent = ask(holder.mail(), T).await.unwrap();
    assert_eq!((status(&sent).0, sent.retry_after), (EmailCodeStatus::Sent, None), "answered with the verdict");
    let codes = sent.email_code.unwrap();
    assert_eq!((codes.tries_left, codes.mails_left, codes.expires_at), (Some(5), 2, Some(T + Span::from_secs(600))));

    let wrong = ask(holder.types(EmailCode::parse("00000000").unwrap()), T).await.unwrap();
    let codes = wrong.email_code.unwrap();
    assert_eq!((codes.status, codes.tries_left), (EmailCodeStatus::Wrong, Some(4)));
    assert!(codes.retry_after.is_some());
    let slow = Refusal::SlowDown { retry_after: Span::from_secs(1) };
    assert_eq!(ask(holder.types(code()), T).await, Err(slow));
    let now = T + Span::from_secs(1);
    assert_eq!(status(&ask(holder.types(code()), now).await.unwrap()), (EmailCodeStatus::Passed, OidcStatus::None));
    assert_eq!(service.claim(&holder.claim(), now).await, Err(Refusal::VerificationDue), "a sign-in is due too");

    let other = WireAsk::SignIn { code: "another's".into(), verifier: "v".repeat(43) };
    let refused = ask(holder.asks(other), now).await.unwrap().oidc.unwrap();
    assert_eq!((refused.status, refused.reason), (OidcStatus::Refused, Some(SignInRefusal::Email)));
    let passed = ask(holder.asks(signed_in()), now).await.unwrap();
    assert_eq!(status(&passed), (EmailCodeStatus::Passed, OidcStatus::Passed));
    // Another browser has passed nothing.
    let elsewhere = holder.elsewhere(1);
    let theirs = ask(elsewhere.code(CodeStep::Status), now).await.unwrap();
    assert_eq!(status(&theirs), (EmailCodeStatus::None, OidcStatus::None));
    assert_eq!(service.claim(&elsewhere.claim(), now).await, Err(Refusal::VerificationDue));
    operator.abort();

    assert_eq!(service.claim(&holder.claim(), now).await.unwrap().r, Some(Released(R)));
    assert_eq!(service.claim(&holder.claim_again(), now).await.unwrap().r, Some(Released(R)));
    assert_eq!(ask(holder.mail(), now).await, Err(Refusal::Claimed));
    assert_eq!(ask(holder.code(CodeStep::Status), now).await.unwrap().state, State::Claimed);
    service.acknowledge(&holder.acknowledge(), now).await.unwrap();
    let found = store.get(holder.id).await.unwrap().unwrap().value;
    let kept = found.link().unwrap();
    assert_eq!((&kept.request, &kept.verdict, &kept.release), (&None, &None, &None), "a tombstone keeps none of it");
    assert_eq!(ask(holder.mail(), now).await, Err(Refusal::Gone(State::Retrieved)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_and_a_sign_in_over_the_memory_store() {
    tokio::time::timeout(PATIENCE, whole_story(Arc::new(MemoryStore::default()))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_and_a_sign_in_over_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(folder.path()).unwrap());
    tokio::time::timeout(PATIENCE, whole_story(store)).await.unwrap();
}

#[tokio::test]
async fn without_an_operator_a_request_waits_a_little_and_is_asked_about_again() {
    let store = Arc::new(MemoryStore::default());
    let Sample { holder, link } = Sample::new("nobody judges", &BOTH, T);
    store.insert(&Record::Link(Box::new(link))).await.unwrap();
    let service = StoreLinkService::new(store.clone(), Fence::lifted());
    for request in [holder.mail(), holder.code(CodeStep::Status)] {
        let begun = std::time::Instant::now();
        let answer = service.code(&request, T).await.unwrap();
        assert_eq!((status(&answer).0, answer.retry_after), (EmailCodeStatus::Sending, Some(Span::from_secs(1))));
        assert!(begun.elapsed().as_secs() >= 3, "it has waited for a verdict");
    }
    let found = store.get(holder.id).await.unwrap().unwrap();
    assert_eq!(found.value.link().unwrap().request.as_ref().unwrap().seq, 1, "one request, asked about twice");
    let busy = Refusal::SlowDown { retry_after: Span::from_secs(1) };
    assert_eq!(service.code(&holder.types(code()), T).await, Err(busy));
    assert_eq!(service.code(&holder.asks(signed_in()), T).await, Err(Refusal::NotAvailable), "it knows no provider");
}

#[tokio::test]
async fn more_than_a_few_waiting_requests_are_answered_at_once() {
    let store = Arc::new(MemoryStore::default());
    let Sample { holder, link } = Sample::new("crowd", &BOTH, T);
    store.insert(&Record::Link(Box::new(link))).await.unwrap();
    let service = Arc::new(StoreLinkService::new(store.clone(), Fence::lifted()));
    let begun = std::time::Instant::now();
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (service, request) = (service.clone(), holder.mail());
        crowd.spawn(async move {
            let answer = service.code(&request, T).await.unwrap();
            assert!(answer.retry_after.is_some());
            begun.elapsed().as_secs()
        });
    }
    let waits = crowd.join_all().await;
    assert_eq!(waits.iter().filter(|secs| **secs >= 3).count(), 64, "{waits:?}");
    assert_eq!(waits.iter().filter(|secs| **secs < 3).count(), 136, "{waits:?}");
}

#[tokio::test]
async fn a_fence_stops_every_step_but_the_status() {
    let store = Arc::new(MemoryStore::default());
    let Sample { holder, link } = Sample::new("fenced", &BOTH, T);
    store.insert(&Record::Link(Box::new(link))).await.unwrap();
    let service = StoreLinkService::new(store.clone(), Fence::raised()).with_sign_in(offer());
    for request in [holder.mail(), holder.types(code()), holder.asks(signed_in())] {
        assert_eq!(service.code(&request, T).await, Err(Refusal::NotReady));
    }
    assert!(service.code(&holder.code(CodeStep::Status), T).await.is_ok());
}

#[tokio::test]
async fn exposed_links_are_noted_once_and_counted() {
    let server = Server::start().await;
    let holder = server.put("exposed").await;
    let mut claim = serde_json::to_value(holder.typing(Some("11111111")).claim()).unwrap();
    claim["exposed"] = true.into();
    assert_eq!(server.call("claim", &claim).await.refusal(), "403 wrong-code");
    assert_eq!(server.call("claim", &claim).await.refusal(), "429 slow-down");
    let (_, link) = server.stored(&holder).await;
    let noted = |event| link.journal.iter().filter(|j| j.event == event).count();
    assert_eq!((noted(JournalEvent::Exposed), link.state), (1, State::Open));
    // A stranger notes nothing.
    let other = server.put("not exposed").await;
    let mut stranger = serde_json::to_value(other.without_access().claim()).unwrap();
    stranger["exposed"] = true.into();
    assert_eq!(server.call("claim", &stranger).await.refusal(), "404 not-found");
    assert!(server.stored(&other).await.1.journal.is_empty());

    let before = server.stored(&holder).await;
    let token = "A".repeat(43);
    for path in [format!("/%23ps1.{token}"), format!("/?q=ps1.{token}"), "/%23ps1.short".to_owned(), "/".to_owned()] {
        let reply = server.ask(format!("GET {path} HTTP/1.1\r\nhost: g\r\n\r\n").as_bytes()).await;
        assert_eq!(reply.status, 200);
    }
    assert_eq!(server.counters.exposed.load(std::sync::atomic::Ordering::Relaxed), 2);
    assert!(server.counters.render().contains("exposed_links_total 2\n"));
    assert_eq!(server.stored(&holder).await, before, "no GET changes anything");
}

#[tokio::test]
async fn answers_of_the_verb_have_the_members_that_the_contract_names() {
    let server = Server::start().await;
    let Sample { holder, link } = Sample::new("members of code", &[Verification::EmailCode], T);
    server.store.insert(&Record::Link(Box::new(link))).await.unwrap();
    let operator = tokio::spawn(operate(server.store.clone(), holder.clone()));
    let sent = server.call("code", &holder.mail()).await.json();
    let until = (T + Span::from_secs(600)).as_millis();
    let codes = serde_json::json!({"status": "sent", "expiresAt": until, "triesLeft": 5, "mailsLeft": 2});
    assert_eq!(sent, serde_json::json!({"state": "open", "emailCode": codes}));
    operator.abort();
    let body = serde_json::json!({
        "id": holder.id, "access": ps_core::encode::b64(&holder.access), "tokenHash": Digest::of(&holder.token),
        "step": "status",
    });
    assert_eq!(server.call("code", &body).await.json(), sent);
    assert_eq!(server.call("claim", &holder.claim()).await.refusal(), "403 verification-due");
}
