//! Whether a credential may be rotated before it is delivered.

use crate::entry::{Attempt, Entry, RotatedFirst};
use crate::error::{Class, Fault};
use crate::ids::{Digest, Key};
use crate::rotation::Begun;
use crate::time::Timestamp;

/// Why `source` must not be rotated now for the delivery `own`: another delivery of it was promised a working credential
/// (transient `promised-elsewhere`), or another operator is rotating it, for another delivery or for this one (transient
/// `rotation-under-way`; see [`Begun::free_for`]). `begun`: what is written down for this delivery already; `others`: the
/// entries of the same source, `own` among them or not.
///
/// Who writes down and looks afterwards is not passed by: of two that have begun, the later one waits, as in `owed`.
#[must_use]
pub fn in_the_way(
    own: &Key,
    source: &Digest,
    begun: Option<&RotatedFirst>,
    others: &[Entry],
    me: &str,
    now: Timestamp,
) -> Option<Fault> {
    let others = || others.iter().filter(|e| e.key != *own);
    let unproven = others()
        .flat_map(|e| e.attempts.iter().map(move |a| (&e.key, a)))
        .filter(|(_, a)| a.source_key == *source && a.evidence.is_none());
    let promised = unproven.clone().filter_map(|(_, a)| Attempt::promised_until(a)).filter(|until| now < *until).max();
    if let Some(until) = promised {
        let what =
            format!("rotating before the delivery would break what another recipient was promised until {until}");
        return Some(Fault::new(Class::Transient, "promised-elsewhere", what));
    }
    let owed = unproven.filter_map(|(key, a)| Some((key, a.obligation.as_ref()?.begun.as_ref()?)));
    let first = others().filter_map(|e| Some((&e.key, e.rotated_first.as_ref()?)));
    let first = first.filter(|(_, first)| first.source_key == *source).map(|(key, first)| (key, &first.begun));
    let ours = begun.filter(|b| b.begun.by == me).map(|b| (b.begun.at, own));
    let theirs = owed.chain(first).filter(|(key, b)| ours.is_none_or(|ours| (b.at, *key) <= ours));
    let this = begun.map(|b| &b.begun).into_iter();
    let free =
        theirs.map(|(_, b)| b).chain(this).filter_map(|b: &Begun| b.free_for(me, now)).filter(|f| now < *f).max();
    free.map(|free| {
        let what = format!("another operator is rotating it; it is left to it until {free}");
        Fault::new(Class::Transient, "rotation-under-way", what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::after;
    use crate::delivery::Identity;
    use crate::ids::Stamp;

    const NOW: Timestamp = Timestamp::from_secs(1000);
    const SOURCE: Digest = Digest([7; 32]);

    fn first(by: &str, at: i64) -> RotatedFirst {
        let begun = Begun { at: Timestamp::from_secs(at), by: by.into() };
        RotatedFirst { attempt: 1, source_key: SOURCE, identity: Identity::Kv1, begun }
    }

    fn entry(name: &str, first: RotatedFirst) -> Entry {
        let key = Key::new("shop", name);
        let stamp = Stamp::new(&key, [1; 16]);
        let entry = Entry::new(key, "uid".into(), stamp, NOW);
        after::rotating_first(&entry, first, NOW)
    }

    fn code(own: &str, begun: Option<&RotatedFirst>, others: &[Entry], now: i64) -> Option<String> {
        let own = Key::new("shop", own);
        let fault = in_the_way(&own, &SOURCE, begun, others, "me", Timestamp::from_secs(now))?;
        Some(fault.code)
    }

    #[test]
    fn what_another_operator_has_begun_for_another_delivery_is_left_to_it_for_a_while() {
        let theirs = [entry("a", first("them", 1000))];
        assert_eq!(code("b", None, &theirs, 1001).as_deref(), Some("rotation-under-way"));
        assert_eq!(code("b", None, &theirs, 1010), None, "ten seconds are over");
        assert_eq!(code("a", None, &theirs, 1001), None, "its own entry is told by `begun`");
        assert_eq!(code("a", Some(&first("them", 1000)), &theirs, 1001).as_deref(), Some("rotation-under-way"));
        assert_eq!(code("b", None, &[entry("a", first("me", 1000))], 1001), None, "one operator does one at a time");
        let elsewhere = RotatedFirst { source_key: Digest([8; 32]), ..first("them", 1000) };
        assert_eq!(code("b", None, &[entry("a", elsewhere)], 1001), None, "another source");
    }

    #[test]
    fn of_two_that_have_begun_the_earlier_goes_first_and_only_one_of_them() {
        let waits = |own: &str, ours: i64, other: &str, theirs: i64| {
            code(own, Some(&first("me", ours)), &[entry(other, first("them", theirs))], 1002).is_some()
        };
        for (mine, theirs) in [(1000, 1001), (1001, 1000), (1000, 1000)] {
            assert_ne!(waits("a", mine, "b", theirs), waits("b", theirs, "a", mine), "{mine} {theirs}");
        }
        assert!(waits("b", 1001, "a", 1000) && !waits("a", 1000, "b", 1001));
    }
}
