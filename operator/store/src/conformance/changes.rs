//! List and changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ps_core::ids::LinkId;
use ps_core::link::{Link, Record, State};
use ps_core::ports::{CasError, LinkStore, RecordSummary};
use ps_core::time::Timestamp;

use super::{Broken, Checked, Pair, changed, ensure, id, must, open_link, same, within};

pub(super) async fn pages_are_complete(pair: &Pair) -> Checked {
    same(&pair.a.list(None, 10).await, &Ok(Vec::new()), "list of nothing")?;
    let mut expected = BTreeMap::new();
    for number in 0..25 {
        let record = match number % 5 {
            0 => Record::Void { id: id(number) },
            1 => changed(&open_link(number), |link| {
                link.state = State::Expired;
                link.ciphertext = None;
                link.preview = None;
            }),
            _ => changed(&open_link(number), |link| link.expires_at = Timestamp::from_secs(i64::from(number as u32))),
        };
        must(pair.a.insert(&record).await, "insert")?;
        pair.settled(record.id()).await;
        expected.insert(record.id(), record);
    }
    for limit in [1, 7, 25, 26] {
        let mut found: Vec<RecordSummary> = Vec::new();
        loop {
            let page = must(pair.b.list(found.last().map(|s| s.id), limit).await, "list")?;
            ensure(page.len() <= limit, "a page is longer than asked for")?;
            if page.is_empty() {
                break;
            }
            found.extend(page);
            ensure(found.len() <= expected.len(), "pages repeat records")?;
        }
        let ids: Vec<LinkId> = found.iter().map(|s| s.id).collect();
        same(&ids, &expected.keys().copied().collect(), "pages hold every record once, in order of id")?;
        for (summary, record) in found.iter().zip(expected.values()) {
            let link = record.link();
            same(&summary.state, &link.map(|l| l.state), "a summary's state")?;
            same(&summary.next_change, &link.and_then(Link::next_change), "a summary's next change")?;
        }
    }
    Ok(())
}

pub(super) async fn in_order_and_once_each(pair: &Pair) -> Checked {
    let mut versions = BTreeMap::new();
    for number in 0..10 {
        let version = must(pair.a.insert(&open_link(number)).await, "insert")?;
        versions.insert(number, version);
        pair.settled(id(number)).await;
    }
    let all = must(within("changes", pair.b.changes(0, 100)).await?, "changes")?;
    let ids: Vec<LinkId> = all.iter().map(|s| s.id).collect();
    same(&ids, &(0..10).map(id).collect(), "changes come oldest first")?;
    ensure(all.is_sorted_by(|x, y| x.seq < y.seq), "positions rise")?;
    let mut paged = Vec::new();
    while paged.len() < all.len() {
        let after = paged.last().map_or(0, |s: &RecordSummary| s.seq);
        let page = must(within("changes", pair.b.changes(after, 3)).await?, "changes")?;
        ensure(!page.is_empty() && page.len() <= 3, "a page of changes has one to limit entries")?;
        paged.extend(page);
    }
    same(&paged, &all, "paged changes are the same changes")?;

    let seen = all.last().map_or(0, |s| s.seq);
    for (number, codes) in [(3_u64, 1), (5, 1), (3, 2), (3, 3)] {
        let version = versions.get(&number).copied().unwrap_or_default();
        let next = changed(&open_link(number), |link| link.tries.wrong_codes = codes);
        versions.insert(number, must(pair.a.replace(&next, version).await, "replace")?);
        pair.settled(id(number)).await;
    }
    pair.a
        .delete(id(7), versions.get(&7).copied().unwrap_or_default())
        .await
        .map_err(|e| Broken(format!("delete: {e}")))?;
    pair.settled(id(7)).await;
    let news = must(within("changes", pair.b.changes(seen, 100)).await?, "changes")?;
    let ids: Vec<LinkId> = news.iter().map(|s| s.id).collect();
    same(&ids, &vec![id(5), id(3)], "several changes of one record arrive as one, at its last place; deletions do not")
}

/// A reader that waits in `changes` must see every record, however writes and waits interleave, of either handle.
pub(super) async fn no_wake_up_is_lost(pair: &Pair) -> Checked {
    const WRITES: u64 = 200;
    let writer = {
        let pair = pair.clone();
        tokio::spawn(async move {
            for number in 0..WRITES {
                let store = Arc::clone(if number % 2 == 0 { &pair.a } else { &pair.b });
                must(store.insert(&open_link(number)).await, "insert")?;
                (pair.nudge)();
                // Let the reader come to wait at each of its places.
                for _ in 0..number % 7 {
                    tokio::task::yield_now().await;
                }
            }
            Ok::<(), Broken>(())
        })
    };
    let mut seen = BTreeSet::new();
    let mut after = 0;
    while seen.len() < WRITES as usize {
        let news = within("a change that was made is told", pair.b.changes(after, 16)).await?;
        for summary in must(news, "changes")? {
            ensure(summary.seq > after, "changes repeat themselves")?;
            after = summary.seq;
            seen.insert(summary.id);
        }
    }
    writer.await.map_err(|e| Broken(e.to_string()))??;
    // Nothing is new now: it waits, and a change by either handle ends the wait, without a nudge.
    after = waits_for(pair, &pair.a, WRITES, after).await?;
    // A handle's own change wakes at once, not when it happens to look.
    let mut own = after;
    let at_once = async {
        for number in WRITES + 1..WRITES + 41 {
            own = waits_for(pair, &pair.b, number, own).await?;
        }
        Ok(())
    };
    within("a handle hears of its own changes at once", at_once).await?
}

/// Waits in `changes` of `b` for an insert by `writer`, and returns its position.
async fn waits_for(pair: &Pair, writer: &Arc<dyn LinkStore>, number: u64, after: u64) -> Result<u64, Broken> {
    let waiting = {
        let store = Arc::clone(&pair.b);
        tokio::spawn(async move { store.changes(after, 16).await })
    };
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    ensure(!waiting.is_finished(), "changes must wait while there are none")?;
    must(writer.insert(&open_link(number)).await, "insert")?;
    let news = within("a change wakes who waits, without a nudge", waiting).await?;
    let news = must(news.map_err(|e| Broken(e.to_string()))?, "changes")?;
    same(&news.iter().map(|s| s.id).collect(), &vec![id(number)], "the change that ended the wait")?;
    Ok(news.last().map_or(after, |s| s.seq))
}

pub(super) async fn a_position_from_the_future_is_told(pair: &Pair) -> Checked {
    let seq = must(pair.a.insert(&open_link(1)).await, "insert")?;
    let asked = within("changes after a position that was never given", pair.a.changes(seq + 1_000_000, 1)).await?;
    ensure(
        matches!(asked, Err(CasError::Failed(_))),
        "a store that is older than what was read from it must say so, or a restored store is waited for in vain",
    )
}
