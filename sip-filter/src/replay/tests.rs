//! Captures built in memory, and the whole report about each.

mod captures;
mod links;

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;
use std::path::Path;

use etherparse::{IpNumber, Ipv6Header, Ipv6RawExtHeader, PacketBuilder, UdpHeader, VlanId};
use pcap_file::pcap::PcapHeader;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::packet::PacketBlock;
use pcap_file::pcapng::blocks::simple_packet::SimplePacketBlock;
use pcap_file::{DataLink, Endianness, TsResolution};
use proptest::prelude::*;
use serde_json::{Value, json};

use self::captures::{
    ARP, Drip, HOST, HOST6, IPV4, POLICY, SECOND_NS, STRANGER, STRANGER6, TRUNK, TRUNK6, about_three, behind,
    block, cooked, cooked2, ethernet, fragments, header, links, pcap, pcapng, udp4, udp6, untimed,
};
use super::*;
use crate::policy::file;

fn tables() -> HostTables {
    let policy = file::parse(Path::new("test.toml"), POLICY).unwrap();
    HostTables::new(Tables::compile(&policy, &RegisteredTrunks::default()).unwrap())
}

fn replayed(capture: &[u8]) -> Result<Report, ReplayError> {
    replay_over(capture, &mut tables())
}

fn whole(capture: &[u8]) -> Value {
    serde_json::to_value(replayed(capture).unwrap()).unwrap()
}

