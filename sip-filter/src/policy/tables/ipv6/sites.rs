//! Sorts IPv6 prefixes by where the packet path looks for them: sites, what is shorter, and hosts.

use ipnet::Ipv6Net;
use sip_filter_common::{
    Address,
    sources::ipv6::{SITE_LENGTH, site, site_key},
};

use crate::policy::tables::{
    regions::{Parted, REGION_BITS, Regions},
    runs::{Run, Runs},
};

/// The length of a network's prefix: a site has 65,536 of them.
const NETWORK_LENGTH: u8 = 64;
const NETWORKS: u32 = 1 << REGION_BITS;
const _: () = assert!(SITE_LENGTH as u32 + REGION_BITS == NETWORK_LENGTH as u32);

/// A prefix that is searched for by its length.
pub(super) struct Searched {
    pub(super) prefix: Ipv6Net,
    pub(super) class: u16,
    /// The class where no prefix is found by such a search.
    pub(super) around: u16,
}

/// Where prefixes are looked for.
#[derive(Default)]
pub(super) struct Sites {
    /// The keys of sites and what stands for each.
    pub(super) sites: Vec<(u64, u64)>,
    /// Shorter prefixes.
    pub(super) shorter: Vec<Searched>,
    /// Longer ones than a network's.
    pub(super) hosts: Vec<Searched>,
}

impl Sites {
    /// Those of prefixes that are sorted; whom none holds has the class `default`.
    pub(super) fn of(prefixes: &[(Ipv6Net, u16)], default: u16, regions: &mut Regions) -> Self {
        let mut sites = Self::default();
        let mut open: Vec<(Ipv6Net, u16)> = Vec::new();
        let mut parted = Parts::default();
        for group in prefixes.chunk_by(|(one, _), (other, _)| site_of(*one) == site_of(*other)) {
            let around_site = around(&mut open, group[0].0, default);
            let mut ranges = Vec::new();
            for &(prefix, class) in group {
                let around = around(&mut open, prefix, default);
                if prefix.prefix_len() > NETWORK_LENGTH {
                    sites.hosts.push(Searched { prefix, class, around });
                    continue;
                }
                open.push((prefix, class));
                if prefix.prefix_len() < SITE_LENGTH {
                    sites.shorter.push(Searched { prefix, class, around: default });
                } else {
                    ranges.push((numbers(prefix), class));
                }
            }
            let Some(number) = site_of(group[0].0).filter(|_| !ranges.is_empty()) else { continue };
            let mut runs = Runs::of(ranges, around_site);
            // What would come behind the last network.
            runs.pop_if(|run| run.first == NETWORKS);
            let what = of_one_block(&runs).unwrap_or_else(|| {
                parted.add(sites.sites.len(), &runs);
                0
            });
            let [half, _] = Address::from_number(number << (128 - u32::from(SITE_LENGTH))).halves;
            sites.sites.push((site_key(half, SITE_LENGTH.into()), what));
        }
        for (number, region) in parted.cut(regions) {
            sites.sites[number].1 = site::region(region);
        }
        sites
    }
}

/// The class of the longest of these prefixes that holds another one; those that do not hold it are ended.
fn around(open: &mut Vec<(Ipv6Net, u16)>, prefix: Ipv6Net, default: u16) -> u16 {
    while open.pop_if(|(outer, _)| !outer.contains(&prefix)).is_some() {}
    open.last().map_or(default, |(_, class)| *class)
}

/// The sites that have borders.
#[derive(Default)]
struct Parts {
    /// Which entry each one has, and where its runs end.
    ends: Vec<(usize, usize)>,
    runs: Vec<Run>,
}

impl Parts {
    fn add(&mut self, number: usize, runs: &[Run]) {
        self.runs.extend(runs);
        self.ends.push((number, self.runs.len()));
    }

    /// The regions that stand for them.
    fn cut(&self, regions: &mut Regions) -> impl Iterator<Item = (usize, u32)> {
        let mut begin = 0;
        let part = |(_, end): &(usize, usize)| {
            let runs = &self.runs[std::mem::replace(&mut begin, *end)..*end];
            Parted { first: 0, runs }
        };
        let parts: Vec<Parted<'_>> = self.ends.iter().map(part).collect();
        self.ends.iter().map(|(number, _)| *number).zip(regions.add(&parts))
    }
}

/// Which site a prefix is in; `None` for a shorter one.
fn site_of(prefix: Ipv6Net) -> Option<u128> {
    (prefix.prefix_len() >= SITE_LENGTH)
        .then(|| u128::from(prefix.network()) >> (128 - u32::from(SITE_LENGTH)))
}

/// The first and the last network in a site that a prefix holds.
fn numbers(prefix: Ipv6Net) -> [u32; 2] {
    let [_, _, _, first, ..] = prefix.network().segments();
    let [_, _, _, last, ..] = prefix.broadcast().segments();
    [first, last].map(u32::from)
}

/// What stands for a site of one class, or with another one for one block of networks that a mask tells.
fn of_one_block(runs: &[Run]) -> Option<u64> {
    let (first, last, class, others) = match runs {
        [all] => (0, NETWORKS - 1, all.class, all.class),
        [one, rest] if rest.first.is_power_of_two() => (0, rest.first - 1, one.class, rest.class),
        [rest, one] => (one.first, NETWORKS - 1, one.class, rest.class),
        [before, one, behind] if before.class == behind.class => {
            (one.first, behind.first - 1, one.class, before.class)
        }
        _ => return None,
    };
    let len = last - first + 1;
    if !len.is_power_of_two() || !first.is_multiple_of(len) {
        return None;
    }
    let mask = NETWORKS - len;
    Some(site::one(u16::try_from(first).ok()?, u16::try_from(mask).ok()?, class, others))
}
