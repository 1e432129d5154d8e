//! Borders between classes in a region: 65,536 neighbours, the addresses of an IPv4 /16, or the networks of an IPv6 /48.
//!
//! | level | what | size |
//! | --- | --- | --- |
//! | bucket | for an equal part of a region: two classes, and the places from which on it is the other one's turn | 8 to 64 bytes |
//! | list | for a part with more borders or classes than a bucket holds: all of them, to be searched | 4 bytes each |
//!
//! The borders in a bucket are compared all at once, four in a word, since a processor cannot foresee the outcome.

use super::NOBODY;
use crate::{
    maps::{LINE_WORDS, NEAR, NEAR_BUCKET_LINES},
    tables::Lines,
};

/// What stands for a region: the number of the class that all of it has, or this.
pub mod region {
    /// Set where a region is cut into buckets.
    pub const BUCKETS: u32 = 1 << 31;
    /// The smallest and the largest part of a region that has a bucket, as a number of host bits.
    pub const PART_BITS: core::ops::RangeInclusive<u32> = 4..=15;

    /// Buckets of 2^`size` words for parts of 2^`part_bits` addresses; `at` is the number of the first one's word.
    pub const fn pack(part_bits: u32, size: u32, at: u32) -> u32 {
        BUCKETS | part_bits << 27 | size << 25 | at
    }

    /// How many addresses a bucket is for, as a number of bits.
    #[inline(always)]
    pub(super) const fn part_bits(region: u32) -> u32 {
        region >> 27 & 15
    }

    /// How many words a bucket has, as a number of bits.
    #[inline(always)]
    pub(super) const fn size(region: u32) -> u32 {
        region >> 25 & 3
    }

    /// The number of the first bucket's first word.
    #[inline(always)]
    pub(super) const fn at(region: u32) -> u32 {
        region & 0x1ff_ffff
    }
}

/// A bucket: borders of 16 bits each, but that the upper half of the first word says which classes they are between.
pub mod bucket {
    /// How many sizes there are: 2^0 words and so on, up to a line.
    pub const SIZES: usize = 4;
    /// A border that no address has reached. Borders are places in the half of a region that a part lies in, which are below.
    pub const NO_BORDER: u16 = 1 << 15;
    /// Set in the first word of a bucket that has a list instead.
    pub const LIST: u64 = 1 << 63;

    /// How many borders a bucket of 2^`size` words has room for.
    pub const fn borders(size: u32) -> usize {
        (4 << size) - 2
    }

    /// The upper half of a first word: the class up to the first border, and the class behind it.
    pub const fn classes(even: u16, odd: u16) -> u64 {
        (even as u64) << 32 | (odd as u64) << 44
    }

    /// Back from [`classes`]: the first one, or the other where all bits of `if_odd` are set. A shift by its bits rather than a
    /// choice, which the processor could not foresee.
    #[inline(always)]
    pub(in crate::sources) const fn class(word: u64, if_odd: u64) -> u32 {
        (word >> 32 >> (if_odd & CLASS_BITS as u64)) as u32 & CLASS_MASK
    }

    /// A first word for a list: its first border's number among all, and how many there are.
    pub const fn list(first: u32, count: u16) -> u64 {
        LIST | (count as u64) << 32 | first as u64
    }

    /// An entry of a list: from this place in the half of a region on, this class.
    pub const fn entry(border: u16, class: u16) -> u32 {
        (border as u32) << CLASS_BITS | class as u32
    }

    /// How many bits the number of a class has.
    pub const CLASS_BITS: u32 = 12;
    /// These bits.
    pub(super) const CLASS_MASK: u32 = (1 << CLASS_BITS) - 1;
    const _: () = assert!(crate::maps::CLASSES_MAX <= 1 << CLASS_BITS);
}

