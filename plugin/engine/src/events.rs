//! `events`: history in pages, for a daemon that follows it.

use serde_json::{Value, json};

use crate::engine::{Engine, failure};
use crate::fields::{Fields, invalid};
use crate::message::{Answer, Response};
use crate::row::Happening;

const PAGE: u64 = 100;
const LARGEST_PAGE: u64 = 1000;

pub(crate) async fn page(engine: &Engine, mut fields: Fields) -> Answer {
    let after = fields.number("after")?.unwrap_or(0);
    let limit = fields.number("limit")?.unwrap_or(PAGE);
    // Vault's own command line asks with this, and means nothing by it.
    fields.raw("list");
    fields.end()?;
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(invalid(format!("limit must be from 1 to {LARGEST_PAGE}")));
    }
    // Whoever has seen more than was ever written has seen it before a restore; and what was trimmed is lost to who comes late.
    let trimmed = engine.table.trimmed().await.map_err(failure)?;
    let reset = after >= engine.table.unreserved().await.map_err(failure)?.max(1) || after < trimmed;
    let from = if reset { trimmed } else { after };
    let lines = engine.table.history(from, usize::try_from(limit).unwrap_or(usize::MAX)).await.map_err(failure)?;
    let next = lines.last().map_or(from, |(number, _)| *number);
    let lines: Vec<Value> = lines.into_iter().map(|(number, line)| shown(number, line)).collect();
    // Numbers as text: a server reads JSON numbers as floating point.
    Ok(Some(Response::data(json!({"events": lines, "next": next.to_string(), "reset": reset}))))
}

fn shown(number: u64, line: Happening) -> Value {
    let Happening { id, at, state, events } = line;
    json!({
        "number": number.to_string(),
        "id": id.to_string(),
        "at": at.to_string(),
        "state": state.as_str(),
        "events": events,
    })
}
