//! Which packets are for a listener: ports, transports, local addresses, VLANs, and the mode.

use sip_filter_common::Reason;

use super::{
    ADMIN, BRANCH, DENIED, End, LISTED, PROVIDER, Peer, REFUSED_BY_PROVIDER, Row, STRANGER, both, check, row,
};
use crate::kernel::packet::{ESP, ICMP, ICMPV6, protocol, tcp, udp};

#[test]
fn a_listener_has_its_ports_and_its_transport() {
    let mut rows = Vec::new();
    for (port, reason) in [
        (0, Reason::NotProtected),
        (1, Reason::NotProtected),
        (5059, Reason::NotProtected),
        (5060, Reason::Stranger),
        (5061, Reason::NotProtected),
        (9999, Reason::NotProtected),
        (10000, Reason::Stranger),
        (20000, Reason::Stranger),
        (20001, Reason::NotProtected),
        (8088, Reason::NotProtected),
        (0x1388, Reason::NotProtected),
        (65535, Reason::NotProtected),
    ] {
        rows.extend(both(&format!("UDP port {port}"), |of| udp().between(of, STRANGER, port), reason));
    }
    for (port, reason) in [
        (5060, Reason::Stranger),
        (10000, Reason::NotProtected),
        (8087, Reason::NotProtected),
        (8088, Reason::Stranger),
        (8089, Reason::NotProtected),
        (8442, Reason::NotProtected),
        (8443, Reason::Stranger),
        (8444, Reason::Stranger),
        (8445, Reason::NotProtected),
    ] {
        rows.extend(both(&format!("TCP port {port}"), |of| tcp().between(of, STRANGER, port), reason));
    }
    let to_elsewhere = |of| udp().between(of, STRANGER, 80).source_port(5060);
    rows.extend(both("from a listener's port to another", to_elsewhere, Reason::NotProtected));
    for number in [ICMP, ICMPV6, ESP, 2, 47, 132, 136, 255] {
        // The bytes where ports would be are those of a listener.
        let odd = |of| protocol(number).between(of, STRANGER, 5060).payload(vec![0x13, 0xc4, 0x13, 0xc4]);
        rows.extend(both(&format!("protocol {number} has no ports"), odd, Reason::NotProtected));
    }
    check("the rows of ports", &rows);
}

const EVERY_PORT: &str = r#"
mode = "enforce"

[[listener]]
name = "all"
kind = "media"
transport = "udp"
ports = ["1-65535"]
"#;

#[test]
fn a_listener_may_have_every_port() {
    let stranger = |port, reason| {
        let rows = both(&format!("port {port}"), |of| udp().between(of, STRANGER, port), reason);
        rows.into_iter().map(|row| row.under(EVERY_PORT))
    };
    let rows = [
        (0, Reason::NotProtected),
        (1, Reason::Stranger),
        (32768, Reason::Stranger),
        (65535, Reason::Stranger),
    ];
    check(
        "the rows of every port",
        &rows.into_iter().flat_map(|(port, reason)| stranger(port, reason)).collect::<Vec<_>>(),
    );
}

const TIED: &str = r#"
mode = "enforce"

[[listener]]
name = "one"
kind = "signalling"
transport = "udp"
ports = ["5060"]
addresses = ["198.51.100.1", "2001:db8:5060::1"]

[[listener]]
name = "two"
kind = "signalling"
transport = "udp"
ports = ["5060"]
addresses = ["198.51.100.2", "2001:db8:5060::2"]

[[listener]]
name = "anywhere"
kind = "signalling"
transport = "udp"
ports = ["5070"]

[deny]
sources = ["203.0.113.166", "2001:db8:67::66"]

[[trunk]]
name = "first"
allow = ["192.0.2.0/28", "2001:db8:0:1::/64"]
deny = ["192.0.2.15", "2001:db8:0:1::15"]
listeners = ["one"]

[[trunk]]
name = "second"
allow = ["192.0.2.0/27", "2001:db8::/62"]
listeners = ["two"]
"#;

