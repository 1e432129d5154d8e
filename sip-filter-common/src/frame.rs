//! Bytes of a frame, read with a check each time.

/// A frame that can be read at any offset.
pub trait Frame {
    /// The `N` bytes from `offset` on, if the frame has them all.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

impl Frame for [u8] {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}
