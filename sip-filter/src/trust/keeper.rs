//! The trust that stands, and what changes it: reports, the policy and time. Replies on the wire are in `replies`.
//!
//! Every change is made to the table first; what the kernel is to do follows by comparing what stands with what the
//! kernel was told (`kernel`).

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use sip_filter_common::maps::REGISTERED_MAX;

use super::{
    Binding, Effect, Flow, Notice, Now, SipTransport, What, Witness,
    failures::{Failures, SPIKE_WITHIN, nanoseconds, network_of},
    kernel::Kernel,
    settings::{Settings, is_spared},
    state::Stored,
    table::{Place, Registration, Table},
};
use crate::{policy::Policy, sip::canonical_aor};

/// At how many addresses anybody can be registered; what the kernel's table holds.
const REGISTRATIONS_MAX: usize = REGISTERED_MAX as usize;
/// How long what a PBX said stands at most once the policy names it no more.
const UNKNOWN_PBX_LEFT: Duration = Duration::from_secs(120);
/// How many registrations there can be in all.
pub(super) const CONTACTS_MAX: usize = 2 * REGISTRATIONS_MAX;
/// How many contacts an address of record can have, as one source sees it.
const CONTACTS_PER_AOR_MAX: usize = 64;
/// How many registrations can stand at one address: a large office behind NAT.
const CONTACTS_PER_ADDRESS_MAX: usize = 4_096;
/// No registration is believed for longer, whatever was granted.
pub const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes that are kept of an address of record or a contact; longer ones are no registration.
pub(super) const TEXT_MAX: usize = 1_024;
/// A refusal for the same reason is told once in so long.
const TOLD_AGAIN_NS: u64 = 60_000_000_000;

/// Who is trusted, and who fails.
///
/// With 65,536 addresses registered a refresh takes 4 µs on a slow core, and 35 µs for an office of 4,096 phones behind
/// one address; there, with `trust = "flow"`, 1.7 ms. [`stored`](Self::stored) takes 30 ms, and
/// [`configure`](Self::configure) 0.1 to 0.2 s.
#[derive(Debug)]
pub struct Trust {
    pub(super) settings: Settings,
    pub(super) table: Table,
    pub(super) failures: Failures,
    pub(super) kernel: Kernel,
    pub(super) touched: Touched,
    pub(super) limits: Limits,
    told: HashMap<Refusal, u64>,
    revision: u64,
}

/// What has to be compared with what the kernel was told.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) trunks: BTreeSet<usize>,
}

/// The limits in force, which tests draw closer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) addresses: usize,
    pub(super) contacts: usize,
    pub(super) per_aor: usize,
    pub(super) per_address: usize,
}

/// Why a registration lets nobody in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
enum Refusal {
    #[error("trunk {0} may not register from there; add the address to its allow list if it is the trunk's")]
    NotTheTrunks(String),
    #[error("as many addresses are registered as can be ({REGISTRATIONS_MAX})")]
    Addresses,
    #[error("as many contacts are registered as can be ({CONTACTS_MAX})")]
    Contacts,
    #[error("its address of record has as many contacts as can be ({CONTACTS_PER_AOR_MAX})")]
    PerAor,
    #[error("as many contacts are registered at its address as can be ({CONTACTS_PER_ADDRESS_MAX})")]
    PerAddress,
}

/// A registration, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The address of record.
    pub aor: String,
    /// The contact's URI; empty where it is not known.
    pub contact: String,
    /// Where it really is.
    pub address: IpAddr,
    /// Its port; 0 where it is not known.
    pub port: u16,
    /// How it came.
    pub transport: SipTransport,
    /// Who says so.
    pub witness: Witness,
    /// How much longer it stands, grace not counted.
    pub remaining: Duration,
    /// The trunk that it belongs to.
    pub trunk: Option<String>,
}