#[test]
fn listeners_may_share_a_port_at_different_addresses() {
    let first = Peer("192.0.2.9", "2001:db8:0:1::9");
    let refused = Peer("192.0.2.15", "2001:db8:0:1::15");
    let second = Peer("192.0.2.20", "2001:db8::20");
    let denied = Peer("203.0.113.166", "2001:db8:67::66");
    let banned = Peer("203.0.113.177", "2001:db8:67::77");
    let mut rows = Vec::new();
    let mut add = |name: &str, peer: Peer, to: Peer, port: u16, reason: Reason| {
        for (source, destination) in
            [(peer.0, format!("{}:{port}", to.0)), (peer.1, format!("[{}]:{port}", to.1))]
        {
            let row = row(name, udp().from(source).to(&destination), reason).under(TIED);
            rows.push(row.banned(banned.0, End::Ahead).banned(banned.1, End::Ahead));
        }
    };
    let one = Peer("198.51.100.1", "2001:db8:5060::1");
    let two = Peer("198.51.100.2", "2001:db8:5060::2");
    let three = Peer("198.51.100.3", "2001:db8:5060::3");
    add("the first trunk at the first listener", first, one, 5060, Reason::Trunk);
    add("the first trunk at the second listener", first, two, 5060, Reason::Trunk);
    add("the second trunk at the first listener", second, one, 5060, Reason::Stranger);
    add("the second trunk at the second listener", second, two, 5060, Reason::Trunk);
    add("refused at the first listener", refused, one, 5060, Reason::Denied);
    add("not refused at the second", refused, two, 5060, Reason::Trunk);
    add("at an address without a listener there", first, three, 5060, Reason::NotProtected);
    add("a stranger there", STRANGER, three, 5060, Reason::NotProtected);
    for (peer, reason) in [(denied, Reason::Denied), (banned, Reason::Banned)] {
        add("who is kept out, there", peer, three, 5060, Reason::NotProtected);
        add("who is kept out, at a listener's address", peer, two, 5060, reason);
        add("who is kept out, at a listener without addresses", peer, three, 5070, reason);
    }
    add("a listener without addresses is at every one", STRANGER, three, 5070, Reason::Stranger);
    add("and at those of others", STRANGER, one, 5070, Reason::Stranger);
    add("a trunk does not reach it by way of another's address", first, one, 5070, Reason::Stranger);
    check("the rows of local addresses", &rows);
}

const BY_VLAN: &str = r#"
mode = "enforce"

[[listener]]
name = "ten"
kind = "signalling"
transport = "udp"
ports = ["5060"]
vlans = [10, 4094]

[[listener]]
name = "twenty"
kind = "signalling"
transport = "udp"
ports = ["5060"]
vlans = [20]

[[trunk]]
name = "first"
allow = ["192.0.2.0/28", "2001:db8:16::/48"]
listeners = ["ten"]
"#;

#[test]
fn listeners_may_share_a_port_on_different_vlans() {
    let first = Peer("192.0.2.9", "2001:db8:16::9");
    let mut rows = Vec::new();
    for (vlan, reason) in [
        (0, Reason::WrongVlan),
        (1, Reason::WrongVlan),
        (10, Reason::Trunk),
        (20, Reason::Stranger),
        (30, Reason::WrongVlan),
        (4094, Reason::Trunk),
        (4095, Reason::WrongVlan),
    ] {
        let tagged = both(&format!("VLAN {vlan}"), |of| udp().between(of, first, 5060).vlan(vlan), reason);
        rows.extend(tagged.into_iter().map(|row| row.under(BY_VLAN)));
    }
    let untagged = both("untagged", |of| udp().between(of, first, 5060), Reason::WrongVlan);
    rows.extend(untagged.into_iter().map(|row| row.under(BY_VLAN)));
    check("the rows of VLANs", &rows);
}

