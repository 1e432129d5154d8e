//! IPv6 sources: a search over the prefix lengths that occur, with a hash table for all of them.
//!
//! Seven steps are enough for the longest prefix to be looked for first, then the next shorter one, where not more
//! lengths occur: one look into the table then, and the answer is there. Where more do, the search begins at the middle
//! one, and goes on like this as soon as a step is left for each length that remains, after Waldvogel, Varghese, Turner
//! and Plattner, "Scalable High Speed IP Routing Lookups", SIGCOMM 1997: where a longer prefix can only be found by way
//! of a shorter length, a marker stands there, and every entry carries the class of the longest prefix that holds it, so
//! that no step has to be taken back.
//! Before the table comes a filter of presence bits, two for each entry in one word: a stranger's packet reads one
//! word for each step and seldom a bucket. Where lengths and entries are few, it is asked for all lengths at once, since
//! a processor cannot foresee which one it will be. Before the first step another filter is asked for the block alone
//! that the source is in, of a size that suits the policy: most strangers are told by it, and so it stands by itself and
//! is small.

use super::Place;
use crate::{
    maps::{
        Address, FILTER6_WORDS_MAX, Filter6, LENGTHS6_MAX, LINE_WORDS, NEAR_BUCKETS6, SourceIndex, Step6,
    },
    tables::{Lines, Tables},
};

/// How many steps a search has: from the middle of all lengths they lead to any of them.
pub const STEPS: usize = 7;
const _: () = assert!((1 << STEPS) >= LENGTHS6_MAX);
// As often as steps are written down below.
const _: () = assert!(STEPS == 7);

/// How many entries a bucket has: two words of address each, and all lengths and classes in the seventh.
pub const BUCKET_WIDTH: usize = 3;
/// Bits of an entry's length and class in the seventh word: 8 and 13. To the class 1 is added.
pub const META_BITS: u32 = 21;
/// The bits of an entry's length in its part of the seventh word.
const LENGTH_MASK: u64 = 0xff;
const CLASS_MASK: u64 = (1 << (META_BITS - 8)) - 1;
const _: () =
    assert!(2 * BUCKET_WIDTH < LINE_WORDS && BUCKET_WIDTH * META_BITS as usize <= u64::BITS as usize);
const _: () = assert!(crate::maps::CLASSES_MAX < 1 << (META_BITS - 8));

/// No entry of this prefix; those that there are give the number of a class and 1.
const NONE: u32 = 0;

/// Where a network stands in the filter.
#[inline(always)]
pub const fn network_place(network: &Address, salt: u64) -> Place {
    block_place(network.halves[0] ^ network.halves[1], salt)
}

/// Where a block stands in the filter, by the first half of its addresses.
#[inline(always)]
pub const fn block_place(half: u64, salt: u64) -> Place {
    Place::of(half ^ half >> 32, salt)
}

/// The two buckets in which an entry of this hash may stand.
#[inline(always)]
pub const fn bucket_choices(hash: u64, buckets: u32) -> [u32; 2] {
    [below(hash, buckets), below(hash >> 32, buckets)]
}

/// Makes a number below `limit` of the lower half of a hash.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the halves of a product")]
const fn below(hash: u64, limit: u32) -> u32 {
    ((hash as u32 as u64 * limit as u64) >> 32) as u32
}

/// The class of an IPv6 source.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "classes are few")]
pub fn class_number<T: Tables>(tables: &T, source: &Address) -> u32 {
    let index = tables.sources();
    let Some(filter) = tables.filter6() else { return index.class6 as u32 };
    let near = block_place(source.halves[0] & index.near6_mask, index.near6_salt);
    if !near.is_in(filter.words[near.word(index.blocks6_mask) % FILTER6_WORDS_MAX]) {
        return index.class6 as u32;
    }
    if index.lengths6 != 0 {
        let found = tables.at_once6(source);
        if found != NONE {
            return found - 1;
        }
    }
    tables.search6(source)
}

/// The class of an IPv6 source in a block in which somebody is named, where there are few lengths and entries, and 1;
/// 0 where it has to be searched for, since the filter of entries was wrong.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "classes are few")]
pub fn at_once<T: Lines + ?Sized>(tables: &T, source: &Address) -> u32 {
    let candidates = candidates(tables, source);
    if candidates == 0 {
        return tables.sources().class6 as u32 + 1;
    }
    find(tables, source, candidates.trailing_zeros())
}

