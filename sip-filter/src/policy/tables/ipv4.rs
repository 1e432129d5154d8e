//! Compiles IPv4 prefixes into the tables that `sip_filter_common::sources::ipv4` reads.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hasher as _, RandomState},
};

use ipnet::Ipv4Net;
use sip_filter_common::{
    maps::{Blocks4, FILTER4_WORDS_MAX, GROUPS4, LINE_WORDS, NEAR_LEAVES4, PolicyIndex, SourceIndex},
    sources::{
        NOBODY, Place,
        ipv4::{WIDE, detail, leaf},
    },
};

use super::{
    memory::{Memory, packed},
    near,
};

const GROUP_BITS: u32 = 14;
const BLOCKS: u32 = 64;
const BLOCK_BITS: u32 = 8;
const BLOCK_LEN: usize = 1 << BLOCK_BITS;
const PART_LEN: usize = 16;
/// How many addresses a key of the filter of hosts stands for.
const HOST_LEN: usize = 8;

/// How many keys the filter of blocks is made for.
const NEAR_MAX: usize = 1 << 18;

/// How many words the filter of hosts has at most: what a second-level cache holds.
const HOSTS_WORDS_MAX: usize = 1 << 17;
/// From how many thousandths of strangers in named blocks on a policy counts as dense.
const DENSE_PERMILLE: usize = 100;
/// From how many on it is worth to tell them from who is named there, where no filter of blocks settles most: what is
/// seldom looked for has left the caches, and costs some microseconds.
const NEAREST_PERMILLE: usize = 1;

/// From here on, up to the next run, all addresses have this class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u32,
    class: u16,
}

/// Writes the tables for prefixes that are sorted, each with the class that holds for it in the end.
pub(super) fn compile(
    prefixes: &[(Ipv4Net, u16)],
    index: &mut PolicyIndex,
    blocks: &mut Blocks4,
    memory: &mut Memory,
) {
    let PolicyIndex { sources: index, filter4: filter, .. } = index;
    let mut tables = Writer::default();
    let mut rest = &*runs(prefixes);
    for group in 0..GROUPS4 {
        // Within 32 bits: there are 2^18 groups of 2^14 addresses.
        let first = u32::try_from(group).unwrap_or(0) << GROUP_BITS;
        let here;
        (here, rest) = cut(rest, first | ((1 << GROUP_BITS) - 1));
        (blocks.present[group], blocks.groups[group]) = tables.group(here, first);
        tables.whole.push(std::mem::take(&mut tables.whole_here));
    }
    fill_filter(prefixes, index, filter);
    let met = met_permille(&blocks.present, tables.in_part);
    index.is_dense4 = (met >= DENSE_PERMILLE).into();
    if met >= DENSE_PERMILLE || met >= NEAREST_PERMILLE && index.near4_salt == 0 {
        place_nearest(&tables, &blocks.present, index, memory);
    }
    index.wide4_at = memory.place(tables.wide.into_iter().flatten());
    let near = tables.leaves.len().min(NEAR_LEAVES4);
    blocks.leaves[..near].copy_from_slice(&tables.leaves[..near]);
    index.leaves4_at = memory.place(packed(&tables.leaves));
    index.details4_at = memory.place(tables.details);
}

/// Lets the packet path settle who comes from a block that nobody is named in: a /26, or a /24 or /20 where those are
/// too many.
fn fill_filter(prefixes: &[(Ipv4Net, u16)], index: &mut SourceIndex, filter: &mut [u64]) {
    let ranges = || {
        prefixes
            .iter()
            .map(|(prefix, _)| [prefix.network(), prefix.broadcast()].map(|end| u64::from(u32::from(end))))
    };
    let blocks = |host_bits, max| near::blocks(ranges().map(|[first, last]| (first, last)), host_bits, max);
    let sharp = |host_bits| Some((blocks(host_bits, NEAR_MAX)?, host_bits));
    let coarse = || sharp(12).filter(|(blocks, _)| !near::are_most(blocks));
    let known = sharp(6).or_else(|| sharp(8)).or_else(coarse);
    // Without a list of them, all are said to be there.
    let (blocks, host_bits) = known.unwrap_or_else(|| (vec![0], u32::BITS));
    let salt = if host_bits == u32::BITS { 0 } else { RandomState::new().build_hasher().finish() | 1 };
    index.filter4_mask = near::words_mask(blocks.len(), FILTER4_WORDS_MAX);
    (index.near4_salt, index.near4_mask) = (salt, u32::MAX.checked_shl(host_bits).unwrap_or(0));
    for block in blocks {
        let place = Place::of(block << host_bits, salt);
        filter[place.word(index.filter4_mask)] |= place.bits();
    }
}

