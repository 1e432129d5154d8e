//! Places for items in a hash table of two choices (Pagh and Rodler, "Cuckoo Hashing", 2004), with buckets.
//!
//! Knows items by number and where each may stand; what is written there is the caller's.

use std::collections::{HashMap, VecDeque};

/// How many places are looked at for a free one, before the table counts as full.
const LOOKED_AT_MAX: usize = 2_048;

/// Which item stands where.
#[derive(Debug)]
pub(crate) struct Cuckoo {
    width: usize,
    /// By place, bucket after bucket.
    items: Vec<Option<u32>>,
}

impl Cuckoo {
    /// An empty table of so many buckets with `width` places each.
    pub(crate) fn new(buckets: usize, width: usize) -> Self {
        Self { width, items: vec![None; buckets * width] }
    }

    /// The items of a bucket.
    pub(crate) fn bucket(&self, number: u32) -> &[Option<u32>] {
        let first = number as usize * self.width;
        &self.items[first..first + self.width]
    }

    /// Which bucket a place belongs to.
    pub(crate) fn bucket_of(&self, place: usize) -> u32 {
        u32::try_from(place / self.width).unwrap_or(u32::MAX)
    }

    /// The place of an item, if it has one.
    pub(crate) fn place_of(&self, item: u32, choices: [u32; 2]) -> Option<usize> {
        choices
            .into_iter()
            .flat_map(|bucket| self.places(bucket))
            .find(|place| self.items[*place] == Some(item))
    }

    /// Puts an item, or none, in a place.
    pub(crate) fn put(&mut self, place: usize, item: Option<u32>) {
        self.items[place] = item;
    }

    /// Gives an item a place, by moving others to their other bucket where needed.
    ///
    /// Returns what has to be written in this order, so that every item stands somewhere at any time: the last one is
    /// the new item's. `None` when there is no room; nothing is changed then.
    pub(crate) fn insert(
        &mut self,
        item: u32,
        choices: impl Fn(u32) -> [u32; 2],
    ) -> Option<Vec<(usize, u32)>> {
        let mut way = self.way_to_a_free_place(choices(item), choices)?;
        let mut moves = Vec::with_capacity(way.len());
        let mut target = way.pop()?;
        while let Some(place) = way.pop() {
            let moved = self.items[place]?;
            moves.push((target, moved));
            target = place;
        }
        moves.push((target, item));
        for (place, item) in &moves {
            self.items[*place] = Some(*item);
        }
        Some(moves)
    }

    /// Undoes the last moves of an [`insert`](Self::insert): their items stand where they stood, the new one nowhere.
    pub(crate) fn take_back(&mut self, moves: &[(usize, u32)]) {
        if let Some((free, _)) = moves.first() {
            self.items[*free] = None;
        }
        for pair in moves.windows(2) {
            self.items[pair[1].0] = Some(pair[0].1);
        }
    }

    /// Places from one of the buckets to a free one, each the other choice of the item before.
    fn way_to_a_free_place(&self, from: [u32; 2], choices: impl Fn(u32) -> [u32; 2]) -> Option<Vec<usize>> {
        let start: Vec<usize> = from.into_iter().flat_map(|bucket| self.places(bucket)).collect();
        if let Some(free) = start.iter().find(|place| self.items[**place].is_none()) {
            return Some(vec![*free]);
        }
        let mut reached_from: HashMap<usize, Option<usize>> =
            start.iter().map(|place| (*place, None)).collect();
        let mut open = VecDeque::from(start);
        while let Some(place) = open.pop_front().filter(|_| reached_from.len() < LOOKED_AT_MAX) {
            let item = self.items[place]?;
            let here = self.bucket_of(place);
            let elsewhere = choices(item).into_iter().filter(|bucket| *bucket != here);
            for next in elsewhere.flat_map(|bucket| self.places(bucket)) {
                if reached_from.contains_key(&next) {
                    continue;
                }
                reached_from.insert(next, Some(place));
                if self.items[next].is_some() {
                    open.push_back(next);
                    continue;
                }
                let mut way: Vec<usize> =
                    std::iter::successors(Some(next), |at| reached_from.get(at).copied().flatten()).collect();
                way.reverse();
                return Some(way);
            }
        }
        None
    }

    fn places(&self, bucket: u32) -> std::ops::Range<usize> {
        let first = bucket as usize * self.width;
        first..first + self.width
    }
}

#[cfg(test)]
mod tests {
    use super::Cuckoo;

    fn choices(item: u32, buckets: u32) -> [u32; 2] {
        let hash = u64::from(item).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        [hash >> 40, hash >> 16].map(|hash| u32::try_from(hash % u64::from(buckets)).unwrap())
    }

    #[test]
    fn what_is_taken_back_stands_as_before() {
        const BUCKETS: u32 = 64;
        let mut table = Cuckoo::new(BUCKETS as usize, 2);
        let mut taken_back = 0;
        let mut items = 0..;
        loop {
            let (item, before) = (items.next().unwrap(), table.items.clone());
            let Some(moves) = table.insert(item, |item| choices(item, BUCKETS)) else { break };
            if moves.len() > 1 {
                taken_back += 1;
                table.take_back(&moves);
                assert_eq!(table.items, before, "{moves:?}");
                table.insert(item, |item| choices(item, BUCKETS));
            }
        }
        assert!(taken_back > 0);
    }

    #[test]
    fn no_item_is_ever_without_a_place_while_the_table_fills() {
        const BUCKETS: u32 = 1_000;
        const WIDTH: usize = 2;
        let mut table = Cuckoo::new(BUCKETS as usize, WIDTH);
        let mut seen = vec![None; BUCKETS as usize * WIDTH];
        let mut moved = 0;
        let mut count = 0;
        while let Some(moves) = table.insert(count, |item| choices(item, BUCKETS)) {
            moved += moves.len() - 1;
            for (place, item) in moves {
                seen[place] = Some(item);
                for other in (0..count).filter(|_| count > 1_500) {
                    let there = choices(other, BUCKETS).map(|bucket| bucket as usize * WIDTH);
                    assert!(there.iter().any(|at| seen[*at..*at + WIDTH].contains(&Some(other))), "{other}");
                }
            }
            count += 1;
        }
        assert!(count > 1_600, "the table was full after {count} items of {}", seen.len());
        assert!(moved > 0);
        for item in 0..count {
            assert!(table.place_of(item, choices(item, BUCKETS)).is_some(), "{item}");
        }
        assert_eq!(table.place_of(count, choices(count, BUCKETS)), None);
    }
}
