//! Real 802.1Q and 802.1ad interfaces on the sending side: the kernel's own tags, not crafted ones.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use tests::{Filter, Host, Lab, POLICY, PacedSender, Receiver, wait_until};

use super::lab_with;
use crate::wire::traffic::{WITHIN, assert_counts, assert_whole};

const PACKETS: u64 = 50;
const EVERY: Duration = Duration::from_millis(1);

/// A VLAN of the laboratory: its tags from the outermost to the innermost, and a network of its own.
struct Vlan {
    tags: &'static [(&'static str, u16)],
    here: &'static str,
    there: &'static str,
}

const TEN: Vlan = Vlan { tags: &[("802.1Q", 10)], here: "192.0.2.129", there: "192.0.2.130" };
const TWENTY: Vlan = Vlan { tags: &[("802.1Q", 20)], here: "192.0.2.161", there: "192.0.2.162" };
/// The listener's tag inside a provider's.
const STACKED: Vlan =
    Vlan { tags: &[("802.1ad", 100), ("802.1Q", 10)], here: "192.0.2.193", there: "192.0.2.194" };
/// The listener's tag outside; the innermost counts.
const REVERSED: Vlan =
    Vlan { tags: &[("802.1ad", 10), ("802.1Q", 30)], here: "192.0.2.225", there: "192.0.2.226" };

impl Vlan {
    fn lay(&self, lab: &Lab) -> Result<()> {
        for (host, address) in [(lab.pbx(), self.here), (lab.trunk(), self.there)] {
            let mut on = "eth0".to_owned();
            for (protocol, id) in self.tags {
                let name = format!("{on}.{id}");
                let id = id.to_string();
                let device = ["link", "add", "link", &on, "name", &name, "type", "vlan"];
                let tag = ["proto", protocol, "id", &id];
                if !host.network(&["link", "show"])?.contains(&format!("{name}@")) {
                    host.network(&[&device[..], &tag].concat())?;
                    host.network(&["link", "set", &name, "addrgenmode", "none"])?;
                    host.network(&["link", "set", &name, "up"])?;
                }
                on = name;
            }
            host.network(&["address", "add", &format!("{address}/27"), "dev", &on])?;
        }
        Ok(())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Numbered packets of the trunk to the SIP port, sent to the end.
    fn send(&self, lab: &Lab) -> u64 {
        numbered(lab.trunk(), Self::address(self.there), (Self::address(self.here), 5060).into())
    }
}

fn numbered(from: &Host, source: IpAddr, to: SocketAddr) -> u64 {
    let number = |number: u64| number.to_be_bytes().to_vec();
    let flow = PacedSender::start(from, (source, 0).into(), to, EVERY, number).unwrap();
    wait_until(WITHIN, "the packets to be sent", || Ok((flow.sent() >= PACKETS).then_some(()))).unwrap();
    flow.stop().unwrap()
}

/// The tag must be in the frame when it leaves, and not beside it.
fn prepare(lab: &Lab) -> Result<()> {
    for host in [lab.pbx(), lab.trunk()] {
        let mut ethtool = host.command("ethtool");
        ethtool.args(["-K", "eth0", "txvlan", "off", "tx-vlan-stag-hw-insert", "off"]);
        let outcome = host.run("ethtool", ethtool, WITHIN)?;
        anyhow::ensure!(outcome.succeeded(), "{outcome:?}");
    }
    [TEN, TWENTY, STACKED, REVERSED].iter().try_for_each(|vlan| vlan.lay(lab))
}

#[test]
fn a_listener_of_a_vlan_is_reached_through_a_real_interface_of_that_vlan_only() {
    let Some(lab) = lab_with("802.1Q", prepare) else { return };
    let policy = POLICY
        .replacen("ports = [\"5060\"]", "ports = [\"5060\"]\nvlans = [10]", 1)
        .replace("\"198.51.100.20\"", "\"198.51.100.20\", \"192.0.2.128/25\"");
    let filter = Filter::start(&lab, &policy).unwrap();
    let receiver = Receiver::start(lab.pbx(), "0.0.0.0:5060".parse().unwrap()).unwrap();

    let mut passed = 0;
    for vlan in [TEN, STACKED] {
        let sent = vlan.send(&lab);
        assert_whole(&receiver, Vlan::address(vlan.there), sent);
        passed += sent;
        assert_counts(&filter, "trunk", passed);
    }
    let mut refused = 0;
    for vlan in [TWENTY, REVERSED] {
        refused += vlan.send(&lab);
        assert_counts(&filter, "wrong_vlan", refused);
        assert_eq!(receiver.numbers(Vlan::address(vlan.there)), [0; 0], "{:?}", vlan.tags);
    }
    let untagged = lab.trunk().address(tests::Family::V4);
    refused += numbered(lab.trunk(), untagged, lab.pbx().sip(tests::Family::V4));
    assert_counts(&filter, "wrong_vlan", refused);
    assert_eq!(receiver.numbers(untagged), [0; 0]);
    assert_counts(&filter, "trunk", passed);
}
