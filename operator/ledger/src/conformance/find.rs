//! List, and the indexes by source and by record.

use std::collections::BTreeSet;
use std::sync::Arc;

use ps_core::delivery::Identity;
use ps_core::entry::{Entry, RotatedFirst};
use ps_core::ids::Key;
use ps_core::ports::CasError;
use ps_core::rotation::Begun;

use super::{Broken, Checked, Pair, ensure, key, must, present, record, same, sample, source};

pub(super) async fn pages_are_complete(pair: &Pair) -> Checked {
    same(&pair.a.list(None, 10).await, &Ok(Vec::new()), "list of nothing")?;
    let mut expected = BTreeSet::new();
    for number in 0..20 {
        must(pair.a.insert(&sample(key(number), &[])).await, "insert")?;
        expected.insert(key(number));
    }
    pair.settle().await;
    for limit in [1, 7, 20, 21] {
        let mut found: Vec<Key> = Vec::new();
        loop {
            let page = must(pair.b.list(found.last(), limit).await, "list")?;
            ensure(page.len() <= limit, "a page is longer than asked for")?;
            if page.is_empty() {
                break;
            }
            found.extend(page);
            ensure(found.len() <= expected.len(), "pages repeat keys")?;
        }
        same(&found, &expected.iter().cloned().collect(), "pages hold every key once, in order")?;
    }
    Ok(())
}

pub(super) async fn by_source(pair: &Pair) -> Checked {
    let one = sample(key(1), &[(source(1), record(1)), (source(1), record(2))]);
    let two = sample(key(2), &[(source(1), record(3)), (source(2), record(4))]);
    let three = sample(key(3), &[(source(3), record(5))]);
    let mut four = sample(key(4), &[]);
    four.rotated_first = Some(RotatedFirst {
        attempt: 1,
        source_key: source(5),
        identity: Identity::Kv1,
        begun: Begun { at: four.created_at, by: "somebody".into() },
    });
    for entry in [&one, &two, &three, &four] {
        must(pair.a.insert(entry).await, "insert")?;
    }
    pair.settle().await;
    same(&found(pair, 1).await?, &expect(&[&one, &two]), "every entry with an attempt on the source, once")?;
    same(&found(pair, 2).await?, &expect(&[&two]), "the other source of an entry")?;
    same(&found(pair, 5).await?, &expect(&[&four]), "the source that is rotated before the first attempt")?;
    same(&found(pair, 9).await?, &expect(&[]), "a source of nobody")?;
    // The attempt is dropped from the entry: it had one, and is still found.
    let version = present(pair.a.as_ref(), &two.key).await?.version;
    let later = sample(key(2), &[(source(4), record(6))]);
    must(pair.b.replace(&later, version).await, "replace")?;
    pair.settle().await;
    for number in [1, 2, 4] {
        let entries = found(pair, number).await?;
        ensure(entries.contains(&format!("{later:?}")), "an entry is found by every source that it has or had")?;
    }
    Ok(())
}

pub(super) async fn by_record(pair: &Pair) -> Checked {
    let one = sample(key(1), &[(source(1), record(1)), (source(1), record(2))]);
    let version = must(pair.a.insert(&one).await, "insert")?;
    must(pair.a.insert(&sample(key(2), &[(source(1), record(3))])).await, "insert")?;
    pair.settle().await;
    for (number, owner) in [(1, Some(key(1))), (2, Some(key(1))), (3, Some(key(2))), (4, None)] {
        same(&pair.b.by_record(record(number)).await, &Ok(owner), "the entry that has the record")?;
    }
    let later = sample(key(1), &[(source(1), record(2)), (source(1), record(4))]);
    must(pair.b.replace(&later, version).await, "replace")?;
    pair.settle().await;
    for (number, owner) in [(1, None), (2, Some(key(1))), (4, Some(key(1)))] {
        same(&pair.a.by_record(record(number)).await, &Ok(owner), "the entry that has the record now")?;
    }
    let version = present(pair.a.as_ref(), &later.key).await?.version;
    let mut forgotten = later;
    for attempt in forgotten.attempts.iter_mut().filter(|attempt| attempt.record == record(2)) {
        attempt.forgotten = true;
    }
    must(pair.a.replace(&forgotten, version).await, "replace")?;
    pair.settle().await;
    for (number, owner) in [(2, None), (4, Some(key(1)))] {
        same(&pair.b.by_record(record(number)).await, &Ok(owner), "a forgotten attempt's record is nobody's")?;
    }
    Ok(())
}

