//! Plans of IPv4 prefixes.

use std::{collections::HashSet, net::Ipv4Addr};

use rand::{RngExt, rngs::SmallRng};

use super::{Layout, Plan, SOURCES, distinct, weighted};
use crate::traffic::Sources;

/// The packed plan's block, 16.0.0.0/4; a list there is disjoint, and strangers are told from it by two bits.
const BLOCK: u32 = 16 << 24;
const BLOCK_MASK: u32 = (1 << 28) - 1;
/// Set in every /24 of the packed plan, clear in all else.
const NETWORK_BIT: u32 = 1 << 8;
/// Set in every longer prefix of the packed plan, clear in strangers.
const HOST_BIT: u32 = 1 << 3;

/// How often which length stands in real lists.
const SPREAD_LENGTHS: &[(u32, u8)] = &[
    (600, 24),
    (110, 22),
    (80, 23),
    (40, 21),
    (40, 20),
    (25, 19),
    (10, 18),
    (6, 17),
    (9, 16),
    (10, 28),
    (10, 29),
    (20, 30),
    (40, 32),
];

pub(super) fn plan(layout: Layout, count: usize, random: &mut SmallRng) -> Plan {
    let (prefixes, strangers) = match layout {
        Layout::Packed => (packed(count, random), packed_strangers(random)),
        Layout::Spread => {
            let prefixes = spread(count, random);
            let strangers = spread_strangers(&prefixes, random);
            (prefixes, strangers)
        }
    };
    let listed = listed(&prefixes, random);
    let lines = prefixes.iter().map(|&(network, length)| format!("{}/{length}", Ipv4Addr::from(network)));
    Plan { prefixes: lines.collect(), listed: Sources::V4(listed), strangers: Sources::V4(strangers) }
}

/// A quarter /24, the rest /29 to /32.
fn packed(count: usize, random: &mut SmallRng) -> Vec<(u32, u8)> {
    let mut taken = HashSet::with_capacity(count);
    let mut prefixes = Vec::with_capacity(count);
    while prefixes.len() < count {
        let address = BLOCK | (random.random::<u32>() & BLOCK_MASK);
        let (network, length, place) = if random.random_ratio(1, 4) {
            let network = (address & !0xff) | NETWORK_BIT;
            (network, 24, network)
        } else {
            let address = (address & !NETWORK_BIT) | HOST_BIT;
            let length = weighted(&[(1, 29), (1, 30), (1, 31), (4, 32)], random);
            (address & mask(length), length, address & mask(29))
        };
        // At most one in eight addresses, so that none holds another.
        if taken.insert(place) {
            prefixes.push((network, length));
        }
    }
    prefixes
}

fn packed_strangers(random: &mut SmallRng) -> Vec<Ipv4Addr> {
    let mut draw = || BLOCK | (random.random::<u32>() & BLOCK_MASK & !(NETWORK_BIT | HOST_BIT));
    distinct(|| Ipv4Addr::from(draw()))
}

/// Prefixes may hold one another, as they do in real lists.
fn spread(count: usize, random: &mut SmallRng) -> Vec<(u32, u8)> {
    let mut taken = HashSet::with_capacity(count);
    let mut prefixes = Vec::with_capacity(count);
    while prefixes.len() < count {
        let length = weighted(SPREAD_LENGTHS, random);
        let prefix = (unicast(random) & mask(length), length);
        if taken.insert(prefix) {
            prefixes.push(prefix);
        }
    }
    prefixes
}

fn spread_strangers(prefixes: &[(u32, u8)], random: &mut SmallRng) -> Vec<Ipv4Addr> {
    let taken: HashSet<(u32, u8)> = prefixes.iter().copied().collect();
    let is_listed = |address: u32| {
        SPREAD_LENGTHS.iter().any(|&(_, length)| taken.contains(&(address & mask(length), length)))
    };
    distinct(|| {
        loop {
            let address = unicast(random);
            if !is_listed(address) {
                return address.into();
            }
        }
    })
}

/// Any address that a packet may come from, but for private and local ones.
fn unicast(random: &mut SmallRng) -> u32 {
    loop {
        let address = random.random_range(1_u32 << 24..224 << 24);
        if !matches!(address >> 24, 10 | 127) {
            return address;
        }
    }
}

fn listed(prefixes: &[(u32, u8)], random: &mut SmallRng) -> Vec<Ipv4Addr> {
    let mut draw = || {
        let (network, length) = prefixes[random.random_range(0..prefixes.len())];
        Ipv4Addr::from(network | (random.random::<u32>() & !mask(length)))
    };
    (0..SOURCES).map(|_| draw()).collect()
}

/// `length` is at least 1.
fn mask(length: u8) -> u32 {
    u32::MAX << (32 - length)
}
