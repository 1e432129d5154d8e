//! What strangers have spent, counted one by one.
//!
//! It knows no time: nothing is earned, so that whoever uses it lets no clock move.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use sip_filter::policy::Prove;

/// In how many seconds strangers together earn what they may spend at once, at least.
const BURST_SECONDS_MIN: f64 = 0.02;

#[derive(Default)]
pub(super) struct Spent {
    by_network: HashMap<IpAddr, u32>,
    by_strangers: u32,
    by_challenged: u32,
}

impl Spent {
    /// Counts another request, if there may be one.
    pub(super) fn one_more(&mut self, prove: &Prove, source: IpAddr, is_challenged: bool) -> bool {
        let seconds = prove.total_rate.per.as_secs_f64();
        let at_once = f64::from(prove.total_rate.count) / seconds * BURST_SECONDS_MIN;
        let has_room = |together: u32| f64::from(together) + 1.0 <= at_once.max(1.0);
        if is_challenged && has_room(self.by_challenged) {
            // Who was challenged has nothing to pay back later.
            self.by_challenged += 1;
            return true;
        }
        let own = self.by_network.entry(network(source)).or_default();
        if *own >= prove.burst || !has_room(self.by_strangers) {
            return false;
        }
        self.by_strangers += 1;
        *own += 1;
        true
    }
}

/// What one subscriber has: an IPv4 address, a /64 of IPv6.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}
