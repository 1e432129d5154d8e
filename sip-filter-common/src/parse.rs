//! From a frame to what the pipeline judges: addresses, VLAN, protocol, destination port.
//!
//! Reads headers and decides nothing but whether there is anything to decide.
//! Never assumes a header length: VLAN tags, IPv4 options, IPv6 extension headers and fragments each have an outcome.

#![expect(clippy::cast_possible_truncation, reason = "all headers end below 2^15")]

pub mod extension;
mod plain;
pub mod protocol;
pub mod tag;

use core::ops::ControlFlow::{self, Break, Continue};

use crate::{
    frame::Frame,
    maps::{Address, FragmentKey},
    reason::Reason,
};

pub use self::plain::{Shape, is_tagged};
pub(crate) use self::plain::{again, plain_tagged, plain4, plain6};

use self::{
    extension::Step,
    tag::{Network, Untagged, is_tag},
};

/// All headers that are looked at end before this offset: a link header, four tags, and eight IPv6 headers of at
/// most 2,048 bytes behind the fixed one. The verifier wants to see it bounded.
pub const OFFSET_MASK: u64 = 0x7fff;
const _: () = assert!(OFFSET_MASK > 64 + 4 * 4 + 40 + 8 * 2_048);

const ETHERNET_TYPE_OFFSET: usize = 12;
const ETHERNET_HEADER_LEN: usize = 14;
/// Of both ports.
const PORTS_LEN: usize = 4;

/// Values of the EtherType field.
mod ethertype {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const SERVICE_VLAN: u16 = 0x88a8;
}

/// Which part of a datagram a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Its beginning, with the ports.
    First,
    /// A part without ports.
    Later,
    /// Its ports lie deeper than is looked, or the first fragment ends before them.
    Hidden,
}

/// What of a packet decides about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it says it comes from.
    pub source: Address,
    /// Where it goes to.
    pub destination: Address,
    /// The VLAN ID of the innermost tag that names a VLAN; 0 for an untagged or priority-tagged frame.
    pub vlan: u16,
    /// The IPv4 protocol or the last IPv6 next header that could be read.
    pub protocol: u8,
    /// The destination port, where `part` has it.
    pub port: u16,
    /// Which part of its datagram this is.
    pub part: Part,
    /// The IP identification; meaningless for a whole datagram.
    pub identification: u32,
    /// Whether it is IPv6.
    pub is_ipv6: bool,
    /// The source port, where `part` has it.
    pub source_port: u16,
    /// Where the IP header begins.
    pub network_at: u32,
    /// Where the transport header begins, where `part` has it.
    pub transport_at: u32,
}

impl Packet {
    /// What its fragments have in common.
    #[inline(always)]
    pub fn fragment_key(&self) -> FragmentKey {
        FragmentKey {
            source: self.source,
            destination: self.destination,
            identification: self.identification,
            protocol: if self.is_ipv6 { 0 } else { self.protocol as u32 },
        }
    }
}

/// Reads a frame that begins with an Ethernet header.
///
/// Breaks with [`Reason::NotIp`] or [`Reason::Truncated`] where there is nothing to judge,
/// and with [`Reason::Malformed`] for a stack of tags that no interface sends.
#[inline(always)]
pub fn ethernet<F: Frame + ?Sized>(frame: &F) -> ControlFlow<Reason, Packet> {
    packet(frame, link(frame)?)
}

/// Reads an Ethernet header and the tags behind it.
#[inline(always)]
pub(crate) fn link<F: Frame + ?Sized>(frame: &F) -> ControlFlow<Reason, Network> {
    let Some(kind) = frame.read(ETHERNET_TYPE_OFFSET) else { return Break(Reason::Truncated) };
    let (kind, offset) = (u16::from_be_bytes(kind), ETHERNET_HEADER_LEN);
    if !is_tag(kind) {
        return Continue(Network { kind, offset, vlan: 0 });
    }
    match frame.untag(kind, offset) {
        Untagged::To(behind_tags) => Continue(behind_tags),
        Untagged::Cut => Break(Reason::Truncated),
    }
}

/// Reads what stands behind the tags.
#[inline(always)]
pub(crate) fn packet<F: Frame + ?Sized>(frame: &F, network: Network) -> ControlFlow<Reason, Packet> {
    match network.kind {
        ethertype::IPV4 => ipv4(frame, network.offset, network.vlan),
        ethertype::IPV6 => ipv6(frame, network.offset, network.vlan),
        other if is_tag(other) => Break(Reason::Malformed),
        _ => Break(Reason::NotIp),
    }
}

