//! The simple story, without any trouble: what it costs.

use std::collections::BTreeMap;

use std::task::{Context, Poll, Waker};

use ps_controller::Rested;
use ps_core::entry::MailState;
use ps_core::error::Class;
use ps_core::ids::Key;
use ps_core::link::State as LinkState;

use crate::operators::{Operators, Work};
use crate::people;
use crate::world::{Shared, World};

/// A delivery whose mail was sent, in a world without faults.
fn mailed(kind: usize) -> (Shared, Operators, Key, crate::world::Mail) {
    let world: Shared = World::empty(1);
    let key = {
        let mut w = world.lock();
        w.faults = false;
        w.deliver(kind)
    };
    let mut operators = Operators::new(&world, false);
    operators.run_all();
    let mail = world.lock().mails[0].clone();
    (world, operators, key, mail)
}

/// Manifest, mail, claim, acknowledgement, rotation, end of the record: calls by port and method.
fn story(kind: usize) -> BTreeMap<(&'static str, &'static str), u32> {
    let (world, mut operators, _, mail) = mailed(kind);
    for verb in ["claim", "acknowledge"] {
        world.lock().now += 60_000;
        people::ask(&mut world.lock(), &mail, verb, 0);
        operators.run_all();
    }
    for _ in 0..2 {
        world.lock().now += 3_600_000;
        operators.run_all();
    }
    crate::check::always(&world);
    crate::check::at_rest(&world);
    assert!(world.lock().store.is_empty(), "the record outlives notAfter");
    world.lock().calls.clone()
}

#[test]
fn a_simple_delivery_costs_no_more_calls_than_needed() {
    for (kind, engine, vault) in [(0, "static role", [1, 2, 1]), (3, "KV 2", [1, 2, 1]), (6, "KV 1", [1, 2, 1])] {
        let calls = story(kind);
        let of = |port, method| calls.get(&(port, method)).copied().unwrap_or_default();
        assert_eq!([of("vault", "read"), of("vault", "observe"), of("vault", "rotate")], vault, "{engine}: {calls:?}");
        assert_eq!(of("vault", "check_rights"), 1, "{engine}");
        let (ledger, store) =
            (of("ledger", "insert") + of("ledger", "replace"), of("store", "insert") + of("store", "replace"));
        assert_eq!((ledger, store, of("store", "delete")), (9, 1, 1), "{engine}: {calls:?}");
    }
}

/// Drives a task until something is so.
fn until(work: &mut Work, so: impl Fn() -> bool) {
    for _ in 0..1000 {
        if so() {
            return;
        }
        let over = work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(!over || so(), "it never came to that");
    }
    panic!("it never came to that");
}

#[test]
fn a_link_that_is_claimed_while_it_is_given_up_counts_as_delivered() {
    let world = World::empty(1);
    let key = {
        let mut w = world.lock();
        w.faults = false;
        w.deliver(0)
    };
    let mut operators = Operators::new(&world, false);
    let mut first = operators.task(0, &key);
    until(&mut first, || !world.lock().mails.is_empty());
    // It dies before it can write down that the mail was accepted.
    drop(first);
    world.lock().now += 61_000;
    let mut second = operators.task(1, &key);
    until(&mut second, || world.lock().replay.iter().any(|line| line.contains("Supersede")));
    let mail = world.lock().mails[0].clone();
    people::ask(&mut world.lock(), &mail, "claim", 0);
    until(&mut second, || world.lock().attempt_of(mail.record).is_some_and(|a| a.link.claimed_at.is_some()));
    drop(second);
    operators.run_all();
    crate::check::always(&world);
    assert_eq!(world.lock().mails.len(), 1, "{}: it is not sent again", ps_core::invariants::Invariant::SentOnce);
}

