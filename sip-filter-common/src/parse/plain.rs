//! Datagrams as almost every one is, read without asking for what they do not have: whole, without options or extension
//! headers, behind one tag or none.

use super::{
    ETHERNET_HEADER_LEN, ETHERNET_TYPE_OFFSET, Packet, Part, protocol,
    tag::{self, is_tag},
};
use crate::{
    frame::{BehindTag, Frame, TAG_LEN},
    maps::Address,
};

/// What a frame is like that carries a whole datagram, without options or extension headers.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Whether it is IPv6, or else IPv4.
    pub is_ipv6: bool,
    /// Whether one tag stands before that, or none.
    pub is_tagged: bool,
}

/// Reads what almost every packet is: a whole datagram of UDP or TCP over IPv4 without options, behind no tag and in
/// one piece.
///
/// `None` says nothing about a frame: [`ethernet`](super::ethernet) reads it from its start.
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

/// What [`plain4`] or [`plain6`] made of a frame, behind a tag or not.
#[inline(always)]
pub(crate) fn again<F: Frame + ?Sized>(frame: &F, shape: Shape) -> Option<Packet> {
    if shape.is_tagged {
        return Some(behind_tag(untagged(&BehindTag(frame), shape.is_ipv6)?, vlan(frame)?));
    }
    untagged(frame, shape.is_ipv6)
}

#[inline(always)]
fn untagged<F: Frame + ?Sized>(frame: &F, is_ipv6: bool) -> Option<Packet> {
    if is_ipv6 { again6(frame) } else { again4(frame) }
}

/// What stands behind a frame's first tag, where that is as [`plain4`] or [`plain6`] would have it.
///
/// `None` says nothing about a frame.
#[inline(always)]
pub(crate) fn plain_tagged<F: Frame + ?Sized>(frame: &F, is_ipv6: bool) -> Option<Packet> {
    let behind = BehindTag(frame);
    let packet = if is_ipv6 { plain6(&behind) } else { plain4(&behind) };
    Some(behind_tag(packet?, vlan(frame)?))
}

/// The VLAN of a frame's first tag, 0 for a priority tag.
#[inline(always)]
fn vlan<F: Frame + ?Sized>(frame: &F) -> Option<u16> {
    Some(u16::from_be_bytes(frame.read(ETHERNET_HEADER_LEN)?) & tag::VID_MASK)
}

#[inline(always)]
fn behind_tag(packet: Packet, vlan: u16) -> Packet {
    let [network_at, transport_at] = [packet.network_at, packet.transport_at].map(|at| at + TAG_LEN as u32);
    Packet { vlan, network_at, transport_at, ..packet }
}

/// Whether a tag stands behind the frame's addresses.
#[inline(always)]
pub fn is_tagged<F: Frame + ?Sized>(frame: &F) -> bool {
    frame.read(ETHERNET_TYPE_OFFSET).is_some_and(|kind| is_tag(u16::from_be_bytes(kind)))
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

#[cfg(test)]
mod tests {
    use core::ops::ControlFlow::Continue;
    use std::vec::Vec;

    use super::{super::ethernet, *};

    /// A datagram of UDP from port 5062 to 5060, without a payload; the tag names VLAN 42 and a priority.
    fn frame(shape: Shape) -> Vec<u8> {
        let mut frame = Vec::from([2; 12]);
        if shape.is_tagged {
            frame.extend([0x81, 0x00, 0xa0, 42]);
        }
        if shape.is_ipv6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, protocol::UDP, 64]);
            frame.extend(1..=32);
        } else {
            frame.extend([0x08, 0x00, 0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, protocol::UDP, 0, 0]);
            frame.extend(1..=8);
        }
        for word in [5062_u16, 5060, 8, 0] {
            frame.extend(word.to_be_bytes());
        }
        frame
    }

    #[test]
    fn what_is_read_of_a_shape_is_what_is_read_of_any_frame() {
        for (is_ipv6, is_tagged) in [(false, false), (false, true), (true, false), (true, true)] {
            let shape = Shape { is_ipv6, is_tagged };
            let frame = &frame(shape)[..];
            let whole = match (is_tagged, is_ipv6) {
                (true, _) => plain_tagged(frame, is_ipv6),
                (false, true) => plain6(frame),
                (false, false) => plain4(frame),
            };
            let Continue(packet) = ethernet(frame) else { panic!("{shape:?}") };
            assert_eq!(packet.vlan, if is_tagged { 42 } else { 0 });
            assert_eq!((whole, again(frame, shape)), (Some(packet), Some(packet)), "{shape:?}");
            assert_eq!(super::is_tagged(frame), is_tagged);
            // A byte less than the IP header says.
            let cut = &frame[..frame.len() - 1];
            assert_eq!((plain4(cut), plain6(cut)), (None, None));
            assert_eq!([false, true].map(|is_ipv6| plain_tagged(cut, is_ipv6)), [None, None]);
        }
    }
}
