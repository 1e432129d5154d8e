//! Policies that replace each other under traffic: each packet is judged by the one or by the other.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tests::{Family, Filter, Lab, POLICY, Receiver};

use super::traffic::{assert_counts, assert_whole, flow, let_pass};

const PORTS: [u16; 3] = [5060, 5070, 5080];
const SWITCHES: usize = 50;

/// Three sources and three ports: source `i` may reach port `i + turn`, and no other.
///
/// `more` goes to the trunk at the last port: an address before all others gives the same classes other numbers.
fn turned(turn: usize, more: &str) -> String {
    let mut text = "interfaces = [\"eth0\"]\nmode = \"enforce\"\nadmin = [\"192.0.2.10\"]\n".to_owned();
    for port in PORTS {
        text += &format!(
            "[[listener]]\nname = \"at-{port}\"\nkind = \"signalling\"\ntransport = \"udp\"\nports = [\"{port}\"]\n"
        );
    }
    text += "[[trunk]]\nname = \"always\"\nallow = [\"198.51.100.20\"]\n";
    for (index, port) in PORTS.into_iter().enumerate() {
        let more = if index == 2 { more } else { "" };
        let source = source((index + 3 - turn) % 3);
        text += &format!(
            "[[trunk]]\nname = \"to-{port}\"\nallow = [\"{source}\"{more}]\nlisteners = [\"at-{port}\"]\n"
        );
    }
    text
}

fn source(index: usize) -> IpAddr {
    [41, 42, 43].map(|host| Ipv4Addr::new(198, 51, 100, host))[index].into()
}

/// With the sources of the one policy and the classes of the other, some source would reach the port that neither
/// policy lets it reach.
#[test]
fn fifty_policies_in_a_row_lose_no_packet_and_let_none_in_that_none_of_them_allows() {
    let Some(lab) = Lab::or_skip() else { return };
    let policies = [turned(0, ""), turned(1, ", \"198.51.100.5\"")];
    let mut filter = Filter::start(&lab, &policies[0]).unwrap();
    let at = PORTS.map(|port| SocketAddr::new(lab.pbx().address(Family::V4), port));
    let receivers = at.map(|at| Receiver::start(lab.pbx(), at).unwrap());
    let (trunk, stranger) = (lab.trunk().address(Family::V4), lab.stranger().address(Family::V4));
    let of_trunk = flow(lab.trunk(), trunk, at[0]);
    let of_stranger = flow(lab.stranger(), stranger, at[0]);
    let mut of_sources = Vec::new();
    for index in 0..3 {
        lab.stranger().add_address(source(index), 32, &[]).unwrap();
        // What turn 0 allows, and what none does.
        for port in [index, (index + 2) % 3] {
            of_sources.push((index, port, flow(lab.stranger(), source(index), at[port])));
        }
    }
    let config = filter.config().display().to_string();
    for switch in 1..=SWITCHES {
        filter.write_config(&policies[switch % 2]).unwrap();
        filter.done(&["apply", "--config", &config]).unwrap();
        let_pass(&of_trunk, 20);
    }
    assert_eq!(filter.status().unwrap()["generation"], SWITCHES + 1);

    assert_whole(&receivers[0], trunk, of_trunk.stop().unwrap());
    of_stranger.stop().unwrap();
    assert_eq!(receivers[0].numbers(stranger), [0; 0], "of the stranger");
    for (index, port, flow) in of_sources {
        let sent = flow.stop().unwrap();
        let arrived = receivers[port].numbers(source(index)).len() as u64;
        if port == index {
            assert!(arrived > 0 && arrived < sent, "source {index}: {arrived} of {sent}");
        } else {
            assert_eq!(arrived, 0, "source {index} at {}, of {sent}", PORTS[port]);
        }
    }
    filter.kill(nix::sys::signal::Signal::SIGTERM).unwrap();
}

#[test]
fn monitor_counts_what_it_would_drop_until_apply_enforces_it() {
    let Some(lab) = Lab::or_skip() else { return };
    let monitor = POLICY.replace("mode = \"enforce\"", "mode = \"monitor\"");
    let filter = Filter::start(&lab, &monitor).unwrap();
    let config = filter.config().display().to_string();
    for family in Family::ALL {
        filter.write_config(&monitor).unwrap();
        filter.done(&["apply", "--config", &config]).unwrap();
        let before = filter.counter("stranger").unwrap();
        let stranger = lab.stranger().address(family);
        let receiver = Receiver::start(lab.pbx(), lab.pbx().sip(family)).unwrap();
        let of_stranger = flow(lab.stranger(), stranger, lab.pbx().sip(family));
        let_pass(&of_stranger, 200);
        let from = stranger.to_string();
        let explained =
            filter.done(&["explain", "--from", &from, "--to", ":5060", "--transport", "udp"]).unwrap();
        assert!(explained.contains("drop: stranger (passed, since the mode is monitor)"), "{explained}");

        filter.write_config(POLICY).unwrap();
        let printed = filter.done(&["apply", "--config", &config]).unwrap();
        assert!(printed.contains("~ mode monitor -> enforce"), "{printed}");
        assert_eq!(filter.status().unwrap()["mode"], "enforce");
        let enforced = of_stranger.sent();
        let_pass(&of_stranger, 200);
        let sent = of_stranger.stop().unwrap();
        // In both modes, by the same counter.
        assert_counts(&filter, "stranger", before + sent);
        let arrived = receiver.numbers(stranger);
        let last = arrived.last().copied().unwrap();
        // One may be on its way while its number is not counted as sent yet.
        assert!(last <= enforced, "{last} arrived, enforced since {enforced}");
        assert!(arrived.into_iter().eq(0..=last), "{family:?}: monitor mode lost packets");
    }
}