#[test]
fn an_attempt_that_was_given_up_before_its_mail_is_not_mailed() {
    let world = World::empty(1);
    let key = {
        let mut w = world.lock();
        w.faults = false;
        w.deliver(0)
    };
    let mut operators = Operators::new(&world, false);
    let mut slow = operators.task(0, &key);
    until(&mut slow, || world.lock().replay.iter().any(|line| line.ends_with("op1: store.insert")));
    world.lock().now += 61_000;
    let mut other = operators.task(1, &key);
    let accepted = || {
        let w = world.lock();
        w.mails.iter().any(|m| w.attempt_of(m.record).is_some_and(|a| matches!(a.mail, MailState::Accepted { .. })))
    };
    until(&mut other, accepted);
    while slow.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
    drop(other);
    operators.run_all();
    let from: Vec<_> = world.lock().replay.iter().filter(|line| line.contains(": mail to")).cloned().collect();
    assert!(from.len() == 1 && from[0].contains("op2"), "one link, and it works: {from:?}");
}

#[test]
fn a_dispute_that_comes_as_the_record_goes_is_read_first() {
    let (world, mut operators, key, mail) = mailed(0);
    people::ask(&mut world.lock(), &mail, "claim", 0);
    operators.run_all();
    world.lock().now += 3_000_000;
    operators.run_all();
    world.lock().now += 3_000_000;
    let mut work = operators.task(0, &key);
    until(&mut work, || world.lock().replay.iter().any(|line| line.contains("DeleteRecord")));
    people::ask(&mut world.lock(), &mail, "decline", 0);
    until(&mut work, || world.lock().attempt_of(mail.record).is_some_and(|a| a.link.disputed));
}

/// One delivery of each kind, sent and opened; its rotation is due after a while.
fn opened(kinds: &[usize]) -> (Shared, Operators) {
    let world = World::empty(1);
    {
        let mut w = world.lock();
        w.faults = false;
        for kind in kinds {
            w.deliver(*kind);
        }
    }
    let mut operators = Operators::new(&world, false);
    operators.run_all();
    let mails = world.lock().mails.clone();
    assert_eq!(mails.len(), kinds.len());
    for mail in &mails {
        people::ask(&mut world.lock(), mail, "claim", 0);
    }
    operators.run_all();
    (world, operators)
}

fn rotations(world: &Shared) -> u32 {
    world.lock().calls.get(&("vault", "rotate")).copied().unwrap_or_default()
}

/// Whether each delivered value is proven dead, by kind of delivery.
fn proven(world: &Shared, kinds: &[usize]) -> Vec<bool> {
    let w = world.lock();
    let entry = |kind: &usize| &w.ledger[&Key::new("default", format!("d{kind}"))].0;
    kinds.iter().map(|kind| entry(kind).attempts.iter().all(|a| a.evidence.is_some())).collect()
}

