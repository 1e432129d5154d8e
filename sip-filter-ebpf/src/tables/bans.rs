//! The bans, as the packet path looks for them: a presence bit, then two buckets of a table of its own.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use sip_filter_common::{
    Address,
    maps::{BAN_BUCKETS, BanBucket, Live},
};

#[btf_map]
static BANNED: Array<BanBucket, { BAN_BUCKETS as usize }> = Array::new();

/// When the ban on `source` ends, in nanoseconds of CLOCK_BOOTTIME; 0 if there is none.
#[inline(always)]
pub(super) fn until_ns(live: &Live, source: &Address) -> u64 {
    if live.watch & Live::BANS == 0 {
        return 0;
    }
    let (word, bit) = live.ban_bit(source);
    if live.ban_bits[word] & bit == 0 {
        return 0;
    }
    let [first, second] = BanBucket::choices(source.hash(live.salt));
    let until_ns = in_bucket(first, source);
    if until_ns != 0 { until_ns } else { in_bucket(second, source) }
}

#[inline(always)]
fn in_bucket(number: u32, source: &Address) -> u64 {
    let Some(bucket) = BANNED.get(number) else { return 0 };
    let [one, other] = &bucket.places;
    if one.address == *source {
        one.until_ns
    } else if other.address == *source {
        other.until_ns
    } else {
        0
    }
}
