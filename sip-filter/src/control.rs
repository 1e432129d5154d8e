//! The control socket: one JSON line asks, one JSON line answers.
//!
//! Names what can be asked and carries it; what it means is the daemon's.

pub mod client;
mod registration;
pub mod server;
mod status;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::{
    registration::{RegistrationEntry, RegistrationPlace},
    status::{CounterStatus, EventsStatus, InterfaceStatus, LinkStatus, MemoryBytes, Status, VlanTags},
};
use crate::{
    policy::{because::Because, change::ListChange, difference::Difference, sources::ListSource},
    trust::{SipTransport, Witness},
};

/// How long a line may be: a policy file with a million prefixes fits.
pub const LINE_BYTES_MAX: u64 = 64 << 20;

/// What a client asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Answered with [`Status`].
    Status,
    /// Puts a policy file in force, or only compares it. Answered with [`Applied`].
    Apply {
        /// Where the file stands, for messages and for `--save`.
        path: PathBuf,
        /// What it says.
        text: String,
        /// Compare only.
        dry_run: bool,
    },
    /// Changes a list. Answered with [`Changed`].
    Change {
        /// What is changed.
        change: ListChange,
        /// Also in the policy file.
        save: bool,
    },
    /// The allow lists, or the deny lists. Answered with a list of [`Entry`].
    List {
        /// Which.
        list: ListKind,
    },
    /// Bans an address. Answered with [`Banned`].
    BanAdd {
        /// Who.
        address: IpAddr,
        /// For how long.
        for_ms: u64,
        /// Why.
        cause: String,
    },
    /// Lifts a ban. Answered with null.
    BanRemove {
        /// Whose.
        address: IpAddr,
    },
    /// Answered with a list of [`BanEntry`].
    BanList,
    /// Takes an address of record for registered. Answered with [`RegistrationEntry`].
    RegistrationAdd {
        /// The address of record: "user", "user@domain" or a SIP URI.
        aor: String,
        /// Where it registered from.
        from: RegistrationPlace,
        /// How.
        transport: SipTransport,
        /// For how long.
        for_ms: u64,
    },
    /// Takes it for registered no more. Answered with the list of the [`RegistrationEntry`]s that ended.
    RegistrationRemove {
        /// The address of record.
        aor: String,
        /// Only from there; none: from everywhere.
        from: Option<RegistrationPlace>,
    },
    /// Answered with a list of [`RegistrationEntry`].
    RegistrationList,
    /// Answered with a list of [`TrunkEntry`].
    TrunkList,
    /// Answered with [`Explanation`].
    Explain(Question),
    /// Lets one interface go, or all of them, which ends the daemon. Answered with the list of their names.
    Detach {
        /// Which; none: all.
        interface: Option<String>,
    },
}

/// What the daemon answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// It is done; the value depends on the request.
    Ok(serde_json::Value),
    /// It is not done.
    Error {
        /// Whose fault it is.
        fault: Fault,
        /// What went wrong and what to do about it.
        message: String,
    },
}

/// Whose fault an error is; the client's exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// What was asked for, or the configuration, is wrong.
    Usage,
    /// It could not be done.
    Failed,
}

/// Which lists are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListKind {
    /// `[allow]`, and the trunks' allow lists.
    Allow,
    /// `[deny]`, and the trunks' deny lists.
    Deny,
}

/// How long a policy took on its way, in microseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Timing {
    /// To be read and validated.
    pub read: u64,
    /// To be compiled into tables.
    pub compile: u64,
    /// To be written into the kernel's memory and put in force on every CPU.
    pub kernel: u64,
}

