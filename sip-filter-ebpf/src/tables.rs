//! The maps, and what the pipeline asks of them.
//!
//! Whatever is asked for every packet is an array, whose look-up the kernel writes out in place: a call's return is
//! mispredicted on purpose on many CPUs, which is dear beside a few loads.

mod fragments;
mod in_place;
pub(crate) mod lane;
mod peers;
mod search;
pub(crate) mod sightings;
mod slot;
pub(crate) mod unseen;

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, xdp_md},
    btf_maps::{ArrayOfMaps, HashMap, LpmTrie, PerCpuArray, lpm_trie::Key},
    helpers::generated,
    macros::btf_map,
    programs::XdpContext,
};
use sip_filter_common::{
    Address, Ban, Class, Counter, FragmentKey, Frame, Lines, PolicyIndex, Reason, Tables,
    lane::{Bounds, Datagram, Payload},
    maps::{
        BANS_MAX, Blocks4, CHANGES_MAX, COUNTERS_MAX, ChangeKey, ChangedClass, Filter6, FlowKey, Known,
        LINE_WORDS, LOCAL_ADDRESSES_MAX, Lane, Live, Regions4, SightingKind, SourceIndex, TextMarks,
        UNITS_PER_REQUEST, clock,
    },
    pipeline::{
        Settled,
        plain::{self, Likely, Unsettled},
    },
};

use self::{
    in_place::InPlace,
    sightings::Place,
    slot::{SLOTS, Slot},
};
use crate::frame::LinearFrame;

#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.LIVE")]
static LIVE: InPlace<Live> = InPlace::new();
#[btf_map]
static CHANGES: LpmTrie<ChangeKey, ChangedClass, { CHANGES_MAX as usize }> = LpmTrie::new();
#[btf_map]
static LOCAL_ADDRESSES: ArrayOfMaps<HashMap<Address, u64, { LOCAL_ADDRESSES_MAX as usize }>, SLOTS> =
    ArrayOfMaps::new();
#[btf_map]
static BANS: HashMap<Address, Ban, { BANS_MAX as usize }, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
#[btf_map]
static COUNTERS: PerCpuArray<Counter, { COUNTERS_MAX as usize }> = PerCpuArray::new();
#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.CLOCK")]
static CLOCK: InPlace<u64> = InPlace::new();

/// How many requests of strangers are refused, on a CPU, from one that is judged by the exact time to the next.
const REFUSED_PER_EXACT_TIME: u64 = 16;

/// The tables of one policy, picked once for each packet.
pub(crate) struct KernelTables {
    /// What the program was called with; null where it is not XDP.
    ctx: *mut xdp_md,
    slot: Slot,
    follows: bool,
}

impl KernelTables {
    /// The policy in force now. Before the first one is written it is empty: it protects nothing.
    ///
    /// `follows` says whether anything is remembered: decisions on fragments, what strangers spend.
    #[inline(always)]
    pub(crate) fn in_force(ctx: *mut xdp_md, follows: bool) -> Self {
        Self { ctx, slot: Slot::new(LIVE.get().slot), follows }
    }

    /// The tables that another function of this program has picked for the same packet.
    #[inline(always)]
    pub(crate) fn from_flags(ctx: *mut xdp_md, flags: u32) -> Self {
        Self { ctx, slot: Slot::new((flags >> 1) as u64), follows: flags & 1 != 0 }
    }

    /// Which tables these are, for [`from_flags`](Self::from_flags).
    #[inline(always)]
    fn flags(&self) -> u32 {
        self.slot.number() << 1 | self.follows as u32
    }

    /// Makes the hashes of this machine's peers unlike those of others.
    #[inline(always)]
    pub(crate) fn salt(&self) -> u64 {
        LIVE.get().salt
    }
}

/// CLOCK_BOOTTIME in nanoseconds.
#[inline(always)]
pub(crate) fn boot_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { generated::bpf_ktime_get_boot_ns() }
}

/// The same for most packets, read once a tick of the kernel's timer: exact to a few milliseconds.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    let tick = unsafe { generated::bpf_jiffies64() };
    let clock = *CLOCK.get();
    if clock::is_of(clock, tick) {
        return clock;
    }
    let clock = clock::at(boot_ns(), tick);
    CLOCK.set(clock);
    clock
}

