//! The operator's policy, validated: what `sip-filter.toml` and the live changes to it mean.
//!
//! The way is one-way: the text of the file ([`mod@file`]) becomes a [`Policy`], the policy becomes the contents of the kernel's maps.
//! Everything below is pure: no file is opened here, no clock read, no map touched, and nothing here knows aya.

pub mod because;
pub mod change;
pub mod difference;
pub mod edit;
pub mod file;
pub mod list_file;
pub mod mistake;
mod notes;
pub mod overlap;
pub mod prefix;
pub mod registered;
mod secrecy;
pub mod sources;
mod suggestion;
pub mod tables;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sip_filter_common::{Mode, Transport, sip::Method};

use self::mistake::Mistakes;
use self::sources::ListSources;

/// What the operator means, free of contradictions.
///
/// Every list of prefixes is sorted, free of duplicates, and canonical in the sense of [`prefix::canonical`].
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Where to attach; may be empty, for the command line can name the interfaces.
    pub interfaces: Vec<String>,
    /// Count only, or drop.
    pub mode: Mode,
    /// What remains in the kernel when the daemon ends.
    pub on_exit: OnExit,
    /// The lock-out guard: never dropped, whatever else the policy says.
    pub admin: Vec<IpNet>,
    /// `[deny] sources`: wins over every allow.
    pub deny: Vec<IpNet>,
    /// `[allow] sources`: may reach every signalling and media listener without belonging to a trunk.
    pub allow: Vec<IpNet>,
    /// What is protected, in the order of the file; at most [`sip_filter_common::LISTENERS_MAX`].
    pub listeners: Vec<Listener>,
    /// The provisioned peers, in the order of the file.
    pub trunks: Vec<Trunk>,
    /// What strangers may do.
    pub strangers: Strangers,
    /// The PBXs that report who registers, in the order of the file.
    pub pbxs: Vec<Pbx>,
    /// For every list that names list files: which, and what stands beside them.
    pub sources: Vec<ListSources>,
    /// What the file says that is valid but hardly meant.
    pub warnings: Mistakes,
}

/// A protected local port range and what runs there.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Unique among the listeners.
    pub name: String,
    /// What runs there.
    pub kind: ListenerKind,
    /// The transport it listens on.
    pub transport: Transport,
    /// Sorted and disjoint, at least one.
    pub ports: Vec<RangeInclusive<u16>>,
    /// TLS: the payload is not looked at.
    pub encrypted: bool,
    /// VLAN IDs on which it may be reached, sorted; empty: any, and untagged.
    pub vlans: Vec<u16>,
    /// Its local addresses, sorted; empty: every one.
    pub addresses: Vec<IpAddr>,
    /// Its own peers; only a listener of kind `other` has them.
    pub allow: Vec<IpNet>,
}

/// A provisioned peer: provider, PBX or SBC.
#[derive(Debug, Clone, PartialEq)]
pub struct Trunk {
    /// Unique among the trunks.
    pub name: String,
    /// Who may send to its signalling (and named other) listeners, the addresses of the outbound proxies included.
    pub allow: Vec<IpNet>,
    /// Beats every trunk's allow at this trunk's listeners.
    pub deny: Vec<IpNet>,
    /// Who may send media, where that differs from `allow`; read it through [`Trunk::media`].
    pub media: Option<Vec<IpNet>>,
    /// Where we send calls.
    pub outbound_proxies: Vec<OutboundProxy>,
    /// Indices into [`Policy::listeners`], sorted.
    pub listeners: Vec<usize>,
    /// Only the address that is registered now may do more than register.
    pub require_registration: bool,
    /// The addresses of record that belong to this trunk, "user" or "user@domain".
    pub registrations: Vec<String>,
}

/// What strangers may do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Strangers {
    /// The bounded lane in which they may try to authenticate; none: they are dropped.
    pub prove: Option<Prove>,
}

/// The bounded lane of strangers.
#[derive(Debug, Clone, PartialEq)]
pub struct Prove {
    /// What they may send: a bit for each [`Method`].
    pub methods: u32,
    /// How many requests each source may send.
    pub rate: Rate,
    /// How many of them at once.
    pub burst: u32,
    /// How many requests all strangers together may send.
    pub total_rate: Rate,
    /// How many answers to challenges may be wrong before a ban.
    pub failures: u32,
    /// Within how long.
    pub failures_within: Duration,
    /// How long a ban lasts.
    pub ban: Duration,
    /// What a registration lets in.
    pub trust: TrustScope,
    /// How much longer than its registration a peer is trusted.
    pub grace: Duration,
    /// Whether the registrations of scanners are dropped too, not challenged.
    pub drops_scanners: bool,
}

impl Default for Prove {
    fn default() -> Self {
        let a_second = |count| Rate { count, per: Duration::from_secs(1) };
        Prove {
            methods: Method::Register.bit() | Method::Options.bit(),
            rate: a_second(5),
            burst: 10,
            total_rate: a_second(2_000),
            failures: 5,
            failures_within: Duration::from_mins(10),
            ban: Duration::from_hours(1),
            trust: TrustScope::Address,
            grace: Duration::from_secs(30),
            drops_scanners: false,
        }
    }
}

/// So many in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub count: u32,
    /// Longer than 0.
    pub per: Duration,
}

