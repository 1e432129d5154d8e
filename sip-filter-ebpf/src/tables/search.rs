//! Searching among prefixes, in functions of their own, which the verifier checks once, for any arguments.
//!
//! The slot is the caller's: its tables stay as they are until every packet that may look at them is done with.

use sip_filter_common::{
    Address,
    sources::{borders, ipv6},
};

use super::slot::Slot;

/// [`Lines::sign_mask`](sip_filter_common::Lines::sign_mask) in one instruction, through which the compiler does not see.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub(super) fn sign_mask(mut word: u64) -> u64 {
    // SAFETY: an instruction that shifts a register.
    unsafe {
        core::arch::asm!("{word} s>>= 63", word = inlateout(reg) word, options(pure, nomem, nostack, preserves_flags));
    }
    word
}

/// [`Tables::lower_16`](sip_filter_common::Tables::lower_16) in one instruction, of which the compiler knows nothing.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub(super) fn lower_16(mut number: usize) -> usize {
    // SAFETY: an instruction that clears bits of a register.
    unsafe {
        core::arch::asm!("{number} &= 0xffff", number = inlateout(reg) number, options(pure, nomem, nostack, preserves_flags));
    }
    number
}

/// [`borders::listed`] as a global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn sip_listed(first: u32, count: u32, place: u32, slot: u32) -> u32 {
    borders::listed(&Slot::new(slot as u64), first, count, place)
}

/// [`ipv6::find`] as a global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn sip_find6(high: u64, low: u64, slot: u32, step: u32) -> u32 {
    ipv6::find(&Slot::new(slot as u64), &Address { halves: [high, low] }, step)
}

/// [`ipv6::search`] as a global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn sip_search6(high: u64, low: u64, slot: u32, at: u32) -> u32 {
    ipv6::search(&Slot::new(slot as u64), &Address { halves: [high, low] }, at)
}