impl Trust {
    /// Trusts nobody yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            table: Table::default(),
            failures: Failures::new(),
            kernel: Kernel::default(),
            touched: Touched::default(),
            limits: Limits {
                addresses: REGISTRATIONS_MAX,
                contacts: CONTACTS_MAX,
                per_aor: CONTACTS_PER_AOR_MAX,
                per_address: CONTACTS_PER_ADDRESS_MAX,
            },
            told: HashMap::new(),
            revision: 0,
        }
    }

    /// Goes by another policy from now on; what is registered stays so, even while the policy lets none of it in.
    pub fn configure(&mut self, settings: Settings, now: Now) -> Vec<Effect> {
        let mut effects = self.kernel.forget_trunks(&settings);
        self.settings = settings;
        for registration in self.table.iter_mut() {
            registration.trunk = self.settings.trunk_of(&registration.aor);
            self.touched.addresses.insert(registration.flow.address);
        }
        self.touched.trunks.extend(0..self.settings.trunks.len());
        self.end_unknown(now);
        self.settle(now, &mut effects);
        effects
    }

    /// Of what a PBX said that is not asked any more nobody tells the end. One that has another name now has time to say it
    /// once more.
    fn end_unknown(&mut self, now: Now) {
        let until_ns = now.boot_ns.saturating_add(nanoseconds(UNKNOWN_PBX_LEFT));
        let is_late = |(_, registration): &(Place, &Registration)| {
            let Witness::Pbx(name) = &registration.witness else { return false };
            !self.settings.pbxs.contains(name) && registration.expires_ns > until_ns
        };
        let late: Vec<_> =
            self.table.iter().filter(is_late).map(|(place, late)| (place, late.clone())).collect();
        for (place, registration) in late {
            self.touch(&registration);
            self.table.renew(place, &Registration { expires_ns: until_ns, ..registration });
        }
    }

    /// Ends what has ended, grace counted, and forgets failures that are too old; to be called about once a second.
    pub fn tick(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let grace_ns = nanoseconds(self.settings.grace());
        // Those within a grace that a new policy makes shorter end here too.
        while let Some(place) = now.boot_ns.checked_sub(grace_ns).and_then(|by_ns| self.table.ended(by_ns)) {
            self.remove(place);
        }
        let within = self.settings.prove.as_ref().map_or(Duration::ZERO, |prove| prove.failures_within);
        self.failures.forget(within, now.boot_ns);
        if let Some(count) = self.failures.spike(now.boot_ns) {
            let what = What::FailedRegistrations { count, within: SPIKE_WITHIN };
            effects.push(notify(now, None, what));
        }
        self.try_again(&mut effects);
        self.settle(now, &mut effects);
        effects
    }

    /// What is registered, in the order of addresses of record.
    pub fn listing(&self, now: Now) -> Vec<Entry> {
        self.entries(self.table.iter().map(|(_, registration)| registration), now)
    }

    /// The same of those whose address of record [could be](crate::sip::could_be_one) this one.
    pub fn listing_of(&self, aor: &str, now: Now) -> Vec<Entry> {
        let places = self.table.of(&canonical_aor(aor));
        self.entries(places.into_iter().filter_map(|place| self.table.at_place(place)), now)
    }

    fn entries<'a>(&'a self, registrations: impl Iterator<Item = &'a Registration>, now: Now) -> Vec<Entry> {
        let entry = |registration: &Registration| Entry {
            aor: registration.aor.to_string(),
            contact: registration.contact.to_string(),
            address: registration.flow.address,
            port: registration.flow.port,
            transport: registration.flow.transport,
            witness: registration.witness.clone(),
            remaining: remaining(registration, now),
            trunk: self.trunk_name(registration.trunk),
        };
        let mut entries: Vec<Entry> = registrations.map(entry).collect();
        entries.sort_by(|one, other| (&one.aor, &one.contact).cmp(&(&other.aor, &other.contact)));
        entries
    }

    /// True where somebody is registered at an address and let in for it.
    pub fn is_registered(&self, address: IpAddr) -> bool {
        self.kernel.admits(address)
    }

    /// Grows whenever what [`stored`](Self::stored) returns changes other than by the passing of time.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What is to outlive a restart.
    pub fn stored(&self, now: Now) -> Vec<Stored> {
        let stored = |registration: &Registration| Stored {
            aor: registration.aor.to_string(),
            contact: registration.contact.to_string(),
            flow: registration.flow,
            witness: registration.witness.clone(),
            remaining: remaining(registration, now),
        };
        self.table.iter().map(|(_, registration)| stored(registration)).collect()
    }

    /// Takes back what was stored, before anything else comes in.
    pub fn restore(&mut self, stored: Vec<Stored>, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        for Stored { aor, contact, flow, witness, remaining } in stored {
            let binding = Binding { aor, contact, flow, lifetime: remaining };
            self.registered(&witness, &binding, now, &mut effects);
        }
        self.end_unknown(now);
        self.settle(now, &mut effects);
        effects
    }

    /// Puts a registration in place of what it was before, if it may stand; otherwise what it was is gone too.
    pub(super) fn put(
        &mut self,
        mut registration: Registration,
        was: Option<Place>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        registration.trunk = self.settings.trunk_of(&registration.aor);
        let address = registration.flow.address;
        let renewed = was
            .filter(|place| self.table.at_place(*place).is_some_and(|before| before.flow.address == address));
        if let Some(place) = renewed {
            self.table.renew(place, &registration);
            self.touch(&registration);
            self.failures.forgive(address);
            return;
        }
        let moved_from = was.and_then(|place| self.remove(place)).map(|before| before.flow.address);
        let (aor, trunk) = (registration.aor.to_string(), self.trunk_name(registration.trunk));
        if let Err(refusal) = self.check(&registration) {
            let told = self.told.get(&refusal).is_some_and(|told| now.boot_ns < told + TOLD_AGAIN_NS);
            if !told {
                let what = What::RegistrationRefused { aor, address, cause: refusal.to_string() };
                self.told.insert(refusal, now.boot_ns);
                effects.push(notify(now, trunk, what));
            }
            return;
        }
        if let Some(old) = moved_from {
            effects.push(notify(now, trunk, What::RegistrationMoved { aor, old, new: address }));
        }
        self.touch(&registration);
        self.table.insert(registration);
        self.failures.forgive(address);
    }

    fn check(&self, registration: &Registration) -> Result<(), Refusal> {
        let address = registration.flow.address;
        if let Some(trunk) = registration.trunk.and_then(|trunk| self.settings.trunks.get(trunk))
            && !trunk.may_register_from(address)
        {
            return Err(Refusal::NotTheTrunks(trunk.name.clone()));
        }
        let at = self.table.at(address).len();
        let same_source = |place: &Place| {
            let other = self.table.at_place(*place);
            other.is_some_and(|other| other.witness == registration.witness && other.aor == registration.aor)
        };
        let of_aor = self.table.of(&registration.aor).iter().filter(|place| same_source(place)).count();
        match () {
            () if at == 0 && self.table.addresses() >= self.limits.addresses => Err(Refusal::Addresses),
            () if self.table.len() >= self.limits.contacts => Err(Refusal::Contacts),
            () if of_aor >= self.limits.per_aor => Err(Refusal::PerAor),
            () if at >= self.limits.per_address => Err(Refusal::PerAddress),
            () => Ok(()),
        }
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<Registration> {
        let registration = self.table.remove(place)?;
        self.touch(&registration);
        Some(registration)
    }

    fn touch(&mut self, registration: &Registration) {
        self.revision += 1;
        self.touched.addresses.insert(registration.flow.address);
        self.touched.trunks.extend(registration.trunk);
    }

    /// Counts a wrong answer to a challenge.
    pub(super) fn fail(&mut self, policy: &Policy, address: IpAddr, now: Now, effects: &mut Vec<Effect>) {
        self.failures.note(now.boot_ns);
        // One wrong phone among a thousand behind one address is not to lock out the others.
        if self.is_registered(address) || is_spared(policy, address) {
            return;
        }
        let Some(prove) = &self.settings.prove else {
            return;
        };
        if self.failures.fail(address, prove.failures, prove.failures_within, now.boot_ns) {
            let within = humantime::format_duration(prove.failures_within);
            let cause = format!("{} wrong answers to challenges within {within}", prove.failures);
            let network = network_of(address);
            let is_home = |(_, known): (_, &Registration)| network_of(known.flow.address) == network;
            // Who stands at the network's first address would be banned with it.
            let is_alone = is_spared(policy, network) || self.table.iter().any(is_home);
            let address = if is_alone { address } else { network };
            effects.push(Effect::Ban { address, duration: prove.ban, cause });
        }
    }

    pub(super) fn trunk_name(&self, trunk: Option<usize>) -> Option<String> {
        trunk.and_then(|trunk| self.settings.trunks.get(trunk)).map(|trunk| trunk.name.clone())
    }
}

impl Registration {
    /// One that was made or refreshed now.
    pub(super) fn new(
        aor: &str,
        contact: &str,
        flow: Flow,
        witness: Witness,
        stated_ns: u64,
        now_ns: u64,
    ) -> Self {
        let expires_ns = stated_ns.min(now_ns.saturating_add(nanoseconds(LIFETIME_MAX)));
        let (aor, contact) = (Arc::from(aor), contact.into());
        Self { aor, contact, flow, witness, expires_ns, stated_ns, refreshed_ns: now_ns, trunk: None }
    }
}

fn remaining(registration: &Registration, now: Now) -> Duration {
    Duration::from_nanos(registration.expires_ns.saturating_sub(now.boot_ns))
}

pub(super) fn notify(now: Now, trunk: Option<String>, what: What) -> Effect {
    Effect::Notify(Notice { time: now.wall, trunk, what })
}
