//! What the kernel was told, and what it has to be told for it to agree with the registrations that stand.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    net::IpAddr,
};

use super::{
    Effect, Flow, Now, Witness,
    failures::nanoseconds,
    keeper::{Touched, Trust},
    settings::Settings,
    table::Registration,
};
use crate::policy::TrustScope;

/// What the kernel was told.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    addresses: HashMap<IpAddr, Admitted>,
    trunks: HashMap<String, Vec<IpAddr>>,
}

/// What it was told about an address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Admitted {
    until_ns: u64,
    /// With `trust = "flow"` only.
    flows: BTreeMap<Flow, u64>,
}

impl Kernel {
    pub(super) fn addresses(&self) -> impl Iterator<Item = (IpAddr, u64)> {
        self.addresses.iter().map(|(address, admitted)| (*address, admitted.until_ns))
    }

    pub(super) fn admits(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    /// Trunks that are none any more, or that registrations cannot belong to any more, stand nowhere.
    pub(super) fn forget_trunks(&mut self, settings: &Settings) -> Vec<Effect> {
        let is_left = |name: &String| settings.trunks.iter().any(|trunk| trunk.name == *name);
        let gone = self.trunks.extract_if(|name, _| !is_left(name));
        gone.map(|(trunk, _)| Effect::TrunkAt { trunk, addresses: Vec::new() }).collect()
    }

    fn set_address(&mut self, address: IpAddr, wanted: Option<Admitted>, effects: &mut Vec<Effect>) {
        let was = self.addresses.get(&address);
        if was == wanted.as_ref() {
            return;
        }
        if let Some(wanted) = &wanted
            && was.is_none_or(|was| was.until_ns != wanted.until_ns)
        {
            effects.push(Effect::Admit { address, until_ns: wanted.until_ns });
        }
        let none = Admitted::default();
        let (before, after) = (was.unwrap_or(&none), wanted.as_ref().unwrap_or(&none));
        let changed = after.flows.iter().filter(|(flow, until_ns)| before.flows.get(flow) != Some(until_ns));
        effects
            .extend(changed.map(|(flow, until_ns)| Effect::AdmitFlow { flow: *flow, until_ns: *until_ns }));
        let gone = before.flows.keys().filter(|flow| !after.flows.contains_key(flow));
        effects.extend(gone.map(|flow| Effect::DismissFlow { flow: *flow }));
        match wanted {
            Some(wanted) => {
                self.addresses.insert(address, wanted);
            }
            None => {
                self.addresses.remove(&address);
                effects.push(Effect::Dismiss { address });
            }
        }
    }

    fn set_trunk(&mut self, trunk: &str, addresses: Vec<IpAddr>, effects: &mut Vec<Effect>) {
        let was = self.trunks.get(trunk).map_or(&[][..], Vec::as_slice);
        if was != addresses {
            self.trunks.insert(trunk.to_owned(), addresses.clone());
            effects.push(Effect::TrunkAt { trunk: trunk.to_owned(), addresses });
        }
    }
}

impl Trust {
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
            admitted.until_ns = admitted.until_ns.max(until_ns);
            if self.settings.scope() == TrustScope::Flow {
                let flow = admitted.flows.entry(registration.flow).or_default();
                *flow = until_ns.max(*flow);
            }
        }
        (admitted.until_ns > 0).then_some(admitted)
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
