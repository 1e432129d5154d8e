//! Two trunks that claim the same address at the same listener.
//!
//! The reason `trunk` would then name one of them by accident, and so would every rule that a trunk carries.
//! Nothing is resolved here: the longest prefix does not win, the operator is told.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use ipnet::IpNet;

use super::prefix::{Cover, covers, parts};
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
        clashes(self).iter().map(|clash| self.named(clash)).collect()
    }

    /// One overlap that a change at this prefix would bring about in a policy that has none.
    ///
    /// Looks only at what holds the prefix or lies in it.
    pub(super) fn overlap_by(&self, change: &Pending) -> Option<Overlap> {
        let found =
            alike(self).into_iter().find_map(|(listener, trunks)| clash_by(self, change, listener, &trunks));
        found.map(|clash| self.named(&clash))
    }

    fn named(&self, clash: &Clash) -> Overlap {
        let claim = |trunk: usize, entry| Claim { trunk: self.trunks[trunk].name.clone(), entry };
        Overlap {
            listener: self.listeners[clash.listener].name.clone(),
            first: claim(clash.first, clash.first_entry),
            second: claim(clash.second, clash.second_entry),
        }
    }
}

/// A change of the lists, not made yet, that can bring an overlap to light.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pending {
    /// This prefix comes onto the allow list of the trunk of this index.
    Claimed { trunk: usize, prefix: IpNet },
    /// This prefix leaves `[deny]`.
    Undenied { prefix: IpNet },
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
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let groups = alike(policy);
    // A million clashes at one group of listeners are not to be remembered twice.
    let is_alone = groups.len() == 1;
    for (listener, trunks) in groups {
        for clash in clashes_at(policy, listener, &trunks) {
            // The same entries on an explicit media list are another mistake, to be mended at another place.
            let from_media = policy.listeners[listener].kind == ListenerKind::Media
                && policy.trunks[clash.second].media.is_some();
            let key = (clash.first, clash.first_entry, clash.second, clash.second_entry, from_media);
            if is_alone || seen.insert(key) {
                found.push(clash);
            }
        }
    }
    found
}

/// Listeners at which trunks can meet, with those trunks; of listeners where the same lists count, only the first.
fn alike(policy: &Policy) -> Vec<(usize, Vec<usize>)> {
    let mut alike: BTreeMap<(bool, Vec<usize>), usize> = BTreeMap::new();
    let is_media = |index: usize| policy.listeners[index].kind == ListenerKind::Media;
    let indices = 0..policy.listeners.len();
    // A media listener counts like another one where no trunk has a media list of its own.
    for index in
        indices.clone().filter(|index| !is_media(*index)).chain(indices.filter(|index| is_media(*index)))
    {
        let trunks: Vec<usize> = policy.trunks_at(index).collect();
        if trunks.len() > 1 {
            let has_own = is_media(index) && trunks.iter().any(|trunk| policy.trunks[*trunk].media.is_some());
            alike.entry((has_own, trunks)).or_insert(index);
        }
    }
    alike.into_iter().map(|((_, trunks), listener)| (listener, trunks)).collect()
}

/// An entry on the stack of those that hold the entry at hand.
struct Open {
    entry: IpNet,
    trunk: usize,
    /// Where the nearest entry of another trunk below this one stands on the stack.
    other: Option<usize>,
}

fn clashes_at(policy: &Policy, listener: usize, trunks: &[usize]) -> Vec<Clash> {
    let kind = policy.listeners[listener].kind;
    let claims = trunks
        .iter()
        .flat_map(|trunk| policy.trunks[*trunk].allow_at(kind).iter().map(move |entry| (*entry, *trunk)));
    let mut found = nested(listener, claims.collect());
    if !found.is_empty() {
        let denied = trunks.iter().flat_map(|trunk| &policy.trunks[*trunk].deny);
        let settled = Cover::of(policy.admin.iter().chain(&policy.deny).chain(denied));
        found.retain(|clash| !settled.holds(&clash.inner_entry()));
    }
    found
}

/// The first clash at a listener that a change would bring about.
fn clash_by(policy: &Policy, change: &Pending, listener: usize, trunks: &[usize]) -> Option<Clash> {
    let kind = policy.listeners[listener].kind;
    let (Pending::Claimed { prefix, .. } | Pending::Undenied { prefix }) = change;
    let mut claims = Vec::new();
    for index in trunks {
        let trunk = &policy.trunks[*index];
        claims.extend(near(trunk.allow_at(kind), prefix).map(|entry| (*entry, *index)));
        let follows_allow = kind != ListenerKind::Media || trunk.media.is_none();
        if matches!(change, Pending::Claimed { trunk, .. } if trunk == index && follows_allow) {
            claims.push((*prefix, *index));
        }
    }
    let found = nested(listener, claims);
    if found.is_empty() {
        return None;
    }
    let is_still_denied =
        |entry: &&IpNet| !matches!(change, Pending::Undenied { prefix } if prefix == *entry);
    let deny = near(&policy.deny, prefix).filter(is_still_denied);
    let denied = trunks.iter().flat_map(|trunk| near(&policy.trunks[*trunk].deny, prefix));
    let settled = Cover::of(near(&policy.admin, prefix).chain(deny).chain(denied));
    // What is outside the prefix was settled before, so that of an entry around it only the prefix is in question.
    let in_question = |clash: &Clash| {
        let inner = clash.inner_entry();
        if inner.contains(prefix) { *prefix } else { inner }
    };
    found.into_iter().find(|clash| !settled.holds(&in_question(clash)))
}

/// The sorted entries that hold the prefix or lie in it; together they are all that share an address with it.
fn near<'a>(entries: &'a [IpNet], prefix: &IpNet) -> impl Iterator<Item = &'a IpNet> {
    covers(entries, prefix).chain(parts(entries, prefix))
}

/// Every entry that lies in another trunk's entry, with the nearest such.
fn nested(listener: usize, mut claims: Vec<(IpNet, usize)>) -> Vec<Clash> {
    // In this order every entry comes after those that hold it, and what holds it is a stack.
    // The lists come sorted, and this sort only merges them then.
    claims.sort();
    let mut found = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    for (entry, trunk) in claims {
        while open.pop_if(|top| !top.entry.contains(&entry)).is_some() {}
        let below =
            open.last().and_then(|top| if top.trunk == trunk { top.other } else { Some(open.len() - 1) });
        open.push(Open { entry, trunk, other: below });
        if let Some(holder) = below {
            let mut both = [(trunk, entry), (open[holder].trunk, open[holder].entry)];
            both.sort_unstable_by_key(|(trunk, _)| *trunk);
            let [(first, first_entry), (second, second_entry)] = both;
            found.push(Clash { listener, first, first_entry, second, second_entry });
        }
    }
    found
}

impl Clash {
    /// The entry that lies in the other.
    fn inner_entry(&self) -> IpNet {
        // The order puts an outer entry first.
        self.first_entry.max(self.second_entry)
    }
}
