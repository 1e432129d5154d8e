//! The tables of the policy: written where no packet looks, then switched with one word.

use std::{
    borrow::Borrow,
    collections::BTreeSet,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::IpAddr,
    os::fd::AsFd as _,
    thread,
    time::Instant,
};

use aya::maps::{Array, ArrayOfMaps, HashMap, Map, MapData, MapError};
use ipnet::IpNet;
use nix::libc;
use sip_filter_common::{
    Address, Ban, FragmentDecision, FragmentKey, PolicyIndex,
    maps::{
        BLOCKED_RING_BYTES, Blocks4, CHUNK_LINES, CHUNKS_MAX, ChangeKey, ChangedClass, FRAGMENTS_MAX,
        Filter6, LANE_BUCKETS, LINE_WORDS, LOCAL_ADDRESSES_MAX, Lane, Live, PEER_BUCKETS, PEER_BUCKETS_MIN,
        POLICY_SLOTS, PeerBucket, RING_BYTES, STREAM_RING_BYTES, name,
    },
};

use super::{Datapath, DatapathError, Pins, object};
use crate::policy::tables::Tables;

const SLOTS: usize = POLICY_SLOTS as usize;
const CHUNK_WORDS: usize = CHUNK_LINES * LINE_WORDS;

/// What a thread's stack has room for beside the value that is handed over.
const STACK_BYTES: usize = 1 << 20;

pub(super) type Indices = [PolicyIndex; SLOTS];
type Chunk = [u64; CHUNK_WORDS];
type ChunkTable = Array<MapData, Chunk>;
type AddressTable = HashMap<MapData, Address, u64>;

/// What is in the maps.
pub(super) struct InForce {
    /// Table memory that the kernel has, by slot. It stays, so that the next policy finds it.
    chunks: [Vec<ChunkTable>; SLOTS],
    /// What stands in the tables of local addresses, where that is known.
    local_addresses: [Option<Vec<(IpAddr, u64)>>; SLOTS],
    /// Live changes to the policy in force.
    pub(super) changes: BTreeSet<IpNet>,
    /// The slot that a switch has left but not to its end: packets may look at it, and `changes` are its own.
    left: Option<u32>,
    pub(super) live: Box<Live>,
}

impl InForce {
    /// Knows nothing yet but what the program reads first.
    pub(super) fn of(live: Box<Live>) -> Self {
        Self {
            chunks: Default::default(),
            local_addresses: [None, None],
            changes: BTreeSet::new(),
            left: None,
            live,
        }
    }
}

/// What the program finds without a look-up: the contents of its sections of data.
pub(super) struct InPlace {
    pub(super) live: Box<Live>,
    /// The index of either slot.
    pub(super) indices: Box<Indices>,
}

impl InPlace {
    /// What new maps will hold, but for a policy.
    pub(super) fn empty() -> Self {
        let mut live: Box<Live> = bytemuck::zeroed_box();
        live.object = object::checksum();
        live.salt = RandomState::new().build_hasher().finish() | 1;
        live.peers_mask = (PEER_BUCKETS_MIN - 1).into();
        Self { live, indices: bytemuck::zeroed_box() }
    }

    /// What an earlier daemon has left in the pinned maps.
    pub(super) fn pinned(pins: &Pins) -> Result<Self, DatapathError> {
        Ok(Self { live: pinned(pins, name::LIVE)?, indices: pinned(pins, name::POLICIES)? })
    }
}

/// The one value of a pinned array.
fn pinned<T: aya::Pod + Send + Sync>(pins: &Pins, name: &'static str) -> Result<Box<T>, DatapathError> {
    value_of(&Array::<_, T>::try_from(Map::Array(MapData::from_pin(pins.path(name))?))?)
}

/// The one value of an array. Read on a thread of its own, since it is handed over by way of the stack.
fn value_of<T: aya::Pod + Send + Sync>(
    map: &Array<impl Borrow<MapData> + Sync, T>,
) -> Result<Box<T>, DatapathError> {
    let reader = || map.get(&0, 0).map(Box::new);
    // A debug build has many copies of it on the way.
    thread::scope(|scope| {
        let reader =
            thread::Builder::new().stack_size(STACK_BYTES + 16 * size_of::<T>()).spawn_scoped(scope, reader);
        let read = reader.map_err(MapError::IoError)?.join();
        // A thread that panics is a fault of this program, and ends it.
        Ok(read.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?)
    })
}

/// How long the kernel took for a policy.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// Microseconds from the first table to the switch, and to the last CPU that has seen it.
    pub kernel_us: u64,
}

impl Datapath {
    /// Puts a policy in force: all of it, or nothing.
    ///
    /// The tables go into the slot that no packet uses; one word then switches every CPU, and this returns when no packet is
    /// being judged by the policy before.
    ///
    /// # Errors
    ///
    /// [`DatapathError::NoRoom`] names the table; the policy before stays in force.
    pub fn apply(&mut self, tables: &mut Tables) -> Result<Written, DatapathError> {
        self.switch_to(tables, self.generation() + 1)
    }

