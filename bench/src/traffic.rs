//! Kinds of packets: how they are framed, to which ports they go, and from whom they come. Pure; the generator sends them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use anyhow::Result;
use etherparse::PacketBuilder;

/// Who sends: drawn beforehand, at random, so that the kernel only walks along.
#[derive(Clone, Debug)]
pub enum Sources {
    /// IPv4 sources.
    V4(Vec<Ipv4Addr>),
    /// IPv6 sources.
    V6(Vec<Ipv6Addr>),
}

impl Sources {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Sources::V4(sources) => sources.len(),
            Sources::V6(sources) => sources.len(),
        }
    }

    /// Some of them, in their order.
    pub fn part(&self, range: Range<usize>) -> Self {
        match self {
            Sources::V4(sources) => Sources::V4(sources[range].to_vec()),
            Sources::V6(sources) => Sources::V6(sources[range].to_vec()),
        }
    }

    /// One after the other.
    pub fn addresses(&self) -> Vec<IpAddr> {
        match self {
            Sources::V4(sources) => sources.iter().copied().map(IpAddr::from).collect(),
            Sources::V6(sources) => sources.iter().copied().map(IpAddr::from).collect(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How the headers stand in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Ethernet and IPv4, or IPv6, as the sources are.
    Plain,
    /// One VLAN tag before IPv4.
    Tagged,
    /// IPv4, the first fragment of a datagram whose others never come.
    FirstFragment,
}

/// Where the packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Half to 5060, half over the first 8,192 ports of the RTP range.
    Protected,
    /// All to 5060.
    Signalling,
    /// Where no listener is.
    Other,
}

/// What the frames carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// 18 bytes: the shortest frame that Ethernet has, 64 bytes with its checksum.
    Short,
    /// An OPTIONS request.
    Options,
    /// As little as is taken for a REGISTER request.
    Register,
}

/// One kind of packet.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Who sends.
    pub sources: Sources,
    /// How it is framed.
    pub framing: Framing,
    /// Where it goes.
    pub ports: Ports,
    /// What it carries.
    pub payload: Payload,
}

/// Where a frame goes: hardware addresses of both ends, and the destination.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The sender's hardware address.
    pub from: [u8; 6],
    /// The receiver's hardware address.
    pub to: [u8; 6],
    /// The receiver's IPv4 address.
    pub address: Ipv4Addr,
}

/// Where IPv6 packets go; it is on no host, since none of them gets that far.
const DESTINATION6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x5060, 0, 0, 0, 0, 0x10);
const ETHERNET_LEN: usize = 14;
const TAG_LEN: usize = 4;
const VLAN: u16 = 100;
/// "More fragments follow", in the first byte of flags and offset.
const MORE_FRAGMENTS: u8 = 0x20;

/// An OPTIONS request whose Call-ID ends in a number that the generator writes.
pub const OPTIONS: &str = "OPTIONS sip:pbx@198.18.0.1 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 198.18.0.2:5090;branch=z9hG4bK-524287-1;rport\r\n\
    Max-Forwards: 70\r\n\
    From: <sip:probe@198.18.0.2>;tag=6a1f39c2\r\n\
    To: <sip:pbx@198.18.0.1>\r\n\
    Call-ID: dialogue-00000000\r\n\
    CSeq: 1 OPTIONS\r\n\
    Contact: <sip:probe@198.18.0.2:5090>\r\n\
    User-Agent: probe\r\n\
    Content-Length: 0\r\n\r\n";
/// What the number stands behind.
pub const NUMBER_MARK: &str = "dialogue-";

impl Traffic {
    /// The generator's programs for it: the one that sends frames, and the one that hands them over.
    pub fn programs(&self) -> [&'static str; 2] {
        match (&self.sources, self.framing) {
            (Sources::V6(_), _) => ["generate6", "hand_over6"],
            (Sources::V4(_), Framing::Tagged) => ["generate_tagged", "hand_over_tagged"],
            (Sources::V4(_), _) => ["generate", "hand_over"],
        }
    }

