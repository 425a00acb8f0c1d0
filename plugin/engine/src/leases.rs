//! Leases on links: lifetime, renewal and revocation are the server's own then.
//!
//! A lease carries the link's id and nothing else. Its end by time must not cut the claim window of a link that was opened
//! in time, so an end at the link's own expiry only lets time act; an earlier one is somebody's will, and revokes. So a link
//! must not outlive what the server grants its lease, the mount's `max_lease_ttl`: the server would end the lease silently.

use ps_core::ids::LinkId;
use ps_core::link::{Command, Link, Outcome, Record, State, apply};
use ps_core::service::answers;
use ps_core::time::{Span, Timestamp};
use serde_json::{Map, Value, json};

use crate::engine::{Engine, host};
use crate::fields::invalid;
use crate::message::{Answer, Failure, Kind, Lease, LeaseRequest, Response};
use crate::row::Row;
use crate::table::Change;

/// How Vault's own engines say what a lease is about.
const KIND: (&str, &str) = ("secret_type", "link");
/// A lease that ends this near to its link's expiry ended by time.
const NEAR: Span = Span::from_secs(2);

/// A lease on a link until its expiry, renewable until `latest`. It was first given out at `since`, from when the server
/// counts its limit; where an increment is asked for, the server takes that and our limit, and not our time.
pub(crate) fn lease(link: &Link, since: Timestamp, now: Timestamp) -> Lease {
    let mut internal = Map::new();
    internal.insert(KIND.0.to_owned(), KIND.1.into());
    internal.insert("id".to_owned(), link.sealed.id.to_string().into());
    internal.insert("since".to_owned(), since.as_millis().to_string().into());
    // Whole seconds, rounded up: a lease that ended a moment before its link would revoke it.
    let seconds = |span: Span| {
        let seconds = span.to_std().as_millis().div_ceil(1000);
        std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX))
    };
    let (ttl, max_ttl) = (seconds(link.expires_at.since(now)), seconds(latest(link).since(since)));
    Lease { ttl, max_ttl: max_ttl.max(ttl), internal }
}

/// The longest that the server grants a lease now, in whole milliseconds, rounded down: a link must not outlive its lease.
pub(crate) async fn longest(engine: &Engine) -> Result<Span, Failure> {
    let longest = engine.storage.longest_lease().await.map_err(host)?;
    Ok(Span::from_millis(i64::try_from(longest.as_millis()).unwrap_or(i64::MAX)))
}

/// The latest expiry that leaves the claim window inside the link's limit.
fn latest(link: &Link) -> Timestamp {
    link.sealed.not_after - link.sealed.claim_window
}

/// `lease/ID`: puts a lease on an open link, which then has the lifetime that was asked for.
pub(crate) async fn put(engine: &Engine, id: LinkId, now: Timestamp) -> Answer {
    let longest = longest(engine).await?;
    let granted = now + longest;
    let mut shortened = false;
    let decided = engine.change(id, now, |row| {
        let Some((row, link)) = row.and_then(|row| Some((row, row.link()?))) else { return Change::Keep(Err(None)) };
        shortened = row.awaits_lease.unwrap_or(link.expires_at) > granted;
        let wanted = if shortened { Some(granted) } else { row.awaits_lease };
        move_expiry(row, wanted, now)
    });
    let link = opened(decided.await?)?;
    let data = json!({"id": id.to_string(), "expires_at": link.expires_at.to_string()});
    let mut warnings = Vec::new();
    if shortened {
        warnings
            .push(format!("The link was shortened to {longest}: no lease is longer than the mount's max_lease_ttl."));
    }
    Ok(Some(Response { data, lease: Some(lease(&link, now, now)), warnings }))
}

/// Gives a link the lifetime that its lease is to have, up to its limit; as with any lease that may be less than before.
pub(crate) async fn renew(engine: &Engine, request: &LeaseRequest, now: Timestamp) -> Answer {
    let id = id(request)?;
    let asked = Span::from_millis(i64::try_from(request.increment.as_millis()).unwrap_or(i64::MAX));
    let since = request.internal.get("since").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let since = since.map_or(now, Timestamp::from_millis);
    // Counted from when the lease was first given out, as the server does.
    let granted = since + longest(engine).await?;
    if granted <= now {
        return Err(invalid("the lease is as old as the mount's max_lease_ttl allows, and can't be prolonged"));
    }
    let decided = engine.change(id, now, |row| {
        let Some((row, link)) = row.and_then(|row| Some((row, row.link()?))) else { return Change::Keep(Err(None)) };
        // Nothing asked for: as long again as the link had at first, or had got until now.
        let increment = if asked == Span::ZERO { link.expires_at.since(row.issued_at) } else { asked };
        move_expiry(row, Some((now + increment).min(latest(link)).min(granted)), now)
    });
    let link = opened(decided.await?)?;
    let lease = lease(&link, since, now);
    Ok(Some(Response { data: Value::Null, lease: Some(lease), warnings: Vec::new() }))
}

/// The lease is over: revoked, its token revoked, run out, or the mount is going. Done as often as it is asked.
pub(crate) async fn revoke(engine: &Engine, request: &LeaseRequest, now: Timestamp) -> Answer {
    let id = id(request)?;
    engine
        .change(id, now, |row| {
            let Some((row, link)) = row.and_then(|row| Some((row, row.link()?))) else { return Change::Keep(()) };
            let by_time = now + NEAR >= link.expires_at;
            let command = if by_time { Command::Settle } else { Command::Revoke };
            match apply(link, &command, now).next {
                Some(next) => Change::Put(Box::new(Row { record: Record::Link(Box::new(next)), ..row.clone() }), ()),
                None => Change::Keep(()),
            }
        })
        .await?;
    Ok(None)
}

/// The link, if it is open; else how it stands.
type Opened = Result<Box<Link>, Option<State>>;

fn move_expiry(row: &Row, to: Option<Timestamp>, now: Timestamp) -> Change<Opened> {
    let Some(link) = row.link() else { return Change::Keep(Err(None)) };
    let step = apply(link, &to.map_or(Command::Settle, Command::SetExpiry), now);
    let next = step.next.unwrap_or_else(|| link.clone());
    let answer = match step.outcome {
        Outcome::Done(State::Open) => Ok(Box::new(next.clone())),
        _ => Err(Some(next.state)),
    };
    let row_after = Row { awaits_lease: None, record: Record::Link(Box::new(next)), ..row.clone() };
    if row_after == *row { Change::Keep(answer) } else { Change::Put(Box::new(row_after), answer) }
}

fn opened(opened: Opened) -> Result<Box<Link>, Failure> {
    opened.map_err(|state| match state {
        None => Failure::new(Kind::NotFound, "there is no such link"),
        Some(State::Claimed) => invalid("the link was opened already, and can't be prolonged"),
        Some(state) => {
            let refusal = answers::refused(ps_core::link::Refusal::Gone(state), Timestamp::EPOCH);
            Failure::new(Kind::Status(refusal.status()), format!("the link is over: {}", state.as_str()))
        }
    })
}

fn id(request: &LeaseRequest) -> Result<LinkId, Failure> {
    let kind = request.internal.get(KIND.0).and_then(Value::as_str);
    let id = request.internal.get("id").and_then(Value::as_str).and_then(LinkId::parse);
    id.filter(|_| kind == Some(KIND.1)).ok_or_else(|| invalid("this lease is not one of ours"))
}