/// RFC 791 section 3.1.
#[inline(always)]
fn ipv4<F: Frame + ?Sized>(frame: &F, offset: usize, vlan: u16) -> ControlFlow<Reason, Packet> {
    let Some(header) = frame.read_words::<5>(offset) else { return Break(Reason::Truncated) };
    let [start, fragment, protocol, source, destination] = header.map(u32::to_ne_bytes);
    let header_words = (start[0] & 0x0f) as usize;
    if start[0] >> 4 != 4 || header_words < 5 {
        return Break(Reason::NotIp);
    }
    let flags_and_offset = u16::from_be_bytes([fragment[2], fragment[3]]);
    let fragment_offset = flags_and_offset & 0x1fff;
    let more_fragments = flags_and_offset & 0x2000 != 0;
    let packet = Packet {
        source: Address::from_ipv4(source),
        destination: Address::from_ipv4(destination),
        vlan,
        protocol: protocol[1],
        port: 0,
        part: part(fragment_offset, more_fragments),
        identification: u16::from_be_bytes([fragment[0], fragment[1]]) as u32,
        is_ipv6: false,
        source_port: 0,
        network_at: offset as u32,
        transport_at: 0,
    };
    let end = offset + u16::from_be_bytes([start[2], start[3]]) as usize;
    transport(frame, offset + header_words * 4, end, packet)
}

/// RFC 8200 sections 3 and 4.
#[inline(always)]
fn ipv6<F: Frame + ?Sized>(frame: &F, offset: usize, vlan: u16) -> ControlFlow<Reason, Packet> {
    let Some(header) = frame.read_long_words::<5>(offset) else {
        let is_other =
            matches!(frame.read_long_words(offset), Some([start]) if start.to_ne_bytes()[0] >> 4 != 6);
        return Break(if is_other { Reason::NotIp } else { Reason::Truncated });
    };
    let [start, source @ .., _, _] = header;
    let [_, _, _, destination @ ..] = header;
    let start = start.to_ne_bytes();
    if start[0] >> 4 != 6 {
        return Break(Reason::NotIp);
    }
    let mut packet = Packet {
        source: Address { halves: source },
        destination: Address { halves: destination },
        vlan,
        protocol: start[6],
        port: 0,
        part: Part::Whole,
        identification: 0,
        is_ipv6: true,
        source_port: 0,
        network_at: offset as u32,
        transport_at: 0,
    };
    // Would be taken for the IPv4 peer that it names; the kernel refuses such a source too.
    if packet.source.ipv4().is_some() {
        return Break(Reason::Malformed);
    }
    let mut offset = offset + 40;
    let end = offset + u16::from_be_bytes([start[4], start[5]]) as usize;
    let mut fragments = 0;
    // Eight headers may stand before the transport; RFC 8200 section 4.1 has seven.
    unrolled!(8, {
        if protocol::is_extension(packet.protocol) {
            match frame.step(packet.protocol, offset) {
                Step::Cut => return cut(packet),
                Step::Over { next, to } => (packet.protocol, offset) = (next, to),
                Step::Fragment { next, to, part, identification } => {
                    fragments += 1;
                    // The kernel refuses a fragment within a fragment (`ipv6_frag_rcv`).
                    if fragments > 1 {
                        packet.part = Part::Hidden;
                        return Continue(packet);
                    }
                    (packet.protocol, offset) = (next, to);
                    (packet.part, packet.identification) = (part, identification);
                    if matches!(part, Part::Later) {
                        return Continue(packet);
                    }
                }
            }
        }
    });
    if protocol::is_extension(packet.protocol) {
        packet.part = Part::Hidden;
        return Continue(packet);
    }
    transport(frame, offset, end, packet)
}

#[inline(always)]
fn part(fragment_offset: u16, more_fragments: bool) -> Part {
    match (fragment_offset, more_fragments) {
        (0, false) => Part::Whole,
        (0, true) => Part::First,
        _ => Part::Later,
    }
}

/// Reads the destination port, which stands at the same place in UDP and TCP, of a datagram that ends at `end`.
///
/// What stands behind that in a frame is no part of a fragment, whose next ones bring what belongs there. Of a whole datagram
/// the kernel cuts it off, and no socket takes what is left.
#[inline(always)]
fn transport<F: Frame + ?Sized>(
    frame: &F,
    offset: usize,
    end: usize,
    mut packet: Packet,
) -> ControlFlow<Reason, Packet> {
    let has_ports = packet.protocol == protocol::UDP || packet.protocol == protocol::TCP;
    if packet.part == Part::First && offset + (if has_ports { PORTS_LEN } else { 0 }) > end {
        return cut(packet);
    }
    if !has_ports || packet.part == Part::Later {
        return Continue(packet);
    }
    let Some([from_high, from_low, high, low]) = frame.read(offset) else { return cut(packet) };
    packet.source_port = u16::from_be_bytes([from_high, from_low]);
    packet.port = u16::from_be_bytes([high, low]);
    packet.transport_at = offset as u32;
    Continue(packet)
}

/// The frame or the fragment ends before the ports: no socket can take a whole datagram so short,
/// but a first fragment may get its ports from the next one.
#[inline(always)]
fn cut(mut packet: Packet) -> ControlFlow<Reason, Packet> {
    if packet.part == Part::First {
        packet.part = Part::Hidden;
        return Continue(packet);
    }
    Break(Reason::Truncated)
}
