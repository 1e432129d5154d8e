//! Frames as an algebra: `udp().from("192.0.2.9").to("198.51.100.1:5060").vlan(10).build()`.
//!
//! Writes bytes, sound or odd, and knows nothing of how the filter reads them.
//! Checksums stay zero: the filter looks at none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub(crate) const VLAN: u16 = 0x8100;
pub(crate) const SERVICE_VLAN: u16 = 0x88a8;
pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;

pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const ESP: u8 = 50;
pub(crate) const AUTHENTICATION: u8 = 51;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const NO_NEXT_HEADER: u8 = 59;
pub(crate) const DESTINATION_OPTIONS: u8 = 60;
pub(crate) const MOBILITY: u8 = 135;
pub(crate) const HOST_IDENTITY: u8 = 139;
pub(crate) const SHIM6: u8 = 140;

/// Flags of TCP (RFC 9293 section 3.1).
pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;

/// A request that is longer than the shortest Ethernet frame.
const PAYLOAD: &[u8] =
    b"OPTIONS sip:pbx@198.51.100.1 SIP/2.0\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n";

/// A frame before it is written.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    tags: Vec<(u16, u16)>,
    ethertype: Option<u16>,
    version: Option<u8>,
    header_words: Option<u8>,
    options: Vec<u8>,
    source: IpAddr,
    source_port: u16,
    destination: SocketAddr,
    /// IPv4's flags and offset, where IPv6 has a header.
    fragment: Option<Fragment>,
    extensions: Vec<Extension>,
    protocol: u8,
    tcp_flags: u8,
    udp_len: Option<u16>,
    payload: Vec<u8>,
    beyond: usize,
    len: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Fragment {
    identification: u32,
    /// In units of eight bytes.
    offset: u16,
    more: bool,
}

#[derive(Clone, Copy, Debug)]
enum Extension {
    Fragment(Fragment),
    /// Its number in the next header field of the one before, and its own length field.
    Other(u8, u8),
}

/// A UDP datagram with a SIP request; from and to port 5060 unless told otherwise.
pub(crate) fn udp() -> Packet {
    protocol(UDP)
}

/// A TCP segment with a SIP request, which asks for a connection too unless told otherwise.
pub(crate) fn tcp() -> Packet {
    protocol(TCP)
}

/// A packet of any protocol; only UDP and TCP get a header of their own.
pub(crate) fn protocol(protocol: u8) -> Packet {
    Packet {
        tags: Vec::new(),
        ethertype: None,
        version: None,
        header_words: None,
        options: Vec::new(),
        source: Ipv4Addr::new(192, 0, 2, 66).into(),
        source_port: 5060,
        destination: (Ipv4Addr::new(198, 51, 100, 1), 5060).into(),
        fragment: None,
        extensions: Vec::new(),
        protocol,
        tcp_flags: SYN,
        udp_len: None,
        payload: PAYLOAD.to_vec(),
        beyond: 0,
        len: None,
    }
}

impl Packet {
    pub(crate) fn from(self, source: &str) -> Self {
        self.with_source(source.parse().unwrap())
    }

    pub(crate) fn with_source(self, source: IpAddr) -> Self {
        Self { source, ..self }
    }

    pub(crate) fn source_port(self, source_port: u16) -> Self {
        Self { source_port, ..self }
    }

    pub(crate) fn to(self, destination: &str) -> Self {
        self.with_destination(destination.parse().unwrap())
    }

    pub(crate) fn with_destination(self, destination: SocketAddr) -> Self {
        Self { destination, ..self }
    }

    /// Another tag of IEEE 802.1Q, inside those before.
    pub(crate) fn vlan(self, id: u16) -> Self {
        self.tag(VLAN, id)
    }

    /// Another tag of IEEE 802.1ad, inside those before.
    pub(crate) fn service_vlan(self, id: u16) -> Self {
        self.tag(SERVICE_VLAN, id)
    }

    /// Another tag; `control` holds priority and VLAN ID.
    pub(crate) fn tag(mut self, kind: u16, control: u16) -> Self {
        self.tags.push((kind, control));
        self
    }

    /// The EtherType behind all tags, whatever follows.
    pub(crate) fn ethertype(self, kind: u16) -> Self {
        Self { ethertype: Some(kind), ..self }
    }

