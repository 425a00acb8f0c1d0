//! A storage in memory that can be a standby, can fail, and can be without transactions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ps_core::error::Fault;
use ps_core::time::Timestamp;
use ps_plugin_engine::{
    Answer, CommitError, Engine, Guard, Operation, Random, Request, Response, Storage, StorageFault, Write,
};
use serde_json::{Map, Value};

pub(crate) const T: Timestamp = Timestamp::from_secs(1_800_000_000);

#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) values: Mutex<BTreeMap<String, Vec<u8>>>,
    pub(crate) standby: AtomicBool,
    /// Writes that still succeed; negative for no limit.
    pub(crate) writes_left: AtomicI64,
    /// Writes are made one by one, and a failure leaves those before it (Vault).
    pub(crate) piecemeal: AtomicBool,
    pub(crate) reads_fail: AtomicBool,
    /// The next commit is made, and its reply lost.
    pub(crate) reply_lost: AtomicBool,
    pub(crate) reads: AtomicUsize,
    /// The mount's `max_lease_ttl`, in seconds.
    pub(crate) longest_lease: AtomicU64,
}

impl Memory {
    pub(crate) fn new() -> Arc<Self> {
        let longest_lease = AtomicU64::new(768 * 3600);
        Arc::new(Self { writes_left: AtomicI64::new(-1), longest_lease, ..Self::default() })
    }

    pub(crate) fn fault(words: &str) -> StorageFault {
        StorageFault(words.to_owned())
    }

    pub(crate) fn text(&self) -> String {
        let values = self.values.lock().unwrap();
        values.iter().map(|(key, value)| format!("{key} {}\n", String::from_utf8_lossy(value))).collect()
    }
}

#[async_trait]
impl Storage for Memory {
    async fn is_standby(&self) -> Result<bool, StorageFault> {
        Ok(self.standby.load(Ordering::SeqCst))
    }

    async fn longest_lease(&self) -> Result<Duration, StorageFault> {
        Ok(Duration::from_secs(self.longest_lease.load(Ordering::SeqCst)))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StorageFault> {
        let values = self.values.lock().unwrap();
        let below = values.keys().filter_map(|key| key.strip_prefix(prefix));
        let names: BTreeSet<String> = below
            .map(|rest| rest.split_once('/').map_or_else(|| rest.to_owned(), |(folder, _)| format!("{folder}/")))
            .collect();
        Ok(names.into_iter().collect())
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageFault> {
        tokio::task::yield_now().await;
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.reads_fail.load(Ordering::SeqCst) {
            return Err(Self::fault("storage is sealed"));
        }
        Ok(self.values.lock().unwrap().get(key).cloned())
    }

    async fn commit(&self, guard: Option<Guard<'_>>, writes: &[Write]) -> Result<(), CommitError> {
        tokio::task::yield_now().await;
        let mut values = self.values.lock().unwrap();
        if self.standby.load(Ordering::SeqCst) {
            return Err(Self::fault("cannot write to readonly storage").into());
        }
        if let Some(Guard { key, value }) = guard
            && values.get(key).map(Vec::as_slice) != value
        {
            return Err(CommitError::Conflict);
        }
        let mut next = values.clone();
        for write in writes {
            let left = self.writes_left.load(Ordering::SeqCst);
            if left == 0 {
                if self.piecemeal.load(Ordering::SeqCst) {
                    *values = next;
                }
                return Err(Self::fault("the disk is full").into());
            }
            self.writes_left.store(left.saturating_sub(1).max(-1), Ordering::SeqCst);
            match write {
                Write::Put(key, value) => next.insert(key.clone(), value.clone()),
                Write::Delete(key) => next.remove(key),
            };
        }
        *values = next;
        if self.reply_lost.swap(false, Ordering::SeqCst) {
            return Err(Self::fault("the connection broke").into());
        }
        Ok(())
    }
}

/// Numbers that never repeat: enough for keys that nobody attacks.
#[derive(Default)]
pub(crate) struct Counting(std::sync::atomic::AtomicU64);

impl Random for Counting {
    fn fill(&self, out: &mut [u8]) -> Result<(), Fault> {
        for chunk in out.chunks_mut(8) {
            let number = self.0.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            chunk.iter_mut().zip(number).for_each(|(to, from)| *to = from);
        }
        Ok(())
    }
}

/// An engine with its settings and a role `any`.
pub(crate) async fn engine(memory: &Arc<Memory>) -> Engine {
    let engine = Engine::new(memory.clone(), Arc::new(Counting::default()));
    write(&engine, "config", serde_json::json!({"public_url": "https://l.example"}), T).await.unwrap();
    write(&engine, "roles/any", serde_json::json!({}), T).await.unwrap();
    engine
}

pub(crate) fn request(operation: Operation, path: &str, data: Value) -> Request {
    let data: Map<String, Value> = data.as_object().cloned().unwrap_or_default();
    Request { operation, path: path.to_owned(), data, lease: None, wrapped: false }
}

pub(crate) async fn write(engine: &Engine, path: &str, data: Value, now: Timestamp) -> Answer {
    engine.handle(request(Operation::Write, path, data), now).await
}

pub(crate) async fn read(engine: &Engine, path: &str, now: Timestamp) -> Value {
    let answer = engine.handle(request(Operation::Read, path, Value::Null), now).await.unwrap();
    answer.map_or(Value::Null, |Response { data, .. }| data)
}
