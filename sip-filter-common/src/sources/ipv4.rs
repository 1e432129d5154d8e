//! IPv4 sources: presence bits for blocks of 256 addresses, and behind them ranks.
//!
//! | level | what | size |
//! | --- | --- | --- |
//! | near | where few blocks are named: two bits by hash for each, or for each sixteen of them | up to 256 KiB |
//! | block | a bit: does the policy name anybody in this /24? | 2 MiB in all |
//! | group | for 64 blocks, the number of their first leaf | 1 MiB in all |
//! | part | for a named block, a bit for each /28: anybody in it? | 2 bytes |
//! | leaf | for a named block: one class, one prefix, or the place of its details | 4 bytes |
//! | detail | for a named /28 of such a block: which addresses have the one class, which the other | 8 bytes |
//!
//! Leaves have no gaps: the rank of a block's bit is its place. A stranger's packet reads a block's bit and, where
//! its neighbours are named, a part; the other levels are for those whom the policy knows.
//! A group in which a prefix of /18 or shorter names everybody is *wide*: its bits are all set, and its record says
//! which blocks differ and what class all others have.

use super::{NOBODY, filter_place};
use crate::{
    maps::{FILTER4_WORDS_MAX, GROUPS4, LINE_WORDS},
    tables::Lines,
};

/// In a group's word: the rest is the number of the record of a wide group.
pub const WIDE: u32 = 1 << 31;
/// Words of a wide group's record: the bits of the blocks that differ; the first one's leaf, and above it the class
/// of all others.
pub const WIDE_WORDS: u32 = 2;

/// What a leaf is, in its two highest bits.
pub mod leaf {
    /// The number of the first detail; the details of its parts follow each other.
    pub const DETAILS: u32 = 0;
    /// A class for the whole block.
    pub const ONE_CLASS: u32 = 1;
    /// One prefix, and nobody beside it: class, then the number of host bits, then the last octet.
    pub const ONE_PREFIX: u32 = 2;

    /// Makes a leaf; `rest` has 30 bits.
    pub const fn pack(kind: u32, rest: u32) -> u32 {
        kind << 30 | rest & 0x3fff_ffff
    }

    /// The rest of a leaf for one prefix.
    pub const fn prefix(class: u32, host_bits: u32, octet: u32) -> u32 {
        class | host_bits << 16 | octet << 20
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
pub fn class_number<T: Lines + ?Sized>(tables: &T, source: u32) -> u32 {
    let index = tables.sources();
    let (word, bits) = filter_place(source as u64 & index.near4_mask, index.near4_salt, index.filter4_shift);
    if index.filter4[word % FILTER4_WORDS_MAX] & bits != bits {
        return NOBODY;
    }
    let present = index.present4[(source >> 14) as usize % GROUPS4];
    if present & block_bit(source) == 0 {
        return NOBODY;
    }
    known(tables, source, present).unwrap_or(NOBODY)
}

/// A block's bit in the word of its group.
#[inline(always)]
const fn block_bit(source: u32) -> u64 {
    1 << (source >> 8 & 63)
}

/// The class of a source in a named block; `None` where the tables end early, which no compiled policy does.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the fields of packed words are cut out of them")]
fn known<T: Lines + ?Sized>(tables: &T, source: u32, present: u64) -> Option<u32> {
    let index = tables.sources();
    let bit = block_bit(source);
    let group = index.groups4[(source >> 14) as usize % GROUPS4];
    let (mut present, mut first) = (present, group);
    if group & WIDE != 0 {
        let record = (group & !WIDE) * WIDE_WORDS;
        let line = tables.line(index.wide4_at + record / LINE_WORDS as u32)?;
        let at = (record as usize % LINE_WORDS) & !1;
        let [bits, rest] = [line[at], line[at | 1]];
        if bits & bit == 0 {
            return Some((rest >> 32) as u32);
        }
        (present, first) = (bits, rest as u32);
    }
    let number = first + (present & (bit - 1)).count_ones();

    let parts = tables.line(index.parts4_at + number / 32)?;
    let parts = parts[number as usize / 4 % LINE_WORDS] >> (number % 4 * 16) & 0xffff;
    let part = source >> 4 & 15;
    if parts >> part & 1 == 0 {
        return Some(NOBODY);
    }
    let leaves = tables.line(index.leaves4_at + number / 16)?;
    let leaf = (leaves[number as usize / 2 % LINE_WORDS] >> (number % 2 * 32)) as u32;
    match leaf >> 30 {
        leaf::ONE_CLASS => Some(leaf & 0xffff),
        leaf::ONE_PREFIX => {
            let is_inside = (source & 0xff ^ leaf >> 20 & 0xff) >> (leaf >> 16 & 15) == 0;
            Some(if is_inside { leaf & 0xffff } else { NOBODY })
        }
        _ => {
            let number = leaf + (parts & ((1 << part) - 1)).count_ones();
            in_part(tables, source, number)
        }
    }
}

/// The class of an address by the detail of its /28.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the fields of packed words are cut out of them")]
fn in_part<T: Lines + ?Sized>(tables: &T, source: u32, number: u32) -> Option<u32> {
    let at = tables.sources().details4_at;
    let address = source & 15;
    let detail = tables.line(at + number / LINE_WORDS as u32)?[number as usize % LINE_WORDS];
    if detail & detail::MANY != 0 {
        let number = (detail >> 16) as u32 + address / 4;
        let row = tables.line(at + number / LINE_WORDS as u32)?[number as usize % LINE_WORDS];
        return Some((row >> (address % 4 * 16)) as u32 & 0xffff);
    }
    let shift = if detail >> address & 1 != 0 { 16 } else { 32 };
    Some((detail >> shift) as u32 & 0xffff)
}
