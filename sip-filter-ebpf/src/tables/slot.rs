//! The tables of one policy.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps},
    macros::btf_map,
};
use sip_filter_common::{
    Address, Lines, PolicyIndex,
    maps::{Blocks4, CHUNK_LINES, CHUNKS_MAX, Filter6, LINE_WORDS, POLICY_SLOTS, Regions4, SourceIndex},
};

use super::{
    in_place::InPlace,
    search::{self, sip_find6, sip_listed, sip_search6},
};

pub(super) const SLOTS: usize = POLICY_SLOTS as usize;

/// Lines of table memory, as words: on Linux 6.1 an inner map whose type information names more than numbers
/// takes no place of one without type information, which is what the controller can create.
type ChunkWords = [u64; CHUNK_LINES * LINE_WORDS];
type Chunk = [[u64; LINE_WORDS]; CHUNK_LINES];

const _: () = assert!(size_of::<ChunkWords>() == size_of::<Chunk>());

#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.POLICIES")]
static POLICIES: InPlace<[PolicyIndex; SLOTS]> = InPlace::new();
#[btf_map]
static BLOCKS4: Array<Blocks4, SLOTS> = Array::new();
#[btf_map]
static FILTERS6: Array<Filter6, SLOTS> = Array::new();
#[btf_map]
static TABLES: ArrayOfMaps<Array<ChunkWords, 1>, { SLOTS * CHUNKS_MAX as usize }> = ArrayOfMaps::new();

/// What the policy in a slot says about sources.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// As wide as it is read, so that nothing is shifted.
    pub(super) word: u64,
    pub(super) index: &'static PolicyIndex,
}

impl Slot {
    #[inline(always)]
    pub(super) fn new(word: u64) -> Self {
        Self { word, index: &POLICIES.get()[word as usize % SLOTS] }
    }

    #[inline(always)]
    pub(super) fn number(&self) -> u32 {
        self.word as u32
    }
}

impl Lines for Slot {
    #[inline(always)]
    fn sources(&self) -> &SourceIndex {
        &self.index.sources
    }

    #[inline(always)]
    fn filter6(&self) -> Option<&Filter6> {
        FILTERS6.get(self.number())
    }

    #[inline(always)]
    fn line(&self, at: u32) -> Option<&[u64; LINE_WORDS]> {
        let chunk = self.number() * CHUNKS_MAX + at / CHUNK_LINES as u32 % CHUNKS_MAX;
        let words: *const ChunkWords = TABLES.get_value(chunk, &0)?;
        // SAFETY: same size, as asserted above, and the alignment of a word.
        let lines: &Chunk = unsafe { &*words.cast() };
        Some(&lines[at as usize % CHUNK_LINES])
    }

    #[inline(always)]
    fn regions4(&self) -> &Regions4 {
        &self.index.regions4
    }

    #[inline(always)]
    fn blocks4(&self) -> Option<&Blocks4> {
        BLOCKS4.get(self.number())
    }

    #[cfg(target_arch = "bpf")]
    #[inline(always)]
    fn sign_mask(&self, word: u64) -> u64 {
        search::sign_mask(word)
    }

    #[inline(always)]
    fn listed(&self, first: u32, count: u32, place: u32) -> u32 {
        sip_listed(first, count, place, self.number())
    }

    #[inline(always)]
    fn search6(&self, source: &Address, at: u32) -> u32 {
        let [high, low] = source.halves;
        sip_search6(high, low, self.number(), at)
    }

    #[inline(always)]
    fn find6(&self, source: &Address, step: u32) -> u32 {
        let [high, low] = source.halves;
        sip_find6(high, low, self.number(), step)
    }
}
