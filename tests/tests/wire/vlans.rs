//! Tagged frames at a listener with `vlans`, and cards that take the tags off.

use etherparse::{PacketBuilder, VlanId};
use tests::{Capture, Filter, Lab, POLICY, Packet, send_frames};

use super::traffic::assert_counts;

const TRUNK: [u8; 4] = [198, 51, 100, 20];
const STRANGER: [u8; 4] = [198, 51, 100, 30];
const ADMIN: [u8; 4] = [192, 0, 2, 10];
const PBX: [u8; 4] = [198, 51, 100, 10];

fn on_vlan_10() -> String {
    POLICY.replacen("ports = [\"5060\"]", "ports = [\"5060\"]\nvlans = [10]", 1)
}

#[test]
fn a_listener_with_vlans_is_reached_by_the_innermost_tag_alone() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, &on_vlan_10()).unwrap();
    let capture = Capture::start(lab.pbx()).unwrap();
    let check = |title: &str, tags: &[u16], source: [u8; 4], reason: &str, passes: bool| {
        let before = filter.counter(reason).unwrap();
        send_frames(lab.trunk(), &[frame(&lab, tags, source, title)]).unwrap();
        assert_counts(&filter, reason, before + 1);
        let packets: Vec<Packet> =
            capture.frames().unwrap().iter().filter_map(|frame| Packet::parse(frame)).collect();
        assert_eq!(packets.iter().any(|packet| packet.payload == title.as_bytes()), passes, "{title}");
    };
    check("the trunk on VLAN 10", &[10], TRUNK, "trunk", true);
    check("the trunk on VLAN 20", &[20], TRUNK, "wrong_vlan", false);
    check("the trunk without a tag", &[], TRUNK, "wrong_vlan", false);
    check("the trunk with a priority tag", &[0], TRUNK, "wrong_vlan", false);
    check("the trunk on VLAN 10 within 100", &[100, 10], TRUNK, "trunk", true);
    check("the trunk on VLAN 20 within 10", &[10, 20], TRUNK, "wrong_vlan", false);
    check("the stranger on VLAN 10", &[10], STRANGER, "stranger", false);
    check("the stranger on VLAN 20", &[20], STRANGER, "wrong_vlan", false);
    check("admin on VLAN 20", &[20], ADMIN, "admin", true);
}

#[test]
fn vlans_are_refused_where_the_card_takes_tags_off() {
    let Some(lab) = Lab::or_skip() else { return };
    let mut ethtool = lab.pbx().command("ethtool");
    ethtool.args(["-K", "eth0", "rxvlan", "on"]);
    assert!(lab.pbx().run("ethtool", ethtool, super::traffic::WITHIN).unwrap().succeeded());
    let refused = |outcome: tests::Outcome| {
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        for word in ["eth0", "rx-vlan-offload", "sip-udp", "ethtool -K eth0 rxvlan off"] {
            assert!(outcome.stderr.contains(word), "{word}: {}", outcome.stderr);
        }
    };
    let mut filter = Filter::prepare(&lab, &on_vlan_10()).unwrap();
    refused(filter.run_in_vain(&[]).unwrap());
    assert!(!filter.pins().exists(), "a refused start leaves pins");

    filter.write_config(POLICY).unwrap();
    filter.run().unwrap();
    let status = filter.status().unwrap();
    assert_eq!(status["interfaces"][0]["vlan_tags"], "stripped");
    assert!(filter.done(&["status"]).unwrap().contains("stripped (rx-vlan-offload)"));

    filter.write_config(&on_vlan_10()).unwrap();
    let config = filter.config().display().to_string();
    refused(filter.cli(["apply", "--config", &config]).unwrap());
    assert_eq!(filter.status().unwrap()["generation"], status["generation"]);
}

/// UDP to the SIP port, with the tags from the outermost to the innermost.
fn frame(lab: &Lab, tags: &[u16], source: [u8; 4], payload: &str) -> Vec<u8> {
    let id = |tag: u16| VlanId::try_new(tag).unwrap();
    let link = PacketBuilder::ethernet2(lab.trunk().hardware_address(), lab.pbx().hardware_address());
    let ip = match tags {
        [] => link.ipv4(source, PBX, 64),
        [tag] => link.single_vlan(id(*tag)).ipv4(source, PBX, 64),
        [outer, inner] => link.double_vlan(id(*outer), id(*inner)).ipv4(source, PBX, 64),
        _ => panic!("no more than two tags"),
    };
    let mut frame = Vec::new();
    ip.udp(5060, 5060).write(&mut frame, payload.as_bytes()).unwrap();
    frame
}
