//! The daemon ends and comes back under traffic; the kernel does what `on_exit` says.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use tests::{Call, Family, Filter, Lab, POLICY, PacedSender, Pbx, Receiver, Transport, options};

use super::traffic::{WITHIN, assert_counts, assert_whole, flow, let_pass};

/// In the media listener, and no phone's.
const PORT: u16 = 10_002;
const PROBE: Duration = Duration::from_millis(800);

fn hold() -> String {
    POLICY.replace("on_exit = \"open\"", "on_exit = \"hold\"")
}

#[test]
fn under_hold_the_filter_goes_on_while_the_daemon_dies_and_comes_back() {
    let Some(lab) = Lab::or_skip() else { return };
    let _pbx = Pbx::start(lab.pbx()).unwrap();
    let mut filter = Filter::start(&lab, &hold()).unwrap();
    let ways = Family::ALL.map(|family| {
        let at = SocketAddr::new(lab.pbx().address(family), PORT);
        let receiver = Receiver::start(lab.pbx(), at).unwrap();
        let [trunk, stranger] = [lab.trunk(), lab.stranger()]
            .map(|host| (host.address(family), flow(host, host.address(family), at)));
        (receiver, trunk, stranger)
    });
    let clock = &ways[0].1.1;

    let_pass(clock, 100);
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        filter.kill(signal).unwrap();
        let_pass(clock, 500);
        // Killed again on its way up, at whatever it is then doing.
        for packets in [0, 10, 30, 60, 100, 150, 250, 400] {
            filter.launch(&[]).unwrap();
            let_pass(clock, packets);
            filter.kill(Signal::SIGKILL).unwrap();
        }
        let call = Call::place(lab.trunk(), Transport::Udp, Family::V4, Duration::from_secs(15)).unwrap();
        assert!(call.complete, "{}", call.log);
        assert_eq!(options(lab.stranger(), lab.pbx().sip(Family::V4), Transport::Udp, PROBE).unwrap(), None);
        filter.run().unwrap();
        filter.logs(&["took over"]).unwrap();
        assert_eq!(filter.status().unwrap()["interfaces"][0]["attached"], "native");
        let_pass(clock, 500);
    }

    let mut by_stranger = 2;
    for (receiver, (trunk, of_trunk), (stranger, of_stranger)) in ways {
        by_stranger += of_stranger.stop().unwrap();
        assert_whole(&receiver, trunk, of_trunk.stop().unwrap());
        assert_eq!(receiver.numbers(stranger), [0; 0], "packets of {stranger} arrived");
    }
    // Exact over every one of these daemons: the counters are the same maps.
    assert_counts(&filter, "stranger", by_stranger);
}

#[test]
fn under_open_nothing_stays_attached_when_the_daemon_ends() {
    let Some(lab) = Lab::or_skip() else { return };
    let mut filter = Filter::prepare(&lab, POLICY).unwrap();
    let at = SocketAddr::new(lab.pbx().address(Family::V4), PORT);
    let stranger = lab.stranger().address(Family::V4);
    for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGINT] {
        let receiver = Receiver::start(lab.pbx(), at).unwrap();
        filter.run().unwrap();
        let sent = flow(lab.stranger(), stranger, at);
        let_pass(&sent, 100);
        assert_eq!(receiver.numbers(stranger), [0; 0], "before {signal}");
        filter.kill(signal).unwrap();
        let link = lab.pbx().network(&["-details", "link", "show", "dev", "eth0"]).unwrap();
        assert!(!link.contains("xdp"), "after {signal}: {link}");
        receiver.wait_for(stranger, 100, WITHIN).unwrap();
        PacedSender::stop(sent).unwrap();
    }
}
