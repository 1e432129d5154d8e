//! What strangers may spend, each and together: generic cell rates, in memory of fixed size.

use crate::{maps::Address, tables::Tables};

/// Spends from the source's own budget and from that of all strangers, if both have as much.
#[inline(always)]
pub fn charge<T: Tables>(source: &Address, units: u64, tables: &T) -> bool {
    let budget_ns = tables.budget_ns();
    // Where a flood ends mostly: these words stay in the caches, as the budgets of sources at random do not.
    let may_spend = tables.has_room(false, budget_ns)
        || tables.has_room(true, budget_ns) && tables.may_be_challenged(source);
    if !may_spend {
        return false;
    }
    let now_ns = tables.now_ns();
    let lane = tables.lane(source);
    // An open lane is no debt. Where others who were challenged have used up what there is, it has its own budget.
    if lane.open_until_ns > now_ns && tables.spend_total(true, units, budget_ns) {
        return true;
    }
    // Where no budget is found.
    if lane.spent_until_ns == u64::MAX {
        return false;
    }
    let Some(spent) = tables.index().lane.own.spend(units, units, lane.spent_until_ns, now_ns) else {
        return false;
    };
    if !tables.spend_total(false, units, budget_ns) {
        return false;
    }
    tables.spend(source, spent.until_ns(lane.spent_until_ns));
    true
}