/// What tells strangers in blocks that are named in part from those who are named there.
fn place_nearest(tables: &Writer, present: &[u64], index: &mut SourceIndex, memory: &mut Memory) {
    let named = |bits: &u64| *bits != 0;
    let first = present.iter().position(named).unwrap_or(0) / LINE_WORDS * LINE_WORDS;
    let last = present.iter().rposition(named).unwrap_or(0);
    let at = memory.place(tables.whole[first..=last].iter().copied());
    index.whole4_at = at.wrapping_sub(number(first / LINE_WORDS));
    index.hosts4_salt = RandomState::new().build_hasher().finish() | 1;
    // At least one bit: without any there is no filter.
    index.hosts4_mask = near::words_mask(tables.hosts.len(), HOSTS_WORDS_MAX) | 1;
    let mut filter = vec![0; index.hosts4_mask as usize + 1];
    for host in &tables.hosts {
        let place = Place::of(u64::from(*host), index.hosts4_salt);
        filter[place.word(index.hosts4_mask)] |= place.bits();
    }
    index.hosts4_at = memory.place(filter);
}

/// How many in a thousand strangers come from blocks that are named `in_part`, of which there are so many: strangers
/// are as likely in all that is not named, around what is.
fn met_permille(present: &[u64], in_part: usize) -> usize {
    let named: usize = present.iter().map(|bits| bits.count_ones() as usize).sum();
    let around = present.iter().filter(|bits| **bits != 0).count() * BLOCKS as usize;
    (in_part * 1_000).checked_div(around - named + in_part).unwrap_or(0)
}

/// What prefixes mean address by address; the first run begins at 0.
fn runs(prefixes: &[(Ipv4Net, u16)]) -> Vec<Run> {
    let mut runs = Runs(vec![Run { first: 0, class: 0 }]);
    let mut open: Vec<(u32, u16)> = Vec::new();
    for (prefix, class) in prefixes {
        let first = u32::from(prefix.network());
        close(&mut open, &mut runs, Some(first));
        runs.begin(first, *class);
        open.push((u32::from(prefix.broadcast()), *class));
    }
    close(&mut open, &mut runs, None);
    runs.0
}

/// Ends the prefixes that end before `first`, or all: behind each, the one around it holds again.
fn close(open: &mut Vec<(u32, u16)>, runs: &mut Runs, first: Option<u32>) {
    while let Some((last, _)) = open.pop_if(|(last, _)| first.is_none_or(|first| *last < first)) {
        let around = open.last().map_or(0, |(_, class)| *class);
        if let Some(next) = last.checked_add(1) {
            runs.begin(next, around);
        }
    }
}

struct Runs(Vec<Run>);

impl Runs {
    fn begin(&mut self, first: u32, class: u16) {
        self.0.pop_if(|run| run.first == first);
        if self.0.last().is_none_or(|run| run.class != class) {
            self.0.push(Run { first, class });
        }
    }
}

/// The runs up to the one that holds `last`, and those from the one on that holds what comes next.
fn cut(runs: &[Run], last: u32) -> (&[Run], &[Run]) {
    let behind = runs.iter().position(|run| run.first > last).unwrap_or(runs.len());
    let begins_next = runs.get(behind).is_some_and(|run| run.first - 1 == last);
    (&runs[..behind], &runs[if begins_next { behind } else { behind.saturating_sub(1) }..])
}

#[derive(Default)]
struct Writer {
    wide: Vec<[u64; 2]>,
    wide_numbers: HashMap<[u64; 2], u32>,
    /// For each group, the blocks of which every address has a class.
    whole: Vec<u64>,
    /// Those of the group that is being written.
    whole_here: u64,
    /// How many blocks are named, but not whole.
    in_part: usize,
    /// The /29s of these in which anybody is named, by their first address.
    hosts: Vec<u32>,
    leaves: Vec<u32>,
    details: Vec<u64>,
}

impl Writer {
    /// The presence bits and the word of a group.
    fn group(&mut self, runs: &[Run], first: u32) -> (u64, u32) {
        let common = common_class(runs);
        if let ([_], 0) = (runs, common) {
            return (0, 0);
        }
        let first_leaf = number(self.leaves.len());
        let mut bits = 0;
        let mut rest = runs;
        if runs.len() > 1 {
            for block in 0..BLOCKS {
                let first = first | block << BLOCK_BITS;
                let here;
                (here, rest) = cut(rest, first | 0xff);
                if !matches!(here, [run] if run.class == common) {
                    bits |= 1 << block;
                    self.block(here, first);
                }
            }
        }
        if u32::from(common) == NOBODY {
            return (bits, first_leaf);
        }
        self.whole_here = u64::MAX;
        let record = [bits, u64::from(common) << 32 | u64::from(first_leaf)];
        // Groups without exceptions share a record, whatever leaf comes next.
        let record = if bits == 0 { [0, u64::from(common) << 32] } else { record };
        let next = number(self.wide.len());
        let number = *self.wide_numbers.entry(record).or_insert(next);
        if number == next {
            self.wide.push(record);
        }
        (u64::MAX, WIDE | number)
    }