/// What stands in the way of a delivery, as its status tells.
fn told(world: &Shared, kind: usize) -> String {
    let w = world.lock();
    let status = &w.statuses[&Key::new("default", format!("d{kind}"))];
    status.conditions.iter().map(|c| format!("{}={} {}: {}\n", c.r#type, c.status, c.reason, c.message)).collect()
}

#[test]
fn a_connection_that_leads_elsewhere_rotates_nothing_until_it_leads_back() {
    // A static role through the connection that is changed, a KV path through another one.
    let kinds = [0, 3];
    let (world, mut operators) = opened(&kinds);
    let changed = {
        let mut w = world.lock();
        w.moved.insert("vault0".into(), i64::MAX);
        w.now += 3_000_000;
        w.replay.len()
    };
    // The fakes refuse to be observed, and rotated, on the other server.
    operators.run_all();
    assert_eq!((rotations(&world), proven(&world, &kinds)), (1, vec![false, true]), "the other one goes on");
    let failed = |code: &str| {
        let w = world.lock();
        w.replay[changed..].iter().any(|line| line.ends_with(&format!("default/d0 failed: {code}")))
    };
    assert!(failed("connection-changed"));
    let status = told(&world, 0);
    assert!(status.contains("connection vault0 leads to another server"), "{status}");
    {
        let w = world.lock();
        let owed = w.ledger[&Key::new("default", "d0")].0.attempts[0].obligation.clone().unwrap();
        let stalled = owed.stalled.expect("invariant 6: no wait heals it, so a person is told at once");
        assert_eq!(stalled.fault.code, "connection-changed");
    }
    // Tried again all the same, and of no more effect.
    world.lock().now += 3_000_000;
    operators.run_all();
    assert_eq!((rotations(&world), proven(&world, &kinds)), (1, vec![false, true]));

    world.lock().moved.clear();
    world.lock().now += 1_000_000;
    operators.run_all();
    assert_eq!((rotations(&world), proven(&world, &kinds)), (2, vec![true, true]));
    crate::check::always(&world);
    assert!(!told(&world, 0).contains("another server"));
}

#[test]
fn what_is_owed_is_done_while_audit_and_manifests_and_links_fail() {
    for down in [&["audit"][..], &["manifests"], &["store"], &["audit", "manifests", "store"]] {
        let kinds = [0, 3, 6];
        let (world, mut operators) = opened(&kinds);
        let before = world.lock().audit.len();
        {
            let mut w = world.lock();
            for what in down {
                w.down.insert((*what).into(), (i64::MAX, Class::Transient));
            }
            w.now += 3_000_000;
        }
        operators.run_all();
        assert_eq!(proven(&world, &kinds), [true; 3], "invariant 6: {down:?}");
        let waiting = {
            let w = world.lock();
            w.ledger.values().any(|(e, _)| e.outbox.iter().any(|event| !w.audit.contains(event)))
        };
        let silent = down.contains(&"audit");
        assert_eq!(
            (waiting, world.lock().audit.len() == before),
            (silent, silent),
            "{down:?}: events wait, and are kept"
        );
        world.lock().down.clear();
        operators.settle();
        crate::check::always(&world);
        crate::check::at_rest(&world);
    }
}

#[test]
fn a_rotation_of_ours_withdraws_the_open_links_of_the_same_source() {
    // d0 and d1 share a role, and d1 is to be sent again; d3 has another source.
    for (opened, sent) in [("d0", [1, 2, 1]), ("d1", [1, 1, 1])] {
        let world = World::empty(1);
        {
            let mut w = world.lock();
            w.faults = false;
            for kind in [0, 1, 3] {
                w.deliver(kind);
            }
        }
        let mut operators = Operators::new(&world, false);
        operators.run_all();
        let mails = world.lock().mails.clone();
        let first = mails.iter().find(|m| m.key.name == opened).expect("it was mailed");
        people::ask(&mut world.lock(), first, "claim", 0);
        operators.run_all();
        world.lock().now += 1_260_000;
        operators.run_all();
        crate::check::always(&world);
        let w = world.lock();
        for mail in &mails {
            let open = w.store[&mail.record].0.link().is_some_and(|l| l.state == LinkState::Open);
            let dead = w.is_dead(&mail.place, &mail.value);
            assert_eq!((open, dead), if mail.key.name == "d3" { (true, false) } else { (false, true) }, "{}", mail.key);
        }
        let mailed = |name: &str| w.mails.iter().filter(|m| m.key.name == name).count();
        assert_eq!(["d0", "d1", "d3"].map(mailed), sent, "as onSourceRotated says");
    }
}

/// What one operator answers that takes up a delivery.
fn rested(operators: &Operators, key: &Key) -> Rested {
    let mut work = operators.task(0, key);
    for _ in 0..100_000 {
        if let Poll::Ready(rested) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return rested;
        }
    }
    panic!("{key} does not come to rest");
}

#[test]
fn a_status_that_could_not_be_put_is_put_later_though_nothing_else_is_due() {
    let (world, operators, key, mail) = mailed(0);
    for verb in ["claim", "acknowledge"] {
        people::ask(&mut world.lock(), &mail, verb, 0);
    }
    world.lock().now += 3_600_000;
    world.lock().down.insert("status".into(), (i64::MAX, Class::Transient));
    // All is over, and the status says that it was delivered. Each wait is half of what it has lasted for.
    let mut waits = Vec::new();
    for _ in 0..30 {
        let again = rested(&operators, &key).look.expect("it is tried again");
        let mut w = world.lock();
        waits.push(again.as_millis() - w.now);
        w.now = again.as_millis();
    }
    let longest = *waits.iter().max().expect("thirty");
    assert!((750..=1250).contains(&waits[0]) && (45_000..=75_000).contains(&longest), "{waits:?}");
    let shown = |w: &crate::world::State| (w.shown[&key].summary.clone(), w.statuses[&key].summary.clone());
    assert_eq!(shown(&world.lock()), ("Delivered".into(), "Rotated".into()));
    // What a person must mend is not asked for as often.
    world.lock().down.insert("status".into(), (i64::MAX, Class::Denied));
    let again = rested(&operators, &key).look.expect("it is tried again").as_millis();
    assert!(again - world.lock().now >= 22_500, "{again}");
    world.lock().down.clear();
    let at = world.lock().now;
    let after = rested(&operators, &key);
    assert!(after.look.is_none_or(|look| look.as_millis() > at + 75_000), "{after:?}");
    assert_eq!(shown(&world.lock()), ("Rotated".into(), "Rotated".into()));
}

#[test]
fn a_rotation_before_a_delivery_brings_those_whose_value_it_kills() {
    // d0 and d2 share a role, and d2 has it rotated first.
    let world = World::empty(1);
    let [first, second] = {
        let mut w = world.lock();
        w.faults = false;
        [0, 2].map(|kind| w.deliver(kind))
    };
    let operators = Operators::new(&world, false);
    assert_eq!(rested(&operators, &first).also, []);
    assert!(rested(&operators, &second).also.contains(&first), "its open link leads to a dead value");
    assert_eq!((rotations(&world), world.lock().mails.len()), (1, 2));
}

#[test]
fn a_record_that_cannot_be_written_for_good_concerns_its_own_delivery() {
    // d0 can't be put at all; d4's link can't be withdrawn any more; d3 is as any other.
    let (world, stuck) = (World::empty(1), |n: u32| Key::new("default", format!("d{n}")));
    {
        let mut w = world.lock();
        w.faults = false;
        w.deliver(4);
    }
    let mut operators = Operators::new(&world, false);
    operators.run_all();
    {
        let mut w = world.lock();
        assert_eq!(w.mails.len(), 1);
        w.unwritable = [0, 4].map(stuck).into();
        w.deliver(0);
        w.deliver(3);
        let Ok(spec) = &mut w.manifests.get_mut(&stuck(4)).expect("it is there").spec else { panic!("it was read") };
        spec.revoked = true;
    }
    for _ in 0..20 {
        operators.run_all();
        world.lock().now += 60_000;
    }
    {
        let w = world.lock();
        let mailed = |name: &str| w.mails.iter().filter(|m| m.key.name == name).count();
        assert_eq!(["d0", "d3", "d4"].map(mailed), [0, 1, 1], "the store works for everybody else");
        let attempts = w.ledger[&stuck(0)].0.attempt;
        assert_eq!(attempts, 1, "nothing is read and sealed again and again for a record that is refused for good");
        let note = &w.statuses[&stuck(0)].summary;
        assert!(note.contains("Stalled"), "{note}");
    }
    world.lock().unwritable.clear();
    operators.settle();
    let w = world.lock();
    assert_eq!(w.mails.iter().filter(|m| m.key.name == "d0").count(), 1, "tried again, slowly");
    drop(w);
    crate::check::always(&world);
    crate::check::at_rest(&world);
}
