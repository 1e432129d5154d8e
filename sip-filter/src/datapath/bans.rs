//! Bans in the kernel: a map for people, and the table that the packet path looks into.
//!
//! Whatever fails between the two, the map has the ban and the table follows at the next start.

use std::{
    collections::HashMap as Collection,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::IpAddr,
};

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use nix::libc;
use sip_filter_common::{
    Address, Ban,
    maps::{BAN_BITS_WORDS, BAN_BUCKET_WIDTH, BAN_BUCKETS, BanBucket, BanPlace, Live, name},
};

use super::{Datapath, DatapathError};
use crate::cuckoo::Cuckoo;

const EMPTY: BanPlace = BanPlace { until_ns: 0, address: Address { halves: [0; 2] } };

/// What stands in the packet path's table.
pub(super) struct Placed {
    cuckoo: Cuckoo,
    /// By the number that the table of places knows a ban by; a number whose ban has ended is used again.
    places: Vec<BanPlace>,
    numbers: Collection<Address, u32>,
    free: Vec<u32>,
}

impl Default for Placed {
    fn default() -> Self {
        Self {
            cuckoo: Cuckoo::new(BAN_BUCKETS as usize, BAN_BUCKET_WIDTH),
            places: Vec::new(),
            numbers: Collection::new(),
            free: Vec::new(),
        }
    }
}

impl Placed {
    /// How many bans there are.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }
}

impl Datapath {
    /// Bans an address until a time of CLOCK_BOOTTIME, or changes its ban.
    ///
    /// # Errors
    ///
    /// [`DatapathError::BansFull`] at the limit.
    pub fn ban(&mut self, address: IpAddr, ban: Ban) -> Result<(), DatapathError> {
        let address = Address::from(address);
        match self.bans_mut()?.insert(address, ban, 0) {
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::E2BIG) => {
                return Err(DatapathError::BansFull);
            }
            inserted => inserted?,
        }
        let placed = self.place(address, ban.until_ns);
        if placed.is_err() {
            // Half a ban is none.
            let _: Result<(), MapError> = self.bans_mut()?.remove(&address);
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
        if let Some(number) = self.bans.numbers.remove(&address) {
            let choices = self.choices(&address);
            if let Some(place) = self.bans.cuckoo.place_of(number, choices) {
                self.bans.cuckoo.put(place, None);
                self.write_bucket(place)?;
            }
            self.bans.free.push(number);
        }
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

    /// Takes the presence bits of bans that have ended out of the packet path's way.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn tidy_bans(&mut self) -> Result<(), DatapathError> {
        let mut bits = [0; BAN_BITS_WORDS];
        for address in self.bans.numbers.keys() {
            let (word, bit) = self.tables.live.0.ban_bit(address);
            bits[word] |= bit;
        }
        let live = &mut self.tables.live.0;
        if live.ban_bits == bits {
            return Ok(());
        }
        live.ban_bits = bits;
        if self.bans.numbers.is_empty() {
            live.watch &= !Live::BANS;
        }
        self.write_live()
    }

    /// Reads the bans of an earlier daemon, and what stands in its table where the maps are the same.
    pub(super) fn take_over_bans(&mut self, maps_are_reused: bool) -> Result<(), DatapathError> {
        if self.tables.live.0.salt == 0 {
            self.tables.live.0.salt = RandomState::new().build_hasher().finish() | 1;
        }
        if maps_are_reused {
            for (address, ban) in self.bans()? {
                let address = Address::from(address);
                self.find_placed(address)?;
                self.place(address, ban.until_ns)?;
            }
            return Ok(());
        }
        // Of a version whose other maps had another layout.
        let old = MapData::from_pin(self.pins.path(name::BANS)).ok().map(Map::HashMap);
        let Some(Ok(old)) = old.map(HashMap::<MapData, Address, Ban>::try_from) else { return Ok(()) };
        for (address, ban) in old.iter().flatten() {
            if let Err(error) = self.ban(address.into(), ban) {
                tracing::warn!(%error, "a ban of the version before is lost");
            }
        }
        Ok(())
    }

