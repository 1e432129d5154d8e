//! Plans of IPv6 prefixes.

use std::{collections::HashSet, net::Ipv6Addr};

use rand::{RngExt, rngs::SmallRng};

use super::{Layout, Plan, SOURCES, distinct, weighted};
use crate::traffic::Sources;

/// The packed plan's block, 2001:db8::/32.
const BLOCK: u128 = 0x2001_0db8 << 96;
const BLOCK_MASK: u128 = (1 << 96) - 1;
/// The spread plan's, 2000::/3.
const UNICAST: u128 = 1 << 125;
const UNICAST_MASK: u128 = (1 << 125) - 1;

/// In one provider's block: sites, networks, hosts.
const PACKED_LENGTHS: &[(u32, u8)] = &[(2, 48), (18, 56), (50, 64), (30, 128)];
/// Between providers: whole providers too.
const SPREAD_LENGTHS: &[(u32, u8)] = &[(20, 32), (40, 48), (10, 56), (25, 64), (5, 128)];

pub(super) fn plan(layout: Layout, count: usize, random: &mut SmallRng) -> Plan {
    let (block, block_mask, lengths) = match layout {
        Layout::Packed => (BLOCK, BLOCK_MASK, PACKED_LENGTHS),
        Layout::Spread => (UNICAST, UNICAST_MASK, SPREAD_LENGTHS),
    };
    let mut taken = HashSet::with_capacity(count);
    let mut prefixes = Vec::with_capacity(count);
    while prefixes.len() < count {
        let length = weighted(lengths, random);
        let prefix = ((block | (random.random::<u128>() & block_mask)) & mask(length), length);
        if taken.insert(prefix) {
            prefixes.push(prefix);
        }
    }
    let is_listed =
        |address: u128| lengths.iter().any(|&(_, length)| taken.contains(&(address & mask(length), length)));
    let strangers = distinct(|| {
        loop {
            let address = block | (random.random::<u128>() & block_mask);
            if !is_listed(address) {
                return Ipv6Addr::from(address);
            }
        }
    });
    let mut draw = || {
        let (network, length): (u128, u8) = prefixes[random.random_range(0..count)];
        Ipv6Addr::from(network | (random.random::<u128>() & !mask(length)))
    };
    let listed = (0..SOURCES).map(|_| draw()).collect();
    let lines = prefixes.iter().map(|&(network, length)| format!("{}/{length}", Ipv6Addr::from(network)));
    Plan { prefixes: lines.collect(), listed: Sources::V6(listed), strangers: Sources::V6(strangers) }
}

/// `length` is at least 1.
fn mask(length: u8) -> u128 {
    u128::MAX << (128 - length)
}
