//! Trust that follows registrations, end to end: a real registrar, real phones, real attackers.
//!
//! It sees the filter only as operators and peers do.

mod applying;
mod attacks;
mod encrypted;
mod endings;
mod latency;
mod phones;
mod scanners;
mod trunks;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tests::{Family, Filter, Host, Lab, POLICY, Packet, Pbx, Transport, ask_from, wait_until};

/// For whatever must come true; reached only where it does not.
const WITHIN: Duration = Duration::from_secs(30);
/// How long an answer to a single request is waited for; a dropped one has none.
const PROBE: Duration = Duration::from_millis(300);

/// The policy of the demo where strangers may prove themselves, with these lines in the table about that.
fn prove(lines: &str) -> String {
    let prove = format!("signalling = \"prove\"\nmedia = \"drop\"\n\n[strangers.prove]\n{lines}\n");
    POLICY.replace("signalling = \"drop\"\nmedia = \"drop\"\n", &prove)
}

/// A laboratory with a registrar and a filter in front of it.
struct Scene {
    // In the order in which they are to end.
    filter: Filter,
    pbx: Pbx,
    lab: Lab,
}

impl Scene {
    /// `None`, and a word on why, without root.
    fn or_skip(policy: &str) -> Option<Self> {
        let lab = Lab::or_skip()?;
        let pbx = Pbx::start_registrar(lab.pbx()).unwrap();
        let filter = Filter::start(&lab, policy).unwrap();
        Some(Self { filter, pbx, lab })
    }

    /// One more address of the trunk's host, which no list names: where phones are.
    fn somewhere(&self, host: u8, family: Family) -> IpAddr {
        let address = match family {
            Family::V4 => IpAddr::from(Ipv4Addr::new(198, 51, 100, host)),
            Family::V6 => IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0x5060, 0, 0, 0, 0, host.into())),
        };
        let length = if address.is_ipv4() { 24 } else { 64 };
        self.lab.trunk().add_address(address, length, &[self.lab.pbx()]).unwrap();
        address
    }

    /// Where phones are.
    fn phones(&self) -> &Host {
        self.lab.trunk()
    }

    /// Calls of this address arrive, the first one or one that is sent again.
    fn assert_let_in(&self, address: IpAddr) {
        let what = format!("calls of {address} to arrive");
        wait_until(WITHIN, &what, || Ok(self.may_call(address).then_some(()))).unwrap();
    }

    /// Calls of this address do not arrive any more.
    fn assert_shut_out(&self, address: IpAddr) {
        let what = format!("{address} to be a stranger's");
        wait_until(WITHIN, &what, || Ok((!self.may_call(address)).then_some(()))).unwrap();
    }

    /// Whether an INVITE of this address gets to the SIP server, which challenges it then.
    fn may_call(&self, address: IpAddr) -> bool {
        let to = self.lab.pbx().sip(Family::of(address));
        ask_from(self.phones(), address, "INVITE", to, PROBE).unwrap().is_some()
    }
}

/// Requests of a method from an address in a capture; with credentials only, if asked for.
fn requests(packets: &[Packet], from: IpAddr, method: &str, with_credentials: bool) -> usize {
    let is_one = |packet: &&Packet| {
        let text = String::from_utf8_lossy(&packet.payload);
        let is_sip = matches!(packet.transport, Transport::Udp | Transport::Tcp);
        is_sip
            && packet.source == from
            && text.starts_with(&format!("{method} "))
            && (!with_credentials
                || text.contains("\nAuthorization: ")
                || text.contains("\nProxy-Authorization: "))
    };
    packets.iter().filter(is_one).count()
}
