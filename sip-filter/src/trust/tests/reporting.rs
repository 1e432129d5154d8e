//! Rows for reports of PBXs and of the operator, trunks, limits and restarts.

use super::*;
use crate::{
    sip::Message,
    trust::{keeper::Limits, state::Stored},
};

const X: &str = "198.51.100.1";
const Y: &str = "198.51.100.2";

fn pbx(name: &str) -> Witness {
    Witness::Pbx(name.to_owned())
}

fn binding(aor: &str, contact: &str, flow: Flow, seconds: u64) -> Binding {
    let lifetime = Duration::from_secs(seconds);
    Binding { aor: aor.to_owned(), contact: contact.to_owned(), flow, lifetime }
}

fn registered(aor: &str, contact: &str, flow: Flow, seconds: u64) -> Report {
    Report::Registered(binding(aor, contact, flow, seconds))
}

fn unregistered(aor: &str, contact: Option<&str>, flow: Option<Flow>) -> Report {
    Report::Unregistered { aor: aor.to_owned(), contact: contact.map(str::to_owned), flow }
}

#[test]
fn one_address_of_record_is_listed_alone_in_every_form() {
    let mut world = World::new();
    world.report(&pbx("a"), registered("100", "sip:100@h", x(), 60));
    world.report(&pbx("a"), registered("200", "sip:200@h", y(), 60));
    for aor in ["100", "sip:100@H;transport=tcp"] {
        let listed = world.trust.listing_of(aor, world.now);
        assert_eq!(listed.iter().map(|entry| &*entry.aor).collect::<Vec<_>>(), ["100"], "{aor}");
    }
    assert_eq!(world.trust.listing_of("300", world.now), []);
}

#[test]
fn a_snapshot_replaces_what_the_same_pbx_said_and_nothing_else() {
    let mut world = World::new();
    world.report(&pbx("a"), registered("100", "sip:100@h", x(), 60));
    world.report(&pbx("b"), registered("200", "sip:200@h", y(), 60));
    world.accept(flow("198.51.100.3:5060"), &[("sip:alice@h", 60)]);
    let other = flow("198.51.100.4:5060");
    world.report(
        &pbx("a"),
        Report::Snapshot { bindings: vec![binding("300", "", other, 30)], unplaced: vec![] },
    );
    world.check(&[(Y, 60), ("198.51.100.3", 60), ("198.51.100.4", 30)]);
    let same = vec![binding("300", "", other, 30)];
    assert_eq!(world.report(&pbx("a"), Report::Snapshot { bindings: same, unplaced: vec![] }), 0);
    world.report(&pbx("a"), Report::Snapshot { bindings: vec![], unplaced: vec![] });
    world.check(&[(Y, 60), ("198.51.100.3", 60)]);
}

#[test]
fn what_a_pbx_said_ends_soon_where_the_policy_names_it_no_more() {
    let mut world = World::new();
    world.report(&pbx("a"), registered("100", "", x(), 3_600));
    world.accept(y(), &[("sip:alice@h", 3_600)]);
    let mut settings = Settings::of(&world.policy);
    settings.pbxs.push("a".to_owned());
    let effects = world.trust.configure(settings, world.now);
    world.apply(effects);
    world.check(&[(X, 3_600), (Y, 3_600)]);
    let effects = world.trust.configure(Settings::of(&world.policy), world.now);
    world.apply(effects);
    world.check(&[(X, 120), (Y, 3_600)]);
    // Under its new name it says the same.
    world.report(&pbx("b"), registered("100", "", x(), 3_600));
    world.check(&[(X, 3_600), (Y, 3_600)]);
}

#[test]
fn what_a_pbx_said_stands_until_its_end_where_the_link_is_lost() {
    let mut world = World::new();
    world.report(&pbx("a"), registered("100", "", x(), 60));
    assert_eq!(world.report(&pbx("a"), Report::Lost), 0);
    world.pass(59);
    world.check(&[(X, 1)]);
    world.pass(1 + GRACE_S);
    world.check(&[]);
}

#[test]
fn what_the_wire_and_a_pbx_say_counts_once() {
    let mut world = World::new();
    world.accept(x(), &[("sip:alice@h", 60)]);
    assert_eq!(world.report(&pbx("a"), registered("alice", "sip:alice@h", x(), 60)), 0);
    world.report(&pbx("a"), registered("alice", "sip:alice@h", x(), 90));
    world.check(&[(X, 90)]);
    // Who takes it away takes it away for both.
    world.accept(x(), &[]);
    world.check(&[]);
    world.accept(x(), &[("sip:alice@h", 60)]);
    world.report(&pbx("a"), registered("alice", "sip:alice@h", x(), 60));
    world.report(&pbx("a"), unregistered("alice", Some("sip:alice@h"), None));
    world.check(&[]);
}

