//! What of an entry is in its Secret's annotations: what it is found by without being read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ps_core::encode;
use ps_core::entry::Entry;
use ps_core::ids::{Digest, Key, LinkId};
use ps_kubernetes::{Indexed, RowMeta, Term};

use crate::index;

const KEY: &str = "passwordsender.io/key";
const SOURCES: &str = "passwordsender.io/sources";
const RECORDS: &str = "passwordsender.io/records";

/// Name of the ledger-wide entry.
pub(super) const COMMON: &str = "common";
/// Name of the row that is written to see how far the watch is.
pub(super) const BARRIER: &str = "barrier";

/// How many sources an entry is found by: 180 of the 256 KiB that annotations may have. Past that, those that none of its
/// attempts has any more are forgotten, oldest first.
pub(super) const MAX_SOURCES: usize = 4096;

/// Rows whose annotations don't say what they must.
pub(super) const UNREADABLE: Term = (0, [0; 16]);

/// What the index keeps of a row.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    /// An entry.
    Entry(Arc<Facts>),
    /// The ledger-wide entry, or the barrier.
    Other,
    /// Somebody changed the annotations: only the entry itself can tell.
    Unreadable,
}

/// What an entry is found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) key: Key,
    /// What it has, or had, an attempt on, in the order in which that began.
    pub(super) sources: Vec<Digest>,
    pub(super) records: BTreeSet<LinkId>,
}

impl Facts {
    /// Of an entry that had these sources before.
    pub(super) fn of(entry: &Entry, had: &[Digest]) -> Self {
        let has = index::sources(entry);
        let mut sources = had.to_vec();
        sources.extend(has.iter().filter(|source| !had.contains(source)));
        let mut over = sources.len().saturating_sub(MAX_SOURCES);
        sources.retain(|source| {
            let forget = over > 0 && !has.contains(source);
            over -= usize::from(forget);
            !forget
        });
        Self { key: entry.key.clone(), sources, records: index::records(entry) }
    }

    pub(super) fn annotations(&self) -> BTreeMap<String, String> {
        let list = |parts: Vec<String>| parts.join(",");
        BTreeMap::from([
            (KEY.to_owned(), self.key.to_string()),
            (SOURCES.to_owned(), list(self.sources.iter().map(|source| encode::b64(&source.0)).collect())),
            (RECORDS.to_owned(), list(self.records.iter().map(|record| encode::b64(&record.0)).collect())),
        ])
    }

    /// `None` if the annotations are not what we write, or those of another row.
    pub(super) fn read(name: &str, annotations: &BTreeMap<String, String>) -> Option<Self> {
        let (namespace, object) = annotations.get(KEY)?.split_once('/')?;
        let key = Key::new(namespace, object);
        if name_of(&key) != name {
            return None;
        }
        let sources = list(annotations.get(SOURCES)?, |part| encode::from_b64_array(part).map(Digest))?;
        let records = list(annotations.get(RECORDS)?, |part| encode::from_b64_array(part).map(LinkId))?;
        Some(Self { key, sources, records: records.into_iter().collect() })
    }
}

fn list<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    if text.is_empty() { Some(Vec::new()) } else { text.split(',').map(parse).collect() }
}

/// The name of an entry's Secret: names of manifests are longer than a Secret's may be together with a namespace.
pub(super) fn name_of(key: &Key) -> String {
    let digest = key.digest().to_string();
    format!("entry-{}", digest.get(..32).unwrap_or(&digest))
}

/// How entries are looked up by source.
pub(super) fn by_source(source: &Digest) -> Term {
    let mut half = [0; 16];
    half.iter_mut().zip(source.0).for_each(|(to, from)| *to = from);
    (1, half)
}

/// How entries are looked up by record.
pub(super) fn by_record(record: LinkId) -> Term {
    (2, record.0)
}

impl Kept {
    pub(super) fn of(meta: &RowMeta) -> Self {
        if [COMMON, BARRIER].contains(&meta.name.as_str()) {
            return Self::Other;
        }
        Facts::read(&meta.name, &meta.annotations).map_or(Self::Unreadable, |facts| Self::Entry(Arc::new(facts)))
    }
}

impl Indexed for Kept {
    fn terms(&self) -> Vec<Term> {
        match self {
            Self::Entry(facts) => {
                let sources = facts.sources.iter().map(by_source);
                sources.chain(facts.records.iter().map(|record| by_record(*record))).collect()
            }
            Self::Other => Vec::new(),
            Self::Unreadable => vec![UNREADABLE],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::conformance::sample;

    fn digest(number: u32) -> Digest {
        Digest::of(&number.to_be_bytes())
    }

    fn record(number: u32) -> LinkId {
        LinkId(u128::from(number).to_be_bytes())
    }

    proptest! {
        #[test]
        fn annotations_read_back(name in "[a-z0-9.-]{1,60}", attempts in prop::collection::vec((0..9_u32, any::<u32>()), 0..9), had in 0..5_u32) {
            let attempts: Vec<_> = attempts.into_iter().map(|(source, id)| (digest(source), record(id))).collect();
            let entry = sample(Key::new("team", name), &attempts);
            let had: Vec<Digest> = (0..had).map(|n| digest(n + 100)).collect();
            let facts = Facts::of(&entry, &had);
            prop_assert_eq!(Facts::read(&name_of(&entry.key), &facts.annotations()), Some(facts.clone()));
            prop_assert!(facts.sources.starts_with(&had), "what it had comes first");
            prop_assert_eq!(Facts::of(&entry, &facts.sources), facts, "the same again adds nothing");
        }
    }

    #[test]
    fn annotations_of_somebody_else_are_not_believed() {
        let entry = sample(Key::new("team", "a"), &[(digest(1), record(1))]);
        let good = Facts::of(&entry, &[]).annotations();
        let name = name_of(&entry.key);
        assert!(Facts::read(&name, &good).is_some());
        assert!(Facts::read("entry-0", &good).is_none(), "a copy under another name");
        for (key, value) in [(KEY, "team/b"), (KEY, "team"), (SOURCES, "x"), (RECORDS, "!"), (SOURCES, ",")] {
            let mut bad = good.clone();
            bad.insert(key.to_owned(), value.to_owned());
            assert_eq!(Facts::read(&name, &bad), None, "{key}: {value}");
            bad.remove(key);
            assert_eq!(Facts::read(&name, &bad), None, "without {key}");
        }
    }

    #[test]
    fn the_oldest_sources_without_an_attempt_are_forgotten() {
        let had: Vec<Digest> = (0..4096).map(digest).collect();
        let entry = sample(
            Key::new("team", "a"),
            &[(digest(0), record(1)), (digest(9999), record(2)), (digest(9998), record(3))],
        );
        let facts = Facts::of(&entry, &had);
        assert_eq!(facts.sources.len(), MAX_SOURCES);
        for kept in [0, 3, 4095, 9998, 9999] {
            assert!(facts.sources.contains(&digest(kept)), "{kept}");
        }
        for forgotten in [1, 2] {
            assert!(!facts.sources.contains(&digest(forgotten)), "{forgotten}");
        }
        let size: usize = facts.annotations().iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(size < 200 * 1024, "{size}");
    }
}