#[test]
fn a_listener_tied_to_vlans_is_reached_on_them_only() {
    let mut rows = Vec::new();
    let mut add = |name: &str, peer: Peer, tags: &[u16], reason: Reason| {
        rows.extend(both(
            &format!("{name} with tags {tags:?}"),
            |of| tags.iter().fold(udp().between(of, peer, 5070), |packet, id| packet.vlan(*id)),
            reason,
        ));
    };
    add("a trunk", BRANCH, &[10], Reason::Trunk);
    add("a trunk", BRANCH, &[20], Reason::Trunk);
    add("a trunk", BRANCH, &[], Reason::WrongVlan);
    add("a trunk", BRANCH, &[30], Reason::WrongVlan);
    add("a trunk", BRANCH, &[0], Reason::WrongVlan);
    add("the inner tag counts:", BRANCH, &[30, 10], Reason::Trunk);
    add("the inner tag counts:", BRANCH, &[10, 30], Reason::WrongVlan);
    add("a priority tag inside names no VLAN:", BRANCH, &[10, 0], Reason::Trunk);
    add("a stranger", STRANGER, &[10], Reason::Stranger);
    add("a stranger", STRANGER, &[], Reason::WrongVlan);
    add("a denied peer", DENIED, &[], Reason::WrongVlan);
    add("a denied peer", DENIED, &[30], Reason::WrongVlan);
    add("a listed peer", LISTED, &[10], Reason::Trunk);
    add("an administrator", ADMIN, &[30], Reason::Admin);
    let office = |of| udp().between(of, BRANCH, 5070).tag(0x8100, 0xf000 | 10);
    rows.extend(both("priority bits are no part of the VLAN ID", office, Reason::Trunk));
    let elsewhere = |of| udp().between(of, PROVIDER, 5060).vlan(30);
    rows.extend(both("a listener without vlans is on every one", elsewhere, Reason::Trunk));
    check("the rows of VLANs of a listener", &rows);
}

#[test]
fn monitoring_counts_the_same_and_drops_nothing() {
    // The same policy, but for one word; `check` knows what the program returns in either mode.
    let monitor: &'static str = super::POLICY.replace("\"enforce\"", "\"monitor\"").leak();
    let mut rows: Vec<Row> = Vec::new();
    for (name, peer, reason) in [
        ("a stranger", STRANGER, Reason::Stranger),
        ("a denied peer", DENIED, Reason::Denied),
        ("a refused peer", REFUSED_BY_PROVIDER, Reason::Denied),
        ("a trunk", PROVIDER, Reason::Trunk),
        ("an administrator", ADMIN, Reason::Admin),
    ] {
        rows.extend(both(name, |of| udp().between(of, peer, 5060), reason));
    }
    rows.extend(both("the wrong VLAN", |of| udp().between(of, BRANCH, 5070), Reason::WrongVlan));
    rows.extend(both("a later fragment", |of| udp().between(of, STRANGER, 5060).later(7), Reason::Fragment));
    rows.extend(both(
        "five tags",
        |of| (1..6).fold(udp().between(of, STRANGER, 5060), |p, _| p.vlan(0)),
        Reason::Malformed,
    ));
    let rows: Vec<Row> = rows.into_iter().map(|row| row.under(monitor)).collect();
    check("the rows of the mode", &rows);
}

#[test]
fn a_policy_without_listeners_drops_nothing() {
    let mut rows = both("a stranger", |of| udp().between(of, STRANGER, 5060), Reason::NotProtected);
    rows.extend(both("a denied peer", |of| tcp().between(of, DENIED, 5060), Reason::NotProtected));
    rows.extend(both("a fragment", |of| udp().between(of, STRANGER, 5060).later(7), Reason::NotProtected));
    let bare = "mode = \"enforce\"\n[deny]\nsources = [\"203.0.113.0/24\", \"2001:db8:bad::/48\"]\n";
    let rows: Vec<Row> = rows.into_iter().map(|row| row.under(bare)).collect();
    check("the rows of no listener", &rows);
}
