//! Cuts regions into buckets: as few words as hold all borders, but for those that would need many.

use sip_filter_common::{
    maps::{NEAR, Regions4, SourceIndex},
    sources::borders::{bucket, region},
};

use super::{
    memory::{Memory, number, packed},
    runs::Run,
};

/// How many addresses a region has, as a number of bits.
pub(super) const REGION_BITS: u32 = 16;
/// How many words of buckets may be spent to spare one border a list, which takes longer to search.
const LIST_WORDS: usize = 4;
/// The most words that buckets take at that price, a quarter of table memory. Where they would take more, a border is
/// worth [`FRUGAL_LIST_WORDS`]: then all of them and the lists take a word for each border at most, and two for each
/// region: half of table memory for [`PREFIXES_MAX`](sip_filter_common::maps::PREFIXES_MAX).
const WORDS_MAX: usize = 1 << 22;
const FRUGAL_LIST_WORDS: usize = 1;
/// How many words buckets of one size may take, in hundredths of those of all sizes.
const COMMON_PERCENT: usize = 130;

/// A region of more than one class.
pub(super) struct Parted<'a> {
    /// Its first address.
    pub(super) first: u32,
    /// Its classes; the first run holds its first address.
    pub(super) runs: &'a [Run],
}

/// The buckets of all regions, and the lists of those that hold too little.
#[derive(Default)]
pub(super) struct Regions {
    /// Words.
    buckets: Vec<u64>,
    /// Entries.
    lists: Vec<u32>,
}

impl Regions {
    /// Adds regions, and says what stands for each of them.
    pub(super) fn add(&mut self, parted: &[Parted<'_>]) -> Vec<u32> {
        let cuts_at = |list_words| -> Vec<Cuts> {
            parted.iter().map(|region| Borders::of(region).cuts(list_words)).collect()
        };
        let mut cuts = cuts_at(LIST_WORDS);
        let mut size = common_size(&cuts);
        if words(&cuts, cheapest) > WORDS_MAX {
            (cuts, size) = (cuts_at(FRUGAL_LIST_WORDS), None);
        }
        let mut add = |region, cuts: Cuts| {
            let size = size.unwrap_or_else(|| cheapest(&cuts));
            self.region(&Borders::of(region), cuts[size].part_bits, number(size))
        };
        parted.iter().zip(cuts).map(|(region, cuts)| add(region, cuts)).collect()
    }

    /// Writes them where the packet path looks for them.
    pub(super) fn place(self, index: &mut SourceIndex, regions4: &mut Regions4, memory: &mut Memory) {
        let near = regions4.buckets.as_flattened_mut();
        index.buckets_at = match near.get_mut(..self.buckets.len()) {
            Some(near) => {
                near.copy_from_slice(&self.buckets);
                NEAR
            }
            None => memory.place(self.buckets),
        };
        index.lists_at = memory.place(packed(&self.lists));
    }

    fn region(&mut self, borders: &Borders, part_bits: u32, size: u32) -> u32 {
        self.buckets.resize(self.buckets.len().next_multiple_of(1 << size), 0);
        // Where there are so many that a number has no room, they have none in table memory either.
        let at = number(self.buckets.len());
        borders.each_part(part_bits, |part| {
            let list = number(self.lists.len());
            let words = part.bucket(size).unwrap_or_else(|| {
                self.lists.extend(part.entries());
                let mut words = vec![0; 1 << size];
                words[0] = bucket::list(list, part.entries_len());
                words
            });
            self.buckets.extend(words);
        });
        region::pack(part_bits, size, at)
    }
}

/// How a region may be cut for buckets of one size: the host bits of its parts, and what that costs in words.
#[derive(Clone, Copy)]
struct Cut {
    part_bits: u32,
    words: usize,
}

/// One for each size, by the number of bits of its number of words.
type Cuts = [Cut; bucket::SIZES];

/// The size that takes the fewest words.
fn cheapest(cuts: &Cuts) -> usize {
    (0..cuts.len()).min_by_key(|size| cuts[*size].words).unwrap_or(0)
}

/// What all regions take where a size is chosen for each.
fn words(cuts: &[Cuts], size: impl Fn(&Cuts) -> usize) -> usize {
    cuts.iter().map(|cuts| cuts[size(cuts)].words).sum()
}

/// The size that all regions have where that costs little: the processor would have to guess how large each one is.
fn common_size(cuts: &[Cuts]) -> Option<usize> {
    let size = (0..bucket::SIZES).min_by_key(|size| words(cuts, |_| *size))?;
    (words(cuts, |_| size) * 100 <= words(cuts, cheapest) * COMMON_PERCENT).then_some(size)
}

/// Where in a region which class begins.
struct Borders {
    /// The class of its first address.
    first: u16,
    /// Later addresses, each with a class that differs from the one before.
    others: Vec<(u16, u16)>,
}

/// The borders in a part of a region.
struct Part<'a> {
    /// The class of its first address.
    first: u16,
    /// Those behind it.
    others: &'a [(u16, u16)],
}

