//! What can be seen of a frame, read as naively as can be.
//!
//! It decides nothing but whether there is anything to decide.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sip_filter_common::{Reason, Transport};

/// What can be seen of a packet.
pub(super) struct Seen {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) vlan: Option<u16>,
    /// The protocols that it may carry.
    pub(super) transports: Vec<Transport>,
    pub(super) identification: u32,
    pub(super) protocol: u8,
    /// What the frame has from the transport's header on.
    pub(super) transport: Vec<u8>,
    /// How much the IP header says there is of that; none: less than nothing.
    pub(super) said_len: Option<usize>,
    pub(super) piece: Piece,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Piece {
    Whole(Option<u16>),
    First(Option<u16>),
    Later,
    /// May have ports that cannot be seen.
    Hidden,
}

/// Reads a frame that begins with an Ethernet header; a reason where there is nothing to judge.
pub(super) fn read_ethernet(frame: &[u8]) -> Result<Seen, Reason> {
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
        // What follows comes with the next fragment, whatever stands behind the end of this one.
        _ if is_first && seen.said_len.is_none_or(|len| len < 4 && matches!(seen.protocol, 6 | 17)) => {
            seen.piece = Piece::Hidden;
            return Ok(seen);
        }
        _ if !matches!(seen.protocol, 6 | 17) => None,
        Some([_, _, high, low, ..]) => Some(u16::from_be_bytes([*high, *low])),
        _ if is_first => {
            seen.piece = Piece::Hidden;
            return Ok(seen);
        }
        _ => return Err(Reason::Truncated),
    };
    seen.transport = transport.unwrap_or_default().to_vec();
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
        transport: Vec::new(),
        said_len: (usize::from(packet[2]) * 256 + usize::from(packet[3])).checked_sub(header_len),
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
        transport: Vec::new(),
        said_len: Some(usize::from(packet[4]) * 256 + usize::from(packet[5])),
        piece: Piece::Whole(None),
    };
    let both = vec![Transport::Udp, Transport::Tcp];
    let mut rest = Some(&packet[40..]);
    let mut is_first = false;
    let mut is_fragment = false;
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
            if is_fragment {
                return Ok(Seen { piece: Piece::Hidden, transports: both, ..seen });
            }
            is_fragment = true;
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
        seen.said_len = seen.said_len.and_then(|said_len| said_len.checked_sub(len));
    }
    seen.transports = transports_of(seen.protocol);
    let mut seen = read_ports(seen, is_first, rest)?;
    if seen.piece == Piece::Hidden {
        seen.transports = both;
    }
    Ok(seen)
}
