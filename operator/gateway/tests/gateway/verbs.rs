//! The verb suite over both stores, and what only a store can do.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ps_core::error::{Class, Fault};
use ps_core::ids::{Digest, LinkId};
use ps_core::link::verification::Verdict;
use ps_core::link::{Command, Record, Release, Verification, apply};
use ps_core::ports::{CasError, LinkStore, RecordSummary, Versioned};
use ps_core::service::{LinkService as _, Refusal, Released};
use ps_gateway::verbs::{Sample, StoreBench, verb_suite};
use ps_store::service::{Fence, StoreLinkService};
use ps_store::{EmbeddedStore, MemoryStore};

use crate::support::T;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suite_over_the_memory_store() {
    verb_suite(&StoreBench::new(Arc::new(MemoryStore::default()))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suite_over_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path()).unwrap();
    verb_suite(&StoreBench::new(Arc::new(store))).await.unwrap();
}

#[tokio::test]
async fn a_fence_stops_claims_and_declines_only() {
    let store = Arc::new(MemoryStore::default());
    let Sample { holder, link } = Sample::new("fence", &[], T);
    store.insert(&Record::Link(Box::new(link))).await.unwrap();
    let fence = Fence::raised();
    let woken = Arc::new(Mutex::new(Vec::new()));
    let hook = woken.clone();
    let service =
        StoreLinkService::new(store.clone(), fence.clone()).on_change(move |id| hook.lock().unwrap().push(id));
    assert_eq!(service.claim(&holder.claim(), T).await, Err(Refusal::NotReady));
    assert_eq!(service.claim(&holder.claim_again(), T).await, Err(Refusal::NotReady));
    assert_eq!(service.decline(&holder.not_mine(), T).await, Err(Refusal::NotReady));
    assert!(service.lookup(&holder.lookup(), T).await.is_ok());
    assert!(woken.lock().unwrap().is_empty());
    fence.lift();
    assert!(service.claim(&holder.claim(), T).await.is_ok());
    assert!(service.claim(&holder.claim_again(), T).await.is_ok());
    assert_eq!(*woken.lock().unwrap(), [holder.id], "one change, one wake-up");
    fence.raise();
    assert_eq!(service.claim(&holder.claim_again(), T).await, Err(Refusal::NotReady));
}

#[tokio::test]
async fn a_link_that_waits_for_a_code_opens_only_after_its_release() {
    let store = Arc::new(MemoryStore::default());
    let Sample { holder, link } = Sample::new("release", &[Verification::EmailCode], T);
    let service = StoreLinkService::new(store.clone(), Fence::lifted());
    store.insert(&Record::Link(Box::new(link.clone()))).await.unwrap();
    assert_eq!(service.claim(&holder.claim(), T).await, Err(Refusal::VerificationDue));
    let token_hash = Digest::of(&holder.token);
    let mac = Digest([0; 32]);
    let verdict = Verdict { answered: 1, email_code: None, sign_in: None, released: Some(token_hash), mac };
    let judge = Command::Judge { verdict: Box::new(verdict), release: Some(Release { r: [7; 32], token_hash }) };
    let found = store.get(holder.id).await.unwrap().unwrap();
    let next = apply(found.value.link().unwrap(), &judge, T).next.unwrap();
    store.replace(&Record::Link(Box::new(next)), found.version).await.unwrap();
    assert_eq!(service.claim(&holder.elsewhere(1).claim(), T).await, Err(Refusal::VerificationDue));
    assert_eq!(service.claim(&holder.claim(), T).await.unwrap().r, Some(Released([7; 32])));
    assert_eq!(service.claim(&holder.claim_again(), T).await.unwrap().r, Some(Released([7; 32])));
}

#[tokio::test]
async fn a_voided_id_looks_unknown() {
    let store = Arc::new(MemoryStore::default());
    let Sample { holder, .. } = Sample::new("void", &[], T);
    store.insert(&Record::Void { id: holder.id }).await.unwrap();
    let service = StoreLinkService::new(store, Fence::lifted());
    assert_eq!(service.lookup(&holder.lookup(), T).await, Err(Refusal::NotFound));
    assert_eq!(service.claim(&holder.claim(), T).await, Err(Refusal::NotFound));
}

/// A store whose writes never succeed.
struct Stubborn {
    inner: MemoryStore,
    writes: AtomicU32,
    answer: CasError,
}

#[async_trait]
impl LinkStore for Stubborn {
    async fn insert(&self, record: &Record) -> Result<u64, CasError> {
        self.inner.insert(record).await
    }
    async fn get(&self, id: LinkId) -> Result<Option<Versioned<Record>>, CasError> {
        self.inner.get(id).await
    }
    async fn replace(&self, _: &Record, _: u64) -> Result<u64, CasError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Err(self.answer.clone())
    }
    async fn delete(&self, id: LinkId, unchanged: u64) -> Result<(), CasError> {
        self.inner.delete(id, unchanged).await
    }
    async fn purge(&self, id: LinkId) -> Result<bool, CasError> {
        self.inner.purge(id).await
    }
    async fn list(&self, after: Option<LinkId>, limit: usize) -> Result<Vec<RecordSummary>, CasError> {
        self.inner.list(after, limit).await
    }
    async fn changes(&self, after: u64, limit: usize) -> Result<Vec<RecordSummary>, CasError> {
        self.inner.changes(after, limit).await
    }
}

#[tokio::test]
async fn nothing_is_handed_out_that_was_not_stored_first() {
    let fault = Fault::new(Class::Transient, "disk-full", "the disk is full");
    for (answer, tries) in [(CasError::Conflict, 32), (CasError::Failed(fault), 1)] {
        let store = Arc::new(Stubborn { inner: MemoryStore::default(), writes: AtomicU32::new(0), answer });
        let Sample { holder, link } = Sample::new("stubborn", &[], T);
        store.insert(&Record::Link(Box::new(link))).await.unwrap();
        let service = StoreLinkService::new(store.clone(), Fence::lifted()).on_change(|_| panic!("nothing changed"));
        assert_eq!(service.claim(&holder.claim(), T).await, Err(Refusal::NotReady));
        assert_eq!(store.writes.load(Ordering::SeqCst), tries, "a conflict is tried again, in bounds");
        assert_eq!(
            service.claim(&holder.typing(None).claim(), T).await,
            Err(Refusal::NotReady),
            "counts first, then says"
        );
        assert!(service.lookup(&holder.lookup(), T).await.is_ok());
    }
}