impl Borders {
    fn of(region: &Parted<'_>) -> Self {
        let Parted { first, runs } = region;
        let place = |run: &Run| u16::try_from(run.first - first).unwrap_or(u16::MAX);
        Self { first: runs[0].class, others: runs[1..].iter().map(|run| (place(run), run.class)).collect() }
    }

    /// For each size of buckets the cut that takes the fewest words.
    fn cuts(&self, list_words: usize) -> Cuts {
        let mut cuts = [Cut { part_bits: *region::PART_BITS.end(), words: usize::MAX }; bucket::SIZES];
        for part_bits in region::PART_BITS.rev() {
            let parts = 1 << (REGION_BITS - part_bits);
            // Smaller parts take at least so many.
            if cuts.iter().enumerate().all(|(size, cut)| parts << size >= cut.words) {
                break;
            }
            let mut words: [usize; bucket::SIZES] = std::array::from_fn(|size| parts << size);
            self.each_part(part_bits, |part| {
                let len = part.others.len();
                let needed = if part.has_two_classes() { len } else { usize::MAX };
                for (words, room) in words.iter_mut().zip((0..).map(bucket::borders)) {
                    if needed > room {
                        *words += list_words * len;
                    }
                }
            });
            for (cut, words) in cuts.iter_mut().zip(words) {
                if words < cut.words {
                    *cut = Cut { part_bits, words };
                }
            }
        }
        cuts
    }

    /// Calls for each part of 2^`part_bits` addresses, in order.
    fn each_part(&self, part_bits: u32, mut call: impl FnMut(Part<'_>)) {
        let mask = u16::MAX >> (REGION_BITS - part_bits);
        let (mut class, mut rest) = (self.first, &*self.others);
        for number in 0..1_u16 << (REGION_BITS - part_bits) {
            let begin = number << part_bits;
            if let [(border, next), others @ ..] = rest
                && *border == begin
            {
                (class, rest) = (*next, others);
            }
            let len = rest.iter().position(|(border, _)| *border > begin | mask).unwrap_or(rest.len());
            let others;
            (others, rest) = rest.split_at(len);
            call(Part { first: class, others });
            class = others.last().map_or(class, |(_, class)| *class);
        }
    }
}

impl Part<'_> {
    /// Whether all borders are between the same two classes.
    fn has_two_classes(&self) -> bool {
        let second = self.others.first().map_or(self.first, |(_, class)| *class);
        self.others.iter().zip([second, self.first].into_iter().cycle()).all(|((_, is), class)| *is == class)
    }

    /// Its bucket of 2^`size` words; `None` where that holds too little.
    fn bucket(&self, size: u32) -> Option<Vec<u64>> {
        if self.others.len() > bucket::borders(size) || !self.has_two_classes() {
            return None;
        }
        let second = self.others.first().map_or(0, |(_, class)| *class);
        let mut lanes = vec![bucket::NO_BORDER; 4 << size];
        // Two are left out, which are the classes.
        let places = (0..2).chain(4..4 << size);
        for (place, (border, _)) in places.zip(self.others) {
            lanes[place] = in_half(*border);
        }
        let mut words = packed(&lanes).collect::<Vec<_>>();
        words[0] = words[0] & u64::from(u32::MAX) | bucket::classes(self.first, second);
        Some(words)
    }

    /// What stands in its list.
    fn entries(&self) -> impl Iterator<Item = u32> {
        let others = self.others.iter().map(|(border, class)| bucket::entry(in_half(*border), *class));
        std::iter::once(bucket::entry(0, self.first)).chain(others)
    }

    /// How many these are.
    fn entries_len(&self) -> u16 {
        u16::try_from(1 + self.others.len()).unwrap_or(u16::MAX)
    }
}

/// A border's place in its half of a region, as the packet path compares it.
fn in_half(border: u16) -> u16 {
    border & !bucket::NO_BORDER
}