fn stopped(capture: &[u8]) -> (Value, CaptureError) {
    match replayed(capture) {
        Err(ReplayError::Stopped { report, error }) => (serde_json::to_value(report).unwrap(), error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_link_type_is_read_from_both_formats_in_both_byte_orders() {
    for (link, records) in links() {
        for endianness in [Endianness::Little, Endianness::Big] {
            for ts_resolution in [TsResolution::MicroSecond, TsResolution::NanoSecond] {
                let header = PcapHeader { endianness, ts_resolution, ..header(link) };
                assert_eq!(
                    whole(&pcap(header, &untimed(records.clone()))),
                    about_three(),
                    "pcap, link type {link}"
                );
            }
            let mut writer = pcapng(endianness, &[link]);
            for record in &records {
                writer.write_pcapng_block(block(0, 0, record)).unwrap();
            }
            assert_eq!(whole(writer.get_ref()), about_three(), "pcapng, link type {link}");
        }
    }
}

#[test]
fn interfaces_of_one_capture_have_link_types_of_their_own() {
    // The last one is of USB, which is no mistake as long as nothing was captured there.
    let mut writer = pcapng(Endianness::Little, &[1, 113, 101, 220]);
    let [stranger, trunk, trunk6] = [udp4(STRANGER, 5060), udp4(TRUNK, 5060), udp6(TRUNK6, 5060)];
    writer.write_pcapng_block(block(1, 0, &cooked(0, IPV4, &stranger))).unwrap();
    writer.write_pcapng_block(block(0, 0, &ethernet(IPV4, &trunk))).unwrap();
    writer.write_pcapng_block(block(2, 0, &trunk6)).unwrap();
    assert_eq!(whole(writer.get_ref()), about_three());
    writer.write_pcapng_block(block(3, 0, &[0; 64])).unwrap();
    let (report, error) = stopped(writer.get_ref());
    assert_eq!(report, about_three());
    assert_eq!(
        error.to_string(),
        "the link type USB_LINUX_MMAPPED (220) cannot be judged: capture on an Ethernet interface or on `any`"
    );
}

#[test]
fn packets_in_old_and_simple_blocks_and_with_options_are_read() {
    let [stranger, trunk, trunk6] = [udp4(STRANGER, 5060), udp4(TRUNK, 5060), udp6(TRUNK6, 5060)];
    for endianness in [Endianness::Little, Endianness::Big] {
        let mut writer = pcapng(endianness, &[101]);
        let length = |record: &[u8]| u32::try_from(record.len()).unwrap();
        let simple = SimplePacketBlock { original_len: length(&stranger), data: Cow::Borrowed(&stranger) };
        writer.write_pcapng_block(simple).unwrap();
        let old = PacketBlock {
            interface_id: 0,
            drop_count: 9,
            timestamp: 0,
            captured_len: length(&trunk),
            original_len: length(&trunk),
            data: Cow::Borrowed(&trunk),
            options: Vec::new(),
        };
        writer.write_pcapng_block(old).unwrap();
        let options = vec![EnhancedPacketOption::Comment("why".into()), EnhancedPacketOption::Flags(1)];
        writer.write_pcapng_block(EnhancedPacketBlock { options, ..block(0, 0, &trunk6) }).unwrap();
        assert_eq!(whole(writer.get_ref()), about_three());
    }
}

#[test]
fn what_the_host_sent_itself_is_counted_apart() {
    let expected = json!({
        "packets": 1,
        "outgoing": 2,
        "reasons": {"stranger": 1},
        "sources": [{"address": "198.51.100.1", "reasons": {"stranger": 1}}],
    });
    let packet = udp4(STRANGER, 5060);
    let of =
        |link: fn(u8, [u8; 2], &[u8]) -> Vec<u8>| [4, 0, 4].map(|kind| link(kind, IPV4, &packet)).to_vec();
    assert_eq!(whole(&pcap(header(113), &untimed(of(cooked)))), expected);
    assert_eq!(whole(&pcap(header(276), &untimed(of(cooked2)))), expected);
}

#[test]
fn time_stamps_let_fragments_follow_their_datagram_for_a_minute() {
    let [first, later] = fragments();
    let check = |capture: &[u8], passed: u64, dropped: u64, what: &str| {
        let reasons = json!({"not_protected": passed, "fragment": dropped});
        let expected = json!({
            "packets": passed + dropped,
            "outgoing": 0,
            "reasons": reasons,
            "sources": [{"address": "198.51.100.1", "reasons": reasons}],
        });
        assert_eq!(whole(capture), expected, "{what}");
    };
    let start_ns = 1_700_000_000 * SECOND_NS;
    let last_ns = start_ns + 60 * SECOND_NS - 1_000;
    let records = [(start_ns, &first), (last_ns, &later), (last_ns + 1_000, &later)];
    let owned: Vec<(u64, Vec<u8>)> =
        records.iter().map(|(at_ns, record)| (*at_ns, (*record).clone())).collect();
    for ts_resolution in [TsResolution::MicroSecond, TsResolution::NanoSecond] {
        check(&pcap(PcapHeader { ts_resolution, ..header(101) }, &owned), 2, 1, "pcap");
    }
    // Decimal and binary units, with and without the offset that an interface may have.
    let resolutions = [(None, 1_000_000), (Some(9), SECOND_NS), (Some(0x80 | 20), 1 << 20), (Some(3), 1_000)];
    for (resolution, per_second) in resolutions {
        for offset_s in [0, 1_600_000_000] {
            let mut writer = PcapNgWriter::with_endianness(Vec::new(), Endianness::Big).unwrap();
            let mut options = vec![InterfaceDescriptionOption::IfTsOffset(offset_s)];
            options.extend(resolution.map(InterfaceDescriptionOption::IfTsResol));
            let interface = InterfaceDescriptionBlock { linktype: DataLink::RAW, snaplen: 0, options };
            writer.write_pcapng_block(interface).unwrap();
            let start = (1_700_000_000 - offset_s) * per_second;
            for (units, record) in
                [(start, &first), (start + 60 * per_second - 1, &later), (start + 60 * per_second, &later)]
            {
                writer.write_pcapng_block(block(0, units, record)).unwrap();
            }
            check(writer.get_ref(), 2, 1, &format!("{resolution:?}, {offset_s}"));
        }
    }
}

#[test]
fn ipv6_extension_headers_are_passed_over() {
    let extended = |source: [u8; 16], port: u16| {
        let udp = UdpHeader { source_port: 40_000, destination_port: port, length: 8, checksum: 0 };
        let options = Ipv6RawExtHeader::new_raw(IpNumber::UDP, &[1, 4, 0, 0, 0, 0]).unwrap();
        let hop_by_hop = Ipv6RawExtHeader::new_raw(
            IpNumber::IPV6_DESTINATION_OPTIONS,
            &[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        )
        .unwrap();
        let ip = Ipv6Header {
            next_header: IpNumber::IPV6_HEADER_HOP_BY_HOP,
            payload_length: 32,
            hop_limit: 64,
            source,
            destination: HOST6,
            ..Ipv6Header::default()
        };
        [&ip.to_bytes()[..], &hop_by_hop.to_bytes(), &options.to_bytes(), &udp.to_bytes()].concat()
    };
    let records = vec![extended(TRUNK6, 5060), extended(STRANGER6, 5060), extended(STRANGER6, 53)];
    let expected = json!({
        "packets": 3,
        "outgoing": 0,
        "reasons": {"not_protected": 1, "trunk": 1, "stranger": 1},
        "sources": [
            {"address": "2001:db8:b::1", "reasons": {"not_protected": 1, "stranger": 1}},
            {"address": "2001:db8:a::1", "reasons": {"trunk": 1}},
        ],
    });
    assert_eq!(whole(&pcap(header(229), &untimed(records))), expected);
}

#[test]
fn packets_without_a_source_count_in_the_total_only() {
    let records =
        vec![ethernet(ARP, &[0; 28]), ethernet(IPV4, &udp4(STRANGER, 5060)[..22]), vec![], vec![0; 3]];
    let expected =
        json!({"packets": 4, "outgoing": 0, "reasons": {"not_ip": 1, "truncated": 3}, "sources": []});
    assert_eq!(whole(&pcap(header(1), &untimed(records))), expected);
}

#[test]
fn a_packet_that_was_captured_in_part_is_judged_on_that_part() {
    let mut long = Vec::new();
    PacketBuilder::ipv4(STRANGER, HOST, 64).udp(40_000, 5060).write(&mut long, &[0; 1_200]).unwrap();
    let expected = json!({
        "packets": 1,
        "outgoing": 0,
        "reasons": {"stranger": 1},
        "sources": [{"address": "198.51.100.1", "reasons": {"stranger": 1}}],
    });
    assert_eq!(whole(&pcap(header(101), &[(0, long.clone())])), expected);
    let mut writer = PcapNgWriter::with_endianness(Vec::new(), Endianness::Little).unwrap();
    writer.write_pcapng_block(InterfaceDescriptionBlock::new(DataLink::RAW, 64)).unwrap();
    writer
        .write_pcapng_block(SimplePacketBlock { original_len: 1_228, data: Cow::Borrowed(&long[..64]) })
        .unwrap();
    assert_eq!(whole(writer.get_ref()), expected);
}

#[test]
fn the_source_of_most_dropped_packets_comes_first() {
    let sources =
        [[198, 51, 100, 2], [198, 51, 100, 1], [198, 51, 100, 3], [198, 51, 100, 3], TRUNK, TRUNK, TRUNK];
    let records = sources.iter().map(|source| udp4(*source, 5060)).collect();
    let report = replayed(&pcap(header(101), &untimed(records))).unwrap();
    let addresses: Vec<String> = report.sources.iter().map(|source| source.address.to_string()).collect();
    assert_eq!(addresses, ["198.51.100.3", "198.51.100.1", "198.51.100.2", "203.0.113.14"]);
}

#[test]
fn a_capture_cut_anywhere_gives_the_report_of_what_came_before() {
    let records: Vec<Vec<u8>> = (0..3).map(|_| udp4(STRANGER, 5060)).collect();
    let from_pcap = pcap(header(101), &untimed(records.clone()));
    let ends: Vec<usize> = (0..4).map(|count| 24 + count * (16 + records[0].len())).collect();
    let mut writer = pcapng(Endianness::Little, &[101]);
    let mut ng_ends = vec![28, writer.get_ref().len()];
    for record in &records {
        writer.write_pcapng_block(block(0, 0, record)).unwrap();
        ng_ends.push(writer.get_ref().len());
    }
    let mut tables = tables();
    for (capture, ends, headers) in [(from_pcap, ends, 1), (writer.into_inner(), ng_ends, 2)] {
        for cut in 4..=capture.len() {
            let before = ends.iter().filter(|end| **end <= cut).count().saturating_sub(headers);
            let packets = match replay_over(Drip(&capture[..cut]), &mut tables) {
                Ok(report) => {
                    assert!(ends.contains(&cut), "a cut at {cut} is not between records");
                    report.packets
                }
                Err(ReplayError::Stopped { report, error: CaptureError::CutOff }) => {
                    assert!(!ends.contains(&cut) && report.truncated_capture);
                    report.packets
                }
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(packets, before as u64, "cut at {cut}");
        }
    }
}

#[test]
fn a_cut_is_told_in_the_report_and_as_an_error() {
    let capture = pcap(header(101), &untimed(vec![udp4(STRANGER, 5060); 2]));
    let (report, error) = stopped(&capture[..capture.len() - 1]);
    let expected = json!({
        "packets": 1,
        "outgoing": 0,
        "truncated_capture": true,
        "reasons": {"stranger": 1},
        "sources": [{"address": "198.51.100.1", "reasons": {"stranger": 1}}],
    });
    assert_eq!(report, expected);
    assert!(error.to_string().starts_with("the capture is cut off"));
}

#[test]
fn what_is_no_capture_is_refused_with_the_formats_that_are() {
    let check = |bytes: &[u8]| match replayed(bytes) {
        Err(error @ ReplayError::Unreadable(_)) => {
            assert!(error.to_string().contains("pcap or pcapng"), "{error}");
        }
        other => panic!("{other:?}"),
    };
    check(b"");
    check(b"\n");
    check(&[0xd4, 0xc3, 0xb2]);
    check(b"mode = \"enforce\"\n");
    check(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
}

#[test]
fn a_capture_of_another_link_layer_is_refused() {
    let error = replayed(&pcap(header(127), &[])).unwrap_err();
    assert!(matches!(error, ReplayError::Unreadable(CaptureError::LinkType { number: 127, .. })), "{error}");
}

#[test]
fn damage_is_told_from_a_cut() {
    let mut capture = pcap(header(101), &untimed(vec![udp4(STRANGER, 5060)]));
    capture.extend([0xff; 16]);
    let endless = replay_over(capture.as_slice().chain(io::repeat(0)), &mut tables());
    let Err(ReplayError::Stopped { report, error: CaptureError::TooLong }) = endless else {
        panic!("{endless:?}")
    };
    assert_eq!((report.packets, report.truncated_capture), (1, false));
    let stranger = udp4(STRANGER, 5060);
    let mut writer = pcapng(Endianness::Little, &[101]);
    writer.write_pcapng_block(block(0, 0, &stranger)).unwrap();
    let mut other = pcapng(Endianness::Little, &[101, 101]);
    let described = other.get_ref().len();
    other.write_pcapng_block(block(1, 0, &stranger)).unwrap();
    writer.get_mut().extend_from_slice(&other.get_ref()[described..]);
    let (_, error) = stopped(writer.get_ref());
    assert!(matches!(error, CaptureError::Interface { id: 1, known: 1 }), "{error}");
}

thread_local! {
    /// Compiled once for all cases.
    static TABLES: RefCell<HostTables> = RefCell::new(tables());
}

fn replayed_again(capture: &[u8]) -> Result<Report, ReplayError> {
    TABLES.with_borrow_mut(|tables| replay_over(capture, tables))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(start in 0..4_usize, bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let described = pcapng(Endianness::Little, &[1, 113, 276, 0]).into_inner();
        let starts = [Vec::new(), pcap(header(1), &[]), described, vec![0x0a, 0x0d, 0x0d, 0x0a]];
        let _: Result<Report, ReplayError> = replayed_again(&behind(&starts[start], &bytes));
    }

    #[test]
    fn no_changed_byte_makes_it_panic(
        link in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let links = links();
        let (link, records) = link.get(&links);
        let mut writer = pcapng(Endianness::Big, &[*link]);
        for record in records {
            writer.write_pcapng_block(block(0, 0, record)).unwrap();
        }
        for mut capture in [pcap(header(*link), &untimed(records.clone())), writer.into_inner()] {
            let length = capture.len();
            capture[at.index(length)] = value;
            let _: Result<Report, ReplayError> = replayed_again(&capture);
        }
    }
}
