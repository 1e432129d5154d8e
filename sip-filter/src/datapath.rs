//! The kernel side: the only module that names aya.
//!
//! Loads the program, keeps its maps, links and pins, and does what it is told with exact values.
//! It knows no configuration file and takes no decision about a peer.

mod attach;
mod bans;
mod changes;
mod features;
mod lane;
mod object;
mod peers;
mod pins;
mod sightings;
mod tables;
mod watching;

use std::path::PathBuf;

use aya::{
    Ebpf,
    maps::{Map, MapError, PerCpuArray},
    programs::{
        ProgramError, TestRun as _, TestRunOptions, Xdp,
        links::{FdLink, LinkError},
    },
};
use sip_filter_common::{
    Counter, Reason,
    maps::{BANS_MAX, FlowKey, REGISTERED_MAX, name, program},
};

pub use attach::{AttachError, AttachMode, program_name};
pub use features::Features;
pub use pins::{Pins, PinsError, is_in_own_mount_namespace};
pub use sightings::{Ring, Seen};
pub use tables::Written;
use tables::{InForce, InPlace};

/// The loaded program with its maps and links.
pub struct Datapath {
    ebpf: Ebpf,
    pins: Pins,
    features: Features,
    maps_are_pinned: bool,
    links: Vec<Attachment>,
    watches: Vec<watching::Watch>,
    /// What an earlier daemon let in, each with the end that it was given then.
    flows_left: Vec<(FlowKey, u64)>,
    tables: InForce,
    peers: peers::Placed,
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
    /// What is pinned cannot be opened, for want of descriptors for example.
    #[error("cannot open the pin {path}")]
    PinnedLink {
        /// Its file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: LinkError,
    },
    /// A map call failed.
    #[error("a kernel map cannot be used")]
    Map(#[from] MapError),
    /// A table does not fit into the kernel's memory.
    // Before Linux 5.15 it copies a value by way of one piece of memory (`map_update_elem` in kernel/bpf/syscall.c).
    #[error(
        "the kernel has no room for {what} ({bytes} bytes), so the policy before stays in force: free memory, or \
         before Linux 5.15 join what is free by `echo 1 > /proc/sys/vm/compact_memory`, and try again"
    )]
    NoRoom {
        /// Which table.
        what: &'static str,
        /// How large it was to be.
        bytes: usize,
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
    /// The table of registered peers is at its limit.
    #[error("{max} addresses are registered, and no more can be", max = REGISTERED_MAX)]
    RegisteredFull,
    /// Chance has filled the places that this peer could stand in.
    #[error(
        "the table of bans and registrations has no place for this address: lift bans that are not needed"
    )]
    PeersFull,
    /// A map is not there or of another kind; a build fault.
    #[error("the kernel program has no map or program {0}: build sip-filter again")]
    Missing(&'static str),
    /// The program answered with a number that is no reason.
    #[error(
        "the kernel program answered {0}, which is no reason: is another version loaded? restart the daemon"
    )]
    NoReason(u32),
    /// A ring of the kernel program cannot be waited for.
    #[error("cannot wait for what the kernel program sees")]
    Ring(#[source] std::io::Error),
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
    /// Loads the program and takes over the maps that are pinned, if they are this version's.
    ///
    /// Nothing is attached or pinned yet: call [`apply`](Self::apply), then [`attach`](Self::attach).
    ///
    /// # Errors
    ///
    /// The kernel's refusal, with what it lacks where that is known.
    pub fn load(pins: Pins, is_verbose: bool) -> Result<Self, DatapathError> {
        let kept = object::kept(&pins)?;
        let reused = kept.is_some();
        if !reused && pins.has(name::LIVE) {
            tracing::warn!(
                "the pinned maps are another version's: counters begin anew, bans are kept, registrations come from the state file"
            );
        }
        let features = Features::of_kernel();
        let mut ebpf = object::load(&pins, kept.as_ref(), is_verbose, features)?;
        for program in [program::FILTER, program::WATCH] {
            object::load_program(&mut ebpf, program)?;
        }
        let mut datapath = Self {
            ebpf,
            pins,
            features,
            maps_are_pinned: reused,
            links: Vec::new(),
            watches: Vec::new(),
            flows_left: Vec::new(),
            tables: InForce::of(kept.unwrap_or_else(InPlace::empty).live),
            peers: peers::Placed::default(),
        };
        datapath.take_over_tables()?;
        datapath.take_over_peers(reused)?;
        datapath.take_over_bans(reused)?;
        Ok(datapath)
    }

    /// What this kernel has of what the program can do without.
    pub fn features(&self) -> Features {
        self.features
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

    /// Asks the kernel program what it would do with a frame that begins with an Ethernet header.
    ///
    /// Counts nothing and remembers nothing. The first time takes as long as a program takes to be verified: so a start,
    /// which peers may wait for, takes less.
    ///
    /// # Errors
    ///
    /// The kernel refuses the program or cannot run it.
    pub fn explain(&mut self, frame: &[u8]) -> Result<Reason, DatapathError> {
        if self.xdp(program::EXPLAIN)?.fd().is_err() {
            object::load_program(&mut self.ebpf, program::EXPLAIN)?;
        }
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
