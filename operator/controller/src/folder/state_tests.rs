//! The rules of the folder source, without a folder: sights and times go in.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ps_api::{Limits, documents};
use ps_core::error::Fault;
use ps_core::ids::Key;
use ps_core::time::{Span, Timestamp};

use super::object::{Delivery, Server};
use super::read::{FileSight, Sight, Sighting, file_fault};
use super::state::{ABSENCE, State, Step};

const T0: Timestamp = Timestamp::from_secs(1_000_000);

pub(super) fn yaml(name: &str, recipient: &str, extra: &str) -> String {
    format!(
        "apiVersion: passwordsender.io/v1alpha1\nkind: SecretDelivery\nmetadata: {{name: {name}}}\nspec:\n  recipient: {{email: {recipient}}}\n  \
         source: {{vault: {{connectionRef: {{name: prod}}, database: {{mount: db, staticRole: r}}}}}}\n  rotation: {{afterRetrieval: 1h}}\n{extra}"
    )
}

pub(super) fn connection_yaml(name: &str, port: u16) -> String {
    format!(
        "apiVersion: passwordsender.io/v1alpha1\nkind: VaultConnection\nmetadata: {{name: {name}}}\nspec:\n  address: http://127.0.0.1:{port}\n  \
         auth: {{token: {{secretKeyRef: {{name: vault, key: token}}}}}}\n"
    )
}

fn file(text: &str) -> FileSight {
    match documents(text, &Limits::default()) {
        Ok(documents) => FileSight::Documents(documents.into_iter().map(Sighting::of).collect()),
        Err(fault) => FileSight::Broken(fault),
    }
}

fn sight(files: &[(&str, FileSight)]) -> Sight {
    Sight { files: files.iter().map(|(name, sight)| ((*name).to_owned(), sight.clone())).collect(), ..Sight::default() }
}

fn good(names: &[&str]) -> Sight {
    let files: BTreeMap<String, FileSight> =
        names.iter().map(|n| (format!("{n}.yaml"), file(&yaml(n, "a@b.c", "")))).collect();
    Sight { files, ..Sight::default() }
}

struct World {
    state: State,
    now: Timestamp,
    uids: u32,
}

impl World {
    fn new() -> Self {
        Self { state: State::default(), now: T0, uids: 0 }
    }

    fn see(&mut self, sight: &Sight) -> Step {
        let uids = &mut self.uids;
        let mut step = self
            .state
            .step(sight, self.now, &mut || {
                *uids += 1;
                Ok(uids.to_string())
            })
            .unwrap();
        self.state = std::mem::take(&mut step.next);
        step
    }

    fn later(&mut self, span: Span) -> &mut Self {
        self.now = self.now + span;
        self
    }

    fn get(&self, name: &str) -> &Delivery {
        &self.state.deliveries[&Key::new("default", name)]
    }

    fn deleting(&self) -> Vec<&str> {
        self.state.deliveries.values().filter(|d| d.note.deleting).map(|d| d.note.key.name.as_str()).collect()
    }

    fn release(&mut self, name: &str) {
        assert!(self.get(name).note.deleting);
        self.state.deliveries.remove(&Key::new("default", name));
    }
}

fn changed(step: &Step) -> Vec<&str> {
    step.changed.iter().map(|key| key.name.as_str()).collect()
}

#[test]
fn a_new_object_gets_a_uid_and_counts_its_changes() {
    let mut w = World::new();
    assert_eq!(changed(&w.see(&good(&["a", "b"]))), ["a", "b"]);
    let uid = w.get("a").note.uid.clone();
    assert_eq!((w.get("a").note.generation, uid == w.get("b").note.uid), (1, false));
    assert!(changed(&w.see(&good(&["a", "b"]))).is_empty());
    // A comment, or a default that is written out, asks for nothing new.
    let same = yaml("a", "a@b.c", "  link: {ttl: 4h} # comment\n");
    let step = w.see(&sight(&[("a.yaml", file(&same)), ("b.yaml", file(&yaml("b", "a@b.c", "")))]));
    assert!(changed(&step).is_empty());
    let step = w.see(&sight(&[
        ("a.yaml", file(&yaml("a", "a@b.c", "  revoked: true\n"))),
        ("b.yaml", file(&yaml("b", "a@b.c", ""))),
    ]));
    assert_eq!(changed(&step), ["a"]);
    assert_eq!((w.get("a").note.generation, &w.get("a").note.uid), (2, &uid));
    assert!(w.get("a").spec().unwrap().revoked);
}

