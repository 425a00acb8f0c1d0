//! `decline`.

use ps_core::link::State;

use crate::support::{T, TTL, Wanted, World, run};

#[test]
fn declines_once_it_is_sure() {
    let world = World::new();
    let sent = world.put(&Wanted::default());
    world.run(&["decline"]).exits(2).says("--yes");
    std::fs::write(world.path("code"), "00000000").unwrap();
    world.run(&["decline", "--yes"]).exits(4).says("wrong opening code");
    assert_eq!(world.state(&sent), State::Open);
    world.set_time(T + ps_core::time::Span::from_secs(5));
    std::fs::write(world.path("code"), &sent.code).unwrap();
    world.run(&["decline", "--yes"]).exits(0).says("Declined");
    assert_eq!(world.state(&sent), State::Declined);
    world.run(&["decline", "--yes"]).exits(0);
    world.run(&["open"]).exits(3).says("declined");
}

#[test]
fn a_link_with_a_passphrase_is_declined_by_its_code() {
    let world = World::new();
    let sent = world.put(&Wanted { passphrase: true, ..Wanted::default() });
    let link = world.path("link");
    let args = ["decline", "--yes", "--no-input", "--link-file", link.to_str().unwrap()];
    run(world.command(&args)).exits(4);
    world.set_time(T + ps_core::time::Span::from_secs(5));
    world.run(&["decline", "--yes"]).exits(0);
    assert_eq!(world.state(&sent), State::Declined);
}

#[test]
fn somebody_elses_retrieval_can_be_disputed_and_an_end_cannot() {
    let world = World::new();
    let sent = world.put(&Wanted::default());
    world.run(&["open", "--acknowledge"]).exits(0);
    world.run(&["decline", "--yes"]).exits(0).says("not you who opened it");
    assert_eq!(world.state(&sent), State::Retrieved);
    world.put(&Wanted::default());
    world.set_time(T + TTL);
    world.run(&["decline", "--yes"]).exits(3).says("expired");
}
