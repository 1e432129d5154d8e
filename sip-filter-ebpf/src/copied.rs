//! The bytes of packets that lie in pieces, by way of a map: the stack has no room for another set of headers.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use sip_filter_common::{
    Frame,
    parse::{extension::Step, tag::Untagged},
};

use crate::{
    frame::{sip_step, sip_untag},
    tables::sightings::{self, Place},
};

/// The frame behind an XDP context, whatever its pieces.
pub(crate) struct CopiedFrame<'a> {
    ctx: &'a XdpContext,
    place: Place,
}

impl<'a> CopiedFrame<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext, place: Place) -> Self {
        Self { ctx, place }
    }

    #[inline(always)]
    fn get<T: Copy>(&self, offset: usize) -> Option<T> {
        sightings::value_at(self.context(), offset, self.place)
    }

    #[inline(always)]
    fn piece_len(&self) -> usize {
        self.ctx.data_end() - self.ctx.data()
    }

    #[inline(always)]
    fn context(&self) -> *mut xdp_md {
        self.ctx.ctx
    }
}

frame!(CopiedFrame, sip_untag, sip_step);
