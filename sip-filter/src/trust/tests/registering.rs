//! Rows for replies to REGISTER.

use super::*;
use crate::trust::keeper::TEXT_MAX;

const X: &str = "198.51.100.1";
const Y: &str = "198.51.100.2";
const PHONE: &str = "sip:alice@192.168.1.10:5060";
const DESK: &str = "sip:alice@10.0.0.7:5062";

#[test]
fn an_accepted_registration_lets_in_whom_the_reply_goes_to_until_it_ends() {
    let mut world = World::new();
    assert_eq!(world.accept(x(), &[(PHONE, 60)]), 1);
    world.check(&[(X, 60)]);
    world.pass(60 + GRACE_S - 1);
    world.check(&[(X, 0)]);
    world.pass(1);
    world.check(&[]);
    assert_eq!(world.trust.listing(world.now), []);
}

#[test]
fn only_a_2xx_to_a_register_with_a_contact_that_lives_lets_anybody_in() {
    let check = |change: &dyn Fn(&mut Reply), expected: Option<u64>| {
        let mut world = World::new();
        let contacts = vec![Contact { uri: PHONE.to_owned(), expires: Some(60) }];
        let mut reply = Reply { contacts, ..accepted("alice@pbx.example", 1) };
        change(&mut reply);
        world.reply(x(), &reply);
        let left = world.admitted().first().map(|(_, left)| *left);
        assert_eq!(left, expected, "{reply:?}");
    };
    check(&|_| {}, Some(60));
    for status in [100, 180, 199, 300, 302, 401, 403, 407, 423, 500, 603, 0] {
        check(&|reply| reply.status = status, None);
    }
    check(&|reply| reply.status = 202, Some(60));
    for method in ["INVITE", "OPTIONS", "SUBSCRIBE", "register", ""] {
        check(&|reply| reply.cseq = Some((1, method.to_owned())), None);
    }
    check(&|reply| reply.cseq = None, None);
    check(&|reply| reply.aor = None, None);
    check(&|reply| reply.aor = Some(String::new()), None);
    check(&|reply| reply.aor = Some("a".repeat(TEXT_MAX + 1)), None);
    check(&|reply| reply.call_id = None, Some(60));
    check(&|reply| reply.contacts.clear(), None);
    check(&|reply| reply.contacts[0].uri = "*".to_owned(), None);
    check(&|reply| reply.whole = false, Some(60));
    let lives = |expires: Option<u32>, header: Option<u32>, expected: Option<u64>| {
        check(
            &|reply| {
                reply.contacts[0].expires = expires;
                reply.expires = header;
            },
            expected,
        );
    };
    lives(Some(0), None, None);
    lives(Some(0), Some(60), None);
    lives(Some(1), Some(60), Some(1));
    lives(None, Some(0), None);
    lives(None, Some(30), Some(30));
    lives(None, None, Some(3600));
    lives(Some(86_400), None, Some(86_400));
    lives(Some(86_401), None, Some(86_400));
    lives(Some(u32::MAX), None, Some(86_400));
}

#[test]
fn a_refresh_makes_it_longer_and_a_reply_sent_again_does_nothing() {
    let mut world = World::new();
    world.accept(x(), &[(PHONE, 60)]);
    world.pass(30);
    assert_eq!(world.accept(x(), &[(PHONE, 60)]), 1);
    world.check(&[(X, 60)]);
    world.pass(16);
    let again = accepted("sip:alice@pbx.example", world.transactions);
    let contacts = vec![Contact { uri: PHONE.to_owned(), expires: Some(60) }];
    let again = Reply { contacts, ..again };
    assert_eq!(world.reply(x(), &again), 0);
    world.check(&[(X, 44)]);
    // A phone without memory starts its numbers anew.
    world.pass(16);
    assert_eq!(world.reply(x(), &again), 1);
    world.check(&[(X, 60)]);
}

