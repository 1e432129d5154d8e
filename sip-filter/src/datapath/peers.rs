//! The packet path's table of peers: who is banned, who is registered.
//!
//! Knows where each stands, and keeps every one findable while others move; why somebody is in it is the caller's.

use std::{collections::HashMap, net::IpAddr};

use aya::maps::Array;
use sip_filter_common::{
    Address, Peer,
    maps::{Known, Live, PEER_BITS_WORDS, PEER_BUCKET_WIDTH, PEER_BUCKETS, PeerBucket, REGISTERED_MAX, name},
};

use super::{Datapath, DatapathError};
use crate::cuckoo::Cuckoo;

/// For so many buckets in use there is a peer at most, before there are more: one in 3,000 new ones has to move others then,
/// where with a bucket for each it is one in 30.
const BUCKETS_OF_A_PEER: usize = 4;

/// What stands in the packet path's table.
pub(super) struct Placed {
    cuckoo: Cuckoo,
    /// By the number that the table of places knows a peer by; a number that is nobody's is used again.
    peers: Vec<Peer>,
    numbers: HashMap<Address, u32>,
    free: Vec<u32>,
    registered: usize,
    banned: usize,
}

impl Default for Placed {
    fn default() -> Self {
        Self {
            cuckoo: Cuckoo::new(PEER_BUCKETS as usize, PEER_BUCKET_WIDTH),
            peers: Vec::new(),
            numbers: HashMap::new(),
            free: Vec::new(),
            registered: 0,
            banned: 0,
        }
    }
}

impl Placed {
    /// How many are banned, those whose bans have ended included.
    pub(super) fn banned(&self) -> usize {
        self.banned
    }

    /// Everybody.
    fn iter(&self) -> impl Iterator<Item = Peer> {
        self.numbers.values().map(|number| self.peers[*number as usize])
    }

    /// Who stands in a bucket.
    fn places(&self, bucket: u32) -> [Peer; PEER_BUCKET_WIDTH] {
        let mut places = [Peer::NOBODY; PEER_BUCKET_WIDTH];
        for (place, number) in places.iter_mut().zip(self.cuckoo.bucket(bucket)) {
            *place = number.map_or(Peer::NOBODY, |number| self.peers[number as usize]);
        }
        places
    }

    fn peer(&self, address: &Address) -> Peer {
        let known = self.numbers.get(address).map(|number| self.peers[*number as usize]);
        known.unwrap_or(Peer { address: *address, ..Peer::NOBODY })
    }
}

impl Datapath {
    /// Lets an address in, by a registration, until a time of CLOCK_BOOTTIME.
    ///
    /// # Errors
    ///
    /// [`DatapathError::RegisteredFull`] at the limit; who is in it stays.
    pub fn admit(&mut self, address: IpAddr, until_ns: u64) -> Result<(), DatapathError> {
        let peer = self.peers.peer(&address.into());
        if peer.known.registered_until_ns == 0 && self.peers.registered >= REGISTERED_MAX as usize {
            return Err(DatapathError::RegisteredFull);
        }
        self.put_peer(Peer { known: Known { registered_until_ns: until_ns, ..peer.known }, ..peer })
    }

