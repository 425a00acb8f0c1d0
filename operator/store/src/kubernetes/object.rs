//! A record as a Secret, and back: names, annotations, data. What is read may have been written by an attacker, who
//! has a gateway's rights: every field of an existing Secret but its name and its type.
//!
//! | where | what |
//! |---|---|
//! | name | `link-` and the id in hex |
//! | data `record` | the record as JSON, without the sealed bytes |
//! | data `ciphertext`, `preview` | the sealed bytes; absent once erased |
//! | annotation `state` | the state's name, or `void` |
//! | annotation `next-change` | when time alone changes it, in milliseconds since 1970; absent if never |
//! | annotation `claimed-until` | end of the claim window, likewise; absent until it is claimed |
//! | annotation `journal` | number of journal entries |
//! | annotation `access` | SHA-256 of the value that shows that a caller holds the link, in hex |
//!
//! Annotations are for those who watch without reading; the record itself is in `record`, and a Secret whose annotations
//! say something else is none of ours.

use std::collections::BTreeMap;

use ps_core::error::Fault;
use ps_core::ids::{Digest, LinkId};
use ps_core::link::{Record, State};
use ps_core::ports::RecordSummary;
use ps_core::time::Timestamp;

use crate::row::{self, Content, Found, Row};

/// The type of every Secret that holds a record. It can't be changed once a Secret exists.
pub const TYPE: &str = "passwordsender.io/link-record";

pub(crate) const STATE: &str = "passwordsender.io/state";
pub(crate) const NEXT_CHANGE: &str = "passwordsender.io/next-change";
pub(crate) const CLAIMED_UNTIL: &str = "passwordsender.io/claimed-until";
pub(crate) const JOURNAL: &str = "passwordsender.io/journal";
pub(crate) const ACCESS: &str = "passwordsender.io/access";
const VOID: &str = "void";

const RECORD: &str = "record";
const CIPHERTEXT: &str = "ciphertext";
const PREVIEW: &str = "preview";
const PREFIX: &str = "link-";

/// Annotations of a Secret.
pub(crate) type Annotations = BTreeMap<String, String>;
/// Data of a Secret.
pub(crate) type Data = BTreeMap<String, Vec<u8>>;

/// The name of a record's Secret.
pub(crate) fn name(id: LinkId) -> String {
    format!("{PREFIX}{}", hex::encode(id.0))
}

/// Inverse of [`name`], strictly: a Secret under another spelling is not a record.
pub(crate) fn id(name: &str) -> Option<LinkId> {
    let mut bytes = [0; 16];
    hex::decode_to_slice(name.strip_prefix(PREFIX)?, &mut bytes).ok()?;
    let id = LinkId(bytes);
    (self::name(id) == name).then_some(id)
}

/// A record as the parts of a Secret.
///
/// # Errors
/// `record-too-large`.
pub(crate) fn of(record: &Record, max_bytes: usize) -> Result<(Annotations, Data), Fault> {
    let row = Row::of(record, max_bytes)?;
    let mut data = Data::from([(RECORD.to_owned(), row.meta.into_bytes())]);
    let Content { ciphertext, preview } = row.content;
    for (key, bytes) in [(CIPHERTEXT, ciphertext), (PREVIEW, preview)] {
        if let Some(bytes) = bytes {
            data.insert(key.to_owned(), bytes);
        }
    }
    Ok((annotations(record), data))
}

