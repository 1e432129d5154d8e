//! Random policies and frames, drawn from small pools so that they meet often.
//!
//! The same seed gives the same policies and frames.

use std::net::{IpAddr, SocketAddr};

use sip_filter::policy::Policy;
use sip_filter::policy::change::{Action, List, ListChange};
use sip_filter::policy::prefix::parse_prefix;
use sip_filter_common::Transport;

use super::packet::{
    ACK, AUTHENTICATION, DESTINATION_OPTIONS, ESP, HOP_BY_HOP, HOST_IDENTITY, ICMP, ICMPV6, MOBILITY,
    NO_NEXT_HEADER, Packet, ROUTING, SERVICE_VLAN, SHIM6, SYN, TCP, UDP, VLAN, protocol, tcp, udp,
};
use super::request;

/// The generator SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// True in `percent` of all cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, pool: &[T]) -> T {
        pool[self.below(pool.len())]
    }

    fn some<T: Copy>(&mut self, pool: &[T], count_max: usize) -> Vec<T> {
        (0..self.below(count_max + 1)).map(|_| self.pick(pool)).collect()
    }
}

/// Nested, neighbouring, of both families, and one of either for everybody.
const PREFIXES: &[&str] = &[
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.2/31",
    "10.1.2.3",
    "10.1.3.0/24",
    "10.2.0.0/15",
    "10.128.0.0/9",
    "192.0.2.0/24",
    "192.0.2.9",
    "192.0.2.8/29",
    "192.0.2.128/25",
    "203.0.113.5",
    "0.0.0.0/0",
    "128.0.0.0/1",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "2001:db8:1:2::/64",
    "2001:db8:1:2::3",
    "2001:db8:1:2::2/127",
    "2001:db8:2::/47",
    "2001:db8:9::/48",
    "::/0",
    "::ffff:10.1.2.0/120",
    "8000::/1",
];
const SOURCES: &[&str] = &[
    "10.0.0.1",
    "10.1.0.1",
    "10.1.2.1",
    "10.1.2.2",
    "10.1.2.3",
    "10.1.3.3",
    "10.2.0.1",
    "10.128.0.0",
    "10.255.255.255",
    "11.0.0.0",
    "192.0.2.9",
    "192.0.2.10",
    "192.0.2.200",
    "203.0.113.5",
    "203.0.113.6",
    "0.0.0.0",
    "255.255.255.255",
    "2001:db8::1",
    "2001:db8:1::1",
    "2001:db8:1:2::1",
    "2001:db8:1:2::2",
    "2001:db8:1:2::3",
    "2001:db8:2::1",
    "2001:db8:3:ffff::1",
    "2001:db8:9::1",
    "2001:db9::1",
    "::1",
    "::",
    "fe80::1",
    "::ffff:10.1.2.3",
];
const LOCAL4: &[&str] = &["198.51.100.1", "198.51.100.2", "198.51.100.3"];
const LOCAL6: &[&str] = &["2001:db8:5060::1", "2001:db8:5060::2", "::ffff:198.51.100.1"];
const PORTS: &[u16] =
    &[5060, 5060, 5060, 5061, 5062, 10000, 10001, 15000, 20000, 20001, 8088, 1, 0, 65535, 5059, 9999];
const PORT_TEXTS: &[&str] =
    &["5060", "5061", "5060-5062", "10000-20000", "8088", "1", "65535", "15000-15001", "1-65535"];
const VLANS: &[u16] = &[10, 20, 30];
const SOURCE_PORTS: &[u16] = &[5060, 5062];
const SCANNERS: &[&str] =
    &["User-Agent: friendly-scanner", "user-agent : sipcli/v1.8", "Contact: <sip:100@1.1.1.1>"];

