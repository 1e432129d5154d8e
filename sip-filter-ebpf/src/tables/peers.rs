//! Who is banned or registered, as the packet path looks for them: a presence bit, then two buckets of a table.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use sip_filter_common::{
    Address, Peer,
    maps::{Live, PEER_BUCKETS, PeerBucket},
};

#[btf_map]
static PEERS: Array<PeerBucket, { PEER_BUCKETS as usize }> = Array::new();

/// What is known about `source`.
#[inline(always)]
pub(super) fn find(live: &Live, source: &Address) -> Peer {
    if live.watch & Live::PEERS == 0 {
        return Peer::NOBODY;
    }
    let (word, bit) = live.peer_bit(source);
    if live.peer_bits[word] & bit == 0 {
        return Peer::NOBODY;
    }
    let [first, second] = PeerBucket::choices(source.hash(live.salt));
    let peer = in_bucket(first, source);
    if peer.is_nobody() { in_bucket(second, source) } else { peer }
}

#[inline(always)]
fn in_bucket(number: u32, source: &Address) -> Peer {
    let Some(bucket) = PEERS.get(number) else { return Peer::NOBODY };
    let [one, other] = &bucket.places;
    if one.address == *source {
        *one
    } else if other.address == *source {
        *other
    } else {
        Peer::NOBODY
    }
}
