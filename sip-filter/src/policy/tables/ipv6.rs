//! Compiles IPv6 prefixes into the tables that `sip_filter_common::sources::ipv6` reads.

mod sites;

use std::{
    cmp::Ordering,
    hash::{BuildHasher as _, Hasher as _, RandomState},
};

use ipnet::Ipv6Net;
use sip_filter_common::{
    Address,
    maps::{FILTER6_WORDS_MAX, Filter6, LINE_WORDS, NEAR, NEAR_LINES6, Near6, SourceIndex, Step6},
    sources::ipv6::{
        HOSTS_IN_LINE, META_BITS, SITE_LENGTH, SITES_IN_LINE, STEPS, block_place, host_lines, network_place,
        site, site_key, site_lines,
    },
};

use self::sites::{Searched, Sites};
use super::{
    memory::{Memory, number},
    near,
    regions::Regions,
};
use crate::cuckoo::Cuckoo;

/// How many blocks a filter knows at most, or twice the prefixes where those are more.
const NEAR_MAX: usize = 1 << 16;
/// How long the prefixes of blocks are, from the sharpest on. Where most of them are named, the filter tells only who
/// comes from elsewhere, and for that it is to be no larger than a first-level cache.
const NEAR_LENGTHS: [u8; 9] = [64, 60, 56, 52, 48, 44, 40, 36, 32];
const NEAR_OF_MOST_MAX: usize = 1 << 12;
/// From how many thousandths of the blocks around that are named in part on a policy counts as dense.
const DENSE_PERMILLE: usize = 40;
/// How many words the filters have at most: of all blocks, or of those by longer prefixes than a site's; of others; of
/// networks with hosts; of entries.
const NEAR_WORDS_MAX: usize = 1 << 17;
const SHORT_WORDS_MAX: usize = 1 << 15;
const HOSTS_WORDS_MAX: usize = 1 << 16;
const ENTRY_WORDS_MAX: usize = 1 << 15;
const _: () =
    assert!(NEAR_WORDS_MAX + SHORT_WORDS_MAX + HOSTS_WORDS_MAX + ENTRY_WORDS_MAX <= FILTER6_WORDS_MAX);
/// How full lines are, in hundredths: the fuller, the more entries stand in the second one that is looked at.
const FULL_PERCENT: usize = 90;
/// How full they are where there is so much room near.
const SPARSE_PERCENT: usize = 40;

/// What is searched for by length: a prefix with its own class, or a marker with that of the longest prefix around it.
struct Entry {
    network: u128,
    length: u8,
    class: u16,
}

type Line = [u64; LINE_WORDS];

/// Writes the tables for prefixes that are sorted, each with the class that holds for it in the end.
pub(super) fn compile(
    prefixes: Vec<(Ipv6Net, u16)>,
    index: &mut SourceIndex,
    filter: &mut Filter6,
    regions: &mut Regions,
    memory: &mut Memory,
) {
    let (default, prefixes) = match &*prefixes {
        [(all, class), rest @ ..] if all.prefix_len() == 0 => (*class, rest),
        all => (0, all),
    };
    index.class6 = default.into();
    let salt = || RandomState::new().build_hasher().finish() | 1;
    let Sites { mut sites, shorter, hosts } = Sites::of(prefixes, default, regions);
    let words = fill_near(prefixes, &hosts, salt(), index, filter);
    let (shorter_lengths, hosts_lengths) = (lengths(&shorter), lengths(&hosts));
    let shorter = entries(&shorter, &shorter_lengths);
    let hosts = entries(&hosts, &hosts_lengths);
    sites.extend(shorter.iter().map(|entry| {
        let [half, _] = Address::from_number(entry.network).halves;
        (site_key(half, entry.length.into()), site::one(0, 0, entry.class, entry.class))
    }));
    let [mut sites_lines, mut hosts_lines] = lines_of(sites.len(), hosts.len());
    index.filter6_at = number(words);
    index.filter6_mask = near::words_mask(shorter.len() + hosts.len(), ENTRY_WORDS_MAX);
    let (lines, salt) = loop {
        (index.sites6, index.hosts6) = (number(sites_lines), number(hosts_lines));
        let salt = salt();
        index.sites6_salt = salt_of(salt, SITE_LENGTH);
        let next = plant(&shorter_lengths, STEPS, 0, salt, &mut index.steps6);
        // Without shorter prefixes the first step ends a search.
        index.hosts6_step = next.max(1).into();
        plant(&hosts_lengths, STEPS, next.max(1), salt, &mut index.steps6);
        // Strangers cannot know which addresses' hashes meet; where too many do, others are drawn, with some more room.
        let Some(mut lines) = lines_of_sites(&sites, index.sites6_salt, index.sites6) else {
            sites_lines += sites_lines.div_ceil(32);
            continue;
        };
        let Some(of_hosts) = lines_of_hosts(&hosts, salt, index.hosts6) else {
            hosts_lines += hosts_lines.div_ceil(32);
            continue;
        };
        lines.extend(of_hosts);
        break (lines, salt);
    };
    fill_filter(shorter.iter().chain(&hosts), salt, index, filter);
    match filter.lines.get_mut(..lines.len()) {
        Some(near) => {
            near.copy_from_slice(&lines);
            index.lines6_at = NEAR;
        }
        None => {
            index.lines6_at = number(memory.lines.len());
            memory.lines.extend(lines);
        }
    }
}

