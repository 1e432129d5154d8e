//! What a packet's reason is by the words of the README, as naively as can be.
//!
//! Written apart from the filter: a parser of its own, lists that are walked, a map of fragments.
//! It must not use anything of `sip_filter_common` but the names of reasons, nor the compiled tables.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use sip_filter::policy::{Listener, ListenerKind, Policy};
use sip_filter_common::{Reason, Transport};

const FRAGMENT_LIFETIME_NS: u64 = 60 * 1_000_000_000;

/// A filter that takes its time.
pub(crate) struct Model<'a> {
    policy: &'a Policy,
    /// When the ban on an address ends.
    pub(crate) bans: HashMap<IpAddr, u64>,
    pub(crate) now_ns: u64,
    /// What was decided for a first fragment, and when.
    fragments: HashMap<Datagram, (Reason, u64)>,
}

/// What the fragments of a datagram share; IPv6 has no protocol there.
type Datagram = (IpAddr, IpAddr, u32, Option<u8>);

/// What can be seen of a packet.
struct Seen {
    source: IpAddr,
    destination: IpAddr,
    vlan: Option<u16>,
    /// The protocols that it may carry.
    transports: Vec<Transport>,
    identification: u32,
    protocol: u8,
    piece: Piece,
}

#[derive(Clone, Copy, PartialEq)]
enum Piece {
    Whole(Option<u16>),
    First(Option<u16>),
    Later,
    /// May have ports that cannot be seen.
    Hidden,
}

impl<'a> Model<'a> {
    pub(crate) fn new(policy: &'a Policy) -> Self {
        Self { policy, bans: HashMap::new(), now_ns: 0, fragments: HashMap::new() }
    }

    /// The reason for a frame that begins with an Ethernet header.
    pub(crate) fn judge(&mut self, frame: &[u8]) -> Reason {
        let seen = match read_ethernet(frame) {
            Ok(seen) => seen,
            Err(reason) => return reason,
        };
        match seen.piece {
            Piece::Whole(port) => self.with_port(&seen, port),
            Piece::First(port) => {
                let reason = self.with_port(&seen, port);
                self.fragments.insert(datagram(&seen), (reason, self.now_ns));
                reason
            }
            Piece::Later => self.without_port(&seen).unwrap_or_else(|| self.later(&seen)),
            Piece::Hidden => self.without_port(&seen).unwrap_or(Reason::Malformed),
        }
    }

    fn with_port(&self, seen: &Seen, port: Option<u16>) -> Reason {
        let all = self.candidates(seen);
        let there: Vec<_> = all
            .into_iter()
            .filter(|(_, listener)| {
                port.is_some_and(|port| listener.ports.iter().any(|range| range.contains(&port)))
            })
            .collect();
        if there.is_empty() {
            return Reason::NotProtected;
        }
        if holds(&self.policy.admin, seen.source) {
            return Reason::Admin;
        }
        let there: Vec<_> = there
            .into_iter()
            .filter(|(_, listener)| {
                listener.vlans.is_empty() || seen.vlan.is_some_and(|vlan| listener.vlans.contains(&vlan))
            })
            .collect();
        if there.is_empty() {
            return Reason::WrongVlan;
        }
        if holds(&self.policy.deny, seen.source) {
            return Reason::Denied;
        }
        if self.is_banned(seen.source) {
            return Reason::Banned;
        }
        if there.iter().any(|(index, _)| self.is_denied_by_a_trunk(*index, seen.source)) {
            return Reason::Denied;
        }
        if there.iter().any(|(index, _)| self.is_allowed(*index, seen.source)) {
            return Reason::Trunk;
        }
        Reason::Stranger
    }

    /// What settles a packet whose port is unknown, if anything does.
    fn without_port(&self, seen: &Seen) -> Option<Reason> {
        if self.candidates(seen).is_empty() {
            return Some(Reason::NotProtected);
        }
        holds(&self.policy.admin, seen.source).then_some(Reason::Admin)
    }

