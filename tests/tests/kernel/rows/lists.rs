//! Who is let in and who is not: the lists, bans, and the precedence.

use sip_filter::policy::registered::RegisteredTrunks;
use sip_filter::policy::tables::Tables;
use sip_filter_common::{
    Reason,
    maps::{LINE_WORDS, NEAR, NEAR_BUCKET_LINES, NEAR_LINES6},
};

use super::{
    ADMIN, BRANCH, BROWSER, DENIED, End, LISTED, PROVIDER, PROVIDER_MEDIA, PROVIDER_PROXY, Peer,
    REFUSED_BY_PROVIDER, Row, STRANGER, both, check, parsed, row,
};
use crate::kernel::packet::{tcp, udp};

#[test]
fn lists_speak_for_peers_at_their_listeners() {
    let mut rows = Vec::new();
    let mut add = |name: &str, peer: Peer, port: u16, reason: Reason| {
        rows.extend(both(&format!("{name}, UDP"), |of| udp().between(of, peer, port), reason));
    };
    add("a stranger is dropped", STRANGER, 5060, Reason::Stranger);
    add("a stranger may not send media", STRANGER, 10000, Reason::Stranger);
    add("an administrator is never dropped", ADMIN, 5060, Reason::Admin);
    add("an administrator may send media", ADMIN, 20000, Reason::Admin);
    add("a denied peer is dropped", DENIED, 5060, Reason::Denied);
    add("a denied peer may not send media", DENIED, 15000, Reason::Denied);
    add("a listed peer may signal", LISTED, 5060, Reason::Trunk);
    add("a listed peer may send media", LISTED, 15000, Reason::Trunk);
    add("a trunk may signal", PROVIDER, 5060, Reason::Trunk);
    add(
        "a trunk with media peers of its own may not send media from elsewhere",
        PROVIDER,
        15000,
        Reason::Stranger,
    );
    add("a trunk's media peer may send media", PROVIDER_MEDIA, 15000, Reason::Trunk);
    add("a trunk's media peer may not signal", PROVIDER_MEDIA, 5060, Reason::Stranger);
    add("an outbound proxy may signal", PROVIDER_PROXY, 5060, Reason::Trunk);
    add("an outbound proxy is no media peer", PROVIDER_PROXY, 15000, Reason::Stranger);
    add("a trunk refuses a peer", REFUSED_BY_PROVIDER, 5060, Reason::Denied);
    add("a trunk's refusal holds for media", REFUSED_BY_PROVIDER, 15000, Reason::Denied);
    add("a trunk does not reach listeners that it does not name", BRANCH, 5060, Reason::Stranger);
    add("a denied peer may reach what is not protected", DENIED, 5059, Reason::NotProtected);
    add(
        "an administrator at a port that is not protected is nobody special",
        ADMIN,
        22,
        Reason::NotProtected,
    );
    let mut add = |name: &str, peer: Peer, port: u16, reason: Reason| {
        rows.extend(both(&format!("{name}, TCP"), |of| tcp().between(of, peer, port), reason));
    };
    add("a stranger is dropped", STRANGER, 5060, Reason::Stranger);
    add("an administrator is never dropped", ADMIN, 5060, Reason::Admin);
    add("a denied peer is dropped", DENIED, 5060, Reason::Denied);
    add("a listed peer may signal", LISTED, 5060, Reason::Trunk);
    add("a trunk may signal", PROVIDER, 5060, Reason::Trunk);
    add("a trunk refuses a peer", REFUSED_BY_PROVIDER, 5060, Reason::Denied);
    add("a listener of another kind lets its own peers in", BROWSER, 8088, Reason::Trunk);
    add("a listener's own peers reach no other listener", BROWSER, 5060, Reason::Stranger);
    add("a listener of another kind drops strangers", STRANGER, 8088, Reason::Stranger);
    add("the plain allow list does not reach listeners of another kind", LISTED, 8088, Reason::Stranger);
    add("a trunk does not reach listeners of another kind by itself", PROVIDER, 8088, Reason::Stranger);
    add("a trunk reaches a listener of another kind that it names", BRANCH, 8088, Reason::Trunk);
    add("a denied peer does not reach a listener of another kind", DENIED, 8443, Reason::Denied);
    add(
        "a trunk's refusal does not reach listeners that it does not use",
        REFUSED_BY_PROVIDER,
        8088,
        Reason::Stranger,
    );
    check("the rows of lists", &rows);
}

