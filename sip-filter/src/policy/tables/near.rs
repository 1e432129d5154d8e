//! In which blocks of addresses anybody is named: what the packet path asks first, and mostly last.

/// How many bits a key has at least in a small filter: of strangers, one in 160 is looked for in vain.
const SMALL_FILTER_BITS: usize = 24;
/// The words of the largest small one, 256 KiB.
const SMALL_FILTER_WORDS: usize = 1 << 15;
/// How many bits a key has in a larger one, where there is room: what stays in the second-level cache is worth more
/// than that fewer are looked for in vain, which are one in 40.
const FILTER_BITS: usize = 12;

/// By how many bits shorter a prefix what is around a block is.
const AROUND_BITS: u32 = 8;

/// The numbers of the blocks of 2^`host_bits` addresses that these ranges of addresses touch; `None` where they are
/// more than `max`. The ranges are sorted by their first address and may hold one another.
pub(super) fn blocks(
    ranges: impl Iterator<Item = (u64, u64)>,
    host_bits: u32,
    max: usize,
) -> Option<Vec<u64>> {
    let mut blocks: Vec<u64> = Vec::new();
    for (first, last) in ranges {
        let (first, last) = (first >> host_bits, last >> host_bits);
        let first = blocks.last().map_or(first, |known| first.max(known.saturating_add(1)));
        if last.saturating_sub(first) >= max as u64 {
            return None;
        }
        blocks.extend(first..=last);
        if blocks.len() > max {
            return None;
        }
    }
    Some(blocks)
}

/// How many blocks lie around these, with them.
pub(super) fn around(blocks: &[u64]) -> usize {
    let mut around: Vec<u64> = blocks.iter().map(|block| block >> AROUND_BITS).collect();
    around.dedup();
    around.len() << AROUND_BITS
}

/// Whether these are more than half of what lies around them: to ask for such a block is mostly in vain.
pub(super) fn are_most(blocks: &[u64]) -> bool {
    2 * blocks.len() > around(blocks)
}

/// Which bits of a hash are the number of a word of a filter of so many keys.
pub(super) fn words_mask(keys: usize, words_max: usize) -> u32 {
    let words = |bits: usize| (keys * bits).div_ceil(u64::BITS as usize).next_power_of_two();
    let words = match words(SMALL_FILTER_BITS) {
        small if small <= SMALL_FILTER_WORDS => small,
        _ => words(FILTER_BITS).max(SMALL_FILTER_WORDS),
    };
    let words = words.min(words_max);
    u32::try_from(words - 1).unwrap_or(u32::MAX)
}
