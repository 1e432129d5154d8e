//! Bans in the kernel: a map for people, with causes, beside the table that the packet path looks into.
//!
//! A daemon that ends between the two leaves a ban in the map, and the table follows at the next start.

use std::net::IpAddr;

use aya::maps::{HashMap, Map, MapData, MapError};
use nix::libc;
use sip_filter_common::{
    Address, Ban,
    maps::{BANS_MAX, name},
};

use super::{Datapath, DatapathError};

/// For how many bans that the operator asks for there is always room.
const BANS_OF_OPERATOR: usize = 1_024;

impl Datapath {
    /// Bans an address as [`ban`](Self::ban) does, where nobody asked for it: some room is the operator's.
    ///
    /// # Errors
    ///
    /// [`DatapathError::BansFull`] where only that is left.
    pub fn ban_by_itself(&mut self, address: IpAddr, ban: Ban) -> Result<(), DatapathError> {
        if self.banned_until_ns(address) == 0 && self.peers.banned() >= BANS_MAX as usize - BANS_OF_OPERATOR {
            return Err(DatapathError::BansFull);
        }
        self.ban(address, ban)
    }

    /// Bans an address until a time of CLOCK_BOOTTIME, or changes its ban.
    ///
    /// # Errors
    ///
    /// [`DatapathError::BansFull`] at the limit.
    pub fn ban(&mut self, address: IpAddr, ban: Ban) -> Result<(), DatapathError> {
        let address = Address::from(address);
        let before = self.bans_mut()?.get(&address, 0).ok();
        match self.bans_mut()?.insert(address, ban, 0) {
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::E2BIG) => {
                return Err(DatapathError::BansFull);
            }
            inserted => inserted?,
        }
        let placed = self.set_ban(address, ban.until_ns);
        if placed.is_err() {
            // Half a ban is none, and half a change neither.
            let mut bans = self.bans_mut()?;
            let _: Result<(), MapError> = match before {
                Some(before) => bans.insert(address, before, 0),
                None => bans.remove(&address),
            };
        }
        placed
    }

    /// Lifts a ban; false if there was none.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn unban(&mut self, address: IpAddr) -> Result<bool, DatapathError> {
        let address = Address::from(address);
        self.set_ban(address, 0)?;
        match self.bans_mut()?.remove(&address) {
            Ok(()) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The bans in the map, expired ones included, sorted by address.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn bans(&self) -> Result<Vec<(IpAddr, Ban)>, DatapathError> {
        let map: HashMap<_, Address, Ban> = self.map(name::BANS)?;
        // An entry that vanishes while the map is walked is no loss.
        let mut bans: Vec<_> =
            map.iter().flatten().map(|(address, ban)| (IpAddr::from(address), ban)).collect();
        bans.sort_unstable_by_key(|(address, _)| *address);
        Ok(bans)
    }

    /// Reads the bans of an earlier daemon; its table of peers has been read where the maps are the same.
    pub(super) fn take_over_bans(&mut self, maps_are_reused: bool) -> Result<(), DatapathError> {
        if maps_are_reused {
            for (address, ban) in self.bans()? {
                self.set_ban(address.into(), ban.until_ns)?;
            }
            return Ok(());
        }
        // Of another object: whatever its other maps mean, addresses and bans stay what they are.
        let old = MapData::from_pin(self.pins.path(name::BANS)).ok().map(Map::HashMap);
        let Some(Ok(old)) = old.map(HashMap::<MapData, Address, Ban>::try_from) else { return Ok(()) };
        for (address, ban) in old.iter().flatten() {
            if let Err(error) = self.ban(address.into(), ban) {
                tracing::warn!(%error, "a ban of the version before is lost");
            }
        }
        Ok(())
    }

    fn bans_mut(&mut self) -> Result<HashMap<&mut MapData, Address, Ban>, DatapathError> {
        self.map_mut(name::BANS)
    }
}