#[test]
fn edges_of_prefixes_belong_to_them() {
    let check_source =
        |source: &str, to: &str, reason| row(format!("from {source}"), udp().from(source).to(to), reason);
    let four = "198.51.100.1:5060";
    let six = "[2001:db8:5060::1]:5060";
    check(
        "the rows of prefixes",
        &[
            check_source("192.0.2.15", four, Reason::Stranger),
            check_source("192.0.2.16", four, Reason::Trunk),
            check_source("192.0.2.19", four, Reason::Denied),
            check_source("192.0.2.31", four, Reason::Trunk),
            check_source("192.0.2.127", four, Reason::Stranger),
            check_source("192.0.2.128", four, Reason::Trunk),
            check_source("192.0.2.255", four, Reason::Trunk),
            check_source("192.0.3.0", four, Reason::Stranger),
            check_source("202.255.255.255", four, Reason::Stranger),
            check_source("203.0.113.0", four, Reason::Denied),
            check_source("203.0.113.255", four, Reason::Denied),
            check_source("0.0.0.0", four, Reason::Stranger),
            check_source("255.255.255.255", four, Reason::Stranger),
            check_source("2001:db8:15:ffff:ffff:ffff:ffff:ffff", six, Reason::Stranger),
            check_source("2001:db8:16::", six, Reason::Trunk),
            check_source("2001:db8:16:ffff:ffff:ffff:ffff:ffff", six, Reason::Trunk),
            check_source("2001:db8:17::", six, Reason::Stranger),
            check_source("::", six, Reason::Stranger),
            check_source("::192.0.2.18", six, Reason::Stranger),
            check_source("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", six, Reason::Stranger),
        ],
    );
}

#[test]
fn bans_hold_until_they_end() {
    let mut rows = Vec::new();
    let mut add = |name: &str, peer: Peer, port: u16, end: End, reason: Reason| {
        for row in both(name, |of| udp().between(of, peer, port), reason) {
            rows.push(row.banned(peer.0, end).banned(peer.1, end));
        }
    };
    add("a banned stranger is dropped", STRANGER, 5060, End::Ahead, Reason::Banned);
    add("a banned trunk is dropped", PROVIDER, 5060, End::Ahead, Reason::Banned);
    add("a banned peer may not send media", LISTED, 15000, End::Ahead, Reason::Banned);
    add("a banned peer may reach what is not protected", STRANGER, 53, End::Ahead, Reason::NotProtected);
    add("a ban that has ended holds nobody", STRANGER, 5060, End::Past, Reason::Stranger);
    add("a trunk whose ban has ended is let in", PROVIDER, 5060, End::Past, Reason::Trunk);
    for row in both("another's ban holds nobody", |of| udp().between(of, PROVIDER, 5060), Reason::Trunk) {
        rows.push(row.banned("192.0.2.19", End::Ahead).banned("2001:db8:16::19", End::Ahead));
    }
    check("the rows of bans", &rows);
}

/// Every list names 192.0.2.1, each address below it is on one list less.
const LADDER: &str = r#"
mode = "enforce"
admin = ["192.0.2.1", "2001:db8::1"]

[[listener]]
name = "sip"
kind = "signalling"
transport = "udp"
ports = ["5060"]
vlans = [10]

[[listener]]
name = "plain"
kind = "signalling"
transport = "udp"
ports = ["5061"]

[deny]
sources = ["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"]

[allow]
sources = ["192.0.2.0/28", "2001:db8::/124"]

[[trunk]]
name = "refusing"
allow = ["192.0.2.16", "2001:db8::16"]
deny = ["192.0.2.0/30", "2001:db8::/126", "192.0.2.4", "2001:db8::4"]

[[trunk]]
name = "allowing"
allow = ["192.0.2.0/29", "2001:db8::/125"]
"#;

