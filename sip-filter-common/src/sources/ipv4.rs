//! IPv4 sources: presence bits for those whom nobody knows, and behind them for each region the borders between classes.
//!
//! | level | what | size |
//! | --- | --- | --- |
//! | near | two bits by hash for each /26, /24, /22 or /20 in which anybody is named, where these are not too many | up to 256 KiB |
//! | block | a bit: does the policy name anybody in this /24? | 2 MiB in all |
//! | whole | where strangers often come from named blocks: a bit for each: is all of it named? | up to 2 MiB |
//! | host | there too: two bits by hash for each /29 in which anybody is named, in blocks that are not whole | up to 1 MiB |
//! | region | for a /16: the one class that all of it has, or where its buckets are, and how large | 256 KiB in all |
//!
//! A stranger's packet reads a word of the first level and, where many blocks are named, a block's bit and a word of each of the
//! next two; all else is for those whom the policy knows, and mostly takes two looks: one into what stays in the cache, and one line
//! of [`borders`].

use core::net::Ipv4Addr;

use super::{NOBODY, Place, borders};
use crate::{
    maps::{FILTER4_WORDS_MAX, GROUPS4, LINE_WORDS, REGIONS4},
    tables::{Lines, Tables},
};

/// The class of an IPv4 source.
#[inline(always)]
pub fn class_number<T: Tables>(tables: &T, source: Ipv4Addr) -> u32 {
    if is_near(tables, source) { class_near(tables, source) } else { NOBODY }
}

/// Whether anybody may be named in the source's block, by the filter.
#[inline(always)]
pub(super) fn is_near<T: Tables>(tables: &T, source: Ipv4Addr) -> bool {
    let index = tables.sources();
    // As it stands in the header, whichever byte is first.
    let near = Place::of((u32::from_ne_bytes(source.octets()) & index.near4_mask) as u64, index.near4_salt);
    near.is_in(tables.index().filter4[near.word(index.filter4_mask) % FILTER4_WORDS_MAX])
}

/// The class of a source that the filter does not settle.
#[inline(always)]
pub(super) fn class_near<T: Lines + ?Sized>(tables: &T, source: Ipv4Addr) -> u32 {
    let source = source.to_bits();
    if tables.sources().asks_blocks4 != 0 && is_nobody(tables, source) {
        return NOBODY;
    }
    known(tables, source).unwrap_or(NOBODY)
}

/// Whether nobody is named in the source's block, or, where many blocks are named, in its /29.
#[inline(always)]
fn is_nobody<T: Lines + ?Sized>(tables: &T, source: u32) -> bool {
    let index = tables.sources();
    let Some(blocks) = tables.blocks4() else { return true };
    let present = blocks.present[(source >> 14) as usize % GROUPS4];
    let named = present >> (source >> 8 & 63) & 1;
    // Where the answer cannot be foreseen the processor would often go astray, and wait for the memory to find out.
    if named as u32 | index.is_dense4 == 0 {
        return true;
    }
    index.hosts4_mask != 0 && named & nearest(tables, source) == 0
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
fn known<T: Lines + ?Sized>(tables: &T, source: u32) -> Option<u32> {
    let region = tables.regions4().regions[(source >> 16) as usize % REGIONS4];
    borders::class_in(tables, region, source & 0xffff)
}
