//! Where authenticated requests came from, so that a contact can be paired with the REGISTER that made it.
//!
//! A PBX's list of contacts has the Call-ID of the REGISTER, and its events have Call-ID and source.
//! Only who knows an account's password gets in here, and only for that account.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::trust::{Flow, SipTransport};

/// How many are remembered: the accounts of a large PBX, with room for calls, whose requests are authenticated too.
const SOURCES_MAX: usize = 65_536;

/// Account and Call-ID.
type Key = (String, String);

/// The sources, the latest of each account's dialogue.
#[derive(Debug, Default)]
pub(super) struct Sources {
    flows: HashMap<Key, Source>,
    clock: u64,
}

#[derive(Debug)]
struct Source {
    flow: Flow,
    /// By [`Sources::clock`], which counts what was learnt.
    learnt: u64,
}

impl Sources {
    /// An account proved itself from there; forgets the older half of all where there are too many.
    pub(super) fn learn(&mut self, account: &str, call_id: &str, flow: Flow) {
        self.clock += 1;
        self.flows.insert((account.to_owned(), call_id.to_owned()), Source { flow, learnt: self.clock });
        if self.flows.len() > SOURCES_MAX {
            let mut ages: Vec<u64> = self.flows.values().map(|source| source.learnt).collect();
            let (_, median, _) = ages.select_nth_unstable(SOURCES_MAX / 2);
            let median = *median;
            self.flows.retain(|_, source| source.learnt > median);
        }
    }

    /// Where the REGISTER with this Call-ID last came from.
    pub(super) fn find(&self, account: &str, call_id: &str) -> Option<Flow> {
        self.flows.get(&(account.to_owned(), call_id.to_owned())).map(|source| source.flow)
    }
}

/// A transport by its name in SIP, in whatever case.
pub(super) fn transport(name: &str) -> Option<SipTransport> {
    match name.to_ascii_lowercase().as_str() {
        "udp" => Some(SipTransport::Udp),
        "tcp" => Some(SipTransport::Tcp),
        "tls" => Some(SipTransport::Tls),
        "ws" => Some(SipTransport::Ws),
        "wss" => Some(SipTransport::Wss),
        _ => None,
    }
}

/// Whether the peer's address is proved by the transport itself: by a handshake that reached it.
pub(super) fn is_proved(transport: SipTransport) -> bool {
    !matches!(transport, SipTransport::Udp)
}

/// A flow of its parts as text; an IPv4-mapped address is the IPv4 one.
pub(super) fn flow(address: &str, port: &str, transport: SipTransport) -> Option<Flow> {
    let address: IpAddr = address.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    (!address.is_unspecified()).then_some(())?;
    Some(Flow { address: address.to_canonical(), port: port.parse().ok()?, transport })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_source_of_a_dialogue_counts_and_accounts_are_kept_apart() {
        let [first, second] =
            ["192.0.2.1", "192.0.2.2"].map(|at| flow(at, "5060", SipTransport::Tls).unwrap());
        let mut sources = Sources::default();
        sources.learn("alice", "call", first);
        sources.learn("alice", "call", second);
        assert_eq!(sources.find("alice", "call"), Some(second));
        assert_eq!(sources.find("bob", "call"), None);
    }

    #[test]
    fn too_many_sources_push_out_the_oldest() {
        let mut sources = Sources::default();
        let at = flow("192.0.2.1", "5060", SipTransport::Udp).unwrap();
        for number in 0..=SOURCES_MAX {
            sources.learn("alice", &number.to_string(), at);
        }
        assert!(sources.flows.len() <= SOURCES_MAX / 2);
        assert_eq!(sources.find("alice", "0"), None);
        assert_eq!(sources.find("alice", &SOURCES_MAX.to_string()), Some(at));
    }

    #[test]
    fn a_flow_is_canonical_or_none() {
        let of = |address| flow(address, "5060", SipTransport::Udp).map(|flow| flow.address.to_string());
        assert_eq!(of("::ffff:192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(of("[2001:db8::1]").as_deref(), Some("2001:db8::1"));
        assert_eq!([of("0.0.0.0"), of("pbx.example"), of("")], [None, None, None]);
    }
}
