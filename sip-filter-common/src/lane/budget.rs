//! What strangers may spend, each and together: generic cell rates and a window, in memory of fixed size.

use crate::{
    maps::{Address, LaneLimits, LaneTotal},
    tables::Tables,
};

/// How far apart the times are, at most, by which two CPUs judge what comes at once.
const SLACK_NS: u64 = 1_000_000_000;

/// Spends from the source's own budget and from that of all strangers, if both have as much.
#[inline(always)]
pub fn charge<T: Tables>(source: &Address, units: u64, tables: &T) -> bool {
    let LaneLimits { unit_ns, burst_ns, .. } = tables.index().lane;
    let now_ns = tables.now_ns();
    let lane = tables.lane(source);
    // An open lane is no debt. Where others who were challenged have used up what there is, it has its own budget.
    if lane.open_until_ns > now_ns && tables.spend_total(true, units) {
        return true;
    }
    // Where no budget is found.
    if lane.spent_until_ns == u64::MAX {
        return false;
    }
    // More than may be spent at once was spent under other limits, and counts no more.
    let is_spent = lane.spent_until_ns > now_ns && lane.spent_until_ns - now_ns <= burst_ns + SLACK_NS;
    let from_ns = if is_spent { lane.spent_until_ns } else { now_ns };
    let spent_until_ns = from_ns + units * unit_ns;
    if spent_until_ns - now_ns > burst_ns || !tables.spend_total(false, units) {
        return false;
    }
    tables.spend(source, spent_until_ns);
    true
}

/// What a total is after `units` more are spent, and whether they may be: `None` where the window's are used up.
#[inline(always)]
pub fn total_after(spent: u64, units: u64, now_ns: u64, limits: &LaneLimits) -> Option<TotalChange> {
    let window = now_ns.checked_div(limits.window_ns)?;
    if spent >> LaneTotal::UNIT_BITS != window {
        return Some(TotalChange::Anew(window << LaneTotal::UNIT_BITS | units));
    }
    let in_window = spent & ((1 << LaneTotal::UNIT_BITS) - 1);
    (in_window + units <= limits.window_units).then_some(TotalChange::Add(units))
}

/// How a total changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TotalChange {
    /// A new window begins: this is what is spent.
    Anew(u64),
    /// So much is added.
    Add(u64),
}
