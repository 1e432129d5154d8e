//! The maps, and what the pipeline asks of them.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, lpm_trie::Key},
    helpers::generated,
    macros::btf_map,
};
use sip_filter_common::{
    Address, Ban, Counter, FragmentDecision, FragmentKey, PolicyIndex, Reason, Tables,
    maps::{BANS_MAX, COUNTERS_MAX, FRAGMENTS_MAX, LOCAL_ADDRESSES_MAX, POLICY_SLOTS},
};

const SLOTS: usize = POLICY_SLOTS as usize;

/// A [`PolicyIndex`] as words: on Linux 6.1 an inner map whose type information names a struct
/// takes no place of one without type information, which is what the controller can create.
type PolicyWords = [u64; size_of::<PolicyIndex>() / size_of::<u64>()];

const _: () = assert!(size_of::<PolicyWords>() == size_of::<PolicyIndex>());
const _: () = assert!(align_of::<PolicyWords>() >= align_of::<PolicyIndex>());

#[btf_map]
static POLICY: ArrayOfMaps<Array<PolicyWords, 1>, 1> = ArrayOfMaps::new();
#[btf_map]
static SOURCES4: ArrayOfMaps<LpmTrie<[u8; 4], u32, 1>, SLOTS> = ArrayOfMaps::new();
#[btf_map]
static SOURCES6: ArrayOfMaps<LpmTrie<[u8; 16], u32, 1>, SLOTS> = ArrayOfMaps::new();
#[btf_map]
static LOCAL_ADDRESSES: ArrayOfMaps<HashMap<Address, u64, { LOCAL_ADDRESSES_MAX as usize }>, SLOTS> =
    ArrayOfMaps::new();
#[btf_map]
static BANS: HashMap<Address, Ban, { BANS_MAX as usize }, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
#[btf_map]
static FRAGMENTS: LruHashMap<FragmentKey, FragmentDecision, { FRAGMENTS_MAX as usize }> = LruHashMap::new();
#[btf_map]
static COUNTERS: PerCpuArray<Counter, { COUNTERS_MAX as usize }> = PerCpuArray::new();

/// The tables of one policy, picked once for each packet.
pub(crate) struct KernelTables {
    index: &'static PolicyIndex,
    follows: bool,
}

impl KernelTables {
    /// The policy in force now; none before the first one is written.
    ///
    /// `follows` says whether decisions on fragments are remembered.
    #[inline(always)]
    pub(crate) fn in_force(follows: bool) -> Option<Self> {
        let words: *const PolicyWords = POLICY.get_value(0, &0)?;
        // SAFETY: same size and no greater alignment, as asserted above, and any words are a valid index.
        let index = unsafe { &*words.cast() };
        Some(Self { index, follows })
    }
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

impl Tables for KernelTables {
    #[inline(always)]
    fn index(&self) -> &PolicyIndex {
        self.index
    }

    #[inline(always)]
    fn class_of(&self, source: &Address) -> u32 {
        let class = match source.ipv4() {
            Some(octets) => {
                SOURCES4.get(self.index.slot).and_then(|sources| sources.get(&Key::new(32, octets)))
            }
            None => {
                SOURCES6.get(self.index.slot).and_then(|sources| sources.get(&Key::new(128, source.octets)))
            }
        };
        class.copied().unwrap_or(0)
    }

    #[inline(always)]
    fn listeners_at(&self, destination: &Address) -> u64 {
        let Some(addresses) = LOCAL_ADDRESSES.get(self.index.slot) else { return 0 };
        // SAFETY: a table in force is never written; the next policy gets tables of its own.
        unsafe { addresses.get(destination) }.copied().unwrap_or(0)
    }

    #[inline(always)]
    fn banned_until_ns(&self, source: &Address) -> u64 {
        // SAFETY: elements of this map are freed by RCU, so the value outlives this program's run.
        unsafe { BANS.get(source) }.map_or(0, |ban| ban.until_ns)
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: the helper has no preconditions.
        unsafe { generated::bpf_ktime_get_boot_ns() }
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
