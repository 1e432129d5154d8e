//! Compiles IPv6 prefixes into the tables that `sip_filter_common::sources::ipv6` reads.

use std::{
    cmp::Ordering,
    hash::{BuildHasher as _, Hasher as _, RandomState},
};

use ipnet::Ipv6Net;
use sip_filter_common::{
    Address,
    maps::{FILTER6_WORDS_MAX, Filter6, LENGTHS6_MAX, LINE_WORDS, NEAR_BUCKETS6, SourceIndex, Step6},
    sources::ipv6::{BUCKET_WIDTH, META_BITS, STEPS, block_place, bucket_choices, network_place},
};

use super::{memory::Memory, near};
use crate::cuckoo::Cuckoo;

/// How many blocks the filter knows at most, or twice the entries where those are more.
const NEAR_MAX: usize = 1 << 16;
/// How long the prefixes of blocks are, from the sharpest on. Where most of them are named, the filter tells only who
/// comes from elsewhere, and for that it is to be no larger than a first-level cache.
const NEAR_LENGTHS: [u32; 9] = [64, 60, 56, 52, 48, 44, 40, 36, 32];
const NEAR_OF_MOST_MAX: usize = 1 << 12;
/// How full the buckets are, in hundredths: the fuller, the more entries stand in the second one that is looked at.
const FULL_PERCENT: usize = 85;
/// How full they are where there is so much room near.
const SPARSE_PERCENT: usize = 40;

/// What the hash table has of a prefix: its own class, or for a marker that of the longest prefix around it.
struct Entry {
    network: u128,
    length: u8,
    class: u16,
}

/// Writes the tables for prefixes that are sorted, each with the class that holds for it in the end.
pub(super) fn compile(
    prefixes: Vec<(Ipv6Net, u16)>,
    index: &mut SourceIndex,
    filter: &mut Filter6,
    memory: &mut Memory,
) {
    let prefixes = without_length_1(prefixes);
    let prefixes = match &*prefixes {
        [(all, class), rest @ ..] if all.prefix_len() == 0 => {
            index.class6 = (*class).into();
            rest
        }
        all => all,
    };
    let mut lengths: Vec<u8> = prefixes.iter().map(|(prefix, _)| prefix.prefix_len()).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let entries = entries(prefixes, &lengths, index.class6);
    let buckets = |percent: usize| (entries.len() * 100).div_ceil(BUCKET_WIDTH * percent).max(1);
    let buckets = buckets(SPARSE_PERCENT).min(buckets(FULL_PERCENT).max(NEAR_BUCKETS6));
    let near = near(prefixes, entries.len());
    let blocks = near.as_ref().map_or(0, |(blocks, _)| blocks.len());
    index.blocks6_mask = near::words_mask(blocks, FILTER6_WORDS_MAX / 2);
    index.filter6_at = index.blocks6_mask + 1;
    index.filter6_mask = near::words_mask(entries.len(), FILTER6_WORDS_MAX / 2);
    index.buckets6 = u32::try_from(buckets).unwrap_or(u32::MAX);
    let lines = loop {
        // Strangers cannot know which addresses' hashes meet; where too many do, others are drawn.
        let salt = RandomState::new().build_hasher().finish();
        plant(&lengths, STEPS, 0, salt, &mut index.steps6);
        if let Some(lines) = buckets_of(&entries, salt, index.buckets6) {
            fill_filter(&entries, salt, index, filter);
            fill_near(near.as_ref(), salt, index, filter);
            break lines;
        }
    };
    if buckets <= NEAR_BUCKETS6 {
        // A larger filter leaves the caches, so that it is better to read no more of it than has to be.
        index.lengths6 = if lengths.len() <= STEPS { lengths.len() as u64 } else { 0 };
        filter.buckets[..buckets].copy_from_slice(&lines);
        return;
    }
    index.buckets6_at = u32::try_from(memory.lines.len()).unwrap_or(u32::MAX);
    memory.lines.extend(lines);
}