    /// No registration lets the address in any more; false if none did.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn dismiss(&mut self, address: IpAddr) -> Result<bool, DatapathError> {
        let peer = self.peers.peer(&address.into());
        self.put_peer(Peer { known: Known { registered_until_ns: 0, ..peer.known }, ..peer })?;
        Ok(peer.known.registered_until_ns != 0)
    }

    /// Until when the kernel lets in whom, by registrations; those that have ended included.
    pub fn registered(&self) -> impl Iterator<Item = (IpAddr, u64)> {
        let registered = self.peers.iter().filter(|peer| peer.known.registered_until_ns != 0);
        registered.map(|peer| (peer.address.into(), peer.known.registered_until_ns))
    }

    /// Until when who is banned; bans that have ended included.
    pub fn banned(&self) -> impl Iterator<Item = (IpAddr, u64)> {
        let banned = self.peers.iter().filter(|peer| peer.known.banned_until_ns != 0);
        banned.map(|peer| (peer.address.into(), peer.known.banned_until_ns))
    }

    /// Until when an address is banned; 0 where it is not.
    pub fn banned_until_ns(&self, address: IpAddr) -> u64 {
        self.peers.peer(&address.into()).known.banned_until_ns
    }

    /// When an address's ban ends; 0 for none.
    pub(super) fn set_ban(&mut self, address: Address, until_ns: u64) -> Result<(), DatapathError> {
        let peer = self.peers.peer(&address);
        self.put_peer(Peer { known: Known { banned_until_ns: until_ns, ..peer.known }, ..peer })
    }

    /// Takes the presence bits of whom nothing is known about any more out of the packet path's way.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn tidy_peers(&mut self) -> Result<(), DatapathError> {
        let mut bits = [0; PEER_BITS_WORDS];
        for address in self.peers.numbers.keys() {
            let (word, bit) = self.tables.live.peer_bit(address);
            bits[word] |= bit;
        }
        if self.tables.live.peer_bits == bits {
            return Ok(());
        }
        let is_empty = self.peers.numbers.is_empty();
        self.change_live(|live| {
            live.peer_bits = bits;
            if is_empty {
                live.watch &= !Live::PEERS;
            }
        })
    }

    /// Reads what an earlier daemon left in the table, where the maps are the same.
    pub(super) fn take_over_peers(&mut self, maps_are_reused: bool) -> Result<(), DatapathError> {
        if !maps_are_reused || self.tables.live.watch & Live::PEERS == 0 {
            return Ok(());
        }
        let map: Array<_, PeerBucket> = self.map(name::PEERS)?;
        let mut found = Vec::new();
        // Behind those in use stands nobody, but where that daemon was about to use twice as many.
        for bucket in 0..(2 * self.buckets()).min(PEER_BUCKETS) {
            let places = map.get(&bucket, 0)?.places.into_iter().enumerate();
            let taken = places.filter(|(_, peer)| !peer.known.is_nothing());
            found.extend(taken.map(|(column, peer)| (bucket as usize * PEER_BUCKET_WIDTH + column, peer)));
        }
        let mut left = Vec::new();
        for (place, peer) in found {
            let bucket = self.peers.cuckoo.bucket_of(place);
            let is_there = self.choices(&peer.address).contains(&bucket);
            if is_there && !self.peers.numbers.contains_key(&peer.address) {
                let number = self.number(peer);
                self.peers.cuckoo.put(place, Some(number));
            } else {
                left.push(place);
            }
        }
        // Who was being moved when that daemon ended stands in two places, and would stay in one of them for good. Behind the
        // buckets in use stands nobody then.
        left.into_iter().try_for_each(|place| self.write_bucket(place))
    }

    /// Makes the packet path's table say so about a peer.
    fn put_peer(&mut self, peer: Peer) -> Result<(), DatapathError> {
        let before = self.peers.peer(&peer.address);
        if peer.known.is_nothing() {
            return self.remove_peer(&peer.address);
        }
        // First, since there is nothing to take back where this fails: whoever has the bit is looked for in vain.
        self.show_peer(&peer.address)?;
        let choices = self.choices(&peer.address);
        let known = self.peers.numbers.get(&peer.address).copied();
        if let Some((number, place)) =
            known.and_then(|number| Some((number, self.peers.cuckoo.place_of(number, choices)?)))
        {
            self.peers.peers[number as usize] = peer;
            let written = self.write_bucket(place);
            if written.is_err() {
                self.peers.peers[number as usize] = before;
            } else {
                self.count(&before, &peer);
            }
            return written;
        }
        let number = self.number(peer);
        let live = &self.tables.live;
        let peers = &self.peers.peers;
        let choices = |number: u32| live.peer_buckets(&peers[number as usize].address, live.peers_mask);
        let Some(moves) = self.peers.cuckoo.insert(number, choices) else {
            self.forget(&peer.address);
            return Err(DatapathError::PeersFull);
        };
        let is_moved = moves.len() > 1;
        for (index, (at, _)) in moves.iter().enumerate() {
            if let Err(error) = self.write_bucket(*at) {
                self.peers.cuckoo.take_back(&moves[index..]);
                self.forget(&peer.address);
                return Err(error);
            }
            if is_moved {
                // A packet that found neither the old place nor the new one would pass: it has both for a while. Where the
                // kernel has no memory for that, those who are half-way still arrive.
                let _: Result<(), DatapathError> = self.wait_for_packets();
            }
        }
        if self.peers.numbers.len() >= self.buckets() as usize / BUCKETS_OF_A_PEER
            && self.buckets() < PEER_BUCKETS
        {
            // The peer is in: where there is no room for more buckets, its neighbours stand closer.
            let _: Result<(), DatapathError> = self.spread_peers();
        }
        Ok(())
    }

    /// Uses twice as many buckets. Whatever stands in one stays there or goes to the same place of the one that is as far
    /// behind it as there were buckets.
    fn spread_peers(&mut self) -> Result<(), DatapathError> {
        let buckets = self.buckets();
        let mask = u64::from(2 * buckets - 1);
        let mut left = Vec::new();
        for bucket in 0..buckets {
            // Where this failed before, the one behind it may have been written.
            let before = self.peers.places(bucket + buckets);
            for column in 0..PEER_BUCKET_WIDTH {
                let place = bucket as usize * PEER_BUCKET_WIDTH + column;
                let goes = self.peers.cuckoo.bucket(bucket)[column].filter(|number| {
                    let address = self.peers.peers[*number as usize].address;
                    !self.tables.live.peer_buckets(&address, mask).contains(&bucket)
                });
                self.peers.cuckoo.put(place + buckets as usize * PEER_BUCKET_WIDTH, goes);
                left.extend(goes.map(|_| place));
            }
            let places = self.peers.places(bucket + buckets);
            if [before, places].concat().iter().any(|peer| !peer.known.is_nothing()) {
                let mut map: Array<_, PeerBucket> = self.map_mut(name::PEERS)?;
                map.set(bucket + buckets, PeerBucket { places }, 0)?;
            }
        }
        self.change_live(|live| live.peers_mask = mask)?;
        // Packets may still look for them in the old place.
        let waited = self.wait_for_packets();
        for place in &left {
            self.peers.cuckoo.put(*place, None);
        }
        for place in left {
            self.write_bucket(place)?;
        }
        waited
    }

    /// How many buckets are used.
    fn buckets(&self) -> u32 {
        u32::try_from(self.tables.live.peers_mask + 1).unwrap_or(PEER_BUCKETS).min(PEER_BUCKETS)
    }

    fn choices(&self, address: &Address) -> [u32; 2] {
        let live = &self.tables.live;
        live.peer_buckets(address, live.peers_mask)
    }

    /// Has the packet path look for a peer.
    fn show_peer(&mut self, address: &Address) -> Result<(), DatapathError> {
        let live = &self.tables.live;
        let (word, bit) = live.peer_bit(address);
        if live.peer_bits[word] & bit != 0 && live.watch & Live::PEERS != 0 {
            return Ok(());
        }
        self.change_live(|live| {
            live.peer_bits[word] |= bit;
            live.watch |= Live::PEERS;
        })
    }

    fn remove_peer(&mut self, address: &Address) -> Result<(), DatapathError> {
        let Some(number) = self.peers.numbers.get(address).copied() else { return Ok(()) };
        let choices = self.choices(address);
        if let Some(place) = self.peers.cuckoo.place_of(number, choices) {
            self.peers.cuckoo.put(place, None);
            if let Err(error) = self.write_bucket(place) {
                self.peers.cuckoo.put(place, Some(number));
                return Err(error);
            }
        }
        self.forget(address);
        Ok(())
    }

    /// A number for a peer.
    fn number(&mut self, peer: Peer) -> u32 {
        let number = match self.peers.free.pop() {
            Some(number) => {
                self.peers.peers[number as usize] = peer;
                number
            }
            None => {
                self.peers.peers.push(peer);
                u32::try_from(self.peers.peers.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.peers.numbers.insert(peer.address, number);
        self.count(&Peer::NOBODY, &peer);
        number
    }

    fn forget(&mut self, address: &Address) -> Option<u32> {
        let number = self.peers.numbers.remove(address)?;
        let peer = self.peers.peers[number as usize];
        self.count(&peer, &Peer::NOBODY);
        self.peers.free.push(number);
        Some(number)
    }

    fn count(&mut self, before: &Peer, after: &Peer) {
        let is_registered = |peer: &Peer| usize::from(peer.known.registered_until_ns != 0);
        let is_banned = |peer: &Peer| usize::from(peer.known.banned_until_ns != 0);
        self.peers.registered = self.peers.registered + is_registered(after) - is_registered(before);
        self.peers.banned = self.peers.banned + is_banned(after) - is_banned(before);
    }

    /// Writes the bucket of a place, empty first where another peer comes to it: who read the address of the one finds it
    /// changed after reading what is known about the other.
    fn write_bucket(&mut self, place: usize) -> Result<(), DatapathError> {
        let bucket = self.peers.cuckoo.bucket_of(place);
        let column = place % PEER_BUCKET_WIDTH;
        let places = self.peers.places(bucket);
        let mut map: Array<_, PeerBucket> = self.map_mut(name::PEERS)?;
        let before: PeerBucket = map.get(&bucket, 0)?;
        if before.places[column].address != places[column].address
            && !before.places[column].known.is_nothing()
        {
            let mut emptied = before;
            emptied.places[column] = Peer::NOBODY;
            map.set(bucket, emptied, 0)?;
        }
        Ok(map.set(bucket, PeerBucket { places }, 0)?)
    }
}