#[test]
fn a_file_that_breaks_keeps_its_last_good_spec_and_says_so() {
    let mut w = World::new();
    w.see(&good(&["a", "b"]));
    for (broken, word) in [
        (yaml("a", "nobody", ""), "recipient.email"),
        (yaml("a", "a@b.c", "  ttl: 4h\n"), "spec.link.ttl"),
        ("a: [".to_owned(), "YAML"),
        ("just text".to_owned(), "not a map"),
    ] {
        let step = w.see(&sight(&[("a.yaml", file(&broken)), ("b.yaml", file(&yaml("b", "a@b.c", "")))]));
        assert_eq!(changed(&step), ["a"], "{broken}");
        let a = w.get("a");
        assert_eq!(a.spec().unwrap().recipient.email, "a@b.c");
        assert_eq!((a.note.generation, a.note.deleting, a.absent_since), (1, false, None));
        let fault = a.fault.as_ref().unwrap().to_string();
        assert!(fault.contains(word), "{fault}");
        assert!(w.get("b").fault.is_none());
        // However long it stays broken.
        w.later(Span::from_secs(3600));
    }
    assert_eq!(changed(&w.see(&good(&["a", "b"]))), ["a"]);
    assert!(w.get("a").fault.is_none());
    assert_eq!(w.get("a").note.generation, 1);
}

#[test]
fn a_manifest_that_was_never_good_has_a_fault_for_a_spec() {
    let mut w = World::new();
    w.see(&sight(&[("a.yaml", file(&yaml("a", "nobody", "")))]));
    assert!(w.get("a").spec().unwrap_err().to_string().contains("recipient.email"));
    assert_eq!(w.get("a").note.generation, 1);
    w.see(&sight(&[("a.yaml", file(&yaml("a", "nobody@", "")))]));
    assert_eq!(w.get("a").note.generation, 2, "another text is another generation");
    w.see(&good(&["a"]));
    assert!(w.get("a").spec().is_ok() && w.get("a").fault.is_none());
    assert_eq!(w.get("a").note.generation, 3);
}

#[test]
fn recipient_and_source_change_only_with_redeliver() {
    let mut w = World::new();
    w.see(&good(&["a"]));
    w.see(&sight(&[("a.yaml", file(&yaml("a", "mallory@b.c", "")))]));
    assert_eq!(w.get("a").spec().unwrap().recipient.email, "a@b.c");
    assert_eq!(w.get("a").fault.as_ref().unwrap().field.as_deref(), Some("spec.redeliver"));
    w.see(&sight(&[("a.yaml", file(&yaml("a", "bob@b.c", "  redeliver: \"2\"\n")))]));
    assert_eq!(w.get("a").spec().unwrap().recipient.email, "bob@b.c");
    assert!(w.get("a").fault.is_none());
}

#[test]
fn renaming_a_file_changes_nothing() {
    let mut w = World::new();
    w.see(&good(&["a"]));
    let before = w.get("a").note.clone();
    w.later(Span::from_secs(60)).see(&sight(&[("renamed.yml", file(&yaml("a", "a@b.c", "")))]));
    assert_eq!((&w.get("a").note.uid, w.get("a").note.generation), (&before.uid, 1));
    // Old name gone first, new name seen later: within ten seconds it is no deletion.
    w.see(&sight(&[]));
    w.later(Span::from_secs(9)).see(&good(&["a"]));
    w.later(Span::from_secs(9)).see(&good(&["a"]));
    assert!(w.deleting().is_empty());
}

#[test]
fn of_two_files_with_one_object_the_first_holder_keeps_it() {
    let mut w = World::new();
    let a = || file(&yaml("x", "first@b.c", ""));
    let b = || file(&yaml("x", "second@b.c", ""));
    w.see(&sight(&[("b.yaml", b()), ("a.yaml", a())]));
    assert_eq!(w.get("x").spec().unwrap().recipient.email, "first@b.c");
    assert_eq!(w.state.files.keys().collect::<Vec<_>>(), ["b.yaml"]);
    let mut w = World::new();
    w.see(&sight(&[("b.yaml", b())]));
    w.see(&sight(&[("b.yaml", b()), ("a.yaml", a())]));
    assert_eq!(w.get("x").spec().unwrap().recipient.email, "second@b.c", "a copy does not take over");
    assert!(w.state.files["a.yaml"].to_string().contains("b.yaml holds already"));
    // The holder breaks: still no takeover.
    w.see(&sight(&[("b.yaml", file("[")), ("a.yaml", a())]));
    assert_eq!(w.get("x").spec().unwrap().recipient.email, "second@b.c");
    // Twice in one file.
    let mut w = World::new();
    let twice = format!("{}---\n{}", yaml("x", "first@b.c", ""), yaml("x", "second@b.c", ""));
    w.see(&sight(&[("a.yaml", file(&twice))]));
    assert_eq!(w.get("x").spec().unwrap().recipient.email, "first@b.c");
    assert!(w.state.files.contains_key("a.yaml"));
}

