//! Whom a registration lets in, and trunks that have to register first.

use sip_filter_common::Reason;

use super::proving::{PROVING, proving};
use super::{ADMIN, DENIED, End, FAMILIES, Family, LISTED, Peer, Row, STRANGER, both, check};
use crate::kernel::packet::{Packet, SYN, TCP, UDP, tcp, udp};
use crate::kernel::request::{request, with_header, with_headers};

fn invites(of: Family, peer: Peer, port: u16) -> Packet {
    udp().between(of, peer, port).payload(request("INVITE"))
}

/// The rows of [`both`] families, each with what is done for its own address.
fn with(rows: Vec<Row>, peer: Peer, make: impl Fn(Row, &str) -> Row) -> Vec<Row> {
    rows.into_iter().zip(FAMILIES).map(|(row, of)| make(row, of(peer))).collect()
}

fn registered(rows: Vec<Row>, peer: Peer, end: End) -> Vec<Row> {
    with(rows, peer, |row, address| row.registered(address, end))
}

fn under(rows: Vec<Row>, policy: &'static str) -> Vec<Row> {
    rows.into_iter().map(|row| row.under(policy)).collect()
}

#[test]
fn a_registered_peer_may_signal_and_send_media_until_it_ends() {
    let mut rows = Vec::new();
    let mut add = |name: &str, packet: fn(Family) -> Packet, end: End, reason: Reason| {
        rows.extend(registered(proving(name, packet, reason), STRANGER, end));
    };
    add("INVITE", |of| invites(of, STRANGER, 5060), End::Ahead, Reason::Registered);
    add(
        "INVITE from another port",
        |of| invites(of, STRANGER, 5060).source_port(7),
        End::Ahead,
        Reason::Registered,
    );
    add(
        "what is not SIP",
        |of| udp().between(of, STRANGER, 5060).payload(vec![1; 30]),
        End::Ahead,
        Reason::Registered,
    );
    add("media", |of| udp().between(of, STRANGER, 10_000), End::Ahead, Reason::Registered);
    add("a segment", |of| tcp().between(of, STRANGER, 5060), End::Ahead, Reason::Registered);
    add(
        "at a listener of another kind",
        |of| tcp().between(of, STRANGER, 8_088),
        End::Ahead,
        Reason::Stranger,
    );
    add("on the wrong VLAN", |of| invites(of, STRANGER, 5070).vlan(11), End::Ahead, Reason::WrongVlan);
    add("on no VLAN", |of| invites(of, STRANGER, 5070), End::Ahead, Reason::WrongVlan);
    add("a first piece", |of| invites(of, STRANGER, 5060).first(3), End::Ahead, Reason::Registered);
    add(
        "a later piece of nothing",
        |of| invites(of, STRANGER, 5060).later(4),
        End::Ahead,
        Reason::Registered,
    );
    add("INVITE afterwards", |of| invites(of, STRANGER, 5060), End::Past, Reason::Stranger);
    add("media afterwards", |of| udp().between(of, STRANGER, 10_000), End::Past, Reason::Stranger);
    add("a later piece afterwards", |of| invites(of, STRANGER, 5060).later(5), End::Past, Reason::Fragment);
    let again = |of| udp().between(of, STRANGER, 5060).payload(request("REGISTER"));
    add("REGISTER afterwards", again, End::Past, Reason::Probation);
    // Somebody else's registration is nobody else's.
    let other = Peer("192.0.2.67", "2001:db8:67::67");
    rows.extend(registered(
        proving("another", |of| invites(of, other, 5060), Reason::Stranger),
        STRANGER,
        End::Ahead,
    ));
    check("the rows of the registered", &rows);
}

#[test]
fn a_registration_holds_where_strangers_are_dropped() {
    let mut rows = both("INVITE", |of| invites(of, STRANGER, 5060), Reason::Registered);
    rows.extend(both("media", |of| udp().between(of, STRANGER, 10_000), Reason::Registered));
    rows.extend(both(
        "at a listener of another kind",
        |of| tcp().between(of, STRANGER, 8_088),
        Reason::Stranger,
    ));
    check("the rows of the registered where strangers are dropped", &registered(rows, STRANGER, End::Ahead));
}

