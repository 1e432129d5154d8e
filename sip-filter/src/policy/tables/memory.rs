//! Table memory as it is written: lines of eight words, one table after the other.

use sip_filter_common::maps::LINE_WORDS;

/// The lines so far.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) lines: Vec<[u64; LINE_WORDS]>,
}

impl Memory {
    /// Begins a new line with these words; returns its number.
    pub(super) fn place(&mut self, words: impl IntoIterator<Item = u64>) -> u32 {
        let at = u32::try_from(self.lines.len()).unwrap_or(u32::MAX);
        let mut column = LINE_WORDS;
        for word in words {
            if column == LINE_WORDS {
                self.lines.push([0; LINE_WORDS]);
                column = 0;
            }
            if let Some(line) = self.lines.last_mut() {
                line[column] = word;
            }
            column += 1;
        }
        at
    }
}

/// Packs fields into words, the first one lowest.
pub(super) fn packed<T: Copy + Into<u64>>(fields: &[T]) -> impl Iterator<Item = u64> {
    let bits = 8 * size_of::<T>();
    fields.chunks(8 / size_of::<T>()).map(move |fields| {
        fields.iter().enumerate().fold(0, |word, (number, field)| word | (*field).into() << (bits * number))
    })
}

/// A number of things that all fit in table memory, and so in 32 bits.
pub(super) fn number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
