//! The maps, and what the pipeline asks of them.
//!
//! Whatever is asked for every packet is an array, whose look-up the kernel writes out in place: a call's return is
//! mispredicted on purpose on many CPUs, which is dear beside a few loads.

mod bans;

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, lpm_trie::Key},
    helpers::generated,
    macros::btf_map,
};
use sip_filter_common::{
    Address, Ban, Class, Counter, FragmentDecision, FragmentKey, Lines, PolicyIndex, Reason, Tables,
    maps::{
        BANS_MAX, CHANGES_MAX, CHUNK_LINES, CHUNKS_MAX, COUNTERS_MAX, ChangeKey, ChangedClass, Clock,
        FRAGMENTS_MAX, Filter6, LINE_WORDS, LOCAL_ADDRESSES_MAX, Live, POLICY_SLOTS, SourceIndex,
    },
    sources::ipv6,
};

const SLOTS: usize = POLICY_SLOTS as usize;

/// Lines of table memory, as words: on Linux 6.1 an inner map whose type information names more than numbers
/// takes no place of one without type information, which is what the controller can create.
type ChunkWords = [u64; CHUNK_LINES * LINE_WORDS];
type Chunk = [[u64; LINE_WORDS]; CHUNK_LINES];

const _: () = assert!(size_of::<ChunkWords>() == size_of::<Chunk>());

#[btf_map]
static LIVE: Array<Live, 1> = Array::new();
#[btf_map]
static POLICIES: Array<PolicyIndex, SLOTS> = Array::new();
#[btf_map]
static FILTERS6: Array<Filter6, SLOTS> = Array::new();
#[btf_map]
static TABLES: ArrayOfMaps<Array<ChunkWords, 1>, { SLOTS * CHUNKS_MAX as usize }> = ArrayOfMaps::new();
#[btf_map]
static CHANGES: LpmTrie<ChangeKey, ChangedClass, { CHANGES_MAX as usize }> = LpmTrie::new();
#[btf_map]
static LOCAL_ADDRESSES: ArrayOfMaps<HashMap<Address, u64, { LOCAL_ADDRESSES_MAX as usize }>, SLOTS> =
    ArrayOfMaps::new();
#[btf_map]
static BANS: HashMap<Address, Ban, { BANS_MAX as usize }, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
#[btf_map]
static FRAGMENTS: LruHashMap<FragmentKey, FragmentDecision, { FRAGMENTS_MAX as usize }> = LruHashMap::new();
#[btf_map]
static COUNTERS: PerCpuArray<Counter, { COUNTERS_MAX as usize }> = PerCpuArray::new();
#[btf_map]
static CLOCKS: PerCpuArray<Clock, 1> = PerCpuArray::new();

/// The tables of one policy, picked once for each packet.
pub(crate) struct KernelTables {
    live: &'static Live,
    slot: Slot,
    follows: bool,
}

impl KernelTables {
    /// The policy in force now. Before the first one is written it is empty: it protects nothing.
    ///
    /// `follows` says whether decisions on fragments are remembered.
    #[inline(always)]
    pub(crate) fn in_force(follows: bool) -> Option<Self> {
        let live = LIVE.get(0)?;
        Some(Self { live, slot: Slot::new(live.slot as u32)?, follows })
    }

    /// Whether decisions on fragments are remembered.
    #[inline(always)]
    pub(crate) fn follows(&self) -> bool {
        self.follows
    }
}

/// CLOCK_BOOTTIME in nanoseconds, read once a tick of the kernel's timer: exact to a few milliseconds.
#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    let tick = unsafe { generated::bpf_jiffies64() } + 1;
    let Some(clock) = CLOCKS.get_ptr_mut(0) else { return 0 };
    // SAFETY: the pointer is to this CPU's own clock, which nobody else writes.
    let clock = unsafe { &mut *clock };
    if clock.tick != tick {
        // SAFETY: the helper has no preconditions.
        *clock = Clock { tick, now_ns: unsafe { generated::bpf_ktime_get_boot_ns() } };
    }
    clock.now_ns
}

/// Moves one reason's counter by one packet.
#[inline(always)]
pub(crate) fn count(reason: Reason, len_bytes: u64) {
    let Some(counter) = COUNTERS.get_ptr_mut(reason as u32) else { return };
    // SAFETY: the pointer is to this CPU's own counter, which nobody else writes.
    let counter = unsafe { &mut *counter };
    counter.packets += 1;
    counter.bytes += len_bytes;
}