    fn block(&mut self, runs: &[Run], first: u32) {
        let classes = spread(runs, first);
        self.nearest(&classes, first);
        let next = number(self.details.len());
        let leaf = match two_prefixes(runs, first) {
            Some((prefix, 0)) => leaf::pack(leaf::PREFIX, prefix),
            Some((inner, outer)) => {
                self.details.push(u64::from(inner) | u64::from(outer) << leaf::PREFIX_BITS);
                leaf::pack(leaf::PAIR, next)
            }
            None => {
                self.details(&classes);
                leaf::pack(leaf::DETAILS, next)
            }
        };
        self.leaves.push(leaf);
    }

    /// Notes which parts of a block are named.
    fn nearest(&mut self, classes: &[u16; BLOCK_LEN], first: u32) {
        if classes.iter().all(|class| *class != 0) {
            self.whole_here |= 1 << (first >> BLOCK_BITS & (BLOCKS - 1));
            return;
        }
        self.in_part += 1;
        let hosts = (first..).step_by(HOST_LEN).zip(classes.chunks(HOST_LEN));
        let named = hosts.filter(|(_, classes)| classes.iter().any(|class| *class != 0));
        self.hosts.extend(named.map(|(host, _)| host));
    }

    fn details(&mut self, classes: &[u16; BLOCK_LEN]) {
        let parts = classes.chunks(PART_LEN).enumerate();
        let named = parts.filter(|(_, classes)| classes.iter().any(|class| *class != 0));
        self.details.push(named.clone().fold(0, |parts, (part, _)| parts | 1 << part));
        let mut rows = Vec::new();
        for (_, classes) in named {
            self.details.push(two_classes(classes).unwrap_or_else(|| {
                rows.push((self.details.len(), classes));
                0
            }));
        }
        for (place, classes) in rows {
            self.details[place] = detail::MANY | u64::from(number(self.details.len())) << 16;
            self.details.extend(packed(classes));
        }
    }
}

/// The class of the addresses that are not written down one by one: nobody's where anybody is nobody, else the most
/// frequent among the runs.
fn common_class(runs: &[Run]) -> u16 {
    let mut counts: HashMap<u16, usize> = HashMap::new();
    for run in runs {
        if run.class == 0 {
            return 0;
        }
        *counts.entry(run.class).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(class, count)| (*count, *class)).map_or(0, |(class, _)| class)
}

/// The classes of the addresses of a block.
fn spread(runs: &[Run], first: u32) -> [u16; BLOCK_LEN] {
    let mut classes = [0; BLOCK_LEN];
    for run in runs {
        let from = run.first.saturating_sub(first) as usize;
        classes[from..].fill(run.class);
    }
    classes
}

/// The prefixes of a block in which at most two have a class, one of them perhaps within the other; the second one is 0
/// where there is none.
fn two_prefixes(runs: &[Run], first: u32) -> Option<(u32, u32)> {
    // Of two neighbours and two prefixes there are five runs at most.
    if runs.len() > 5 {
        return None;
    }
    // From where on each class holds, and the end.
    let mut here: Vec<Run> = Vec::with_capacity(6);
    here.extend(runs.iter().map(|run| Run { first: run.first.max(first) - first, ..*run }));
    if let Some(prefix) = one_prefix(&here) {
        return Some((prefix, 0));
    }
    (0..here.len()).find_map(|at| {
        let inner = prefix(&here, at)?;
        // Without it, what is around it holds there too, or nobody's class.
        let around = [at.checked_sub(1), Some(at + 1)].map(|at| here.get(at?).map(|run| run.class));
        around.into_iter().flatten().chain([0]).find_map(|class| {
            let mut rest = here.clone();
            rest[at].class = class;
            rest.dedup_by_key(|run| run.class);
            Some((inner, one_prefix(&rest)?))
        })
    })
}

/// The only prefix that has a class.
fn one_prefix(runs: &[Run]) -> Option<u32> {
    let mut named = (0..runs.len()).filter(|at| runs[*at].class != 0);
    let only = named.next().filter(|_| named.next().is_none())?;
    prefix(runs, only)
}

/// A run of a block as a prefix.
fn prefix(runs: &[Run], at: usize) -> Option<u32> {
    let Run { first, class } = runs[at];
    let behind = runs.get(at + 1).map_or(1 << BLOCK_BITS, |next| next.first);
    let len = behind - first;
    let is_prefix = class != 0 && len.is_power_of_two() && first.is_multiple_of(len);
    is_prefix.then(|| leaf::prefix(class, u8::try_from(first).unwrap_or(0), len.trailing_zeros()))
}

/// A detail, where two classes are enough.
fn two_classes(classes: &[u16]) -> Option<u64> {
    let clear = *classes.first()?;
    let set = classes.iter().copied().find(|class| *class != clear).unwrap_or(clear);
    let mut mask = 0_u16;
    for (address, class) in classes.iter().enumerate() {
        match *class {
            class if class == clear => {}
            class if class == set => mask |= 1 << address,
            _ => return None,
        }
    }
    Some(detail::pack(mask, set, clear))
}

/// A number of things that all fit in table memory, and so in 32 bits.
fn number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
