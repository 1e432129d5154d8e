//! From a frame to what the pipeline judges: addresses, VLAN, protocol, destination port.
//!
//! Reads headers and decides nothing but whether there is anything to decide.
//! Never assumes a header length: VLAN tags, IPv4 options, IPv6 extension headers and fragments each have an outcome.

#![expect(clippy::cast_possible_truncation, reason = "all headers end below 2^15")]

pub mod extension;
pub mod protocol;
pub mod tag;

use core::ops::ControlFlow::{self, Break, Continue};

use crate::{
    frame::Frame,
    maps::{Address, FragmentKey},
    reason::Reason,
};

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

/// Reads a frame from behind its link header on: `kind` is the EtherType, `offset` where its payload begins.
///
/// Breaks as [`ethernet`] does.
#[inline(always)]
pub fn tagged<F: Frame + ?Sized>(frame: &F, kind: u16, offset: usize) -> ControlFlow<Reason, Packet> {
    packet(frame, tags(frame, kind, offset)?)
}

/// Reads what almost every packet is: a whole datagram of UDP or TCP over IPv4 without options, behind no tag and in
/// one piece.
///
/// `None` says nothing about a frame: [`ethernet`] reads it from its start.
#[inline(always)]
pub(crate) fn plain4<F: Frame + ?Sized>(frame: &F) -> Option<Packet> {
    let packet = again4(frame)?;
    // As words of which some bits count: fewer comparisons than fields.
    let [kind] = frame.read_words(ETHERNET_TYPE_OFFSET)?;
    if kind & u32::from_ne_bytes([0xff, 0xff, 0xff, 0]) != u32::from_ne_bytes([0x08, 0x00, 0x45, 0]) {
        return None;
    }
    let [rest] = frame.read_words(ETHERNET_HEADER_LEN + 6)?;
    // No fragment: neither an offset nor MF, while DF does not count. The time to live does not either.
    let rest = rest & u32::from_ne_bytes([0x3f, 0xff, 0, 0xff]);
    let len = u16::from_be_bytes(frame.read(ETHERNET_HEADER_LEN + 2)?) as usize;
    if !has_ports(rest.to_ne_bytes()) || ETHERNET_HEADER_LEN + len > frame.linear_len() {
        return None;
    }
    Some(packet)
}

#[inline(always)]
fn again4<F: Frame + ?Sized>(frame: &F) -> Option<Packet> {
    let ports = plain_ports(frame, 20)?;
    let [protocol] = frame.read(ETHERNET_HEADER_LEN + 9)?;
    // One by one: whoever asks for the source alone has it in one load.
    let addresses = [frame.read(ETHERNET_HEADER_LEN + 12)?, frame.read(ETHERNET_HEADER_LEN + 16)?];
    Some(plain(protocol, ports, addresses.map(Address::from_ipv4), 20))
}

/// What [`plain4`] or [`plain6`] made of a frame.
#[inline(always)]
pub(crate) fn again<F: Frame + ?Sized>(frame: &F, is_ipv6: bool) -> Option<Packet> {
    if is_ipv6 { again6(frame) } else { again4(frame) }
}

/// The same over IPv6 without extension headers.
#[inline(always)]
pub(crate) fn plain6<F: Frame + ?Sized>(frame: &F) -> Option<Packet> {
    let packet = again6(frame)?;
    let [kind] = frame.read_words(ETHERNET_TYPE_OFFSET)?;
    if kind & u32::from_ne_bytes([0xff, 0xff, 0xf0, 0]) != u32::from_ne_bytes([0x86, 0xdd, 0x60, 0]) {
        return None;
    }
    // As is every IPv4-mapped address, which would pass for the IPv4 peer.
    if !has_ports([0, 0, 0, packet.protocol]) || packet.source.halves[0] == 0 {
        return None;
    }
    let len = 40 + u16::from_be_bytes(frame.read(ETHERNET_HEADER_LEN + 4)?) as usize;
    if ETHERNET_HEADER_LEN + len > frame.linear_len() {
        return None;
    }
    Some(packet)
}

