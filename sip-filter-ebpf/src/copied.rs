//! The bytes of packets that lie in pieces, by way of a map: the stack has no room for another set of headers.

use aya_ebpf::programs::XdpContext;
use sip_filter_common::{
    Frame,
    parse::{extension::Step, tag::Untagged},
};

use crate::{
    frame::{sip_step, sip_untag},
    sightings::{self, Place},
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
        let bytes = sightings::bytes_at(self.ctx.ctx, offset, size_of::<T>(), self.place)?;
        // SAFETY: as many bytes were copied there; callers ask for integers only.
        Some(unsafe { bytes.cast::<T>().read_unaligned() })
    }
}

impl Frame for CopiedFrame<'_> {
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
        Untagged::from_bits(sip_untag(self.ctx.ctx, kind as u32, offset as u32))
    }

    #[inline(always)]
    fn step(&self, kind: u8, offset: usize) -> Step {
        Step::from_bits(sip_step(self.ctx.ctx, kind as u32, offset as u32))
    }
}
