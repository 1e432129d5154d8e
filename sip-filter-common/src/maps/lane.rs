//! The bounded lane of strangers, and flows that a registration lets in.

use super::Address;

/// How many sources have a budget of their own; beyond that, some share one.
pub const LANE_BUCKETS: u32 = 131_072;
/// Groups of sources of which is known whether any is challenged: few enough to stay in the caches.
pub const CHALLENGED_GROUPS: u32 = 8_192;
/// A budget for strangers that nobody has challenged, one for those that the SIP server has, and three for what is told
/// of those that are refused: calls, and what scanners give themselves away by, over UDP and over TCP.
pub const LANE_TOTALS: u32 = 5;
/// How many of each are told in a second, and at once: a log can be read.
pub const TOLD_MAX: u64 = 5;
/// How many flows are let in at most.
pub const FLOWS_MAX: u32 = 131_072;
/// How long a challenge lets its receiver spend more than its own budget, in nanoseconds: until a thousand phones
/// behind one address had their turn, and no longer than a client tries (RFC 3261 section 17.1.2.2, timer F).
pub const LANE_OPEN_NS: u64 = 8_000_000_000;
/// What a request costs; a segment without one costs a unit.
pub const UNITS_PER_REQUEST: u64 = 16;

shared! {
    /// How fast units are earned that may be spent.
    pub struct CellRate: 16 {
        /// How long it takes to earn one unit, in nanoseconds.
        pub unit_ns: u64,
        /// How long it takes to earn all that may be spent at once: a request at least.
        pub burst_ns: u64,
    }

    /// How much strangers may try.
    pub struct LaneLimits: 40 {
        /// What each of them earns.
        pub own: CellRate,
        /// What all of them earn together.
        pub total: CellRate,
        /// What they may send: a bit for each [`Method`](crate::sip::Method).
        pub methods: u32,
        /// 1 where a scanner may not even register.
        pub drops_scanners: u32,
    }

    /// What one stranger has spent; those with equal hashes share one.
    pub struct Lane: 16 {
        /// When it will have earned what it has spent, in nanoseconds of CLOCK_BOOTTIME.
        pub spent_until_ns: u64,
        /// Until when it may spend more than its own budget, since the SIP server waits for its answer.
        pub open_until_ns: u64,
    }

    /// What strangers together have spent: a cache line.
    pub struct LaneTotal: 64 {
        /// When they will have earned it, in nanoseconds of CLOCK_BOOTTIME.
        pub spent_until_ns: u64,
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

    /// The group of those whose budgets stand at `place` and at some others.
    #[inline(always)]
    pub const fn group(place: u32) -> u32 {
        place % CHALLENGED_GROUPS
    }
}

/// How far apart the times are, at most, by which two CPUs judge what comes at once, and how much they spend together
/// where there was enough for one of them.
const SLACK_NS: u64 = 1_000_000_000;

/// How spending ends where there is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// Nothing was owed: this is when it will have been earned, in nanoseconds of CLOCK_BOOTTIME.
    Until(u64),
    /// So many nanoseconds are owed more than before.
    More(u64),
}

impl Spent {
    /// When all will have been earned, which was to be at `spent_until_ns`.
    #[inline(always)]
    pub const fn until_ns(self, spent_until_ns: u64) -> u64 {
        match self {
            Self::Until(until_ns) => until_ns,
            Self::More(cost_ns) => spent_until_ns + cost_ns,
        }
    }
}

impl CellRate {
    /// Spends `units`, where what was spent before will have been earned at `spent_until_ns`; `None` where there are not
    /// `room`, which are as many or more (the generic cell rate algorithm, ITU-T I.371).
    ///
    /// A flood gets what may be spent at once, and then what is earned from one tick of the clock to the next: of many
    /// in one go the CPU would be kept from its ring, in which known peers' packets wait.
    #[inline(always)]
    pub const fn spend(&self, units: u64, room: u64, spent_until_ns: u64, now_ns: u64) -> Option<Spent> {
        // Nothing where that is past. More than may be spent at once was spent under other limits, and counts no more.
        let owed_ns = spent_until_ns.wrapping_sub(now_ns);
        let is_owed = owed_ns.wrapping_sub(1) < self.burst_ns + SLACK_NS;
        let cost_ns = units * self.unit_ns;
        match is_owed {
            true if owed_ns + room * self.unit_ns > self.burst_ns => None,
            true => Some(Spent::More(cost_ns)),
            false => Some(Spent::Until(now_ns + cost_ns)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of requests that come every `gap_ns` for a second: how many are let through, and how many of them sooner after the
    /// one before than one is earned.
    fn let_through(rate: &CellRate, gap_ns: usize) -> (u32, u32) {
        let (mut spent_until_ns, mut last_ns, mut passed, mut early) = (0, 0, 0, 0);
        for now_ns in (5_000_000_000..6_000_000_000).step_by(gap_ns) {
            let Some(spent) = rate.spend(1, 1, spent_until_ns, now_ns) else { continue };
            spent_until_ns = spent.until_ns(spent_until_ns);
            passed += 1;
            early += u32::from(now_ns - last_ns < rate.unit_ns);
            last_ns = now_ns;
        }
        (passed, early)
    }

    #[test]
    fn a_flood_gets_the_burst_at_once_and_then_one_request_after_the_other() {
        let rate = CellRate { unit_ns: 500_000, burst_ns: 100_000_000 };
        assert_eq!(let_through(&rate, 1_000), (200 + 2_000 - 1, 200));
    }

    #[test]
    fn who_spends_little_at_a_time_leaves_room_for_a_request() {
        // In a tick 6 units are earned, and all that is left is spent.
        let rate = CellRate { unit_ns: 625_000, burst_ns: 100_000_000 };
        let (mut spent_until_ns, mut requests) = (0, 0);
        for now_ns in (5_000_000_000..6_000_000_000).step_by(4_000_000) {
            for units in [16, 1, 1, 1, 1, 1, 1, 1, 1] {
                let Some(spent) = rate.spend(units, 16, spent_until_ns, now_ns) else { continue };
                spent_until_ns = spent.until_ns(spent_until_ns);
                requests += u32::from(units == 16 && now_ns > 5_500_000_000);
            }
        }
        assert!(requests >= 10, "{requests}");
    }

    #[test]
    fn who_stays_below_the_rate_is_never_refused() {
        let rate = CellRate { unit_ns: 500_000, burst_ns: 500_000 };
        assert_eq!(let_through(&rate, 500_000), (2_000, 0));
    }

    #[test]
    fn what_was_spent_under_other_limits_counts_no_more() {
        let rate = CellRate { unit_ns: 500_000, burst_ns: 100_000_000 };
        let an_hour = 3_600_000_000_000;
        assert_eq!(rate.spend(1, 1, an_hour, 1), Some(Spent::Until(500_001)));
    }
}