#[test]
fn what_left_by_the_wire_left_for_the_pbx() {
    let mut world = World::new();
    world.accept(x(), &[("sip:alice@h", 60)]);
    world.report(&pbx("a"), registered("alice", "sip:alice@h", x(), 90));
    world.pass(30);
    world.accept(y(), &[("sip:alice@h", 60)]);
    world.check(&[(Y, 60)]);
    // Only the PBX knew it before.
    world.report(&pbx("a"), registered("bob", "sip:bob@h", x(), 60));
    world.pass(30);
    world.accept_for("bob@pbx.example", y(), &[("sip:bob@h", 60)]);
    world.check(&[(Y, 60)]);
}

#[test]
fn a_pbx_takes_away_what_fits_and_what_the_wire_showed_of_it() {
    let check = |report: Report, expected: &[(&str, u64)]| {
        let mut world = World::new();
        world.report(&pbx("a"), registered("alice", "sip:1@h", x(), 60));
        world.report(&pbx("a"), registered("alice", "sip:2@h", y(), 60));
        // The PBX writes the contact otherwise.
        world.accept(x(), &[("sip:1@h;ob", 60)]);
        world.report(&Witness::Operator, registered("alice", "", flow("198.51.100.3:0"), 60));
        world.report(&pbx("a"), report.clone());
        world.check(expected);
    };
    let operator = ("198.51.100.3", 60);
    check(unregistered("alice", None, None), &[operator]);
    check(unregistered("sip:alice@pbx.example", None, None), &[operator]);
    check(unregistered("alice", Some("sip:1@h"), None), &[(Y, 60), operator]);
    check(unregistered("alice", None, Some(x())), &[(Y, 60), operator]);
    check(unregistered("alice", Some("sip:2@h"), Some(y())), &[(X, 60), operator]);
    check(unregistered("alice", Some("sip:3@h"), None), &[(X, 60), (Y, 60), operator]);
    check(unregistered("bob", None, None), &[(X, 60), (Y, 60), operator]);
    check(registered("alice", "sip:2@h", y(), 0), &[(X, 60), operator]);
    check(registered("", "sip:2@h", y(), 10), &[(X, 60), (Y, 60), operator]);
}

#[test]
fn the_operator_takes_away_what_anybody_said() {
    let mut world = World::new();
    world.accept(x(), &[("sip:alice@h", 60)]);
    world.report(&pbx("a"), registered("alice", "", y(), 60));
    world.report(&Witness::Operator, registered("alice", "", flow("198.51.100.3:0"), 60));
    world.report(&Witness::Operator, unregistered("alice@pbx.example", None, None));
    world.check(&[]);
}

#[test]
fn a_contact_that_a_pbx_reports_elsewhere_has_moved() {
    let mut world = World::new();
    world.report(&pbx("a"), registered("100", "sip:100@h", x(), 60));
    world.report(&pbx("a"), registered("100", "sip:100@h", y(), 60));
    world.check(&[(Y, 60)]);
    let (old, new) = (x().address, y().address);
    assert_eq!(world.notices, [What::RegistrationMoved { aor: "100".to_owned(), old, new }]);
    let mapped = flow("[::ffff:198.51.100.2]:5060");
    assert_eq!(world.report(&pbx("a"), registered("100", "sip:100@h", mapped, 60)), 0);
    world.report(&pbx("a"), Report::Challenged(mapped));
    assert!(world.lanes.is_empty());
}

#[test]
fn a_challenge_that_only_the_pbx_knows_of_opens_the_lane_of_a_stranger() {
    let mut world = World::new();
    world.accept(x(), &[("sip:alice@h", 60)]);
    world.report(&pbx("a"), Report::Challenged(x()));
    world.report(&pbx("a"), Report::Challenged(y()));
    assert_eq!(world.lanes, [y().address]);
}

#[test]
fn a_trunk_is_where_its_addresses_of_record_are_registered() {
    let mut world = World::new();
    let at = |world: &World, trunk: &str| -> Vec<String> {
        world.trunks.get(trunk).into_iter().flatten().map(IpAddr::to_string).collect()
    };
    world.accept_for("sip:PROVIDER@pbx.example", flow("203.0.113.9:5060"), &[("sip:p@h", 60)]);
    assert_eq!(at(&world, "provider"), ["203.0.113.9"]);
    world.accept_for("sip:provider@other.example", flow("203.0.113.8:5060"), &[("sip:p@h", 60)]);
    assert_eq!(at(&world, "provider"), ["203.0.113.9"], "of another domain");
    world.report(&pbx("a"), registered("provider", "", flow("203.0.113.7:5060"), 60));
    assert_eq!(at(&world, "provider"), ["203.0.113.7", "203.0.113.9"]);
    world.accept_for("sip:anywhere@any.example", x(), &[("sip:p@h", 60)]);
    assert_eq!(at(&world, "anywhere"), [X]);
    let trunks: Vec<_> = world.trust.listing(world.now).into_iter().map(|entry| entry.trunk).collect();
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(trunks, [name("anywhere"), name("provider"), None, name("provider")]);
    world.pass(60 + GRACE_S);
    assert_eq!(at(&world, "provider"), Vec::<String>::new());
}