/// A handle finds what it wrote itself, without waiting.
pub(super) async fn own_writes_are_found_at_once(pair: &Pair) -> Checked {
    let mut version = must(pair.a.insert(&sample(key(1), &[(source(0), record(0))])).await, "insert")?;
    for number in 1..10 {
        let next = sample(key(1), &[(source(number), record(number))]);
        version = must(pair.a.replace(&next, version).await, "replace")?;
        let found = must(pair.a.get(&key(1)).await, "get")?.map(|found| (found.value, found.version));
        same(&found, &Some((next.clone(), version)), "get gives what this handle wrote")?;
        same(&pair.a.by_source(&source(number)).await, &Ok(vec![next.clone()]), "found by its new source at once")?;
        same(&pair.a.by_source(&source(number - 1)).await, &Ok(vec![next]), "found by its old source too")?;
        same(&pair.a.by_record(record(number)).await, &Ok(Some(key(1))), "found by its new record at once")?;
        same(&pair.a.by_record(record(number - 1)).await, &Ok(None), "not found by its old record")?;
        same(&pair.a.list(None, 9).await, &Ok(vec![key(1)]), "listed at once")?;
    }
    must(pair.a.delete(&key(1), version).await, "delete")?;
    same(&pair.a.get(&key(1)).await, &Ok(None), "what this handle deleted is gone at once")?;
    same(&pair.a.by_source(&source(9)).await, &Ok(Vec::new()), "and found by no source")?;
    same(&pair.a.list(None, 9).await, &Ok(Vec::new()), "and not listed")
}

/// While one handle moves an entry from record to record, the other must never find an entry under a record without that record in it,
/// nor lose it: index and entry change together.
pub(super) async fn an_index_is_never_behind(pair: &Pair) -> Checked {
    const MOVES: u64 = 60;
    let mut version = must(pair.a.insert(&sample(key(1), &[(source(1), record(0))])).await, "insert")?;
    pair.settle().await;
    let reader = {
        let ledger = Arc::clone(&pair.b);
        tokio::spawn(async move {
            let mut seen = 0_u64;
            while seen < MOVES {
                let entries = must(ledger.by_source(&source(1)).await, "by_source")?;
                ensure(entries.len() == 1, "an entry is never lost from the index while it changes")?;
                let at = entries.first().map_or(0, |entry| entry.next_seq);
                ensure(at >= seen, "what was read is not unread")?;
                seen = at;
                tokio::task::yield_now().await;
            }
            Ok::<(), Broken>(())
        })
    };
    for number in 1..=MOVES {
        let next = Entry { next_seq: number, ..sample(key(1), &[(source(1), record(number))]) };
        version = match pair.a.replace(&next, version).await {
            Err(CasError::Conflict) => return Err(Broken("conflict without a rival".into())),
            other => must(other, "replace")?,
        };
        pair.settle().await;
        same(&pair.b.by_record(record(number)).await, &Ok(Some(key(1))), "found by its new record")?;
        same(&pair.b.by_record(record(number - 1)).await, &Ok(None), "not found by its old record")?;
    }
    reader.await.map_err(|e| Broken(e.to_string()))?
}

async fn found(pair: &Pair, number: u64) -> Result<BTreeSet<String>, Broken> {
    let entries = must(pair.b.by_source(&source(number)).await, "by_source")?;
    let set: BTreeSet<String> = entries.iter().map(|entry| format!("{entry:?}")).collect();
    ensure(set.len() == entries.len(), "an entry is found once")?;
    Ok(set)
}

fn expect(entries: &[&Entry]) -> BTreeSet<String> {
    entries.iter().map(|entry| format!("{entry:?}")).collect()
}
