//! A simulated world: two operators without a Lease, several deliveries that share sources, late effects, lost replies,
//! crashes, rollbacks and clock jumps at random. The numbered invariants are checked after each step.
//!
//! Every port call is a place where the scheduler may switch to the other operator, lose the reply, or crash. What runs
//! is the real controller; only the ports are simulated. A failing run prints its seed and the last steps;
//! `PS_SIM_SEED=n cargo test -p ps-controller --test sim` runs it again, `PS_SIM_LINES=n` prints more of it, `PS_SIM_RUNS=n` runs more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod check;
mod operators;
mod people;
mod ports;
mod world;

use world::World;

const STEPS: usize = 1500;

fn run(seed: u64) {
    let world = World::new(seed);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut operators = operators::Operators::new(&world);
        for _ in 0..STEPS {
            step(&world, &mut operators);
            check::always(&world);
        }
        operators.settle();
        check::at_rest(&world);
    }));
    if outcome.is_err() {
        let world = world.lock();
        eprintln!("seed {seed}: the last steps were");
        let lines = std::env::var("PS_SIM_LINES").map_or(60, |n| n.parse().expect("PS_SIM_LINES is a number"));
        for line in world.replay.iter().rev().take(lines).rev() {
            eprintln!("  {line}");
        }
        drop(world);
        panic!("seed {seed} broke an invariant; PS_SIM_SEED={seed} runs it again");
    }
}

fn step(world: &world::Shared, operators: &mut operators::Operators) {
    let dice = world.lock().dice(100);
    match dice {
        0..=74 => operators.advance(),
        75..=80 => people::recipient(world),
        81..=84 => people::sender(world),
        85 => people::rotate_elsewhere(world),
        86..=91 => people::time_passes(world),
        92..=93 => world::late_effect(world),
        94..=95 => operators.crash(),
        96..=97 => operators.pause(),
        98 => world::backup(world),
        _ => operators.restore(),
    }
}

#[test]
fn invariants_hold_whatever_happens() {
    if let Ok(seed) = std::env::var("PS_SIM_SEED") {
        run(seed.parse().expect("PS_SIM_SEED is a number"));
        return;
    }
    let runs: u64 = std::env::var("PS_SIM_RUNS").map_or(60, |n| n.parse().expect("PS_SIM_RUNS is a number"));
    for seed in 1..=runs {
        run(seed);
    }
}