#[test]
fn a_deletion_is_believed_after_ten_seconds() {
    let mut w = World::new();
    w.see(&good(&["a", "b", "c"]));
    let step = w.see(&good(&["a", "b"]));
    assert!(changed(&step).is_empty());
    assert_eq!(step.again, Some(w.now + ABSENCE));
    w.later(Span::from_millis(9_999)).see(&good(&["a", "b"]));
    assert!(w.deleting().is_empty());
    let step = w.later(Span::from_millis(1)).see(&good(&["a", "b"]));
    assert_eq!((w.deleting(), changed(&step)), (vec!["c"], vec!["c"]));
    assert!(w.get("c").spec().is_ok(), "what is to be revoked is still known");
    // Put back before it was let go.
    let uid = w.get("c").note.uid.clone();
    w.see(&good(&["a", "b", "c"]));
    assert!(w.deleting().is_empty() && w.get("c").note.uid == uid);
    // And gone for good: the next one of that name is another object.
    w.see(&good(&["a", "b"]));
    w.later(ABSENCE).see(&good(&["a", "b"]));
    w.release("c");
    w.see(&good(&["a", "b", "c"]));
    assert_ne!(w.get("c").note.uid, uid);
}

#[test]
fn a_document_that_leaves_a_readable_file_is_a_deletion_but_not_one_that_leaves_a_broken_file() {
    let two = format!("{}---\n{}", yaml("a", "a@b.c", ""), yaml("b", "a@b.c", ""));
    let mut w = World::new();
    w.see(&sight(&[("x.yaml", file(&two))]));
    for _ in 0..3 {
        w.later(ABSENCE).see(&sight(&[("x.yaml", file("["))]));
        w.later(ABSENCE).see(&sight(&[("x.yaml", FileSight::Unsettled)]));
    }
    assert!(w.deleting().is_empty());
    for _ in 0..2 {
        w.later(ABSENCE).see(&sight(&[("x.yaml", file(&yaml("a", "a@b.c", "")))]));
    }
    assert_eq!(w.deleting(), ["b"]);
}

#[test]
fn many_deletions_at_once_wait_for_a_confirmation() {
    let names = ["a", "b", "c", "d", "e"];
    let mut w = World::new();
    w.see(&good(&names));
    for _ in 0..10 {
        w.later(ABSENCE).see(&good(&["a", "b"]));
    }
    assert!(w.deleting().is_empty());
    let fault = w.state.folder.clone().unwrap();
    assert_eq!(fault.code, "deletions-held");
    assert!(fault.to_string().contains("3 of 5") && fault.remedy.contains(".confirm-deletions"), "{fault}");
    // Somebody puts two back: what remains is an ordinary deletion.
    w.see(&good(&["a", "b", "c", "d"]));
    assert_eq!(w.deleting(), ["e"]);
    assert!(w.state.folder.is_none());

    let mut w = World::new();
    w.see(&good(&names));
    w.see(&good(&[]));
    let confirmed = Sight { confirmed: true, ..good(&[]) };
    let step = w.later(Span::from_secs(5)).see(&confirmed);
    assert!(w.deleting().is_empty() && !step.confirmation_used, "not before the ten seconds are over");
    let step = w.later(Span::from_secs(5)).see(&confirmed);
    assert!(step.confirmation_used);
    assert_eq!(w.deleting(), names);
    assert!(w.state.folder.is_none());
    // A confirmation that confirms nothing must not lie about.
    let step = World::new().see(&confirmed);
    assert!(step.confirmation_used);
}

#[test]
fn a_blind_look_deletes_nothing_and_starts_the_ten_seconds_anew() {
    let mut w = World::new();
    w.see(&good(&["a", "b", "c"]));
    w.see(&good(&["a", "b"]));
    w.later(Span::from_secs(9));
    w.state = w.state.blinded(file_fault("x", "is away", "mount it"));
    assert!(w.state.blind && w.state.folder.is_some());
    w.later(Span::from_secs(9)).see(&good(&["a", "b"]));
    assert!(w.deleting().is_empty() && !w.state.blind && w.state.folder.is_none());
    w.later(ABSENCE).see(&good(&["a", "b"]));
    assert_eq!(w.deleting(), ["c"]);
}

