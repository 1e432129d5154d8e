//! The program in the kernel, with one policy in force and pins of its own that go with it.
//!
//! It must not judge: it reports what the program answered and what its counters did.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use aya::maps::{Array, HashMap, Map, MapData, MapInfo};
use aya::programs::loaded_programs;
use nix::time::{ClockId, clock_gettime};
use sip_filter::datapath::{Datapath, Pins, PinsError};
use sip_filter::policy::Policy;
use sip_filter::policy::change::ListChange;
use sip_filter::policy::registered::RegisteredTrunks;
use sip_filter::policy::tables::{Tables, classes_after};
use sip_filter::trust::{Flow, SipTransport};
use sip_filter_common::maps::{BAN_CAUSE_LEN, LANE_TOTALS, Lane, LaneTotal, Live, name};
use sip_filter_common::{Address, Ban, Counter, FragmentDecision, FragmentKey, Reason, parse};
use tests::wait::wait_until;

use super::packet::TCP;

/// How long a busy machine may take from a fork to an exec.
const WITHIN: Duration = Duration::from_secs(10);
/// The shortest frame that BPF_PROG_TEST_RUN takes (`ETH_HLEN`).
const FRAME_LEN_MIN: usize = 14;
/// The longest where XDP has one buffer only: a page less headroom and the kernel's own data behind the frame.
const FRAME_LEN_MAX_LINEAR: usize = 4_096 - 256 - 320;

/// How long before the last tick something has to be over that is over for the kernel program: at a tick, the
/// kernel's own clocks are not moved at the very same time.
pub(crate) const TICK_NS_MAX: u64 = 1_000_000;

/// Whether a test of this name may use the kernel; in CI it must.
pub(crate) fn may_use_the_kernel(what: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!in_ci, "{what} needs root to load BPF programs, and in CI it must run");
        // Not by `eprintln!`, which the test harness keeps to itself.
        let _: std::io::Result<()> =
            writeln!(std::io::stderr(), "skipped: {what}: only root may load BPF programs");
    }
    is_root
}

/// Nanoseconds of the clock that bans and fragments are timed by.
pub(crate) fn now_ns() -> u64 {
    clock_ns(ClockId::CLOCK_BOOTTIME)
}

/// What [`now_ns`] was at the kernel's last tick. The kernel program knows the time no better, and a virtual CPU whose
/// turn it is not has no ticks.
pub(crate) fn last_tick_ns() -> u64 {
    let coarse_ns = clock_ns(ClockId::CLOCK_MONOTONIC_COARSE);
    let [since_start_ns, since_boot_ns] = [ClockId::CLOCK_MONOTONIC, ClockId::CLOCK_BOOTTIME].map(clock_ns);
    // The clocks differ by the time that the machine slept.
    coarse_ns + since_boot_ns.saturating_sub(since_start_ns)
}

fn clock_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock).unwrap();
    u64::try_from(now.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap()
}

/// The numbers of the maps that the filter uses.
pub(crate) fn map_ids(datapath: &Datapath) -> Vec<u32> {
    let id = datapath.program_id().unwrap();
    let program = loaded_programs().flatten().find(|program| program.id() == id).unwrap();
    program.map_ids().unwrap().unwrap()
}

/// A map of the filter's.
fn map(datapath: &Datapath, name: &str) -> MapData {
    let mut ids = map_ids(datapath).into_iter();
    let id = ids.find(|id| MapInfo::from_id(*id).unwrap().name_as_str() == Some(name));
    MapData::from_id(id.unwrap_or_else(|| panic!("no map {name}"))).unwrap()
}

fn array<T: aya::Pod>(datapath: &Datapath, name: &str) -> Array<MapData, T> {
    Map::Array(map(datapath, name)).try_into().unwrap()
}

/// A loaded program.
pub(crate) struct Loaded {
    pub(crate) datapath: Datapath,
    counters: Vec<(Reason, Counter)>,
    fragments: HashMap<MapData, FragmentKey, FragmentDecision>,
    lanes: Array<MapData, Lane>,
    lane_totals: Array<MapData, LaneTotal>,
    live: Array<MapData, Live>,
    /// Those that are let in.
    flows: Vec<Flow>,
    /// Whoever may have spent something.
    sources: BTreeSet<IpAddr>,
    // Dropped last.
    directory: PinDirectory,
}

struct PinDirectory(PathBuf);

