//! `links/` and `evidence/`: where links stand, never what they hold.

use ps_core::ids::LinkId;
use ps_core::link::{Command, JournalEntry, Link, Record, apply};
use ps_core::time::Timestamp;
use serde_json::{Map, Value, json};

use crate::engine::{Engine, failure, host};
use crate::fields::{Fields, invalid};
use crate::message::{Answer, Failure, Kind, Response};
use crate::rotation::{Evidence, Scope};
use crate::row::Row;
use crate::table::Change;

/// The longest account of a rotation, in bytes.
const MAX_SEEN: usize = 300;

pub(crate) async fn list(engine: &Engine) -> Answer {
    let ids = engine.table.ids().await.map_err(host)?;
    let keys: Vec<String> = ids.iter().map(ToString::to_string).collect();
    Ok(Some(Response::data(json!({ "keys": keys }))))
}

pub(crate) async fn read(engine: &Engine, id: LinkId, now: Timestamp) -> Answer {
    let row = engine.table.get(id).await.map_err(failure)?;
    Ok(row.and_then(|row| row.link().map(|link| Response::data(shown(&row, link, now)))))
}

pub(crate) async fn revoke(engine: &Engine, id: LinkId, now: Timestamp) -> Answer {
    engine
        .change(id, now, |row| {
            let Some((row, link)) = row.and_then(|row| Some((row, row.link()?))) else { return Change::Keep(()) };
            match apply(link, &Command::Revoke, now).next {
                Some(next) => Change::Put(Box::new(Row { record: Record::Link(Box::new(next)), ..row.clone() }), ()),
                None => Change::Keep(()),
            }
        })
        .await?;
    Ok(None)
}

pub(crate) async fn evidence(engine: &Engine, id: LinkId, mut fields: Fields, now: Timestamp) -> Answer {
    let scope = fields.text("scope")?.and_then(|name| serde_json::from_value(Value::String(name)).ok());
    let scope: Scope = scope.ok_or_else(|| invalid("scope must be target, vault, request or failed"))?;
    let seen = fields.short("seen", MAX_SEEN)?.unwrap_or_default();
    fields.end()?;
    let evidence = Evidence { scope, at: now, seen };
    let written = engine.change(id, now, |row| {
        let Some((row, link)) = row.and_then(|row| Some((row, row.link()?))) else {
            return Change::Keep(Err(Failure::new(Kind::NotFound, "there is no such link")));
        };
        if row.evidence.as_ref().is_some_and(Evidence::is_proof) {
            // Written already; a repetition changes nothing.
            return Change::Keep(Ok(()));
        }
        if row.terms.as_ref().and_then(|terms| terms.due(link)).is_none() {
            return Change::Keep(Err(invalid("no rotation is due for this link")));
        }
        Change::Put(Box::new(Row { evidence: Some(evidence), ..row.clone() }), Ok(()))
    });
    written.await?.map(|()| None)
}

/// What a person may know of a link at the time `now`.
fn shown(row: &Row, link: &Link, now: Timestamp) -> Value {
    // What time has done and nobody has written yet is shown as done.
    let settled = apply(link, &Command::Settle, now).next;
    let link = settled.as_ref().unwrap_or(link);
    let Link { sealed, state, expires_at, claim, acknowledged_at, decline, tries, journal, .. } = link;
    let kinds: Vec<&str> = sealed.kinds.iter().map(|kind| kind.as_str()).collect();
    let journal: Vec<Value> = journal.iter().map(happened).collect();
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            shown.insert(name.to_owned(), value);
        }
    };
    let time = |at: Option<Timestamp>| at.map_or(Value::Null, |at| at.to_string().into());
    put("id", sealed.id.to_string().into());
    put("role", row.role.clone().into());
    put("state", state.as_str().into());
    put("issued_at", time(Some(row.issued_at)));
    put("expires_at", time(Some(*expires_at)));
    put("not_after", time(Some(sealed.not_after)));
    put("claimed_at", time(claim.as_ref().map(|claim| claim.at)));
    put("window_ends_at", time(link.window_ends_at().filter(|_| state.is_live())));
    put("acknowledged_at", time(*acknowledged_at));
    put("declined_at", time(decline.as_ref().map(|decline| decline.at)));
    put("verification", kinds.into());
    put("awaits_lease", row.awaits_lease.is_some().into());
    put("wrong_codes", tries.wrong_codes.into());
    put("wrong_passphrases", tries.wrong_proofs.into());
    put("journal", journal.into());
    if let Some(terms) = &row.terms {
        let due = terms.due(link);
        let proven = row.evidence.as_ref().is_some_and(Evidence::is_proof);
        let mut rotation = serde_json::to_value(&terms.how).unwrap_or_default();
        if let Some(rotation) = rotation.as_object_mut() {
            rotation.insert("owed".to_owned(), (due.is_some() && !proven).into());
            if let Some((cause, at)) = due {
                rotation.insert("cause".to_owned(), cause.as_str().into());
                rotation.insert("due_at".to_owned(), at.to_string().into());
                rotation.insert("due_at_ms".to_owned(), at.as_millis().into());
            }
        }
        put("rotation", rotation);
    }
    if let Some(Evidence { scope, at, seen }) = &row.evidence {
        put("evidence", json!({"scope": scope, "at": at.to_string(), "seen": seen}));
    }
    Value::Object(shown)
}

fn happened(entry: &JournalEntry) -> Value {
    json!({"at": entry.at.to_string(), "event": entry.event})
}
