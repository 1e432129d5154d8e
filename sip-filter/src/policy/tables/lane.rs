//! What listeners are for, and the bounded lane of strangers, in the units that the kernel counts.

use sip_filter_common::{
    PolicyIndex,
    maps::{LaneLimits, LaneTotal, UNITS_PER_REQUEST},
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

/// The shortest window in which strangers together spend; longer where a request takes longer to earn.
const WINDOW_NS_MIN: u64 = 100_000_000;

fn lane_limits(prove: &Prove) -> LaneLimits {
    // What a rate earns in a year fits; no rate is 0 a unit.
    let unit_ns = |rate: &Rate| {
        let per_ns = u64::try_from(rate.per.as_nanos()).unwrap_or(u64::MAX);
        (per_ns / (u64::from(rate.count) * UNITS_PER_REQUEST)).max(1)
    };
    let own_ns = unit_ns(&prove.rate);
    let total_ns = unit_ns(&prove.total_rate);
    let window_ns = WINDOW_NS_MIN.max(total_ns.saturating_mul(UNITS_PER_REQUEST));
    LaneLimits {
        unit_ns: own_ns,
        burst_ns: own_ns.saturating_mul(UNITS_PER_REQUEST).saturating_mul(prove.burst.into()),
        window_ns,
        window_units: (window_ns / total_ns).min((1 << LaneTotal::UNIT_BITS) - UNITS_PER_REQUEST - 1),
        methods: prove.methods,
        drops_scanners: u32::from(prove.drops_scanners),
    }
}