#[test]
fn what_stands_first_in_the_precedence_wins() {
    const BANNED: [&str; 8] = [
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.3",
        "192.0.2.20",
        "2001:db8::1",
        "2001:db8::2",
        "2001:db8::3",
        "2001:db8::20",
    ];
    let rung = |name: &str, peer: Peer, port: u16, vlan: u16, reason: Reason| {
        both(name, |of| udp().between(of, peer, port).vlan(vlan), reason)
    };
    // What is judged without a look at VLANs, where it may.
    let untagged = |name, peer| both(name, |of| udp().between(of, peer, 5060), Reason::WrongVlan);
    let one = Peer("192.0.2.1", "2001:db8::1");
    let two = Peer("192.0.2.2", "2001:db8::2");
    let three = Peer("192.0.2.3", "2001:db8::3");
    let four = Peer("192.0.2.4", "2001:db8::4");
    let five = Peer("192.0.2.5", "2001:db8::5");
    let nine = Peer("192.0.2.9", "2001:db8::9");
    let unlisted = Peer("192.0.2.20", "2001:db8::20");
    let rows = [
        rung("no listener beats admin", one, 5062, 10, Reason::NotProtected),
        rung("admin beats the VLAN", one, 5060, 11, Reason::Admin),
        rung("admin beats [deny], a ban and a trunk's deny", one, 5060, 10, Reason::Admin),
        rung("the VLAN beats [deny]", two, 5060, 11, Reason::WrongVlan),
        rung("[deny] beats a ban", two, 5060, 10, Reason::Denied),
        rung("the VLAN beats a ban", three, 5060, 11, Reason::WrongVlan),
        rung("a ban beats a trunk's deny", three, 5060, 10, Reason::Banned),
        rung("a trunk's deny beats another trunk's allow and [allow]", four, 5060, 10, Reason::Denied),
        rung("the VLAN beats an allow", five, 5060, 11, Reason::WrongVlan),
        rung("a trunk's allow", five, 5060, 10, Reason::Trunk),
        rung("[allow]", nine, 5060, 10, Reason::Trunk),
        rung("a stranger", STRANGER, 5060, 10, Reason::Stranger),
        untagged("no VLAN beats [deny]", two),
        untagged("no VLAN beats a listed peer's ban", three),
        untagged("no VLAN beats a ban", unlisted),
        untagged("no VLAN beats an allow", five),
    ];
    let banned =
        |row: Row| BANNED.iter().fold(row.under(LADDER), |row, address| row.banned(address, End::Ahead));
    let rows: Vec<Row> = rows.into_iter().flatten().map(banned).collect();
    check("the rows of the precedence", &rows);
    let unbanned = rung("[deny] beats a trunk's deny and allow", two, 5061, 0, Reason::Denied);
    let refused = rung("a trunk's deny beats an allow", three, 5061, 0, Reason::Denied);
    let rows: Vec<Row> = unbanned.into_iter().chain(refused).map(|row| row.under(LADDER)).collect();
    check("the rows of the precedence", &rows);
}

/// One host in each of so many /24s, every `step`-th from 16.0.0.0 on, and in the last one more of them.
fn long_list(step: u32) -> (&'static str, impl Fn(u32, u8) -> String) {
    let host = move |number: u32, octet: u8| {
        let address = (16 << 24) + ((number * step) << 8) + u32::from(octet);
        std::net::Ipv4Addr::from(address).to_string()
    };
    let hosts = (0..=LAST).map(|number| host(number, 77));
    let listed: Vec<String> = hosts.chain([host(LAST, 80), host(LAST, 99), host(LAST, 200)]).collect();
    (allowing(&listed, &host(LAST - 1, 77)), host)
}

/// A policy with these on the allow list, and one on the deny list.
fn allowing(listed: &[String], denied: &str) -> &'static str {
    let policy = format!(
        "mode = \"enforce\"\n[[listener]]\nname = \"sip\"\nkind = \"signalling\"\ntransport = \"udp\"\n\
         ports = [5060]\n[allow]\nsources = {listed:?}\n[deny]\nsources = [\"{denied}\"]\n",
    );
    policy.leak()
}

/// So many that no bucket stands beside the regions: they take a word each.
#[expect(clippy::cast_possible_truncation, reason = "few buckets stand there")]
const LAST: u32 = (NEAR_BUCKET_LINES * LINE_WORDS) as u32 + 100;

#[test]
fn a_peer_far_down_a_long_list_is_known_and_its_neighbours_are_not() {
    // Every block of a group named, and one in sixteen.
    for step in [1, 16] {
        let (policy, host) = long_list(step);
        let tables = Tables::compile(&parsed(policy), &RegisteredTrunks::default()).unwrap();
        assert_ne!(tables.index.sources.buckets_at, NEAR, "one in {step}");
        let from = |number: u32, octet: u8, reason: Reason| {
            let source = host(number, octet);
            let frame = udp().from(&source).to("198.51.100.1:5060");
            row(format!("from {source}, one in {step}"), frame, reason).under(policy)
        };
        check(
            "the rows of long lists",
            &[
                from(0, 77, Reason::Trunk),
                from(0, 78, Reason::Stranger),
                from(LAST / 2, 77, Reason::Trunk),
                from(LAST / 2, 76, Reason::Stranger),
                from(LAST - 2, 77, Reason::Trunk),
                from(LAST - 2, 13, Reason::Stranger),
                from(LAST - 1, 77, Reason::Denied),
                from(LAST, 77, Reason::Trunk),
                from(LAST, 80, Reason::Trunk),
                from(LAST, 99, Reason::Trunk),
                from(LAST, 200, Reason::Trunk),
                from(LAST, 201, Reason::Stranger),
                from(LAST, 81, Reason::Stranger),
                from(LAST + 1, 77, Reason::Stranger),
            ],
        );
    }
}

