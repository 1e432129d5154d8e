//! What finds the class of a source: see [`crate::sources`].

use super::LINE_WORDS;

/// How many groups of 64 blocks of 256 addresses IPv4 has.
pub const GROUPS4: usize = 1 << 18;
/// How many different prefix lengths, 0 aside, the IPv6 sources of a policy may have: all there are.
pub const LENGTHS6_MAX: usize = 128;
/// How many words the filter of IPv4 blocks has at most.
pub const FILTER4_WORDS_MAX: usize = 1 << 15;
/// How many regions of 65,536 addresses IPv4 has.
pub const REGIONS4: usize = 1 << 16;
/// How many lines of buckets of regions stand beside the regions; where they are more, in table memory.
pub const NEAR_BUCKET_LINES: usize = 3 << 12;
/// Instead of a line of table memory: what is looked for stands elsewhere.
pub const NEAR: u32 = u32::MAX;
/// How many words all filters of IPv6 have at most.
pub const FILTER6_WORDS_MAX: usize = 1 << 18;
/// How many lines of IPv6 sites and hosts stand beside the filters; where they are more, in table memory.
pub const NEAR_LINES6: usize = 1 << 11;

shared! {
    /// One step of the search for the length of an IPv6 prefix; see [`crate::sources::ipv6`].
    pub struct Step6: 32 {
        /// The bits of an [`Address`](super::Address) that a prefix of this length fixes.
        pub mask: [u64; 2],
        /// Makes hashes of different lengths, and of different policies, unlike each other; odd.
        pub salt: u64,
        /// The prefix length, 0 where the search ends; and which step comes next: see [`Step6::link`].
        pub link: u64,
    }

    /// A filter of IPv6 blocks; see [`crate::sources::ipv6`].
    pub struct Near6: 24 {
        /// The bits of an address's first half by which it knows them.
        pub mask: u64,
        /// The salt for it.
        pub salt: u64,
        /// Its first word.
        pub at: u32,
        /// The bits of a hash that are the number of a word of it.
        pub words_mask: u32,
    }

    /// Where the tables of a policy's sources stand, and how they are asked.
    pub struct SourceIndex: 4_264 {
        /// IPv4: 1 where the filter says too little of blocks, so that their presence bits are asked; else 0.
        pub asks_blocks4: u32,
        /// IPv4: where the whole blocks of group 0 would stand, where there is a filter of hosts.
        pub whole4_at: u32,
        /// IPv4: where the filter of hosts begins.
        pub hosts4_at: u32,
        /// IPv4: the bits of a hash that are the number of a word of the filter of hosts; 0 where there is none.
        pub hosts4_mask: u32,
        /// Where the buckets of regions begin in table memory; [`NEAR`] where they stand beside the regions.
        pub buckets_at: u32,
        /// Where their lists begin.
        pub lists_at: u32,
        /// IPv4: the bits of a hash that are the number of a word of the filter.
        pub filter4_mask: u32,
        /// IPv6: where the filter of entries begins.
        pub filter6_at: u32,
        /// IPv6: the bits of a hash that are the number of a word of it.
        pub filter6_mask: u32,
        /// IPv6: where the lines of sites begin in table memory; [`NEAR`] where they stand beside the filters.
        pub lines6_at: u32,
        /// IPv6: how many lines of sites there are.
        pub sites6: u32,
        /// IPv6: how many lines of hosts there are, behind them; 0 where there are no hosts.
        pub hosts6: u32,
        /// IPv6: the step with which a search for hosts begins; one for shorter prefixes than sites begins with the first.
        pub hosts6_step: u32,
        /// IPv6: 1 where there are two filters of blocks, since one says too little; else 0.
        pub is_dense6: u32,
        /// IPv4: 1 where a guess whether a stranger's block is named would often be wrong, and hosts have a filter; else 0.
        pub is_dense4: u32,
        /// IPv4: the bits of an address, as it stands in a header, by which the filter knows in which blocks anybody is named.
        pub near4_mask: u32,
        /// IPv4: the salt for it; 0 where the filter knows nothing.
        pub near4_salt: u64,
        /// IPv4: the salt for the filter of hosts.
        pub hosts4_salt: u64,
        /// IPv6: the class of a source that no longer prefix holds.
        pub class6: u64,
        /// IPv6: the salt for sites.
        pub sites6_salt: u64,
        /// IPv6: in which blocks anybody is named, or anybody by a prefix up to a site's; in which by a longer one, where
        /// these are apart; and in which networks there are hosts.
        pub near6: [Near6; 3],
        /// IPv6: the search trees over lengths, each from its root on.
        pub steps6: [Step6; LENGTHS6_MAX],
    }

    /// Who is named in which region of IPv4, and the buckets of all regions, those of IPv6 too.
    pub struct Regions4: 1_048_576 {
        /// The buckets, where there are not more of them. First: the verifier's bounds are not exact.
        pub buckets: [[u64; LINE_WORDS]; NEAR_BUCKET_LINES],
        /// For each region, its class or its buckets; see [`crate::sources::borders::region`].
        pub regions: [u32; REGIONS4],
    }

    /// In which blocks of IPv4 addresses anybody is named.
    ///
    /// Apart from the index: Linux 5.10 takes no value of an array that is larger than 4 MiB.
    pub struct Blocks4: 2_097_152 {
        /// For each group, the blocks in which anybody is named.
        pub present: [u64; GROUPS4],
    }

    /// Presence bits by hash, of IPv6 blocks and of entries; and the lines of sites and hosts where these are few.
    pub struct Filter6: 2_228_224 {
        /// The lines, where there are not more of them. First, so that they are read at offsets that an instruction can name.
        pub lines: [[u64; LINE_WORDS]; NEAR_LINES6],
        /// The bits; as many words as [`SourceIndex`] says.
        pub words: [u64; FILTER6_WORDS_MAX],
    }
}

// As far as the verifier of Linux 6.1 believes that buckets are read.
const _: () = assert!(NEAR_BUCKET_LINES.next_power_of_two() * LINE_WORDS * 8 <= size_of::<Regions4>());