#[test]
fn a_registration_does_not_outweigh_lists_and_bans() {
    let banned = proving("banned", |of| invites(of, STRANGER, 5060), Reason::Banned);
    let mut rows = with(banned, STRANGER, |row, address| row.banned(address, End::Ahead));
    let was_banned = proving("banned once", |of| invites(of, STRANGER, 5060), Reason::Registered);
    rows.extend(with(was_banned, STRANGER, |row, address| row.banned(address, End::Past)));
    let banned =
        proving("banned, a later piece", |of| invites(of, STRANGER, 5060).later(6), Reason::Fragment);
    rows.extend(with(banned, STRANGER, |row, address| row.banned(address, End::Ahead)));
    let mut rows = registered(rows, STRANGER, End::Ahead);
    for (name, peer, reason) in [
        ("denied", DENIED, Reason::Denied),
        ("an administrator", ADMIN, Reason::Admin),
        ("listed", LISTED, Reason::Trunk),
    ] {
        rows.extend(registered(proving(name, |of| invites(of, peer, 5060), reason), peer, End::Ahead));
    }
    check("the rows of the registered on lists", &rows);
}

#[test]
fn a_policy_may_trust_no_more_than_the_flow() {
    let policy: &'static str = PROVING.replace("rate = \"100", "trust = \"flow\"\nrate = \"100").leak();
    let flow = |rows: Vec<Row>, protocol: u8, end: End| {
        let rows = with(rows, STRANGER, |row, address| row.registered_flow(address, 5060, protocol, end));
        registered(under(rows, policy), STRANGER, End::Ahead)
    };
    let mut rows = Vec::new();
    let from_elsewhere = |of| invites(of, STRANGER, 5060).source_port(5062);
    for (name, packet, reason) in [
        ("from there", (|of| invites(of, STRANGER, 5060)) as fn(Family) -> Packet, Reason::Registered),
        ("from another port", from_elsewhere, Reason::Stranger),
        ("REGISTER from another port", |of| from_other(of, "REGISTER"), Reason::Probation),
        ("OPTIONS from another port", |of| from_other(of, "OPTIONS"), Reason::Probation),
        ("SYN from its port", |of| connects(of, STRANGER), Reason::Probation),
        ("media from any port", |of| udp().between(of, STRANGER, 10_000).source_port(7), Reason::Registered),
        ("a first piece", |of| invites(of, STRANGER, 5060).first(3), Reason::Stranger),
    ] {
        rows.extend(flow(both(name, packet, reason), UDP, End::Ahead));
    }
    rows.extend(flow(both("afterwards", |of| invites(of, STRANGER, 5060), Reason::Stranger), UDP, End::Past));
    rows.extend(flow(both("a connection", |of| connects(of, STRANGER), Reason::Registered), TCP, End::Ahead));
    rows.extend(flow(
        both("UDP beside it", |of| invites(of, STRANGER, 5060), Reason::Stranger),
        TCP,
        End::Ahead,
    ));
    // The flow of an address that is not registered, or not any more, says nothing.
    for end in [End::Ahead, End::Past] {
        let alone = both("without its address", |of| invites(of, STRANGER, 5060), Reason::Stranger);
        let alone =
            with(under(alone, policy), STRANGER, |row, address| row.registered_flow(address, 5060, UDP, end));
        rows.extend(registered(alone, STRANGER, End::Past));
    }
    check("the rows of flows", &rows);
}

fn from_other(of: Family, method: &str) -> Packet {
    udp().between(of, STRANGER, 5060).source_port(5062).payload(request(method))
}

fn connects(of: Family, peer: Peer) -> Packet {
    tcp().between(of, peer, 5060).flags(SYN).payload(Vec::new())
}

const REGISTERS: Peer = Peer("192.0.2.82", "2001:db8:82::82");
const ITS_MEDIA: Peer = Peer("192.0.2.98", "2001:db8:98::98");