    /// Puts the policy in force once more, with all live changes to it in its tables: no packet fares differently.
    ///
    /// # Errors
    ///
    /// Those of [`apply`](Self::apply).
    pub fn settle(&mut self, tables: &mut Tables) -> Result<Written, DatapathError> {
        self.switch_to(tables, self.generation())
    }

    fn switch_to(&mut self, tables: &mut Tables, generation: u64) -> Result<Written, DatapathError> {
        let started = Instant::now();
        self.leave()?;
        let before = self.slot();
        let slot = (before + 1) % POLICY_SLOTS;
        self.write_lines(slot, &tables.lines)?;
        self.write_local_addresses(slot, &tables.local_addresses)?;
        self.write_index(slot, &tables.index)?;
        self.write_table(name::BLOCKS4, "the blocks of IPv4", slot, &*tables.blocks4)?;
        self.write_table(name::FILTERS6, "the filter of IPv6", slot, &*tables.filter6)?;
        self.change_live(|live| (live.slot, live.generation) = (slot.into(), generation))?;
        self.tables.left = Some(before);
        if let Err(error) = self.leave() {
            tracing::warn!(
                "in force, but the policy before is not cleared away until the next change: {error}"
            );
        }
        let kernel_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(Written { kernel_us })
    }

    /// Clears away what a switch has left, if it has not been.
    pub(super) fn leave(&mut self) -> Result<(), DatapathError> {
        let Some(slot) = self.tables.left else { return Ok(()) };
        self.wait_for_packets()?;
        // No packet looks at the changes to the policy before any more.
        self.remove_changes(slot)?;
        self.change_live(|live| live.watch &= Live::PEERS)?;
        self.tables.left = None;
        Ok(())
    }

    /// Whether an earlier daemon's policy is in force in the maps.
    pub fn has_policy(&self) -> bool {
        self.generation() > 0
    }

    /// How many policies and live changes were put in force, those of earlier daemons included.
    pub fn generation(&self) -> u64 {
        self.tables.live.generation
    }

    /// Where the policy in force stands.
    pub(super) fn slot(&self) -> u32 {
        // Below POLICY_SLOTS, which nothing but this module writes.
        u32::try_from(self.tables.live.slot).unwrap_or(0) % POLICY_SLOTS
    }

    /// Reads from the maps what an earlier daemon left in them.
    pub(super) fn take_over_tables(&mut self) -> Result<(), DatapathError> {
        for slot in 0..POLICY_SLOTS {
            let outer: ArrayOfMaps<_, ChunkTable> = self.map(name::TABLES)?;
            let chunks =
                (0..CHUNKS_MAX).map_while(|chunk| match outer.get(&(slot * CHUNKS_MAX + chunk), 0) {
                    Err(MapError::KeyNotFound) => None,
                    found => Some(found),
                });
            self.tables.chunks[slot as usize] = chunks.collect::<Result<_, _>>()?;
        }
        self.take_over_changes()
    }

    /// Writes one of the tables beside table memory, of a slot that no packet uses.
    fn write_table<T: aya::Pod>(
        &mut self,
        name: &'static str,
        what: &'static str,
        slot: u32,
        table: &T,
    ) -> Result<(), DatapathError> {
        let written = self.map_mut::<Array<_, T>>(name)?.set(slot, table, 0);
        written.map_err(no_room(what, size_of::<T>()))
    }

    /// Writes the index of a slot that no packet uses.
    ///
    /// Both slots are one value: what stands in the other is written over itself, which no packet can see.
    fn write_index(&mut self, slot: u32, index: &PolicyIndex) -> Result<(), DatapathError> {
        let mut map: Array<_, Indices> = self.map_mut(name::POLICIES)?;
        let mut indices = value_of(&map)?;
        indices[slot as usize % SLOTS] = *index;
        map.set(0, indices.as_ref(), 0).map_err(no_room("the index of policies", size_of::<Indices>()))
    }

    fn write_lines(&mut self, slot: u32, lines: &[[u64; LINE_WORDS]]) -> Result<(), DatapathError> {
        // One at least: to replace it is how one waits for packets.
        let wanted = lines.len().div_ceil(CHUNK_LINES).max(1);
        self.add_chunks(slot, wanted)?;
        let mut words: Box<Chunk> = bytemuck::zeroed_box();
        for (chunk, lines) in self.tables.chunks[slot as usize].iter_mut().zip(lines.chunks(CHUNK_LINES)) {
            words[..lines.len() * LINE_WORDS].copy_from_slice(lines.as_flattened());
            chunk.set(0, words.as_ref(), 0).map_err(no_room("table memory", size_of::<Chunk>()))?;
        }
        Ok(())
    }

