//! The bytes of packets that come in.

use core::mem::MaybeUninit;

use aya_ebpf::{EbpfContext as _, Global, bindings::xdp_md, helpers::generated, programs::XdpContext};
use sip_filter_common::{
    Frame,
    parse::{
        OFFSET_MASK,
        extension::{self, Step},
        tag::{self, Untagged},
    },
};

/// 1 where XDP frames may be spread over several buffers (Linux 5.18, or an older kernel with that taken over).
///
/// The controller writes it before it loads the program, under this name (`datapath/features.rs`): a constant to the
/// verifier, which removes the branch that the kernel could not run, calls to absent helpers included.
#[unsafe(no_mangle)]
pub(crate) static MULTI_BUFFER: Global<u8> = Global::new(1);

/// The frame behind an XDP context, as far as it lies in one piece.
///
/// Almost every frame does; one that does not is read again as a [`ScatteredFrame`].
/// A frame that is never asked for scattered bytes leaves the compiler all registers.
pub(crate) struct LinearFrame<'a> {
    ctx: &'a XdpContext,
    start: usize,
    end: usize,
}

/// The frame behind an XDP context, fragments of memory included.
pub(crate) struct ScatteredFrame<'a>(LinearFrame<'a>);

impl<'a> LinearFrame<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx, start: ctx.data(), end: ctx.data_end() }
    }

    /// Whether more of the frame lies elsewhere.
    #[inline(always)]
    pub(crate) fn is_scattered(&self) -> bool {
        self.total_len_bytes() != (self.end - self.start) as u64
    }

    /// The length of the whole frame, fragments of memory included.
    #[inline(always)]
    pub(crate) fn total_len_bytes(&self) -> u64 {
        if MULTI_BUFFER.load() == 0 {
            return (self.end - self.start) as u64;
        }
        // SAFETY: the context is the one this program was called with.
        unsafe { generated::bpf_xdp_get_buff_len(self.ctx.as_ptr().cast()) }
    }

    /// Reads a plain value: any bytes are valid ones.
    #[inline(always)]
    fn get<T: Copy>(&self, offset: usize) -> Option<T> {
        read_between(self.start, self.end, offset)
    }
}

/// Reads a plain value of a packet whose bytes lie from `start` to `end`, as a program's context says.
#[inline(always)]
pub(crate) fn read_between<T: Copy>(start: usize, end: usize, offset: usize) -> Option<T> {
    let start = start + offset;
    if start + size_of::<T>() > end {
        return None;
    }
    // SAFETY: the check above leaves enough bytes from `start` on inside the packet; callers ask for integers only.
    Some(unsafe { (start as *const T).read_unaligned() })
}

impl<'a> ScatteredFrame<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext) -> Self {
        Self(LinearFrame::new(ctx))
    }

    /// The same from wherever it lies.
    #[inline(always)]
    fn get<T: Copy>(&self, offset: usize) -> Option<T> {
        if let Some(value) = self.0.get(offset) {
            return Some(value);
        }
        // Without several buffers that piece is all of the frame.
        if MULTI_BUFFER.load() == 0 {
            return None;
        }
        let mut value = MaybeUninit::<T>::uninit();
        let (context, target) = (self.0.ctx.as_ptr().cast(), value.as_mut_ptr().cast());
        // SAFETY: the context is this call's own, and the target has room for as many bytes as are asked for.
        let status =
            unsafe { generated::bpf_xdp_load_bytes(context, offset as u32, target, size_of::<T>() as u32) };
        if status != 0 {
            return None;
        }
        // SAFETY: the helper fills all bytes when it returns 0; callers ask for integers only.
        Some(unsafe { value.assume_init() })
    }
}

/// Makes a [`Frame`] of a type that has `get`, `piece_len` and `context`, given the functions that step over tags and headers.
macro_rules! frame {
    ($frame:ident, $untag:path, $step:path) => {
        impl Frame for $frame<'_> {
            #[inline(always)]
            fn linear_len(&self) -> usize {
                self.piece_len()
            }

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
                Untagged::from_bits($untag(self.context(), kind as u32, offset as u32))
            }

            #[inline(always)]
            fn step(&self, kind: u8, offset: usize) -> Step {
                Step::from_bits($step(self.context(), kind as u32, offset as u32))
            }
        }
    };
}

frame!(LinearFrame, sip_untag, sip_step);
frame!(ScatteredFrame, sip_untag, sip_step);

impl LinearFrame<'_> {
    #[inline(always)]
    fn piece_len(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn context(&self) -> *mut xdp_md {
        self.ctx.ctx
    }
}

impl ScatteredFrame<'_> {
    #[inline(always)]
    fn piece_len(&self) -> usize {
        self.0.piece_len()
    }

    #[inline(always)]
    fn context(&self) -> *mut xdp_md {
        self.0.ctx.ctx
    }
}

/// [`tag::untag`] as a global function: verified once, for any arguments.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn sip_untag(ctx: *mut xdp_md, kind: u32, offset: u32) -> u64 {
    let ctx = XdpContext::new(ctx);
    let offset = (offset as u64 & OFFSET_MASK) as usize;
    tag::untag(&ScatteredFrame::new(&ctx), kind as u16, offset).to_bits()
}

/// [`extension::step`] as a global function: verified once, for any arguments.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn sip_step(ctx: *mut xdp_md, kind: u32, offset: u32) -> u64 {
    let ctx = XdpContext::new(ctx);
    let offset = (offset as u64 & OFFSET_MASK) as usize;
    extension::step(&ScatteredFrame::new(&ctx), kind as u8, offset).to_bits()
}