/// The same for what all strangers may spend, but now and then the exact time, so that a flood gets what is earned request
/// after request: all of a tick, let through at once, would keep the CPU from its ring, in which known peers' packets wait.
#[inline(always)]
fn budget_ns() -> u64 {
    let refused = COUNTERS.get(Reason::RateExceeded as u32).map_or(0, |counter| counter.packets);
    if refused.is_multiple_of(REFUSED_PER_EXACT_TIME) { boot_ns() } else { now_ns() }
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

    #[inline(always)]
    fn regions4(&self) -> &Regions4 {
        self.slot.regions4()
    }

    #[inline(always)]
    fn blocks4(&self) -> Option<&Blocks4> {
        self.slot.blocks4()
    }

    #[inline(always)]
    fn listed(&self, first: u32, count: u32, place: u32) -> u32 {
        self.slot.listed(first, count, place)
    }

    #[cfg(target_arch = "bpf")]
    #[inline(always)]
    fn sign_mask(&self, word: u64) -> u64 {
        self.slot.sign_mask(word)
    }

    #[inline(always)]
    fn search6(&self, source: &Address, at: u32) -> u32 {
        self.slot.search6(source, at)
    }

    #[inline(always)]
    fn find6(&self, source: &Address, step: u32) -> u32 {
        self.slot.find6(source, step)
    }
}

/// Judges a stranger's packet where strangers may prove themselves; verified once, for any arguments.
#[unsafe(no_mangle)]
extern "C" fn sip_prove(ctx: *mut xdp_md, bounds: u32, flags: u32) -> u32 {
    let tables = KernelTables::from_flags(ctx, flags);
    let bounds = Bounds::from_bits(bounds);
    let context = XdpContext::new(ctx);
    // Headers lie in the first piece of whatever a driver hands over.
    let frame = LinearFrame::new(&context);
    let datagram = Datagram::from_bits(lane::sip_locate(ctx));
    let Some(source) = datagram.source(&frame) else { return Reason::Stranger as u32 };
    sip_filter_common::lane::judge(&frame, &datagram, &source, bounds, &tables) as u32
}

impl KernelTables {
    #[inline(always)]
    fn prove_within(&self, bounds: Bounds) -> Reason {
        let number = sip_prove(self.ctx, bounds.to_bits(), self.flags());
        Reason::from_index(number).unwrap_or(Reason::Stranger)
    }

    /// Where a message is copied to.
    #[inline(always)]
    pub(crate) fn place(&self) -> Place {
        if self.follows { Place::Filter } else { Place::Explain }
    }
}

impl Tables for KernelTables {
    #[inline(always)]
    fn index(&self) -> &PolicyIndex {
        self.slot.index
    }

    #[cfg(target_arch = "bpf")]
    #[inline(always)]
    fn lower_16(&self, number: usize) -> usize {
        search::lower_16(number)
    }

    #[inline(always)]
    fn has_changes(&self) -> bool {
        LIVE.get().has_changes()
    }

    #[inline(always)]
    fn changed(&self, source: &Address) -> Option<Class> {
        let changed = CHANGES.get(&Key::new(ChangeKey::BITS, ChangeKey::of(self.slot.number(), source)))?;
        Some(Class::from(*changed))
    }

    #[inline(always)]
    fn listeners_at(&self, destination: &Address) -> u64 {
        let [high, low] = destination.halves;
        sip_listeners_at(self.slot.number(), high, low)
    }

    #[inline(always)]
    fn may_know(&self, source: &Address) -> bool {
        peers::may_know(LIVE.get(), source)
    }

    #[inline(always)]
    fn peer(&self, source: &Address) -> Known {
        peers::find(LIVE.get(), source)
    }

    #[inline(always)]
    fn has_flow(&self, flow: &FlowKey) -> bool {
        let [high, low] = flow.address.halves;
        sip_flow_until_ns(high, low, flow.port, flow.protocol) > self.now_ns()
    }

    #[inline(always)]
    fn lane(&self, source: &Address) -> Lane {
        lane::of(source, LIVE.get().salt)
    }

    #[inline(always)]
    fn spend(&self, source: &Address, spent_until_ns: u64) {
        if self.follows {
            lane::spend(source, LIVE.get().salt, spent_until_ns);
        }
    }

    #[inline(always)]
    fn charge(&self, source: &Address, units: u64) -> bool {
        let [high, low] = source.halves;
        lane::sip_charge(high, low, units as u32, self.slot.number(), self.follows as u32) != 0
    }

    #[inline(always)]
    fn may_be_challenged(&self, source: &Address) -> bool {
        lane::challenged_until_ns(source, self.salt()) > self.now_ns()
    }

    #[inline(always)]
    fn budget_ns(&self) -> u64 {
        budget_ns()
    }

    #[inline(always)]
    fn has_room(&self, is_challenged: bool, now_ns: u64) -> bool {
        lane::spend_total(is_challenged, UNITS_PER_REQUEST, now_ns, &self.index().lane.total, false)
    }

