//! What a packet's reason is by the words of the README, as naively as can be.
//!
//! Written apart from the filter: a parser of its own, lists that are walked, a map of fragments.
//! It must not use anything of `sip_filter_common` but the names of reasons, nor the compiled tables.

mod limits;
mod proving;
mod reading;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use sip_filter::policy::{Listener, ListenerKind, Policy, Trunk, TrustScope};
use sip_filter_common::Reason;

use self::limits::Spent;
use self::proving::{Allowed, Wish, wish};
use self::reading::{Piece, Seen, read_ethernet};

const FRAGMENT_LIFETIME_NS: u64 = 60 * 1_000_000_000;

/// A filter that takes its time.
pub(crate) struct Model<'a> {
    policy: &'a Policy,
    /// When the ban on an address ends.
    pub(crate) bans: HashMap<IpAddr, u64>,
    /// When what lets an address in by a registration ends.
    pub(crate) registered: HashMap<IpAddr, u64>,
    /// When that ends for one port of an address, by IP protocol.
    pub(crate) flows: HashMap<(SocketAddr, u8), u64>,
    /// Whom the SIP server waits for.
    pub(crate) challenged: Vec<IpAddr>,
    spent: Spent,
    pub(crate) now_ns: u64,
    /// What was decided for a first fragment, and when.
    fragments: HashMap<Datagram, (Reason, u64)>,
}

/// What the fragments of a datagram share; IPv6 has no protocol there.
type Datagram = (IpAddr, IpAddr, u32, Option<u8>);

/// What a list gives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Right {
    /// To register, and all else only when that is done.
    Register,
    All,
}

impl<'a> Model<'a> {
    pub(crate) fn new(policy: &'a Policy) -> Self {
        Self {
            policy,
            bans: HashMap::new(),
            registered: HashMap::new(),
            flows: HashMap::new(),
            challenged: Vec::new(),
            spent: Spent::default(),
            now_ns: 0,
            fragments: HashMap::new(),
        }
    }

    /// The reason for a frame that begins with an Ethernet header.
    pub(crate) fn judge(&mut self, frame: &[u8]) -> Reason {
        let seen = match read_ethernet(frame) {
            Ok(seen) => seen,
            Err(reason) => return reason,
        };
        match seen.piece {
            Piece::Whole(port) => self.with_port(&seen, port),
            Piece::First(port) => {
                let reason = self.with_port(&seen, port);
                self.fragments.insert(datagram(&seen), (reason, self.now_ns));
                reason
            }
            Piece::Later => self.without_port(&seen).unwrap_or_else(|| self.later(&seen)),
            Piece::Hidden => self.without_port(&seen).unwrap_or(Reason::Malformed),
        }
    }

    fn with_port(&mut self, seen: &Seen, port: Option<u16>) -> Reason {
        let all = self.candidates(seen);
        let there: Vec<_> = all
            .into_iter()
            .filter(|(_, listener)| {
                port.is_some_and(|port| listener.ports.iter().any(|range| range.contains(&port)))
            })
            .collect();
        if there.is_empty() {
            return Reason::NotProtected;
        }
        if holds(&self.policy.admin, seen.source) {
            return Reason::Admin;
        }
        let there: Vec<_> = there
            .into_iter()
            .filter(|(_, listener)| {
                listener.vlans.is_empty() || seen.vlan.is_some_and(|vlan| listener.vlans.contains(&vlan))
            })
            .collect();
        if there.is_empty() {
            return Reason::WrongVlan;
        }
        if holds(&self.policy.deny, seen.source) {
            return Reason::Denied;
        }
        if self.is_banned(seen.source) {
            return Reason::Banned;
        }
        if there.iter().any(|(index, _)| self.is_denied_by_a_trunk(*index, seen.source)) {
            return Reason::Denied;
        }
        let rights: Vec<_> = there.iter().filter_map(|(index, _)| self.right(*index, seen.source)).collect();
        if rights.contains(&Right::All) {
            return Reason::Trunk;
        }
        let kinds: Vec<_> = there.iter().map(|(_, listener)| listener.kind).collect();
        if self.is_let_in(seen, &kinds) {
            return Reason::Registered;
        }
        let is_trunk = !rights.is_empty();
        let is_whole = matches!(seen.piece, Piece::Whole(_));
        if is_whole && kinds.contains(&ListenerKind::Signalling) {
            return if is_trunk { Self::register(seen) } else { self.prove(seen) };
        }
        if is_trunk { Reason::NotRegistered } else { Reason::Stranger }
    }

    /// Whether a registration lets a packet in at listeners of these kinds.
    fn is_let_in(&self, seen: &Seen, kinds: &[ListenerKind]) -> bool {
        if !self.is_registered(seen.source) || kinds.iter().all(|kind| *kind == ListenerKind::Other) {
            return false;
        }
        let trust = self.policy.strangers.prove.as_ref().map(|prove| prove.trust);
        if trust != Some(TrustScope::Flow) || kinds.contains(&ListenerKind::Media) {
            return true;
        }
        let Piece::Whole(Some(_)) = seen.piece else { return false };
        let port = u16::from_be_bytes([seen.transport[0], seen.transport[1]]);
        let until_ns = self.flows.get(&((seen.source, port).into(), seen.protocol));
        until_ns.is_some_and(|until_ns| *until_ns > self.now_ns)
    }

