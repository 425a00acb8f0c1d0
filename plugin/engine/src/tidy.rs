//! Housekeeping: what time does to links, and forgetting what is old. The server asks for it once a minute.

use std::sync::PoisonError;

use ps_core::ids::LinkId;
use ps_core::link::{Command, Record, apply};
use ps_core::time::{Span, Timestamp};
use serde_json::{Value, json};

use crate::engine::{Engine, failure, host};
use crate::fields::Fields;
use crate::message::{Answer, Failure, Kind, Response};
use crate::row::Row;
use crate::table::Change;

/// Links that one round reads for the first time, and links that it changes: it must not take a minute.
const BATCH: usize = 2000;
/// How long a row that can't be used is left alone.
const PAUSE: Span = Span::from_secs(3600);

/// What a round did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    settled: usize,
    forgotten: usize,
    trimmed: usize,
    /// Links that were there at the start and were not looked at yet.
    unread: usize,
}

enum Done {
    Settled,
    Forgotten,
    Nothing,
}

/// One round.
pub(crate) async fn sweep(engine: &Engine, now: Timestamp) -> Result<Swept, Failure> {
    // One at a time: of two, the slower could note that less of history is gone than the other one has removed.
    let _one = engine.tidying.lock().await;
    engine.counters.add("sweeps", 1);
    let keep = engine.config().await?.keep;
    let mut swept = Swept { unread: learn(engine, now).await?, ..Swept::default() };
    let due = engine.schedule.lock().unwrap_or_else(PoisonError::into_inner).due(now, BATCH);
    for id in due {
        let decided = engine.change(id, now, |row| {
            let Some(row) = row else { return Change::Keep(Done::Nothing) };
            if row.next_change(keep).is_none_or(|at| at > now) {
                return Change::Keep(Done::Nothing);
            }
            match row
                .link()
                .filter(|link| link.state.is_live())
                .and_then(|link| apply(link, &Command::Settle, now).next)
            {
                Some(next) => {
                    Change::Put(Box::new(Row { record: Record::Link(Box::new(next)), ..row.clone() }), Done::Settled)
                }
                None => Change::Remove(Done::Forgotten),
            }
        });
        match decided.await {
            Ok(Done::Settled) => swept.settled += 1,
            Ok(Done::Forgotten) => swept.forgotten += 1,
            Ok(Done::Nothing) => {}
            Err(failure) => put_off(engine, id, now, failure)?,
        }
    }
    swept.trimmed = engine.table.trim(now - keep, BATCH).await.map_err(failure)?;
    engine.counters.add("forgotten", u64::try_from(swept.forgotten).unwrap_or(0));
    Ok(swept)
}

/// One row that can't be used holds up no other: it is looked at again in a while. A storage that fails ends the round.
fn put_off(engine: &Engine, id: LinkId, now: Timestamp, failure: Failure) -> Result<(), Failure> {
    if failure.kind == Kind::Host {
        return Err(failure);
    }
    tracing::warn!(%id, %failure, "housekeeping leaves a link out");
    engine.schedule.lock().unwrap_or_else(PoisonError::into_inner).set(id, Some(now + PAUSE));
    Ok(())
}

/// Reads rows that were there before this process, a batch at a time; gives how many are left.
async fn learn(engine: &Engine, now: Timestamp) -> Result<usize, Failure> {
    let schedule = || engine.schedule.lock().unwrap_or_else(PoisonError::into_inner);
    let begun = schedule().unread.is_some();
    if !begun {
        let ids = engine.table.ids().await.map_err(host)?;
        schedule().unread.get_or_insert(ids);
    }
    for _ in 0..BATCH {
        let Some(id) = schedule().unread.as_mut().and_then(Vec::pop) else { break };
        let known = schedule().knows(id);
        if !known {
            // Reading it notes when it is due.
            if let Err(failure) = engine.change(id, now, |_| Change::Keep(())).await {
                put_off(engine, id, now, failure)?;
            }
        }
    }
    Ok(schedule().unread.as_ref().map_or(0, Vec::len))
}

pub(crate) async fn now(engine: &Engine, fields: Fields, now: Timestamp) -> Answer {
    fields.end()?;
    let Swept { settled, forgotten, trimmed, unread } = sweep(engine, now).await?;
    let data = json!({"settled": settled, "forgotten": forgotten, "trimmed": trimmed, "unread": unread});
    Ok(Some(Response::data(data)))
}

pub(crate) async fn metrics(engine: &Engine, now: Timestamp) -> Answer {
    let mut all = engine.counters.all();
    {
        let schedule = engine.schedule.lock().unwrap_or_else(PoisonError::into_inner);
        let unread = schedule.unread.as_ref().map_or(Value::Null, |ids| ids.len().into());
        all.insert("links".to_owned(), schedule.len().into());
        all.insert("unread".to_owned(), unread);
        all.insert("overdue".to_owned(), schedule.due(now, usize::MAX).len().into());
    }
    Ok(Some(Response::data(Value::Object(all))))
}