    #[inline(always)]
    fn spend_total(&self, is_challenged: bool, units: u64, now_ns: u64) -> bool {
        lane::spend_total(is_challenged, units, now_ns, &self.index().lane.total, self.follows)
    }

    #[inline(always)]
    fn tell<F: Frame + ?Sized>(&self, kind: SightingKind, _: &F, datagram: &Datagram, payload: Payload) {
        if self.follows {
            let part = payload.at as u64 | (payload.len as u64) << 32;
            lane::sip_tell(self.ctx, kind as u32, datagram.to_bits(), part);
        }
    }

    #[inline(always)]
    fn has_connection<F: Frame + ?Sized>(&self, _frame: &F, datagram: &Datagram) -> bool {
        lane::sip_has_connection(self.ctx, datagram.to_bits()) != 0
    }

    #[inline(always)]
    fn read_text<F: Frame + ?Sized>(&self, _frame: &F, payload: Payload) -> TextMarks {
        sightings::read_frame(self.ctx, sightings::looked_at(payload), self.place())
    }

    #[inline(always)]
    fn report<F: Frame + ?Sized>(&self, kind: SightingKind, frame: &F, datagram: &Datagram, peer: &Address) {
        if self.follows {
            lane::report(kind, frame, datagram, peer, self.place());
        }
    }

    #[inline(always)]
    fn look_closer<F: Frame + ?Sized>(&self, _frame: &F, likely: Likely) -> Reason {
        let (ctx, word, index) = unseen::policy(self.ctx, self.slot.word, self.slot.index);
        let tables = Self { ctx, slot: Slot { word, index }, follows: self.follows };
        let ctx = XdpContext::new(ctx);
        plain::look_closer(&LinearFrame::new(&ctx), likely, &tables)
    }

    /// [`plain::tagged`] as a global function.
    #[inline(always)]
    fn tagged<F: Frame + ?Sized>(&self, _frame: &F) -> Option<Settled> {
        Settled::from_bits(crate::sip_tagged(self.ctx, self.flags()))
    }

    /// [`plain::weigh`] as a global function.
    #[inline(always)]
    fn weigh<F: Frame + ?Sized>(&self, _frame: &F, unsettled: Unsettled) -> Settled {
        let Unsettled { shape, listeners, number } = unsettled;
        let bits = number << 2 | (shape.is_tagged as u32) << 1 | shape.is_ipv6 as u32;
        let settled = Settled::from_bits(crate::sip_weigh(self.ctx, listeners, bits, self.flags()));
        settled.unwrap_or(Settled::By(Reason::NotProtected))
    }

    /// [`lane::judge`](sip_filter_common::lane::judge) as a global function.
    #[inline(always)]
    fn prove<F: Frame + ?Sized>(&self, _frame: &F, bounds: Bounds) -> Reason {
        self.prove_within(bounds)
    }

    #[inline(always)]
    fn rest<F: Frame + ?Sized>(&self, _frame: &F) -> Reason {
        let place = self.place() as u32;
        let mut parsed = crate::sip_parse(self.ctx, place);
        let is_scattered = parsed == crate::SCATTERED;
        if is_scattered {
            parsed = crate::sip_parse_scattered(self.ctx, place);
        }
        if parsed != crate::PARSED {
            return Reason::from_index(parsed - 1).unwrap_or(Reason::NotProtected);
        }
        match Settled::from_bits(crate::sip_decide(self.flags())) {
            Some(Settled::By(reason)) => reason,
            // No request of a stranger's needs pieces.
            Some(Settled::Unless(bounds)) if is_scattered => bounds.conclude(Reason::Stranger),
            Some(Settled::Unless(bounds)) => bounds.conclude(self.prove_within(bounds)),
            None => Reason::NotProtected,
        }
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        now_ns()
    }

    #[inline(always)]
    fn followed(&self, datagram: &FragmentKey) -> Option<Reason> {
        fragments::followed(datagram)
    }

    #[inline(always)]
    fn follow(&self, datagram: &FragmentKey, reason: Option<Reason>) {
        if self.follows {
            fragments::follow(datagram, reason);
        }
    }
}

/// The listeners at a local address; a global function, whose key has a stack of its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sip_listeners_at(slot: u32, high: u64, low: u64) -> u64 {
    let Some(addresses) = LOCAL_ADDRESSES.get(slot) else { return 0 };
    // SAFETY: a table in force is never written; the next policy gets tables of its own.
    unsafe { addresses.get(Address { halves: [high, low] }) }.copied().unwrap_or(0)
}

/// Until when a flow is let in; a global function, whose key has a stack of its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sip_flow_until_ns(high: u64, low: u64, port: u32, protocol: u32) -> u64 {
    lane::flow_until_ns(&FlowKey { address: Address { halves: [high, low] }, port, protocol })
}
