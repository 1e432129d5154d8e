//! What follows for a trunk's lists when it registers, moves or ceases to be registered.
//!
//! Told by whoever keeps registrations; keeps none itself.

use std::net::IpAddr;

use super::{Daemon, requests::CHANGE_PREFIXES_MAX};
use crate::{
    datapath::DatapathError,
    policy::tables::{Tables, classes_of_trunk},
};

impl Daemon {
    /// A trunk is registered at these addresses now, and at no other; none: it is not registered.
    ///
    /// # Errors
    ///
    /// The kernel does not take the change; whoever was let in before stays so until the next policy.
    pub(super) fn trunk_is_at(&mut self, trunk: &str, addresses: Vec<IpAddr>) -> anyhow::Result<()> {
        let before = self.registered.clone();
        if !self.registered.set(trunk, addresses) {
            // A trunk that moves keeps its rights: who registered is known by address elsewhere.
            return Ok(());
        }
        // What the kernel did not take is tried again with the next change.
        self.put_trunk_in_force(trunk).inspect_err(|_| self.registered = before)
    }

    fn put_trunk_in_force(&mut self, trunk: &str) -> anyhow::Result<()> {
        let Some(groups) = classes_of_trunk(&self.policy, &self.registered, trunk, CHANGE_PREFIXES_MAX)
        else {
            return self.put_trunks_in_force();
        };
        for group in groups {
            let changed = self.datapath.change(&group);
            // Also where half a change could not be taken back.
            self.settling.changed();
            match changed {
                Err(DatapathError::NoRoom { .. }) => return self.put_trunks_in_force(),
                changed => changed?,
            }
        }
        Ok(())
    }

    fn put_trunks_in_force(&mut self) -> anyhow::Result<()> {
        self.datapath.apply(&mut Tables::compile(&self.policy, &self.registered)?)?;
        self.settling.settled();
        Ok(())
    }
}