/// The class of a place in a region, by what stands for that; `None` where the tables end early, which no compiled policy
/// does.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a line has few words")]
pub(super) fn class_in<T: Lines + ?Sized>(tables: &T, region: u32, place: u32) -> Option<u32> {
    if region & region::BUCKETS == 0 {
        return Some(region);
    }
    let part = place >> region::part_bits(region);
    let word = region::at(region) + (part << region::size(region));
    // Once for either place, which the verifier wants to see apart.
    let buckets_at = tables.sources().buckets_at;
    if buckets_at == NEAR {
        let buckets = &tables.regions4().buckets;
        // As most are.
        if region::size(region) == 0 {
            let words = buckets.as_flattened();
            let first = words.get(word as usize % words.len().next_power_of_two())?;
            return Some(in_word(tables, *first, place));
        }
        // Linux 6.1 does not see that what was compared is what is read with, where both are a copy of 32 bits.
        let line = buckets.get(word as usize / LINE_WORDS % NEAR_BUCKET_LINES.next_power_of_two())?;
        return Some(in_bucket(tables, line, word, region, place));
    }
    let line = tables.line(buckets_at.wrapping_add(word / LINE_WORDS as u32))?;
    Some(in_bucket(tables, line, word, region, place))
}

/// The class of a place by a bucket that is one word.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a bucket's borders are the lower half of its first word"
)]
fn in_word<T: Lines + ?Sized>(tables: &T, word: u64, place: u32) -> u32 {
    in_part(tables, word, place, |guarded| {
        let passed = guarded.wrapping_mul(0x0001_0001).wrapping_sub(word as u32);
        ((passed ^ passed << 16) as u64) << 32
    })
}

/// The class of a place by the bucket that begins with the word of this number, which is in `line`.
#[inline(always)]
fn in_bucket<T: Lines + ?Sized>(
    tables: &T,
    line: &[u64; LINE_WORDS],
    word: u32,
    region: u32,
    place: u32,
) -> u32 {
    let (at, size) = (word as usize % LINE_WORDS, region::size(region));
    let first = line[at];
    in_part(tables, first, place, |guarded| {
        let places = (guarded as u64).wrapping_mul(0x0001_0001_0001_0001);
        let mut passed = places.wrapping_sub(first) & 0xffff_ffff;
        if size > 0 {
            passed ^= places.wrapping_sub(line[at | 1]);
        }
        if size > 1 {
            passed ^= places.wrapping_sub(line[at | 2]) ^ places.wrapping_sub(line[at | 3]);
        }
        if size > 2 {
            passed ^= places.wrapping_sub(line[4]) ^ places.wrapping_sub(line[5]);
            passed ^= places.wrapping_sub(line[6]) ^ places.wrapping_sub(line[7]);
        }
        // Whether their number is odd.
        passed ^= passed >> 32;
        passed ^= passed >> 16;
        passed << 48
    })
}

/// The class of a place by its part's bucket, of which this is the first word; `passed` makes of a place in its half of the
/// region, with its highest bit set, a number with the highest bit set where it has passed an odd number of borders:
/// taken from such a place, a border leaves that bit where it is not above it.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the fields of packed words are cut out of them")]
fn in_part<T: Lines + ?Sized>(tables: &T, first: u64, place: u32, passed: impl FnOnce(u32) -> u64) -> u32 {
    if first & bucket::LIST != 0 {
        let in_half = place & (bucket::NO_BORDER as u32 - 1);
        return tables.listed(first as u32, (first >> 32) as u32 & 0xffff, in_half);
    }
    bucket::class(first, tables.sign_mask(passed(place | bucket::NO_BORDER as u32)))
}

/// The class of a place in its half of a region, by its part's list, which begins with the entry number `first` and has `count` of
/// them; [`NOBODY`] where the tables end early, which no compiled policy does.
#[inline(always)]
pub fn listed<T: Lines + ?Sized>(tables: &T, first: u32, count: u32, place: u32) -> u32 {
    let end = first.wrapping_add(count);
    // The last one that is known not to be above the place: the list's first one is for all.
    let mut last = first;
    let mut step = 1 << 14;
    unrolled!(15, {
        let probe = last.wrapping_add(step);
        if probe < end {
            let Some(entry) = listed_entry(tables, probe) else { return NOBODY };
            if entry >> bucket::CLASS_BITS <= place {
                last = probe;
            }
        }
        step >>= 1;
    });
    let _: u32 = step;
    listed_entry(tables, last).unwrap_or(NOBODY) & bucket::CLASS_MASK
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a line has few words, and a word two entries")]
fn listed_entry<T: Lines + ?Sized>(tables: &T, number: u32) -> Option<u32> {
    let word = number / 2;
    let line = tables.line(tables.sources().lists_at.wrapping_add(word / LINE_WORDS as u32))?;
    Some((line[word as usize % LINE_WORDS] >> (number % 2 * 32)) as u32)
}
