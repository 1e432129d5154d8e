//! Pointers that the compiler is to forget, so that it reads again rather than keeps. BPF has few registers: what it takes
//! to ask more about known peers would be written to the stack for every packet.
//!
//! Registers are given. Named in a text that is no instruction they would have a line of their own in what the kernel is
//! told of lines, and it takes no two for one instruction.

use aya_ebpf::bindings::xdp_md;
use sip_filter_common::PolicyIndex;

/// The same context.
#[inline(always)]
#[cfg_attr(
    not(target_arch = "bpf"),
    expect(unused_mut, reason = "only the kernel program has a secret from the compiler")
)]
pub(crate) fn context(mut ctx: *mut xdp_md) -> *mut xdp_md {
    #[cfg(target_arch = "bpf")]
    // SAFETY: no instruction at all.
    unsafe {
        core::arch::asm!("", inlateout("r1") ctx, options(readonly, nostack, preserves_flags));
    }
    ctx
}

/// The same context, and the same policy by its word and index.
#[inline(always)]
#[cfg_attr(
    not(target_arch = "bpf"),
    expect(unused_mut, reason = "only the kernel program has a secret from the compiler")
)]
pub(super) fn policy(
    mut ctx: *mut xdp_md,
    mut word: u64,
    index: &'static PolicyIndex,
) -> (*mut xdp_md, u64, &'static PolicyIndex) {
    let mut index: *const PolicyIndex = index;
    #[cfg(target_arch = "bpf")]
    // SAFETY: no instruction at all.
    unsafe {
        core::arch::asm!(
            "",
            inlateout("r1") ctx,
            inlateout("r2") word,
            inlateout("r3") index,
            options(readonly, nostack, preserves_flags)
        );
    }
    // SAFETY: what it was made of.
    (ctx, word, unsafe { &*index })
}
