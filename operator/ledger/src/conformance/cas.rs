//! Compare-and-swap of entries and of the common entry.

use std::collections::BTreeSet;
use std::sync::Arc;

use ps_core::entry::{Common, Entry, Hold};
use ps_core::ports::CasError;

use super::{Broken, Checked, Pair, common, ensure, key, must, present, record, same, sample, source};

const TASKS: u64 = 64;

pub(super) async fn inserted_is_read(pair: &Pair) -> Checked {
    let entry = sample(key(1), &[(source(1), record(1)), (source(1), record(2))]);
    same(&pair.a.get(&entry.key).await, &Ok(None), "an unknown key")?;
    let version = must(pair.a.insert(&entry).await, "insert")?;
    for ledger in [&pair.a, &pair.b] {
        let found = present(ledger.as_ref(), &entry.key).await?;
        same(&found.value, &entry, "what was inserted is read, by either handle")?;
        same(&found.version, &version, "get_latest gives the version that insert gave")?;
        let found = must(ledger.get(&entry.key).await, "get")?;
        same(&found.map(|found| found.version), &Some(version), "get finds what was inserted")?;
    }
    let other = sample(key(1), &[]);
    same(&pair.b.insert(&other).await, &Err(CasError::AlreadyExists), "insert over an entry")?;
    same(&present(pair.a.as_ref(), &entry.key).await?.value, &entry, "a refused insert changes nothing")
}

pub(super) async fn replace_needs_the_version(pair: &Pair) -> Checked {
    let first = sample(key(1), &[]);
    same(&pair.a.replace(&first, 1).await, &Err(CasError::Conflict), "replace of nothing")?;
    same(&pair.a.get_latest(&first.key).await, &Ok(None), "a refused replace inserts nothing")?;
    let one = must(pair.a.insert(&first).await, "insert")?;
    let second = Entry { hold: Some(Hold::TooLate), ..first.clone() };
    let two = must(pair.b.replace(&second, one).await, "replace")?;
    ensure(one != two, "a replace changes the version")?;
    for stale in [one, two + 1, 0, u64::MAX] {
        same(&pair.a.replace(&first, stale).await, &Err(CasError::Conflict), "replace with another version")?;
    }
    let found = present(pair.a.as_ref(), &first.key).await?;
    same(&(found.value, found.version), &(second.clone(), two), "a refused replace changes nothing")?;
    let three = must(pair.a.replace(&second, two).await, "replace by the same")?;
    ensure(three != two, "a replace changes the version even if the value is the same")
}

pub(super) async fn delete_needs_the_version(pair: &Pair) -> Checked {
    let entry = sample(key(1), &[(source(1), record(1))]);
    same(&pair.a.delete(&entry.key, 1).await, &Err(CasError::Conflict), "delete of nothing")?;
    let old = must(pair.a.insert(&entry).await, "insert")?;
    for wrong in [old + 1, 0, u64::MAX] {
        same(&pair.b.delete(&entry.key, wrong).await, &Err(CasError::Conflict), "delete with another version")?;
    }
    must(pair.b.delete(&entry.key, old).await, "delete")?;
    same(&pair.b.get(&entry.key).await, &Ok(None), "what this handle deleted is gone")?;
    same(&pair.a.get_latest(&entry.key).await, &Ok(None), "what was deleted is gone")?;
    pair.settle().await;
    same(&pair.a.get(&entry.key).await, &Ok(None), "what was deleted is gone for get")?;
    same(&pair.a.by_record(record(1)).await, &Ok(None), "what was deleted is found by no record")?;
    same(&pair.a.by_source(&source(1)).await, &Ok(Vec::new()), "what was deleted is found by no source")?;
    let new = must(pair.b.insert(&entry).await, "insert after delete")?;
    ensure(new != old, "an entry made anew has another version")?;
    same(&pair.a.replace(&entry, old).await, &Err(CasError::Conflict), "replace of the deleted one")
}

