//! Compiles IPv4 prefixes into the tables that `sip_filter_common::sources::ipv4` reads.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use ipnet::Ipv4Net;
use sip_filter_common::{
    maps::{Blocks4, FILTER4_WORDS_MAX, GROUPS4, LINE_WORDS, PolicyIndex, REGIONS4, SourceIndex},
    sources::Place,
};

use super::{
    memory::{Memory, number},
    near,
    regions::{Parted, REGION_BITS, Regions},
    runs::{Run, Runs},
};

const BLOCKS: usize = 64;
const BLOCK_BITS: u32 = 8;
const BLOCK_LEN: u32 = 1 << BLOCK_BITS;
/// The host bits of a key of the filter of hosts.
const HOST_BITS: u32 = 3;

/// How many keys the filter of blocks is made for.
const NEAR_MAX: usize = 1 << 18;

/// How many words the filter of hosts has at most: what a second-level cache holds.
const HOSTS_WORDS_MAX: usize = 1 << 17;
/// From how many thousandths of strangers in named blocks on a policy counts as dense.
const DENSE_PERMILLE: usize = 100;
/// From how many on it is worth to tell them from who is named there, where no filter of blocks settles most: what is
/// seldom looked for has left the caches, and costs some microseconds.
const NEAREST_PERMILLE: usize = 1;

/// Writes the tables for prefixes that are sorted, each with the class that holds for it in the end.
pub(super) fn compile(
    prefixes: Vec<(Ipv4Net, u16)>,
    index: &mut PolicyIndex,
    blocks: &mut Blocks4,
    regions: &mut Regions,
    memory: &mut Memory,
) {
    let PolicyIndex { sources: index, filter4: filter, regions4, .. } = index;
    let runs = runs(&prefixes);
    fill_filter(&prefixes, index, filter);
    // What is not needed any more makes room: there may be millions.
    drop(prefixes);
    let presence = Presence::of(&runs, &mut blocks.present);
    let met = met_permille(&blocks.present, presence.in_part);
    index.is_dense4 = (met >= DENSE_PERMILLE).into();
    index.asks_blocks4 = (met >= DENSE_PERMILLE || index.near4_salt == 0).into();
    if met >= DENSE_PERMILLE || met >= NEAREST_PERMILLE && index.near4_salt == 0 {
        place_nearest(&presence, &blocks.present, index, memory);
    }
    drop(presence);
    cut(&runs, &mut regions4.regions, regions);
}

/// Lets the packet path settle who comes from a block that nobody is named in: a /26, or a larger block where those are
/// too many.
fn fill_filter(prefixes: &[(Ipv4Net, u16)], index: &mut SourceIndex, filter: &mut [u64]) {
    let ranges = || {
        prefixes
            .iter()
            .map(|(prefix, _)| [prefix.network(), prefix.broadcast()].map(|end| u64::from(u32::from(end))))
    };
    let blocks = |host_bits, max| near::blocks(ranges().map(|[first, last]| (first, last)), host_bits, max);
    let sharp = |host_bits| Some((blocks(host_bits, NEAR_MAX)?, host_bits));
    let coarse = |host_bits| sharp(host_bits).filter(|(blocks, _)| !near::are_most(blocks));
    let known = sharp(6).or_else(|| sharp(8)).or_else(|| coarse(10)).or_else(|| coarse(12));
    // Without a list of them, all are said to be there.
    let (blocks, host_bits) = known.unwrap_or_else(|| (vec![0], u32::BITS));
    let salt = if host_bits == u32::BITS { 0 } else { RandomState::new().build_hasher().finish() | 1 };
    index.filter4_mask = near::words_mask(blocks.len(), FILTER4_WORDS_MAX);
    (index.near4_salt, index.near4_mask) = (salt, u32::MAX.checked_shl(host_bits).unwrap_or(0).to_be());
    for block in blocks {
        // As it stands in a header.
        let place = Place::of(number(usize::try_from(block << host_bits).unwrap_or(0)).to_be().into(), salt);
        filter[place.word(index.filter4_mask)] |= place.bits();
    }
}

/// What tells strangers in blocks that are named in part from those who are named there.
fn place_nearest(presence: &Presence, present: &[u64], index: &mut SourceIndex, memory: &mut Memory) {
    let named = |bits: &u64| *bits != 0;
    let first = present.iter().position(named).unwrap_or(0) / LINE_WORDS * LINE_WORDS;
    let last = present.iter().rposition(named).unwrap_or(0);
    let at = memory.place(presence.whole[first..=last].iter().copied());
    index.whole4_at = at.wrapping_sub(number(first / LINE_WORDS));
    index.hosts4_salt = RandomState::new().build_hasher().finish() | 1;
    // At least one bit: without any there is no filter.
    index.hosts4_mask = near::words_mask(presence.hosts.len(), HOSTS_WORDS_MAX) | 1;
    let mut filter = vec![0; index.hosts4_mask as usize + 1];
    for host in &presence.hosts {
        let place = Place::of(u64::from(*host), index.hosts4_salt);
        filter[place.word(index.hosts4_mask)] |= place.bits();
    }
    index.hosts4_at = memory.place(filter);
}

/// How many in a thousand strangers come from blocks that are named `in_part`, of which there are so many: strangers
/// are as likely in all that is not named, around what is.
fn met_permille(present: &[u64], in_part: usize) -> usize {
    let named: usize = present.iter().map(|bits| bits.count_ones() as usize).sum();
    let around = present.iter().filter(|bits| **bits != 0).count() * BLOCKS;
    (in_part * 1_000).checked_div(around - named + in_part).unwrap_or(0)
}

