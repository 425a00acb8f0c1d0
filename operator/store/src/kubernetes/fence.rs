//! The exchange of nonces in the `fence` Secret, as pure rules on its annotations.
//!
//! A gateway that has just started, or whose view of the server went backwards (a restored etcd), can't know whether the
//! records that it sees were claimed before. It answers no claim until the operator, which remembers more, has looked.
//! To know that an answer is younger than its doubt, it asks with a fresh nonce:
//!
//! - gateway: `passwordsender.io/nonce.<replica>` = 32 hex digits of fresh randomness;
//! - operator: `passwordsender.io/answer.<replica>` = the same, a dot, and when it answered, in seconds since 1970.
//!
//! A gateway that was answered needs its entry no longer. The operator drops entries an hour after it answered them, what
//! exceeds [`MAX_REPLICAS`], and whatever else is on the Secret; so whoever has a gateway's rights can't make it grow.

use std::collections::{BTreeMap, BTreeSet};

use ps_core::ids::Digest;
use ps_core::time::{Span, Timestamp};

use super::object::Annotations;

/// The Secret's name.
pub const NAME: &str = "fence";
/// The Secret's type.
pub const TYPE: &str = "passwordsender.io/fence";
/// The most replicas that are answered at a time.
pub const MAX_REPLICAS: usize = 64;
/// How long an answered entry stays.
pub const KEPT: Span = Span::from_secs(3600);

const NONCE: &str = "passwordsender.io/nonce.";
const ANSWER: &str = "passwordsender.io/answer.";
const NONCE_DIGITS: usize = 32;
/// The name part of an annotation's key has at most 63 characters, of which `answer.` takes 7.
const MAX_REPLICA: usize = 63 - 7;

/// The name of a replica as an annotation's key can hold it. A name that can't be held as it is gets a hash of itself.
#[must_use]
pub fn replica(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if name.len() <= MAX_REPLICA && name.chars().all(fits) && ends(name.chars().next()) && ends(name.chars().last()) {
        return name.to_owned();
    }
    let kept: String = name.chars().filter(char::is_ascii_alphanumeric).take(MAX_REPLICA - 17).collect();
    let hash: String = Digest::of(name.as_bytes()).to_string().chars().take(16).collect();
    if kept.is_empty() { hash } else { format!("{kept}-{hash}") }
}

/// A nonce from 16 random bytes.
#[must_use]
pub fn nonce(random: [u8; 16]) -> String {
    hex::encode(random)
}

/// The gateway's half: puts its question, unless it stands there already. Returns whether something changed.
pub(crate) fn ask(board: &mut Annotations, replica: &str, nonce: &str) -> bool {
    board.insert(format!("{NONCE}{replica}"), nonce.to_owned()).as_deref() != Some(nonce)
}

/// The gateway's half: where its question stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It must be asked, for the first time or again: it is not on the board.
    Unasked,
    /// Asked, not answered.
    Waiting,
    /// Answered: claims may be answered.
    Answered,
}

/// What the board says to a gateway that asked with `nonce`.
pub(crate) fn reply(board: &Annotations, replica: &str, nonce: &str) -> Reply {
    if board.get(&format!("{NONCE}{replica}")).map(String::as_str) != Some(nonce) {
        return Reply::Unasked;
    }
    let answer = board.get(&format!("{ANSWER}{replica}")).and_then(|text| Answer::parse(text));
    if answer.is_some_and(|answer| answer.nonce == nonce) { Reply::Answered } else { Reply::Waiting }
}

/// What the operator wrote for one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    nonce: String,
    at: Timestamp,
}

impl Answer {
    fn parse(text: &str) -> Option<Self> {
        let (nonce, seconds) = text.split_once('.')?;
        let seconds: i64 = seconds.parse().ok()?;
        is_nonce(nonce).then(|| Self { nonce: nonce.to_owned(), at: Timestamp::from_secs(seconds) })
    }

    fn text(&self) -> String {
        format!("{}.{}", self.nonce, self.at.as_millis().div_euclid(1000))
    }
}

