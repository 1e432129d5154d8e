//! IPv6 sources: a filter for those whom nobody knows, a hash table of sites, and a search over what is shorter or longer.
//!
//! | level | what | size |
//! | --- | --- | --- |
//! | near | two bits by hash for each block in which anybody is named, of a size that suits the policy | up to 1 MiB |
//! | | where many of these blocks are named in part: two filters instead, for prefixes up to a site's and for longer ones | up to 1.25 MiB |
//! | site | for a /48 in which networks are named: its class, or those of one block of networks and of all around it, or where its [`borders`] are | 16 bytes each |
//! | shorter | prefixes shorter than /48, among the sites | 16 bytes each |
//! | host | prefixes longer than /64, behind two bits by hash for each /64 in which there are any | 21 bytes each |
//!
//! A site (RFC 6177) is a region of 65,536 networks, each a /64: what the policy says about these costs one look, however
//! many prefix lengths it has, and one more where a site has several of them. Only where a source's network has hosts
//! is the whole address looked for, and only in no site a shorter prefix.
//!
//! These two are searched for by length: the longest first where there are no more than seven lengths. Where there are,
//! the search begins at the middle one, and goes on like this as soon as a step is left for each length that remains,
//! after Waldvogel, Varghese, Turner and Plattner, "Scalable High Speed IP Routing Lookups", SIGCOMM 1997: where a longer
//! prefix can only be found by way of a shorter length, a marker stands there, and every entry carries the class of the
//! longest prefix that holds it, so that no step has to be taken back. Another filter of two bits for each entry is asked
//! before each step.

use super::{
    Place,
    borders::{self, bucket},
};
use crate::{
    maps::{Address, FILTER6_WORDS_MAX, Filter6, LENGTHS6_MAX, LINE_WORDS, NEAR, NEAR_LINES6, Near6, Step6},
    tables::Lines,
};

/// How many steps a search has: from the middle of all lengths they lead to any of them.
pub const STEPS: usize = 7;
const _: () = assert!((1 << STEPS) >= LENGTHS6_MAX);
// As often as steps are written down below.
const _: () = assert!(STEPS == 7);

/// The length of a site's prefix.
pub const SITE_LENGTH: u8 = 48;

// A key has a length in its highest byte only there; the kernel program is built for such machines alone.
const _: () = assert!(cfg!(target_endian = "little"));

/// What stands for a site.
pub mod site {
    use crate::sources::borders::bucket;

    /// Set where the lower half is a region: see [`borders::region`](crate::sources::borders::region).
    pub const BORDERS: u64 = 1 << 63;
    /// Set in whatever stands for anybody.
    pub const FOUND: u64 = 1 << 62;
    /// Set in the first place of a line, also in an empty one: what belongs here may stand in its other line.
    pub const OVERFLOWS: u64 = 1 << 61;

    /// One class for the networks whose numbers have these bits of a mask, another one for all others.
    pub const fn one(bits: u16, mask: u16, class: u16, others: u16) -> u64 {
        FOUND | bucket::classes(class, others) | (mask as u64) << 16 | bits as u64
    }

    /// A region of borders.
    pub const fn region(region: u32) -> u64 {
        FOUND | BORDERS | region as u64
    }
}

/// How many entries a line of sites has: for each the key, and behind all of these what stands for them.
pub const SITES_IN_LINE: usize = 4;
const _: () = assert!(2 * SITES_IN_LINE == LINE_WORDS);

/// How many entries a line of hosts has: two words of address each, and all lengths and classes in the seventh.
pub const HOSTS_IN_LINE: usize = 3;
/// Bits of a host's length and class in the seventh word: 8 and 13. To the class 1 is added.
pub const META_BITS: u32 = 21;
/// The bits of an entry's length in its part of the seventh word.
const LENGTH_MASK: u64 = 0xff;
const CLASS_MASK: u64 = (1 << (META_BITS - 8)) - 1;
const _: () =
    assert!(2 * HOSTS_IN_LINE < LINE_WORDS && HOSTS_IN_LINE * META_BITS as usize <= u64::BITS as usize);
const _: () = assert!(crate::maps::CLASSES_MAX < 1 << (META_BITS - 8));

/// No entry of this prefix; those that there are give the number of a class and 1.
const NONE: u32 = 0;

/// The step with which a search for shorter prefixes than a site's begins.
const SHORTER: u32 = 0;

/// Where a network stands in the filter of entries.
#[inline(always)]
pub const fn network_place(network: &Address, salt: u64) -> Place {
    block_place(network.halves[0] ^ network.halves[1], salt)
}

/// Where a block stands in a filter of blocks, by the first half of its addresses.
#[inline(always)]
pub const fn block_place(half: u64, salt: u64) -> Place {
    Place::of(half ^ half >> 32, salt)
}

