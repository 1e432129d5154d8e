//! IPv4 sources: presence bits for blocks of 256 addresses, and behind them ranks.
//!
//! | level | what | size |
//! | --- | --- | --- |
//! | near | two bits by hash for each /26, /24 or /20 in which anybody is named, where these are not too many | up to 256 KiB |
//! | block | a bit: does the policy name anybody in this /24? | 2 MiB in all |
//! | group | for 64 blocks, the number of their first leaf | 1 MiB in all |
//! | whole | where strangers often come from named blocks: a bit for each: is all of it named? | up to 2 MiB |
//! | host | there too: two bits by hash for each /29 in which anybody is named, in blocks that are not whole | up to 1 MiB |
//! | leaf | for a named block: one prefix with its class, or the place of a pair or of details | 4 bytes |
//! | detail | two prefixes with their classes; or for a named /28: which addresses have the one class, which the other | 8 bytes |
//!
//! Leaves have no gaps: the rank of a block's bit is its place. A stranger's packet reads a block's bit and, where
//! that says too little, a word of each of the next two levels; leaves and details are for those whom the policy knows.
//! A group in which a prefix of /18 or shorter names everybody is *wide*: its bits are all set, and its record says
//! which blocks differ and what class all others have.

use super::{NOBODY, Place};
use crate::{
    maps::{FILTER4_WORDS_MAX, GROUPS4, LINE_WORDS, NEAR_LEAVES4},
    tables::{Lines, Tables},
};

/// In a group's word: the rest is the number of the record of a wide group.
pub const WIDE: u32 = 1 << 31;
/// Words of a wide group's record: the bits of the blocks that differ; the first one's leaf, and above it the class
/// of all others.
pub const WIDE_WORDS: u32 = 2;

/// What a leaf is, in its two highest bits.
pub mod leaf {
    /// The number of a detail that says which of the block's sixteen parts name anybody, and above which details of
    /// these follow.
    pub const DETAILS: u32 = 0;
    /// One prefix, and nobody beside it.
    pub const PREFIX: u32 = 1;
    /// The number of a detail with two prefixes, of which the lower one counts for whom both hold.
    pub const PAIR: u32 = 2;

    /// Bits of a prefix.
    pub const PREFIX_BITS: u32 = PLACE_BITS + 12;
    const PLACE_BITS: u32 = 9;
    const _: () = assert!(crate::maps::CLASSES_MAX <= 1 << (PREFIX_BITS - PLACE_BITS));

    /// Makes a leaf; `rest` has 30 bits.
    pub const fn pack(kind: u32, rest: u32) -> u32 {
        kind << 30 | rest & 0x3fff_ffff
    }

    /// A prefix: its class, and a place, which is the last octet and one more bit, of which the lowest one set is that
    /// of the number of host bits.
    pub const fn prefix(class: u16, octet: u8, host_bits: u32) -> u32 {
        (class as u32) << PLACE_BITS | (octet as u32) << 1 | 1 << host_bits
    }

    /// The class that a prefix gives a last octet; 0 for one that it does not hold.
    #[inline(always)]
    pub const fn class_by(prefix: u64, octet: u64) -> u64 {
        let place = prefix & ((1 << PLACE_BITS) - 1);
        // All bits up to the lowest one set.
        let beneath = place ^ place.wrapping_sub(1);
        // A difference lies above them or is none.
        let is_outside = super::sign_mask(beneath.wrapping_sub(place ^ octet << 1));
        prefix >> PLACE_BITS & 0xfff & !is_outside
    }
}

/// In a detail, from the lowest bit on: a bit for each address, the class where it is set, the class where it is
/// clear, and whether the two classes are instead the number of a row of sixteen.
pub mod detail {
    /// Set in a detail of more than two classes; its middle 32 bits are the number of a detail from which on sixteen
    /// classes of 16 bits stand.
    pub const MANY: u64 = 1 << 48;

    /// Makes a detail of at most two classes.
    pub const fn pack(mask: u16, set: u16, clear: u16) -> u64 {
        mask as u64 | (set as u64) << 16 | (clear as u64) << 32
    }
}

/// The class of an IPv4 source, given as a number.
#[inline(always)]
pub fn class_number<T: Tables>(tables: &T, source: u32) -> u32 {
    let index = tables.sources();
    let near = Place::of((source & index.near4_mask) as u64, index.near4_salt);
    if !near.is_in(tables.index().filter4[near.word(index.filter4_mask) % FILTER4_WORDS_MAX]) {
        return NOBODY;
    }
    let Some(blocks) = tables.blocks4() else { return NOBODY };
    let present = blocks.present[(source >> 14) as usize % GROUPS4];
    let named = present >> (source >> 8 & 63) & 1;
    // Where the answer cannot be foreseen the processor would often go astray, and wait for the memory to find out.
    if named as u32 | index.is_dense4 == 0 {
        return NOBODY;
    }
    if index.hosts4_mask != 0 && named & nearest(tables, source) == 0 {
        return NOBODY;
    }
    known(tables, source).unwrap_or(NOBODY)
}