fn is_nonce(text: &str) -> bool {
    text.len() == NONCE_DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The operator's half, one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    /// The board as it should be: with every question answered, and without what is old, unreadable or too much.
    pub(crate) board: Annotations,
    /// How many questions it answers that were not answered before.
    pub(crate) answered: usize,
    /// The nonces of all questions that are not answered on the board as it is.
    pub(crate) asked: BTreeSet<String>,
    /// Whether it differs from what is there.
    pub(crate) changed: bool,
}

/// Answers every question on the board, or, where `only` is given, those of its nonces: the others stay, unanswered. What is
/// not ours on it goes.
pub(crate) fn pass(board: &Annotations, now: Timestamp, only: Option<&BTreeSet<String>>) -> Pass {
    // Unanswered ones first, then the latest answered: what is too much is what nobody waits for.
    let mut entries: BTreeMap<(i64, &str), (&String, Option<Answer>)> = BTreeMap::new();
    let mut asked = BTreeSet::new();
    for (key, nonce) in board {
        let Some(replica) = key.strip_prefix(NONCE) else { continue };
        if !is_nonce(nonce) || replica.is_empty() {
            continue;
        }
        let standing = board.get(&format!("{ANSWER}{replica}")).and_then(|text| Answer::parse(text));
        match standing.filter(|answer| answer.nonce == *nonce) {
            // A time that is ahead of ours is not ours.
            Some(answer) if now.since(answer.at) < KEPT && answer.at <= now + KEPT => {
                entries.insert((-answer.at.as_millis(), replica), (nonce, Some(answer)));
            }
            Some(_) => {}
            None => {
                entries.insert((i64::MIN, replica), (nonce, None));
                asked.insert(nonce.clone());
            }
        }
    }
    let mut next = Annotations::new();
    let mut answered = 0;
    for ((_, replica), (nonce, standing)) in entries.into_iter().take(MAX_REPLICAS) {
        let may = only.is_none_or(|only| only.contains(nonce));
        answered += usize::from(may && standing.is_none());
        let answer = standing.or_else(|| may.then(|| Answer { nonce: nonce.clone(), at: now }));
        if let Some(answer) = answer {
            next.insert(format!("{ANSWER}{replica}"), answer.text());
        }
        next.insert(format!("{NONCE}{replica}"), nonce.clone());
    }
    Pass { changed: next != *board, board: next, answered, asked }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn asked(replicas: usize) -> Annotations {
        let mut board = Annotations::from([("foreign.example/x".to_owned(), "y".to_owned())]);
        for number in 0..replicas {
            let mut random = [0; 16];
            random[..8].copy_from_slice(&number.to_be_bytes());
            assert!(ask(&mut board, &format!("gateway-{number:03}"), &nonce(random)));
        }
        board
    }

    #[test]
    fn a_fresh_question_is_answered_and_an_old_answer_is_none() {
        let (one, two) = (nonce([1; 16]), nonce([2; 16]));
        let mut board = Annotations::new();
        assert_eq!(reply(&board, "a", &one), Reply::Unasked);
        assert!(ask(&mut board, "a", &one) && !ask(&mut board, "a", &one), "asking twice changes nothing");
        assert_eq!(reply(&board, "a", &one), Reply::Waiting);
        let pass_one = pass(&board, NOW, None);
        assert_eq!((pass_one.answered, pass_one.changed), (1, true));
        let mut board = pass_one.board;
        assert_eq!(reply(&board, "a", &one), Reply::Answered);
        assert_eq!(reply(&board, "b", &one), Reply::Unasked, "an answer is one replica's");
        assert!(!pass(&board, NOW, None).changed, "nothing more to answer");
        // Started anew, or restored with an old answer in it: the new nonce waits.
        assert!(ask(&mut board, "a", &two));
        assert_eq!((reply(&board, "a", &two), reply(&board, "a", &one)), (Reply::Waiting, Reply::Unasked));
        assert_eq!(reply(&pass(&board, NOW, None).board, "a", &two), Reply::Answered);
    }

    #[test]
    fn entries_go_an_hour_after_their_answer() {
        let board = pass(&asked(3), NOW, None).board;
        assert_eq!(board.len(), 6);
        let later = pass(&board, NOW + KEPT, None);
        assert_eq!((later.changed, later.answered), (true, 0));
        assert!(later.board.is_empty());
        let mut renewed = board;
        ask(&mut renewed, "gateway-001", &nonce([9; 16]));
        let later = pass(&renewed, NOW + KEPT, None);
        assert_eq!((later.answered, later.board.len()), (1, 2), "one that asked again is answered again");
    }

    #[test]
    fn it_does_not_grow_and_who_waits_comes_first() {
        let full = pass(&asked(MAX_REPLICAS), NOW, None).board;
        assert_eq!(full.len(), 2 * MAX_REPLICAS);
        let mut board = full;
        for number in 0..10 {
            ask(&mut board, &format!("new-{number}"), &nonce([number; 16]));
        }
        let next = pass(&board, NOW + Span::from_secs(60), None);
        assert_eq!((next.answered, next.board.len()), (10, 2 * MAX_REPLICAS));
        for number in 0..10 {
            assert_eq!(reply(&next.board, &format!("new-{number}"), &nonce([number; 16])), Reply::Answered);
        }
        assert_eq!(pass(&asked(1000), NOW, None).board.len(), 2 * MAX_REPLICAS);
    }

    #[test]
    fn who_asked_too_late_waits_for_the_next_pass() {
        let mut board = asked(2);
        let first = pass(&board, NOW, None);
        ask(&mut board, "late", &nonce([7; 16]));
        ask(&mut board, "gateway-000", &nonce([8; 16]));
        let done = pass(&board, NOW, Some(&first.asked));
        assert_eq!((done.answered, done.changed), (1, true));
        assert_eq!(reply(&done.board, "late", &nonce([7; 16])), Reply::Waiting);
        assert_eq!(
            reply(&done.board, "gateway-000", &nonce([8; 16])),
            Reply::Waiting,
            "a new question of the same one"
        );
        let next = pass(&done.board, NOW, None);
        assert_eq!((next.answered, next.asked.len()), (2, 2));
    }

    #[test]
    fn junk_is_dropped() {
        let junk = [
            (format!("{NONCE}a"), "short".to_owned()),
            (format!("{NONCE}b"), nonce([0xAB; 16]).to_uppercase()),
            (NONCE.to_owned(), nonce([1; 16])),
            (format!("{ANSWER}c"), format!("{}.1", nonce([1; 16]))),
            (format!("{ANSWER}d"), "x".to_owned()),
        ];
        let board = Annotations::from(junk);
        let next = pass(&board, NOW, None);
        assert!(next.changed && next.board.is_empty() && next.answered == 0, "{:?}", next.board);
        // An answer whose time is far ahead would stay for ever.
        let nonce = nonce([1; 16]);
        let ahead = Annotations::from([
            (format!("{NONCE}a"), nonce.clone()),
            (format!("{ANSWER}a"), format!("{nonce}.99999999999")),
        ]);
        assert!(pass(&ahead, NOW, None).board.is_empty());
    }

    #[test]
    fn replicas_fit_into_a_key() {
        assert_eq!(replica("password-sender-gateway-7d9c6b5f4-x2x4z"), "password-sender-gateway-7d9c6b5f4-x2x4z");
        let long = "g".repeat(200);
        for odd in [long.as_str(), "", "-a", "a-", "ä", "a b", "a/b"] {
            let name = replica(odd);
            assert!(name.len() <= MAX_REPLICA && !name.is_empty(), "{odd}");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{name}");
            assert!(!name.starts_with('-'), "{name}");
        }
        assert_ne!(replica("a b"), replica("a  b"));
    }

    proptest! {
        #[test]
        fn a_pass_settles_and_answers_exactly_who_asked(entries in proptest::collection::btree_map("[a-z]{1,3}", any::<[u8; 16]>(), 0..80)) {
            let mut board = Annotations::new();
            for (replica, random) in &entries {
                ask(&mut board, replica, &nonce(*random));
            }
            let done = pass(&board, NOW, None);
            prop_assert_eq!(done.answered, entries.len().min(MAX_REPLICAS));
            prop_assert!(!pass(&done.board, NOW, None).changed);
            let told = entries.iter().filter(|(r, n)| reply(&done.board, r, &nonce(**n)) == Reply::Answered).count();
            prop_assert_eq!(told, done.answered);
        }
    }
}
