//! `replay` of what the laboratory sent, against what the kernel counted.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tests::frames::write_pcap;
use tests::{Capture, Family, Filter, Lab, POLICY, Transport, invite_with_body, options, wait_until};

use super::asking::WITHIN;

/// Nobody answers in this laboratory.
const PROBE: Duration = Duration::from_millis(50);
const REASONS: [&str; 4] = ["trunk", "stranger", "fragment", "denied"];

#[test]
fn replay_of_a_capture_comes_to_what_the_kernel_counted() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let leaving = [lab.trunk(), lab.stranger()].map(|host| Capture::start(host).unwrap());
    lab.stranger().add_address("203.0.113.7".parse().unwrap(), 32, &[lab.pbx()]).unwrap();
    for (host, times) in [(lab.trunk(), 3), (lab.stranger(), 5)] {
        for family in Family::ALL {
            for _ in 0..times {
                options(host, lab.pbx().sip(family), Transport::Udp, PROBE).unwrap();
            }
            options(host, lab.pbx().sip(family), Transport::Tcp, PROBE).unwrap();
            invite_with_body(host, lab.pbx().sip(family), 3_000, PROBE).unwrap();
        }
    }
    let denied = lab.stranger().in_namespace(|| std::net::UdpSocket::bind("203.0.113.7:0")).unwrap().unwrap();
    denied.send_to(b"OPTIONS", lab.pbx().sip(Family::V4)).unwrap();
    wait_until(WITHIN, "the last packet", || Ok((filter.counter("denied")? > 0).then_some(()))).unwrap();

    let counted: BTreeMap<&str, u64> = REASONS.map(|reason| (reason, filter.counter(reason).unwrap())).into();
    assert!(counted.values().all(|packets| *packets > 0), "{counted:?}");
    let to_pbx = lab.pbx().hardware_address();
    let frames: Vec<Vec<u8>> = leaving
        .iter()
        .flat_map(|capture| capture.frames().unwrap())
        .filter(|frame| frame.starts_with(&to_pbx))
        .collect();
    let capture = lab.directory().join("sent.pcap");
    write_pcap(&capture, &frames, Duration::from_millis(1)).unwrap();
    let config = filter.config().display().to_string();
    let answer = filter.json(&["replay", &capture.display().to_string(), "--config", &config]).unwrap();
    for (reason, packets) in &counted {
        assert_eq!(answer["reasons"][reason], *packets, "{reason}: {answer}");
    }
    assert_eq!(answer["packets"], frames.len());
    let of = |address: &str| {
        let sources = answer["sources"].as_array().unwrap();
        sources.iter().find(|source| source["address"] == address).unwrap_or(&Value::Null)["reasons"].clone()
    };
    assert_eq!(of("203.0.113.7")["denied"], 1, "{answer}");
    assert_eq!(of("198.51.100.30")["trunk"], Value::Null, "{answer}");
    assert_eq!(of("198.51.100.20")["stranger"], Value::Null, "{answer}");
}
