//! The suite that every store of link records passes, on the engine's table.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use ps_core::error::{Class, Fault};
use ps_core::ids::LinkId;
use ps_core::link::Record;
use ps_core::ports::{CasError, LinkStore, RecordSummary, Versioned};
use ps_plugin_engine::Row;
use ps_plugin_engine::table::{Change, Table, TableError};
use ps_store::conformance::{Pair, at_once, run};

use crate::memory::{Memory, T};

const MAX_BYTES: usize = 512 * 1024;

/// The table as a store. A version is the number of the write; what changed is asked of the rows.
struct TableStore {
    table: Table,
    written: tokio::sync::Notify,
}

fn failed(error: &TableError) -> CasError {
    CasError::Failed(Fault::new(Class::Transient, "table", error.to_string()))
}

impl TableStore {
    async fn summaries(&self) -> Result<Vec<RecordSummary>, CasError> {
        let mut found = Vec::new();
        for id in self.table.ids().await.map_err(|fault| failed(&fault.into()))? {
            if let Some(row) = self.table.get(id).await.map_err(|error| failed(&error))? {
                let link = row.link();
                let (state, next_change) = (link.map(|l| l.state), link.and_then(ps_core::link::Link::next_change));
                found.push(RecordSummary { id, state, next_change, seq: row.version });
            }
        }
        Ok(found)
    }

    /// Changes a record if its version is still `unchanged`; the version after it.
    async fn swap(&self, id: LinkId, unchanged: u64, next: Option<Row>) -> Result<u64, CasError> {
        let decided = self.table.change(id, T, |row| match (row, next) {
            (Some(row), Some(next)) if row.version == unchanged => Change::Put(Box::new(next), true),
            (Some(row), None) if row.version == unchanged => Change::Remove(true),
            _ => Change::Keep(false),
        });
        let (matched, version) = decided.await.map_err(|error| failed(&error))?;
        if !matched {
            return Err(CasError::Conflict);
        }
        self.written.notify_waiters();
        Ok(version.unwrap_or_default())
    }
}

fn row(record: &Record) -> Result<Row, CasError> {
    let size = record.link().and_then(|link| link.ciphertext.as_ref()).map_or(0, Vec::len);
    if size > MAX_BYTES {
        return Err(CasError::Failed(
            Fault::new(Class::Permanent, "record-too-large", "too large").remedy("Send less"),
        ));
    }
    Ok(Row::new(record.clone()))
}

#[async_trait]
impl LinkStore for TableStore {
    async fn insert(&self, record: &Record) -> Result<u64, CasError> {
        let inserted = self.table.insert(row(record)?, T).await.map_err(|error| match error {
            TableError::Exists => CasError::AlreadyExists,
            other => failed(&other),
        });
        self.written.notify_waiters();
        inserted
    }

    async fn get(&self, id: LinkId) -> Result<Option<Versioned<Record>>, CasError> {
        let row = self.table.get(id).await.map_err(|error| failed(&error))?;
        Ok(row.map(|row| Versioned { version: row.version, value: row.record }))
    }

    async fn replace(&self, record: &Record, unchanged: u64) -> Result<u64, CasError> {
        self.swap(record.id(), unchanged, Some(row(record)?)).await
    }

    async fn delete(&self, id: LinkId, unchanged: u64) -> Result<(), CasError> {
        self.swap(id, unchanged, None).await.map(drop)
    }

    async fn purge(&self, id: LinkId) -> Result<bool, CasError> {
        let purged = self.table.change(id, T, |row| match row {
            Some(_) => Change::Remove(true),
            None => Change::Keep(false),
        });
        Ok(purged.await.map_err(|error| failed(&error))?.0)
    }

    async fn list(&self, after: Option<LinkId>, limit: usize) -> Result<Vec<RecordSummary>, CasError> {
        let mut all = self.summaries().await?;
        all.sort_by_key(|summary| summary.id);
        Ok(all.into_iter().filter(|s| after.is_none_or(|after| s.id > after)).take(limit).collect())
    }

    async fn changes(&self, after: u64, limit: usize) -> Result<Vec<RecordSummary>, CasError> {
        loop {
            let woken = self.written.notified();
            let newest = self.table.unreserved().await.map_err(|error| failed(&error))?;
            if after > newest {
                return Err(CasError::Failed(Fault::new(Class::Permanent, "position-unknown", "from the future")));
            }
            let mut found = self.summaries().await?;
            found.retain(|summary| summary.seq > after);
            found.sort_by_key(|summary| summary.seq);
            found.truncate(limit);
            if !found.is_empty() {
                return Ok(found);
            }
            woken.await;
        }
    }
}

async fn suite(piecemeal: bool) {
    let make = async || {
        let memory = Memory::new();
        memory.piecemeal.store(piecemeal, Ordering::SeqCst);
        // One active node has one process, and so one table.
        let store: Arc<dyn LinkStore> =
            Arc::new(TableStore { table: Table::new(memory), written: tokio::sync::Notify::new() });
        Pair { a: store.clone(), b: store, nudge: Arc::new(|| {}), settle: at_once(), max_bytes: MAX_BYTES }
    };
    run(make).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suite_with_transactions() {
    suite(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suite_without() {
    suite(true).await;
}

#[tokio::test]
async fn numbers_are_not_used_again_after_a_restart() {
    let memory = Memory::new();
    let mut seen = Vec::new();
    for start in 0..3_u8 {
        let table = Table::new(memory.clone());
        for number in 0..3_u8 {
            let record = Record::Void { id: LinkId([start * 10 + number; 16]) };
            seen.push(table.insert(Row::new(record), T).await.unwrap());
        }
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
}