fn annotations(record: &Record) -> Annotations {
    let link = record.link();
    let millis = |time: Timestamp| time.as_millis().to_string();
    let all = [
        (STATE, Some(link.map_or(VOID, |link| link.state.as_str()).to_owned())),
        (NEXT_CHANGE, link.and_then(|link| link.next_change()).map(millis)),
        (CLAIMED_UNTIL, link.and_then(|link| link.window_ends_at()).map(millis)),
        (JOURNAL, link.map(|link| link.journal.len().to_string())),
        (ACCESS, link.map(|link| link.sealed.access.to_string())),
    ];
    all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// The record in a Secret's annotations and data, or `None` if it isn't one that [`of`] makes. Annotations of others are
/// let be; data of others is not.
pub(crate) fn read(id: LinkId, annotations: &Annotations, mut data: Data, max_bytes: usize) -> Option<Record> {
    let meta = String::from_utf8(data.remove(RECORD)?).ok()?;
    let content = Content { ciphertext: data.remove(CIPHERTEXT), preview: data.remove(PREVIEW) };
    if !data.is_empty() {
        return None;
    }
    let state = match annotations.get(STATE).map(String::as_str)? {
        VOID => None,
        state => Some(state),
    };
    let next_change = match annotations.get(NEXT_CHANGE) {
        None => None,
        Some(text) => Some(millis(text)?.as_millis()),
    };
    let record = row::read(id, Found { state, next_change, meta: &meta, content }, max_bytes)?;
    // The rest of the annotations must be what this record's are, or watchers are told something else than readers.
    self::annotations(&record).iter().all(|(key, value)| annotations.get(key) == Some(value)).then_some(record)
}

/// A decimal number as [`of`] writes it.
fn millis(text: &str) -> Option<Timestamp> {
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(Timestamp::from_millis(number))
}

/// What the watched annotations of one Secret say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// State and next change, or `None` if they are not what [`of`] writes.
    said: Option<(Option<State>, Option<Timestamp>)>,
    access: Option<Digest>,
}

/// What an `access` is to a record that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Of this record, or nobody can say without reading it.
    Open,
    /// Of another, or of none.
    Shut,
}

impl Sight {
    /// Reads annotations, whatever they say.
    pub(crate) fn of(annotations: &Annotations) -> Self {
        let state = match annotations.get(STATE).map(String::as_str) {
            Some(VOID) => Some(None),
            Some(text) => row::parse_state(text).map(Some),
            None => None,
        };
        let next_change = match annotations.get(NEXT_CHANGE) {
            None => Some(None),
            Some(text) => millis(text).map(Some),
        };
        let said = state.zip(next_change).filter(|(state, next)| state.is_some() || next.is_none());
        let mut hash = [0; 32];
        let access = annotations.get(ACCESS).is_some_and(|text| hex::decode_to_slice(text, &mut hash).is_ok());
        Self { said, access: access.then_some(Digest(hash)) }
    }

    /// As a summary. One that no record of ours has is shown as due now, so that whoever minds due records reads it.
    pub(crate) fn summary(&self, id: LinkId, seq: u64) -> RecordSummary {
        let (state, next_change) = self.said.unwrap_or((None, Some(Timestamp::EPOCH)));
        RecordSummary { id, state, next_change, seq }
    }

