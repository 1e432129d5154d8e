//! The laboratory itself, without a filter: what the other tests take for granted.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use etherparse::PacketBuilder;
use tests::{
    Call, Capture, Family, Lab, PacedSender, Pbx, Transport, options, send_frames, sweep, wait_until,
};

const WITHIN: Duration = Duration::from_secs(10);
const PROBE: Duration = Duration::from_millis(800);

#[test]
fn without_a_filter_calls_and_scans_get_through() {
    let Some(lab) = Lab::or_skip() else { return };
    let mut pbx = Pbx::start(lab.pbx()).unwrap();
    let capture = Capture::start(lab.pbx()).unwrap();
    std::thread::scope(|scope| {
        for family in Family::ALL {
            let (lab, capture) = (&lab, &capture);
            scope.spawn(move || {
                let found = sweep(lab.stranger(), lab.pbx().sip(family), 3).unwrap();
                assert_eq!((found.replies, found.found.len()), (3, 1), "{found:?}");
            });
            for transport in [Transport::Udp, Transport::Tcp] {
                scope.spawn(move || {
                    let call = Call::place(lab.trunk(), transport, family, WITHIN).unwrap();
                    assert!(call.complete, "{transport:?} {family:?}: {}", call.log);
                    let packets = capture.packets().unwrap();
                    let media = packets.iter().filter(|packet| call.is_media(packet)).count();
                    assert_eq!(media, tests::call::MEDIA_PACKETS, "{transport:?} {family:?}");
                    let reply = options(lab.stranger(), lab.pbx().sip(family), transport, PROBE).unwrap();
                    assert_eq!(reply, Some(200), "{transport:?} {family:?}");
                });
            }
        }
    });
    pbx.still_runs().unwrap();
}

#[test]
fn crafted_frames_arrive_as_they_were_sent() {
    let Some(lab) = Lab::or_skip() else { return };
    let capture = Capture::start(lab.pbx()).unwrap();
    let (stranger, pbx) = (lab.stranger().hardware_address(), lab.pbx().hardware_address());
    let builder = PacketBuilder::ethernet2(stranger, pbx).single_vlan(7.try_into().unwrap());
    let mut tagged = Vec::new();
    let builder = builder.ipv4([198, 51, 100, 30], [198, 51, 100, 10], 64).udp(5060, 5060);
    builder.write(&mut tagged, b"OPTIONS").unwrap();
    send_frames(lab.stranger(), &[tagged.clone(), tagged.clone()]).unwrap();
    let frames = capture.frames().unwrap();
    assert_eq!(frames.iter().filter(|frame| **frame == tagged).count(), 2);
}

#[test]
fn paced_packets_arrive_without_a_gap_from_added_addresses() {
    let Some(lab) = Lab::or_skip() else { return };
    let capture = Capture::start(lab.pbx()).unwrap();
    for (from, length) in [("203.0.113.7", 32), ("2001:db8:bad::7", 128)] {
        let from: IpAddr = from.parse().unwrap();
        lab.stranger().add_address(from, length, &[lab.pbx()]).unwrap();
        let to = lab.pbx().sip(Family::of(from));
        let number = |number: u64| number.to_be_bytes().to_vec();
        let paced =
            PacedSender::start(lab.stranger(), (from, 0).into(), to, Duration::from_millis(2), number);
        let paced = paced.unwrap();
        wait_until(WITHIN, "ten packets", || Ok((paced.sent() >= 10).then_some(()))).unwrap();
        let sent = paced.stop().unwrap();
        // They wait for the neighbour's answer first.
        let numbers = wait_until(WITHIN, "the last packet", || {
            let packets = capture.packets()?;
            let arrived =
                packets.iter().filter(|packet| packet.source == from && packet.transport == Transport::Udp);
            let numbers: Vec<u64> = arrived
                .filter_map(|packet| Some(u64::from_be_bytes(packet.payload.clone().try_into().ok()?)))
                .collect();
            Ok((numbers.last() == Some(&(sent - 1))).then_some(numbers))
        });
        let numbers = numbers.unwrap();
        assert_eq!(numbers, (0..sent).collect::<Vec<_>>(), "{from}");
    }
}

#[test]
fn nothing_is_left_of_a_laboratory_that_was_dropped() {
    let Some(lab) = Lab::or_skip() else { return };
    let namespaces =
        [lab.pbx(), lab.trunk(), lab.stranger()].map(|host| Path::new("/run/netns").join(host.namespace()));
    let directory = lab.directory().to_owned();
    assert!(namespaces.iter().all(|path| path.exists()));
    let mut command = lab.pbx().command("sleep");
    command.arg("600");
    let sleeper = lab.pbx().spawn("sleep", command).unwrap();
    let process = format!("/proc/{}/exe", sleeper.id());
    drop(lab);
    assert!(!namespaces.iter().any(|path| path.exists()) && !directory.exists());
    wait_until(WITHIN, "the sleeper's end", || Ok((!Path::new(&process).exists()).then_some(()))).unwrap();
}
