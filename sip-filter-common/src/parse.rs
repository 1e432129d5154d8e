//! From a frame to what the pipeline judges: addresses, VLAN, protocol, destination port.
//!
//! Reads headers and decides nothing but whether there is anything to decide.
//! Never assumes a header length: VLAN tags, IPv4 options, IPv6 extension headers and fragments each have an outcome.

use core::ops::ControlFlow::{self, Break, Continue};

use crate::{
    frame::Frame,
    maps::{Address, FragmentKey},
    reason::Reason,
};

/// VLAN tags that may stand before the IP header (IEEE 802.1Q and 802.1ad).
const VLANS_MAX: u32 = 2;
/// All headers that are looked at end before this offset: a link header, four tags, and eight IPv6 headers of at
/// most 2,048 bytes behind the fixed one. The verifier wants to see it bounded.
const OFFSET_MASK: u64 = 0x7fff;
const _: () = assert!(OFFSET_MASK as usize > 64 + 4 * 4 + 40 + 8 * 2_048);

/// Writes a block down several times.
///
/// The kernel's verifier takes loops, but before Linux 6.3 not one that ends by falling through to its head,
/// and how a loop is laid out is the compiler's choice.
macro_rules! unrolled {
    (4, $block:block) => {
        $block $block $block $block
    };
    (8, $block:block) => {
        unrolled!(4, $block);
        unrolled!(4, $block);
    };
}

const ETHERNET_TYPE_OFFSET: usize = 12;
const ETHERNET_HEADER_LEN: usize = 14;

/// Values of the EtherType field.
mod ethertype {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const SERVICE_VLAN: u16 = 0x88a8;
}

/// Values of the IPv4 protocol and IPv6 next header fields.
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// RFC 9293.
    pub const TCP: u8 = 6;
    /// RFC 768.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header (RFC 4302).
    pub const AUTHENTICATION: u8 = 51;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// Mobility header (RFC 6275).
    pub const MOBILITY: u8 = 135;
    /// Host Identity Protocol (RFC 7401).
    pub const HOST_IDENTITY: u8 = 139;
    /// Shim6 (RFC 5533).
    pub const SHIM6: u8 = 140;

    /// Whether another header follows this one in IPv6 (RFC 7045 section 3, without ESP, which hides the rest).
    #[inline(always)]
    pub const fn is_extension(next: u8) -> bool {
        matches!(
            next,
            HOP_BY_HOP
                | ROUTING
                | FRAGMENT
                | AUTHENTICATION
                | DESTINATION_OPTIONS
                | MOBILITY
                | HOST_IDENTITY
                | SHIM6
        )
    }
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
    let Some(kind) = frame.read(ETHERNET_TYPE_OFFSET) else { return Break(Reason::Truncated) };
    tagged(frame, u16::from_be_bytes(kind), ETHERNET_HEADER_LEN)
}

/// Reads a frame from behind its link header on: `kind` is the EtherType, `offset` where its payload begins.
///
/// Breaks as [`ethernet`] does.
#[inline(always)]
pub fn tagged<F: Frame + ?Sized>(frame: &F, kind: u16, offset: usize) -> ControlFlow<Reason, Packet> {
    let mut network = Network { kind, offset, vlan: 0 };
    if is_tag(kind) {
        match frame.untag(kind, offset) {
            Untagged::To(behind_tags) => network = behind_tags,
            Untagged::Cut => return Break(Reason::Truncated),
            Untagged::TooManyVlans => return Break(Reason::NotIp),
        }
    }
    match network.kind {
        ethertype::IPV4 => ipv4(frame, network.offset, network.vlan),
        ethertype::IPV6 => ipv6(frame, network.offset, network.vlan),
        other if is_tag(other) => Break(Reason::Malformed),
        _ => Break(Reason::NotIp),
    }
}

/// Where the network header is, and what comes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    kind: u16,
    offset: usize,
    vlan: u16,
}

/// What stands behind a stack of VLAN tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untagged {
    /// This, which is one more tag if the stack is deeper than anybody sends.
    To(Network),
    /// Nothing: the frame ends.
    Cut,
    /// More VLANs than are looked into.
    TooManyVlans,
}

