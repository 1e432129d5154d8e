//! The kernel side: the only module that names aya.
//!
//! Loads the program, keeps its maps, links and pins, and does what it is told with exact values.
//! It knows no configuration file and takes no decision about a peer.

mod attach;
mod features;
mod object;
mod pins;

use std::{net::IpAddr, path::PathBuf};

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, lpm_trie::Key},
    programs::{
        ProgramError, TestRun as _, TestRunOptions, Xdp,
        links::{FdLink, LinkError},
    },
};
use sip_filter_common::{
    Address, Ban, Counter, PolicyIndex, Reason,
    maps::{BANS_MAX, LOCAL_ADDRESSES_MAX, POLICY_SLOTS, name, program},
};

use crate::policy::tables::Tables;

pub use attach::{AttachError, AttachMode, program_name};
pub use features::Features;
pub use pins::{Pins, PinsError, is_in_own_mount_namespace};

/// `BPF_F_NO_PREALLOC`, which the kernel demands of every LPM trie (`linux/bpf.h`).
const NO_PREALLOC: u32 = 1;

type SourceTable<const N: usize> = LpmTrie<MapData, [u8; N], u32>;
type AddressTable = HashMap<MapData, Address, u64>;
type IndexTable = Array<MapData, PolicyIndex>;

/// The loaded program with its maps and links.
pub struct Datapath {
    ebpf: Ebpf,
    pins: Pins,
    features: Features,
    maps_are_pinned: bool,
    links: Vec<Attachment>,
    generation: u64,
    slot: u32,
}

/// The program on one interface.
struct Attachment {
    interface: String,
    /// The interface's number, which outlives a change of its name.
    index: u32,
    link: FdLink,
}