/// The text of a policy; whether it is free of contradictions is for its reader to say.
pub(crate) fn policy(random: &mut Random) -> String {
    let mode = random.pick(&["enforce", "enforce", "enforce", "monitor"]);
    let mut text = format!("mode = \"{mode}\"\nadmin = {:?}\n", random.some(&PREFIXES[..22], 1));
    text += &format!(
        "[deny]\nsources = {:?}\n[allow]\nsources = {:?}\n",
        random.some(PREFIXES, 2),
        random.some(PREFIXES, 2)
    );
    text += &strangers(random);
    let listeners = 1 + random.below(5);
    for number in 0..listeners {
        let kind = random.pick(&["signalling", "signalling", "media", "other"]);
        text += &format!("[[listener]]\nname = \"l{number}\"\nkind = \"{kind}\"\n");
        text += &format!("transport = \"{}\"\n", random.pick(&["udp", "udp", "tcp"]));
        let ports = [random.pick(PORT_TEXTS), random.pick(PORT_TEXTS)];
        text += &format!("ports = {:?}\n", &ports[..1 + random.below(2)]);
        if random.chance(30) {
            text += &format!("vlans = {:?}\n", [random.pick(VLANS), random.pick(VLANS)]);
        }
        if random.chance(40) {
            text += &format!("addresses = {:?}\n", [random.pick(LOCAL4), random.pick(&LOCAL6[..2])]);
        }
        if kind == "other" {
            text += &format!("allow = {:?}\n", random.some(PREFIXES, 3));
        }
    }
    for number in 0..random.below(4) {
        text += &format!("[[trunk]]\nname = \"t{number}\"\nallow = {:?}\n", random.some(PREFIXES, 3));
        text += &format!("deny = {:?}\n", random.some(PREFIXES, 1));
        if random.chance(30) {
            text += &format!("registrations = [\"t{number}@example.org\"]\nrequire_registration = true\n");
        }
        if random.chance(30) {
            text += &format!("media = {:?}\n", random.some(PREFIXES, 2));
        }
        if random.chance(30) {
            text += "outbound_proxies = [\"203.0.113.5:5061\", \"[2001:db8:9::1]:5060\"]\n";
        }
        if random.chance(50) {
            let names: Vec<String> =
                (0..1 + random.below(2)).map(|_| format!("l{}", random.below(listeners))).collect();
            text += &format!("listeners = {names:?}\n");
        }
    }
    text
}

/// What strangers may do; what they spend never comes near a limit.
fn strangers(random: &mut Random) -> String {
    if random.chance(15) {
        return String::new();
    }
    let methods: &[&str] =
        random.pick(&[&["REGISTER", "OPTIONS"], &["REGISTER", "OPTIONS"], &["REGISTER", "INVITE"]]);
    format!(
        "[strangers]\nsignalling = \"prove\"\n[strangers.prove]\nmethods = {methods:?}\n\
         rate = \"100000/s\"\nburst = 10000\ntotal_rate = \"500000/s\"\ntrust = \"{}\"\nscanners = \"{}\"\n",
        random.pick(&["address", "flow"]),
        random.pick(&["prove", "drop"])
    )
}

/// A flow of somebody who may be registered, which frames come from.
pub(crate) fn flow(random: &mut Random, address: IpAddr) -> (SocketAddr, u8) {
    ((address, random.pick(SOURCE_PORTS)).into(), random.pick(&[UDP, UDP, TCP]))
}

/// What a frame carries to a SIP server: a request more often than not.
fn message(random: &mut Random) -> Vec<u8> {
    let method = random.pick(&["REGISTER", "REGISTER", "REGISTER", "OPTIONS", "OPTIONS", "INVITE", "BYE"]);
    match random.below(20) {
        0 => random.pick(request::KEEP_ALIVES).to_vec(),
        1 => request::reply(random.pick(&["200 OK", "401 Unauthorized"])),
        2 => request::with_headers(method, &[]),
        3 => request::with_headers(method, &["CSeq: 1 REGISTER", "CSeq: 1 INVITE"]),
        4 => request::with_headers(method, &[random.pick(&["CSeq: 1 REGISTER", "cseq:\r\n 2 OPTIONS"])]),
        5 => request::request_of_len(method, 1_535 + random.below(3)),
        6 | 7 => (0..random.below(40)).map(|_| random.next().to_be_bytes()[0]).collect(),
        8 => format!("{method}\r\n\r\n\r\n\r\n").into_bytes(),
        9..13 => request::with_header(method, random.pick(SCANNERS)),
        13 => request::with_header(method, random.pick(&["i: x", "Call-ID : x", "Icons: x"])),
        _ => request::request(method),
    }
}

/// An address that policies speak of.
pub(crate) fn source(random: &mut Random) -> IpAddr {
    random.pick(SOURCES).parse().unwrap()
}

