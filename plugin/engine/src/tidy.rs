//! Housekeeping: what time does to links, and forgetting what is old. The server asks for it once a minute.

use std::sync::PoisonError;

use ps_core::link::{Command, Record, apply};
use ps_core::time::Timestamp;
use serde_json::{Value, json};

use crate::engine::{Engine, failure, host};
use crate::fields::Fields;
use crate::message::{Answer, Failure, Response};
use crate::row::Row;
use crate::table::Change;

/// Links that one round reads for the first time, and links that it changes: it must not take a minute.
const BATCH: usize = 2000;

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
    engine.counters.add("sweeps", 1);
    let keep = engine.config().await?.keep;
    let mut swept = Swept { unread: learn(engine, now).await?, ..Swept::default() };
    let due = engine.schedule.lock().unwrap_or_else(PoisonError::into_inner).due(now, BATCH);
    for id in due {
        let decided = engine.change(id, now, |row| {
            let Some(row) = row else { return Change::Remove(Done::Nothing) };
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
        match decided.await? {
            Done::Settled => swept.settled += 1,
            Done::Forgotten => swept.forgotten += 1,
            Done::Nothing => {}
        }
    }
    swept.trimmed = engine.table.trim(now - keep, BATCH).await.map_err(failure)?;
    engine.counters.add("forgotten", u64::try_from(swept.forgotten).unwrap_or(0));
    Ok(swept)
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
            engine
                .change(id, now, |row| match row {
                    Some(_) => Change::Keep(()),
                    None => Change::Remove(()),
                })
                .await?;
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