    /// Notes where a ban stands in the kernel's table already.
    fn find_placed(&mut self, address: Address) -> Result<(), DatapathError> {
        for bucket in self.choices(&address) {
            let there: BanBucket = self.map::<Array<_, BanBucket>>(name::BANNED)?.get(&bucket, 0)?;
            for (column, place) in there.places.iter().enumerate() {
                if place.address == address && place.until_ns != 0 {
                    let number = self.number(*place);
                    self.bans.cuckoo.put(bucket as usize * BAN_BUCKET_WIDTH + column, Some(number));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Puts a ban into the packet path's table.
    fn place(&mut self, address: Address, until_ns: u64) -> Result<(), DatapathError> {
        let hash = address.hash(self.tables.live.0.salt);
        let place = BanPlace { until_ns, address };
        if let Some(number) = self.bans.numbers.get(&address).copied() {
            self.bans.places[number as usize] = place;
            if let Some(at) = self.bans.cuckoo.place_of(number, BanBucket::choices(hash)) {
                return self.write_bucket(at);
            }
        }
        let number = self.number(place);
        let salt = self.tables.live.0.salt;
        let places = &self.bans.places;
        let choices = |number: u32| BanBucket::choices(places[number as usize].address.hash(salt));
        let Some(moves) = self.bans.cuckoo.insert(number, choices) else {
            self.bans.numbers.remove(&address);
            self.bans.free.push(number);
            return Err(DatapathError::BansFull);
        };
        let is_moved = moves.len() > 1;
        for (at, _) in moves {
            self.write_bucket(at)?;
            if is_moved {
                // A packet that found neither the old place nor the new one would pass: it has both for a while.
                self.wait_for_packets()?;
            }
        }
        let (word, bit) = self.tables.live.0.ban_bit(&address);
        let live = &mut self.tables.live.0;
        if live.ban_bits[word] & bit == 0 || live.watch & Live::BANS == 0 {
            live.ban_bits[word] |= bit;
            live.watch |= Live::BANS;
            self.write_live()?;
        }
        Ok(())
    }

    /// A number for a ban.
    fn number(&mut self, place: BanPlace) -> u32 {
        let number = match self.bans.free.pop() {
            Some(number) => {
                self.bans.places[number as usize] = place;
                number
            }
            None => {
                self.bans.places.push(place);
                u32::try_from(self.bans.places.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.bans.numbers.insert(place.address, number);
        number
    }

    fn choices(&self, address: &Address) -> [u32; 2] {
        BanBucket::choices(address.hash(self.tables.live.0.salt))
    }

    /// Writes the bucket of a place, empty where it changes first: no packet sees half of the one and half of the other.
    fn write_bucket(&mut self, place: usize) -> Result<(), DatapathError> {
        let bucket = self.bans.cuckoo.bucket_of(place);
        let column = place % BAN_BUCKET_WIDTH;
        let mut places = [EMPTY; BAN_BUCKET_WIDTH];
        for (place, number) in places.iter_mut().zip(self.bans.cuckoo.bucket(bucket)) {
            *place = number.map_or(EMPTY, |number| self.bans.places[number as usize]);
        }
        let mut map: Array<_, BanBucket> = self.map_mut(name::BANNED)?;
        let before: BanBucket = map.get(&bucket, 0)?;
        if before.places[column].address != places[column].address && before.places[column] != EMPTY {
            let mut emptied = before;
            emptied.places[column] = EMPTY;
            map.set(bucket, emptied, 0)?;
        }
        Ok(map.set(bucket, BanBucket { places }, 0)?)
    }

    fn bans_mut(&mut self) -> Result<HashMap<&mut MapData, Address, Ban>, DatapathError> {
        self.map_mut(name::BANS)
    }
}

// STUB
impl super::Datapath {
    pub fn admit(&mut self, _: std::net::IpAddr, _: u64) -> Result<(), super::DatapathError> {
        Ok(())
    }
    pub fn dismiss(&mut self, _: std::net::IpAddr) -> Result<bool, super::DatapathError> {
        Ok(true)
    }
    pub fn admit_flow(&mut self, _: &crate::trust::Flow, _: u64) -> Result<(), super::DatapathError> {
        Ok(())
    }
    pub fn dismiss_flow(&mut self, _: &crate::trust::Flow) -> Result<(), super::DatapathError> {
        Ok(())
    }
    pub fn open_lane(&mut self, _: std::net::IpAddr) -> Result<(), super::DatapathError> {
        Ok(())
    }
}
