//! What was decided for the first fragments of datagrams.

use aya_ebpf::{btf_maps::LruHashMap, macros::btf_map};
use sip_filter_common::{
    Address, FragmentDecision, FragmentKey, Reason,
    maps::{FRAGMENT_LIFETIME_NS, FRAGMENTS_MAX},
};

use super::now_ns;

#[btf_map]
static FRAGMENTS: LruHashMap<FragmentKey, FragmentDecision, { FRAGMENTS_MAX as usize }> = LruHashMap::new();

/// What was decided for a datagram.
#[inline(always)]
pub(super) fn followed(datagram: &FragmentKey) -> Option<Reason> {
    let ([a, b], [c, d]) = (datagram.source.halves, datagram.destination.halves);
    Reason::from_index(sip_followed(a, b, c, d, Fragment::of(datagram, None).to_bits()))
}

/// Lets later fragments follow a decision, or none.
#[inline(always)]
pub(super) fn follow(datagram: &FragmentKey, reason: Option<Reason>) {
    let ([a, b], [c, d]) = (datagram.source.halves, datagram.destination.halves);
    sip_follow(a, b, c, d, Fragment::of(datagram, reason).to_bits());
}

/// What [`sip_followed`] and [`sip_follow`] need to know beside addresses.
struct Fragment {
    identification: u32,
    protocol: u32,
    /// What was decided, as a number; [`Fragment::NONE`] for nothing.
    reason: u32,
}

impl Fragment {
    const NONE: u32 = 0xff;

    #[inline(always)]
    fn of(datagram: &FragmentKey, reason: Option<Reason>) -> Self {
        let reason = reason.map_or(Self::NONE, |reason| reason as u32);
        Self { identification: datagram.identification, protocol: datagram.protocol, reason }
    }

    #[inline(always)]
    fn to_bits(&self) -> u64 {
        self.identification as u64 | (self.protocol as u64) << 32 | (self.reason as u64) << 48
    }

    #[inline(always)]
    fn key(a: u64, b: u64, c: u64, d: u64, bits: u64) -> FragmentKey {
        FragmentKey {
            source: Address { halves: [a, b] },
            destination: Address { halves: [c, d] },
            identification: bits as u32,
            protocol: (bits >> 32 & 0xff) as u32,
        }
    }
}

/// What was decided for a datagram, as a number; a global function, whose key has a stack of its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sip_followed(a: u64, b: u64, c: u64, d: u64, fragment: u64) -> u32 {
    // SAFETY: a decision that is overwritten meanwhile is judged as one or the other datagram's.
    match unsafe { FRAGMENTS.get(Fragment::key(a, b, c, d, fragment)) } {
        Some(decision) if decision.until_ns > now_ns() => decision.reason as u32,
        _ => Fragment::NONE,
    }
}

/// Lets later fragments follow a decision, or none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sip_follow(a: u64, b: u64, c: u64, d: u64, fragment: u64) -> u32 {
    let key = Fragment::key(a, b, c, d, fragment);
    let reason = fragment >> 48;
    // A failure leaves later fragments to what is decided without a decision.
    let _: Result<(), i32> = if reason == Fragment::NONE as u64 {
        FRAGMENTS.remove(key)
    } else {
        let until_ns = now_ns() + FRAGMENT_LIFETIME_NS;
        FRAGMENTS.insert(key, FragmentDecision { until_ns, reason }, 0)
    };
    0
}
