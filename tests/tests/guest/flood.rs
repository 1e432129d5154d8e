//! A flood that the kernel itself makes, by pktgen, beside a known peer's packets on the same card.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use tests::{Family, Filter, Host, Lab, POLICY, Receiver};

use super::lab_with;
use crate::wire::traffic::{assert_counts, assert_whole, flow};

/// pktgen's files belong to a network namespace, and that to a thread.
const PKTGEN: &str = "/proc/thread-self/net/pktgen";
const PACKETS: u64 = 30_000;
/// Between two packets: in front of the filter, a veth's ring of 256 would overflow and lose what no filter has seen.
const PAUSE_NS: u64 = 100_000;

/// Gives pktgen's file in `host` its lines.
fn tell(host: &Host, file: &str, lines: &[String]) -> Result<()> {
    host.in_namespace(|| {
        let path = Path::new(PKTGEN).join(file);
        lines.iter().try_for_each(|line| {
            fs::write(&path, format!("{line}\n"))
                .with_context(|| format!("write `{line}` to {}", path.display()))
        })
    })?
}

fn prepare(lab: &Lab) -> Result<()> {
    tell(lab.stranger(), "kpktgend_0", &["rem_device_all".to_owned(), "add_device eth0".to_owned()])
}

/// Floods the SIP port of the PBX, to the end.
fn flood(lab: &Lab) -> Result<()> {
    let address = |host: &Host| host.address(Family::V4);
    let [_, _, _, _, _, last] = lab.pbx().hardware_address();
    let settings = [
        format!("count {PACKETS}"),
        format!("delay {PAUSE_NS}"),
        "pkt_size 120".to_owned(),
        format!("src_min {}", address(lab.stranger())),
        format!("src_max {}", address(lab.stranger())),
        format!("dst {}", address(lab.pbx())),
        format!("dst_mac 02:00:00:00:00:{last:02x}"),
        "udp_dst_min 5060".to_owned(),
        "udp_dst_max 5060".to_owned(),
    ];
    tell(lab.stranger(), "eth0", &settings)?;
    tell(lab.stranger(), "pgctrl", &["start".to_owned()])
}

#[test]
fn a_flood_of_a_stranger_is_counted_whole_and_costs_a_known_peer_no_packet() {
    let Some(lab) = lab_with("pktgen", prepare) else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let to = lab.pbx().sip(Family::V4);
    let receiver = Receiver::start(lab.pbx(), to).unwrap();
    let [trunk, stranger]: [IpAddr; 2] = [lab.trunk(), lab.stranger()].map(|host| host.address(Family::V4));
    let of_trunk = flow(lab.trunk(), trunk, to);
    flood(&lab).unwrap();
    let sent = of_trunk.stop().unwrap();
    assert_counts(&filter, "stranger", PACKETS);
    assert_whole(&receiver, trunk, sent);
    assert_counts(&filter, "trunk", sent);
    assert_eq!(receiver.numbers(stranger), [0; 0]);
    assert!(sent > 100, "{sent} packets of the trunk are too few to be beside a flood");
}
