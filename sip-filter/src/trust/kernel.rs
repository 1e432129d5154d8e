//! What the kernel was told, and what it has to be told for it to agree with the registrations that stand.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    net::IpAddr,
};

use lru::LruCache;

use super::{
    Effect, Flow, Now, Witness,
    failures::nanoseconds,
    keeper::{Touched, Trust},
    settings::Settings,
    table::Registration,
};
use crate::policy::TrustScope;

/// How many addresses are tried again at a time: a kernel that refuses all is not to be asked for all each second.
const AGAIN_MAX: usize = 256;

/// What the kernel was told, and has taken.
#[derive(Debug)]
pub(super) struct Kernel {
    addresses: HashMap<IpAddr, Admitted>,
    /// None where it is not known what holds.
    trunks: HashMap<String, Option<Vec<IpAddr>>>,
    /// What it has, or may have, although it was told to let it go.
    left: BTreeSet<IpAddr>,
    left_flows: BTreeSet<Flow>,
    /// Where something was refused, the one that has waited for longest at the end.
    refused: LruCache<IpAddr, ()>,
}

/// What it was told about an address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Admitted {
    told: Told,
    /// With `trust = "flow"` only.
    flows: BTreeMap<Flow, Told>,
}

/// Until when it was told to let something in; 0: not at all.
#[derive(Debug, Clone, Copy, Default, Eq)]
struct Told {
    until_ns: u64,
    /// What holds where it refuses.
    before_ns: u64,
}

impl PartialEq for Told {
    fn eq(&self, other: &Self) -> bool {
        self.until_ns == other.until_ns
    }
}

impl Default for Kernel {
    fn default() -> Self {
        let (addresses, trunks, refused) = (HashMap::new(), HashMap::new(), LruCache::unbounded());
        Self { addresses, trunks, left: BTreeSet::new(), left_flows: BTreeSet::new(), refused }
    }
}

/// What tests compare with what the kernel holds.
#[cfg(test)]
impl Kernel {
    /// Every address that the kernel was told to let in, and until when by CLOCK_BOOTTIME, in no order.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (IpAddr, u64)> {
        let all = self.addresses.iter().map(|(address, admitted)| (*address, admitted.told.until_ns));
        all.filter(|(_, until_ns)| *until_ns > 0)
    }

    /// The same for flows, with `trust = "flow"`.
    pub(super) fn flows(&self) -> impl Iterator<Item = (Flow, u64)> {
        let all = self.addresses.values().flat_map(|admitted| &admitted.flows);
        all.map(|(flow, told)| (*flow, told.until_ns))
    }
}

impl Kernel {
    pub(super) fn admits(&self, address: IpAddr) -> bool {
        self.addresses.get(&address).is_some_and(|admitted| admitted.told.until_ns > 0)
    }

    /// Trunks that are none any more, or that registrations cannot belong to any more, stand nowhere.
    pub(super) fn forget_trunks(&mut self, settings: &Settings) -> Vec<Effect> {
        let is_left = |name: &String| settings.trunks.iter().any(|trunk| trunk.name == *name);
        let gone = self.trunks.extract_if(|name, _| !is_left(name));
        gone.map(|(trunk, _)| Effect::TrunkAt { trunk, addresses: Vec::new() }).collect()
    }

    fn set_address(&mut self, address: IpAddr, wanted: Option<Admitted>, effects: &mut Vec<Effect>) {
        let was = self.addresses.remove(&address).unwrap_or_default();
        let mut now = wanted.unwrap_or_default();
        now.told.before_ns = was.told.until_ns;
        if now.told.until_ns > 0 && now.told != was.told {
            effects.push(Effect::Admit { address, until_ns: now.told.until_ns });
        }
        for (flow, told) in &mut now.flows {
            told.before_ns = was.flows.get(flow).map_or(0, |was| was.until_ns);
            if told.until_ns != told.before_ns {
                effects.push(Effect::AdmitFlow { flow: *flow, until_ns: told.until_ns });
            }
        }
        let is_left = |flow: &Flow| flow.address == address && !now.flows.contains_key(flow);
        let left: Vec<Flow> = self.left_flows.extract_if(.., |flow| is_left(flow)).collect();
        let gone = was.flows.into_keys().filter(|flow| !now.flows.contains_key(flow));
        let gone: BTreeSet<Flow> = gone.chain(left).collect();
        effects.extend(gone.into_iter().map(|flow| Effect::DismissFlow { flow }));
        if now.told.until_ns > 0 {
            self.addresses.insert(address, now);
        } else if self.left.remove(&address) || was.told.until_ns > 0 {
            effects.push(Effect::Dismiss { address });
        }
    }

