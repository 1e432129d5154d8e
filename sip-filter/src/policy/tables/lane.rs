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
const TOTAL_BURST_NS: u64 = 100_000_000;
/// The kernel adds to it: a century.
const BURST_NS_MAX: u64 = 100 * 365 * 86_400 * 1_000_000_000;

fn lane_limits(prove: &Prove) -> LaneLimits {
    // What a rate earns in a year fits; no rate is 0 a unit.
    let unit_ns = |rate: &Rate| {
        let per_ns = u64::try_from(rate.per.as_nanos()).unwrap_or(u64::MAX);
        (per_ns / (u64::from(rate.count) * UNITS_PER_REQUEST)).max(1)
    };
    let request_ns = |unit_ns: u64| unit_ns.saturating_mul(UNITS_PER_REQUEST);
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
