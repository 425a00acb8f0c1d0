use std::collections::BTreeMap;

use proptest::prelude::*;

use super::state::State;
use super::{Indexed, Term};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Value(u8);

impl Indexed for Value {
    fn terms(&self) -> Vec<Term> {
        vec![(1, [self.0 % 3; 16])]
    }
}

fn names(state: &State<Value>, after: u64) -> Vec<(String, u64)> {
    state.changed_since(after, 100).changed.into_iter().map(|(name, _, version)| (name, version)).collect()
}

fn row(name: &str, version: u64) -> (String, Value, u64) {
    (name.to_owned(), Value(0), version)
}

#[test]
fn a_newer_version_wins_and_a_noted_one_is_reported_in_its_turn() {
    let mut state = State::default();
    state.listed(vec![row("a", 5), row("b", 7)], 10);
    assert_eq!(names(&state, 0), [("a".into(), 5), ("b".into(), 7)]);
    assert!(!state.has_news(7) && state.has_news(6));
    // Our write at 15 is read at once, but a reader that moves on to it would miss somebody else's at 12.
    state.put("a", Value(1), 15);
    assert_eq!(state.get("a"), Some((Value(1), 15)));
    assert!(!state.has_news(10));
    state.watched("b", Value(2), 12);
    assert_eq!((names(&state, 10), state.seen), (vec![("b".into(), 12)], 12));
    state.watched("a", Value(9), 13);
    assert_eq!(state.get("a"), Some((Value(1), 15)), "older than what we wrote");
    assert_eq!(names(&state, 12), []);
    state.watched("a", Value(1), 15);
    assert_eq!(names(&state, 12), [("a".into(), 15)]);
    state.reach(20);
    assert_eq!((state.seen, names(&state, 15)), (20, vec![]));
}

#[test]
fn deletions_are_reported_and_nothing_old_comes_back() {
    let mut state = State::default();
    state.listed(vec![row("a", 5), row("b", 7)], 10);
    state.forget("a", 5);
    assert_eq!(state.get("a"), None);
    state.put("a", Value(0), 5);
    assert_eq!(state.get("a"), None, "a late note of the deleted version");
    state.watched_deletion("a", 11);
    state.watched("a", Value(3), 12);
    assert_eq!(state.get("a"), Some((Value(3), 12)), "made anew");
    assert_eq!(state.changed_since(10, 9).deleted, [("a".to_owned(), 11)]);
    // A list without "b", and without what was noted after it was made.
    state.put("c", Value(1), 30);
    state.listed(vec![row("a", 12)], 20);
    assert_eq!((state.get("b"), state.get("c").is_some(), state.epoch), (None, true, 0));
    assert_eq!(state.changed_since(12, 9).deleted, [("b".to_owned(), 20)]);
    state.forget("a", 11);
    assert!(state.get("a").is_some(), "what is newer than what was deleted stays");
    // A deletion that the watch told before we noted it leaves nothing behind that would hide a row.
    state.watched_deletion("a", 25);
    state.forget("a", 12);
    state.watched("a", Value(1), 26);
    assert!(state.get("a").is_some());
}

#[test]
fn numbers_that_go_backwards_are_noticed() {
    let fresh = || {
        let mut state = State::default();
        state.listed(vec![row("a", 50), row("b", 60)], 100);
        state
    };
    let mut state = fresh();
    assert!(!state.listed(vec![row("a", 50), row("b", 60)], 100));
    assert!(state.listed(vec![row("a", 50)], 90), "the position is older");
    assert_eq!((state.epoch, state.seen, state.len()), (1, 90, 1));
    let mut state = fresh();
    assert!(state.listed(vec![row("a", 40), row("b", 60)], 200), "a row is older");
    assert_eq!((state.epoch, state.get("a").map(|found| found.1)), (1, Some(40)));
    let mut state = fresh();
    state.put("a", Value(0), 130);
    assert!(!state.listed(vec![row("a", 50), row("b", 60)], 120), "our write came after the list was made");
    assert_eq!(state.get("a").map(|found| found.1), Some(130));
    let mut state = fresh();
    state.put("a", Value(0), 130);
    assert_eq!(state.newest(), 130);
    state.begin_list();
    assert!(state.listed(vec![row("a", 50), row("b", 60)], 120), "our write was answered before the list began");
    assert_eq!((state.epoch, state.get("a").map(|found| found.1), state.newest()), (1, Some(50), 120));
    assert!(!state.listed(vec![row("a", 50)], 120), "that is over with one list");
}

#[test]
fn a_contradiction_ends_the_epoch_whatever_the_list_shows() {
    let mut state = State::default();
    state.listed(vec![row("a", 50)], 100);
    state.contradict();
    assert_eq!((state.epoch, state.get("a")), (0, Some((Value(0), 50))), "what is known stays until then");
    assert!(state.listed(vec![row("a", 110)], 120));
    assert_eq!(state.epoch, 1);
    assert!(!state.listed(vec![row("a", 110)], 121), "once");
}

