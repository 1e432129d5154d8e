//! The parts that the captures of the tests are built from.
//!
//! Builds what it is told, wrong or not; expects nothing.

use std::borrow::Cow;
use std::io::{self, Read};
use std::time::Duration;

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, PacketBuilder, UdpHeader};
use pcap_file::pcap::{PcapHeader, PcapWriter, RawPcapPacket};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, Endianness, TsResolution};
use serde_json::{Value, json};

/// What the captures are judged by.
pub(super) const POLICY: &str = r#"
mode = "monitor"
admin = ["192.0.2.10"]

[[listener]]
name = "sip"
kind = "signalling"
transport = "udp"
ports = [5060]

[[listener]]
name = "sip-vlan"
kind = "signalling"
transport = "udp"
ports = [5070]
vlans = [7]

[[trunk]]
name = "a"
allow = ["203.0.113.14", "2001:db8:a::/48"]
"#;

pub(super) const STRANGER: [u8; 4] = [198, 51, 100, 1];
pub(super) const TRUNK: [u8; 4] = [203, 0, 113, 14];
pub(super) const HOST: [u8; 4] = [192, 0, 2, 1];
pub(super) const STRANGER6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0xb, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(super) const TRUNK6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0xa, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(super) const HOST6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

pub(super) const SECOND_NS: u64 = 1_000_000_000;

pub(super) fn udp4(source: [u8; 4], port: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(source, HOST, 64).udp(40_000, port).write(&mut packet, b"OPTIONS").unwrap();
    packet
}

pub(super) fn udp6(source: [u8; 16], port: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv6(source, HOST6, 64).udp(40_000, port).write(&mut packet, b"OPTIONS").unwrap();
    packet
}

pub(super) fn behind(header: &[u8], packet: &[u8]) -> Vec<u8> {
    [header, packet].concat()
}

pub(super) fn ethernet(kind: [u8; 2], packet: &[u8]) -> Vec<u8> {
    behind(&[[0; 12].as_slice(), &kind].concat(), packet)
}

pub(super) fn cooked(packet_type: u8, kind: [u8; 2], packet: &[u8]) -> Vec<u8> {
    behind(&[0, packet_type, 0, 1, 0, 6, 0, 0, 0x5e, 0, 0x53, 1, 0, 0, kind[0], kind[1]], packet)
}

pub(super) fn cooked2(packet_type: u8, kind: [u8; 2], packet: &[u8]) -> Vec<u8> {
    behind(&[kind[0], kind[1], 0, 0, 0, 0, 0, 2, 0, 1, packet_type, 6, 0, 0, 0x5e, 0, 0x53, 1, 0, 0], packet)
}

pub(super) const IPV4: [u8; 2] = [0x08, 0x00];
pub(super) const IPV6: [u8; 2] = [0x86, 0xdd];
pub(super) const ARP: [u8; 2] = [0x08, 0x06];

pub(super) fn header(link: u32) -> PcapHeader {
    PcapHeader { datalink: DataLink::from(link), endianness: Endianness::Little, ..PcapHeader::default() }
}

/// A pcap file of records, each with its time; what stands behind a limit of 96 bytes is not in it.
pub(super) fn pcap(header: PcapHeader, records: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut writer = PcapWriter::with_header(Vec::new(), PcapHeader { snaplen: 96, ..header }).unwrap();
    for (at_ns, record) in records {
        let fraction = at_ns % SECOND_NS;
        let unit = if header.ts_resolution == TsResolution::MicroSecond { 1_000 } else { 1 };
        let captured = &record[..record.len().min(96)];
        let raw = RawPcapPacket {
            ts_sec: u32::try_from(at_ns / SECOND_NS).unwrap(),
            ts_frac: u32::try_from(fraction / unit).unwrap(),
            incl_len: u32::try_from(captured.len()).unwrap(),
            orig_len: u32::try_from(record.len()).unwrap(),
            data: Cow::Borrowed(captured),
        };
        writer.write_raw_packet(&raw).unwrap();
    }
    writer.into_writer()
}

