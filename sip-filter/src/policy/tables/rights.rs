//! What the lists of a policy say about sources, joined where they meet.

use std::collections::HashMap;

use ipnet::IpNet;
use sip_filter_common::{
    Class,
    sources::{DENIED, NOBODY},
};

use crate::policy::{
    Listener, ListenerKind, Policy, Trunk,
    change::{Action, List, ListChange},
    registered::RegisteredTrunks,
};

/// A list that names sources.
pub(super) struct Said<'a> {
    /// Which one, where it can be changed live.
    pub(super) list: Option<List>,
    /// Whom it names.
    pub(super) prefixes: &'a [IpNet],
    /// What it says about them.
    pub(super) class: Class,
}

/// Every list of a policy, while these trunks are registered.
pub(super) fn rights<'a>(policy: &'a Policy, registered: &RegisteredTrunks) -> Vec<Said<'a>> {
    let listeners = |wanted: &dyn Fn(usize, &Listener) -> bool| {
        let numbered = policy.listeners.iter().enumerate();
        numbered
            .filter(|(number, listener)| wanted(*number, listener))
            .fold(0, |set, (number, _)| set | 1_u64 << number)
    };
    let sip = listeners(&|_, listener| listener.kind != ListenerKind::Other);
    let mut all = Vec::new();
    let mut say = |list, prefixes, class| all.push(Said { list, prefixes, class });
    say(None, &*policy.admin, Class { flags: Class::ADMIN, ..Class::NOBODY });
    say(Some(List::Deny), &policy.deny, Class::REFUSED);
    say(Some(List::Allow), &policy.allow, Class { allow: sip, ..Class::NOBODY });
    for trunk in &policy.trunks {
        let its = |number: usize| trunk.listeners.contains(&number);
        let media = listeners(&|number, listener| its(number) && listener.kind == ListenerKind::Media);
        let rest = listeners(&|number, listener| its(number) && listener.kind != ListenerKind::Media);
        let own = Some(List::Trunk(trunk.name.clone()));
        let [registers, media_waits] = restrictions(trunk, registered);
        let only_if = |restricted: bool, set: u64| if restricted { set } else { 0 };
        say(None, &trunk.deny, Class { deny: media | rest, ..Class::NOBODY });
        // One list, named once: a million entries need not be joined with themselves.
        let allow = if trunk.media.is_none() { media | rest } else { rest };
        say(own, &trunk.allow, Class { allow, registering: only_if(registers, allow), ..Class::NOBODY });
        // The answers to our own calls come back whoever is registered.
        for proxy in &trunk.outbound_proxies {
            say(None, std::slice::from_ref(&proxy.prefix), Class { allow: rest, ..Class::NOBODY });
        }
        if let Some(prefixes) = &trunk.media {
            let registering = only_if(media_waits, media);
            say(None, prefixes, Class { allow: media, registering, ..Class::NOBODY });
        }
    }
    for (number, listener) in policy.listeners.iter().enumerate() {
        say(None, &listener.allow, Class { allow: 1 << number, ..Class::NOBODY });
    }
    all
}

/// Whether those on a trunk's allow list may only register, and whether those on a media list of its own must wait.
///
/// Once a trunk is registered, the other addresses on its list lose what only they who registered have proved.
/// Its media servers never register themselves: they follow whether the trunk is registered at all.
fn restrictions(trunk: &Trunk, registered: &RegisteredTrunks) -> [bool; 2] {
    let is_registered = registered.is_registered(&trunk.name);
    [trunk.require_registration || is_registered, trunk.require_registration && !is_registered]
}

impl Said<'_> {
    /// `prefix` for every entry that holds it, and the entries within it, as the list is after a change, if there is one.
    pub(super) fn about(&self, prefix: IpNet, change: Option<&ListChange>) -> impl Iterator<Item = IpNet> {
        let changed = change.filter(|change| self.list.as_ref() == Some(&change.list));
        let changed = changed.map(|change| change.action);
        let is = move |action| changed == Some(action);
        let around = std::iter::successors(prefix.supernet(), IpNet::supernet)
            .filter(|outer| self.prefixes.binary_search(outer).is_ok())
            .map(move |_| prefix);
        let from = self.prefixes.partition_point(|entry| *entry < prefix);
        let within = self.prefixes[from..].iter().copied().take_while(move |entry| prefix.contains(entry));
        let within = within.filter(move |entry| *entry != prefix || !is(Action::Remove));
        around.chain(within).chain(is(Action::Add).then_some(prefix))
    }
}

/// Joins equal prefixes and hands down what outer prefixes say; drops those that say nothing new.
pub(super) fn inherit<P: Copy + Ord>(
    rights: &mut Vec<(P, u16)>,
    classes: &mut Classes,
    contains: impl Fn(&P, &P) -> bool,
) {
    // The order of prefixes puts an outer one before all it contains.
    rights.sort_unstable_by_key(|(prefix, _)| *prefix);
    rights.dedup_by(|(prefix, class), (kept, kept_class)| {
        let same = prefix == kept;
        if same {
            *kept_class = classes.joined(*kept_class, *class);
        }
        same
    });
    let mut open: Vec<(P, u16)> = Vec::new();
    rights.retain_mut(|(prefix, class)| {
        while open.pop_if(|(outer, _)| !contains(outer, prefix)).is_some() {}
        let outer = open.last().map_or(0, |(_, class)| *class);
        *class = classes.joined(outer, *class);
        open.push((*prefix, *class));
        *class != outer
    });
}

/// Classes in the order of their numbers; two are known to the packet path.
pub(super) struct Classes {
    pub(super) all: Vec<Class>,
    numbers: HashMap<Class, u16>,
    joined: HashMap<(u16, u16), u16>,
}

impl Default for Classes {
    fn default() -> Self {
        // At the places of their numbers.
        const { assert!(NOBODY == 0 && DENIED == 1) };
        Self {
            all: vec![Class::NOBODY, Class::REFUSED],
            numbers: HashMap::from([(Class::NOBODY, 0), (Class::REFUSED, 1)]),
            joined: HashMap::new(),
        }
    }
}

impl Classes {
    /// The number of a class; beyond 65,535, which is more than any table takes, the last one's.
    pub(super) fn number_of(&mut self, class: Class) -> u16 {
        let next = u16::try_from(self.all.len()).unwrap_or(u16::MAX);
        let number = *self.numbers.entry(class).or_insert(next);
        if number == next {
            self.all.push(class);
        }
        number
    }

    /// The class that has the rights of both.
    fn joined(&mut self, one: u16, other: u16) -> u16 {
        if one == other || other == 0 {
            return one;
        }
        if one == 0 {
            return other;
        }
        if let Some(known) = self.joined.get(&(one, other)) {
            return *known;
        }
        let [a, b] = [one, other].map(|number| self.all[usize::from(number)]);
        let number = self.number_of(both(&a, &b));
        self.joined.insert((one, other), number);
        number
    }
}

/// What two lists say together: one that lets a source in without conditions is not held back by another.
fn both(one: &Class, other: &Class) -> Class {
    let flags = one.flags | other.flags;
    // Of those whom a flag settles nothing else counts, and so they are few classes.
    if let Some(flag) = [Class::ADMIN, Class::DENIED].into_iter().find(|flag| flags & flag != 0) {
        return Class { flags: flag, ..Class::NOBODY };
    }
    let allow = one.allow | other.allow;
    let free = one.allow & !one.registering | other.allow & !other.registering;
    Class { flags: 0, deny: one.deny | other.deny, allow, registering: allow & !free }
}