/// Steps over VLAN tags. Four are looked at, those without a VLAN (VID 0, a priority tag) included: the kernel
/// takes off any number.
#[inline(always)]
pub fn untag<F: Frame + ?Sized>(frame: &F, mut kind: u16, mut offset: usize) -> Untagged {
    let mut vlan = 0;
    let mut vlans = 0;
    unrolled!(4, {
        if is_tag(kind) {
            let Some([tci_high, tci_low, kind_high, kind_low]) = frame.read(offset) else {
                return Untagged::Cut;
            };
            let vid = u16::from_be_bytes([tci_high, tci_low]) & 0x0fff;
            if vid != 0 {
                vlans += 1;
                vlan = vid;
            }
            kind = u16::from_be_bytes([kind_high, kind_low]);
            offset += 4;
        }
    });
    if vlans > VLANS_MAX { Untagged::TooManyVlans } else { Untagged::To(Network { kind, offset, vlan }) }
}

impl Untagged {
    const CUT: u64 = 1 << 48;
    const TOO_MANY_VLANS: u64 = 2 << 48;

    /// As one word, for a function of the kernel program.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        match self {
            Self::To(Network { kind, offset, vlan }) => {
                kind as u64 | (offset as u64 & OFFSET_MASK) << 16 | (vlan as u64) << 32
            }
            Self::Cut => Self::CUT,
            Self::TooManyVlans => Self::TOO_MANY_VLANS,
        }
    }

    /// Back from [`to_bits`](Self::to_bits).
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        if bits & Self::CUT != 0 {
            return Self::Cut;
        }
        if bits & Self::TOO_MANY_VLANS != 0 {
            return Self::TooManyVlans;
        }
        let offset = (bits >> 16 & OFFSET_MASK) as usize;
        Self::To(Network { kind: bits as u16, offset, vlan: (bits >> 32) as u16 & 0x0fff })
    }
}

#[inline(always)]
const fn is_tag(kind: u16) -> bool {
    kind == ethertype::VLAN || kind == ethertype::SERVICE_VLAN
}

/// RFC 791 section 3.1.
#[inline(always)]
fn ipv4<F: Frame + ?Sized>(frame: &F, offset: usize, vlan: u16) -> ControlFlow<Reason, Packet> {
    let Some(header) = frame.read::<20>(offset) else { return Break(Reason::Truncated) };
    let header_words = (header[0] & 0x0f) as usize;
    if header[0] >> 4 != 4 || header_words < 5 {
        return Break(Reason::NotIp);
    }
    let flags_and_offset = u16::from_be_bytes([header[6], header[7]]);
    let fragment_offset = flags_and_offset & 0x1fff;
    let more_fragments = flags_and_offset & 0x2000 != 0;
    let packet = Packet {
        source: Address::from_ipv4([header[12], header[13], header[14], header[15]]),
        destination: Address::from_ipv4([header[16], header[17], header[18], header[19]]),
        vlan,
        protocol: header[9],
        port: 0,
        part: part(fragment_offset, more_fragments),
        identification: u16::from_be_bytes([header[4], header[5]]) as u32,
        is_ipv6: false,
    };
    transport(frame, offset + header_words * 4, packet)
}