#[test]
fn what_is_granted_for_longer_than_is_believed_is_no_move_each_time_it_is_listed() {
    let mut world = World::new();
    world.accept(x(), &[(PHONE, 700_000)]);
    world.pass(1_000);
    world.accept(y(), &[(PHONE, 699_000), (DESK, 60)]);
    world.check(&[(X, 85_400), (Y, 60)]);
}

#[test]
fn a_reply_lists_other_devices_whose_contacts_stay_theirs() {
    let mut world = World::new();
    world.accept(x(), &[(PHONE, 3600)]);
    world.pass(100);
    world.accept(y(), &[(PHONE, 3501), (DESK, 600)]);
    world.check(&[(X, 3500), (Y, 600)]);
    world.pass(100);
    world.accept(y(), &[(DESK, 600), (PHONE, 3399)]);
    world.check(&[(X, 3400), (Y, 600)]);
    assert_eq!(world.notices, []);
}

#[test]
fn a_contact_that_is_refreshed_from_elsewhere_has_moved() {
    let mut world = World::new();
    world.accept(x(), &[(PHONE, 60)]);
    world.pass(30);
    world.accept(y(), &[(PHONE, 60)]);
    world.check(&[(Y, 60)]);
    let (old, new) = (x().address, y().address);
    assert_eq!(world.notices, [What::RegistrationMoved { aor: "alice@pbx.example".to_owned(), old, new }]);
}

#[test]
fn a_refresh_for_a_shorter_time_ends_sooner_and_moves_as_well() {
    let mut world = World::new();
    world.accept(x(), &[(PHONE, 3600)]);
    world.pass(30);
    world.accept(x(), &[(PHONE, 60)]);
    world.check(&[(X, 60)]);
    world.accept(x(), &[(PHONE, 3600)]);
    world.pass(30);
    world.accept(y(), &[(PHONE, 60)]);
    world.check(&[(Y, 60)]);
}

#[test]
fn what_moved_with_the_receivers_own_stays_its_owners() {
    // A reply to Y was missed, or the server's clock was set.
    let mut world = World::new();
    world.accept(x(), &[(PHONE, 60)]);
    world.accept(y(), &[(PHONE, 60), (DESK, 60)]);
    world.pass(30);
    world.accept(x(), &[(PHONE, 60), (DESK, 60)]);
    world.check(&[(X, 60), (Y, 60)]);
    assert_eq!(world.notices, []);
}

#[test]
fn of_several_new_contacts_those_that_name_the_receiver_are_its_own() {
    let here = "sip:alice@198.51.100.1:5060;transport=udp";
    let mut world = World::new();
    world.accept(x(), &[(here, 60), (DESK, 3600)]);
    world.check(&[(X, 60)]);
    world.accept(y(), &[(here, 60), (DESK, 3600)]);
    world.check(&[(X, 60), (Y, 3600)]);
    // Nothing that a contact names is ever let in.
    let mut world = World::new();
    world.accept(y(), &[(here, 60)]);
    world.check(&[(Y, 60)]);
}

#[test]
fn a_list_that_shows_nothing_of_the_receivers_takes_it_out() {
    let mut world = World::new();
    world.accept(x(), &[(PHONE, 3600)]);
    world.accept(y(), &[(PHONE, 3600), (DESK, 3600)]);
    world.pass(10);
    assert_eq!(world.accept(y(), &[(PHONE, 3590)]), 1);
    world.check(&[(X, 3590)]);
}

#[test]
fn a_list_without_the_receivers_contact_takes_over_nobody_elses() {
    let mut world = World::new();
    world.accept(x(), &[(PHONE, 3600)]);
    world.accept(y(), &[(PHONE, 3600), (DESK, 3600)]);
    world.pass(10);
    // The reply to X's refresh was missed, and Y leaves.
    world.accept(y(), &[(PHONE, 3595)]);
    world.check(&[(X, 3595)]);
    assert_eq!(world.notices, []);
    // Where its own has ended by itself, it has roamed.
    world.accept(y(), &[(PHONE, 3595), (DESK, 30)]);
    world.pass(35);
    world.accept(y(), &[(PHONE, 3600)]);
    world.check(&[(Y, 3600)]);
}