#[test]
fn a_trunk_is_recognised_however_its_address_of_record_is_written() {
    let wire = |to: &str| {
        let bytes = format!(
            "SIP/2.0 200 OK\r\nTo: {to}\r\nCall-ID: a\r\nCSeq: 1 REGISTER\r\n\
             Contact: <sip:p@h>;expires=60\r\nContent-Length: 0\r\n\r\n"
        );
        Message::parse(bytes.as_bytes()).as_ref().and_then(Reply::of).unwrap()
    };
    let check = |registration: &str, written: &str, expected: bool| {
        let said = |what: &str, act: &dyn Fn(&mut World)| {
            let mut world = World::new();
            world.policy.trunks[1].registrations = vec![registration.to_owned()];
            let effects = world.trust.configure(Settings::of(&world.policy), world.now);
            world.apply(effects);
            act(&mut world);
            let trunk = world.trust.listing(world.now).into_iter().map(|entry| entry.trunk).next();
            let own = expected.then(|| "anywhere".to_owned());
            assert_eq!(trunk, Some(own), "{registration}, which {what} writes {written}");
            let at = world.trunks.get("anywhere").is_some_and(|addresses| *addresses == [x().address]);
            assert_eq!(at, expected, "{registration}, which {what} writes {written}");
        };
        said("the wire", &|world| {
            world.reply(x(), &wire(&format!("<{written}>")));
        });
        said("a PBX", &|world| {
            world.report(&pbx("a"), registered(written, "sip:p@h", x(), 60));
        });
        said("the operator", &|world| {
            world.report(&Witness::Operator, registered(written, "", x(), 60));
        });
    };
    let writings = [
        "sip:+4930@pbx.example",
        "sip:%2B4930@pbx.example",
        "sips:%2b49%330@PBX.example:5061;user=phone",
        "sip:+4930:secret@pbx.example",
        "tel:+4930",
        "tel:+49-30;phone-context=x",
    ];
    for written in writings {
        for registration in ["+4930", "%2B4930", "+4930@pbx.example", "%2b4930@PBX.example:5060"] {
            check(registration, written, true);
        }
        check("4930", written, false);
    }
    check("+4930@other.example", "sip:+4930@pbx.example", false);
    check("a%40b", "sip:A%40B@pbx.example", true);
    check("a@b", "sip:a%40b@b", false);
}

#[test]
fn a_trunk_that_has_addresses_registers_from_none_other() {
    let mut world = World::new();
    let aor = "sip:provider@pbx.example";
    world.accept_for(aor, flow("203.0.113.9:5060"), &[("sip:p@h", 60)]);
    world.pass(30);
    world.accept_for(aor, x(), &[("sip:p@h", 60)]);
    world.check(&[]);
    assert_eq!(world.trunks["provider"], Vec::<IpAddr>::new());
    assert!(matches!(&world.notices[..], [What::RegistrationRefused { .. }]), "{:?}", world.notices);
    world.pass(30);
    world.accept_for(aor, x(), &[("sip:p@h", 60)]);
    assert_eq!(world.notices.len(), 1, "told once a minute");
    world.pass(30);
    world.accept_for(aor, x(), &[("sip:p@h", 60)]);
    assert_eq!(world.notices.len(), 2);
}

#[test]
fn another_policy_keeps_what_is_registered() {
    let mut world = World::new();
    world.accept(x(), &[("sip:alice@h", 60)]);
    world.accept_for("sip:provider@pbx.example", flow("203.0.113.9:5060"), &[("sip:p@h", 60)]);
    world.report(&Witness::Operator, registered("op", "", y(), 60));
    let configure = |world: &mut World, policy: &Policy| {
        let effects = world.trust.configure(Settings::of(policy), world.now);
        world.apply(effects)
    };
    let policy = world.policy.clone();
    assert_eq!(configure(&mut world, &policy), 0);
    let mut off = policy.clone();
    off.strangers.prove = None;
    off.trunks.clear();
    configure(&mut world, &off);
    assert_eq!(world.trunks["provider"], Vec::<IpAddr>::new());
    assert_eq!(world.addresses.keys().collect::<Vec<_>>(), [&y().address]);
    configure(&mut world, &policy);
    world.check(&[(X, 60), (Y, 60), ("203.0.113.9", 60)]);
    let mut narrow = policy.clone();
    narrow.trunks[0].allow.remove(0);
    narrow.trunks[0].allow.push("203.0.113.64/26".parse().unwrap());
    configure(&mut world, &narrow);
    world.check(&[(X, 60), (Y, 60)]);
    assert_eq!(world.trunks["provider"], Vec::<IpAddr>::new());
    let mut kind = policy.clone();
    kind.strangers.prove.as_mut().unwrap().grace = Duration::from_secs(GRACE_S + 5);
    configure(&mut world, &kind);
    world.check(&[(X, 65), (Y, 65), ("203.0.113.9", 65)]);
}

