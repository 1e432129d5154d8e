//! The bytes of a packet that leaves.

use aya_ebpf::{bindings::__sk_buff, helpers::generated, programs::TcContext};
use sip_filter_common::{
    Frame,
    parse::{
        OFFSET_MASK,
        extension::{self, Step},
        tag::{self, Untagged},
    },
};

/// A socket buffer on its way out, from its link header on, as far as it lies in one piece: headers do.
///
/// A VLAN tag that the card is to add does not show.
pub(crate) struct OutgoingFrame<'a> {
    ctx: &'a TcContext,
    start: usize,
    end: usize,
}

/// How many bytes the headers of what a SIP server sends have at most.
const HEADERS_LEN: u32 = 128;

impl<'a> OutgoingFrame<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a TcContext) -> Self {
        Self { ctx, start: ctx.data(), end: ctx.data_end() }
    }

    /// The same, with its headers in one piece whoever made it.
    #[inline(always)]
    pub(crate) fn with_headers(ctx: &'a TcContext) -> Self {
        let len = if ctx.len() < HEADERS_LEN { ctx.len() } else { HEADERS_LEN };
        if ctx.data() + len as usize > ctx.data_end() {
            // SAFETY: the context is this call's own, and nothing of it has been read yet.
            unsafe { generated::bpf_skb_pull_data(ctx.skb.skb, len) };
        }
        Self::new(ctx)
    }

    /// Reads a plain value: any bytes are valid ones.
    #[inline(always)]
    fn get<T: Copy>(&self, offset: usize) -> Option<T> {
        let start = self.start + offset;
        if start + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: the check above leaves enough bytes from `start` on; callers ask for integers only.
        Some(unsafe { (start as *const T).read_unaligned() })
    }
}

impl Frame for OutgoingFrame<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset)
    }

    #[inline(always)]
    fn read_words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        self.get(offset)
    }

    #[inline(always)]
    fn read_long_words<const N: usize>(&self, offset: usize) -> Option<[u64; N]> {
        self.get(offset)
    }

    #[inline(always)]
    fn untag(&self, kind: u16, offset: usize) -> Untagged {
        Untagged::from_bits(sip_untag_outgoing(self.ctx.skb.skb, kind as u32, offset as u32))
    }

    #[inline(always)]
    fn step(&self, kind: u8, offset: usize) -> Step {
        Step::from_bits(sip_step_outgoing(self.ctx.skb.skb, kind as u32, offset as u32))
    }
}

/// [`tag::untag`] as a global function: verified once, for any arguments.
#[unsafe(no_mangle)]
extern "C" fn sip_untag_outgoing(ctx: *mut __sk_buff, kind: u32, offset: u32) -> u64 {
    let ctx = TcContext::new(ctx);
    let offset = (offset as u64 & OFFSET_MASK) as usize;
    tag::untag(&OutgoingFrame::new(&ctx), kind as u16, offset).to_bits()
}

/// [`extension::step`] as a global function: verified once, for any arguments.
#[unsafe(no_mangle)]
extern "C" fn sip_step_outgoing(ctx: *mut __sk_buff, kind: u32, offset: u32) -> u64 {
    let ctx = TcContext::new(ctx);
    let offset = (offset as u64 & OFFSET_MASK) as usize;
    extension::step(&OutgoingFrame::new(&ctx), kind as u8, offset).to_bits()
}
