//! Insert, get, replace, delete: compare-and-swap.

use std::sync::Arc;

use ps_core::link::{Record, State};
use ps_core::ports::CasError;

use super::{Checked, Pair, changed, ensure, id, must, open_link, present, same};

pub(super) async fn inserted_is_read(pair: &Pair) -> Checked {
    same(&pair.a.get(id(0)).await, &Ok(None), "an unknown id")?;
    let void = Record::Void { id: id(2) };
    for record in [open_link(1), void] {
        let version = must(pair.a.insert(&record).await, "insert")?;
        pair.settled(record.id()).await;
        for store in [&pair.a, &pair.b] {
            let found = present(store.as_ref(), record.id()).await?;
            same(&found.value, &record, "what was inserted is read, by either handle")?;
            same(&found.version, &version, "get gives the version that insert gave")?;
        }
    }
    Ok(())
}

pub(super) async fn an_id_is_used_once(pair: &Pair) -> Checked {
    let record = open_link(1);
    let void = Record::Void { id: record.id() };
    let version = must(pair.a.insert(&record).await, "insert")?;
    for again in [&record, &void] {
        same(&pair.b.insert(again).await, &Err(CasError::AlreadyExists), "insert over a record")?;
    }
    same(&present(pair.a.as_ref(), record.id()).await?.value, &record, "a refused insert changes nothing")?;
    let version = must(pair.a.replace(&void, version).await, "void by replace")?;
    same(&pair.b.insert(&record).await, &Err(CasError::AlreadyExists), "insert over a voided id")?;
    same(&present(pair.a.as_ref(), record.id()).await?.version, &version, "the void stays")?;
    let fresh = Record::Void { id: id(2) };
    must(pair.a.insert(&fresh).await, "void by insert")?;
    same(&pair.b.insert(&open_link(2)).await, &Err(CasError::AlreadyExists), "insert after a void")
}

pub(super) async fn replace_needs_the_version(pair: &Pair) -> Checked {
    let first = open_link(1);
    same(&pair.a.replace(&first, 1).await, &Err(CasError::Conflict), "replace of nothing")?;
    same(&pair.a.get(first.id()).await, &Ok(None), "a refused replace inserts nothing")?;
    let one = must(pair.a.insert(&first).await, "insert")?;
    pair.settled(first.id()).await;
    let second = changed(&first, |link| link.tries.wrong_codes = 1);
    let two = must(pair.b.replace(&second, one).await, "replace")?;
    ensure(one != two, "a replace changes the version")?;
    let third = changed(&first, |link| link.tries.wrong_codes = 2);
    for stale in [one, two + 1, 0, u64::MAX] {
        same(&pair.a.replace(&third, stale).await, &Err(CasError::Conflict), "replace with another version")?;
    }
    pair.settled(first.id()).await;
    same(&present(pair.a.as_ref(), first.id()).await?.value, &second, "a refused replace changes nothing")?;
    let three = must(pair.a.replace(&second, two).await, "replace by the same")?;
    ensure(three != two, "a replace changes the version even if the value is the same")?;
    let over = changed(&second, |link| {
        link.state = State::Revoked;
        link.ciphertext = None;
        link.preview = None;
    });
    let four = must(pair.b.replace(&over, three).await, "erase")?;
    pair.settled(first.id()).await;
    same(&present(pair.a.as_ref(), first.id()).await?.value, &over, "an erased record has no content")?;
    let back = must(pair.b.replace(&first, four).await, "content comes back")?;
    pair.settled(first.id()).await;
    let found = present(pair.a.as_ref(), first.id()).await?;
    same(&(found.value, found.version), &(first, back), "a store judges no transitions")
}

pub(super) async fn delete_needs_the_version(pair: &Pair) -> Checked {
    let record = open_link(1);
    same(&pair.a.delete(record.id(), 1).await, &Err(CasError::Conflict), "delete of nothing")?;
    let version = must(pair.a.insert(&record).await, "insert")?;
    for wrong in [version + 1, 0, u64::MAX] {
        same(&pair.b.delete(record.id(), wrong).await, &Err(CasError::Conflict), "delete with another version")?;
    }
    same(&present(pair.a.as_ref(), record.id()).await?.value, &record, "a refused delete changes nothing")?;
    must(pair.b.delete(record.id(), version).await, "delete")?;
    pair.settled(record.id()).await;
    same(&pair.a.get(record.id()).await, &Ok(None), "what was deleted is gone")?;
    same(&pair.a.delete(record.id(), version).await, &Err(CasError::Conflict), "delete once more")
}

pub(super) async fn versions_do_not_come_back(pair: &Pair) -> Checked {
    let record = open_link(1);
    let old = must(pair.a.insert(&record).await, "insert")?;
    must(pair.a.delete(record.id(), old).await, "delete")?;
    let new = must(pair.b.insert(&record).await, "insert after delete")?;
    ensure(new != old, "a record made anew has another version")?;
    same(&pair.a.replace(&record, old).await, &Err(CasError::Conflict), "replace of the deleted one")?;
    same(&pair.a.delete(record.id(), old).await, &Err(CasError::Conflict), "delete of the deleted one")
}

pub(super) async fn sizes_are_bounded(pair: &Pair) -> Checked {
    let sized = |size: usize| changed(&open_link(1), |link| link.ciphertext = Some(vec![b'q'; size]));
    let large = sized(pair.max_bytes + 1);
    let too_large = |result: Result<u64, CasError>| match result {
        Err(CasError::Failed(fault)) => {
            fault.code == "record-too-large" && !fault.remedy.is_empty() && !fault.to_string().contains("qq")
        }
        _ => false,
    };
    ensure(too_large(pair.a.insert(&large).await), "insert of a record that is too large")?;
    same(&pair.a.get(id(1)).await, &Ok(None), "a record that is too large is not inserted")?;
    let largest = sized(pair.max_bytes);
    let version = must(pair.a.insert(&largest).await, "insert of the largest record")?;
    pair.settled(id(1)).await;
    ensure(too_large(pair.a.replace(&large, version).await), "replace by a record that is too large")?;
    let found = present(pair.b.as_ref(), id(1)).await?;
    // Not by `same`: half a megabyte is no message.
    ensure(found.value == largest && found.version == version, "the largest record is read back")
}

/// 64 tasks on two handles each add one: none may be lost.
pub(super) async fn sixty_four_increments(pair: &Pair) -> Checked {
    const TASKS: u32 = 64;
    must(pair.a.insert(&open_link(1)).await, "insert")?;
    pair.settled(id(1)).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(if task % 2 == 0 { &pair.a } else { &pair.b });
        tasks.spawn(async move {
            loop {
                let found = present(store.as_ref(), id(1)).await?;
                let next = changed(&found.value, |link| link.tries.wrong_codes += 1);
                match store.replace(&next, found.version).await {
                    Err(CasError::Conflict) => {}
                    other => return must(other, "increment"),
                }
            }
        });
    }
    let mut versions = std::collections::BTreeSet::new();
    while let Some(done) = tasks.join_next().await {
        let version = done.map_err(|e| super::Broken(e.to_string()))??;
        ensure(versions.insert(version), "two writes got one version")?;
    }
    pair.settled(id(1)).await;
    let found = present(pair.a.as_ref(), id(1)).await?;
    let sum = found.value.link().map(|link| link.tries.wrong_codes);
    same(&sum, &Some(TASKS), "64 increments by compare-and-swap")
}
