//! IPv6 extension headers, of each kind, in chains, and so long that the ports lie deep in the frame.

use sip_filter_common::Reason;

use super::{ADMIN, FAMILIES, PROVIDER, Packet, Row, STRANGER, check, row};
use crate::kernel::packet::{
    AUTHENTICATION, DESTINATION_OPTIONS, ESP, FRAGMENT, HOP_BY_HOP, HOST_IDENTITY, MOBILITY, NO_NEXT_HEADER,
    ROUTING, SHIM6, protocol, tcp, udp,
};

const EXTENSIONS: [u8; 7] =
    [HOP_BY_HOP, ROUTING, AUTHENTICATION, DESTINATION_OPTIONS, MOBILITY, HOST_IDENTITY, SHIM6];

/// A stranger's packet, a trunk's, and one to elsewhere, so that every part of the header is seen to be read.
fn read_through(name: &str, change: impl Fn(Packet) -> Packet) -> Vec<Row> {
    let six = FAMILIES[1];
    let mut rows = Vec::new();
    for (packet, transport) in [(udp(), "UDP"), (tcp(), "TCP")] {
        let add = |peer, port, reason| {
            row(format!("{name}, {transport}"), change(packet.clone().between(six, peer, port)), reason)
        };
        rows.push(add(STRANGER, 5060, Reason::Stranger));
        rows.push(add(PROVIDER, 5060, Reason::Trunk));
        rows.push(add(STRANGER, 5059, Reason::NotProtected));
    }
    rows
}

#[test]
fn extension_headers_are_read_over() {
    let mut rows = Vec::new();
    for number in EXTENSIONS {
        rows.extend(read_through(&format!("header {number}"), |packet| packet.extension(number)));
        rows.extend(read_through(&format!("header {number}, longer"), |packet| {
            packet.extension_of(number, 6)
        }));
        rows.extend(read_through(&format!("header {number} on a VLAN"), |packet| {
            packet.vlan(5).extension(number)
        }));
    }
    for length in [0, 1, 2, 3, 4, 5, 255] {
        let authentication = |packet: Packet| packet.extension_of(AUTHENTICATION, length);
        rows.extend(read_through(&format!("AH of length {length}"), authentication));
    }
    rows.extend(read_through("in the order of RFC 8200", |packet| {
        let packet = packet.extension(HOP_BY_HOP).extension(DESTINATION_OPTIONS).extension(ROUTING);
        packet.fragment(9, 0, false).extension(AUTHENTICATION).extension(DESTINATION_OPTIONS)
    }));
    check("the rows of extension headers", &rows);
}

#[test]
fn eight_headers_are_read_and_more_are_malformed() {
    let six = FAMILIES[1];
    let chain = |count: usize| {
        move |packet: Packet| (0..count).fold(packet, |packet, _| packet.extension(DESTINATION_OPTIONS))
    };
    let mut rows = read_through("seven headers", chain(7));
    rows.extend(read_through("eight headers", chain(8)));
    rows.extend(read_through("eight headers, one of them of a fragment", |packet| {
        chain(7)(packet.fragment(9, 0, false))
    }));
    for count in [9, 10, 50] {
        let frame = |peer, port| chain(count)(udp().between(six, peer, port));
        rows.push(row(format!("{count} headers of a stranger"), frame(STRANGER, 5060), Reason::Malformed));
        rows.push(row(format!("{count} headers to any port"), frame(STRANGER, 53), Reason::Malformed));
        rows.push(row(format!("{count} headers of a trunk"), frame(PROVIDER, 5060), Reason::Malformed));
        rows.push(row(format!("{count} headers of an administrator"), frame(ADMIN, 5060), Reason::Admin));
    }
    let fragment = chain(8)(udp().between(six, STRANGER, 5060).first(9));
    rows.push(row("nine headers of a first fragment", fragment, Reason::Malformed));
    rows.push(row(
        "a ninth header of a fragment",
        chain(8)(udp().between(six, PROVIDER, 5060)).first(9),
        Reason::Malformed,
    ));
    let later = chain(7)(udp().between(six, PROVIDER, 5060)).later(9);
    rows.push(row("an eighth header of a later fragment", later, Reason::Trunk));
    check("the rows of chains", &rows);
}

