//! Packet bytes: the only place that reads them.

use core::mem::MaybeUninit;

use aya_ebpf::{EbpfContext as _, bindings::xdp_md, helpers::generated, programs::XdpContext};
use sip_filter_common::{
    Frame,
    parse::{
        OFFSET_MASK,
        extension::{self, Step},
        tag::{self, Untagged},
    },
};

use crate::features;

/// The frame behind an XDP context, linear or in fragments of memory.
pub(crate) struct KernelFrame<'a> {
    ctx: &'a XdpContext,
}

impl<'a> KernelFrame<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx }
    }

    /// The length of the whole frame, memory fragments included.
    #[inline(always)]
    pub(crate) fn len_bytes(&self) -> u64 {
        if !features::has_multi_buffer() {
            return (self.ctx.data_end() - self.ctx.data()) as u64;
        }
        // SAFETY: the context is the one this program was called with.
        unsafe { generated::bpf_xdp_get_buff_len(self.ctx.as_ptr().cast()) }
    }

    /// Reads from behind the linear part; drivers that split headers off may keep little there.
    #[inline(always)]
    fn read_far<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // Without several buffers the linear part is all of the frame.
        if !features::has_multi_buffer() {
            return None;
        }
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        let (context, target) = (self.ctx.as_ptr().cast(), bytes.as_mut_ptr().cast());
        // SAFETY: the context is this call's own, and the target has room for the N bytes asked for.
        let status = unsafe { generated::bpf_xdp_load_bytes(context, offset as u32, target, N as u32) };
        if status != 0 {
            return None;
        }
        // SAFETY: the helper fills all N bytes when it returns 0.
        Some(unsafe { bytes.assume_init() })
    }
}

impl Frame for KernelFrame<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let start = self.ctx.data() + offset;
        if start + N > self.ctx.data_end() {
            return self.read_far(offset);
        }
        // SAFETY: the check above leaves N bytes from `start` on inside the packet; any bytes are a valid array.
        Some(unsafe { *(start as *const [u8; N]) })
    }

    #[inline(always)]
    fn untag(&self, kind: u16, offset: usize) -> Untagged {
        Untagged::from_bits(sip_untag(self.ctx.ctx, kind as u32, offset as u32))
    }

    #[inline(always)]
    fn step(&self, kind: u8, offset: usize) -> Step {
        Step::from_bits(sip_step(self.ctx.ctx, kind as u32, offset as u32))
    }
}

/// [`tag::untag`] as a global function: verified once, for any arguments.
#[unsafe(no_mangle)]
extern "C" fn sip_untag(ctx: *mut xdp_md, kind: u32, offset: u32) -> u64 {
    let ctx = XdpContext::new(ctx);
    tag::untag(&KernelFrame::new(&ctx), kind as u16, (offset as u64 & OFFSET_MASK) as usize).to_bits()
}

/// [`extension::step`] as a global function: verified once, for any arguments.
#[unsafe(no_mangle)]
extern "C" fn sip_step(ctx: *mut xdp_md, kind: u32, offset: u32) -> u64 {
    let ctx = XdpContext::new(ctx);
    extension::step(&KernelFrame::new(&ctx), kind as u8, (offset as u64 & OFFSET_MASK) as usize).to_bits()
}