pub(super) fn untimed(records: Vec<Vec<u8>>) -> Vec<(u64, Vec<u8>)> {
    records.into_iter().map(|record| (0, record)).collect()
}

/// A pcapng writer whose interfaces have these link types and nanosecond time stamps.
pub(super) fn pcapng(endianness: Endianness, links: &[u32]) -> PcapNgWriter<Vec<u8>> {
    let mut writer = PcapNgWriter::with_endianness(Vec::new(), endianness).unwrap();
    for link in links {
        let options = vec![InterfaceDescriptionOption::IfTsResol(9)];
        let interface = InterfaceDescriptionBlock { linktype: DataLink::from(*link), snaplen: 0, options };
        writer.write_pcapng_block(interface).unwrap();
    }
    writer
}

pub(super) fn block(interface_id: u32, units: u64, record: &[u8]) -> EnhancedPacketBlock<'_> {
    EnhancedPacketBlock {
        interface_id,
        timestamp: Duration::from_nanos(units),
        original_len: u32::try_from(record.len()).unwrap(),
        data: Cow::Borrowed(record),
        options: Vec::new(),
    }
}

/// One packet of a stranger and two of a trunk, over both IP versions, behind the link headers given.
pub(super) fn three(link4: impl Fn(&[u8]) -> Vec<u8>, link6: impl Fn(&[u8]) -> Vec<u8>) -> Vec<Vec<u8>> {
    vec![link4(&udp4(STRANGER, 5060)), link4(&udp4(TRUNK, 5060)), link6(&udp6(TRUNK6, 5060))]
}

pub(super) fn about_three() -> Value {
    json!({
        "packets": 3,
        "outgoing": 0,
        "reasons": {"trunk": 2, "stranger": 1},
        "sources": [
            {"address": "198.51.100.1", "reasons": {"stranger": 1}},
            {"address": "203.0.113.14", "reasons": {"trunk": 1}},
            {"address": "2001:db8:a::1", "reasons": {"trunk": 1}},
        ],
    })
}

/// Every link type with the three packets of [`three`].
pub(super) fn links() -> Vec<(u32, Vec<Vec<u8>>)> {
    let plain = |packet: &[u8]| packet.to_vec();
    let family = |bytes: [u8; 4]| move |packet: &[u8]| behind(&bytes, packet);
    vec![
        (1, three(|packet| ethernet(IPV4, packet), |packet| ethernet(IPV6, packet))),
        (113, three(|packet| cooked(0, IPV4, packet), |packet| cooked(0, IPV6, packet))),
        (276, three(|packet| cooked2(0, IPV4, packet), |packet| cooked2(0, IPV6, packet))),
        (101, three(plain, plain)),
        (228, three(plain, plain)),
        (229, three(plain, plain)),
        (0, three(family([2, 0, 0, 0]), family([10, 0, 0, 0]))),
        (0, three(family([0, 0, 0, 2]), family([0, 0, 0, 30]))),
        (108, three(family([0, 0, 0, 2]), family([0, 0, 0, 24]))),
    ]
}

/// The first and a later fragment of a stranger's datagram to an open port; known, so that both pass.
pub(super) fn fragments() -> [Vec<u8>; 2] {
    let fragment = |offset: u16, more: bool, payload: &[u8]| {
        let length = u16::try_from(payload.len()).unwrap();
        let mut ip = Ipv4Header::new(length, 64, IpNumber::UDP, STRANGER, HOST).unwrap();
        ip.identification = 77;
        ip.dont_fragment = false;
        ip.more_fragments = more;
        ip.fragment_offset = IpFragOffset::try_new(offset).unwrap();
        behind(&ip.to_bytes(), payload)
    };
    let udp = UdpHeader { source_port: 40_000, destination_port: 53, length: 24, checksum: 0 };
    [fragment(0, true, &behind(&udp.to_bytes(), &[0; 8])), fragment(2, false, &[0; 8])]
}

/// Hands out what it has in small pieces, as a pipe would.
pub(super) struct Drip<'a>(pub(super) &'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = buffer.len().min(3);
        self.0.read(&mut buffer[..piece])
    }
}
