//! What the numbers of a policy mean.

use super::{Class, ClassEntry, LENGTHS6_MAX, PORTS, Step6};
use crate::{
    parse::protocol,
    reason::{Reason, Verdict},
};

impl Step6 {
    /// The step that ends a search: the last one, which has no length.
    #[expect(clippy::cast_possible_truncation, reason = "lengths are few")]
    pub const END: u8 = (LENGTHS6_MAX - 1) as u8;

    /// The length, and the steps to go on with where nothing of that length is found, and where something is.
    ///
    /// The verifier forgets the number of a step that it reads from memory, and so takes all of them for one.
    pub const fn link(length: u8, shorter: u8, longer: u8) -> u64 {
        length as u64 | (shorter as u64) << 8 | (longer as u64) << 16
    }

    /// The prefix length; 0 where the search ends.
    #[inline(always)]
    pub const fn length(&self) -> u64 {
        self.link & 0xff
    }

    /// Whether the search ends behind it.
    #[inline(always)]
    pub const fn is_alone(&self) -> bool {
        self.link >> 8 == (Self::END as u64) << 8 | Self::END as u64
    }

    /// The step to go on with.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a few bits of the word are wanted")]
    pub const fn next(&self, is_found: bool) -> usize {
        (if is_found { self.link >> 16 } else { self.link >> 8 }) as usize % LENGTHS6_MAX
    }
}

impl Class {
    /// Never dropped.
    pub const ADMIN: u64 = 1;
    /// On the always-deny list.
    pub const DENIED: u64 = 2;
    /// The class of a source that no list names.
    pub const NOBODY: Self = Self { flags: 0, deny: 0, allow: 0, registering: 0 };
    /// The class of a source that the always-deny list names and `admin` does not.
    pub const REFUSED: Self = Self { flags: Self::DENIED, ..Self::NOBODY };
}

impl ClassEntry {
    /// The entry of a class.
    pub const fn of(class: Class) -> Self {
        let unsettled =
            if class.flags == 0 { !class.allow | class.registering | class.deny } else { u64::MAX };
        Self { unsettled, class }
    }
}

/// What happens to a packet that is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It is counted and passes.
    Monitor,
    /// It is counted and dropped.
    Enforce,
}

impl Mode {
    /// The word that people and scripts see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Enforce => "enforce",
        }
    }

    /// The reasons for which packets are dropped, as bits by their numbers.
    pub fn drops(self) -> u64 {
        let drops = |reason: &&Reason| self == Self::Enforce && reason.verdict() == Verdict::Drop;
        Reason::ALL.iter().filter(drops).map(|reason| 1 << *reason as u32).sum()
    }
}

/// A transport protocol that listeners use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// RFC 768.
    Udp,
    /// RFC 9293.
    Tcp,
}

const _: () = assert!(Transport::row_at(protocol::UDP) == Transport::row(protocol::UDP) * PORTS);
const _: () = assert!(Transport::row_at(protocol::TCP) == Transport::row(protocol::TCP) * PORTS);

impl Transport {
    /// The row of [`PolicyIndex`](super::PolicyIndex)'s arrays for one of the two protocols: a bit in which their numbers differ.
    #[inline(always)]
    pub const fn row(protocol: u8) -> usize {
        (protocol >> 4 & 1) as usize
    }

    /// Where that row begins among the ports of both: a mask and one shift.
    #[inline(always)]
    pub const fn row_at(protocol: u8) -> usize {
        (protocol as usize & 1 << 4) << 12
    }

    /// The protocol's number in IP headers.
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Udp => protocol::UDP,
            Self::Tcp => protocol::TCP,
        }
    }

    /// The word that people and scripts see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}