impl PinDirectory {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(format!("/sys/fs/bpf/sipf-test-{}-{number}", std::process::id()).into())
    }
}

impl Drop for PinDirectory {
    fn drop(&mut self) {
        let _: std::io::Result<()> = std::fs::remove_dir_all(&self.0);
    }
}

impl Loaded {
    pub(crate) fn with(policy: &Policy) -> Self {
        Self::from_pins(PinDirectory::new(), policy)
    }

    /// What the next daemon finds where this one pinned its maps and ended.
    pub(crate) fn restarted(self, policy: &Policy) -> Self {
        let Self { datapath, directory, .. } = self;
        drop(datapath);
        Self::from_pins(directory, policy)
    }

    fn from_pins(directory: PinDirectory, policy: &Policy) -> Self {
        // What another test starts holds the lock of the one before from its fork to its exec.
        let pins = wait_until(WITHIN, "the lock of the pins", || match Pins::open(&directory.0) {
            Err(PinsError::InUse(_)) => Ok(None),
            opened => Ok(Some(opened?)),
        });
        let mut datapath = Datapath::load(pins.unwrap(), false).unwrap();
        datapath.apply(&mut Tables::compile(policy, &RegisteredTrunks::default()).unwrap()).unwrap();
        Self {
            counters: datapath.counters().unwrap(),
            fragments: Map::LruHashMap(map(&datapath, name::FRAGMENTS)).try_into().unwrap(),
            lanes: array(&datapath, name::LANES),
            lane_totals: array(&datapath, name::LANE_TOTALS),
            live: array(&datapath, name::LIVE),
            flows: Vec::new(),
            sources: BTreeSet::new(),
            datapath,
            directory,
        }
    }

    pub(crate) fn ban(&mut self, address: IpAddr, until_ns: u64) {
        self.datapath.ban(address, Ban { until_ns, cause: [0; BAN_CAUSE_LEN] }).unwrap();
    }

    /// Lets an address in by a registration.
    pub(crate) fn register(&mut self, address: IpAddr, until_ns: u64) {
        self.datapath.admit(address, until_ns).unwrap();
    }

    /// Lets a flow of UDP or TCP in by a registration.
    pub(crate) fn register_flow(&mut self, peer: SocketAddr, protocol: u8, until_ns: u64) {
        let transport = if protocol == TCP { SipTransport::Tcp } else { SipTransport::Udp };
        let flow = Flow { address: peer.ip(), port: peer.port(), transport };
        self.datapath.admit_flow(&flow, until_ns).unwrap();
        self.flows.push(flow);
    }

    /// Nobody is registered then.
    pub(crate) fn forget_registrations(&mut self) {
        let registered: Vec<(IpAddr, u64)> = self.datapath.registered().collect();
        for (address, _) in registered {
            self.datapath.dismiss(address).unwrap();
        }
        for flow in self.flows.drain(..) {
            self.datapath.dismiss_flow(&flow).unwrap();
        }
    }

    /// Lets a stranger spend more than its own budget, as after a challenge.
    pub(crate) fn open_lane(&mut self, address: IpAddr) {
        self.sources.insert(address);
        self.datapath.open_lane(address, now_ns()).unwrap();
    }

    /// Where something of this name is pinned, once it is.
    pub(crate) fn pin(&self, name: &str) -> PathBuf {
        self.directory.0.join(name)
    }

    /// Replaces the policy, and that alone.
    pub(crate) fn switch(&mut self, policy: &Policy) {
        self.datapath.apply(&mut Tables::compile(policy, &RegisteredTrunks::default()).unwrap()).unwrap();
    }

    /// Whether the kernel lets this frame be tried.
    pub(crate) fn takes(&self, frame: &[u8]) -> bool {
        let fits = self.datapath.features().multi_buffer || frame.len() <= FRAME_LEN_MAX_LINEAR;
        fits && frame.len() >= FRAME_LEN_MIN
    }

    /// Replaces the policy; nobody is banned or registered or has spent anything and no datagram is followed then.
    pub(crate) fn apply(&mut self, policy: &Policy) {
        self.switch(policy);
        for (address, _) in self.datapath.bans().unwrap() {
            self.datapath.unban(address).unwrap();
        }
        self.forget_registrations();
        self.forget_fragments();
        self.forget_lanes();
    }

