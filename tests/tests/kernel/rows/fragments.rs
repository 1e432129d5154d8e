//! Fragments: the first has the ports and is judged, the later ones follow it.

use sip_filter_common::Reason;
use sip_filter_common::maps::FRAGMENT_LIFETIME_NS;

use super::{
    ADMIN, BRANCH, DENIED, End, FAMILIES, Family, HostTables, LISTED, LOCAL, Model, PROVIDER, Packet, Peer,
    RegisteredTrunks, Row, STRANGER, Tables, both, check, judge, parsed, row,
};
use crate::kernel::packet::{
    AUTHENTICATION, DESTINATION_OPTIONS, ESP, HOP_BY_HOP, ICMP, ICMPV6, NO_NEXT_HEADER, ROUTING, TCP, UDP,
    protocol, tcp, udp,
};

const ID: u32 = 0x1234;
const OTHER_ID: u32 = 0x1235;

/// A row for each family: earlier frames with their reasons, and the last with its own.
fn sequence(name: &str, make: impl Fn(Family) -> Vec<(Packet, Reason)>) -> Vec<Row> {
    let rows = FAMILIES.iter().map(|of| {
        let mut frames = make(*of);
        let (last, reason) = frames.pop().unwrap();
        let row = row(format!("{name}, {}", of(Peer("IPv4", "IPv6"))), last, reason);
        frames.into_iter().fold(row, |row, (packet, reason)| row.after(packet, reason))
    });
    rows.collect()
}

#[test]
fn a_first_fragment_is_judged_by_its_ports() {
    let mut rows = Vec::new();
    for (name, peer, port, reason) in [
        ("a stranger's", STRANGER, 5060, Reason::Stranger),
        ("a stranger's to elsewhere", STRANGER, 53, Reason::NotProtected),
        ("a trunk's", PROVIDER, 5060, Reason::Trunk),
        ("a trunk's where it has no rights", PROVIDER, 15000, Reason::Stranger),
        ("a denied peer's", DENIED, 5060, Reason::Denied),
        ("an administrator's", ADMIN, 5060, Reason::Admin),
        ("one on the wrong VLAN", BRANCH, 5070, Reason::WrongVlan),
    ] {
        rows.extend(both(name, |of| udp().between(of, peer, port).first(ID), reason));
    }
    rows.extend(both(
        "a stranger's by TCP",
        |of| tcp().between(of, STRANGER, 5060).first(ID),
        Reason::Stranger,
    ));
    rows.extend(both("a trunk's by TCP", |of| tcp().between(of, PROVIDER, 5060).first(ID), Reason::Trunk));
    check("the rows of first fragments", &rows);
}

#[test]
fn a_later_fragment_alone_is_for_known_peers() {
    let mut rows = Vec::new();
    for (name, peer, reason) in [
        ("a stranger's", STRANGER, Reason::Fragment),
        ("a trunk's", PROVIDER, Reason::Trunk),
        ("a listed peer's", LISTED, Reason::Trunk),
        ("a denied peer's", DENIED, Reason::Fragment),
        ("an administrator's", ADMIN, Reason::Admin),
    ] {
        rows.extend(both(name, |of| udp().between(of, peer, 5060).later(ID), reason));
        rows.extend(both(name, |of| udp().between(of, peer, 5060).fragment(ID, 1, true), reason));
        rows.extend(both(name, |of| tcp().between(of, peer, 5060).later(ID), reason));
    }
    for row in both("a banned trunk's", |of| udp().between(of, PROVIDER, 5060).later(ID), Reason::Fragment) {
        rows.push(row.banned(PROVIDER.0, End::Ahead).banned(PROVIDER.1, End::Ahead));
    }
    for number in [ICMP, ICMPV6, ESP, NO_NEXT_HEADER, 132] {
        let odd = |of| protocol(number).between(of, STRANGER, 0).later(ID);
        rows.extend(both(&format!("protocol {number} is for no listener"), odd, Reason::NotProtected));
    }
    let six = |number: u8| protocol(number).between(FAMILIES[1], STRANGER, 0).later(ID);
    for number in [HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS, AUTHENTICATION, 44, 135, 139, 140] {
        rows.push(row(format!("UDP may follow header {number} in IPv6"), six(number), Reason::Fragment));
    }
    let four = |number: u8| protocol(number).between(FAMILIES[0], STRANGER, 0).later(ID);
    for number in [HOP_BY_HOP, AUTHENTICATION, DESTINATION_OPTIONS] {
        rows.push(row(
            format!("IPv4 protocol {number} is for no listener"),
            four(number),
            Reason::NotProtected,
        ));
    }
    check("the rows of later fragments", &rows);
}

