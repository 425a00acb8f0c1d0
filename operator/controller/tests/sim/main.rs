//! A simulated world: two operators without a Lease, several deliveries that share sources, late effects, lost replies,
//! crashes, rollbacks and clock jumps at random. The numbered invariants are checked after each step.
//!
//! Every port call is a place where the scheduler may switch to the other operator, lose the reply, or crash. What runs
//! is the real controller; only the ports are simulated. A failing run prints its seed and the last steps;
//! `PS_SIM_SEED=n cargo test -p ps-controller --test sim` runs it again, `PS_SIM_LINES=n` prints more of it, `PS_SIM_RUNS=n` runs more,
//! `PS_SIM_FIRST=n` starts at another seed.
#![allow(unreachable_pub, reason = "a test's modules have no outside")]
#![allow(clippy::print_stderr, reason = "the replay of a failing run")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod check;
mod codes;
mod gateway;
mod kept;
mod operators;
mod people;
mod ports;
mod story;
mod world;
mod written;

use world::World;

const STEPS: usize = 1700;

fn run(seed: u64) -> world::Shared {
    let world = World::new(seed);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut operators = operators::Operators::new(&world, seed.is_multiple_of(3));
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
    world
}

fn step(world: &world::Shared, operators: &mut operators::Operators) {
    let dice = world.lock().dice(100);
    match dice {
        0..=63 => operators.advance(),
        64..=71 => codes::somebody(world),
        72..=78 => people::recipient(world),
        79..=82 => people::sender(world),
        83 => people::rotate_elsewhere(world),
        84..=89 => people::time_passes(world),
        90..=91 => world::late_effect(world),
        92..=93 => operators.crash(),
        94 => operators.pause(),
        95 => seldom(world, operators),
        96 => gateway::taken_over(world),
        97 => people::something_breaks(world),
        98 => world::backup(world),
        _ => operators.restore(),
    }
    operators.spring();
}

fn seldom(world: &world::Shared, operators: &mut operators::Operators) {
    let dice = world.lock().dice(3);
    match dice {
        0 => operators.stop(),
        1 => operators.clock_jumps(),
        _ => {}
    }
}

#[test]
fn invariants_hold_whatever_happens() {
    if let Ok(seed) = std::env::var("PS_SIM_SEED") {
        run(seed.parse().expect("PS_SIM_SEED is a number"));
        return;
    }
    let runs: u64 = std::env::var("PS_SIM_RUNS").map_or(60, |n| n.parse().expect("PS_SIM_RUNS is a number"));
    let first: u64 = std::env::var("PS_SIM_FIRST").map_or(1, |n| n.parse().expect("PS_SIM_FIRST is a number"));
    for seed in first..first + runs {
        run(seed);
    }
}
