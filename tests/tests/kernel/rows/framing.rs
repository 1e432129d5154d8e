//! What stands before the transport header in Ethernet and IPv4: tags, EtherTypes, options, odd fields.

use sip_filter_common::Reason;

use super::{FAMILIES, PROVIDER, Packet, Peer, Row, STRANGER, both, check, row};
use crate::kernel::packet::{IPV4, IPV6, SERVICE_VLAN, VLAN, tcp, udp};

/// A frame of a stranger and one of a trunk for each family, so that a packet misread is told from one let through.
fn stranger_and_trunk(name: &str, change: impl Fn(Packet) -> Packet) -> Vec<Row> {
    let frame = |of, peer| change(udp().between(of, peer, 5060));
    let mut rows = both(&format!("{name}: a stranger"), |of| frame(of, STRANGER), Reason::Stranger);
    rows.extend(both(&format!("{name}: a trunk"), |of| frame(of, PROVIDER), Reason::Trunk));
    rows
}

#[test]
fn tags_are_read_over() {
    let mut rows = stranger_and_trunk("untagged", |packet| packet);
    rows.extend(stranger_and_trunk("802.1Q", |packet| packet.vlan(10)));
    rows.extend(stranger_and_trunk("802.1ad alone", |packet| packet.service_vlan(10)));
    rows.extend(stranger_and_trunk("802.1ad and 802.1Q", |packet| packet.service_vlan(100).vlan(10)));
    rows.extend(stranger_and_trunk("802.1Q twice", |packet| packet.vlan(100).vlan(10)));
    rows.extend(stranger_and_trunk("802.1Q and 802.1ad", |packet| packet.vlan(100).service_vlan(10)));
    rows.extend(stranger_and_trunk("a priority tag", |packet| packet.tag(VLAN, 0xe000)));
    rows.extend(stranger_and_trunk("a priority tag of 802.1ad", |packet| packet.tag(SERVICE_VLAN, 0)));
    rows.extend(stranger_and_trunk("a priority tag and a VLAN", |packet| packet.vlan(0).vlan(10)));
    rows.extend(stranger_and_trunk("two VLANs and two priority tags", |packet| {
        packet.vlan(0).vlan(9).vlan(0).vlan(10)
    }));
    rows.extend(stranger_and_trunk("four priority tags", |packet| packet.vlan(0).vlan(0).vlan(0).vlan(0)));
    let many =
        |count: u16, id: u16| move |of| (0..count).fold(udp().between(of, STRANGER, 5060), |p, _| p.vlan(id));
    rows.extend(both("three VLANs", many(3, 10), Reason::Stranger));
    rows.extend(both("five VLANs", many(5, 10), Reason::Malformed));
    rows.extend(both("five priority tags", many(5, 0), Reason::Malformed));
    rows.extend(both("twenty priority tags", many(20, 0), Reason::Malformed));
    let cut = |of| (0..3).fold(udp().between(of, STRANGER, 5060), |p, _| p.vlan(10)).vlan(0).cut(29);
    rows.extend(both("three VLANs, cut in the fourth tag", cut, Reason::Truncated));
    check("the rows of tags", &rows);
}

#[test]
fn what_is_not_ip_passes() {
    let mut rows = Vec::new();
    for (name, kind) in [
        ("ARP", 0x0806),
        ("a tag of before 802.1ad", 0x9100),
        ("another of them", 0x9200),
        ("PPPoE", 0x8864),
        ("MPLS", 0x8847),
        ("LLDP", 0x88cc),
        ("802.1ah", 0x88e7),
        ("an LLC length", 60),
        ("the longest LLC length", 1500),
        ("no EtherType", 0),
        ("the EtherType's bytes exchanged", 0x0008),
    ] {
        rows.extend(both(name, |of| udp().between(of, STRANGER, 5060).ethertype(kind), Reason::NotIp));
        rows.extend(both(
            &format!("{name} on a VLAN"),
            |of| udp().between(of, STRANGER, 5060).vlan(10).ethertype(kind),
            Reason::NotIp,
        ));
    }
    check("the rows of EtherTypes", &rows);
}

#[test]
fn a_version_that_the_ethertype_does_not_name_is_no_ip() {
    let mut rows = Vec::new();
    for version in 0..16 {
        for (of, right) in FAMILIES.into_iter().zip([4, 6]) {
            let reason = if version == right { Reason::Stranger } else { Reason::NotIp };
            let name = format!("version {version} for {right}");
            rows.push(row(name, udp().between(of, STRANGER, 5060).version(version), reason));
        }
    }
    let [four, six] = FAMILIES;
    rows.push(row("IPv4 named IPv6", udp().between(four, STRANGER, 5060).ethertype(IPV6), Reason::NotIp));
    rows.push(row("IPv6 named IPv4", udp().between(six, STRANGER, 5060).ethertype(IPV4), Reason::NotIp));
    check("the rows of versions", &rows);
}

#[test]
fn ipv4_options_are_read_over() {
    let four = FAMILIES[0];
    let mut rows = Vec::new();
    for words in 0..=10 {
        for (packet, name) in [(udp(), "UDP"), (tcp(), "TCP")] {
            let name = format!("{words} words of options, {name}");
            rows.push(row(
                &name,
                packet.clone().between(four, STRANGER, 5060).options(words),
                Reason::Stranger,
            ));
            rows.push(row(&name, packet.clone().between(four, PROVIDER, 5060).options(words), Reason::Trunk));
            rows.push(row(&name, packet.between(four, STRANGER, 5059).options(words), Reason::NotProtected));
        }
    }
    for words in 0..5 {
        let short = udp().between(four, PROVIDER, 5060).header_words(words);
        rows.push(row(format!("a header of {words} words is none"), short, Reason::NotIp));
    }
    let behind = udp().between(four, STRANGER, 5060).header_words(15).payload(Vec::new());
    rows.push(row("a header that ends behind the frame", behind, Reason::Truncated));
    check("the rows of IPv4 options", &rows);
}

#[test]
fn the_type_of_service_and_the_reserved_flag_do_not_matter() {
    let four = FAMILIES[0];
    let changed = |peer: Peer, at: usize, value: u8, reason: Reason| {
        let mut row = row(format!("byte {at} is {value}"), udp().between(four, peer, 5060), reason);
        row.frame[at] = value;
        row
    };
    check(
        "the rows of IPv4 fields",
        &[
            changed(STRANGER, 15, 0xff, Reason::Stranger),
            changed(PROVIDER, 15, 0xb8, Reason::Trunk),
            changed(PROVIDER, 20, 0x40, Reason::Trunk),
            changed(PROVIDER, 20, 0x80, Reason::Trunk),
            changed(STRANGER, 20, 0xc0, Reason::Stranger),
            changed(STRANGER, 22, 0, Reason::Stranger),
            changed(STRANGER, 0, 0xff, Reason::Stranger),
        ],
    );
}