#[test]
fn what_is_full_refuses_and_pushes_nobody_out() {
    let check = |limits: Limits, cause: &str| {
        let mut world = World::new();
        world.trust.limits = limits;
        for number in 0..3 {
            let aor = format!("{number}@pbx.example");
            world.accept_for(&aor, flow(&format!("198.51.100.{number}:1")), &[("sip:a@h", 60)]);
        }
        world.accept_for("7@h", x(), &[("sip:1@h", 60)]);
        world.accept_for("7@h", x(), &[("sip:1@h", 60), ("sip:2@h", 60)]);
        world.accept_for("7@h", x(), &[("sip:1@h", 60), ("sip:2@h", 60), ("sip:3@h", 60)]);
        world.accept_for("8@h", flow("198.51.100.9:1"), &[("sip:1@h", 60)]);
        let told: Vec<&What> = world.notices.iter().collect();
        let refused = |what: &&What| matches!(what, What::RegistrationRefused { cause: told, .. } if told.contains(cause));
        assert_eq!(told.iter().filter(|what| refused(what)).count(), 1, "{told:?}");
        for number in 0..3 {
            assert!(world.addresses.contains_key(&IpAddr::from([198, 51, 100, number])));
        }
        world.pass(30);
        world.accept_for("0@pbx.example", flow("198.51.100.0:1"), &[("sip:a@h", 60)]);
        assert_eq!(world.admitted()[0].1, 60, "a refresh takes no room");
    };
    let wide = Limits { addresses: 100, contacts: 100, per_aor: 100, per_address: 100 };
    check(Limits { addresses: 3, ..wide }, "addresses are registered");
    check(Limits { contacts: 4, ..wide }, "contacts are registered as can be");
    check(Limits { per_aor: 2, ..wide }, "address of record");
    check(Limits { per_address: 3, ..wide }, "at its address");
}

#[test]
fn what_was_stored_comes_back_and_knows_whose_contacts_are_whose() {
    let mut world = World::new();
    world.accept(x(), &[("sip:1@h", 60)]);
    world.accept(y(), &[("sip:1@h", 60), ("sip:2@h", 90)]);
    world.report(&pbx("a"), registered("100", "", flow("[2001:db8::1]:5061"), 60));
    let stored = world.trust.stored(world.now);
    let listing = world.trust.listing(world.now);
    let mut restarted = World::new();
    let effects = restarted.trust.restore(stored, restarted.now);
    restarted.apply(effects);
    assert_eq!(restarted.addresses, world.addresses);
    assert_eq!(restarted.trust.listing(restarted.now), listing);
    restarted.pass(30);
    restarted.accept(y(), &[("sip:1@h", 30), ("sip:2@h", 90)]);
    restarted.check(&[(X, 30), (Y, 90), ("2001:db8::1", 30)]);
}

#[test]
fn what_an_earlier_build_stored_is_read_in_todays_writing() {
    let check = |aor: &str, expected: Option<&str>| {
        let (contact, witness, remaining) = ("sip:1@h".to_owned(), Witness::Wire, Duration::from_secs(60));
        let stored = Stored { aor: aor.to_owned(), contact, flow: x(), witness, remaining };
        let mut world = World::new();
        let effects = world.trust.restore(vec![stored], world.now);
        world.apply(effects);
        let entry = world.trust.listing(world.now).into_iter().next();
        assert_eq!(entry.map(|entry| entry.aor).as_deref(), expected, "{aor}");
        if expected.is_some() {
            world.check(&[(X, 60)]);
        }
    };
    check("alice@pbx.example", Some("alice@pbx.example"));
    check("a%2Fb%40c@x", Some("a/b%40c@x"));
    check("+49-30;phone-context=x@gw", Some("+49-30%3bphone-context=x@gw"));
    check("müller@x", Some("m%c3%bcller@x"));
    check("a@b@c", None);
    check("\u{0}", Some("%00"));
    check("", None);
}