    /// Where the IP header begins.
    pub fn header_offset(&self) -> usize {
        if self.framing == Framing::Tagged { ETHERNET_LEN + TAG_LEN } else { ETHERNET_LEN }
    }

    /// The frame, but for what the generator writes into it.
    pub fn frame(&self, way: Way) -> Result<Vec<u8>> {
        let payload = match self.payload {
            Payload::Short => &[0_u8; 18][..],
            Payload::Options => OPTIONS.as_bytes(),
            Payload::Register => b"REGISTER sip:198.18.0.1 SIP/2.0\r\n\r\n",
        };
        let builder = PacketBuilder::ethernet2(way.from, way.to);
        let mut frame = Vec::new();
        match &self.sources {
            Sources::V6(_) => {
                let builder = builder.ipv6([0; 16], DESTINATION6.octets(), 64);
                builder.udp(5060, 5060).write(&mut frame, payload)?;
            }
            Sources::V4(_) if self.framing == Framing::Tagged => {
                let builder = builder.single_vlan(VLAN.try_into()?).ipv4([0; 4], way.address.octets(), 64);
                builder.udp(5060, 5060).write(&mut frame, payload)?;
            }
            Sources::V4(_) => {
                let builder = builder.ipv4([0; 4], way.address.octets(), 64);
                builder.udp(5060, 5060).write(&mut frame, payload)?;
            }
        }
        self.leave_blanks(&mut frame);
        Ok(frame)
    }

    /// Sets to zero what the generator writes, and the UDP checksum, which it does not keep up.
    fn leave_blanks(&self, frame: &mut [u8]) {
        if matches!(self.sources, Sources::V6(_)) {
            return;
        }
        let header = &mut frame[self.header_offset()..];
        // No "don't fragment", which etherparse sets.
        header[6] = if self.framing == Framing::FirstFragment { MORE_FRAGMENTS } else { 0 };
        for blank in [4..6, 10..12, 12..16, 26..28] {
            header[blank].fill(0);
        }
    }
}

/// The sum of an IPv4 header's words in this machine's byte order, as the generator goes on from it.
pub(crate) fn header_sum(header: &[u8]) -> u64 {
    let words = header[..20].chunks_exact(2);
    words.map(|pair| u64::from(u16::from_ne_bytes([pair[0], pair[1]]))).fold(0, |sum, word| {
        let sum = sum + word;
        (sum & 0xffff) + (sum >> 16)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Way =
        Way { from: [2, 0, 0, 0, 0, 2], to: [2, 0, 0, 0, 0, 1], address: Ipv4Addr::new(198, 18, 0, 1) };

    /// What strangers send to SIP and RTP.
    fn short() -> Traffic {
        let sources = Sources::V4(vec![Ipv4Addr::new(16, 0, 0, 1)]);
        Traffic { sources, framing: Framing::Plain, ports: Ports::Protected, payload: Payload::Short }
    }

    #[test]
    fn short_frames_are_as_short_as_ethernet_has_them() {
        assert_eq!(short().frame(WAY).unwrap().len(), 60);
    }

    #[test]
    fn the_header_sum_completes_to_a_valid_checksum() {
        let mut frame = short().frame(WAY).unwrap();
        let sum = header_sum(&frame[14..]);
        let checksum = !u16::try_from(sum).unwrap();
        frame[24..26].copy_from_slice(&checksum.to_ne_bytes());
        assert_eq!(header_sum(&frame[14..]), 0xffff);
    }

    #[test]
    fn the_number_has_eight_digits_behind_its_mark() {
        let at = OPTIONS.find(NUMBER_MARK).unwrap() + NUMBER_MARK.len();
        assert_eq!(&OPTIONS[at..at + 10], "00000000\r\n");
    }
}