/// What prefixes mean address by address.
fn runs(prefixes: &[(Ipv4Net, u16)]) -> Vec<Run> {
    let ends = |prefix: &Ipv4Net| [prefix.network(), prefix.broadcast()].map(u32::from);
    Runs::of(prefixes.iter().map(|(prefix, class)| (ends(prefix), *class)), 0)
}

/// Writes down what stands for each region.
fn cut(runs: &[Run], words: &mut [u32; REGIONS4], regions: &mut Regions) {
    let mut rest = runs;
    let mut parted = Vec::new();
    let mut parted_words = Vec::new();
    // In this order: the numbers behind the last region's have no room.
    for (word, first) in words.iter_mut().zip((0..).step_by(1 << REGION_BITS)) {
        let here;
        (here, rest) = until(rest, first | ((1 << REGION_BITS) - 1));
        match here {
            [run] => *word = run.class.into(),
            runs => {
                parted.push(Parted { first, runs });
                parted_words.push(word);
            }
        }
    }
    for (word, region) in parted_words.into_iter().zip(regions.add(&parted)) {
        *word = region;
    }
}

/// The runs up to the one that holds `last`, and those from the one on that holds what comes next.
fn until(runs: &[Run], last: u32) -> (&[Run], &[Run]) {
    let behind = runs.iter().position(|run| run.first > last).unwrap_or(runs.len());
    let begins_next = runs.get(behind).is_some_and(|run| run.first - 1 == last);
    (&runs[..behind], &runs[if begins_next { behind } else { behind.saturating_sub(1) }..])
}

/// What tells strangers from those whom the policy knows.
struct Presence {
    /// For each group, the blocks of which every address has a class.
    whole: Vec<u64>,
    /// How many blocks are named, but not whole.
    in_part: usize,
    /// The /29s of these in which anybody is named, by their first address.
    hosts: Vec<u32>,
}

impl Presence {
    /// Sets the bits of all blocks in which anybody is named.
    fn of(runs: &[Run], present: &mut [u64]) -> Self {
        let mut presence = Self { whole: vec![0; GROUPS4], in_part: 0, hosts: Vec::new() };
        let mut last_part = None;
        for (first, last) in named(runs) {
            let [first_block, last_block] = [first, last].map(|end| end >> BLOCK_BITS);
            set_bits(present, first_block, last_block);
            let begins_inside = !first.is_multiple_of(BLOCK_LEN);
            let ends_inside = !(last ^ (BLOCK_LEN - 1)).is_multiple_of(BLOCK_LEN);
            let whole = (first_block + u32::from(begins_inside), (last_block + 1) - u32::from(ends_inside));
            if whole.0 < whole.1 {
                set_bits(&mut presence.whole, whole.0, whole.1 - 1);
            }
            let parts = if first_block == last_block {
                [(begins_inside || ends_inside).then_some(first_block), None]
            } else {
                [begins_inside.then_some(first_block), ends_inside.then_some(last_block)]
            };
            for block in parts.into_iter().flatten() {
                presence.in_part += usize::from(last_part != Some(block));
                last_part = Some(block);
                let begin = first.max(block << BLOCK_BITS) >> HOST_BITS;
                let end = last.min(block << BLOCK_BITS | (BLOCK_LEN - 1)) >> HOST_BITS;
                presence.hosts.extend((begin..=end).map(|host| host << HOST_BITS));
            }
        }
        // Two ranges may share one.
        presence.hosts.dedup();
        presence
    }
}

/// Sets bits from one to another, which is not before it.
fn set_bits(words: &mut [u64], first: u32, last: u32) {
    let [(first_word, first_bit), (last_word, last_bit)] =
        [first, last].map(|bit| (bit as usize / BLOCKS, bit as usize % BLOCKS));
    for (number, word) in words[first_word..=last_word].iter_mut().enumerate() {
        let from = if number == 0 { u64::MAX << first_bit } else { u64::MAX };
        let to =
            if first_word + number == last_word { u64::MAX >> (BLOCKS - 1 - last_bit) } else { u64::MAX };
        *word |= from & to;
    }
}

/// The ranges of addresses that have a class, as large as they are.
fn named(runs: &[Run]) -> impl Iterator<Item = (u32, u32)> {
    let same = |one: &Run, other: &Run| (one.class == 0) == (other.class == 0);
    let mut parts = runs.chunk_by(same).peekable();
    std::iter::from_fn(move || {
        let part = parts.next()?;
        Some((part[0], parts.peek().map_or(u32::MAX, |next| next[0].first - 1)))
    })
    .filter(|(run, _)| run.class != 0)
    .map(|(run, last)| (run.first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_blocks_are_noted_once() {
        let prefixes =
            ["10.0.0.8/29", "10.0.0.128/25", "10.0.1.0/30", "10.0.1.4/30", "10.0.2.128/25", "10.0.3.0/25"];
        let prefixes: Vec<(Ipv4Net, u16)> =
            prefixes.into_iter().zip(1..).map(|(prefix, class)| (prefix.parse().unwrap(), class)).collect();
        let mut present = vec![0; GROUPS4];
        let presence = Presence::of(&runs(&prefixes), &mut present);
        assert_eq!((presence.in_part, presence.hosts.len()), (4, 1 + 16 + 1 + 16 + 16));
        assert!(presence.whole.iter().all(|bits| *bits == 0));
        assert_eq!(present.iter().map(|bits| bits.count_ones()).sum::<u32>(), 4);
    }
}
