//! Values whose addresses the kernel writes into the program when it is loaded, so that nothing is looked up.
//!
//! What stands in a section of data is the one value of an array, which the controller finds by the section's name.

use core::{cell::UnsafeCell, mem::MaybeUninit};

/// A value in a section of its own that begins with `.bss`; all zeros until somebody writes it.
#[repr(transparent)]
pub(crate) struct InPlace<T>(UnsafeCell<MaybeUninit<T>>);

// SAFETY: it is read and written word by word.
unsafe impl<T: Sync> Sync for InPlace<T> {}

impl<T> InPlace<T> {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(MaybeUninit::zeroed()))
    }

    /// The value, as far as the controller has written it.
    #[inline(always)]
    #[cfg_attr(
        not(target_arch = "bpf"),
        expect(unused_mut, reason = "only the kernel program has a secret from the compiler")
    )]
    pub(crate) fn get(&'static self) -> &'static T {
        let mut value = self.0.get().cast_const().cast::<T>();
        // The compiler would take what nobody in this program writes for zeros.
        #[cfg(target_arch = "bpf")]
        // SAFETY: no instruction at all.
        unsafe {
            core::arch::asm!("/* {value} */", value = inlateout(reg) value, options(pure, readonly, nostack, preserves_flags));
        }
        // SAFETY: the address of a static; T is made of integers, of which all zeros and whatever the controller
        // writes are values.
        unsafe { &*value }
    }
}

impl InPlace<u64> {
    /// Writes it, for all CPUs.
    #[inline(always)]
    pub(crate) fn set(&'static self, value: u64) {
        // SAFETY: the address of a static; one store of a word.
        unsafe { self.0.get().cast::<u64>().write_volatile(value) };
    }
}