    /// Follows the first fragment; says so only where a fragment of nothing would have fared otherwise.
    fn later(&self, seen: &Seen) -> Reason {
        let is_refused = holds(&self.policy.deny, seen.source) || self.is_banned(seen.source);
        let is_known = self.candidates(seen).into_iter().any(|(index, _)| {
            self.is_allowed(index, seen.source) && !self.is_denied_by_a_trunk(index, seen.source)
        });
        let alone = if is_known && !is_refused { Reason::Trunk } else { Reason::Fragment };
        match self.fragments.get(&datagram(seen)) {
            Some((reason, at_ns))
                if self.now_ns < at_ns + FRAGMENT_LIFETIME_NS && reason.verdict() != alone.verdict() =>
            {
                *reason
            }
            _ => alone,
        }
    }

    /// The listeners that the packet may be for, port and VLAN aside.
    fn candidates(&self, seen: &Seen) -> Vec<(usize, &'a Listener)> {
        let destination = seen.destination.to_canonical();
        let listeners = self.policy.listeners.iter().enumerate();
        listeners
            .filter(|(_, listener)| seen.transports.contains(&listener.transport))
            .filter(|(_, listener)| {
                listener.addresses.is_empty() || listener.addresses.contains(&destination)
            })
            .collect()
    }

    fn is_banned(&self, source: IpAddr) -> bool {
        self.bans.get(&source).is_some_and(|until_ns| *until_ns > self.now_ns)
    }

    fn is_denied_by_a_trunk(&self, listener: usize, source: IpAddr) -> bool {
        let mut trunks = self.policy.trunks.iter();
        trunks.any(|trunk| trunk.listeners.contains(&listener) && holds(&trunk.deny, source))
    }

    fn is_allowed(&self, listener: usize, source: IpAddr) -> bool {
        let kind = self.policy.listeners[listener].kind;
        let by_trunk = self.policy.trunks.iter().filter(|trunk| trunk.listeners.contains(&listener)).any(
            |trunk| match (kind, &trunk.media) {
                (ListenerKind::Media, Some(media)) => holds(media, source),
                _ => {
                    holds(&trunk.allow, source)
                        || trunk.outbound_proxies.iter().any(|proxy| proxy.prefix.contains(&source))
                }
            },
        );
        let by_list = kind != ListenerKind::Other && holds(&self.policy.allow, source);
        by_trunk || by_list || holds(&self.policy.listeners[listener].allow, source)
    }
}

fn holds(list: &[IpNet], address: IpAddr) -> bool {
    list.iter().any(|prefix| prefix.contains(&address))
}

fn datagram(seen: &Seen) -> Datagram {
    let protocol = seen.source.is_ipv4().then_some(seen.protocol);
    (seen.source, seen.destination, seen.identification, protocol)
}

fn read_ethernet(frame: &[u8]) -> Result<Seen, Reason> {
    let mut rest = frame.get(12..).unwrap_or_default();
    let mut tags = 0;
    let mut vlans = Vec::new();
    loop {
        match rest {
            [0x81, 0x00, behind @ ..] | [0x88, 0xa8, behind @ ..] => {
                tags += 1;
                if tags > 4 {
                    return Err(Reason::Malformed);
                }
                // The tag is whole only with the EtherType behind it.
                let [high, low, _, _, ..] = behind else { return Err(Reason::Truncated) };
                let vlan = u16::from(high % 16) * 256 + u16::from(*low);
                if vlan != 0 {
                    vlans.push(vlan);
                }
                rest = &behind[2..];
            }
            [0x08, 0x00, packet @ ..] => return read_ipv4(packet, vlans.last().copied()),
            [0x86, 0xdd, packet @ ..] => return read_ipv6(packet, vlans.last().copied()),
            [_, _, ..] => return Err(Reason::NotIp),
            _ => return Err(Reason::Truncated),
        }
    }
}

fn transports_of(protocol: u8) -> Vec<Transport> {
    match protocol {
        6 => vec![Transport::Tcp],
        17 => vec![Transport::Udp],
        _ => vec![],
    }
}