/// Behind any policy with the listeners of these rows.
const TRUNK: &str = r#"
[[trunk]]
name = "site"
allow = ["192.0.2.80/28", "2001:db8:82::/48", "192.0.2.200", "2001:db8:128::200"]
registrations = ["site@example.org"]
require_registration = true

[[trunk]]
name = "apart"
allow = ["192.0.2.96"]
media = ["192.0.2.98", "2001:db8:98::98"]
registrations = ["apart@example.org"]
require_registration = true
"#;

/// With a limit that strangers reach at once.
fn with_trunk(policy: &str) -> &'static str {
    let policy = policy.replace("rate = \"100000/s\"\nburst = 10000", "rate = \"1/h\"\nburst = 1");
    format!("{policy}{TRUNK}").leak()
}

fn rows_of_trunks(policy: &'static str) -> Vec<Row> {
    let says = |of: Family, payload: Vec<u8>| udp().between(of, REGISTERS, 5060).payload(payload);
    let mut rows = Vec::new();
    let mut add = |name: &str, packet: &dyn Fn(Family) -> Packet, reason: Reason| {
        rows.extend(both(name, packet, reason));
    };
    add("REGISTER", &|of| says(of, request("REGISTER")), Reason::Trunk);
    add("OPTIONS", &|of| says(of, request("OPTIONS")), Reason::NotRegistered);
    add("INVITE", &|of| invites(of, REGISTERS, 5060), Reason::NotRegistered);
    add("not SIP", &|of| says(of, vec![1; 30]), Reason::NotRegistered);
    add("no CSeq", &|of| says(of, with_headers("REGISTER", &[])), Reason::NotRegistered);
    let scanner = |of| says(of, with_header("REGISTER", "User-Agent: sipcli/v1.8"));
    add("REGISTER of what names itself as a scanner", &scanner, Reason::Trunk);
    add("SYN", &|of| connects(of, REGISTERS), Reason::Trunk);
    add("a segment", &|of| connects(of, REGISTERS).flags(0x10), Reason::NotRegistered);
    add("media", &|of| udp().between(of, REGISTERS, 10_000), Reason::NotRegistered);
    add("a first piece", &|of| says(of, request("REGISTER")).first(3), Reason::NotRegistered);
    add("a later piece", &|of| invites(of, REGISTERS, 5060).later(4), Reason::Fragment);
    add("media from its media server", &|of| udp().between(of, ITS_MEDIA, 10_000), Reason::NotRegistered);
    add("INVITE from whom another list lets in", &|of| invites(of, LISTED, 5060), Reason::Trunk);
    let mut often = both("the sixth REGISTER", |of| says(of, request("REGISTER")), Reason::Trunk);
    for _ in 0..5 {
        let again = often.into_iter().zip(FAMILIES);
        often = again.map(|(row, of)| row.after(says(of, request("REGISTER")), Reason::Trunk)).collect();
    }
    rows.extend(often);
    for (name, packet, end, reason) in [
        ("registered, INVITE", invites as fn(Family, Peer, u16) -> Packet, End::Ahead, Reason::Registered),
        (
            "registered, a later piece",
            |of, peer, port| invites(of, peer, port).later(5),
            End::Ahead,
            Reason::Registered,
        ),
        ("no longer registered", invites, End::Past, Reason::NotRegistered),
    ] {
        rows.extend(registered(both(name, |of| packet(of, REGISTERS, 5060), reason), REGISTERS, end));
    }
    let media = both("registered, media", |of| udp().between(of, REGISTERS, 10_000), Reason::Registered);
    rows.extend(registered(media, REGISTERS, End::Ahead));
    under(rows, policy)
}

#[test]
fn a_trunk_that_must_register_may_do_so_as_often_as_it_likes_and_nothing_else() {
    check("the rows of trunks that must register", &rows_of_trunks(with_trunk(PROVING)));
}

#[test]
fn a_trunk_may_have_to_register_where_strangers_are_dropped() {
    let (policy, _) = PROVING.split_once("[strangers]").unwrap();
    check("the rows of trunks that must register among none", &rows_of_trunks(with_trunk(policy)));
}
