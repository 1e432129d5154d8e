//! What `status` tells.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    interfaces::Attached,
    policy::{OnExit, PbxKind},
};

/// What is in force now.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// `monitor` or `enforce`.
    pub mode: String,
    /// How many policies were put in force.
    pub generation: u64,
    /// Where packets are judged.
    pub interfaces: Vec<InterfaceStatus>,
    /// By reason.
    pub counters: BTreeMap<String, CounterStatus>,
    /// What remains when the daemon ends.
    pub on_exit: OnExit,
    /// The policy file.
    pub config: PathBuf,
    /// How many live changes are not in the policy file.
    pub unsaved_changes: usize,
    /// How much memory the filter takes.
    pub memory_bytes: MemoryBytes,
    /// The PBXs that report registrations, in the order of the policy.
    #[serde(default)]
    pub links: Vec<LinkStatus>,
    /// What the kernel program told of SIP messages.
    #[serde(default)]
    pub events: EventsStatus,
    /// The daemon's version.
    pub version: String,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// Memory, in bytes.
#[derive(Debug, Serialize, Deserialize)]
pub struct MemoryBytes {
    /// The kernel's maps.
    pub kernel: u64,
    /// What the daemon has of the machine's memory for itself (`RssAnon` of proc_pid_status(5)).
    pub daemon: u64,
}

/// One interface of the policy.
#[derive(Debug, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// How the program stands there; none where the interface is gone or another program took its place.
    pub attached: Option<Attached>,
    /// The kernel's number of the program there.
    pub program_id: Option<u32>,
    /// Whether VLAN tags reach XDP.
    pub vlan_tags: VlanTags,
}

/// Whether VLAN tags reach XDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VlanTags {
    /// They stand in the frame.
    Visible,
    /// The card takes them off before (rx-vlan-offload).
    Stripped,
}

/// What one reason has seen.
#[derive(Debug, Serialize, Deserialize)]
pub struct CounterStatus {
    /// What the reason does to a packet when the mode is `enforce`.
    pub verdict: String,
    /// How many.
    pub packets: u64,
    /// How much.
    pub bytes: u64,
}

/// The link to one PBX.
#[derive(Debug, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The name of its `[[pbx]]`.
    pub name: String,
    /// Which PBX.
    pub kind: PbxKind,
    /// How long it has been up; none while it is down.
    pub up_for_ms: Option<u64>,
    /// Why it went down last, or does not come up.
    pub last_error: Option<String>,
    /// How many events it has brought.
    pub events: u64,
}

/// What the kernel program told of SIP messages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsStatus {
    /// Messages that the daemon read.
    pub read: u64,
    /// Messages for which the ring buffers had no room.
    pub lost: u64,
    /// Those among them that may have said that somebody is registered: replies over UDP, and whatever went over TCP.
    pub lost_registrations: u64,
}
