//! Where authenticated requests came from, so that a contact can be paired with the REGISTER that made it.
//!
//! A PBX's list of contacts has the Call-ID of the REGISTER, and its events have Call-ID and source.
//! Only who knows an account's password gets in here, and only for that account.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use crate::trust::{Flow, SipTransport};

/// How many are remembered: the accounts of a large PBX, with room for calls, whose requests are authenticated too.
const SOURCES_MAX: usize = 65_536;

/// Account and Call-ID.
type Key = (String, String);

/// The sources, the latest of each account and of each of its dialogues.
#[derive(Debug, Default)]
pub(super) struct Sources {
    dialogues: HashMap<Key, Source>,
    accounts: HashMap<String, Source>,
    clock: u64,
}

#[derive(Debug, Clone, Copy)]
struct Source {
    flow: Flow,
    learnt: Moment,
}

/// When something was learnt, by a clock that counts just that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Moment(u64);

impl Sources {
    /// Everything until now.
    pub(super) fn now(&self) -> Moment {
        Moment(self.clock)
    }

    /// An account proved itself from there; forgets the older half of all where there are too many.
    pub(super) fn learn(&mut self, account: &str, call_id: &str, flow: Flow) {
        self.clock += 1;
        let source = Source { flow, learnt: self.now() };
        self.dialogues.insert((account.to_owned(), call_id.to_owned()), source);
        self.accounts.insert(account.to_owned(), source);
        forget_older_half(&mut self.dialogues);
        forget_older_half(&mut self.accounts);
    }

    /// Where the REGISTER that made a contact last came from.
    ///
    /// `refreshed` is the moment since which the contact's lifetime was set anew, if it was. A phone that was started
    /// anew refreshes its contact under another Call-ID, but the PBX keeps the first one: then it is the account's
    /// latest proof that counts, and counts from now on.
    pub(super) fn find(&mut self, account: &str, call_id: &str, refreshed: Option<Moment>) -> Option<Flow> {
        let key = (account.to_owned(), call_id.to_owned());
        let own = self.dialogues.get(&key).copied();
        let Some(since) = refreshed else { return own.map(|source| source.flow) };
        let is_new = |source: &Source| source.learnt > since;
        let latest = self.accounts.get(account).copied().filter(is_new);
        let source = own.filter(is_new).or(latest).or(own)?;
        self.dialogues.insert(key, source);
        Some(source.flow)
    }
}

fn forget_older_half<K: Eq + Hash>(sources: &mut HashMap<K, Source>) {
    if sources.len() > SOURCES_MAX {
        let mut moments: Vec<Moment> = sources.values().map(|source| source.learnt).collect();
        let (_, median, _) = moments.select_nth_unstable(SOURCES_MAX / 2);
        let median = *median;
        sources.retain(|_, source| source.learnt > median);
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
        assert_eq!(sources.find("alice", "call", None), Some(second));
        assert_eq!(sources.find("bob", "call", None), None);
    }

    #[test]
    fn a_refresh_under_another_call_id_counts_for_the_contact_that_it_refreshed() {
        let [first, second] =
            ["192.0.2.1", "192.0.2.2"].map(|at| flow(at, "5060", SipTransport::Tls).unwrap());
        let mut sources = Sources::default();
        sources.learn("alice", "call", first);
        let before = sources.now();
        sources.learn("alice", "another", second);
        assert_eq!(sources.find("alice", "call", None), Some(first));
        assert_eq!(sources.find("alice", "call", Some(before)), Some(second));
        assert_eq!(sources.find("alice", "call", None), Some(second));
        assert_eq!(sources.find("bob", "call", Some(before)), None);
        let since = sources.now();
        sources.learn("alice", "call", first);
        sources.learn("alice", "another", second);
        assert_eq!(sources.find("alice", "call", Some(since)), Some(first));
    }

    #[test]
    fn too_many_sources_push_out_the_oldest() {
        let mut sources = Sources::default();
        let at = flow("192.0.2.1", "5060", SipTransport::Udp).unwrap();
        for number in 0..=SOURCES_MAX {
            sources.learn("alice", &number.to_string(), at);
        }
        assert!(sources.dialogues.len() <= SOURCES_MAX / 2);
        assert_eq!(sources.find("alice", "0", None), None);
        assert_eq!(sources.find("alice", &SOURCES_MAX.to_string(), None), Some(at));
    }

    #[test]
    fn a_flow_is_canonical_or_none() {
        let of = |address| flow(address, "5060", SipTransport::Udp).map(|flow| flow.address.to_string());
        assert_eq!(of("::ffff:192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(of("[2001:db8::1]").as_deref(), Some("2001:db8::1"));
        assert_eq!([of("0.0.0.0"), of("pbx.example"), of("")], [None, None, None]);
    }
}