#[test]
fn an_empty_list_takes_all_devices_out() {
    let mut world = World::new();
    world.accept(x(), &[(PHONE, 3600)]);
    world.accept(y(), &[(PHONE, 3600), (DESK, 3600)]);
    world.pass(10);
    assert_eq!(world.accept(y(), &[]), 2);
    world.check(&[]);
}

#[test]
fn an_empty_list_to_one_who_had_nothing_takes_nobody_out() {
    let mut world = World::new();
    world.accept(x(), &[(PHONE, 3600)]);
    world.pass(10);
    assert_eq!(world.accept(y(), &[]), 0);
    world.check(&[(X, 3590)]);
}

#[test]
fn an_empty_list_of_a_server_that_lists_one_takes_only_the_receiver_out() {
    let mut world = World::new();
    world.accept(x(), &[(PHONE, 3600)]);
    world.accept(y(), &[(DESK, 3600)]);
    world.check(&[(X, 3600), (Y, 3600)]);
    world.pass(10);
    world.accept(y(), &[]);
    world.check(&[(X, 3590)]);
}

#[test]
fn a_device_that_roams_does_not_make_a_server_seem_to_list_all() {
    let third = flow("198.51.100.3:5060");
    let mut world = World::new();
    world.accept(x(), &[(PHONE, 3600)]);
    world.accept(y(), &[(DESK, 3600)]);
    world.pass(10);
    world.accept(third, &[(PHONE, 3600)]);
    world.accept(third, &[]);
    world.check(&[(Y, 3590)]);
}

#[test]
fn what_is_listed_without_a_lifetime_is_gone_alone() {
    let mut world = World::new();
    world.accept(x(), &[(PHONE, 3600)]);
    world.accept(y(), &[(PHONE, 3600), (DESK, 3600)]);
    world.accept(y(), &[(DESK, 0)]);
    world.check(&[(X, 3600)]);
    // One that was not known as it is written: what came from there.
    world.accept(y(), &[(PHONE, 3600), (DESK, 3600)]);
    world.accept(y(), &[("sip:alice@other", 0)]);
    world.check(&[(X, 3600)]);
}

#[test]
fn behind_one_nat_the_port_tells_which_device_left() {
    let other = Flow { port: 40_000, ..x() };
    let mut world = World::new();
    world.accept(y(), &[("sip:alice@third", 10_000)]);
    world.accept(x(), &[(PHONE, 3600)]);
    world.accept(other, &[(DESK, 600)]);
    world.accept(x(), &[]);
    world.check(&[(X, 600), (Y, 10_000)]);
    world.accept(Flow { port: 40_001, ..x() }, &[]);
    world.check(&[(Y, 10_000)]);
}

#[test]
fn two_devices_with_one_contact_are_two() {
    let mut world = World::new();
    world.accept(x(), &[(PHONE, 3600)]);
    world.pass(100);
    world.accept(y(), &[(PHONE, 3500), (PHONE, 3600)]);
    world.check(&[(X, 3500), (Y, 3600)]);
    world.pass(100);
    world.accept(x(), &[(PHONE, 3500), (PHONE, 3600)]);
    world.check(&[(X, 3600), (Y, 3500)]);
    world.accept(x(), &[(PHONE, 0)]);
    world.check(&[(Y, 3500)]);
}