pub(super) async fn sizes_are_bounded(pair: &Pair) -> Checked {
    let sized = |size: usize| Entry { uid: "q".repeat(size), ..sample(key(1), &[]) };
    let too_large = |result: Result<u64, CasError>| match result {
        Err(CasError::Failed(fault)) => {
            fault.code == "entry-too-large" && !fault.remedy.is_empty() && !fault.to_string().contains("qq")
        }
        _ => false,
    };
    let large = sized(crate::MAX_BYTES);
    ensure(too_large(pair.a.insert(&large).await), "insert of an entry of more than 1 MiB")?;
    let largest = sized(crate::MAX_BYTES - 2000);
    let version = must(pair.a.insert(&largest).await, "insert of an entry of almost 1 MiB")?;
    ensure(too_large(pair.a.replace(&large, version).await), "replace by an entry of more than 1 MiB")?;
    let found = present(pair.b.as_ref(), &key(1)).await?;
    ensure(found.value == largest && found.version == version, "the largest entry is read back")
}

/// 64 tasks on two handles each add one, to an entry and to the common entry: none may be lost.
pub(super) async fn sixty_four_increments(pair: &Pair) -> Checked {
    must(pair.a.insert(&sample(key(1), &[])).await, "insert")?;
    let start = present(pair.a.as_ref(), &key(1)).await?.value.next_seq;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let ledger = Arc::clone(if task % 2 == 0 { &pair.a } else { &pair.b });
        tasks.spawn(async move {
            let version = loop {
                let mut found = present(ledger.as_ref(), &key(1)).await?;
                found.value.next_seq += 1;
                match ledger.replace(&found.value, found.version).await {
                    Err(CasError::Conflict) => {}
                    other => break must(other, "increment")?,
                }
            };
            loop {
                let mut found = must(ledger.common(&common("x", 0)).await, "common")?;
                found.value.newest += 1;
                match ledger.replace_common(&found.value, found.version).await {
                    Err(CasError::Conflict) => {}
                    other => {
                        must(other, "increment of the common entry")?;
                        break;
                    }
                }
            }
            Ok::<u64, Broken>(version)
        });
    }
    let mut versions = BTreeSet::new();
    while let Some(done) = tasks.join_next().await {
        let version = done.map_err(|e| Broken(e.to_string()))??;
        ensure(versions.insert(version), "two writes got one version")?;
    }
    let sum = present(pair.a.as_ref(), &key(1)).await?.value.next_seq;
    same(&sum, &(start + TASKS), "64 increments by compare-and-swap")?;
    let head = must(pair.b.common(&common("y", 0)).await, "common")?.value.newest;
    same(&head, &TASKS, "64 increments of the common entry")
}

pub(super) async fn one_common_entry(pair: &Pair) -> Checked {
    let unnamed = pair.a.common(&Common::blank()).await;
    ensure(matches!(unnamed, Err(CasError::Failed(_))), "a ledger-wide entry that names no ledger is never made")?;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let ledger = Arc::clone(if task % 2 == 0 { &pair.a } else { &pair.b });
        tasks.spawn(async move { ledger.common(&common(&task.to_string(), task)).await });
    }
    let mut seen = Vec::new();
    while let Some(done) = tasks.join_next().await {
        seen.push(must(done.map_err(|e| Broken(e.to_string()))?, "common")?);
    }
    seen.dedup();
    ensure(seen.len() == 1, "whoever asks first makes the common entry, the others get that one")?;
    let Some(found) = seen.pop() else { return Ok(()) };
    let next = common("next", 100);
    for wrong in [found.version + 1_000_000, 0, u64::MAX] {
        same(
            &pair.a.replace_common(&next, wrong).await,
            &Err(CasError::Conflict),
            "replace_common with another version",
        )?;
    }
    let version = must(pair.a.replace_common(&next, found.version).await, "replace_common")?;
    ensure(version != found.version, "replace_common changes the version")?;
    let now = must(pair.b.common(&common("other", 0)).await, "common")?;
    same(&(now.value, now.version), &(next.clone(), version), "replace_common is read")?;
    let own = must(pair.a.known_common().await, "known_common")?;
    same(&(own.value, own.version), &(next, version), "one's own replace_common is known at once")?;
    // By turns, so that each handle has known what the other one then replaces.
    let mut version = version;
    for turn in 0..4 {
        let (writes, looks) = if turn % 2 == 0 { (&pair.b, &pair.a) } else { (&pair.a, &pair.b) };
        let next = common(&format!("turn {turn}"), turn);
        version = must(writes.replace_common(&next, version).await, "replace_common")?;
        pair.settle().await;
        let now = must(looks.known_common().await, "known_common")?;
        same(&(now.value, now.version), &(next, version), "somebody else's replace_common is known")?;
    }
    Ok(())
}