    /// Whether `access` may be of this record; a void has none.
    pub(crate) fn door(&self, access: &[u8]) -> Door {
        match (&self.access, &self.said) {
            (Some(hash), _) => {
                if hash.matches(access) {
                    Door::Open
                } else {
                    Door::Shut
                }
            }
            (None, Some((None, _))) => Door::Shut,
            // Somebody has altered it: the reader finds out.
            (None, _) => Door::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ps_core::link::{Claim, JournalEntry, JournalEvent};

    use super::*;
    use crate::MAX_BYTES;
    use crate::conformance::{preimage, sample};

    const ID: LinkId = LinkId([7; 16]);

    fn claimed() -> Record {
        let now = Timestamp::from_secs(1_000_000);
        let mut link = sample(ID, now, b"sealed");
        link.state = State::Claimed;
        link.claim = Some(Claim { proof: [1; 32], token_hash: Digest([2; 32]), at: now });
        link.journal = vec![JournalEntry { seq: 0, at: now, event: JournalEvent::Claimed }];
        Record::Link(Box::new(link))
    }

    #[test]
    fn a_name_is_an_id_and_back() {
        assert_eq!(name(ID), format!("link-{}", "07".repeat(16)));
        assert_eq!(id(&name(ID)), Some(ID));
        for bad in ["fence", "link-", "link-07", &name(LinkId([0xAB; 16])).to_uppercase(), &format!("{}0", name(ID))] {
            assert_eq!(id(bad), None, "{bad}");
        }
        assert_eq!(id(&format!("link-{}", "AB".repeat(16))), None, "another spelling of the same id");
    }

    #[test]
    fn annotations_say_what_watchers_need() {
        let (annotations, data) = of(&claimed(), MAX_BYTES).expect("fits");
        assert_eq!(annotations[STATE], "claimed");
        assert_eq!(annotations[NEXT_CHANGE], annotations[CLAIMED_UNTIL]);
        assert_eq!(annotations[CLAIMED_UNTIL], (1_000_900_i64 * 1000).to_string());
        assert_eq!(annotations[JOURNAL], "1");
        assert_eq!(annotations[ACCESS], Digest::of(&preimage(ID, "access")).to_string());
        assert_eq!(data.keys().collect::<Vec<_>>(), ["ciphertext", "preview", "record"]);
        let (annotations, data) = of(&Record::Void { id: ID }, MAX_BYTES).expect("fits");
        assert_eq!((annotations.len(), data.len()), (1, 1), "a void says nothing but that");
        // What annotations reveal is known to whoever may list, and opens nothing: no preimage, no proof, no sealed byte.
        let text = format!("{annotations:?}");
        assert!(!text.contains(&hex::encode(preimage(ID, "access"))));
    }

    #[test]
    fn what_was_altered_is_no_record() {
        let (annotations, data) = of(&claimed(), MAX_BYTES).expect("fits");
        let reads = |annotations: &Annotations, data: &Data| read(ID, annotations, data.clone(), MAX_BYTES);
        assert_eq!(reads(&annotations, &data), Some(claimed()));
        let mut foreign = annotations.clone();
        foreign.insert("argocd.argoproj.io/x".to_owned(), "y".to_owned());
        assert_eq!(reads(&foreign, &data), Some(claimed()), "an annotation of somebody else's is let be");
        for key in [STATE, NEXT_CHANGE, CLAIMED_UNTIL, JOURNAL, ACCESS] {
            for value in [None, Some("open"), Some("99"), Some("void"), Some("+1"), Some("")] {
                let mut altered = annotations.clone();
                altered.remove(key);
                altered.extend(value.map(|value| (key.to_owned(), value.to_owned())));
                assert_eq!(reads(&altered, &data), None, "{key} {value:?}");
            }
        }
        let mut extra = data.clone();
        extra.insert("more".to_owned(), Vec::new());
        assert_eq!(reads(&annotations, &extra), None, "data of somebody else's");
        for bytes in [&b""[..], b"{}", b"\xff", b"{\"void\":{\"id\":\"AAAAAAAAAAAAAAAAAAAAAA\"}}"] {
            let mut altered = data.clone();
            altered.insert(RECORD.to_owned(), bytes.to_vec());
            assert_eq!(reads(&annotations, &altered), None);
        }
        assert_eq!(read(LinkId([8; 16]), &annotations, data, MAX_BYTES), None, "under another name");
    }

    #[test]
    fn an_odd_sight_is_due_now_and_its_door_is_read() {
        let (annotations, _) = of(&claimed(), MAX_BYTES).expect("fits");
        let sight = Sight::of(&annotations);
        let summary = sight.summary(ID, 5);
        assert_eq!((summary.state, summary.seq), (Some(State::Claimed), 5));
        assert_eq!(sight.door(&preimage(ID, "access")), Door::Open);
        assert_eq!(sight.door(&[0; 32]), Door::Shut);
        for (key, value) in [(STATE, "owned"), (NEXT_CHANGE, "soon"), (STATE, "void")] {
            let mut altered = annotations.clone();
            altered.insert(key.to_owned(), value.to_owned());
            assert_eq!(Sight::of(&altered).summary(ID, 5).next_change, Some(Timestamp::EPOCH), "{key} {value}");
        }
        let odd = Sight::of(&Annotations::new());
        assert_eq!((odd.summary(ID, 1).next_change, odd.door(&[0; 32])), (Some(Timestamp::EPOCH), Door::Open));
        let (void, _) = of(&Record::Void { id: ID }, MAX_BYTES).expect("fits");
        assert_eq!(Sight::of(&void).door(&[0; 32]), Door::Shut);
        assert_eq!(Sight::of(&void).summary(ID, 1).next_change, None);
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_panics(
            state in ".{0,12}", next in ".{0,12}", meta in proptest::collection::vec(any::<u8>(), 0..60), more in ".{0,8}",
        ) {
            let annotations = Annotations::from([(STATE.to_owned(), state), (NEXT_CHANGE.to_owned(), next)]);
            let sight = Sight::of(&annotations);
            prop_assert!(sight.summary(ID, 0).id == ID && sight.door(&[0; 32]) != Door::Shut || annotations[STATE] == "void");
            prop_assert_eq!(read(ID, &annotations, Data::from([(RECORD.to_owned(), meta), (more, Vec::new())]), 100), None);
        }
    }
}
