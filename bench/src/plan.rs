//! Address plans: who is on the lists and who is a stranger, drawn at random but the same in every run. Pure.
//!
//! "Packed" lists lie in one block that the strangers flood too, so that every look-up goes deep.
//! "Spread" lists look as lists of providers and countries do: all over the unicast space, mostly /24.

mod ipv4;
mod ipv6;

use std::{collections::HashSet, hash::Hash, iter, net::IpAddr};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use serde::Serialize;

use crate::traffic::Sources;

/// As many sources as a test draws: each has a cache line of a large table to itself, and together they leave most of
/// the cache to the tables, as sources that arrive with their packets do.
pub const SOURCES: usize = 1 << 16;

/// How prefixes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// In one block, together with the strangers.
    Packed,
    /// All over the unicast space.
    Spread,
}

impl Layout {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Packed => "packed",
            Layout::Spread => "spread",
        }
    }
}

/// The family of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Version {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Version::V4 => "IPv4",
            Version::V6 => "IPv6",
        }
    }
}

/// A list and who is not on it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The list, a prefix a line: `16.1.2.0/24`.
    pub prefixes: Vec<String>,
    /// Addresses on the list, of prefixes in random order.
    pub listed: Sources,
    /// Addresses that no prefix of the list holds.
    pub strangers: Sources,
}

impl Plan {
    /// A list of `count` prefixes; the same for the same arguments.
    pub fn new(version: Version, layout: Layout, count: usize) -> Self {
        let mut random = SmallRng::seed_from_u64(count as u64);
        match version {
            Version::V4 => ipv4::plan(layout, count, &mut random),
            Version::V6 => ipv6::plan(layout, count, &mut random),
        }
    }

    /// One address of each of the first `count` prefixes drawn, for tools that know no prefixes.
    pub fn hosts(&self, count: usize) -> Vec<IpAddr> {
        self.listed.part(0..count.min(SOURCES)).addresses()
    }
}

/// So many sources as are drawn for a way, each of them once: who is banned or registered sends on no other way.
fn distinct<T: Copy + Eq + Hash>(draw: impl FnMut() -> T) -> Vec<T> {
    let mut seen = HashSet::with_capacity(SOURCES);
    iter::repeat_with(draw).filter(|source| seen.insert(*source)).take(SOURCES).collect()
}

/// One of `choices`, as often as its weight says.
fn weighted<T: Copy>(choices: &[(u32, T)], random: &mut SmallRng) -> T {
    let total = choices.iter().map(|&(weight, _)| weight).sum::<u32>();
    let mut left = random.random_range(0..total);
    for &(weight, choice) in choices {
        if left < weight {
            return choice;
        }
        left -= weight;
    }
    // Not reached: the weights add up to more than what was drawn.
    choices[0].1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(prefix: &str, address: IpAddr) -> bool {
        let (network, length) = prefix.split_once('/').unwrap();
        let length: u32 = length.parse().unwrap();
        let (network, address, width) = match (network.parse().unwrap(), address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits().into(), address.to_bits().into(), 32)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits(), address.to_bits(), 128),
            _ => return false,
        };
        length == 0 || (network ^ address) >> (width - length) == 0_u128
    }

    #[test]
    fn no_prefix_holds_a_stranger_and_one_holds_each_listed_address() {
        for version in [Version::V4, Version::V6] {
            for layout in [Layout::Packed, Layout::Spread] {
                let plan = Plan::new(version, layout, 2_000);
                assert_eq!(plan.prefixes.len(), 2_000);
                for stranger in plan.strangers.part(0..500).addresses() {
                    let holder = plan.prefixes.iter().find(|prefix| holds(prefix, stranger));
                    assert_eq!(holder, None, "{stranger}");
                }
                for listed in plan.hosts(500) {
                    assert!(plan.prefixes.iter().any(|prefix| holds(prefix, listed)), "{listed}");
                }
            }
        }
    }

    #[test]
    fn no_stranger_is_drawn_twice() {
        for version in [Version::V4, Version::V6] {
            for layout in [Layout::Packed, Layout::Spread] {
                let strangers = Plan::new(version, layout, 10).strangers.addresses();
                assert_eq!(strangers.iter().collect::<HashSet<_>>().len(), SOURCES, "{version:?} {layout:?}");
            }
        }
    }

    #[test]
    fn no_prefix_stands_twice_in_a_list() {
        for version in [Version::V4, Version::V6] {
            for layout in [Layout::Packed, Layout::Spread] {
                let mut prefixes = Plan::new(version, layout, 20_000).prefixes;
                prefixes.sort();
                prefixes.dedup();
                assert_eq!(prefixes.len(), 20_000, "{version:?} {layout:?}");
            }
        }
    }
}
