//! A flood that the kernel itself makes, by pktgen, beside a known peer's packets on the same card.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use tests::{Family, Filter, Host, Lab, POLICY, Receiver, wait_until};

use super::lab_with;
use crate::wire::traffic::{WITHIN, flow};

/// pktgen's files belong to a network namespace, and that to a thread.
const PKTGEN: &str = "/proc/thread-self/net/pktgen";
const PACKETS: u64 = 30_000;
/// Between two packets; an emulated processor needs half of that for one, and shares its own with another guest's.
const PAUSE_NS: u64 = 200_000;

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

/// Packets that a link gave up before any filter saw them; a veth's ring holds 256.
fn lost(lab: &Lab) -> Result<u64> {
    let switch = lab.pbx().namespace().replace("-pbx", "-switch");
    let links = [
        (lab.stranger().namespace(), "eth0"),
        (lab.trunk().namespace(), "eth0"),
        (&*switch, lab.pbx().role().name()),
    ];
    links.into_iter().try_fold(0, |sum, (namespace, link)| {
        let mut ip = Command::new("ip");
        let output = ip.args(["-n", namespace, "-s", "-j", "link", "show", "dev", link]).output()?;
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let dropped = shown[0]["stats64"]["tx"]["dropped"].as_u64().context("`ip` tells of no drops")?;
        Ok(sum + dropped)
    })
}

#[test]
fn a_flood_of_a_stranger_is_counted_and_costs_a_known_peer_no_packet_that_comes_to_the_filter() {
    let Some(lab) = lab_with("pktgen", prepare) else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let to = lab.pbx().sip(Family::V4);
    let receiver = Receiver::start(lab.pbx(), to).unwrap();
    let [trunk, stranger]: [IpAddr; 2] = [lab.trunk(), lab.stranger()].map(|host| host.address(Family::V4));
    let of_trunk = flow(lab.trunk(), trunk, to);
    flood(&lab).unwrap();
    let sent = of_trunk.stop().unwrap();
    let counters = || Ok::<_, anyhow::Error>([filter.counter("stranger")?, filter.counter("trunk")?]);
    let all_are_accounted_for = wait_until(WITHIN, "all packets to be counted or lost on the way", || {
        let lost = lost(&lab)?;
        Ok((counters()?.into_iter().sum::<u64>() + lost >= PACKETS + sent).then_some(()))
    });
    let [refused, passed] = counters().unwrap();
    let text = format!("{refused} of {PACKETS} refused, {passed} of {sent} passed, {:?} lost", lost(&lab));
    all_are_accounted_for.unwrap_or_else(|error| panic!("{error:#}: {text}"));
    assert!(refused <= PACKETS && refused > PACKETS * 9 / 10, "{text}");
    assert!(passed <= sent && passed > 100, "{text}");
    receiver.wait_for(trunk, passed, WITHIN).unwrap();
    assert_eq!(receiver.numbers(stranger), [0; 0]);
}