/// RFC 8200 sections 3 and 4.
#[inline(always)]
fn ipv6<F: Frame + ?Sized>(frame: &F, offset: usize, vlan: u16) -> ControlFlow<Reason, Packet> {
    let Some(header) = frame.read::<8>(offset) else { return Break(Reason::Truncated) };
    if header[0] >> 4 != 6 {
        return Break(Reason::NotIp);
    }
    let Some(source) = frame.read(offset + 8) else { return Break(Reason::Truncated) };
    let Some(destination) = frame.read(offset + 24) else { return Break(Reason::Truncated) };
    let mut packet = Packet {
        source: Address::from_ipv6(source),
        destination: Address::from_ipv6(destination),
        vlan,
        protocol: header[6],
        port: 0,
        part: Part::Whole,
        identification: 0,
        is_ipv6: true,
    };
    // Would be taken for the IPv4 peer that it names; the kernel refuses such a source too.
    if packet.source.ipv4().is_some() {
        return Break(Reason::Malformed);
    }
    let mut offset = offset + 40;
    // One at most: the kernel refuses a fragment within a fragment.
    let mut fragments = 0;
    // Eight headers may stand before the transport; RFC 8200 section 4.1 has seven.
    unrolled!(8, {
        if protocol::is_extension(packet.protocol) {
            match frame.step(packet.protocol, offset) {
                Step::Cut => return cut(packet),
                Step::Over { next, to } => (packet.protocol, offset) = (next, to),
                Step::Fragment { next, to, part, identification } => {
                    fragments += 1;
                    (packet.protocol, offset) = (next, to);
                    (packet.part, packet.identification) = (part, identification);
                    if matches!(part, Part::Later) && fragments == 1 {
                        return Continue(packet);
                    }
                }
            }
        }
    });
    if fragments > 1 || protocol::is_extension(packet.protocol) {
        packet.part = Part::Hidden;
        return Continue(packet);
    }
    transport(frame, offset, packet)
}

/// What one IPv6 extension header leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next header.
    Over {
        /// Which.
        next: u8,
        /// Where.
        to: usize,
    },
    /// The next header, of a part of a datagram.
    Fragment {
        /// Which; in a later part, the one that followed in the first.
        next: u8,
        /// Where.
        to: usize,
        /// Which part; never [`Part::Hidden`].
        part: Part,
        /// Of the datagram.
        identification: u32,
    },
    /// Nowhere: the frame ends.
    Cut,
}

/// Steps over the extension header of this kind at this place.
#[inline(always)]
pub fn step<F: Frame + ?Sized>(frame: &F, kind: u8, offset: usize) -> Step {
    let Some([next, length, fragment_high, fragment_low]) = frame.read(offset) else { return Step::Cut };
    let units = length as usize;
    match kind {
        protocol::FRAGMENT => {
            let Some(identification) = frame.read(offset + 4) else { return Step::Cut };
            let offset_and_flags = u16::from_be_bytes([fragment_high, fragment_low]);
            Step::Fragment {
                next,
                to: offset + 8,
                part: part(offset_and_flags >> 3, offset_and_flags & 1 != 0),
                identification: u32::from_be_bytes(identification),
            }
        }
        protocol::AUTHENTICATION => Step::Over { next, to: offset + (units + 2) * 4 },
        _ => Step::Over { next, to: offset + (units + 1) * 8 },
    }
}

impl Step {
    const CUT: u64 = 1 << 15;
    const FRAGMENT: u64 = 1 << 24;
    const FIRST: u64 = 1 << 25;
    const LATER: u64 = 1 << 26;

    /// As one word, for a function of the kernel program.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        match self {
            Self::Over { next, to } => to as u64 & OFFSET_MASK | (next as u64) << 16,
            Self::Fragment { next, to, part, identification } => {
                let part = match part {
                    Part::First => Self::FIRST,
                    Part::Later => Self::LATER,
                    Part::Whole | Part::Hidden => 0,
                };
                let there = to as u64 & OFFSET_MASK | (next as u64) << 16;
                there | Self::FRAGMENT | part | (identification as u64) << 32
            }
            Self::Cut => Self::CUT,
        }
    }

    /// Back from [`to_bits`](Self::to_bits).
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        if bits & Self::CUT != 0 {
            return Self::Cut;
        }
        let (next, to) = ((bits >> 16) as u8, (bits & OFFSET_MASK) as usize);
        if bits & Self::FRAGMENT == 0 {
            return Self::Over { next, to };
        }
        let part = if bits & Self::LATER != 0 {
            Part::Later
        } else if bits & Self::FIRST != 0 {
            Part::First
        } else {
            Part::Whole
        };
        Self::Fragment { next, to, part, identification: (bits >> 32) as u32 }
    }
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
    let Some([_, _, high, low]) = frame.read(offset) else { return cut(packet) };
    packet.port = u16::from_be_bytes([high, low]);
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