#[test]
fn a_refresh_from_elsewhere_at_once_lets_in_beside_the_owner() {
    let mut world = World::new();
    world.accept(x(), &[(PHONE, 60)]);
    world.pass(1);
    world.accept(y(), &[(PHONE, 60)]);
    world.check(&[(X, 59), (Y, 60)]);
    world.pass(30);
    world.accept(y(), &[(PHONE, 60)]);
    world.check(&[(Y, 60)]);
    world.accept(y(), &[(PHONE, 0)]);
    world.check(&[]);
    // Whoever joined stays so where the next reply is no clearer.
    world.accept(x(), &[(PHONE, 60)]);
    world.accept(y(), &[(PHONE, 60)]);
    world.accept(y(), &[(PHONE, 60)]);
    world.check(&[(X, 60), (Y, 60)]);
    world.pass(30);
    world.accept(y(), &[(PHONE, 60)]);
    // Who only asks for the list, long after the last refresh, is not let in.
    world.pass(30);
    world.accept(x(), &[(PHONE, 30)]);
    world.check(&[(Y, 30)]);
}

#[test]
fn what_may_be_a_refresh_takes_nothing_of_the_receivers_away() {
    let mut world = World::new();
    world.accept(x(), &[(PHONE, 3600)]);
    world.pass(10);
    world.accept(x(), &[(PHONE, 3590), (DESK, 60)]);
    world.pass(1);
    world.accept(x(), &[(DESK, 60)]);
    world.check(&[(X, 3589)]);
    // Later it was none, so that what is not listed has left.
    world.pass(30);
    world.accept(x(), &[(DESK, 29)]);
    world.check(&[(X, 29)]);
}

#[test]
fn a_reply_that_was_cut_off_takes_nothing_away() {
    let mut world = World::new();
    world.accept(x(), &[(PHONE, 3600)]);
    world.pass(10);
    assert_eq!(world.reply(x(), &Reply { whole: false, ..accepted("alice@pbx.example", 99) }), 0);
    world.check(&[(X, 3590)]);
}

#[test]
fn an_address_stays_as_long_as_the_last_who_is_registered_there() {
    let mut world = World::new();
    world.accept_for("sip:bob@pbx.example", x(), &[("sip:bob@192.168.1.11", 100)]);
    world.accept(x(), &[(PHONE, 50)]);
    world.check(&[(X, 100)]);
    world.accept_for("sip:bob@pbx.example", x(), &[]);
    world.check(&[(X, 50)]);
    world.accept(x(), &[]);
    world.check(&[]);
}

#[test]
fn with_trust_in_flows_each_flow_may_signal_and_the_address_is_in_for_media() {
    let mut world = World::new();
    let prove = world.policy.strangers.prove.as_mut().unwrap();
    prove.trust = TrustScope::Flow;
    let effects = world.trust.configure(Settings::of(&world.policy), world.now);
    world.apply(effects);
    let other = Flow { port: 40_000, transport: SipTransport::Tcp, ..x() };
    world.accept(x(), &[(PHONE, 100)]);
    world.accept_for("sip:bob@pbx.example", other, &[("sip:bob@h", 50)]);
    world.check(&[(X, 100)]);
    assert_eq!(world.flows.keys().copied().collect::<Vec<_>>(), [x(), other]);
    // A NAT gives the phone another port.
    world.pass(30);
    let moved = Flow { port: 5061, ..x() };
    world.accept(moved, &[(PHONE, 100)]);
    assert_eq!(world.flows.keys().copied().collect::<Vec<_>>(), [moved, other]);
    world.accept(moved, &[]);
    assert_eq!(world.flows.keys().copied().collect::<Vec<_>>(), [other]);
    world.check(&[(X, 20)]);
    world.pass(20 + GRACE_S);
    world.check(&[]);
    assert_eq!(world.flows, BTreeMap::new());
}

#[test]
fn a_wall_clock_that_jumps_changes_nothing() {
    let mut world = World::new();
    world.accept(x(), &[(PHONE, 60)]);
    for wall in [Duration::ZERO, Duration::from_secs(10_000_000_000)] {
        world.now.wall = SystemTime::UNIX_EPOCH + wall;
        world.pass(1);
    }
    world.check(&[(X, 58)]);
}
