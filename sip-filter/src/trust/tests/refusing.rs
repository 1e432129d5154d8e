//! Rows for a kernel that does not take what it is told.

use super::*;

const X: &str = "198.51.100.1";
const Y: &str = "198.51.100.2";

fn with_flows() -> World {
    let mut world = World::new();
    world.policy.strangers.prove.as_mut().unwrap().trust = TrustScope::Flow;
    let effects = world.trust.configure(Settings::of(&world.policy), world.now);
    world.apply(effects);
    world
}

#[test]
fn who_was_refused_is_not_registered_and_is_let_in_when_there_is_room() {
    let mut world = World::new();
    world.room = 1;
    world.accept(x(), &[("sip:1@h", 60)]);
    world.accept_for("bob@h", y(), &[("sip:2@h", 600)]);
    world.check(&[(X, 60)]);
    assert!(world.trust.is_registered(x().address) && !world.trust.is_registered(y().address));
    // Like any stranger, it is challenged and banned.
    let pbx = Witness::Pbx("pbx".to_owned());
    world.report(&pbx, Report::Challenged(y()));
    assert_eq!(world.lanes, [y().address]);
    for _ in 0..3 {
        world.report(&pbx, Report::Failed(y()));
    }
    assert_eq!(world.bans, [y().address]);
    // A refresh of whoever is in needs no room.
    world.pass(30);
    world.accept(x(), &[("sip:1@h", 60)]);
    world.check(&[(X, 60)]);
    world.pass(60 + GRACE_S);
    world.pass(1);
    world.check(&[(Y, 499)]);
    assert!(world.trust.is_registered(y().address));
    // Once there is nothing to be tried again, nothing is.
    assert_eq!(world.trust.tick(world.now), []);
}

#[test]
fn who_was_refused_and_has_left_is_not_tried_again() {
    let mut world = World::new();
    world.room = 0;
    world.accept(x(), &[("sip:1@h", 60)]);
    world.accept(x(), &[]);
    world.room = 1;
    world.pass(1);
    world.check(&[]);
    assert_eq!(world.trust.tick(world.now), []);
}

#[test]
fn whose_refresh_was_refused_is_in_for_as_long_as_before_until_it_is_tried_again() {
    let mut world = World::new();
    world.accept(x(), &[("sip:1@h", 60)]);
    world.pass(30);
    world.deaf = true;
    world.accept(x(), &[("sip:1@h", 60)]);
    world.pass(1);
    world.check(&[(X, 29)]);
    world.deaf = false;
    world.pass(1);
    world.check(&[(X, 58)]);
}

#[test]
fn a_refused_end_is_tried_again_and_whose_it_is_is_a_stranger() {
    for mut world in [World::new(), with_flows()] {
        world.accept(x(), &[("sip:1@h", 600)]);
        world.deaf = true;
        world.accept(x(), &[]);
        world.pass(1);
        assert!(world.addresses.contains_key(&x().address));
        assert!(!world.trust.is_registered(x().address));
        // It comes back and leaves again, and nothing of it is taken.
        world.accept(x(), &[("sip:1@h", 900)]);
        world.accept(x(), &[]);
        world.deaf = false;
        world.pass(1);
        world.check(&[]);
        assert_eq!(world.flows, BTreeMap::new());
        assert_eq!(world.trust.tick(world.now), []);
    }
}

#[test]
fn a_refused_flow_is_tried_again() {
    let mut world = with_flows();
    world.room = 1;
    let other = Flow { port: 40_000, ..x() };
    world.accept(x(), &[("sip:1@h", 60)]);
    world.accept_for("bob@h", other, &[("sip:2@h", 600)]);
    assert_eq!(world.flows.keys().collect::<Vec<_>>(), [&x()]);
    assert_eq!(world.flows, world.trust.kernel.flows().collect());
    world.pass(60 + GRACE_S);
    world.pass(1);
    assert_eq!(world.flows.keys().collect::<Vec<_>>(), [&other]);
    assert_eq!(world.flows, world.trust.kernel.flows().collect());
}

#[test]
fn a_trunk_of_which_the_kernel_was_not_told_is_told_again() {
    let mut world = World::new();
    let at = flow("203.0.113.9:5060");
    world.deaf = true;
    world.accept_for("sip:provider@pbx.example", at, &[("sip:p@h", 60)]);
    world.deaf = false;
    world.pass(1);
    assert_eq!(world.trunks["provider"], [at.address]);
    // Also where it is no trunk any more.
    world.deaf = true;
    world.policy.trunks.clear();
    let effects = world.trust.configure(Settings::of(&world.policy), world.now);
    world.apply(effects);
    world.deaf = false;
    world.pass(1);
    assert_eq!(world.trunks["provider"], Vec::<IpAddr>::new());
    assert_eq!(world.trust.tick(world.now), []);
}