#[test]
fn what_stands_behind_the_end_of_a_first_fragment_is_no_part_of_it() {
    let mut rows = Vec::new();
    let mut add = |name: &str, first: &dyn Fn(Family) -> Packet, reason: Reason, later: Reason| {
        rows.extend(sequence(name, |of| {
            vec![(first(of), reason), (udp().between(of, STRANGER, 53).later(ID), later)]
        }));
    };
    // Eight bytes of a header of UDP, of which so many are the datagram's.
    let ends =
        |len: usize| move |of| udp().between(of, STRANGER, 53).first(ID).payload(Vec::new()).beyond(8 - len);
    add("both ports", &ends(4), Reason::NotProtected, Reason::NotProtected);
    add("half a port", &ends(3), Reason::Malformed, Reason::Fragment);
    add("no port", &ends(0), Reason::Malformed, Reason::Fragment);
    // Headers that the next fragment would bring, and of which these bytes would be others.
    let of = FAMILIES[1];
    let headers = |protocol: Packet, len: usize, beyond: usize| {
        let packet = protocol.between(of, STRANGER, 53).first(ID).extension_of(DESTINATION_OPTIONS, 1);
        packet.extension(DESTINATION_OPTIONS).payload(vec![0; len]).beyond(beyond)
    };
    for (name, packet, reason) in [
        ("all headers", headers(udp(), 0, 4), Reason::NotProtected),
        ("ports in what would be options", headers(udp(), 0, 24), Reason::Malformed),
        ("a protocol without ports", headers(protocol(ICMPV6), 8, 8), Reason::NotProtected),
        (
            "a protocol without ports in what would be options",
            headers(protocol(ICMPV6), 8, 24),
            Reason::Malformed,
        ),
        ("nothing at all", headers(udp(), 0, 200), Reason::Malformed),
    ] {
        let later = if reason == Reason::Malformed { Reason::Fragment } else { reason };
        rows.push(
            row(name.to_owned(), udp().between(of, STRANGER, 53).later(ID), later).after(packet, reason),
        );
    }
    check("the rows of what stands behind a first fragment", &rows);
}