    /// Tells the kernel what a change makes of a policy.
    pub(crate) fn change(&mut self, policy: &Policy, change: &ListChange) {
        let classes = classes_after(policy, &RegisteredTrunks::default(), change, 1_000).unwrap();
        self.datapath.change(&classes).unwrap();
    }

    /// Puts the policy, to which all changes were made, into the tables.
    pub(crate) fn settle(&mut self, policy: &Policy) {
        self.datapath.settle(&mut Tables::compile(policy, &RegisteredTrunks::default()).unwrap()).unwrap();
        assert!(!self.datapath.is_changed());
    }

    /// Gives up what was decided for first fragments.
    pub(crate) fn forget_fragments(&mut self) {
        let keys: Vec<FragmentKey> = self.fragments.keys().flatten().collect();
        keys.iter().for_each(|key| self.fragments.remove(key).unwrap());
    }

    /// When strangers who were not challenged will have earned what they have spent.
    pub(crate) fn spent_by_strangers_ns(&self) -> u64 {
        self.lane_totals.get(&0, 0).unwrap().spent_until_ns
    }

    /// Gives back what strangers have spent.
    fn forget_lanes(&mut self) {
        let salt = self.live.get(&0, 0).unwrap().salt;
        for source in std::mem::take(&mut self.sources) {
            let unspent = Lane { spent_until_ns: 0, open_until_ns: 0 };
            self.lanes.set(Lane::place(&Address::from(source), salt), unspent, 0).unwrap();
        }
        for total in 0..LANE_TOTALS {
            self.lane_totals.set(total, LaneTotal { spent_until_ns: 0, unused: [0; 7] }, 0).unwrap();
        }
    }

    /// The reason whose counter a frame moved, and the XDP action.
    ///
    /// # Errors
    ///
    /// In words, where not exactly one counter moved by this frame, the frame is another one, or `explain` gave
    /// another reason.
    pub(crate) fn judge(&mut self, frame: &[u8]) -> Result<(Reason, u32), String> {
        let text = |error: sip_filter::datapath::DatapathError| error.to_string();
        self.sources
            .extend(parse::ethernet(frame).continue_value().map(|packet| IpAddr::from(packet.source)));
        let explained = self.datapath.explain(frame).map_err(text)?;
        let (action, left) = self.datapath.filter(frame).map_err(text)?;
        if left != frame {
            return Err("the program changed the frame".to_owned());
        }
        let before = std::mem::replace(&mut self.counters, self.datapath.counters().map_err(text)?);
        let pairs = before.iter().zip(&self.counters);
        let moved: Vec<_> = pairs.filter(|(before, after)| before != after).collect();
        let [(before, after)] = moved[..] else {
            return Err(format!("a run of explain and one of filter moved {moved:?}"));
        };
        let packets = after.1.packets - before.1.packets;
        let bytes = after.1.bytes - before.1.bytes;
        if (packets, bytes) != (1, frame.len() as u64) {
            return Err(format!("{} counted {packets} packets of {bytes} bytes", after.0.name()));
        }
        if explained != after.0 {
            return Err(format!("explain says {}, but filter counted {}", explained.name(), after.0.name()));
        }
        Ok((explained, action))
    }
}

/// Programs that no test uses now.
static IDLE: Mutex<Vec<Loaded>> = Mutex::new(Vec::new());

/// A program with nothing in its tables but a policy, for a test that wants no more of it: another may have used it before,
/// since the verifier takes ten seconds in an emulated machine.
pub(crate) struct Clean(Option<Loaded>);

impl Clean {
    pub(crate) fn with(policy: &Policy) -> Self {
        let idle = IDLE.lock().unwrap().pop();
        Self(Some(match idle {
            Some(mut used) => {
                used.apply(policy);
                used
            }
            None => Loaded::with(policy),
        }))
    }
}

impl Drop for Clean {
    fn drop(&mut self) {
        let Some(used) = self.0.take().filter(|_| !thread::panicking()) else { return };
        // Nothing is pinned, and what is never dropped would leave its folder behind.
        let _: std::io::Result<()> = std::fs::remove_dir(&used.directory.0);
        IDLE.lock().unwrap().push(used);
    }
}

impl Deref for Clean {
    type Target = Loaded;

    fn deref(&self) -> &Loaded {
        self.0.as_ref().unwrap()
    }
}

impl DerefMut for Clean {
    fn deref_mut(&mut self) -> &mut Loaded {
        self.0.as_mut().unwrap()
    }
}