/// So many that no line of sites or hosts stands beside the filters.
const LAST6: usize = 8 * NEAR_LINES6;

#[test]
fn a_peer_of_a_long_list_of_ipv6_is_known_and_its_neighbours_are_not() {
    // In each site of three networks two with a host, and one that is named whole.
    let address =
        |number: usize, host: usize| format!("2001:db8:{:x}:{:x}::{host:x}", number / 4, 2 * (number % 4));
    let listed: Vec<String> = (0..=LAST6)
        .map(|number| if number % 2 == 0 { address(number, 5) } else { address(number, 0) + "/64" })
        .collect();
    let policy = allowing(&listed, &address(LAST6 - 1, 9));
    let tables = Tables::compile(&parsed(policy), &RegisteredTrunks::default()).unwrap();
    assert_ne!(tables.index.sources.lines6_at, NEAR);
    let from = |number: usize, host: usize, reason: Reason| {
        let source = address(number, host);
        let frame = udp().from(&source).to("[2001:db8:5060::1]:5060");
        row(format!("from {source}"), frame, reason).under(policy)
    };
    check(
        "the rows of long lists of IPv6",
        &[
            from(0, 5, Reason::Trunk),
            from(0, 6, Reason::Stranger),
            from(1, 6, Reason::Trunk),
            from(LAST6 - 1, 8, Reason::Trunk),
            from(LAST6 - 1, 9, Reason::Denied),
            from(LAST6, 5, Reason::Trunk),
            from(LAST6, 4, Reason::Stranger),
            from(LAST6 + 1, 5, Reason::Stranger),
        ],
    );
}

#[test]
fn prefixes_of_ipv6_of_all_kinds_are_told_apart() {
    // In turn: shorter than a site's; a site; half of one; networks of one; hosts in one that is named, and in one that
    // is not.
    let listed = [
        "2001:db8::/34",
        "2001:db8:2000::/36",
        "2001:db8:9000::/48",
        "2001:db8:a000:8000::/49",
        "2001:db8:b000:1::/64",
        "2001:db8:b000:3::/64",
        "2001:db8:b000:500::/56",
        "2001:db8:c000:7::/64",
        "2001:db8:d000:7::7",
    ];
    let policy = allowing(&listed.map(str::to_owned), "2001:db8:c000:7::7");
    let from = |source: &str, reason: Reason| {
        row(format!("from {source}"), udp().from(source).to("[2001:db8:5060::1]:5060"), reason).under(policy)
    };
    check(
        "the rows of prefixes of IPv6",
        &[
            from("2001:db8:3fff::1", Reason::Trunk),
            from("2001:db8:4000::1", Reason::Stranger),
            from("2001:db8:9000:ffff::1", Reason::Trunk),
            from("2001:db8:9001::1", Reason::Stranger),
            from("2001:db8:8fff:ffff::1", Reason::Stranger),
            from("2001:db8:a000:8000::1", Reason::Trunk),
            from("2001:db8:a000:7fff::1", Reason::Stranger),
            from("2001:db8:b000::1", Reason::Stranger),
            from("2001:db8:b000:1::1", Reason::Trunk),
            from("2001:db8:b000:2::1", Reason::Stranger),
            from("2001:db8:b000:3::1", Reason::Trunk),
            from("2001:db8:b000:5ff::1", Reason::Trunk),
            from("2001:db8:b000:600::1", Reason::Stranger),
            from("2001:db8:c000:7::7", Reason::Denied),
            from("2001:db8:c000:7::8", Reason::Trunk),
            from("2001:db8:c000:8::7", Reason::Stranger),
            from("2001:db8:d000:7::7", Reason::Trunk),
            from("2001:db8:d000:7::8", Reason::Stranger),
            from("2001:db9::1", Reason::Stranger),
        ],
    );
}

#[test]
fn an_ipv4_mapped_source_is_no_ipv4_peer() {
    let to = "[2001:db8:5060::1]:5060";
    check(
        "the rows of IPv4-mapped addresses",
        &[
            row("a trunk's", udp().from("::ffff:192.0.2.18").to(to), Reason::Malformed),
            row("an administrator's", udp().from("::ffff:192.0.2.10").to(to), Reason::Malformed),
            row("a stranger's", tcp().from("::ffff:192.0.2.66").to(to), Reason::Malformed),
            row(
                "an IPv4-compatible one is just a stranger",
                udp().from("::192.0.2.18").to(to),
                Reason::Stranger,
            ),
        ],
    );
}