#[test]
fn later_fragments_follow_the_first_of_their_datagram() {
    use Reason::{Fragment, NotProtected, Stranger, Trunk, WrongVlan};
    fn to(of: Family, peer: Peer, port: u16) -> Packet {
        udp().between(of, peer, port)
    }
    let mut rows = Vec::new();
    let mut add = |name: &str, make: fn(Family) -> Vec<(Packet, Reason)>| {
        rows.extend(sequence(name, make));
    };
    add("after one that was let in", |of| {
        vec![(to(of, PROVIDER, 5060).first(ID), Trunk), (to(of, PROVIDER, 5060).later(ID), Trunk)]
    });
    add("after one that was refused", |of| {
        vec![(to(of, STRANGER, 5060).first(ID), Stranger), (to(of, STRANGER, 5060).later(ID), Fragment)]
    });
    add("after one that is not protected", |of| {
        let middle = to(of, STRANGER, 53).fragment(ID, 185, true);
        let first = to(of, STRANGER, 53).first(ID);
        vec![
            (first, NotProtected),
            (middle, NotProtected),
            (to(of, STRANGER, 53).fragment(ID, 370, false), NotProtected),
        ]
    });
    add("a known peer's that was refused", |of| {
        vec![(to(of, PROVIDER, 15000).first(ID), Stranger), (to(of, PROVIDER, 15000).later(ID), Stranger)]
    });
    add("a known peer's on the wrong VLAN", |of| {
        vec![(to(of, LISTED, 5070).first(ID), WrongVlan), (to(of, LISTED, 5070).later(ID), WrongVlan)]
    });
    add("the VLAN of a later fragment does not count", |of| {
        let first = to(of, LISTED, 5070).vlan(10).first(ID);
        vec![(first, Trunk), (to(of, LISTED, 5070).vlan(30).later(ID), Trunk)]
    });
    add("a refused first fragment takes back what one before it was granted", |of| {
        let granted = (to(of, STRANGER, 53).first(ID), NotProtected);
        vec![
            granted,
            (to(of, STRANGER, 5060).first(ID), Stranger),
            (to(of, STRANGER, 53).later(ID), Fragment),
        ]
    });
    add("a granted first fragment takes back a refusal", |of| {
        let refused = (to(of, PROVIDER, 15000).first(ID), Stranger);
        vec![refused, (to(of, PROVIDER, 5060).first(ID), Trunk), (to(of, PROVIDER, 5060).later(ID), Trunk)]
    });
    add("another identification is another datagram", |of| {
        vec![(to(of, STRANGER, 53).first(ID), NotProtected), (to(of, STRANGER, 53).later(OTHER_ID), Fragment)]
    });
    add("another source is another datagram", |of| {
        vec![(to(of, STRANGER, 53).first(ID), NotProtected), (to(of, DENIED, 53).later(ID), Fragment)]
    });
    add("a later fragment before the first has nothing to follow", |of| {
        let early = (to(of, STRANGER, 53).later(ID), Fragment);
        vec![
            early,
            (to(of, STRANGER, 53).first(ID), NotProtected),
            (to(of, STRANGER, 53).later(ID), NotProtected),
        ]
    });
    add("a whole datagram leaves no trace", |of| {
        vec![(to(of, STRANGER, 53), NotProtected), (to(of, STRANGER, 53).later(ID), Fragment)]
    });
    add("a denied peer's follows its datagram to what is not protected", |of| {
        vec![(to(of, DENIED, 53).first(ID), NotProtected), (to(of, DENIED, 53).later(ID), NotProtected)]
    });
    add("by TCP as by UDP", |of| {
        let first = tcp().between(of, STRANGER, 443).first(ID);
        vec![(first, NotProtected), (tcp().between(of, STRANGER, 443).later(ID), NotProtected)]
    });
    check("the rows of fragments that follow", &rows);
}

#[test]
fn what_makes_a_datagram_differs_by_family() {
    let (four, six) = (FAMILIES[0], FAMILIES[1]);
    let elsewhere = |packet: Packet| packet.to("198.51.100.2:53");
    check(
        "the rows of datagrams",
        &[
            row(
                "IPv4's protocol is a part of it",
                tcp().between(four, STRANGER, 53).later(ID),
                Reason::Fragment,
            )
            .after(udp().between(four, STRANGER, 53).first(ID), Reason::NotProtected),
            row(
                "IPv6's next header is not",
                tcp().between(six, STRANGER, 53).later(ID),
                Reason::NotProtected,
            )
            .after(udp().between(six, STRANGER, 53).first(ID), Reason::NotProtected),
            row(
                "IPv6's identification has 32 bits",
                udp().between(six, STRANGER, 53).later(ID),
                Reason::Fragment,
            )
            .after(udp().between(six, STRANGER, 53).first(ID | 0x1_0000), Reason::NotProtected),
            row(
                "the destination is a part of it",
                elsewhere(udp().from(STRANGER.0)).later(ID),
                Reason::Fragment,
            )
            .after(udp().between(four, STRANGER, 53).first(ID), Reason::NotProtected),
            row(
                "options do not hide the ports",
                udp().between(four, STRANGER, 53).options(10).later(ID),
                Reason::NotProtected,
            )
            .after(udp().between(four, STRANGER, 53).options(10).first(ID), Reason::NotProtected),
            row(
                "the reserved bit is no fragment",
                udp().between(four, PROVIDER, 5060).fragment(ID, 0, false),
                Reason::Trunk,
            ),
        ],
    );
}

