//! Who a source is: from an address to the number of its class, in time that does not grow with the policy.
//!
//! Reads tables that `sip-filter/src/policy/tables` compiles; takes no decision about a packet.
//!
//! A stranger is settled by one bit in IPv4, and by as many words as the policy has different prefix lengths, binary
//! logarithm of it, in IPv6. Whoever the policy names costs a few lines more. Every look-up is a load from an array:
//! a helper call costs more than all of this together, since its return is mispredicted on purpose on many CPUs.

pub mod ipv4;
pub mod ipv6;

use crate::{
    maps::{CLASSES_MAX, Class},
    parse::Packet,
    tables::Tables,
};

/// The number of the class that no list names.
pub const NOBODY: u32 = 0;

/// What the policy in force says about the source of a packet; `None` where no list names it.
#[inline(always)]
pub fn class_of<T: Tables + ?Sized>(packet: &Packet, tables: &T) -> Option<Class> {
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
