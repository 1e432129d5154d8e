//! The lane of strangers and the flows that are let in, as the controller changes them.

use aya::maps::{Array, HashMap, MapData, MapError};
use nix::libc;
use sip_filter_common::{
    Address,
    maps::{FlowKey, LANE_OPEN_NS, Lane, name},
    parse::protocol,
};

use super::{Datapath, DatapathError};
use crate::trust::{Flow, SipTransport};

impl Datapath {
    /// Lets a flow signal, by a registration, until a time of CLOCK_BOOTTIME.
    ///
    /// # Errors
    ///
    /// [`DatapathError::RegisteredFull`] at the limit.
    pub fn admit_flow(&mut self, flow: &Flow, until_ns: u64) -> Result<(), DatapathError> {
        match self.flows_mut()?.insert(key(flow), until_ns, 0) {
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::E2BIG) => {
                Err(DatapathError::RegisteredFull)
            }
            inserted => Ok(inserted?),
        }
    }

    /// No registration lets the flow in any more.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn dismiss_flow(&mut self, flow: &Flow) -> Result<(), DatapathError> {
        match self.flows_mut()?.remove(&key(flow)) {
            Err(MapError::KeyNotFound) => Ok(()),
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => {
                Ok(())
            }
            removed => Ok(removed?),
        }
    }

    /// Lets an address that was challenged spend more than its own budget for a few seconds.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn open_lane(&mut self, address: std::net::IpAddr, now_ns: u64) -> Result<(), DatapathError> {
        let place = Lane::place(&Address::from(address), self.tables.live.salt);
        let mut lanes: Array<_, Lane> = self.map_mut(name::LANES)?;
        let lane = lanes.get(&place, 0)?;
        let open_until_ns = now_ns + LANE_OPEN_NS;
        lanes.set(place, Lane { open_until_ns, ..lane }, 0)?;
        let mut challenged: Array<_, u64> = self.map_mut(name::CHALLENGED)?;
        Ok(challenged.set(Lane::group(place), open_until_ns, 0)?)
    }

    /// Remembers the flows that an earlier daemon left, for [`tidy_flows`](Self::tidy_flows).
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn take_over_flows(&mut self) -> Result<(), DatapathError> {
        self.flows_left = self.flows_mut()?.iter().collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Takes out those of the flows that an earlier daemon left whose time is over.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn tidy_flows(&mut self, now_ns: u64) -> Result<(), DatapathError> {
        let mut left = std::mem::take(&mut self.flows_left);
        let mut flows = self.flows_mut()?;
        let mut result = Ok(());
        left.retain(|(key, until_ns)| {
            if *until_ns > now_ns {
                return true;
            }
            // It may have been let in once more since.
            let removed = match flows.get(key, 0) {
                Ok(until_ns) if until_ns <= now_ns => flows.remove(key),
                Ok(_) | Err(MapError::KeyNotFound) => Ok(()),
                Err(error) => Err(error),
            };
            let is_left = removed.is_err();
            if let Err(error) = removed {
                result = Err(error.into());
            }
            is_left
        });
        self.flows_left = left;
        result
    }

    fn flows_mut(&mut self) -> Result<HashMap<&mut MapData, FlowKey, u64>, DatapathError> {
        self.map_mut(name::FLOWS)
    }
}

fn key(flow: &Flow) -> FlowKey {
    let protocol = match flow.transport {
        SipTransport::Udp => protocol::UDP,
        SipTransport::Tcp | SipTransport::Tls | SipTransport::Ws | SipTransport::Wss => protocol::TCP,
    };
    FlowKey { address: flow.address.into(), port: flow.port.into(), protocol: protocol.into() }
}
