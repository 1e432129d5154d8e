//! The registrations that stand, found by address of record, by address and by expiry.
//!
//! Keeps its indices in step and knows nothing of why a registration is there or what follows from it.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use slab::Slab;

use super::{Flow, Witness};
use crate::sip::user;

/// Where a registration stands in the table; another one may stand there once it is removed.
pub(super) type Place = usize;

/// A contact of an address of record, and where its REGISTER really came from.
#[derive(Debug, Clone)]
pub(super) struct Registration {
    /// Canonical.
    pub(super) aor: Arc<str>,
    /// The contact's URI; empty where it is not known.
    pub(super) contact: Box<str>,
    pub(super) flow: Flow,
    pub(super) witness: Witness,
    /// When it ends, grace not counted.
    pub(super) expires_ns: u64,
    /// When it ends by what the source said, which may be later than what is believed.
    pub(super) stated_ns: u64,
    /// When it was last made or refreshed.
    pub(super) refreshed_ns: u64,
    /// Its trunk, by its place in the settings.
    pub(super) trunk: Option<usize>,
}

impl Registration {
    /// True where both are the same contact as the same source sees it; one without a URI is known by its flow.
    pub(super) fn is_same(&self, witness: &Witness, contact: &str, flow: &Flow) -> bool {
        let unnamed = self.contact.is_empty() && contact.is_empty();
        self.witness == *witness && *self.contact == *contact && (!unnamed || self.flow == *flow)
    }
}

/// All contacts of one address of record.
#[derive(Debug, Default)]
pub(super) struct Account {
    places: Vec<Place>,
    /// The SIP server was seen to leave other devices' contacts out of its replies.
    pub(super) lists_one: bool,
    /// The last reply that was counted: to whom, a digest of its transaction, and when.
    pub(super) last_reply: Option<(Flow, u64, u64)>,
}

/// The registrations.
#[derive(Debug, Default)]
pub(super) struct Table {
    all: Slab<Registration>,
    by_aor: HashMap<Arc<str>, Account>,
    by_user: HashMap<Box<str>, HashSet<Arc<str>>>,
    by_address: HashMap<IpAddr, Vec<Place>>,
    by_expiry: BTreeSet<(u64, Place)>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many addresses anybody is registered at.
    pub(super) fn addresses(&self) -> usize {
        self.by_address.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Registration)> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Registration> {
        self.all.iter_mut().map(|(_, registration)| registration)
    }

    pub(super) fn at_place(&self, place: Place) -> Option<&Registration> {
        self.all.get(place)
    }

    /// Those at an address, in no order.
    pub(super) fn at(&self, address: IpAddr) -> impl ExactSizeIterator<Item = &Registration> {
        let places = self.by_address.get(&address).map_or(&[][..], Vec::as_slice);
        places.iter().map(|place| &self.all[*place])
    }

    pub(super) fn account(&mut self, aor: &str) -> Option<&mut Account> {
        self.by_aor.get_mut(aor)
    }

    /// Those whose address of record [could be](crate::sip::could_be_one) that one, canonical.
    pub(super) fn of(&self, aor: &str) -> Vec<Place> {
        let name = user(aor);
        let mut places = Vec::new();
        let mut add = |aor: &str| {
            if let Some(account) = self.by_aor.get(aor) {
                places.extend_from_slice(&account.places);
            }
        };
        if name == aor {
            let aors = self.by_user.get(name).into_iter().flatten();
            aors.for_each(|aor| add(aor));
        } else {
            add(aor);
            add(name);
        }
        places
    }

    pub(super) fn insert(&mut self, mut registration: Registration) -> Place {
        if let Some((aor, _)) = self.by_aor.get_key_value(&*registration.aor) {
            registration.aor = Arc::clone(aor);
        }
        let aor = Arc::clone(&registration.aor);
        let (address, expires_ns) = (registration.flow.address, registration.expires_ns);
        let place = self.all.insert(registration);
        self.by_user.entry(user(&aor).into()).or_default().insert(Arc::clone(&aor));
        self.by_aor.entry(aor).or_default().places.push(place);
        self.by_address.entry(address).or_default().push(place);
        self.by_expiry.insert((expires_ns, place));
        place
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<Registration> {
        let registration = self.all.try_remove(place)?;
        self.by_expiry.remove(&(registration.expires_ns, place));
        let address = registration.flow.address;
        if take_out(self.by_address.get_mut(&address), place) {
            self.by_address.remove(&address);
        }
        let aor = &registration.aor;
        if take_out(self.by_aor.get_mut(aor).map(|account| &mut account.places), place) {
            self.by_aor.remove(aor);
            let user = user(aor);
            if self.by_user.get_mut(user).is_some_and(|aors| aors.remove(aor) && aors.is_empty()) {
                self.by_user.remove(user);
            }
        }
        Some(registration)
    }

    /// Changes when a registration ends, and where at its address it stands.
    pub(super) fn renew(&mut self, place: Place, renewed: &Registration) {
        let Some(registration) = self.all.get_mut(place) else {
            return;
        };
        debug_assert_eq!(registration.flow.address, renewed.flow.address);
        self.by_expiry.remove(&(registration.expires_ns, place));
        registration.flow = renewed.flow;
        registration.expires_ns = renewed.expires_ns;
        registration.stated_ns = renewed.stated_ns;
        registration.refreshed_ns = renewed.refreshed_ns;
        self.by_expiry.insert((registration.expires_ns, place));
    }

    /// One that ends no later than that, the earliest first.
    pub(super) fn ended(&self, by_ns: u64) -> Option<Place> {
        self.by_expiry.first().filter(|(expires_ns, _)| *expires_ns <= by_ns).map(|(_, place)| *place)
    }
}

/// Takes a place off an index's list; true where the list is empty now.
fn take_out(places: Option<&mut Vec<Place>>, place: Place) -> bool {
    places.is_some_and(|places| {
        if let Some(index) = places.iter().position(|other| *other == place) {
            places.swap_remove(index);
        }
        places.is_empty()
    })
}
