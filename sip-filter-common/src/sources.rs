//! Who a source is: from an address to the number of its class, in time that does not grow with the policy.
//!
//! Reads tables that `sip-filter/src/policy/tables` compiles; takes no decision about a packet.
//!
//! Most strangers are settled by a word or two of a filter: nobody is named anywhere near. The others cost what a peer
//! does: in IPv4 two looks, in IPv6 another word of a filter and one look for most sites, two for those with borders.
//! Every look-up is a load from an array: a helper call's return is mispredicted on purpose on many CPUs.

pub mod borders;
pub mod ipv4;
pub mod ipv6;

use crate::{
    maps::{Address, CLASSES_MAX, Class, ClassEntry},
    parse::Packet,
    tables::Tables,
};

/// The number of the class that no list names.
pub const NOBODY: u32 = 0;
/// The number of the class of those whom the always-deny list names and `admin` does not, whatever other lists say.
pub const DENIED: u32 = 1;

/// Where a key stands in a blocked Bloom filter: two bits for each key, in one word.
#[derive(Clone, Copy, Debug)]
pub struct Place(u64);

impl Place {
    /// Cheaper than a hash that is any good; keys that meet are false positives. Under a salt of 0 all meet.
    ///
    /// Of the key, the lower bits count for more.
    #[inline(always)]
    pub const fn of(key: u64, salt: u64) -> Self {
        Self(key.wrapping_mul(salt))
    }

    /// The number of the word, which the caller bounds.
    #[inline(always)]
    pub const fn word(self, mask: u32) -> usize {
        (self.0 >> 32) as usize & mask as usize
    }

    /// Whether both bits are set in that word.
    #[inline(always)]
    pub const fn is_in(self, word: u64) -> bool {
        self.bit_in(word) != 0
    }

    /// The same as a number, 1 or 0.
    #[inline(always)]
    pub const fn bit_in(self, word: u64) -> u64 {
        word >> (self.0 >> 58) & word >> (self.0 >> 52 & 63) & 1
    }

    /// The bits.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        1 << (self.0 >> 58) | 1 << (self.0 >> 52 & 63)
    }
}

/// What the policy in force, with its live changes, says about the source of a packet.
#[inline(always)]
pub fn class_of<T: Tables>(packet: &Packet, tables: &T) -> Class {
    if tables.has_changes()
        && let Some(class) = tables.changed(&packet.source)
    {
        return class;
    }
    entry_of(class_number(packet, tables), tables).class
}

/// What the number of a class stands for.
#[inline(always)]
pub fn entry_of<T: Tables>(number: u32, tables: &T) -> &ClassEntry {
    // The verifier wants to see the number bounded; the compiler of tables has.
    &tables.index().classes[number as usize % CLASSES_MAX]
}

/// The number of the class that the policy in force, without live changes, gives to the source of a packet.
#[inline(always)]
pub fn class_number<T: Tables>(packet: &Packet, tables: &T) -> u32 {
    match packet.source.ipv4_bytes() {
        Some(source) if !packet.is_ipv6 => ipv4::class_number(tables, source.into()),
        _ => ipv6::class_number(tables, &packet.source),
    }
}

/// Whether anybody may be named near the source of a packet; where nobody is, [`class_far`] is its class.
#[inline(always)]
pub fn is_near<T: Tables>(source: &Address, is_ipv6: bool, tables: &T) -> bool {
    match source.ipv4_bytes() {
        Some(source) if !is_ipv6 => ipv4::is_near(tables, source.into()),
        _ => ipv6::is_near(tables, source),
    }
}

/// The number of the class of a source near which nobody is named.
#[inline(always)]
pub fn class_far<T: Tables>(is_ipv6: bool, tables: &T) -> u32 {
    if is_ipv6 { ipv6::class_far(tables) } else { NOBODY }
}

/// The number of the class of a source near which somebody may be named.
#[inline(always)]
pub fn class_near<T: Tables>(source: &Address, is_ipv6: bool, tables: &T) -> u32 {
    match source.ipv4_bytes() {
        Some(source) if !is_ipv6 => ipv4::class_near(tables, source.into()),
        _ => ipv6::class_near(tables, source),
    }
}