    /// The version field of the IP header, whatever follows.
    pub(crate) fn version(self, version: u8) -> Self {
        Self { version: Some(version), ..self }
    }

    /// IPv4 options of this many words of four bytes.
    pub(crate) fn options(self, words: usize) -> Self {
        Self { options: vec![1; words * 4], ..self }
    }

    /// The length field of the IPv4 header, whatever follows.
    pub(crate) fn header_words(self, words: u8) -> Self {
        Self { header_words: Some(words), ..self }
    }

    /// Another IPv6 extension header, of the shortest form.
    pub(crate) fn extension(self, number: u8) -> Self {
        // AH counts words of four bytes and has a multiple of eight in IPv6 (RFC 4302 section 2.2).
        let length = if number == AUTHENTICATION { 4 } else { 0 };
        self.extension_of(number, length)
    }

    /// Another IPv6 extension header, with this length field and the bytes it stands for.
    pub(crate) fn extension_of(mut self, number: u8, length: u8) -> Self {
        self.extensions.push(Extension::Other(number, length));
        self
    }

    /// A fragment; `offset` is in units of eight bytes. In IPv6 another extension header.
    pub(crate) fn fragment(mut self, identification: u32, offset: u16, more: bool) -> Self {
        let fragment = Fragment { identification, offset, more };
        if self.source.is_ipv6() {
            self.extensions.push(Extension::Fragment(fragment));
        }
        Self { fragment: Some(fragment), ..self }
    }

    /// A first fragment with its ports.
    pub(crate) fn first(self, identification: u32) -> Self {
        self.fragment(identification, 0, true)
    }

    /// A last fragment.
    pub(crate) fn later(self, identification: u32) -> Self {
        self.fragment(identification, 185, false)
    }

    pub(crate) fn payload(self, payload: Vec<u8>) -> Self {
        Self { payload, ..self }
    }

    /// The flags of the TCP header.
    pub(crate) fn flags(self, tcp_flags: u8) -> Self {
        Self { tcp_flags, ..self }
    }

    /// What the UDP header says of its length, whatever follows.
    pub(crate) fn udp_len(self, len: u16) -> Self {
        Self { udp_len: Some(len), ..self }
    }

    /// So many bytes stand behind what the IP header says is the end, where Ethernet has its padding.
    pub(crate) fn beyond(self, len: usize) -> Self {
        Self { beyond: len, ..self }
    }

    /// Leaves only the first bytes of the frame.
    pub(crate) fn cut(self, len: usize) -> Self {
        Self { len: Some(len), ..self }
    }

    /// The bytes.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for (kind, control) in &self.tags {
            frame.extend(kind.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        let is_ipv4 = self.source.is_ipv4();
        frame.extend(self.ethertype.unwrap_or(if is_ipv4 { IPV4 } else { IPV6 }).to_be_bytes());
        match (self.source, self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.write_ipv4(source, destination, &mut frame),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.write_ipv6(source, destination, &mut frame),
            (source, destination) => panic!("{source} and {destination} are of two families"),
        }
        frame.truncate(self.len.unwrap_or(usize::MAX));
        frame
    }

    fn write_ipv4(&self, source: Ipv4Addr, destination: Ipv4Addr, frame: &mut Vec<u8>) {
        let transport = self.transport();
        let words = 5 + self.options.len() / 4;
        let fragment = self.fragment.unwrap_or(Fragment { identification: 0x5150, offset: 0, more: false });
        let flags = u16::from(fragment.more) << 13;
        frame.push(self.version.unwrap_or(4) << 4 | self.header_words.unwrap_or(words.try_into().unwrap()));
        frame.push(0);
        frame.extend(length_field((words * 4 + transport.len()).saturating_sub(self.beyond)));
        frame.extend(u16::try_from(fragment.identification).unwrap().to_be_bytes());
        frame.extend((flags | fragment.offset).to_be_bytes());
        frame.extend([64, self.protocol, 0, 0]);
        frame.extend(source.octets());
        frame.extend(destination.octets());
        frame.extend(&self.options);
        frame.extend(transport);
    }

