//! Two trunks that claim the same address at the same listener.
//!
//! The reason `trunk` would then name one of them by accident, and so would every rule that a trunk carries.
//! Nothing is resolved here: the longest prefix does not win, the operator is told.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use ipnet::IpNet;

use super::prefix::Cover;
use super::{ListenerKind, Policy};

/// Two trunks with a common address at a common listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// The first listener at which they meet.
    pub listener: String,
    /// The trunk that comes first in the policy.
    pub first: Claim,
    /// The trunk that comes after it.
    pub second: Claim,
}

/// The entry by which a trunk claims an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The trunk's name.
    pub trunk: String,
    /// One of its prefixes for that listener.
    pub entry: IpNet,
}

impl fmt::Display for Overlap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Overlap { listener, first, second } = self;
        write!(
            formatter,
            "trunk \"{}\" ({}) and trunk \"{}\" ({}) claim the same addresses at listener \"{listener}\"",
            first.trunk, first.entry, second.trunk, second.entry
        )
    }
}

impl Policy {
    /// One overlap of two trunks, if there is any.
    pub fn overlap(&self) -> Option<Overlap> {
        self.overlaps().into_iter().next()
    }

    /// The overlaps of two trunks: at least one for every entry that lies in another trunk's entry.
    ///
    /// What `admin`, `[deny]` or a trunk's deny at that listener covers is no overlap, since no trunk gets it.
    /// Takes time near-linear in the number of entries.
    pub fn overlaps(&self) -> Vec<Overlap> {
        let claim = |trunk: usize, entry| Claim { trunk: self.trunks[trunk].name.clone(), entry };
        let named = |clash: &Clash| Overlap {
            listener: self.listeners[clash.listener].name.clone(),
            first: claim(clash.first, clash.first_entry),
            second: claim(clash.second, clash.second_entry),
        };
        clashes(self).iter().map(named).collect()
    }
}

/// An [`Overlap`] in indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clash {
    pub(super) listener: usize,
    pub(super) first: usize,
    pub(super) first_entry: IpNet,
    pub(super) second: usize,
    pub(super) second_entry: IpNet,
}

/// All clashes, each pair of entries once, whatever the number of listeners at which they meet.
pub(super) fn clashes(policy: &Policy) -> Vec<Clash> {
    // Listeners of the same trunks have the same clashes, so that the work is not done for each of 64 listeners.
    let mut alike: BTreeMap<(bool, Vec<usize>), usize> = BTreeMap::new();
    for (index, listener) in policy.listeners.iter().enumerate() {
        let trunks: Vec<usize> = policy.trunks_at(index).collect();
        if trunks.len() > 1 {
            alike.entry((listener.kind == ListenerKind::Media, trunks)).or_insert(index);
        }
    }
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for ((_, trunks), listener) in &alike {
        for clash in clashes_at(policy, *listener, trunks) {
            // The same entries on an explicit media list are another mistake, to be mended at another place.
            let from_media = policy.listeners[*listener].kind == ListenerKind::Media
                && policy.trunks[clash.second].media.is_some();
            let key = (clash.first, clash.first_entry, clash.second, clash.second_entry, from_media);
            if seen.insert(key) {
                found.push(clash);
            }
        }
    }
    found
}

/// An entry on the stack of those that hold the entry at hand.
struct Open {
    entry: IpNet,
    trunk: usize,
    /// Where the nearest entry of another trunk below this one stands on the stack.
    other: Option<usize>,
}

fn clashes_at(policy: &Policy, listener: usize, trunks: &[usize]) -> Vec<Clash> {
    let denied = trunks.iter().flat_map(|trunk| &policy.trunks[*trunk].deny);
    let settled = Cover::of(policy.admin.iter().chain(&policy.deny).chain(denied));
    let kind = policy.listeners[listener].kind;
    let claims = trunks
        .iter()
        .flat_map(|trunk| policy.trunks[*trunk].allow_at(kind).iter().map(move |entry| (*entry, *trunk)));
    let mut claims: Vec<(IpNet, usize)> = claims.collect();
    // In this order every entry comes after those that hold it, and what holds it is a stack.
    claims.sort_unstable();
    let mut found = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    for (entry, trunk) in claims {
        while open.pop_if(|top| !top.entry.contains(&entry)).is_some() {}
        let below =
            open.last().and_then(|top| if top.trunk == trunk { top.other } else { Some(open.len() - 1) });
        open.push(Open { entry, trunk, other: below });
        if let Some(holder) = below
            && !settled.holds(&entry)
        {
            let mut both = [(trunk, entry), (open[holder].trunk, open[holder].entry)];
            both.sort_unstable_by_key(|(trunk, _)| *trunk);
            let [(first, first_entry), (second, second_entry)] = both;
            found.push(Clash { listener, first, first_entry, second, second_entry });
        }
    }
    found
}