/// How many lines sites and hosts get; of sites one at least, since they are always looked for.
fn lines_of(sites: usize, hosts: usize) -> [usize; 2] {
    let sites = sites.max(1);
    let lines = |percent| {
        [(sites, SITES_IN_LINE), (hosts, HOSTS_IN_LINE)]
            .map(|(entries, width)| (entries * 100).div_ceil(width * percent))
    };
    let sparse = lines(SPARSE_PERCENT);
    if sparse.iter().sum::<usize>() <= NEAR_LINES6 { sparse } else { lines(FULL_PERCENT) }
}

/// The lengths that occur, in order.
fn lengths(prefixes: &[Searched]) -> Vec<u8> {
    let mut lengths: Vec<u8> = prefixes.iter().map(|searched| searched.prefix.prefix_len()).collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

/// A salt for each length, so that a prefix and its first half have nothing in common.
fn salt_of(salt: u64, length: u8) -> u64 {
    salt ^ u64::from(length).wrapping_mul(0xd6e8_feb8_6659_fd93) | 1
}

/// Which of these lengths is looked for first, with so many steps left: the longest where there is a step for each,
/// since whatever is found then is the longest prefix; else the middle one.
fn pivot(lengths: &[u8], steps: usize) -> usize {
    if lengths.len() <= steps { lengths.len().saturating_sub(1) } else { lengths.len() / 2 }
}

/// Makes a search tree of sorted lengths, from step `next` on; returns the step that is free then.
fn plant(lengths: &[u8], left: usize, next: u8, salt: u64, steps: &mut [Step6]) -> u8 {
    let first = pivot(lengths, left);
    let Some(&length) = lengths.get(first) else { return next };
    let (shorter, longer) = (&lengths[..first], &lengths[first + 1..]);
    let behind_shorter = plant(shorter, left - 1, next + 1, salt, steps);
    let behind_longer = plant(longer, left - 1, behind_shorter, salt, steps);
    let or_end = |lengths: &[u8], step: u8| if lengths.is_empty() { Step6::END } else { step };
    let link = Step6::link(length, or_end(shorter, next + 1), or_end(longer, behind_shorter));
    steps[usize::from(next)] =
        Step6 { mask: Address::from_number(mask(length)).halves, salt: salt_of(salt, length), link };
    behind_longer
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

/// The lengths at which the search for `length` has to be told to go on to longer ones.
fn signposts(lengths: &[u8], length: u8) -> Vec<u8> {
    let mut posts = Vec::new();
    let mut rest = lengths;
    for left in (1..=STEPS).rev() {
        let first = pivot(rest, left);
        match rest.get(first).map(|at| (*at).cmp(&length)) {
            Some(Ordering::Less) => {
                posts.push(rest[first]);
                rest = &rest[first + 1..];
            }
            Some(Ordering::Greater) => rest = &rest[..first],
            Some(Ordering::Equal) | None => break,
        }
    }
    posts
}

/// The prefixes and their markers, each network once.
fn entries(prefixes: &[Searched], lengths: &[u8]) -> Vec<Entry> {
    let posts: Vec<Vec<u8>> = (0..=128).map(|length| signposts(lengths, length)).collect();
    // Prefixes are sorted, so that equal networks of one length follow each other.
    let mut last: [Option<u128>; 129] = [None; 129];
    let mut open: Vec<(Ipv6Net, u16)> = Vec::new();
    let mut entries = Vec::with_capacity(prefixes.len());
    for Searched { prefix, class, around } in prefixes {
        while open.pop_if(|(outer, _)| !outer.contains(prefix)).is_some() {}
        let network = u128::from(prefix.network());
        for length in &posts[usize::from(prefix.prefix_len())] {
            let marked = network & mask(*length);
            if last[usize::from(*length)] == Some(marked) {
                continue;
            }
            last[usize::from(*length)] = Some(marked);
            let outer = open.iter().rev().find(|(outer, _)| outer.prefix_len() <= *length);
            let class = outer.map_or(*around, |(_, class)| *class);
            entries.push(Entry { network: marked, length: *length, class });
        }
        last[usize::from(prefix.prefix_len())] = Some(network);
        entries.push(Entry { network, length: prefix.prefix_len(), class: *class });
        open.push((*prefix, *class));
    }
    entries
}

/// Fills the filters of blocks and of networks with hosts; returns how many words they take.
fn fill_near(
    prefixes: &[(Ipv6Net, u16)],
    hosts: &[Searched],
    salt: u64,
    index: &mut SourceIndex,
    filter: &mut Filter6,
) -> usize {
    let all = prefixes.iter().map(|(prefix, _)| *prefix);
    let is_longer = |prefix: &Ipv6Net| prefix.prefix_len() > SITE_LENGTH;
    let mut at = 0;
    let mut fill = |blocks: Blocks, words_max| {
        let near = blocks.fill(at, words_max, salt, filter);
        at += near.words_mask as usize + 1;
        near
    };
    let near = Blocks::of(all.clone());
    index.is_dense6 = near.is_dense.into();
    if near.is_dense {
        let short = Blocks::of(all.clone().filter(|prefix| !is_longer(prefix)));
        index.near6[0] = fill(short, SHORT_WORDS_MAX);
        index.near6[1] = fill(Blocks::of(all.filter(is_longer)), NEAR_WORDS_MAX);
    } else {
        index.near6[0] = fill(near, NEAR_WORDS_MAX);
    }
    let mut networks: Vec<u64> = hosts.iter().map(|host| first_half(host.prefix.network())).collect();
    networks.dedup();
    index.near6[2] = fill(Blocks { numbers: networks, length: 64, is_dense: false }, HOSTS_WORDS_MAX);
    at
}

/// The first 64 bits.
fn first_half(address: std::net::Ipv6Addr) -> u64 {
    u64::try_from(u128::from(address) >> 64).unwrap_or(0)
}

/// Blocks in which anybody is named.
struct Blocks {
    /// Each as its first `length` bits.
    numbers: Vec<u64>,
    /// How long their prefixes are; 0 for the one that holds all.
    length: u8,
    /// Whether many of those around them are named, and in part, so that they tell little.
    is_dense: bool,
}

impl Blocks {
    /// Those of prefixes that are sorted: the sharpest that are not too many.
    fn of(prefixes: impl Iterator<Item = Ipv6Net> + Clone) -> Self {
        let max = NEAR_MAX.max(2 * prefixes.clone().count());
        let blocks = |length: u8, from: u8| {
            let here = prefixes.clone().filter(|prefix| prefix.prefix_len() >= from);
            let ranges = here.map(|prefix| (first_half(prefix.network()), first_half(prefix.broadcast())));
            near::blocks(ranges, 64 - u32::from(length), max)
        };
        let near = |length| {
            let numbers = blocks(length, 0)?;
            // In a block that a prefix names whole there are no strangers.
            let in_part = blocks(length, length + 1)?.len();
            let is_dense = 1_000 * in_part >= DENSE_PERMILLE * near::around(&numbers).max(1);
            let is_worth_it = !near::are_most(&numbers) || numbers.len() <= NEAR_OF_MOST_MAX;
            is_worth_it.then_some(Self { numbers, length, is_dense })
        };
        let all = Self { numbers: vec![0], length: 0, is_dense: true };
        NEAR_LENGTHS.into_iter().find_map(near).unwrap_or(all)
    }

    /// Writes a filter of them.
    fn fill(&self, at: usize, words_max: usize, salt: u64, filter: &mut Filter6) -> Near6 {
        let words_mask = near::words_mask(self.numbers.len(), words_max);
        let host_bits = 64 - u32::from(self.length);
        let mask = u64::MAX.checked_shl(host_bits).unwrap_or(0).to_be();
        for number in &self.numbers {
            let place = block_place(number.checked_shl(host_bits).unwrap_or(0).to_be(), salt);
            filter.words[at + place.word(words_mask)] |= place.bits();
        }
        Near6 { mask, salt, at: self::number(at), words_mask }
    }
}

fn fill_filter<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    salt: u64,
    index: &SourceIndex,
    filter: &mut Filter6,
) {
    for entry in entries {
        let network = Address::from_number(entry.network);
        let place = network_place(&network, salt_of(salt, entry.length));
        filter.words[index.filter6_at as usize + place.word(index.filter6_mask)] |= place.bits();
    }
}

/// The lines of sites; none where one of them finds no place under this salt.
fn lines_of_sites(sites: &[(u64, u64)], salt: u64, lines: u32) -> Option<Vec<Line>> {
    let choices = |number: u32| site_lines(sites[number as usize].0, salt, lines);
    let mut filled = filled(sites.len(), choices, lines, SITES_IN_LINE, |line, place, number| {
        (line[place], line[SITES_IN_LINE + place]) = sites[number];
    })?;
    for (key, _) in sites {
        let [first, _] = site_lines(*key, salt, lines).map(|line| line as usize);
        if !filled[first][..SITES_IN_LINE].contains(key) {
            filled[first][SITES_IN_LINE] |= site::OVERFLOWS;
        }
    }
    Some(filled)
}

/// The lines of hosts; none where one of them finds no place under this salt.
fn lines_of_hosts(hosts: &[Entry], salt: u64, lines: u32) -> Option<Vec<Line>> {
    let choices = |number: u32| {
        let entry = &hosts[number as usize];
        host_lines(&Address::from_number(entry.network), salt_of(salt, entry.length), lines)
    };
    filled(hosts.len(), choices, lines, HOSTS_IN_LINE, |line, place, number| {
        let entry = &hosts[number];
        [line[2 * place], line[2 * place + 1]] = Address::from_number(entry.network).halves;
        let meta = (u64::from(entry.class) + 1) << 8 | u64::from(entry.length);
        line[2 * HOSTS_IN_LINE] |= meta << (META_BITS as usize * place);
    })
}

/// A hash table of so many lines with `width` places each, in which `write` writes what stands at a place.
fn filled(
    items: usize,
    choices: impl Fn(u32) -> [u32; 2],
    lines: u32,
    width: usize,
    write: impl Fn(&mut Line, usize, usize),
) -> Option<Vec<Line>> {
    let mut cuckoo = Cuckoo::new(lines as usize, width);
    for item in 0..u32::try_from(items).ok()? {
        cuckoo.insert(item, &choices)?;
    }
    let line = |number| {
        let mut line = [0; LINE_WORDS];
        for (place, item) in cuckoo.bucket(number).iter().enumerate() {
            if let Some(item) = item {
                write(&mut line, place, *item as usize);
            }
        }
        line
    };
    Some((0..lines).map(line).collect())
}