/// Of few lengths, at which of them the source's network may have an entry: a bit for each step, the longest one first.
#[inline(always)]
fn candidates<T: Lines + ?Sized>(tables: &T, source: &Address) -> u64 {
    let index = tables.sources();
    let mut candidates = 0;
    let Some(filter) = tables.filter6() else { return candidates };
    let mut at = 0_usize;
    // All of them rather than up to the first one, which the processor would have to guess.
    unrolled!(7, {
        if at as u64 == index.lengths6 {
            return candidates;
        }
        candidates |= bit_of(index, filter, source, &index.steps6[at]) << at;
        at += 1;
    });
    let _: usize = at;
    candidates
}

/// What the filter of entries says about the source's network of a step's length.
#[inline(always)]
fn bit_of(index: &SourceIndex, filter: &Filter6, source: &Address, step: &Step6) -> u64 {
    let place = network_place(&cut(source, step), step.salt);
    let word = index.filter6_at as usize + place.word(index.filter6_mask);
    place.bit_in(filter.words[word % FILTER6_WORDS_MAX])
}

/// The class of an IPv6 source in a block in which somebody is named.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "classes and steps are few")]
pub fn search<T: Lines + ?Sized>(tables: &T, source: &Address) -> u32 {
    let index = tables.sources();
    let mut class = index.class6 as u32;
    let Some(filter) = tables.filter6() else { return class };
    let mut at = 0_usize;
    unrolled!(7, {
        let step = &index.steps6[at];
        if step.length() == 0 {
            return class;
        }
        let mut found = NONE;
        if bit_of(index, filter, source, step) != 0 {
            found = tables.find6(source, at as u32);
        }
        if found != NONE {
            class = found - 1;
        }
        at = step.next(found != NONE);
    });
    // No step comes after the last one.
    let _: usize = at;
    class
}

/// The source's network of a step's length.
#[inline(always)]
fn cut(source: &Address, step: &Step6) -> Address {
    Address { halves: [source.halves[0] & step.mask[0], source.halves[1] & step.mask[1]] }
}

/// The class of the source's network at the length of a step, and 1; 0 where the table has no such entry.
#[inline(always)]
pub fn find<T: Lines + ?Sized>(tables: &T, source: &Address, step: u32) -> u32 {
    let index = tables.sources();
    let step = &index.steps6[step as usize % LENGTHS6_MAX];
    let network = cut(source, step);
    let [first, second] = bucket_choices(network.hash(step.salt), index.buckets6);
    let found = in_bucket(tables, &network, step.length(), first);
    if found != NONE { found } else { in_bucket(tables, &network, step.length(), second) }
}

#[inline(always)]
fn in_bucket<T: Lines + ?Sized>(tables: &T, network: &Address, length: u64, number: u32) -> u32 {
    let index = tables.sources();
    if index.buckets6 as usize <= NEAR_BUCKETS6 {
        let Some(filter) = tables.filter6() else { return NONE };
        return in_line(tables, &filter.buckets[number as usize % NEAR_BUCKETS6], network, length);
    }
    let Some(line) = tables.line(index.buckets6_at.wrapping_add(number)) else { return NONE };
    in_line(tables, line, network, length)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the fields of packed words are cut out of them")]
fn in_line<T: Lines + ?Sized>(tables: &T, line: &[u64; LINE_WORDS], network: &Address, length: u64) -> u32 {
    let [high, low] = network.halves;
    // All of them rather than up to the right one, which the processor would have to guess.
    let class_by = |number: usize| {
        let meta = line[2 * BUCKET_WIDTH] >> (number as u32 * META_BITS);
        let difference = line[2 * number] ^ high | line[2 * number + 1] ^ low | (meta ^ length) & LENGTH_MASK;
        // Of 0 alone neither it nor its negative has the highest bit set.
        let is_other = tables.sign_mask(difference | difference.wrapping_neg());
        meta >> 8 & CLASS_MASK & !is_other
    };
    (class_by(0) | class_by(1) | class_by(2)) as u32
}