/// What `apply` did, or would do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Applied {
    /// Whether it is in force.
    pub applied: bool,
    /// The policy in force now.
    pub generation: u64,
    /// What changes.
    pub difference: Difference,
    /// Live changes that the file does not have and that end with it.
    pub dropped_changes: Vec<ListChange>,
    /// How long it took; the kernel's part is 0 in a dry run.
    pub timing_us: Timing,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// What a live change did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Changed {
    /// The policy in force now.
    pub generation: u64,
    /// Microseconds from the request to the change being in force.
    pub in_force_us: u64,
    /// The file that was changed too.
    pub saved_to: Option<PathBuf>,
    /// What the change does not do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// One row of an allow or deny list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Entry {
    /// An entry of the policy file itself, or of a live change.
    Prefix {
        /// What.
        prefix: IpNet,
        /// Whose list; none: the plain one.
        trunk: Option<String>,
        /// Whether the policy file has it.
        saved: bool,
    },
    /// A list file, for all its prefixes.
    File {
        /// Which, and how many.
        #[serde(flatten)]
        source: ListSource,
        /// Whose list; none: the plain one.
        trunk: Option<String>,
    },
    /// A prefix of a list file that a live change took off the list.
    Removed {
        /// What.
        removed: IpNet,
        /// Whose list; none: the plain one.
        trunk: Option<String>,
        /// Whether the files agree.
        saved: bool,
    },
}

/// What stands on a trunk's list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Listed {
    /// An entry of the policy file itself, or of a live change.
    Prefix(IpNet),
    /// A list file, for all its prefixes.
    File(ListSource),
    /// A prefix of a list file that a live change took off the list.
    Removed {
        /// What.
        removed: IpNet,
    },
}

/// One ban.
#[derive(Debug, Serialize, Deserialize)]
pub struct BanEntry {
    /// Who.
    pub address: IpAddr,
    /// How much longer.
    pub remaining_ms: u64,
    /// Why.
    pub cause: String,
}

/// What a ban did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Banned {
    /// The ban.
    #[serde(flatten)]
    pub ban: BanEntry,
    /// Why it will not do what was meant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub warning: Option<String>,
}

/// One trunk.
#[derive(Debug, Serialize, Deserialize)]
pub struct TrunkEntry {
    /// Its name.
    pub name: String,
    /// Who may signal.
    pub allow: Vec<Listed>,
    /// Who may not.
    pub deny: Vec<Listed>,
    /// Who may send media.
    pub media: Vec<Listed>,
    /// Where we send calls.
    pub outbound_proxies: Vec<String>,
    /// What it may reach.
    pub listeners: Vec<String>,
    /// Whether only the address that is registered may do more than register.
    #[serde(default)]
    pub require_registration: bool,
    /// Its addresses of record.
    #[serde(default)]
    pub registrations: Vec<String>,
    /// Where it is registered now.
    #[serde(default)]
    pub registered_at: Vec<IpAddr>,
}

/// A packet that might come.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// Its source.
    pub from: SocketAddr,
    /// Its destination.
    pub to: SocketAddr,
    /// `udp` or `tcp`.
    pub transport: TransportName,
    /// Its VLAN; 0: untagged.
    pub vlan: u16,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// A transport, by the word that people use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum TransportName {
    /// RFC 768.
    Udp,
    /// RFC 9293.
    Tcp,
}

/// What the loaded program says about a [`Question`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// What the reason does to a packet when the mode is `enforce`.
    pub verdict: String,
    /// The reason.
    pub reason: String,
    /// What decided.
    pub because: Option<Cause>,
    /// `monitor` passes every packet, whatever the verdict.
    pub mode: String,
}

/// What decided about a packet.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cause {
    /// Something in the policy.
    Policy(Because),
    /// A registration that stands.
    Registration {
        /// The address of record.
        registration: String,
        /// Who says so.
        witness: Witness,
        /// The trunk that it belongs to.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        trunk: Option<String>,
        /// How much longer.
        remaining_ms: u64,
    },
    /// A ban.
    Ban {
        /// Whose.
        ban: IpAddr,
        /// Why.
        cause: String,
        /// How much longer.
        remaining_ms: u64,
    },
}