/// The kernel refuses them, whatever the second one says.
#[test]
fn a_fragment_within_a_fragment_is_malformed() {
    let six = FAMILIES[1];
    let mut rows = Vec::new();
    for (outer, more) in [("whole", false), ("first", true)] {
        for (inner, offset, more_within) in
            [("whole", 0, false), ("first", 0, true), ("middle", 185, true), ("last", 185, false)]
        {
            let within = |peer| {
                let packet = udp().between(six, peer, 5060).fragment(9, 0, more);
                packet.extension(DESTINATION_OPTIONS).fragment(10, offset, more_within)
            };
            let mut add = |of: &str, frame, reason| {
                rows.push(row(format!("{inner} within {outer}, {of}"), frame, reason));
            };
            add("a stranger's", within(STRANGER), Reason::Malformed);
            add("a trunk's", within(PROVIDER), Reason::Malformed);
            add("an administrator's", within(ADMIN), Reason::Admin);
            let ends_early = within(STRANGER).extension(ROUTING).cut(14 + 40 + 8 + 8 + 8);
            add("the next header is not there", ends_early, Reason::Malformed);
        }
    }
    check("the rows of fragments within fragments", &rows);
}

#[test]
fn what_hides_the_transport_is_for_no_listener() {
    let six = FAMILIES[1];
    let ports = vec![0x13, 0xc4, 0x13, 0xc4, 0, 0, 0, 0];
    let odd = |number: u8| protocol(number).between(six, STRANGER, 0).payload(ports.clone());
    let mut rows = Vec::new();
    for number in [ESP, NO_NEXT_HEADER, 4, 41, 47, 58, 253, 255] {
        rows.push(row(format!("next header {number}"), odd(number), Reason::NotProtected));
        let behind = odd(number).extension(HOP_BY_HOP).extension(DESTINATION_OPTIONS);
        rows.push(row(format!("next header {number} behind others"), behind, Reason::NotProtected));
    }
    let four = |number: u8| protocol(number).between(FAMILIES[0], STRANGER, 0).payload(ports.clone());
    for number in EXTENSIONS.into_iter().chain([FRAGMENT]) {
        rows.push(row(format!("IPv4 has no header {number}"), four(number), Reason::NotProtected));
    }
    check("the rows of next headers", &rows);
}

#[test]
fn headers_that_end_behind_the_frame_are_truncated() {
    let six = FAMILIES[1];
    let mut rows = Vec::new();
    for number in EXTENSIONS {
        let frame = udp().between(six, STRANGER, 5060).extension_of(number, 200);
        rows.push(row(format!("header {number}"), frame.clone().cut(14 + 40 + 100), Reason::Truncated));
        rows.push(row(
            format!("header {number}, of which nothing is there"),
            frame.clone().cut(14 + 40),
            Reason::Truncated,
        ));
        let first =
            udp().between(six, STRANGER, 5060).first(9).extension_of(number, 200).cut(14 + 40 + 8 + 100);
        rows.push(row(format!("header {number} of a first fragment"), first, Reason::Malformed));
    }
    let fragment = udp().between(six, STRANGER, 5060).first(9);
    for len in 0..8 {
        let cut = fragment.clone().cut(14 + 40 + len);
        rows.push(row(format!("{len} bytes of a fragment header"), cut, Reason::Truncated));
    }
    check("the rows of headers cut short", &rows);
}

/// A driver gives the program a long frame in pieces; the ports may lie in any, or in two.
#[test]
fn ports_are_found_at_any_depth() {
    let mut rows = Vec::new();
    for (units, rest) in [
        (100, 0),
        (255, 170),
        (255, 173),
        (255, 174),
        (255, 175),
        (255, 176),
        (255, 177),
        (255, 178),
        (255, 255),
    ] {
        for tags in 0..=2 {
            let name = format!("{units} and {rest} units of options, {tags} tags");
            rows.extend(read_through(&name, |packet| {
                let packet = (0..tags).fold(packet, |packet, _| packet.vlan(10));
                packet.extension_of(DESTINATION_OPTIONS, units).extension_of(DESTINATION_OPTIONS, rest)
            }));
        }
    }
    let long = |packet: Packet| packet.payload(vec![b' '; 8_900]);
    rows.extend(read_through("a jumbo frame", long));
    check("the rows of long frames", &rows);
}
