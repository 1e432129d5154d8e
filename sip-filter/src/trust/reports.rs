//! What PBXs report and the operator says.

use std::collections::{BTreeSet, HashSet};

use super::{
    Binding, Effect, Flow, Now, Report, Unplaced, Witness,
    failures::nanoseconds,
    keeper::{TEXT_MAX, Trust},
    table::{Place, Registration},
};
use crate::{policy::Policy, sip::canonical_aor};

impl Trust {
    /// Takes what a PBX reports or the operator says. The policy is asked only who is never banned.
    pub fn report(&mut self, policy: &Policy, witness: &Witness, report: Report, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        match report {
            Report::Snapshot { bindings, unplaced } => {
                self.snapshot(witness, &bindings, &unplaced, now, &mut effects);
            }
            Report::Registered(binding) => self.registered(witness, &binding, now, &mut effects),
            Report::Unregistered { aor, contact, flow } => {
                self.unregistered(witness, &aor, contact.as_deref(), flow);
            }
            Report::Authenticated(flow) => self.failures.forgive(flow.address.to_canonical()),
            Report::Challenged(flow) => {
                let address = flow.address.to_canonical();
                effects.extend((!self.is_registered(address)).then_some(Effect::OpenLane { address }));
            }
            Report::Failed(flow) => self.fail(policy, flow.address.to_canonical(), now, &mut effects),
            // What it said ends by itself.
            Report::Lost => {}
        }
        self.settle(now, &mut effects);
        effects
    }

    fn snapshot(
        &mut self,
        witness: &Witness,
        bindings: &[Binding],
        unplaced: &[Unplaced],
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let unnamed = |contact: &str, flow: Flow| contact.is_empty().then_some(flow);
        let key = |binding: &Binding| {
            let contact = binding.contact.clone();
            (canonical_aor(&binding.aor), contact, unnamed(&binding.contact, binding.flow))
        };
        let stated: HashSet<(String, String, Option<Flow>)> = bindings.iter().map(key).collect();
        let unplaced = unplaced.iter().map(|it| (canonical_aor(&it.aor), it.contact.clone()));
        let stands: HashSet<(String, String)> = unplaced.collect();
        let is_gone = |registration: &Registration| {
            let (aor, contact) = (registration.aor.to_string(), registration.contact.to_string());
            let unnamed = unnamed(&contact, registration.flow);
            let names = (aor, contact);
            registration.witness == *witness && !stands.contains(&names) && {
                let (aor, contact) = names;
                !stated.contains(&(aor, contact, unnamed))
            }
        };
        let gone = self.table.iter().filter(|(_, registration)| is_gone(registration));
        // Those that are gone make room first.
        for place in gone.map(|(place, _)| place).collect::<Vec<_>>() {
            self.remove(place);
        }
        for binding in bindings {
            self.registered(witness, binding, now, effects);
        }
    }

    pub(super) fn registered(
        &mut self,
        witness: &Witness,
        binding: &Binding,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let aor = canonical_aor(&binding.aor);
        if aor.is_empty() || aor.len() > TEXT_MAX || binding.contact.len() > TEXT_MAX {
            return;
        }
        let flow = Flow { address: binding.flow.address.to_canonical(), ..binding.flow };
        if binding.lifetime.is_zero() {
            // A contact that is named is gone wherever it was.
            let flow = binding.contact.is_empty().then_some(flow);
            return self.unregistered(witness, &aor, Some(&binding.contact), flow);
        }
        let is_same = |place: &Place| {
            let registration = self.table.at_place(*place);
            registration.is_some_and(|registration| {
                *registration.aor == *aor && registration.is_same(witness, &binding.contact, &flow)
            })
        };
        let was = self.table.of(&aor).into_iter().find(is_same);
        let ends_ns = now.boot_ns.saturating_add(nanoseconds(binding.lifetime));
        let registration =
            Registration::new(&aor, &binding.contact, flow, witness.clone(), ends_ns, now.boot_ns);
        self.put(registration, was, now, effects);
    }

    /// Takes away what a PBX or the operator says is gone; the wire would never show what was removed by hand.
    fn unregistered(&mut self, witness: &Witness, aor: &str, contact: Option<&str>, flow: Option<Flow>) {
        let contact = contact.filter(|contact| !contact.is_empty());
        let fits = |registration: &Registration| {
            contact.is_none_or(|contact| *registration.contact == *contact)
                && flow.is_none_or(|flow| is_at(&registration.flow, &flow))
        };
        let all = self.table.of(&canonical_aor(aor));
        let at_place = |place: &Place| self.table.at_place(*place).map(|registration| (*place, registration));
        let of_aor = || all.iter().filter_map(at_place);
        let own: Vec<(Place, &Registration)> = of_aor()
            .filter(|(_, registration)| *witness == Witness::Operator || registration.witness == *witness)
            .filter(|(_, registration)| fits(registration))
            .collect();
        // The same contact as the wire showed it, where its URI may read otherwise.
        let is_seen = |registration: &Registration| {
            let same = own.iter().any(|(_, own)| is_at(&registration.flow, &own.flow));
            registration.witness == Witness::Wire && (same || fits(registration))
        };
        let seen = of_aor().filter(|(_, registration)| is_seen(registration)).map(|(place, _)| place);
        let gone: BTreeSet<Place> = own.iter().map(|(place, _)| *place).chain(seen).collect();
        for place in gone {
            self.remove(place);
        }
    }
}

/// True where a flow is that one, as far as ports are known.
fn is_at(one: &Flow, other: &Flow) -> bool {
    let same_port =
        one.port == 0 || other.port == 0 || (one.port, one.transport) == (other.port, other.transport);
    one.address == other.address && same_port
}
