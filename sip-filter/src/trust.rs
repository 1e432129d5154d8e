//! Who is trusted because the SIP server accepted them, who is refused because they failed: pure, without a clock, a
//! socket or a map.
//!
//! What is seen on the wire, what a PBX reports and what the operator says comes in; what the kernel is to do about an
//! address comes out as [`Effect`]s. The source of trust is always where a packet came from, never what it says.
//! Only `state` touches a file.

mod attribution;
mod failures;
mod keeper;
mod kernel;
mod replies;
mod reports;
pub mod settings;
pub mod state;
mod table;
mod wire;

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

pub use self::{
    keeper::{Entry, LIFETIME_MAX, Trust},
    replies::{Challenge, Contact, Reply, Request},
};

/// A transport as SIP names it (RFC 3261 section 20.42, RFC 7118).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SipTransport {
    /// RFC 768.
    Udp,
    /// RFC 9293.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket over TCP.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

/// Where a message really came from, or where it really went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Flow {
    /// The peer's address, canonical: IPv4 is never IPv4-mapped.
    pub address: IpAddr,
    /// The peer's port; 0 where it is not known.
    pub port: u16,
    /// How.
    pub transport: SipTransport,
}

/// The clocks when something happened.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// CLOCK_BOOTTIME in nanoseconds: what lifetimes are measured by, since nobody can set it.
    pub boot_ns: u64,
    /// For people and for files that outlive a reboot.
    pub wall: SystemTime,
}

/// Who says that something is registered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Witness {
    /// The SIP server's own reply, on the wire.
    Wire,
    /// A PBX, by the name of its `[[pbx]]`.
    Pbx(String),
    /// The operator.
    Operator,
}

/// One contact of an address of record, as a PBX or the operator states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The address of record as the source writes it: "user", "user@domain" or a SIP URI.
    pub aor: String,
    /// The contact's URI; empty where it is not known.
    pub contact: String,
    /// Where the REGISTER really came from.
    pub flow: Flow,
    /// How much longer it stands.
    pub lifetime: Duration,
}

/// A contact of which a PBX says that it is registered, but not where from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unplaced {
    /// The address of record as the PBX writes it.
    pub aor: String,
    /// The contact's URI.
    pub contact: String,
}

/// What a PBX reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The link is up, and this is everything that is registered now: replaces what the same PBX said before.
    Snapshot {
        /// Registered, and where from.
        bindings: Vec<Binding>,
        /// Registered, but the PBX does not say where from: what it had said of them stands.
        unplaced: Vec<Unplaced>,
    },
    /// Somebody registered, or refreshed.
    Registered(Binding),
    /// A contact of an address of record went away; without a contact or a flow: all those that fit.
    Unregistered {
        /// The address of record.
        aor: String,
        /// The contact's URI, where the PBX names it.
        contact: Option<String>,
        /// Where it had come from, where the PBX names it.
        flow: Option<Flow>,
    },
    /// A peer authenticated itself, for whatever request: its failures are forgotten.
    Authenticated(Flow),
    /// The PBX sent a challenge to a peer: its lane opens for a few seconds.
    Challenged(Flow),
    /// A peer's answer to a challenge was wrong. Only reported where the PBX makes sure that the challenge had been sent
    /// to this very address, or where the transport proves it.
    Failed(Flow),
    /// The link is down: what it said stands until its own expiry.
    Lost,
}

/// What the kernel is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Let an address in until a time of CLOCK_BOOTTIME, in nanoseconds; replaces what was said about it before.
    Admit {
        /// Who.
        address: IpAddr,
        /// Until when.
        until_ns: u64,
    },
    /// An address is a stranger's again.
    Dismiss {
        /// Whose.
        address: IpAddr,
    },
    /// With `trust = "flow"`: let a flow signal until then.
    AdmitFlow {
        /// Which.
        flow: Flow,
        /// Until when, in nanoseconds of CLOCK_BOOTTIME.
        until_ns: u64,
    },
    /// With `trust = "flow"`: no longer.
    DismissFlow {
        /// Which.
        flow: Flow,
    },
    /// A challenge that only the PBX knows of was sent there: open the lane for a few seconds.
    OpenLane {
        /// To whom.
        address: IpAddr,
    },
    /// Refuse an address.
    Ban {
        /// Whom.
        address: IpAddr,
        /// For how long.
        duration: Duration,
        /// Why, for people.
        cause: String,
    },
    /// A trunk's registrations stand at these addresses now; none: it is not registered.
    TrunkAt {
        /// The trunk's name.
        trunk: String,
        /// Sorted.
        addresses: Vec<IpAddr>,
    },
    /// Something that people may want to be told.
    Notify(Notice),
}

/// What people may want to be told; one line of JSON each for whoever delivers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// When.
    #[serde(with = "humantime_serde")]
    pub time: SystemTime,
    /// The trunk that it concerns.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trunk: Option<String>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A request of somebody who may not make it was dropped.
    BlockedCall {
        /// Where it came from.
        source: IpAddr,
        /// Its method.
        method: String,
        /// Its From header's URI.
        from: String,
        /// Its To header's URI.
        to: String,
    },
    /// An address of record is registered from another address than before.
    RegistrationMoved {
        /// The address of record.
        aor: String,
        /// Before.
        old: IpAddr,
        /// Now.
        new: IpAddr,
    },
    /// An accepted registration lets nobody in; told once a minute for each cause.
    RegistrationRefused {
        /// The address of record.
        aor: String,
        /// Where it came from.
        address: IpAddr,
        /// Why.
        cause: String,
    },
    /// Somebody was banned.
    Banned {
        /// Who.
        address: IpAddr,
        /// Why.
        cause: String,
    },
    /// A ban ended, or was lifted.
    Unbanned {
        /// Whose.
        address: IpAddr,
    },
    /// Many registrations fail at once.
    FailedRegistrations {
        /// How many.
        count: u32,
        /// Within how long.
        #[serde(with = "humantime_serde")]
        within: Duration,
    },
}

#[cfg(test)]
mod tests;