/// For a source in a named block of many: 0 if nobody is named in its /29, mostly.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a line has few words, and so has the filter")]
fn nearest<T: Lines + ?Sized>(tables: &T, source: u32) -> u64 {
    let index = tables.sources();
    // One after the other: what has to be kept across a look-up takes room on the stack. Without either, which are both
    // there in a compiled policy, whoever might be known is looked for.
    let group = source >> 14;
    let Some(line) = tables.line(index.whole4_at.wrapping_add(group / LINE_WORDS as u32)) else { return 1 };
    let is_whole = line[group as usize % LINE_WORDS] >> (source >> 8 & 63) & 1;
    let place = Place::of((source & !7) as u64, index.hosts4_salt);
    let word = place.word(index.hosts4_mask);
    let Some(line) = tables.line(index.hosts4_at + (word / LINE_WORDS) as u32) else { return 1 };
    is_whole | place.bit_in(line[word % LINE_WORDS])
}

/// The class of a source in a named block; `None` where the tables end early, which no compiled policy does.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the fields of packed words are cut out of them")]
fn known<T: Lines + ?Sized>(tables: &T, source: u32) -> Option<u32> {
    let index = tables.sources();
    // Once more, rather than kept on the stack until here.
    let blocks = tables.blocks4()?;
    let group = (source >> 14) as usize % GROUPS4;
    let (mut present, mut first) = (blocks.present[group], blocks.groups[group]);
    let block = source >> 8 & 63;
    if first & WIDE != 0 {
        let record = (first & !WIDE) * WIDE_WORDS;
        let line = tables.line(index.wide4_at + record / LINE_WORDS as u32)?;
        let at = (record as usize % LINE_WORDS) & !1;
        let [bits, rest] = [line[at], line[at | 1]];
        if bits >> block & 1 == 0 {
            return Some((rest >> 32) as u32);
        }
        (present, first) = (bits, rest as u32);
    }
    let number = first + (present & ((1 << block) - 1)).count_ones();
    let leaf = if (number as usize) < NEAR_LEAVES4 {
        blocks.leaves[number as usize % NEAR_LEAVES4]
    } else {
        let line = tables.line(index.leaves4_at + number / 16)?;
        (line[number as usize / 2 % LINE_WORDS] >> (number % 2 * 32)) as u32
    };
    let octet = source as u64 & 0xff;
    let number = leaf & 0x3fff_ffff;
    match leaf >> 30 {
        leaf::PREFIX => Some(leaf::class_by(leaf as u64, octet) as u32),
        leaf::PAIR => {
            let pair = detail(tables, number)?;
            let [first, second] =
                [pair, pair >> leaf::PREFIX_BITS].map(|prefix| leaf::class_by(prefix, octet));
            Some((first | second & !sign_mask(first.wrapping_neg())) as u32)
        }
        _ => {
            let part = source >> 4 & 15;
            let parts = detail(tables, number)?;
            if parts >> part & 1 == 0 {
                return Some(NOBODY);
            }
            in_part(tables, source, number + 1 + (parts & 0xffff & ((1 << part) - 1)).count_ones())
        }
    }
}

/// All bits set where the highest one is, else none: a choice without a branch that the processor could guess wrong.
#[inline(always)]
const fn sign_mask(word: u64) -> u64 {
    (word.cast_signed() >> 63).cast_unsigned()
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a line has few words")]
fn detail<T: Lines + ?Sized>(tables: &T, number: u32) -> Option<u64> {
    let at = tables.sources().details4_at + number / LINE_WORDS as u32;
    Some(tables.line(at)?[number as usize % LINE_WORDS])
}

/// The class of an address by the detail of its /28.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the fields of packed words are cut out of them")]
fn in_part<T: Lines + ?Sized>(tables: &T, source: u32, number: u32) -> Option<u32> {
    let address = source & 15;
    let found = detail(tables, number)?;
    if found & detail::MANY != 0 {
        let row = detail(tables, (found >> 16) as u32 + address / 4)?;
        return Some((row >> (address % 4 * 16)) as u32 & 0xffff);
    }
    let shift = if found >> address & 1 != 0 { 16 } else { 32 };
    Some((found >> shift) as u32 & 0xffff)
}