#[test]
fn a_first_fragment_that_ends_before_its_ports_is_malformed() {
    let ends = |of: Family, peer: Peer, len: usize| {
        let is_six = of(LOCAL).contains(':');
        let before_ports = if is_six { 14 + 40 + 8 } else { 14 + 20 };
        udp().between(of, peer, 5060).first(ID).cut(before_ports + len)
    };
    let mut rows = Vec::new();
    for len in 0..4 {
        rows.extend(both(
            &format!("{len} bytes, a stranger's"),
            |of| ends(of, STRANGER, len),
            Reason::Malformed,
        ));
    }
    rows.extend(both("4 bytes, a stranger's", |of| ends(of, STRANGER, 4), Reason::Stranger));
    rows.extend(both("a trunk's", |of| ends(of, PROVIDER, 0), Reason::Malformed));
    rows.extend(both("an administrator's", |of| ends(of, ADMIN, 0), Reason::Admin));
    rows.extend(sequence("it grants nothing", |of| {
        vec![
            (ends(of, STRANGER, 0), Reason::Malformed),
            (udp().between(of, STRANGER, 5060).later(ID), Reason::Fragment),
        ]
    }));
    let short = |of| protocol(ICMP).between(of, STRANGER, 0).first(ID).payload(Vec::new());
    rows.extend(both("of a protocol without ports", short, Reason::NotProtected));
    check("the rows of tiny fragments", &rows);
}

#[test]
fn an_atomic_fragment_is_a_whole_datagram() {
    let six = FAMILIES[1];
    let atomic = |peer, port| udp().between(six, peer, port).fragment(ID, 0, false);
    check(
        "the rows of atomic fragments",
        &[
            row("a trunk's", atomic(PROVIDER, 5060), Reason::Trunk),
            row("a stranger's", atomic(STRANGER, 5060), Reason::Stranger),
            row("a stranger's to elsewhere", atomic(STRANGER, 53), Reason::NotProtected),
            row("it leaves no trace", udp().between(six, STRANGER, 53).later(ID), Reason::Fragment)
                .after(atomic(STRANGER, 53), Reason::NotProtected),
            row("cut before the ports", atomic(STRANGER, 5060).cut(14 + 40 + 8 + 3), Reason::Truncated),
        ],
    );
}

/// The kernel's clock cannot be set, so this one is for the pipeline and the model only.
#[test]
fn a_decision_is_followed_for_a_minute() {
    let policy = parsed(super::POLICY);
    for of in FAMILIES {
        for (protocol_number, make) in [(UDP, udp as fn() -> Packet), (TCP, tcp)] {
            let mut host = HostTables::new(Tables::compile(&policy, &RegisteredTrunks::default()).unwrap());
            let mut model = Model::new(&policy);
            let mut check = |now_ns: u64, packet: Packet, reason: Reason| {
                host.set_now_ns(now_ns);
                model.now_ns = now_ns;
                let frame = packet.build();
                assert_eq!(
                    judge(&*frame, &host),
                    reason,
                    "protocol {protocol_number} at {now_ns} ns, {packet:?}"
                );
                assert_eq!(
                    model.judge(&frame),
                    reason,
                    "protocol {protocol_number} at {now_ns} ns, {packet:?}"
                );
            };
            check(1_000, make().between(of, STRANGER, 53).first(ID), Reason::NotProtected);
            check(
                1_000 + FRAGMENT_LIFETIME_NS - 1,
                make().between(of, STRANGER, 53).later(ID),
                Reason::NotProtected,
            );
            check(1_000 + FRAGMENT_LIFETIME_NS, make().between(of, STRANGER, 53).later(ID), Reason::Fragment);
        }
    }
}
