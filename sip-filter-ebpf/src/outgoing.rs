//! The bytes of a packet that leaves.

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};
use sip_filter_common::{
    Frame,
    parse::{
        OFFSET_MASK,
        extension::{self, Step},
        tag::{self, Untagged},
    },
};

use crate::frame::read_between;

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
            // What cannot be had in one piece is not read.
            let _: Result<(), i64> = ctx.pull_data(len);
        }
        Self::new(ctx)
    }

    #[inline(always)]
    fn get<T: Copy>(&self, offset: usize) -> Option<T> {
        read_between(self.start, self.end, offset)
    }

    #[inline(always)]
    fn piece_len(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn context(&self) -> *mut __sk_buff {
        self.ctx.skb.skb
    }
}

frame!(OutgoingFrame, sip_untag_outgoing, sip_step_outgoing);

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
