//! Within which bounds a peer may send that may not do everything.

use crate::reason::Reason;

/// What bounds a peer that may not do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The payload cannot be read.
    pub is_encrypted: bool,
    /// It is a trunk's, which may register as often as it likes; or else a stranger, which has a budget.
    pub is_trunk: bool,
    /// Somebody is registered from its address, and it may be he, by port and transport.
    pub is_registered: bool,
}

impl Bounds {
    /// A stranger whose payload can be read.
    pub const STRANGER: Self = Self { is_encrypted: false, is_trunk: false, is_registered: false };

    /// What a peer within these bounds comes to, given what [`judge`](super::judge) says.
    #[inline(always)]
    pub const fn conclude(self, judged: Reason) -> Reason {
        match (self.is_trunk, judged) {
            (true, Reason::Probation) => Reason::Trunk,
            (true, Reason::Registered) | (false, _) => judged,
            (true, _) => Reason::NotRegistered,
        }
    }

    /// As many bits as there are bounds, from the lowest one on.
    #[inline(always)]
    pub const fn to_bits(self) -> u32 {
        self.is_encrypted as u32 | (self.is_trunk as u32) << 1 | (self.is_registered as u32) << 2
    }

    /// Back from [`to_bits`](Self::to_bits); other bits do not count.
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Self { is_encrypted: bits & 1 != 0, is_trunk: bits & 2 != 0, is_registered: bits & 4 != 0 }
    }
}