#[inline(always)]
fn again6<F: Frame + ?Sized>(frame: &F) -> Option<Packet> {
    let ports = plain_ports(frame, 40)?;
    let [protocol] = frame.read(ETHERNET_HEADER_LEN + 6)?;
    let [a, b, c, d] = frame.read_long_words(ETHERNET_HEADER_LEN + 8)?;
    let addresses = [[a, b], [c, d]].map(|halves| Address { halves });
    Some(Packet { is_ipv6: true, ..plain(protocol, ports, addresses, 40) })
}

/// The ports behind an IP header of this length. Read first, since the compiler knows then that what stands before them
/// is there.
#[inline(always)]
fn plain_ports<F: Frame + ?Sized>(frame: &F, header_len: usize) -> Option<[u16; 2]> {
    let at = ETHERNET_HEADER_LEN + header_len;
    let destination = u16::from_be_bytes(frame.read(at + 2)?);
    Some([u16::from_be_bytes(frame.read(at)?), destination])
}

/// Whether the last byte is a protocol with ports and the others are none.
#[inline(always)]
fn has_ports(bytes: [u8; 4]) -> bool {
    const UDP: u32 = u32::from_ne_bytes([0, 0, 0, protocol::UDP]);
    const TCP: u32 = u32::from_ne_bytes([0, 0, 0, protocol::TCP]);
    let word = u32::from_ne_bytes(bytes);
    word == UDP || word == TCP
}

#[inline(always)]
fn plain(protocol: u8, ports: [u16; 2], addresses: [Address; 2], header_len: u32) -> Packet {
    let [source_port, port] = ports;
    let [source, destination] = addresses;
    Packet {
        source,
        destination,
        vlan: 0,
        protocol,
        port,
        part: Part::Whole,
        identification: 0,
        is_ipv6: false,
        source_port,
        network_at: ETHERNET_HEADER_LEN as u32,
        transport_at: ETHERNET_HEADER_LEN as u32 + header_len,
    }
}

/// Reads an Ethernet header and the tags behind it.
#[inline(always)]
pub(crate) fn link<F: Frame + ?Sized>(frame: &F) -> ControlFlow<Reason, Network> {
    let Some(kind) = frame.read(ETHERNET_TYPE_OFFSET) else { return Break(Reason::Truncated) };
    tags(frame, u16::from_be_bytes(kind), ETHERNET_HEADER_LEN)
}

#[inline(always)]
fn tags<F: Frame + ?Sized>(frame: &F, kind: u16, offset: usize) -> ControlFlow<Reason, Network> {
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
    transport(frame, offset + header_words * 4, packet)
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
    transport(frame, offset, packet)
}

#[inline(always)]
fn part(fragment_offset: u16, more_fragments: bool) -> Part {
    match (fragment_offset, more_fragments) {
        (0, false) => Part::Whole,
        (0, true) => Part::First,
        _ => Part::Later,
    }
}

/// Reads the destination port, which stands at the same place in UDP and TCP.
#[inline(always)]
fn transport<F: Frame + ?Sized>(frame: &F, offset: usize, mut packet: Packet) -> ControlFlow<Reason, Packet> {
    let has_ports = packet.protocol == protocol::UDP || packet.protocol == protocol::TCP;
    if !has_ports || packet.part == Part::Later {
        return Continue(packet);
    }
    let Some([from_high, from_low, high, low]) = frame.read(offset) else { return cut(packet) };
    packet.source_port = u16::from_be_bytes([from_high, from_low]);
    packet.port = u16::from_be_bytes([high, low]);
    packet.transport_at = offset as u32;
    Continue(packet)
}

/// The frame ends before the ports: no socket can take a whole datagram so short,
/// but a first fragment may get its ports from the next one.
#[inline(always)]
fn cut(mut packet: Packet) -> ControlFlow<Reason, Packet> {
    if packet.part == Part::First {
        packet.part = Part::Hidden;
        return Continue(packet);
    }
    Break(Reason::Truncated)
}