#[test]
fn pages_of_changes_miss_nothing() {
    let mut state = State::default();
    state.listed((1..=10).map(|n| row(&n.to_string(), n * 2)).collect(), 30);
    let (mut after, mut found) = (0, Vec::new());
    loop {
        let changes = state.changed_since(after, 3);
        assert!(changes.changed.len() <= 3 && changes.position > after);
        after = changes.position;
        found.extend(changes.changed.into_iter().map(|(_, _, version)| version));
        if after == 30 {
            break;
        }
    }
    assert_eq!(found, (1..=10).map(|n| n * 2).collect::<Vec<u64>>());
}

/// What a table does, and when an index hears of it.
#[derive(Clone, Debug)]
enum Event {
    /// A row is written; by us (noted at once) or not.
    Write {
        name: u8,
        value: u8,
        ours: bool,
    },
    Delete {
        name: u8,
        ours: bool,
    },
    /// The watch delivers up to this many of what it has not told.
    Tell(usize),
    /// The watch ended, and a list is made.
    List,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        5 => (0..5_u8, any::<u8>(), any::<bool>()).prop_map(|(name, value, ours)| Event::Write { name, value, ours }),
        2 => (0..5_u8, any::<bool>()).prop_map(|(name, ours)| Event::Delete { name, ours }),
        4 => (1..4_usize).prop_map(Event::Tell),
        1 => Just(Event::List),
    ];
    prop::collection::vec(event, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn an_index_follows_a_table(events in events()) {
        let mut table: BTreeMap<String, (Value, u64)> = BTreeMap::new();
        let mut log: Vec<(String, Option<Value>, u64)> = Vec::new();
        let (mut state, mut told, mut number) = (State::default(), 0, 0);
        state.listed(Vec::new(), 0);
        // A reader of changes: it must end with the table.
        let (mut reader, mut after): (BTreeMap<String, u64>, u64) = (BTreeMap::new(), 0);
        let tell = |state: &mut State<Value>, (name, value, at): &(String, Option<Value>, u64)| match value {
            Some(value) => state.watched(name, value.clone(), *at),
            None => state.watched_deletion(name, *at),
        };
        for event in events {
            match event {
                Event::Write { name, value, ours } => {
                    number += 1;
                    let (name, value) = (name.to_string(), Value(value));
                    table.insert(name.clone(), (value.clone(), number));
                    log.push((name.clone(), Some(value.clone()), number));
                    if ours {
                        state.put(&name, value.clone(), number);
                        prop_assert_eq!(state.get(&name), Some((value, number)), "what we wrote is read at once");
                    }
                }
                Event::Delete { name, ours } => {
                    let name = name.to_string();
                    if let Some((_, version)) = table.remove(&name) {
                        number += 1;
                        log.push((name.clone(), None, number));
                        if ours {
                            state.forget(&name, version);
                            prop_assert_eq!(state.get(&name), None, "what we deleted is gone at once");
                        }
                    }
                }
                Event::Tell(count) => {
                    for event in log.iter().skip(told).take(count) {
                        tell(&mut state, event);
                    }
                    told = (told + count).min(log.len());
                }
                Event::List => {
                    let rows = table.iter().map(|(name, (value, version))| (name.clone(), value.clone(), *version)).collect();
                    prop_assert!(!state.listed(rows, number));
                    told = log.len();
                }
            }
            let changes = state.changed_since(after, 2);
            after = changes.position;
            for (name, _) in changes.deleted {
                reader.remove(&name);
            }
            for (name, _, version) in changes.changed {
                prop_assert!(version <= after);
                reader.insert(name, version);
            }
        }
        for event in log.iter().skip(told) {
            tell(&mut state, event);
        }
        let expected: BTreeMap<String, u64> = table.iter().map(|(name, (_, version))| (name.clone(), *version)).collect();
        let found: BTreeMap<String, u64> = state.range(None, 99).into_iter().map(|(name, _, version)| (name, version)).collect();
        prop_assert_eq!(&found, &expected);
        while after < state.seen {
            let changes = state.changed_since(after, 2);
            after = changes.position;
            for (name, at) in changes.deleted {
                if reader.get(&name).is_some_and(|version| *version < at) {
                    reader.remove(&name);
                }
            }
            for (name, _, version) in changes.changed {
                reader.insert(name, version);
            }
        }
        prop_assert_eq!(&reader, &expected, "a reader of changes ends with the table");
        for third in 0..3_u8 {
            let mut by_term: Vec<String> = state.find(&(1, [third; 16])).into_iter().map(|(name, _, _)| name).collect();
            by_term.sort();
            let expected: Vec<&String> = table.iter().filter(|(_, (value, _))| value.0 % 3 == third).map(|(name, _)| name).collect();
            prop_assert_eq!(by_term.iter().collect::<Vec<_>>(), expected);
        }
    }
}