/// Writes prefixes of length 1 as two of length 2, which leaves 127 lengths: as many as seven steps tell apart.
fn without_length_1(prefixes: Vec<(Ipv6Net, u16)>) -> Vec<(Ipv6Net, u16)> {
    if !prefixes.iter().any(|(prefix, _)| prefix.prefix_len() == 1) {
        return prefixes;
    }
    let mut halves = Vec::with_capacity(prefixes.len() + 2);
    for (prefix, class) in prefixes {
        if prefix.prefix_len() == 1 {
            halves.extend(prefix.subnets(2).into_iter().flatten().map(|half| (half, class)));
        } else {
            halves.push((prefix, class));
        }
    }
    // What was there of length 2 already comes behind the half that it replaces.
    halves.sort_by_key(|(prefix, _)| *prefix);
    let mut kept: Vec<(Ipv6Net, u16)> = Vec::with_capacity(halves.len());
    for half in halves {
        kept.pop_if(|(prefix, _)| *prefix == half.0);
        kept.push(half);
    }
    kept
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
    // Where there is nothing to go on with, a step without a length ends the search: the last one is never planted.
    let end = u8::try_from(LENGTHS6_MAX - 1).unwrap_or(u8::MAX);
    let or_end = |lengths: &[u8], step: u8| if lengths.is_empty() { end } else { step };
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
fn entries(prefixes: &[(Ipv6Net, u16)], lengths: &[u8], class6: u64) -> Vec<Entry> {
    let posts: Vec<Vec<u8>> = (0..=128).map(|length| signposts(lengths, length)).collect();
    // Prefixes are sorted, so that equal networks of one length follow each other.
    let mut last: [Option<u128>; 129] = [None; 129];
    let mut open: Vec<(Ipv6Net, u16)> = Vec::new();
    let mut entries = Vec::with_capacity(prefixes.len());
    for (prefix, class) in prefixes {
        while open.pop_if(|(outer, _)| !outer.contains(prefix)).is_some() {}
        let network = u128::from(prefix.network());
        for length in &posts[usize::from(prefix.prefix_len())] {
            let marked = network & mask(*length);
            if last[usize::from(*length)] == Some(marked) {
                continue;
            }
            last[usize::from(*length)] = Some(marked);
            let around = open.iter().rev().find(|(outer, _)| outer.prefix_len() <= *length);
            // The default class is a class number as well.
            let class = around.map_or(u16::try_from(class6).unwrap_or(0), |(_, class)| *class);
            entries.push(Entry { network: marked, length: *length, class });
        }
        last[usize::from(prefix.prefix_len())] = Some(network);
        entries.push(Entry { network, length: prefix.prefix_len(), class: *class });
        open.push((*prefix, *class));
    }
    entries
}

type Line = [u64; LINE_WORDS];

/// The blocks in which anybody is named and how long their prefixes are: the sharpest that are not too many; `None`
/// where even the largest blocks are.
fn near(prefixes: &[(Ipv6Net, u16)], entries: usize) -> Option<(Vec<u64>, u32)> {
    // The first half of an address is 64 bits.
    let half = |address: std::net::Ipv6Addr| u64::try_from(u128::from(address) >> 64).unwrap_or(0);
    let ranges = || prefixes.iter().map(|(prefix, _)| (half(prefix.network()), half(prefix.broadcast())));
    let max = NEAR_MAX.max(2 * entries);
    NEAR_LENGTHS.into_iter().find_map(|length| {
        let blocks = near::blocks(ranges(), 64 - length, max)?;
        let is_worth_it = blocks.len() <= NEAR_OF_MOST_MAX || !near::are_most(&blocks);
        is_worth_it.then_some((blocks, length))
    })
}

fn fill_near(near: Option<&(Vec<u64>, u32)>, salt: u64, index: &mut SourceIndex, filter: &mut Filter6) {
    // Without a list of them, all are said to be there.
    let (blocks, length, salt) =
        near.map_or((&[0][..], 64, 0), |(blocks, length)| (&**blocks, *length, salt_of(salt, 0)));
    index.near6_salt = salt;
    index.near6_mask = (u64::MAX << (64 - length)).to_be();
    for block in blocks {
        let place = block_place((block << (64 - length)).to_be(), salt);
        filter.words[place.word(index.blocks6_mask)] |= place.bits();
    }
}

fn fill_filter(entries: &[Entry], salt: u64, index: &SourceIndex, filter: &mut Filter6) {
    for entry in entries {
        let network = Address::from_number(entry.network);
        let place = network_place(&network, salt_of(salt, entry.length));
        filter.words[index.filter6_at as usize + place.word(index.filter6_mask)] |= place.bits();
    }
}

/// The lines of the buckets; none where some entry finds no place under this salt.
fn buckets_of(entries: &[Entry], salt: u64, buckets: u32) -> Option<Vec<Line>> {
    let choices = |number: u32| {
        let entry = &entries[number as usize];
        bucket_choices(Address::from_number(entry.network).hash(salt_of(salt, entry.length)), buckets)
    };
    let mut cuckoo = Cuckoo::new(buckets as usize, BUCKET_WIDTH);
    for number in 0..u32::try_from(entries.len()).ok()? {
        cuckoo.insert(number, choices)?;
    }
    let lines = (0..buckets).map(|bucket| {
        let mut line = [0; LINE_WORDS];
        for (place, item) in cuckoo.bucket(bucket).iter().enumerate() {
            let Some(entry) = item.map(|item| &entries[item as usize]) else { continue };
            let [high, low] = Address::from_number(entry.network).halves;
            (line[2 * place], line[2 * place + 1]) = (high, low);
            let meta = (u64::from(entry.class) + 1) << 8 | u64::from(entry.length);
            line[2 * BUCKET_WIDTH] |= meta << (META_BITS as usize * place);
        }
        line
    });
    Some(lines.collect())
}