    /// What it was told last about something does not hold.
    fn refused(&mut self, effect: &Effect) {
        let address = match effect {
            Effect::Admit { address, .. } => {
                if let Some(Admitted { told, .. }) = self.addresses.get_mut(address) {
                    told.until_ns = told.before_ns;
                }
                *address
            }
            Effect::AdmitFlow { flow, .. } => {
                let flows = self.addresses.get_mut(&flow.address).map(|admitted| &mut admitted.flows);
                if let Some(flows) = flows
                    && let Some(told) = flows.get_mut(flow)
                {
                    told.until_ns = told.before_ns;
                    if told.until_ns == 0 {
                        flows.remove(flow);
                    }
                }
                flow.address
            }
            Effect::Dismiss { address } => {
                self.left.insert(*address);
                *address
            }
            Effect::DismissFlow { flow } => {
                self.left_flows.insert(*flow);
                flow.address
            }
            Effect::TrunkAt { trunk, .. } => {
                self.trunks.insert(trunk.clone(), None);
                return;
            }
            Effect::OpenLane { .. } | Effect::Ban { .. } | Effect::Notify(_) => return,
        };
        self.refused.put(address, ());
    }

    /// What is to be tried again now.
    fn again(&mut self, settings: &Settings) -> Touched {
        let addresses = std::iter::from_fn(|| self.refused.pop_lru()).take(AGAIN_MAX);
        let addresses = addresses.map(|(address, ())| address).collect();
        let is_unknown = |name: &str| self.trunks.get(name).is_some_and(Option::is_none);
        let trunks = settings.trunks.iter().enumerate().filter(|(_, trunk)| is_unknown(&trunk.name));
        let trunks = trunks.map(|(place, _)| place).collect();
        Touched { addresses, trunks }
    }

    fn set_trunk(&mut self, trunk: &str, addresses: Vec<IpAddr>, effects: &mut Vec<Effect>) {
        let none = Some(Vec::new());
        let was = self.trunks.get(trunk).unwrap_or(&none);
        if was.as_ref() != Some(&addresses) {
            self.trunks.insert(trunk.to_owned(), Some(addresses.clone()));
            effects.push(Effect::TrunkAt { trunk: trunk.to_owned(), addresses });
        }
    }
}

impl Trust {
    /// The kernel did not take one of the effects that were returned last: nobody counts as let in for it, and
    /// [`tick`](Self::tick) tries again for as long as it is wanted. A ban, a lane and a notice are not tried again.
    pub fn refused(&mut self, effect: &Effect) {
        self.kernel.refused(effect);
    }

    /// Touches what the kernel refused before.
    pub(super) fn try_again(&mut self, effects: &mut Vec<Effect>) {
        let Touched { addresses, trunks } = self.kernel.again(&self.settings);
        self.touched.addresses.extend(addresses);
        self.touched.trunks.extend(trunks);
        effects.extend(self.kernel.forget_trunks(&self.settings));
    }

    /// Tells the kernel what changed at the addresses and trunks that were touched.
    pub(super) fn settle(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Touched { addresses, trunks } = mem::take(&mut self.touched);
        for address in addresses {
            let wanted = self.admitted(address, now);
            self.kernel.set_address(address, wanted, effects);
        }
        for trunk in trunks {
            let Some(settings) = self.settings.trunks.get(trunk) else {
                continue;
            };
            let places = settings.aors.iter().flat_map(|aor| self.table.of(aor));
            let registrations = places.filter_map(|place| self.table.at_place(place));
            let own = registrations.filter(|registration| registration.trunk == Some(trunk));
            let standing = own.filter(|registration| self.until_ns(registration, now).is_some());
            let mut addresses: Vec<IpAddr> = standing.map(|registration| registration.flow.address).collect();
            addresses.sort_unstable();
            addresses.dedup();
            self.kernel.set_trunk(&settings.name, addresses, effects);
        }
    }

    /// Until when an address is let in, by all who are registered there.
    fn admitted(&self, address: IpAddr, now: Now) -> Option<Admitted> {
        let mut admitted = Admitted::default();
        for registration in self.table.at(address) {
            let Some(until_ns) = self.until_ns(registration, now) else {
                continue;
            };
            admitted.told.until_ns = admitted.told.until_ns.max(until_ns);
            if self.settings.scope() == TrustScope::Flow {
                let told = admitted.flows.entry(registration.flow).or_default();
                told.until_ns = until_ns.max(told.until_ns);
            }
        }
        (admitted.told.until_ns > 0).then_some(admitted)
    }

    /// Until when a registration lets its address in, grace counted; none where it does not.
    fn until_ns(&self, registration: &Registration, now: Now) -> Option<u64> {
        let on = self.settings.on || registration.witness == Witness::Operator;
        let trunk = registration.trunk.and_then(|trunk| self.settings.trunks.get(trunk));
        let fits = trunk.is_none_or(|trunk| trunk.may_register_from(registration.flow.address));
        let until_ns = registration.expires_ns.saturating_add(nanoseconds(self.settings.grace()));
        (on && fits && until_ns > now.boot_ns).then_some(until_ns)
    }
}
