//! The entry of the policy that decided about a packet.
//!
//! Explains a reason that the data plane gave; decides nothing itself.
//! Bans, registrations and pinholes are no part of the policy, and not explained here.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sip_filter_common::{Reason, Transport};

use super::prefix::longest_cover;
use super::{ListName, Listener, ListenerKind, Policy};

/// What in the policy decided.
///
/// In JSON: `{"trunk": "ipcomms", "entry": "34.23.59.14/32"}`, with `"list": "deny"` for the trunk's deny;
/// `{"list": "deny", "entry": "…"}`; `{"listener": "pbx-admin", "entry": "…"}`; `{"listener": "sip-udp", "vlans": [10]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Because {
    /// An entry of a trunk's deny; `list` is [`ListName::Deny`].
    TrunkDeny {
        /// The trunk's name.
        trunk: String,
        /// Sets this apart from the trunk's allow.
        list: ListName,
        /// The longest entry that holds the source.
        entry: IpNet,
    },
    /// An entry of a trunk's allow or media.
    TrunkAllow {
        /// The trunk's name.
        trunk: String,
        /// The longest entry that holds the source.
        entry: IpNet,
    },
    /// An entry of `admin`, `[deny]` or `[allow]`.
    List {
        /// Which of them.
        list: ListName,
        /// The longest entry that holds the source.
        entry: IpNet,
    },
    /// An entry of the allow of a listener of kind `other`.
    Listener {
        /// The listener's name.
        listener: String,
        /// The longest entry that holds the source.
        entry: IpNet,
    },
    /// The packet came on none of the listener's VLANs.
    Vlans {
        /// The listener's name.
        listener: String,
        /// Where it may be reached.
        vlans: Vec<u16>,
    },
}

impl Policy {
    /// The entry that led to `reason` for a packet from `source` to `to` on a VLAN, 0 for none; `None` when no entry of the
    /// policy did.
    pub fn because(
        &self,
        source: IpAddr,
        to: SocketAddr,
        transport: Transport,
        vlan: u16,
        reason: Reason,
    ) -> Option<Because> {
        let source = IpNet::from(source.to_canonical());
        let listeners = || self.listeners_at(to, transport);
        let on_vlan = || {
            listeners().filter(|index| {
                let vlans = &self.listeners[*index].vlans;
                vlans.is_empty() || vlans.contains(&vlan)
            })
        };
        match reason {
            Reason::Admin => on_list(ListName::Admin, &self.admin, &source),
            Reason::WrongVlan => listeners().map(|index| wrong_vlan(&self.listeners[index])).next(),
            Reason::Denied => on_list(ListName::Deny, &self.deny, &source)
                .or_else(|| on_vlan().find_map(|index| self.trunk_deny(index, &source))),
            Reason::Trunk => on_vlan().find_map(|index| self.allowed(index, &source)),
            Reason::NotIp
            | Reason::Truncated
            | Reason::NotProtected
            | Reason::Banned
            | Reason::Registered
            | Reason::Pinhole
            | Reason::Probation
            | Reason::RateExceeded
            | Reason::Fragment
            | Reason::Malformed
            | Reason::NotSip
            | Reason::Scanner
            | Reason::NotRegistered
            | Reason::Stranger => None,
        }
    }

    fn trunk_deny(&self, listener: usize, source: &IpNet) -> Option<Because> {
        let trunks = self.trunks_at(listener).map(|index| &self.trunks[index]);
        let covers = trunks.filter_map(|trunk| Some((longest_cover(&trunk.deny, source)?, trunk)));
        let (entry, trunk) = covers.max_by_key(|(entry, _)| entry.prefix_len())?;
        Some(Because::TrunkDeny { trunk: trunk.name.clone(), list: ListName::Deny, entry: *entry })
    }

    fn allowed(&self, index: usize, source: &IpNet) -> Option<Because> {
        let listener = &self.listeners[index];
        let trunks = self.trunks_at(index).map(|trunk| &self.trunks[trunk]);
        let covers =
            trunks.filter_map(|trunk| Some((longest_cover(trunk.allow_at(listener.kind), source)?, trunk)));
        if let Some((entry, trunk)) = covers.max_by_key(|(entry, _)| entry.prefix_len()) {
            return Some(Because::TrunkAllow { trunk: trunk.name.clone(), entry: *entry });
        }
        match listener.kind {
            ListenerKind::Signalling | ListenerKind::Media => on_list(ListName::Allow, &self.allow, source),
            ListenerKind::Other => longest_cover(&listener.allow, source)
                .map(|entry| Because::Listener { listener: listener.name.clone(), entry: *entry }),
        }
    }
}

fn on_list(list: ListName, entries: &[IpNet], source: &IpNet) -> Option<Because> {
    longest_cover(entries, source).map(|entry| Because::List { list, entry: *entry })
}

fn wrong_vlan(listener: &Listener) -> Because {
    Because::Vlans { listener: listener.name.clone(), vlans: listener.vlans.clone() }
}

impl fmt::Display for Because {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Because::TrunkDeny { trunk, list, entry } => write!(formatter, "trunk {trunk}, {list} {entry}"),
            Because::TrunkAllow { trunk, entry } => write!(formatter, "trunk {trunk}, allow {entry}"),
            Because::List { list, entry } => write!(formatter, "{list} {entry}"),
            Because::Listener { listener, entry } => write!(formatter, "listener {listener}, allow {entry}"),
            Because::Vlans { listener, vlans } => {
                let vlans: Vec<String> = vlans.iter().map(u16::to_string).collect();
                write!(formatter, "listener {listener}, reached on VLAN {} only", vlans.join(", "))
            }
        }
    }
}