#[test]
fn what_was_remembered_goes_on_before_its_file_is_seen() {
    let mut w = World::new();
    w.see(&good(&["a"]));
    let note = w.get("a").note.clone();
    let again = Delivery::remembered(note.clone());
    assert_eq!(again.spec().unwrap(), w.get("a").spec().unwrap());
    let mut w2 = World::new();
    w2.state.deliveries.insert(note.key.clone(), std::sync::Arc::new(again));
    assert!(changed(&w2.see(&good(&["a"]))).is_empty());
    assert_eq!(w2.get("a").note, note);
    // Broken while we were away.
    w2.state.deliveries.insert(note.key.clone(), std::sync::Arc::new(Delivery::remembered(note.clone())));
    w2.see(&sight(&[("a.yaml", file(&yaml("a", "nobody", "")))]));
    assert!(w2.get("a").spec().is_ok() && w2.get("a").fault.is_some());
    // Notes of a version that knew other words.
    for junk in [None, Some("[".to_owned()), Some("{}".to_owned()), Some(yaml("a", "nobody", ""))] {
        assert!(Delivery::remembered(super::memory::Note { last_good: junk, ..note.clone() }).spec().is_err());
    }
}

#[test]
fn a_change_of_a_connection_wakes_the_deliveries_that_use_it() {
    let mut w = World::new();
    let with = |connection: FileSight| sight(&[("a.yaml", file(&yaml("a", "a@b.c", ""))), ("v.yaml", connection)]);
    w.see(&with(file(&connection_yaml("other", 1))));
    assert_eq!(changed(&w.see(&with(file(&connection_yaml("prod", 1))))), ["a"]);
    assert!(changed(&w.see(&with(file(&connection_yaml("prod", 1))))).is_empty());
    assert_eq!(changed(&w.see(&with(file(&connection_yaml("prod", 2))))), ["a"]);
    // A bad form keeps the good one.
    assert!(changed(&w.see(&with(file(&connection_yaml("prod", 3).replace("http:", "ftp:"))))).is_empty());
    let known = w.state.connections.values().find(|c| c.fault.is_some()).unwrap();
    let Ok(Server::Own(at)) = &known.server else { panic!("{:?}", known.server) };
    assert_eq!(at.address, "http://127.0.0.1:2");
    // Who cleans up after it is a part of it.
    let cleaned = connection_yaml("prod", 2).replace("  auth:", "  cleanupConnectionRef: {name: c}\n  auth:");
    let cleaner = connection_yaml("c", 2).replace("kind: Vault", "kind: ClusterVault");
    assert_eq!(changed(&w.see(&with(file(&cleaned)))), ["a"]);
    assert_eq!(changed(&w.see(&with(file(&format!("{cleaned}---\n{cleaner}"))))), ["a"]);
    // Of another kind, though of the same name.
    let shared = connection_yaml("prod", 5).replace("kind: Vault", "kind: ClusterVault");
    assert!(changed(&w.see(&with(file(&format!("{cleaned}---\n{cleaner}---\n{shared}"))))).is_empty());
    w.later(ABSENCE).see(&with(file(&cleaned)));
    w.later(ABSENCE).see(&with(file(&cleaned)));
    // Gone: ten seconds later.
    w.see(&good(&["a"]));
    assert_eq!(changed(&w.later(ABSENCE).see(&good(&["a"]))), ["a"]);
    assert!(w.state.connections.is_empty());
}

#[test]
fn a_text_that_was_not_kept_is_asked_for_again() {
    let mut w = World::new();
    let without = |s: FileSight| match s {
        FileSight::Documents(d) => {
            FileSight::Documents(d.iter().map(|d| Sighting { content: None, ..d.clone() }).collect())
        }
        other => other,
    };
    let (a, b) = (file(&yaml("x", "first@b.c", "")), file(&yaml("x", "first@b.c", "  revoked: true\n")));
    w.see(&sight(&[("a.yaml", a), ("b.yaml", b.clone())]));
    let step = w.see(&sight(&[("b.yaml", without(b.clone()))]));
    assert_eq!(step.parse_again.iter().collect::<Vec<_>>(), ["b.yaml"]);
    assert!(step.again.is_some() && !w.get("x").spec().unwrap().revoked);
    w.later(ABSENCE).see(&sight(&[("b.yaml", b.clone())]));
    assert!(w.get("x").spec().unwrap().revoked && w.deleting().is_empty());
    assert!(changed(&w.see(&sight(&[("b.yaml", without(b))]))).is_empty());
}

