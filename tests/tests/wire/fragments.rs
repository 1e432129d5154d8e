//! Datagrams larger than a frame, as the kernel of the sender cuts them.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use tests::{Capture, Family, Filter, Lab, POLICY, Packet, Pbx, Transport, invite_with_body};

use super::traffic::{WITHIN, assert_counts};

/// Three fragments at an MTU of 1500.
const BODY_BYTES: usize = 3_000;
const FRAGMENTS: u64 = 3;
const PROBE: Duration = Duration::from_millis(800);
const ICMP6: u8 = 58;

#[test]
fn a_fragmented_invite_of_the_trunk_is_answered_and_no_fragment_of_a_stranger_arrives() {
    let Some(lab) = Lab::or_skip() else { return };
    let _pbx = Pbx::start(lab.pbx()).unwrap();
    let filter = Filter::start(&lab, POLICY).unwrap();
    let arriving = Capture::start(lab.pbx()).unwrap();
    for (round, family) in (1..).zip(Family::ALL) {
        let to = lab.pbx().sip(family);
        assert_eq!(invite_with_body(lab.trunk(), to, BODY_BYTES, WITHIN).unwrap(), Some(100), "{family:?}");
        assert_eq!(invite_with_body(lab.stranger(), to, BODY_BYTES, PROBE).unwrap(), None, "{family:?}");
        assert_counts(&filter, "trunk", round * FRAGMENTS);
        assert_counts(&filter, "stranger", round);
        assert_counts(&filter, "fragment", round * (FRAGMENTS - 1));
    }
    let packets = arriving.stop().unwrap();
    let of_stranger =
        |packet: &&Packet| Family::ALL.map(|family| lab.stranger().address(family)).contains(&packet.source);
    // Neighbour discovery is not for the filter to stop.
    let data: Vec<_> = packets
        .iter()
        .filter(of_stranger)
        .filter(|packet| packet.transport != Transport::Other(ICMP6))
        .collect();
    assert!(data.is_empty(), "{data:?}");
}

#[test]
fn a_fragmented_datagram_of_a_stranger_to_no_listener_arrives_whole() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    for family in Family::ALL {
        let at = SocketAddr::new(lab.pbx().address(family), 7);
        let receiver = lab.pbx().in_namespace(|| UdpSocket::bind(at)).unwrap().unwrap();
        receiver.set_read_timeout(Some(WITHIN)).unwrap();
        let from = SocketAddr::new(lab.stranger().address(family), 0);
        let sender = lab.stranger().in_namespace(|| UdpSocket::bind(from)).unwrap().unwrap();
        let sent: Vec<u8> = (0..=u8::MAX).cycle().take(BODY_BYTES).collect();
        sender.send_to(&sent, at).unwrap();
        let mut buffer = [0; 4_096];
        let (length, source) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], source.ip()), (&sent[..], from.ip()), "{family:?}");
    }
    assert_eq!(filter.counter("stranger").unwrap(), 0);
    assert_eq!(filter.counter("fragment").unwrap(), 0);
}
