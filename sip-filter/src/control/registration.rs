//! What is asked and answered about registrations.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::trust::{SipTransport, Witness};

/// Where a registration came from, as the operator says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationPlace {
    /// The address, canonical.
    pub address: IpAddr,
    /// The port; 0 where it does not matter or is not known.
    pub port: u16,
}

/// One contact of an address of record that is registered now.
#[derive(Debug, Serialize, Deserialize)]
pub struct RegistrationEntry {
    /// The address of record.
    pub aor: String,
    /// The contact's URI, where it is known.
    pub contact: Option<String>,
    /// The address that it really came from.
    pub address: IpAddr,
    /// The port that it really came from; 0 where it is not known.
    pub port: u16,
    /// How.
    pub transport: SipTransport,
    /// Who says so.
    pub witness: Witness,
    /// How much longer it stands.
    pub remaining_ms: u64,
    /// The trunk that it belongs to.
    pub trunk: Option<String>,
}