    /// Gives a slot that no packet uses so many chunks.
    ///
    /// The kernel waits for a grace period after each; asked for at once, all wait for the same one.
    fn add_chunks(&mut self, slot: u32, wanted: usize) -> Result<(), DatapathError> {
        let have = self.tables.chunks[slot as usize].len();
        let mut new = Vec::new();
        for _ in have..wanted {
            let chunk = ChunkTable::create(1, 0);
            new.push(chunk.map_err(no_room("table memory", wanted * size_of::<Chunk>()))?);
        }
        let Some(Map::ArrayOfMaps(outer)) = self.ebpf.map(name::TABLES) else {
            return Err(DatapathError::Missing(name::TABLES));
        };
        let added = thread::scope(|scope| {
            let places = slot * CHUNKS_MAX + u32::try_from(have).unwrap_or(0)..;
            let threads: Vec<_> = new
                .iter()
                .zip(places)
                .map(|(chunk, place)| {
                    scope.spawn(move || -> Result<(), MapError> {
                        let outer = outer.fd().as_fd().try_clone_to_owned().map_err(MapError::IoError)?;
                        let outer = Map::ArrayOfMaps(MapData::from_fd(outer)?);
                        ArrayOfMaps::<_, ChunkTable>::try_from(outer)?.set(place, chunk, 0)
                    })
                })
                .collect();
            let results = threads.into_iter().map(|thread| thread.join());
            // A thread that panics is a fault of this program, and ends it.
            results.map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let added: Result<Vec<()>, MapError> = added;
        added?;
        self.tables.chunks[slot as usize].extend(new);
        Ok(())
    }

    fn write_local_addresses(&mut self, slot: u32, addresses: &[(IpAddr, u64)]) -> Result<(), DatapathError> {
        if self.tables.local_addresses[slot as usize].as_deref() == Some(addresses) {
            return Ok(());
        }
        let mut table = AddressTable::create(LOCAL_ADDRESSES_MAX, 0)?;
        for (address, listeners) in addresses {
            table.insert(Address::from(*address), listeners, 0)?;
        }
        self.map_mut::<ArrayOfMaps<_, AddressTable>>(name::LOCAL_ADDRESSES)?.set(slot, &table, 0)?;
        self.tables.local_addresses[slot as usize] = Some(addresses.to_vec());
        Ok(())
    }

    /// Changes what the packet path reads first; where the kernel refuses that, nothing, so that what is said here is
    /// what packets are judged by.
    pub(super) fn change_live(&mut self, change: impl FnOnce(&mut Live)) -> Result<(), DatapathError> {
        let mut live = self.tables.live.clone();
        change(&mut live);
        let mut map: Array<_, Live> =
            self.ebpf.map_mut(name::LIVE).ok_or(DatapathError::Missing(name::LIVE))?.try_into()?;
        map.set(0, live.as_ref(), 0).map_err(no_room("what is in force", size_of::<Live>()))?;
        self.tables.live = live;
        Ok(())
    }

    /// Returns when every packet that is being judged now is done with.
    pub(super) fn wait_for_packets(&mut self) -> Result<(), DatapathError> {
        // The kernel waits whenever an inner map is replaced, be it by itself (`maybe_wait_bpf_programs` in
        // kernel/bpf/syscall.c).
        let slot = self.slot();
        let outer = self.ebpf.map_mut(name::TABLES).ok_or(DatapathError::Missing(name::TABLES))?;
        let mut outer: ArrayOfMaps<_, ChunkTable> = outer.try_into()?;
        // Every policy has one.
        let Some(chunk) = self.tables.chunks[slot as usize].first() else { return Ok(()) };
        Ok(outer.set(slot * CHUNKS_MAX, chunk, 0)?)
    }

    /// Bytes of kernel memory that the maps take, the tables of the policy before included: they stay for the next.
    ///
    /// What the kernel needs for itself, such as pointers and locks, is not counted, and of a map whose entries come
    /// and go what they take now.
    pub fn memory_bytes(&self) -> u64 {
        let chunks: usize = self.tables.chunks.iter().map(Vec::len).sum();
        let fixed = SLOTS * (size_of::<PolicyIndex>() + size_of::<Blocks4>() + size_of::<Filter6>())
            + size_of::<Live>()
            + PEER_BUCKETS as usize * size_of::<PeerBucket>()
            + LANE_BUCKETS as usize * size_of::<Lane>()
            + 2 * RING_BYTES
            + STREAM_RING_BYTES
            + BLOCKED_RING_BYTES
            + FRAGMENTS_MAX as usize * (size_of::<FragmentKey>() + size_of::<FragmentDecision>());
        let bans = self.peers.banned() * (size_of::<Address>() + size_of::<Ban>());
        let changes = self.tables.changes.len() * (size_of::<ChangeKey>() + size_of::<ChangedClass>());
        (chunks * size_of::<Chunk>() + fixed + bans + changes) as u64
    }
}

pub(super) fn no_room(what: &'static str, bytes: usize) -> impl FnOnce(MapError) -> DatapathError {
    move |source| match &source {
        MapError::SyscallError(error)
            if !matches!(error.io_error.raw_os_error(), Some(libc::ENOMEM | libc::ENOSPC | libc::E2BIG)) =>
        {
            source.into()
        }
        _ => DatapathError::NoRoom { what, bytes, source },
    }
}
