//! Reading rows that an attacker may have written: each harms only itself.

use ps_core::ids::LinkId;
use ps_core::link::Record;
use ps_core::ports::{RecordSummary, Versioned};
use ps_core::time::Timestamp;
use ps_sqlite::Error;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _};

use crate::embedded::{changes_lost, counter_lost};
use crate::row::{self, Content, Found};

pub(crate) fn get(connection: &Connection, id: LinkId, max_bytes: usize) -> Result<Option<Versioned<Record>>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT l.seq, l.state, l.next_change, l.meta, c.ciphertext, c.preview
         FROM links AS l LEFT JOIN content AS c ON c.row = l.row WHERE l.id = ?1",
    )?;
    let mut rows = statement.query([&id.0[..]])?;
    let row = match rows.next() {
        Ok(Some(row)) => row,
        Ok(None) => return Ok(None),
        // Larger than any value that we write.
        Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::TooBig) => {
            return Err(row::unreadable(id).into());
        }
        Err(e) => return Err(e.into()),
    };
    Ok(Some(versioned(id, row, max_bytes).ok_or_else(|| row::unreadable(id))?))
}

/// The record in a row whose columns may hold anything.
fn versioned(id: LinkId, row: &rusqlite::Row<'_>, max_bytes: usize) -> Option<Versioned<Record>> {
    let column = |index| row.get_ref(index).ok();
    let blob = |index| match column(index)? {
        ValueRef::Null => Some(None),
        ValueRef::Blob(bytes) => Some(Some(bytes.to_vec())),
        _ => None,
    };
    let state = match column(1)? {
        ValueRef::Null => None,
        ValueRef::Text(text) => Some(std::str::from_utf8(text).ok()?),
        _ => return None,
    };
    let next_change = match column(2)? {
        ValueRef::Null => None,
        ValueRef::Integer(millis) => Some(millis),
        _ => return None,
    };
    let found = Found {
        state,
        next_change,
        meta: column(3)?.as_str().ok()?,
        content: Content { ciphertext: blob(4)?, preview: blob(5)? },
    };
    let version = u64::try_from(column(0)?.as_i64().ok()?).ok()?;
    Some(Versioned { value: row::read(id, found, max_bytes)?, version })
}

pub(crate) fn changes(connection: &Connection, after: u64, limit: usize) -> Result<Vec<RecordSummary>, Error> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let head = connection
        .prepare_cached("SELECT seq FROM store WHERE one = 1")?
        .query_row([], |r| r.get::<_, i64>(0))
        .optional()?
        .ok_or_else(counter_lost)?;
    // No write gets a number any more.
    if head < 0 || head == i64::MAX {
        return Err(counter_lost().into());
    }
    if head < after {
        return Err(changes_lost().into());
    }
    summaries(
        connection,
        "SELECT id, state, next_change, seq FROM links
         WHERE seq > ?1 AND typeof(id) = 'blob' AND length(id) = 16
         ORDER BY seq LIMIT ?2",
        (after, sql_limit(limit)),
    )
}

pub(crate) fn summaries(
    connection: &Connection,
    sql: &str,
    bounds: impl rusqlite::Params,
) -> Result<Vec<RecordSummary>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(bounds)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.extend(summary(row));
    }
    Ok(found)
}

/// A row that no record of ours has is shown as due now, so that whoever minds due records reads it and finds out; the other rows
/// are none the worse for it.
fn summary(row: &rusqlite::Row<'_>) -> Option<RecordSummary> {
    let id = LinkId(row.get_ref(0).ok()?.as_blob().ok()?.try_into().ok()?);
    let seq = row.get_ref(3).ok()?.as_i64().ok();
    let seq = seq.and_then(|seq| u64::try_from(seq).ok()).unwrap_or(0);
    let state = match row.get_ref(1).ok()? {
        ValueRef::Null => Some(None),
        ValueRef::Text(text) => std::str::from_utf8(text).ok().and_then(row::parse_state).map(Some),
        _ => None,
    };
    let next_change = match row.get_ref(2).ok()? {
        ValueRef::Null => Some(None),
        ValueRef::Integer(millis) => Some(Some(Timestamp::from_millis(millis))),
        _ => None,
    };
    let odd = RecordSummary { id, state: None, next_change: Some(Timestamp::EPOCH), seq };
    Some(match (state, next_change) {
        (Some(state), Some(next_change)) if state.is_some() || next_change.is_none() => {
            RecordSummary { id, state, next_change, seq }
        }
        _ => odd,
    })
}

pub(crate) fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
