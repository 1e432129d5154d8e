//! Who is banned or registered, as the packet path looks for them: a presence bit, then two buckets of a table.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use sip_filter_common::{
    Address,
    maps::{Known, Live, PEER_BUCKETS, PeerBucket},
};

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
    let known = in_bucket(first, source);
    if known.is_nothing() { in_bucket(second, source) } else { known }
}

#[inline(always)]
fn in_bucket(number: u32, source: &Address) -> Known {
    let Some(bucket) = PEERS.get(number) else { return Known::NOTHING };
    let [one, other] = &bucket.places;
    if one.address == *source {
        one.known
    } else if other.address == *source {
        other.known
    } else {
        Known::NOTHING
    }
}
