//! VLAN tags (IEEE 802.1Q and 802.1ad) between the link header and the network header.

use super::{OFFSET_MASK, ethertype};
use crate::frame::Frame;

/// The VLAN's bits of a tag (TCI, IEEE 802.1Q).
pub(super) const VID_MASK: u16 = 0x0fff;

/// Where the network header is, and what comes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The EtherType.
    pub(super) kind: u16,
    /// Where the header begins.
    pub(super) offset: usize,
    /// The innermost VLAN ID; 0 for none.
    pub(super) vlan: u16,
}

/// What stands behind a stack of VLAN tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untagged {
    /// This, which is one more tag if the stack is deeper than anybody sends.
    To(Network),
    /// Nothing: the frame ends.
    Cut,
}

/// Steps over VLAN tags. Four are looked at, those without a VLAN (VID 0, a priority tag) included: the kernel
/// takes off any number.
#[inline(always)]
pub fn untag<F: Frame + ?Sized>(frame: &F, mut kind: u16, mut offset: usize) -> Untagged {
    let mut vlan = 0;
    unrolled!(4, {
        if is_tag(kind) {
            let Some([tci_high, tci_low, kind_high, kind_low]) = frame.read(offset) else {
                return Untagged::Cut;
            };
            let vid = u16::from_be_bytes([tci_high, tci_low]) & VID_MASK;
            if vid != 0 {
                vlan = vid;
            }
            kind = u16::from_be_bytes([kind_high, kind_low]);
            offset += 4;
        }
    });
    Untagged::To(Network { kind, offset, vlan })
}

impl Untagged {
    const CUT: u64 = 1 << 48;

    /// As one word, for a function of the kernel program.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        match self {
            Self::To(Network { kind, offset, vlan }) => {
                kind as u64 | (offset as u64 & OFFSET_MASK) << 16 | (vlan as u64) << 32
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
        let offset = (bits >> 16 & OFFSET_MASK) as usize;
        Self::To(Network { kind: bits as u16, offset, vlan: (bits >> 32) as u16 & VID_MASK })
    }
}

#[inline(always)]
pub(super) const fn is_tag(kind: u16) -> bool {
    kind == ethertype::VLAN || kind == ethertype::SERVICE_VLAN
}