/// The key of a prefix of up to 48 bits, by the first half of its first address.
#[inline(always)]
pub const fn site_key(half: u64, length: u64) -> u64 {
    half | length.to_be()
}

/// The two lines in which what has this key may stand, of so many.
///
/// The second one is mostly not looked at.
#[inline(always)]
pub const fn site_lines(key: u64, salt: u64, lines: u32) -> [u32; 2] {
    // The upper half depends on every bit of the key.
    let hash = key.wrapping_mul(salt);
    let other = (hash ^ hash >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    [below(hash >> 32, lines), below(other >> 32, lines)]
}

/// The two lines in which a prefix longer than a network's may stand, of so many.
#[inline(always)]
pub const fn host_lines(network: &Address, salt: u64, lines: u32) -> [u32; 2] {
    let hash = network.hash(salt);
    [below(hash, lines), below(hash >> 32, lines)]
}

/// Makes a number below `limit` of the lower half of a hash.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the halves of a product")]
const fn below(hash: u64, limit: u32) -> u32 {
    ((hash as u32 as u64 * limit as u64) >> 32) as u32
}

/// The class of an IPv6 source.
#[inline(always)]
pub fn class_number<T: Lines + ?Sized>(tables: &T, source: &Address) -> u32 {
    if is_near(tables, source) { class_near(tables, source) } else { class_far(tables) }
}

/// Whether anybody may be named in the source's block, by the filters of blocks.
#[inline(always)]
pub(super) fn is_near<T: Lines + ?Sized>(tables: &T, source: &Address) -> bool {
    let index = tables.sources();
    let Some(filter) = tables.filter6() else { return false };
    let mut is_named = is_in(filter, &index.near6[0], source);
    if index.is_dense6 != 0 {
        is_named |= is_in(filter, &index.near6[1], source);
    }
    is_named != 0
}

/// The class of a source that no longer prefix holds than all addresses.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "classes are few")]
pub(super) fn class_far<T: Lines + ?Sized>(tables: &T) -> u32 {
    tables.sources().class6 as u32
}

/// The class of a source that the filters do not settle.
#[inline(always)]
pub(super) fn class_near<T: Lines + ?Sized>(tables: &T, source: &Address) -> u32 {
    let Some(filter) = tables.filter6() else { return class_far(tables) };
    known(tables, filter, source)
}

/// 1 if anybody is named in the source's block of a filter, 0 if nobody is.
#[inline(always)]
fn is_in(filter: &Filter6, near: &Near6, source: &Address) -> u64 {
    let place = block_place(source.halves[0] & near.mask, near.salt);
    let word = near.at as usize + place.word(near.words_mask);
    place.bit_in(filter.words[word % FILTER6_WORDS_MAX])
}

/// The class of an IPv6 source in a block in which somebody is named.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the fields of words are cut out of them")]
fn known<T: Lines + ?Sized>(tables: &T, filter: &Filter6, source: &Address) -> u32 {
    const MASK: u64 = (u64::MAX << (64 - SITE_LENGTH)).to_be();
    let index = tables.sources();
    let default = index.class6 as u32;
    if index.hosts6 != 0 && is_in(filter, &index.near6[2], source) != 0 {
        let host = longest(tables, source, index.hosts6_step);
        if host != NONE {
            return host - 1;
        }
    }
    let half = source.halves[0];
    let found = find_site(tables, filter, site_key(half & MASK, SITE_LENGTH as u64));
    if found & site::FOUND == 0 {
        let shorter = longest(tables, source, SHORTER);
        return if shorter == NONE { default } else { shorter - 1 };
    }
    let network = u64::from_be(half) & 0xffff;
    if found & site::BORDERS != 0 {
        return borders::class_in(tables, found as u32, network as u32).unwrap_or(default);
    }
    // Below 0 where any bit of the mask differs.
    let difference = ((network ^ found) & found >> 16 & 0xffff).wrapping_neg();
    bucket::class(found, tables.sign_mask(difference))
}

/// [`search`], or [`find`] where that is all of it.
#[inline(always)]
fn longest<T: Lines + ?Sized>(tables: &T, source: &Address, at: u32) -> u32 {
    if tables.sources().steps6[at as usize % LENGTHS6_MAX].is_alone() {
        tables.find6(source, at)
    } else {
        tables.search6(source, at)
    }
}

/// What stands for a site or a shorter prefix; without [`site::FOUND`] where nothing does.
#[inline(always)]
fn find_site<T: Lines + ?Sized>(tables: &T, filter: &Filter6, key: u64) -> u64 {
    let index = tables.sources();
    let [first, second] = site_lines(key, index.sites6_salt, index.sites6);
    let found = in_line_of_sites(tables, filter, key, first);
    if found == site::OVERFLOWS { in_line_of_sites(tables, filter, key, second) } else { found }
}

#[inline(always)]
fn in_line_of_sites<T: Lines + ?Sized>(tables: &T, filter: &Filter6, key: u64, number: u32) -> u64 {
    // Once for either place, which the verifier wants to see apart.
    let lines_at = tables.sources().lines6_at;
    if lines_at == NEAR {
        return of_key(tables, &filter.lines[number as usize % NEAR_LINES6], key);
    }
    let Some(line) = tables.line(lines_at.wrapping_add(number)) else { return 0 };
    of_key(tables, line, key)
}

#[inline(always)]
fn of_key<T: Lines + ?Sized>(tables: &T, line: &[u64; LINE_WORDS], key: u64) -> u64 {
    // All of them rather than up to the right one, which the processor would have to guess.
    let if_equal = |number: usize| {
        // Below 0 where there is none, since keys do not have the highest bit.
        let difference = line[number] ^ key;
        line[SITES_IN_LINE + number] & tables.sign_mask(difference.wrapping_sub(1))
    };
    if_equal(0) | if_equal(1) | if_equal(2) | if_equal(3) | line[SITES_IN_LINE] & site::OVERFLOWS
}

/// The class of the longest prefix that holds a source in the tree of steps that begins with step `at`, and 1; 0 where
/// none does.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "steps are few")]
pub fn search<T: Lines + ?Sized>(tables: &T, source: &Address, at: u32) -> u32 {
    let index = tables.sources();
    let mut longest = NONE;
    let Some(filter) = tables.filter6() else { return longest };
    let mut at = at as usize % LENGTHS6_MAX;
    unrolled!(7, {
        let step = &index.steps6[at];
        if step.length() == 0 {
            return longest;
        }
        let place = network_place(&cut(source, step), step.salt);
        let word = index.filter6_at as usize + place.word(index.filter6_mask);
        let mut found = NONE;
        if place.is_in(filter.words[word % FILTER6_WORDS_MAX]) {
            found = tables.find6(source, at as u32);
        }
        if found != NONE {
            longest = found;
        }
        at = step.next(found != NONE);
    });
    // No step comes after the last one.
    let _: usize = at;
    longest
}

/// The source's network of a step's length.
#[inline(always)]
fn cut(source: &Address, step: &Step6) -> Address {
    Address { halves: [source.halves[0] & step.mask[0], source.halves[1] & step.mask[1]] }
}

/// The class of the source's network at the length of a step, and 1; 0 where the tables have no such entry.
#[inline(always)]
pub fn find<T: Lines + ?Sized>(tables: &T, source: &Address, step: u32) -> u32 {
    let index = tables.sources();
    let step = &index.steps6[step as usize % LENGTHS6_MAX];
    let network = cut(source, step);
    let Some(filter) = tables.filter6() else { return NONE };
    if step.length() <= SITE_LENGTH as u64 {
        let found = find_site(tables, filter, site_key(network.halves[0], step.length()));
        return if found & site::FOUND == 0 { NONE } else { bucket::class(found, 0) + 1 };
    }
    let [first, second] = host_lines(&network, step.salt, index.hosts6);
    let found = in_line_of_hosts(tables, filter, &network, step, first);
    if found != NONE { found } else { in_line_of_hosts(tables, filter, &network, step, second) }
}

#[inline(always)]
fn in_line_of_hosts<T: Lines + ?Sized>(
    tables: &T,
    filter: &Filter6,
    network: &Address,
    step: &Step6,
    number: u32,
) -> u32 {
    let index = tables.sources();
    // Behind the lines of sites.
    let number = index.sites6.wrapping_add(number);
    if index.lines6_at == NEAR {
        return of_network(tables, &filter.lines[number as usize % NEAR_LINES6], network, step.length());
    }
    let Some(line) = tables.line(index.lines6_at.wrapping_add(number)) else { return NONE };
    of_network(tables, line, network, step.length())
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the fields of packed words are cut out of them")]
fn of_network<T: Lines + ?Sized>(
    tables: &T,
    line: &[u64; LINE_WORDS],
    network: &Address,
    length: u64,
) -> u32 {
    let [high, low] = network.halves;
    let class_by = |number: usize| {
        let meta = line[2 * HOSTS_IN_LINE] >> (number as u32 * META_BITS);
        let difference = line[2 * number] ^ high | line[2 * number + 1] ^ low | (meta ^ length) & LENGTH_MASK;
        // Of 0 alone neither it nor its negative has the highest bit set.
        let is_other = tables.sign_mask(difference | difference.wrapping_neg());
        meta >> 8 & CLASS_MASK & !is_other
    };
    (class_by(0) | class_by(1) | class_by(2)) as u32
}
