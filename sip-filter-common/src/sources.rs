//! Who a source is: from an address to the number of its class, in time that does not grow with the policy.
//!
//! Reads tables that `sip-filter/src/policy/tables` compiles; takes no decision about a packet.
//!
//! Most strangers are settled by one word of a filter: nobody is named anywhere near. The others cost one more bit in
//! IPv4, and in IPv6 one more word for each step of a binary search among the prefix lengths that occur. Whoever the
//! policy names costs a few lines more. Every look-up is a load from an array: a helper call's
//! return is mispredicted on purpose on many CPUs.

pub mod ipv4;
pub mod ipv6;

use crate::{
    maps::{CLASSES_MAX, Class},
    parse::Packet,
    tables::Tables,
};

/// The number of the class that no list names.
pub const NOBODY: u32 = 0;

/// Where a key stands in a filter: the word's number, which the caller bounds, and the two bits in it.
///
/// Cheaper than a hash that is any good: where keys meet, somebody is looked for in vain. Under a salt of 0 all do.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a few bits of the product are wanted")]
pub const fn filter_place(key: u64, salt: u64, shift: u32) -> (usize, u64) {
    let product = key.wrapping_mul(salt);
    ((product >> (shift & 63)) as usize, 1 << (product >> 40 & 63) | 1 << (product >> 34 & 63))
}

/// What the policy in force says about the source of a packet; `None` where no list names it.
#[inline(always)]
pub fn class_of<T: Tables>(packet: &Packet, tables: &T) -> Option<Class> {
    if let Some(class) = tables.changed(&packet.source) {
        return Some(class);
    }
    let number = match packet.source.ipv4() {
        Some(source) if !packet.is_ipv6 => ipv4::class_number(tables, source),
        _ => ipv6::class_number(tables, &packet.source),
    };
    // The verifier wants to see the number bounded; the compiler of tables has.
    (number != NOBODY).then(|| tables.index().classes[number as usize % CLASSES_MAX])
}
