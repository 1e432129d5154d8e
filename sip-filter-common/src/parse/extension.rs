//! IPv6 extension headers (RFC 8200 section 4), one at a time.

use super::{OFFSET_MASK, Part, part, protocol};
use crate::frame::Frame;

/// What one IPv6 extension header leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next header.
    Over {
        /// Which.
        next: u8,
        /// Where.
        to: usize,
    },
    /// The next header, of a part of a datagram.
    Fragment {
        /// Which; in a later part, the one that followed in the first.
        next: u8,
        /// Where.
        to: usize,
        /// Which part; never [`Part::Hidden`].
        part: Part,
        /// Of the datagram.
        identification: u32,
    },
    /// Nowhere: the frame ends.
    Cut,
}

/// Steps over the extension header of this kind at this place.
#[inline(always)]
pub fn step<F: Frame + ?Sized>(frame: &F, kind: u8, offset: usize) -> Step {
    let Some([next, length, fragment_high, fragment_low]) = frame.read(offset) else { return Step::Cut };
    let units = length as usize;
    match kind {
        protocol::FRAGMENT => {
            let Some(identification) = frame.read(offset + 4) else { return Step::Cut };
            let offset_and_flags = u16::from_be_bytes([fragment_high, fragment_low]);
            Step::Fragment {
                next,
                to: offset + 8,
                part: part(offset_and_flags >> 3, offset_and_flags & 1 != 0),
                identification: u32::from_be_bytes(identification),
            }
        }
        protocol::AUTHENTICATION => Step::Over { next, to: offset + (units + 2) * 4 },
        _ => Step::Over { next, to: offset + (units + 1) * 8 },
    }
}

impl Step {
    const CUT: u64 = 1 << 15;
    const FRAGMENT: u64 = 1 << 24;
    const FIRST: u64 = 1 << 25;
    const LATER: u64 = 1 << 26;

    /// As one word, for a function of the kernel program.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        match self {
            Self::Over { next, to } => to as u64 & OFFSET_MASK | (next as u64) << 16,
            Self::Fragment { next, to, part, identification } => {
                let part = match part {
                    Part::First => Self::FIRST,
                    Part::Later => Self::LATER,
                    Part::Whole | Part::Hidden => 0,
                };
                let there = to as u64 & OFFSET_MASK | (next as u64) << 16;
                there | Self::FRAGMENT | part | (identification as u64) << 32
            }
            Self::Cut => Self::CUT,
        }
    }

    /// Back from [`to_bits`](Self::to_bits).
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "each field keeps its own bits of the word")]
    pub const fn from_bits(bits: u64) -> Self {
        if bits & Self::CUT != 0 {
            return Self::Cut;
        }
        let (next, to) = ((bits >> 16) as u8, (bits & OFFSET_MASK) as usize);
        if bits & Self::FRAGMENT == 0 {
            return Self::Over { next, to };
        }
        let part = if bits & Self::LATER != 0 {
            Part::Later
        } else if bits & Self::FIRST != 0 {
            Part::First
        } else {
            Part::Whole
        };
        Self::Fragment { next, to, part, identification: (bits >> 32) as u32 }
    }
}
