//! Who is banned or registered, as the packet path looks for them: a presence bit, then two buckets of a table.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use sip_filter_common::{
    Address,
    maps::{Known, Live, PEER_BUCKET_WIDTH, PEER_BUCKETS, PeerBucket},
};

use super::search;

#[btf_map]
static PEERS: Array<PeerBucket, { PEER_BUCKETS as usize }> = Array::new();

/// Whether anything may be known about `source`.
#[inline(always)]
pub(super) fn may_know(live: &Live, source: &Address) -> bool {
    let (word, bit) = live.peer_bit(source);
    live.watch != 0 && live.peer_bits[word] & bit != 0
}

/// What is known about `source`.
#[inline(always)]
pub(super) fn find(live: &Live, source: &Address) -> Known {
    let [first, second] = live.peer_buckets(source, live.peers_mask);
    match in_bucket(first, source).or_else(|| in_bucket(second, source)) {
        Some(known) => known,
        None => Known::NOTHING,
    }
}

#[inline(always)]
fn in_bucket(number: u32, source: &Address) -> Option<Known> {
    let places = &PEERS.get(number)?.places;
    let [high, low] = places[0].address.halves;
    let difference = high ^ source.halves[0] | low ^ source.halves[1];
    // Which of the two it is the processor could not foresee.
    let is_other = search::sign_mask(difference | difference.wrapping_neg()) as usize;
    let peer = &places[is_other % PEER_BUCKET_WIDTH];
    if read(&peer.address) != *source {
        return None;
    }
    let known = read(&peer.known);
    // Once more: the place may have become another peer's meanwhile. Where somebody is moved to stands nothing yet, while it
    // still stands where that one comes from.
    (read(&peer.address) == *source && !known.is_nothing()).then_some(known)
}

/// Reads what the controller may be writing, here and not earlier or later.
#[inline(always)]
fn read<T: Copy>(value: &T) -> T {
    // SAFETY: the address of a value; whatever the controller writes is one.
    unsafe { core::ptr::from_ref(value).read_volatile() }
}