/// What the policy in a slot says about sources.
#[derive(Clone, Copy)]
struct Slot {
    number: u32,
    index: &'static PolicyIndex,
}

impl Slot {
    #[inline(always)]
    fn new(number: u32) -> Option<Self> {
        Some(Self { number, index: POLICIES.get(number)? })
    }
}

impl Lines for Slot {
    #[inline(always)]
    fn sources(&self) -> &SourceIndex {
        &self.index.sources
    }

    #[inline(always)]
    fn filter6(&self) -> Option<&Filter6> {
        FILTERS6.get(self.number)
    }

    #[inline(always)]
    fn line(&self, at: u32) -> Option<&[u64; LINE_WORDS]> {
        let chunk = self.number * CHUNKS_MAX + at / CHUNK_LINES as u32 % CHUNKS_MAX;
        let words: *const ChunkWords = TABLES.get_value(chunk, &0)?;
        // SAFETY: same size, as asserted above, and the alignment of a word.
        let lines: &Chunk = unsafe { &*words.cast() };
        Some(&lines[at as usize % CHUNK_LINES])
    }
}

impl Lines for KernelTables {
    #[inline(always)]
    fn sources(&self) -> &SourceIndex {
        self.slot.sources()
    }

    #[inline(always)]
    fn filter6(&self) -> Option<&Filter6> {
        self.slot.filter6()
    }

    #[inline(always)]
    fn line(&self, at: u32) -> Option<&[u64; LINE_WORDS]> {
        self.slot.line(at)
    }
}

/// [`ipv6::find`] as a global function: verified once, for any arguments.
///
/// The slot is the caller's: its tables stay as they are until every packet that may look at them is done with.
#[unsafe(no_mangle)]
extern "C" fn sip_find6(high: u64, low: u64, slot: u32, step: u32) -> u32 {
    let source = Address { halves: [high, low] };
    Slot::new(slot).map_or(ipv6::NONE, |slot| ipv6::find(&slot, &source, step))
}

impl Tables for KernelTables {
    #[inline(always)]
    fn index(&self) -> &PolicyIndex {
        self.slot.index
    }

    #[inline(always)]
    fn find6(&self, source: &Address, step: u32) -> u32 {
        let [high, low] = source.halves;
        sip_find6(high, low, self.slot.number, step)
    }

    #[inline(always)]
    fn changed(&self, source: &Address) -> Option<Class> {
        let slot = self.slot.number;
        if self.live.watch & Live::changes_in(slot) == 0 {
            return None;
        }
        let changed = CHANGES.get(&Key::new(ChangeKey::BITS, ChangeKey::of(slot, source)))?;
        Some(Class::from(*changed))
    }

    #[inline(always)]
    fn listeners_at(&self, destination: &Address) -> u64 {
        let Some(addresses) = LOCAL_ADDRESSES.get(self.slot.number) else { return 0 };
        // A copy: what a helper gets a pointer to has to stand in memory, on every packet's way.
        let destination = *destination;
        // SAFETY: a table in force is never written; the next policy gets tables of its own.
        unsafe { addresses.get(destination) }.copied().unwrap_or(0)
    }

    #[inline(always)]
    fn banned_until_ns(&self, source: &Address) -> u64 {
        bans::until_ns(self.live, source)
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        now_ns()
    }

    #[inline(always)]
    fn followed(&self, datagram: &FragmentKey) -> Option<Reason> {
        // SAFETY: a decision that is overwritten meanwhile is judged as one or the other datagram's.
        let decision = unsafe { FRAGMENTS.get(datagram) }?;
        if decision.until_ns <= self.now_ns() {
            return None;
        }
        Reason::from_index(decision.reason as u32)
    }

    #[inline(always)]
    fn follow(&self, datagram: &FragmentKey, decision: Option<&FragmentDecision>) {
        if !self.follows {
            return;
        }
        // A failure leaves later fragments to what is decided without a decision.
        let _: Result<(), i32> = match decision {
            Some(decision) => FRAGMENTS.insert(datagram, decision, 0),
            None => FRAGMENTS.remove(datagram),
        };
    }
}
