//! What outlives a restart and a reboot.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Flow, Witness};

/// A registration, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The address of record.
    pub aor: String,
    /// The contact's URI; empty where it is not known.
    pub contact: String,
    /// Where it really is.
    pub flow: Flow,
    /// Who says so.
    pub witness: Witness,
    /// How much longer it stood when it was stored.
    pub remaining: Duration,
}
