//! The simple story, without any trouble: what it costs.

use std::collections::BTreeMap;

use crate::operators::Operators;
use crate::people;
use crate::world::{Shared, World};

/// Manifest, mail, claim, acknowledgement, rotation, end of the record: calls by port and method.
fn story(kind: usize) -> BTreeMap<(&'static str, &'static str), u32> {
    let world: Shared = World::empty(1);
    {
        let mut w = world.lock();
        w.faults = false;
        w.deliver(kind);
    }
    let mut operators = Operators::new(&world, false);
    operators.run_all();
    let mail = world.lock().mails[0].clone();
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
        assert_eq!((ledger, store, of("store", "delete")), (14, 1, 1), "{engine}: {calls:?}");
    }
}