    /// A trunk that is to register does that, and nothing else, whatever it calls itself.
    fn register(seen: &Seen) -> Reason {
        match wish_of(seen, &Allowed { methods: 1, drops_scanners: false }) {
            Wish::Paid(Reason::Probation) => Reason::Trunk,
            _ => Reason::NotRegistered,
        }
    }

    /// A stranger may send what the policy says, within limits.
    fn prove(&mut self, seen: &Seen) -> Reason {
        let Some(prove) = &self.policy.strangers.prove else { return Reason::Stranger };
        if let IpAddr::V6(source) = seen.source {
            let network = source.to_bits() >> 64 << 64;
            if self.is_banned(std::net::Ipv6Addr::from_bits(network).into()) {
                return Reason::Banned;
            }
        }
        let allowed = Allowed { methods: prove.methods, drops_scanners: prove.drops_scanners };
        match wish_of(seen, &allowed) {
            Wish::Free(reason) => reason,
            Wish::Paid(reason) => {
                let is_challenged = self.challenged.contains(&seen.source);
                let may = self.spent.one_more(prove, seen.source, is_challenged);
                if may { reason } else { Reason::RateExceeded }
            }
        }
    }

    /// What settles a packet whose port is unknown, if anything does.
    fn without_port(&self, seen: &Seen) -> Option<Reason> {
        if self.candidates(seen).is_empty() {
            return Some(Reason::NotProtected);
        }
        holds(&self.policy.admin, seen.source).then_some(Reason::Admin)
    }

    /// Follows the first fragment; says so only where a fragment of nothing would have fared otherwise.
    fn later(&self, seen: &Seen) -> Reason {
        let is_refused = holds(&self.policy.deny, seen.source) || self.is_banned(seen.source);
        let mut open = self.candidates(seen);
        open.retain(|(index, _)| !self.is_denied_by_a_trunk(*index, seen.source));
        let is_known = open.iter().any(|(index, _)| self.right(*index, seen.source) == Some(Right::All));
        let is_sip = open.iter().any(|(_, listener)| listener.kind != ListenerKind::Other);
        let alone = match (is_refused, is_known, is_sip && self.is_registered(seen.source)) {
            (true, ..) | (_, false, false) => Reason::Fragment,
            (_, true, _) => Reason::Trunk,
            (_, _, true) => Reason::Registered,
        };
        match self.fragments.get(&datagram(seen)) {
            Some((reason, at_ns))
                if self.now_ns < at_ns + FRAGMENT_LIFETIME_NS && reason.verdict() != alone.verdict() =>
            {
                *reason
            }
            _ => alone,
        }
    }

    /// The listeners that the packet may be for, port and VLAN aside.
    fn candidates(&self, seen: &Seen) -> Vec<(usize, &'a Listener)> {
        let destination = seen.destination.to_canonical();
        let listeners = self.policy.listeners.iter().enumerate();
        listeners
            .filter(|(_, listener)| seen.transports.contains(&listener.transport))
            .filter(|(_, listener)| {
                listener.addresses.is_empty() || listener.addresses.contains(&destination)
            })
            .collect()
    }

    fn is_banned(&self, source: IpAddr) -> bool {
        self.bans.get(&source).is_some_and(|until_ns| *until_ns > self.now_ns)
    }

    fn is_registered(&self, source: IpAddr) -> bool {
        self.registered.get(&source).is_some_and(|until_ns| *until_ns > self.now_ns)
    }

    fn is_denied_by_a_trunk(&self, listener: usize, source: IpAddr) -> bool {
        let mut trunks = self.policy.trunks.iter();
        trunks.any(|trunk| trunk.listeners.contains(&listener) && holds(&trunk.deny, source))
    }

    /// What the lists say of a peer at a listener: the most that any of them does.
    fn right(&self, listener: usize, source: IpAddr) -> Option<Right> {
        let kind = self.policy.listeners[listener].kind;
        let is_proxy_of =
            |trunk: &Trunk| trunk.outbound_proxies.iter().any(|proxy| proxy.prefix.contains(&source));
        let trunks = self.policy.trunks.iter().filter(|trunk| trunk.listeners.contains(&listener));
        let rights = trunks.filter_map(|trunk| {
            let is_named = match (kind, &trunk.media) {
                (ListenerKind::Media, Some(media)) => holds(media, source),
                _ => holds(&trunk.allow, source) || is_proxy_of(trunk),
            };
            let may_answer = kind != ListenerKind::Media && is_proxy_of(trunk);
            let right = if trunk.require_registration && !may_answer { Right::Register } else { Right::All };
            is_named.then_some(right)
        });
        let by_list = kind != ListenerKind::Other && holds(&self.policy.allow, source);
        let is_listed = by_list || holds(&self.policy.listeners[listener].allow, source);
        rights.chain(is_listed.then_some(Right::All)).max()
    }
}

fn holds(list: &[IpNet], address: IpAddr) -> bool {
    list.iter().any(|prefix| prefix.contains(&address))
}

fn wish_of(seen: &Seen, allowed: &Allowed) -> Wish {
    wish(&seen.transport, seen.said_len, seen.protocol == 6, allowed)
}

fn datagram(seen: &Seen) -> Datagram {
    let protocol = seen.source.is_ipv4().then_some(seen.protocol);
    (seen.source, seen.destination, seen.identification, protocol)
}
