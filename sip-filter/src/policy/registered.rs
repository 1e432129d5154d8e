//! Which trunks are registered now, as far as it changes what their lists mean.
//!
//! Kept beside the policy, which stays what the operator wrote; knows nothing of how somebody registers.

use std::{collections::BTreeMap, net::IpAddr};

/// The trunks that are registered now, each with the addresses it is registered at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegisteredTrunks {
    at: BTreeMap<String, Vec<IpAddr>>,
}

impl RegisteredTrunks {
    /// Notes where a trunk is registered now; no address: it is not. Whether that changes what its lists mean.
    pub fn set(&mut self, trunk: &str, addresses: Vec<IpAddr>) -> bool {
        let was = self.is_registered(trunk);
        let is = !addresses.is_empty();
        if is {
            self.at.insert(trunk.to_owned(), addresses);
        } else {
            self.at.remove(trunk);
        }
        was != is
    }

    /// Where the trunk of this name is registered.
    pub fn at(&self, trunk: &str) -> &[IpAddr] {
        self.at.get(trunk).map_or(&[], Vec::as_slice)
    }

    /// Whether it is registered anywhere.
    pub fn is_registered(&self, trunk: &str) -> bool {
        self.at.contains_key(trunk)
    }
}