/// Whole or first, with what is there of a transport header.
fn read_ports(mut seen: Seen, is_first: bool, transport: Option<&[u8]>) -> Result<Seen, Reason> {
    let port = match transport {
        _ if !matches!(seen.protocol, 6 | 17) => None,
        Some([_, _, high, low, ..]) => Some(u16::from_be_bytes([*high, *low])),
        _ if is_first => {
            seen.piece = Piece::Hidden;
            return Ok(seen);
        }
        _ => return Err(Reason::Truncated),
    };
    seen.piece = if is_first { Piece::First(port) } else { Piece::Whole(port) };
    Ok(seen)
}

fn read_ipv4(packet: &[u8], vlan: Option<u16>) -> Result<Seen, Reason> {
    if packet.len() < 20 {
        return Err(Reason::Truncated);
    }
    let header_len = usize::from(packet[0] % 16) * 4;
    if packet[0] / 16 != 4 || header_len < 20 {
        return Err(Reason::NotIp);
    }
    let address =
        |at: usize| IpAddr::from(Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]));
    let more = packet[6] & 0b0010_0000 != 0;
    let starts_late = packet[6] & 0b0001_1111 != 0 || packet[7] != 0;
    let seen = Seen {
        source: address(12),
        destination: address(16),
        vlan,
        transports: transports_of(packet[9]),
        identification: u32::from(packet[4]) * 256 + u32::from(packet[5]),
        protocol: packet[9],
        piece: Piece::Later,
    };
    if starts_late { Ok(seen) } else { read_ports(seen, more, packet.get(header_len..)) }
}

fn is_extension(number: u8) -> bool {
    [0, 43, 44, 51, 60, 135, 139, 140].contains(&number)
}

fn read_ipv6(packet: &[u8], vlan: Option<u16>) -> Result<Seen, Reason> {
    if packet.len() >= 8 && packet[0] / 16 != 6 {
        return Err(Reason::NotIp);
    }
    if packet.len() < 40 {
        return Err(Reason::Truncated);
    }
    let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
    if address(8).to_ipv4_mapped().is_some() {
        return Err(Reason::Malformed);
    }
    let mut seen = Seen {
        source: address(8).into(),
        destination: address(24).into(),
        vlan,
        transports: Vec::new(),
        identification: 0,
        protocol: packet[6],
        piece: Piece::Whole(None),
    };
    let both = vec![Transport::Udp, Transport::Tcp];
    let mut rest = Some(&packet[40..]);
    let mut is_first = false;
    for number in 0.. {
        if !is_extension(seen.protocol) {
            break;
        }
        if number == 8 {
            return Ok(Seen { piece: Piece::Hidden, transports: both, ..seen });
        }
        let header = rest.unwrap_or_default();
        let needed = if seen.protocol == 44 { 8 } else { 4 };
        if header.len() < needed {
            // The rest of the headers, and the ports, may come with the next fragment.
            return if is_first {
                Ok(Seen { piece: Piece::Hidden, transports: both, ..seen })
            } else {
                Err(Reason::Truncated)
            };
        }
        let len = match seen.protocol {
            44 => 8,
            51 => usize::from(header[1]) * 4 + 8,
            _ => usize::from(header[1]) * 8 + 8,
        };
        if seen.protocol == 44 {
            seen.identification = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            is_first = header[3] & 1 == 1;
            if header[2] != 0 || header[3] >= 8 {
                let may_hold_ports = is_extension(header[0]) || matches!(header[0], 6 | 17);
                let transports = if may_hold_ports { both } else { vec![] };
                return Ok(Seen { piece: Piece::Later, transports, protocol: header[0], ..seen });
            }
        }
        seen.protocol = header[0];
        rest = header.get(len..);
    }
    seen.transports = transports_of(seen.protocol);
    let mut seen = read_ports(seen, is_first, rest)?;
    if seen.piece == Piece::Hidden {
        seen.transports = both;
    }
    Ok(seen)
}
