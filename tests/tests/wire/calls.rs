//! Calls of a trunk beside scans of a stranger: the main job.

use std::thread;
use std::time::Duration;

use tests::call::MEDIA_PACKETS;
use tests::pbx::{MEDIA_PORTS, SIP_PORT};
use tests::{Call, Capture, Family, Filter, Host, Lab, POLICY, Packet, Pbx, Transport, options, sweep};

use super::traffic::assert_counts;

const CALL: Duration = Duration::from_secs(15);
/// Below a second, so that TCP sends one SYN.
const PROBE: Duration = Duration::from_millis(800);

#[test]
fn calls_of_the_trunk_are_complete_while_a_stranger_scans_and_finds_nothing() {
    let Some(lab) = Lab::or_skip() else { return };
    let mut pbx = Pbx::start(lab.pbx()).unwrap();
    let filter = Filter::start(&lab, POLICY).unwrap();
    let arriving = Capture::start(lab.pbx()).unwrap();
    let leaving = [lab.trunk(), lab.stranger()].map(|host| Capture::start(host).unwrap());
    let before = ["trunk", "stranger"].map(|reason| filter.counter(reason).unwrap());

    let mut calls = Vec::new();
    thread::scope(|scope| {
        let lab = &lab;
        let mut threads = Vec::new();
        for family in Family::ALL {
            scope.spawn(move || {
                let found = sweep(lab.stranger(), lab.pbx().sip(family), 10).unwrap();
                assert_eq!((found.replies, found.found), (0, vec![]), "{family:?}");
            });
            for transport in [Transport::Udp, Transport::Tcp] {
                scope.spawn(move || {
                    let reply = options(lab.stranger(), lab.pbx().sip(family), transport, PROBE).unwrap();
                    assert_eq!(reply, None, "{family:?} {transport:?}");
                });
                let place = move || Call::place(lab.trunk(), transport, family, CALL).unwrap();
                threads.push(((family, transport), scope.spawn(place)));
            }
        }
        calls.extend(threads.into_iter().map(|(way, thread)| (way, thread.join().unwrap())));
    });

    let arrived = arriving.stop().unwrap();
    for (way, call) in &calls {
        assert!(call.complete, "{way:?}: {}", call.log);
        let media = arrived.iter().filter(|packet| call.is_media(packet)).count();
        assert_eq!(media, MEDIA_PACKETS, "{way:?}");
    }
    let [by_trunk, by_stranger] = leaving.map(|capture| capture.stop().unwrap());
    let by_trunk = count(&by_trunk, lab.trunk());
    let by_stranger = count(&by_stranger, lab.stranger());
    assert!(by_trunk > 4 * MEDIA_PACKETS && by_stranger >= 24, "{by_trunk} and {by_stranger} were sent");
    assert_eq!(count(&arrived, lab.stranger()), 0);
    assert_counts(&filter, "trunk", before[0] + by_trunk as u64);
    assert_counts(&filter, "stranger", before[1] + by_stranger as u64);
    pbx.still_runs().unwrap();
}

/// Packets of a host to the listeners of the policy.
fn count(packets: &[Packet], from: &Host) -> usize {
    let to_listener = |packet: &&Packet| {
        let port = packet.destination_port;
        let ours = Family::ALL.into_iter().any(|family| packet.source == from.address(family));
        ours && match packet.transport {
            Transport::Udp => port == SIP_PORT || MEDIA_PORTS.contains(&port),
            Transport::Tcp => port == SIP_PORT,
            Transport::Other(_) => false,
        }
    };
    packets.iter().filter(to_listener).count()
}
