//! Bytes of a frame, read with a check each time.

use crate::parse::{
    extension::{self, Step},
    tag::{self, Untagged},
};

/// A frame that can be read at any offset.
///
/// The provided methods are stages of the parser.
/// The kernel's frame calls each as a function that the verifier checks once, whatever it was called with:
/// inlined, every way through them multiplies the ways through all that follows.
pub trait Frame {
    /// How many bytes its first piece has, which is mostly all of it.
    fn linear_len(&self) -> usize;

    /// The `N` bytes from `offset` on, if the frame has them all.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// The `N` words of four bytes from `offset` on, as they stand there, if the frame has them all.
    fn read_words<const N: usize>(&self, offset: usize) -> Option<[u32; N]>;

    /// The `N` words of eight bytes from `offset` on, as they stand there, if the frame has them all.
    fn read_long_words<const N: usize>(&self, offset: usize) -> Option<[u64; N]>;

    /// See [`tag::untag`].
    #[inline(always)]
    fn untag(&self, kind: u16, offset: usize) -> Untagged {
        tag::untag(self, kind, offset)
    }

    /// See [`extension::step`].
    #[inline(always)]
    fn step(&self, kind: u8, offset: usize) -> Step {
        extension::step(self, kind, offset)
    }
}

/// A frame as it would be without the tag that stands behind its addresses, which are not read.
pub(crate) struct BehindTag<'a, F: ?Sized>(pub(crate) &'a F);

/// How much longer a tag makes a frame.
pub(crate) const TAG_LEN: usize = 4;

impl<F: Frame + ?Sized> Frame for BehindTag<'_, F> {
    #[inline(always)]
    fn linear_len(&self) -> usize {
        self.0.linear_len().saturating_sub(TAG_LEN)
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.read(TAG_LEN + offset)
    }

    #[inline(always)]
    fn read_words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        self.0.read_words(TAG_LEN + offset)
    }

    #[inline(always)]
    fn read_long_words<const N: usize>(&self, offset: usize) -> Option<[u64; N]> {
        self.0.read_long_words(TAG_LEN + offset)
    }
}

impl Frame for [u8] {
    #[inline(always)]
    fn linear_len(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }

    #[inline(always)]
    fn read_words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        let (words, _) = self.get(offset..)?.as_chunks();
        Some(words.first_chunk::<N>()?.map(u32::from_ne_bytes))
    }

    #[inline(always)]
    fn read_long_words<const N: usize>(&self, offset: usize) -> Option<[u64; N]> {
        let (words, _) = self.get(offset..)?.as_chunks();
        Some(words.first_chunk::<N>()?.map(u64::from_ne_bytes))
    }
}