    fn write_ipv6(&self, source: Ipv6Addr, destination: Ipv6Addr, frame: &mut Vec<u8>) {
        let numbers = self.extensions.iter().map(|extension| match extension {
            Extension::Fragment(_) => FRAGMENT,
            Extension::Other(number, _) => *number,
        });
        let mut numbers = numbers.chain([self.protocol]);
        let first = numbers.next().unwrap();
        let mut body = Vec::new();
        for (extension, next) in self.extensions.iter().zip(numbers) {
            extension.write(next, &mut body);
        }
        body.extend(self.transport());
        frame.extend([self.version.unwrap_or(6) << 4, 0, 0, 0]);
        frame.extend(length_field(body.len().saturating_sub(self.beyond)));
        frame.extend([first, 64]);
        frame.extend(source.octets());
        frame.extend(destination.octets());
        frame.extend(body);
    }

    /// The transport's header, but in a fragment that does not begin the datagram, and the payload.
    fn transport(&self) -> Vec<u8> {
        let fragments = self.extensions.iter().filter_map(|extension| match extension {
            Extension::Fragment(fragment) => Some(fragment),
            Extension::Other(..) => None,
        });
        let is_later = fragments.chain(&self.fragment).any(|fragment| fragment.offset != 0);
        let mut bytes = Vec::new();
        if !is_later && matches!(self.protocol, UDP | TCP) {
            bytes.extend(self.source_port.to_be_bytes());
            bytes.extend(self.destination.port().to_be_bytes());
        }
        match self.protocol {
            UDP if !is_later => {
                let len = length_field(8 + self.payload.len());
                bytes.extend(self.udp_len.map_or(len, u16::to_be_bytes));
                bytes.extend([0, 0]);
            }
            TCP if !is_later => {
                bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, self.tcp_flags, 0xff, 0xff, 0, 0, 0, 0]);
            }
            _ => {}
        }
        bytes.extend(&self.payload);
        bytes
    }
}

impl Extension {
    fn write(self, next: u8, body: &mut Vec<u8>) {
        match self {
            Self::Fragment(Fragment { identification, offset, more }) => {
                body.extend([next, 0]);
                body.extend((offset << 3 | u16::from(more)).to_be_bytes());
                body.extend(identification.to_be_bytes());
            }
            Self::Other(number, length) => {
                let units = usize::from(length);
                let len = if number == AUTHENTICATION { (units + 2) * 4 } else { (units + 1) * 8 };
                body.extend([next, length]);
                body.resize(body.len() + len - 2, 0);
            }
        }
    }
}

/// What a length field says of a packet; one that is too long for it says the most.
fn length_field(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

#[test]
fn frames_are_what_etherparse_reads() {
    use etherparse::{SlicedPacket, TransportSlice};
    let check = |packet: Packet, vlans: usize| {
        let frame = packet.build();
        let read = SlicedPacket::from_ethernet(&frame).unwrap();
        assert_eq!(read.vlan_ids().len(), vlans, "{packet:?}");
        let ports = match read.transport {
            Some(TransportSlice::Udp(udp)) => Some((udp.source_port(), udp.destination_port())),
            Some(TransportSlice::Tcp(tcp)) => Some((tcp.source_port(), tcp.destination_port())),
            _ => None,
        };
        let is_later = packet.fragment.is_some_and(|fragment| fragment.offset != 0 || fragment.more);
        assert_eq!(ports, (!is_later).then_some((7, 5060)), "{packet:?}");
    };
    for packet in [udp().source_port(7), tcp().source_port(7)] {
        let six = packet.clone().from("2001:db8::9").to("[2001:db8::1]:5060");
        check(packet.clone(), 0);
        check(packet.clone().vlan(3), 1);
        check(packet.clone().service_vlan(3).vlan(4), 2);
        check(packet.clone().options(10), 0);
        check(packet.clone().first(9), 0);
        check(packet.clone().later(9), 0);
        check(six.clone(), 0);
        check(six.clone().first(9), 0);
        check(six.clone().later(9), 0);
        check(six.clone().fragment(9, 0, false), 0);
        check(six.clone().extension(HOP_BY_HOP).extension(ROUTING).extension(AUTHENTICATION), 0);
        check(six.clone().extension_of(DESTINATION_OPTIONS, 255), 0);
    }
}
