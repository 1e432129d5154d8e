//! Every way a packet can end, and what that means for it.
//!
//! A reason determines the verdict; nothing else does.
//! Variants are append-only: their numbers index the kernel's counters.

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It goes on to the network stack, untouched.
    Pass,
    /// It ends here.
    Drop,
}

impl Verdict {
    /// The word that people and scripts see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $verdict:ident;)*) => {
        /// Why a packet's way ended: one variant, one counter, one verdict.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Reason {
            $($(#[$doc])* $variant = $number,)*
        }

        impl Reason {
            /// All reasons, each at the index of its counter.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word that people and scripts see.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What this reason does to the packet in [`Mode::Enforce`](crate::Mode::Enforce).
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$variant => Verdict::$verdict,)* }
            }

            /// The reason whose counter stands at `index`.
            pub const fn from_index(index: u32) -> Option<Self> {
                match index { $($number => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

reasons! {
    /// Neither IPv4 nor IPv6, or no header of either that could be one.
    NotIp = 0, "not_ip", Pass;
    /// The frame ends before the ports; no socket could take it.
    Truncated = 1, "truncated", Pass;
    /// For no listener: ICMP, ARP, another port, another local address.
    NotProtected = 2, "not_protected", Pass;
    /// From an `admin` address, the guard against locking oneself out.
    Admin = 3, "admin", Pass;
    /// For a listener, but on a VLAN on which it may not be reached.
    WrongVlan = 4, "wrong_vlan", Drop;
    /// On the always-deny list, or on the deny list of a trunk that uses the listener.
    Denied = 5, "denied", Drop;
    /// Under a ban that has not expired.
    Banned = 6, "banned", Drop;
    /// An allow list speaks for the peer: a trunk's, the plain one, or the listener's own.
    Trunk = 7, "trunk", Pass;
    /// An address of record is registered from there, now.
    Registered = 8, "registered", Pass;
    /// Media that a call negotiated.
    Pinhole = 9, "pinhole", Pass;
    /// A stranger in the bounded lane in which it may try to authenticate.
    Probation = 10, "probation", Pass;
    /// A stranger that overran the bounded lane.
    RateExceeded = 11, "rate_exceeded", Drop;
    /// A later fragment, from a peer that no list speaks for, of a datagram that was not let in.
    Fragment = 12, "fragment", Drop;
    /// Headers so deep or so cut that a listener's port may hide behind them.
    Malformed = 13, "malformed", Drop;
    /// Nothing speaks for the peer.
    Stranger = 14, "stranger", Drop;
    /// Not SIP, from a stranger that might try to authenticate.
    NotSip = 15, "not_sip", Drop;
    /// A request by which a scanner gives itself away.
    Scanner = 16, "scanner", Drop;
    /// A trunk's address that is to register first, or whose trunk is registered elsewhere.
    NotRegistered = 17, "not_registered", Drop;
}

const _: () = {
    let mut index = 0;
    while index < Reason::ALL.len() {
        assert!(Reason::ALL[index] as usize == index, "reasons stand in the order of their numbers");
        index += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_index_converts_there_and_back() {
        for (index, &reason) in (0u32..).zip(Reason::ALL) {
            assert_eq!(Reason::from_index(index), Some(reason), "{}", reason.name());
        }
        assert_eq!(Reason::from_index(u32::try_from(Reason::ALL.len()).unwrap()), None);
    }
}