#[test]
fn a_crowded_folder_deletes_nothing() {
    let mut w = World::new();
    w.see(&good(&["a", "b"]));
    for _ in 0..3 {
        w.later(ABSENCE).see(&Sight { crowded: true, ..good(&["a"]) });
    }
    assert!(w.deleting().is_empty());
    assert_eq!(w.state.folder.as_ref().unwrap().code, "folder-crowded");
}

/// Good, bad, broken, unsettled; parsed once for all cases.
fn forms_of(name: &'static str) -> [FileSight; 4] {
    static PARSED: std::sync::Mutex<BTreeMap<&'static str, [FileSight; 4]>> = std::sync::Mutex::new(BTreeMap::new());
    let make = || [file(&yaml(name, "a@b.c", "")), file(&yaml(name, "nobody", "")), file("["), FileSight::Unsettled];
    PARSED.lock().unwrap().entry(name).or_insert_with(make).clone()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random folders over time: what was present within the last ten seconds, or stands in an unreadable file, is never
    /// deleted; a uid never changes while an object is known; more than half never goes at once without a confirmation.
    #[test]
    fn nothing_present_is_ever_deleted(steps in proptest::collection::vec((proptest::collection::vec(0_u8..5, 6), 0_i64..12, any::<bool>(), any::<bool>()), 1..30)) {
        let names = ["a", "b", "c", "d", "e", "f"];
        let mut w = World::new();
        let mut last_present: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for (forms, gap, blind, confirmed) in steps {
            w.later(Span::from_secs(gap));
            let before: BTreeMap<Key, (String, bool)> = w.state.deliveries.iter().map(|(k, d)| (k.clone(), (d.note.uid.clone(), d.note.deleting))).collect();
            if blind && gap % 3 == 0 {
                w.state = w.state.blinded(file_fault("x", "is away", "mount it"));
                last_present.values_mut().for_each(|at| *at = w.now);
            } else {
                let mut s = Sight { confirmed, ..Sight::default() };
                for (name, form) in names.iter().zip(&forms) {
                    if *form == 0 {
                        continue;
                    }
                    s.files.insert(format!("{name}.yaml"), forms_of(name)[usize::from(*form) - 1].clone());
                    last_present.insert(name, w.now);
                }
                w.see(&s);
            }
            let fresh: Vec<&Key> = w.state.deliveries.iter().filter(|(k, d)| d.note.deleting && before.get(*k).is_some_and(|(_, was)| !was)).map(|(k, _)| k).collect();
            let alive = before.values().filter(|(_, deleting)| !deleting).count();
            if !confirmed {
                prop_assert!(fresh.len() < 3 || fresh.len() * 2 <= alive, "{} of {} went at once", fresh.len(), alive);
            }
            for key in fresh {
                prop_assert!(w.now.since(last_present[key.name.as_str()]) >= ABSENCE);
            }
            for (key, delivery) in &w.state.deliveries {
                if let Some((uid, _)) = before.get(key) {
                    prop_assert_eq!(uid, &delivery.note.uid);
                }
            }
            prop_assert!(before.keys().all(|key| w.state.deliveries.contains_key(key)));
        }
    }

    #[test]
    fn junk_beside_good_files_harms_nothing(junk in proptest::collection::vec("\\PC{0,80}", 1..4)) {
        let mut w = World::new();
        let mut s = good(&["a", "b"]);
        for (i, text) in junk.iter().enumerate() {
            s.files.insert(format!("junk{i}.yaml"), file(text));
        }
        w.see(&s);
        prop_assert!(w.get("a").spec().is_ok() && w.get("b").spec().is_ok());
        prop_assert_eq!(w.state.deliveries.len(), 2);
    }
}

#[test]
fn a_uid_that_can_not_be_made_leaves_everything_as_it_was() {
    let mut w = World::new();
    w.see(&good(&["a"]));
    let fault = || Fault::new(ps_core::error::Class::Transient, "no-randomness", "none");
    assert!(w.state.step(&good(&["a", "b"]), w.now, &mut || Err(fault())).is_err());
    assert_eq!(w.state.deliveries.len(), 1);
}
