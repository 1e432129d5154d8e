//! What listeners are for, and the bounded lane of strangers, in the units that the kernel counts.

use sip_filter_common::{
    PolicyIndex,
    maps::{CellRate, LaneLimits, UNITS_PER_REQUEST},
};

use crate::policy::{ListenerKind, Policy, Prove, Rate, TrustScope};

/// Which listeners are for what, and what strangers may do at them.
pub(super) fn write(policy: &Policy, index: &mut PolicyIndex) {
    for (number, listener) in policy.listeners.iter().enumerate() {
        let bit = 1 << number;
        match listener.kind {
            ListenerKind::Signalling => index.signalling |= bit,
            ListenerKind::Media => index.media |= bit,
            ListenerKind::Other => {}
        }
        if listener.encrypted {
            index.encrypted |= bit;
        }
    }
    let prove = policy.strangers.prove.as_ref();
    let trusts_flows = prove.is_some_and(|prove| prove.trust == TrustScope::Flow);
    index.by_address = if trusts_flows { index.media } else { index.signalling | index.media };
    if let Some(prove) = prove {
        index.prove = index.signalling;
        index.lane = lane_limits(prove);
    }
}

/// What strangers together may spend at once is earned in this time, in nanoseconds; at least a request.
///
/// Two ticks of a kernel that has a hundred a second, since most requests are judged by a clock that is read once a tick.
const TOTAL_BURST_NS: u64 = 20_000_000;
/// The kernel adds to it: a century.
const BURST_NS_MAX: u64 = 100 * 365 * 86_400 * 1_000_000_000;

fn lane_limits(prove: &Prove) -> LaneLimits {
    // No rate is 0 a unit.
    let unit_ns = |rate: &Rate| {
        let per_ns = u64::try_from(rate.per.as_nanos()).unwrap_or(u64::MAX);
        (per_ns / (u64::from(rate.count) * UNITS_PER_REQUEST)).clamp(1, BURST_NS_MAX / UNITS_PER_REQUEST)
    };
    let request_ns = |unit_ns: u64| unit_ns * UNITS_PER_REQUEST;
    let own_ns = unit_ns(&prove.rate);
    let total_ns = unit_ns(&prove.total_rate);
    LaneLimits {
        own: CellRate {
            unit_ns: own_ns,
            burst_ns: request_ns(own_ns).saturating_mul(prove.burst.into()).min(BURST_NS_MAX),
        },
        total: CellRate {
            unit_ns: total_ns,
            burst_ns: request_ns(total_ns).clamp(TOTAL_BURST_NS, BURST_NS_MAX),
        },
        methods: prove.methods,
        drops_scanners: u32::from(prove.drops_scanners),
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use sip_filter_common::Tables as _;

    use super::*;
    use crate::{
        host_tables::HostTables,
        policy::{registered::RegisteredTrunks, tables::Tables},
    };

    #[test]
    fn a_rate_that_nobody_lives_to_see_lets_one_request_through() {
        for years in [1, 100, 1_000, 100_000_000_000] {
            let rate = Rate { count: 1, per: Duration::from_secs(years * 365 * 86_400) };
            let limits = lane_limits(&Prove { rate, burst: 1, total_rate: rate, ..Prove::default() });
            let now_ns = 86_400_000_000_000;
            for rate in [limits.own, limits.total] {
                let spend = |spent_until_ns, now_ns| {
                    rate.spend(UNITS_PER_REQUEST, UNITS_PER_REQUEST, spent_until_ns, now_ns)
                };
                let until_ns = spend(0, now_ns).unwrap().until_ns(0);
                assert_eq!(spend(until_ns, now_ns + 1), None, "1 in {years} years");
            }
        }
    }

    #[test]
    fn what_all_strangers_spend_in_units_leaves_room_for_a_request() {
        let text = "mode = \"monitor\"\ninterfaces = [\"eth0\"]\n[[listener]]\nname = \"sip\"\n\
                    kind = \"signalling\"\ntransport = \"tcp\"\nports = [\"5060\"]\n[strangers]\n\
                    signalling = \"prove\"\n[strangers.prove]\ntotal_rate = \"500/s\"\n";
        let policy = crate::policy::file::parse(Path::new("test.toml"), text).unwrap();
        let mut tables = HostTables::new(Tables::compile(&policy, &RegisteredTrunks::default()).unwrap());
        tables.set_now_ns(86_400_000_000_000);
        let spent = (0..1_000).take_while(|_| tables.spend_total(true, 1, tables.budget_ns())).count();
        // 160 are there: the last one that is spent leaves 15.
        assert_eq!(spent, 145);
    }
}