/// A live change, which need not be possible.
pub(crate) fn change(random: &mut Random, policy: &Policy) -> ListChange {
    let trunks = policy.trunks.iter().map(|trunk| List::Trunk(trunk.name.clone()));
    let mut lists: Vec<List> = [List::Deny, List::Allow].into_iter().chain(trunks).collect();
    let list = lists.swap_remove(random.below(lists.len()));
    let prefix = parse_prefix(random.pick(PREFIXES)).unwrap();
    ListChange { list, prefix, action: random.pick(&[Action::Add, Action::Add, Action::Remove]) }
}

/// A frame, sound more often than not.
pub(crate) fn frame(random: &mut Random, policy: &Policy) -> Vec<u8> {
    let mut frame = packet(random, policy).build();
    if random.chance(6) {
        for _ in 0..=random.below(4) {
            let at = 12 + random.below((frame.len() - 12).min(100));
            frame[at] = random.next().to_be_bytes()[0];
        }
    }
    if random.chance(6) {
        frame.truncate(14 + random.below(100));
    }
    frame
}

fn packet(random: &mut Random, policy: &Policy) -> Packet {
    let mut packet = match random.below(10) {
        0 => protocol(random.pick(&[ICMP, ICMPV6, ESP, NO_NEXT_HEADER, 132, DESTINATION_OPTIONS])),
        1..=3 => tcp(),
        _ => udp(),
    };
    let source = source(random);
    let local = random.pick(if source.is_ipv4() { LOCAL4 } else { LOCAL6 }).parse().unwrap();
    let mut destination = SocketAddr::new(local, random.pick(PORTS));
    let mut vlan = random.pick(VLANS);
    if random.chance(75) {
        let listener = &policy.listeners[random.below(policy.listeners.len())];
        packet = if listener.transport == Transport::Udp { udp() } else { tcp() };
        let ports = &listener.ports[random.below(listener.ports.len())];
        destination.set_port(random.pick(&[*ports.start(), *ports.end()]));
        if let Some(address) = listener.addresses.iter().find(|address| address.is_ipv4() == source.is_ipv4())
        {
            destination.set_ip(*address);
        }
        if !listener.vlans.is_empty() {
            vlan = random.pick(&listener.vlans);
            packet = packet.vlan(vlan);
        }
    }
    packet = tags(packet, vlan, random).with_source(source).with_destination(destination);
    packet = packet.source_port(random.pick(SOURCE_PORTS)).flags(random.pick(&[SYN, SYN, ACK, SYN | ACK]));
    if random.chance(80) {
        packet = packet.payload(message(random));
    }
    if random.chance(3) {
        packet = packet.udp_len(random.pick(&[0, 7, 8, 9, 300, 2_000]));
    }
    if random.chance(4) {
        packet = packet.beyond(random.below(60));
    }
    if random.chance(2) {
        packet = packet.ethertype(random.pick(&[0x0806, 0x9100, 46, 0x0800, 0x86dd]));
    }
    let has_fragment = random.chance(30);
    if source.is_ipv4() {
        if random.chance(15) {
            packet = packet.options(random.below(11));
        }
        if has_fragment { fragment(packet, random) } else { packet }
    } else {
        if random.chance(30) {
            packet = extensions(packet, random);
        }
        if has_fragment {
            packet = fragment(packet, random);
            if random.chance(30) { extensions(packet, random) } else { packet }
        } else {
            packet
        }
    }
}

fn tags(mut packet: Packet, vlan: u16, random: &mut Random) -> Packet {
    for _ in 0..random.pick(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 5]) {
        let other = random.pick(VLANS);
        let id = random.pick(&[0, vlan, vlan, other]);
        packet = packet.tag(random.pick(&[VLAN, SERVICE_VLAN]), id | random.pick(&[0, 0xa000]));
    }
    packet
}

fn fragment(packet: Packet, random: &mut Random) -> Packet {
    let offset = random.pick(&[0, 0, 1, 185, 8191]);
    packet.fragment(1 + u32::try_from(random.below(2)).unwrap(), offset, random.chance(70))
}

fn extensions(mut packet: Packet, random: &mut Random) -> Packet {
    const NUMBERS: &[u8] =
        &[HOP_BY_HOP, ROUTING, AUTHENTICATION, DESTINATION_OPTIONS, MOBILITY, HOST_IDENTITY, SHIM6];
    for _ in 0..random.pick(&[1, 1, 1, 2, 2, 3, 4, 5, 7, 8, 9, 10]) {
        packet = packet.extension_of(random.pick(NUMBERS), random.pick(&[0, 0, 1, 2, 4, 9]));
    }
    packet
}