/// What can go wrong between the controller and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The object's bytes are not a BPF object; a build fault.
    #[error("the embedded kernel program is damaged: build sip-filter again")]
    Object(#[from] aya_obj::ParseError),
    /// The kernel took neither the maps nor the object.
    #[error("cannot create the kernel maps{}", hint(.0))]
    Load(#[source] Box<aya::EbpfError>),
    /// The verifier or the kernel's version refused the program.
    #[error("the kernel refused the program {program}{}\n{log}", features::hint())]
    Verifier {
        /// Which program.
        program: &'static str,
        /// The last lines of the verifier's log.
        log: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// A program call failed.
    #[error("the kernel program cannot be used")]
    Program(#[from] ProgramError),
    /// Something that is no XDP link stands where a link is pinned.
    #[error("{path} is not a link of sip-filter: remove it")]
    ForeignPin {
        /// Its file.
        path: PathBuf,
        /// What the kernel said, if it did.
        #[source]
        source: Option<LinkError>,
    },
    /// A map call failed.
    #[error("a kernel map cannot be used")]
    Map(#[from] MapError),
    /// A list does not fit into the kernel's memory.
    #[error("the kernel has no room for {what} ({entries} entries): the policy before stays in force")]
    NoRoom {
        /// Which table.
        what: &'static str,
        /// How many entries it was to have.
        entries: usize,
        /// What the kernel said.
        #[source]
        source: MapError,
    },
    /// The ban list is at its limit.
    #[error(
        "the ban list is full ({max} of {max}): remove bans, or put the address on the deny list",
        max = BANS_MAX
    )]
    BansFull,
    /// A map is not there or of another kind; a build fault.
    #[error("the kernel program has no map or program {0}: build sip-filter again")]
    Missing(&'static str),
    /// The program answered with a number that is no reason.
    #[error(
        "the kernel program answered {0}, which is no reason: is another version loaded? restart the daemon"
    )]
    NoReason(u32),
    /// A pin could not be made.
    #[error("cannot pin {name}")]
    Pin {
        /// What was to be pinned.
        name: String,
        /// What the kernel said.
        #[source]
        source: aya::pin::PinError,
    },
    /// A pin's file could not be handled.
    #[error("cannot change the pin {path}")]
    PinFile {
        /// Its file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

fn hint(error: &aya::EbpfError) -> String {
    match error {
        aya::EbpfError::MapError(MapError::CreateError { name, .. }) => {
            format!(" ({name}){}", features::hint())
        }
        _ => features::hint(),
    }
}

impl Datapath {
    /// Loads the program and takes over the maps that are pinned, if their layout is this version's.
    ///
    /// Nothing is attached or pinned yet: call [`apply`](Self::apply), then [`attach`](Self::attach).
    ///
    /// # Errors
    ///
    /// The kernel's refusal, with what it lacks where that is known.
    pub fn load(pins: Pins, is_verbose: bool) -> Result<Self, DatapathError> {
        let reused = object::is_pinned_with_this_layout(&pins)?;
        if !reused && pins.has(name::POLICY) {
            tracing::warn!(
                "the pinned maps have another version's layout: counters begin anew, bans are kept"
            );
        }
        let features = Features::of_kernel();
        let mut ebpf = object::load(&pins, reused, is_verbose, features)?;
        for program in [program::FILTER, program::EXPLAIN] {
            object::load_program(&mut ebpf, program)?;
        }
        let mut datapath =
            Self { ebpf, pins, features, maps_are_pinned: reused, links: Vec::new(), generation: 0, slot: 0 };
        let policy: ArrayOfMaps<_, IndexTable> = datapath.map_mut(name::POLICY)?;
        if let Ok(index) = policy.get(&0, 0).and_then(|inner| inner.get(&0, 0)) {
            (datapath.generation, datapath.slot) = (index.generation, index.slot);
        }
        if !reused {
            datapath.inherit_bans();
        }
        Ok(datapath)
    }

    /// Copies the bans of a version whose other maps had another layout.
    fn inherit_bans(&mut self) {
        let path = self.pins.path(name::BANS);
        let old = MapData::from_pin(path).ok().map(aya::maps::Map::HashMap);
        let Some(Ok(old)) = old.map(HashMap::<MapData, Address, Ban>::try_from) else { return };
        for (address, ban) in old.iter().flatten() {
            if let Err(error) = self.ban(address.into(), ban) {
                tracing::warn!(%error, "a ban of the version before is lost");
            }
        }
    }

    /// Puts a policy in force: all of it, or nothing.
    ///
    /// The tables go into the slot that no packet uses; one pointer then switches every CPU,
    /// and the kernel returns from that only when no packet is being judged by the policy before.
    ///
    /// # Errors
    ///
    /// [`DatapathError::NoRoom`] names the table; the policy before stays in force.
    pub fn apply(&mut self, tables: &mut Tables) -> Result<u64, DatapathError> {
        let slot = (self.slot + 1) % POLICY_SLOTS;
        let generation = self.generation + 1;
        let sources4 = sources("IPv4 sources", &tables.sources4, |prefix| {
            Key::new(u32::from(prefix.prefix_len()), prefix.network().octets())
        })?;
        let sources6 = sources("IPv6 sources", &tables.sources6, |prefix| {
            Key::new(u32::from(prefix.prefix_len()), prefix.network().octets())
        })?;
        let mut local_addresses = AddressTable::create(LOCAL_ADDRESSES_MAX, 0)?;
        for (address, listeners) in &tables.local_addresses {
            local_addresses.insert(Address::from(*address), listeners, 0)?;
        }
        (tables.index.slot, tables.index.generation) = (slot, generation);
        let mut index = IndexTable::create(1, 0)?;
        index.set(0, tables.index.as_ref(), 0)?;

        self.map_mut::<ArrayOfMaps<_, SourceTable<4>>>(name::SOURCES4)?.set(slot, &sources4, 0)?;
        self.map_mut::<ArrayOfMaps<_, SourceTable<16>>>(name::SOURCES6)?.set(slot, &sources6, 0)?;
        self.map_mut::<ArrayOfMaps<_, AddressTable>>(name::LOCAL_ADDRESSES)?.set(
            slot,
            &local_addresses,
            0,
        )?;
        self.map_mut::<ArrayOfMaps<_, IndexTable>>(name::POLICY)?.set(0, &index, 0)?;
        (self.slot, self.generation) = (slot, generation);
        Ok(generation)
    }

    /// Whether an earlier daemon's policy is in force in the maps.
    pub fn has_policy(&self) -> bool {
        self.generation > 0
    }

    /// What this kernel has of what the program can do without.
    pub fn features(&self) -> Features {
        self.features
    }

    /// How many policies were put in force, those of earlier daemons included.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The kernel's number for the loaded program.
    ///
    /// # Errors
    ///
    /// The kernel does not tell.
    pub fn program_id(&self) -> Result<u32, DatapathError> {
        Ok(self.xdp(program::FILTER)?.info()?.id())
    }

    /// What each reason has seen on all CPUs together.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn counters(&self) -> Result<Vec<(Reason, Counter)>, DatapathError> {
        let map: PerCpuArray<_, Counter> = self.map(name::COUNTERS)?;
        let mut counters = Vec::new();
        for &reason in Reason::ALL {
            let mut sum = Counter { packets: 0, bytes: 0 };
            for counter in map.get(&(reason as u32), 0)?.iter() {
                sum.packets += counter.packets;
                sum.bytes += counter.bytes;
            }
            counters.push((reason, sum));
        }
        Ok(counters)
    }

    /// Asks the loaded program what it would do with a frame that begins with an Ethernet header.
    ///
    /// Counts nothing and remembers nothing.
    ///
    /// # Errors
    ///
    /// The kernel cannot run it, or it is another version's.
    pub fn explain(&self, frame: &[u8]) -> Result<Reason, DatapathError> {
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        let answer = self.xdp(program::EXPLAIN)?.test_run(options)?.return_value;
        Reason::from_index(answer).ok_or(DatapathError::NoReason(answer))
    }

    /// Sends a frame through the filter itself, as if it had been received: counted, remembered, judged.
    ///
    /// Returns the XDP action and the frame as it leaves the program.
    ///
    /// # Errors
    ///
    /// The kernel cannot run it.
    pub fn filter(&self, frame: &[u8]) -> Result<(u32, Vec<u8>), DatapathError> {
        let mut left = vec![0; frame.len()];
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut left), ..TestRunOptions::new() };
        let result = self.xdp(program::FILTER)?.test_run(options)?;
        left.truncate(usize::try_from(result.data_size_out).unwrap_or(usize::MAX));
        Ok((result.return_value, left))
    }

    fn xdp(&self, name: &'static str) -> Result<&Xdp, DatapathError> {
        let program = self.ebpf.program(name).ok_or(DatapathError::Missing(name))?;
        Ok(program.try_into()?)
    }

    /// Bans an address until a time of CLOCK_BOOTTIME, or changes its ban.
    ///
    /// # Errors
    ///
    /// [`DatapathError::BansFull`] at the limit.
    pub fn ban(&mut self, address: IpAddr, ban: Ban) -> Result<(), DatapathError> {
        match self.bans_mut()?.insert(Address::from(address), ban, 0) {
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(nix::libc::E2BIG) => {
                Err(DatapathError::BansFull)
            }
            other => Ok(other?),
        }
    }

    /// Lifts a ban; false if there was none.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn unban(&mut self, address: IpAddr) -> Result<bool, DatapathError> {
        match self.bans_mut()?.remove(&Address::from(address)) {
            Ok(()) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(nix::libc::ENOENT) =>
            {
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

    fn bans_mut(&mut self) -> Result<HashMap<&mut MapData, Address, Ban>, DatapathError> {
        self.map_mut(name::BANS)
    }

    fn map<'a, M>(&'a self, name: &'static str) -> Result<M, DatapathError>
    where
        M: TryFrom<&'a Map, Error = MapError>,
    {
        Ok(self.ebpf.map(name).ok_or(DatapathError::Missing(name))?.try_into()?)
    }

    fn map_mut<'a, M>(&'a mut self, name: &'static str) -> Result<M, DatapathError>
    where
        M: TryFrom<&'a mut Map, Error = MapError>,
    {
        Ok(self.ebpf.map_mut(name).ok_or(DatapathError::Missing(name))?.try_into()?)
    }

    /// Forwards the log of a debug build's program; nothing in a release build.
    pub fn start_kernel_log(&mut self) {
        object::start_log(&mut self.ebpf);
    }
}

/// Creates a source table and fills it.
fn sources<P, const N: usize>(
    what: &'static str,
    entries: &[(P, u32)],
    key: impl Fn(&P) -> Key<[u8; N]>,
) -> Result<SourceTable<N>, DatapathError>
where
    [u8; N]: aya::Pod,
{
    let no_room = |source| DatapathError::NoRoom { what, entries: entries.len(), source };
    let capacity = u32::try_from(entries.len().max(1)).unwrap_or(u32::MAX);
    let mut table = SourceTable::create(capacity, NO_PREALLOC).map_err(no_room)?;
    for (prefix, class) in entries {
        table.insert(&key(prefix), class, 0).map_err(no_room)?;
    }
    Ok(table)
}
