//! The gateway's verbs: the same requests, answers and refusals as those of every other link service.
//!
//! A refusal goes out as its own HTTP answer, because its members (how long to wait, how many tries are left) would not
//! survive as one of Vault's errors. It carries Vault's form as well: `{"errors": […], "error": {…}}`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ps_core::link::{Link, Outcome};
use ps_core::service::answers::{self, Asked};
use ps_core::service::{AcknowledgeRequest, ClaimRequest, DeclineRequest, LookupRequest, Refusal};
use ps_core::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::fields::Fields;
use crate::message::{Answer, Failure, Response};
use crate::paths::Verb;
use crate::row::Row;
use crate::table::Change;

/// What a verb came to: an answer, a refusal, or a storage that did not do it.
type Came<T> = Result<Result<T, Refusal>, Failure>;

pub(crate) async fn serve(engine: &Engine, verb: Verb, fields: Fields, now: Timestamp) -> Answer {
    let body = Value::Object(fields.rest());
    let came = match verb {
        Verb::Lookup => match parse::<LookupRequest>(body) {
            Ok(request) => json(run(engine, &Asked::from(&request), now, answers::looked_up).await?),
            Err(refusal) => Err(refusal),
        },
        Verb::Claim => match parse::<ClaimRequest>(body) {
            Ok(request) => json(run(engine, &Asked::from(&request), now, answers::claimed).await?),
            Err(refusal) => Err(refusal),
        },
        Verb::Acknowledge => match parse::<AcknowledgeRequest>(body) {
            Ok(request) => json(run(engine, &Asked::from(&request), now, |_, o, now| answers::done(o, now)).await?),
            Err(refusal) => Err(refusal),
        },
        Verb::Decline => match parse::<DeclineRequest>(body) {
            Ok(request) => json(run(engine, &Asked::from(&request), now, |_, o, now| answers::done(o, now)).await?),
            Err(refusal) => Err(refusal),
        },
        Verb::Code => Err(Refusal::NotAvailable),
    };
    match came {
        Ok(data) => Ok(Some(Response::data(data))),
        Err(refusal) => {
            engine.counters.add("refused", 1);
            Ok(Some(refused(refusal)))
        }
    }
}

/// Applies the command; the answer is made when its change, if it makes one, is durable.
async fn run<T>(
    engine: &Engine,
    asked: &Asked,
    now: Timestamp,
    answer: impl FnOnce(&Link, &Outcome, Timestamp) -> Result<T, Refusal> + Send,
) -> Came<T> {
    let (id, access) = (asked.id, &asked.access);
    let decided = engine.change(id, now, |row| {
        // An unknown id and a wrong `access` are the same to the caller, and cost one comparison each.
        let Some((row, link)) = row.and_then(|row| Some((row, row.link()?))) else {
            std::hint::black_box(ps_core::ids::Digest([0; 32]).matches(&access.0));
            return Change::Keep(None);
        };
        if !link.sealed.access.matches(&access.0) {
            return Change::Keep(None);
        }
        let step = asked.apply(link, now);
        match step.next {
            None => Change::Keep(Some((link.clone(), step.outcome))),
            Some(next) => {
                let record = ps_core::link::Record::Link(Box::new(next.clone()));
                Change::Put(Box::new(Row { record, ..row.clone() }), Some((next, step.outcome)))
            }
        }
    });
    let decided: Option<(Link, Outcome)> = decided.await?;
    Ok(match decided {
        Some((link, outcome)) => answer(&link, &outcome, now),
        None => Err(Refusal::NotFound),
    })
}

fn parse<T: DeserializeOwned>(body: Value) -> Result<T, Refusal> {
    // The parser's words are dropped: they may quote what was sent.
    serde_json::from_value(body).map_err(|_| Refusal::BadRequest)
}

fn json<T: Serialize>(came: Result<T, Refusal>) -> Result<Value, Refusal> {
    came.and_then(|answer| serde_json::to_value(answer).map_err(|_| Refusal::NotReady))
}

fn refused(refusal: Refusal) -> Response {
    let body = json!({ "errors": [refusal.to_string()], "error": refusal.body().error });
    Response::data(json!({
        "http_status_code": refusal.status(),
        "http_content_type": "application/json",
        "http_raw_body": STANDARD.encode(body.to_string()),
        "http_raw_cache_control": "no-store",
    }))
}
