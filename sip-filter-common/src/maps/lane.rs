//! The bounded lane of strangers, and flows that a registration lets in.

use super::Address;

/// How many sources have a budget of their own; beyond that, some share one.
pub const LANE_BUCKETS: u32 = 131_072;
/// A budget for strangers that nobody has challenged, one for those that the SIP server has, and three for what is told
/// of those that are refused: calls, and what scanners give themselves away by, over UDP and over TCP.
pub const LANE_TOTALS: u32 = 5;
/// How many of each are told in a second: a log can be read.
pub const TOLD_MAX: u64 = 5;
/// How many flows are let in at most.
pub const FLOWS_MAX: u32 = 131_072;
/// How long a challenge lets its receiver spend more than its own budget, in nanoseconds: until a thousand phones
/// behind one address had their turn, and no longer than a client tries (RFC 3261 section 17.1.2.2, timer F).
pub const LANE_OPEN_NS: u64 = 8_000_000_000;
/// What a request costs; a segment without one costs a unit.
pub const UNITS_PER_REQUEST: u64 = 16;

shared! {
    /// How much strangers may try.
    pub struct LaneLimits: 40 {
        /// How long a source takes to earn one unit, in nanoseconds.
        pub unit_ns: u64,
        /// How long it takes to earn all that it may spend at once.
        pub burst_ns: u64,
        /// How long the window is in which all strangers together may spend `window_units`; never 0.
        pub window_ns: u64,
        /// How many units these are.
        pub window_units: u64,
        /// What they may send: a bit for each [`Method`](crate::sip::Method).
        pub methods: u32,
        /// 1 where a scanner may not even register.
        pub drops_scanners: u32,
    }

    /// What one stranger has spent; those with equal hashes share one.
    pub struct Lane: 16 {
        /// When it will have earned what it has spent, in nanoseconds of CLOCK_BOOTTIME (the theoretical arrival time
        /// of the generic cell rate algorithm, ITU-T I.371).
        pub spent_until_ns: u64,
        /// Until when it may spend more than its own budget, since the SIP server waits for its answer.
        pub open_until_ns: u64,
    }

    /// What strangers together have spent: a cache line.
    pub struct LaneTotal: 64 {
        /// The number of the window, and in the lowest 24 bits the units.
        pub spent: u64,
        /// Nothing: keeps others off the line.
        pub unused: [u64; 7],
    }

    /// A peer's address, port and transport.
    pub struct FlowKey: 24 {
        /// Its address.
        pub address: Address,
        /// Its port.
        pub port: u32,
        /// Its IP protocol.
        pub protocol: u32,
    }
}

impl Lane {
    /// Where the budget of a source stands, given its hash: of an IPv4 address, of an IPv6 /64.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a few bits of a hash are wanted")]
    pub const fn place(source: &Address, salt: u64) -> u32 {
        (source.network().hash(salt) >> 20) as u32 % LANE_BUCKETS
    }
}

impl LaneTotal {
    /// How many bits count units.
    pub const UNIT_BITS: u32 = 24;
}
