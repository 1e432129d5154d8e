//! What stands behind each link header is judged alike.

use super::*;

#[test]
fn what_a_stranger_asks_for_is_read_behind_every_link_header() {
    let policy = POLICY.replacen("[[listener]]", "[strangers]\nsignalling = \"prove\"\n[[listener]]", 1);
    let policy = file::parse(Path::new("test.toml"), &policy).unwrap();
    let mut packet = Vec::new();
    let request = b"REGISTER sip:x SIP/2.0\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n\r\n";
    PacketBuilder::ipv4(STRANGER, HOST, 64).udp(40_000, 5060).write(&mut packet, request).unwrap();
    let loopback = [&[2, 0, 0, 0], &packet[..]].concat();
    for (link, record) in [
        (1, ethernet(IPV4, &packet)),
        (113, cooked(0, IPV4, &packet)),
        (276, cooked2(0, IPV4, &packet)),
        (101, packet),
        (0, loopback),
    ] {
        let mut writer = pcapng(Endianness::Little, &[link]);
        writer.write_pcapng_block(block(0, 0, &record)).unwrap();
        let report = replay(&writer.get_ref()[..], &policy).unwrap();
        assert_eq!(
            serde_json::to_value(report).unwrap()["reasons"],
            json!({"probation": 1}),
            "link type {link}"
        );
    }
}

#[test]
fn vlan_tags_are_seen_behind_every_link_header_that_has_them() {
    let tagged = |vlan: u16| {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([0; 6], [0; 6]).single_vlan(VlanId::try_new(vlan).unwrap());
        builder.ipv4(TRUNK, HOST, 64).udp(40_000, 5070).write(&mut frame, b"OPTIONS").unwrap();
        frame
    };
    let expected = json!({
        "packets": 3,
        "outgoing": 0,
        "reasons": {"wrong_vlan": 2, "trunk": 1},
        "sources": [{"address": "203.0.113.14", "reasons": {"wrong_vlan": 2, "trunk": 1}}],
    });
    let vlan = [0x81, 0];
    let frames = vec![tagged(7), tagged(8), ethernet(IPV4, &udp4(TRUNK, 5070))];
    let cook = |link: fn(u8, [u8; 2], &[u8]) -> Vec<u8>| {
        vec![
            link(0, vlan, &tagged(7)[14..]),
            link(0, vlan, &tagged(8)[14..]),
            link(0, IPV4, &udp4(TRUNK, 5070)),
        ]
    };
    assert_eq!(whole(&pcap(header(1), &untimed(frames))), expected);
    assert_eq!(whole(&pcap(header(113), &untimed(cook(cooked)))), expected);
    assert_eq!(whole(&pcap(header(276), &untimed(cook(cooked2)))), expected);
}