impl Rate {
    /// Whether it lets less through in the long run.
    pub fn is_below(&self, other: &Rate) -> bool {
        // Neither product takes more than 126 bits.
        let scaled = |rate: &Rate, per: Duration| u128::from(rate.count) * per.as_nanos();
        scaled(self, other.per) < scaled(other, self.per)
    }
}

impl fmt::Display for Rate {
    /// As the file writes it: "5/s".
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = humantime::format_duration(self.per).to_string();
        let unit = per.strip_prefix('1').filter(|unit| unit.bytes().all(|byte| byte.is_ascii_alphabetic()));
        write!(formatter, "{}/{}", self.count, unit.unwrap_or(&per))
    }
}

/// What a registration lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustScope {
    /// The address that it came from.
    Address,
    /// Its address, port and transport; media from its address.
    Flow,
}

/// A PBX that reports who registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pbx {
    /// Unique among the PBXs.
    pub name: String,
    /// Which.
    pub kind: PbxKind,
    /// Where it is asked, or where its events are received: "host:port", or the path of a Unix socket.
    pub address: String,
    /// As whom to log in, where the PBX asks.
    pub user: Option<String>,
    /// The password, or where it stands.
    pub secret: Option<Secret>,
}

/// Which PBX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PbxKind {
    /// The manager interface (AMI).
    Asterisk,
    /// JSON-RPC and datagrams of a route.
    Kamailio,
    /// MI over HTTP and event datagrams.
    Opensips,
    /// The event socket (ESL).
    Freeswitch,
}

/// A password.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// As it stands in the policy file.
    Text(String),
    /// The first line of a file.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Text(_) => formatter.write_str("Text(…)"),
            Secret::File(path) => formatter.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Where a trunk takes our calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundProxy {
    /// As the operator wrote it.
    pub text: String,
    /// Its address, as it stands on the trunk's allow list.
    pub prefix: IpNet,
}

/// What runs behind a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerKind {
    /// SIP.
    Signalling,
    /// RTP and RTCP.
    Media,
    /// Anything else that only its own peers may reach.
    Other,
}

/// What remains in the kernel when the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExit {
    /// The kernel goes on filtering.
    Hold,
    /// The program is detached.
    Open,
}

/// The list that holds an entry, as the file's key names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListName {
    /// `admin`.
    Admin,
    /// `deny`, of the policy or of a trunk.
    Deny,
    /// `allow`, of the policy, of a trunk or of a listener.
    Allow,
    /// `media` of a trunk.
    Media,
}

impl Policy {
    /// The listeners that a packet to `to` could reach, one for each VLAN at most.
    pub fn listeners_at(&self, to: SocketAddr, transport: Transport) -> impl Iterator<Item = usize> {
        let indexed = self.listeners.iter().enumerate();
        indexed.filter(move |(_, listener)| listener.is_at(to, transport)).map(|(index, _)| index)
    }

    /// The trunks that may reach the listener of this index, by index.
    pub fn trunks_at(&self, listener: usize) -> impl Iterator<Item = usize> {
        let indexed = self.trunks.iter().enumerate();
        indexed
            .filter(move |(_, trunk)| trunk.listeners.binary_search(&listener).is_ok())
            .map(|(index, _)| index)
    }
}

impl Listener {
    /// True when a packet to this socket is for this listener, on the right VLAN.
    pub fn is_at(&self, to: SocketAddr, transport: Transport) -> bool {
        self.transport == transport
            && self.ports.iter().any(|range| range.contains(&to.port()))
            && (self.addresses.is_empty() || self.addresses.contains(&to.ip().to_canonical()))
    }

    /// A port at which one and the same packet could belong to both, if there is one.
    pub fn shared_port(&self, other: &Listener) -> Option<u16> {
        let common_address = common_or_any(&self.addresses, &other.addresses);
        let common_vlan = common_or_any(&self.vlans, &other.vlans);
        if self.transport != other.transport || !common_address || !common_vlan {
            return None;
        }
        let pairs = self.ports.iter().flat_map(|mine| other.ports.iter().map(move |theirs| (mine, theirs)));
        pairs
            .map(|(mine, theirs)| (*mine.start().max(theirs.start()), *mine.end().min(theirs.end())))
            .find_map(|(first, last)| (first <= last).then_some(first))
    }
}

/// An empty list stands for every value.
fn common_or_any<T: PartialEq>(one: &[T], other: &[T]) -> bool {
    one.is_empty() || other.is_empty() || one.iter().any(|value| other.contains(value))
}

impl Trunk {
    /// Who may send media: the list of its own, or else the same peers as may signal.
    pub fn media(&self) -> &[IpNet] {
        self.media.as_deref().unwrap_or(&self.allow)
    }

    /// Who may send to a listener of this kind.
    pub fn allow_at(&self, kind: ListenerKind) -> &[IpNet] {
        match kind {
            ListenerKind::Media => self.media(),
            ListenerKind::Signalling | ListenerKind::Other => &self.allow,
        }
    }
}

impl fmt::Display for ListenerKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            ListenerKind::Signalling => "signalling",
            ListenerKind::Media => "media",
            ListenerKind::Other => "other",
        })
    }
}

impl fmt::Display for OnExit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            OnExit::Hold => "hold",
            OnExit::Open => "open",
        })
    }
}

impl fmt::Display for ListName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            ListName::Admin => "admin",
            ListName::Deny => "deny",
            ListName::Allow => "allow",
            ListName::Media => "media",
        })
    }
}

#[cfg(test)]
mod tests;
