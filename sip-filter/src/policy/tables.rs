//! The exact contents of the kernel maps for one policy, as a pure value.
//!
//! Every prefix is given what all prefixes around it say too, since the kernel finds only the longest one.
//! Sources with the same rights share a class, so that an entry of the big tables is one number.

use std::{collections::HashMap, net::IpAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sip_filter_common::{
    Class, PolicyIndex,
    maps::{CLASSES_MAX, LOCAL_ADDRESSES_MAX, PORT_SETS_MAX, PREFIXES_MAX},
};

use super::{Listener, ListenerKind, Policy};

/// What the datapath writes; `index.slot` and `index.generation` are left to it.
#[derive(Debug)]
pub struct Tables {
    /// What is looked up by number.
    pub index: Box<PolicyIndex>,
    /// IPv4 prefixes and their class numbers, sorted.
    pub sources4: Vec<(Ipv4Net, u32)>,
    /// IPv6 prefixes and their class numbers, sorted.
    pub sources6: Vec<(Ipv6Net, u32)>,
    /// Local addresses and the listeners that are tied to them, sorted.
    pub local_addresses: Vec<(IpAddr, u64)>,
}

/// A policy that is larger than the kernel's tables.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the policy needs {needed} {what}, but the kernel table holds {max}: {remedy}")]
pub struct Full {
    /// What there is too much of.
    pub what: &'static str,
    /// How many the policy needs.
    pub needed: usize,
    /// How many there may be.
    pub max: usize,
    /// What the operator can do.
    pub remedy: &'static str,
}

impl Tables {
    /// Compiles a policy.
    ///
    /// # Errors
    ///
    /// [`Full`] names the table that the policy does not fit into.
    pub fn compile(policy: &Policy) -> Result<Self, Full> {
        let mut index: Box<PolicyIndex> = bytemuck::zeroed_box();
        index.mode = policy.mode as u32;
        write_ports(&policy.listeners, &mut index)?;
        let local_addresses = tie_listeners(&policy.listeners, &mut index)?;
        let (mut rights4, mut rights6) = (Vec::new(), Vec::new());
        for (prefix, class) in rights(policy) {
            match prefix {
                IpNet::V4(prefix) => rights4.push((prefix, class)),
                IpNet::V6(prefix) => rights6.push((prefix, class)),
            }
        }
        let mut classes = Classes::default();
        let sources4 = classes.number(inherit(rights4, |outer, inner| outer.contains(inner)));
        let sources6 = classes.number(inherit(rights6, |outer, inner| outer.contains(inner)));
        fits("IPv4 prefixes", sources4.len(), PREFIXES_MAX as usize, "join neighbouring prefixes")?;
        fits("IPv6 prefixes", sources6.len(), PREFIXES_MAX as usize, "join neighbouring prefixes")?;
        fits(
            "classes of sources",
            classes.all.len(),
            CLASSES_MAX,
            "let trunks share their sets of listeners",
        )?;
        index.classes[..classes.all.len()].copy_from_slice(&classes.all);
        Ok(Self { index, sources4, sources6, local_addresses })
    }
}

fn fits(what: &'static str, needed: usize, max: usize, remedy: &'static str) -> Result<(), Full> {
    if needed <= max { Ok(()) } else { Err(Full { what, needed, max, remedy }) }
}

/// Gives every port the number of the set of listeners there.
fn write_ports(listeners: &[Listener], index: &mut PolicyIndex) -> Result<(), Full> {
    let mut sets: HashMap<u64, usize> = HashMap::from([(0, 0)]);
    for transport in [sip_filter_common::Transport::Udp, sip_filter_common::Transport::Tcp] {
        let mut at_port = vec![0_u64; sip_filter_common::maps::PORTS];
        for (number, listener) in listeners.iter().enumerate().filter(|(_, l)| l.transport == transport) {
            index.transports[transport as usize] |= 1 << number;
            for range in &listener.ports {
                for port in range.clone() {
                    at_port[usize::from(port)] |= 1 << number;
                }
            }
        }
        for (port, set) in at_port.into_iter().enumerate() {
            let next = sets.len();
            let number = *sets.entry(set).or_insert(next);
            fits(
                "sets of listeners at one port",
                number + 1,
                PORT_SETS_MAX,
                "give listeners fewer overlapping port ranges",
            )?;
            index.port_sets[number] = set;
            index.ports[transport as usize][port] = u8::try_from(number).unwrap_or(0);
        }
    }
    Ok(())
}

/// Writes down which listeners are tied to VLANs and local addresses, and returns the latter.
fn tie_listeners(listeners: &[Listener], index: &mut PolicyIndex) -> Result<Vec<(IpAddr, u64)>, Full> {
    let mut tied: HashMap<IpAddr, u64> = HashMap::new();
    for (number, listener) in listeners.iter().enumerate() {
        let bit = 1 << number;
        if listener.addresses.is_empty() {
            index.any_address |= bit;
        }
        for address in &listener.addresses {
            *tied.entry(*address).or_insert(0) |= bit;
        }
        if listener.vlans.is_empty() {
            index.any_vlan |= bit;
        }
        for vlan in &listener.vlans {
            index.vlans[usize::from(*vlan)] |= bit;
        }
    }
    fits(
        "local addresses",
        tied.len(),
        LOCAL_ADDRESSES_MAX as usize,
        "leave `addresses` empty where every address will do",
    )?;
    let mut tied: Vec<_> = tied.into_iter().collect();
    tied.sort_unstable();
    Ok(tied)
}

/// Every prefix that any list names, with what that list says about it.
fn rights(policy: &Policy) -> impl Iterator<Item = (IpNet, Class)> {
    let listeners = |wanted: &dyn Fn(usize, &Listener) -> bool| {
        let numbered = policy.listeners.iter().enumerate();
        numbered
            .filter(|(number, listener)| wanted(*number, listener))
            .fold(0, |set, (number, _)| set | 1_u64 << number)
    };
    let mut all = Vec::new();
    let mut say =
        |prefixes: &[IpNet], class: Class| all.extend(prefixes.iter().map(|prefix| (*prefix, class)));
    say(&policy.admin, Class { flags: Class::ADMIN, ..Class::NOBODY });
    say(&policy.deny, Class { flags: Class::DENIED, ..Class::NOBODY });
    let sip = listeners(&|_, listener| listener.kind != ListenerKind::Other);
    say(&policy.allow, Class { allow: sip, ..Class::NOBODY });
    for trunk in &policy.trunks {
        let its = |number: usize| trunk.listeners.contains(&number);
        let media = listeners(&|number, listener| its(number) && listener.kind == ListenerKind::Media);
        let rest = listeners(&|number, listener| its(number) && listener.kind != ListenerKind::Media);
        say(&trunk.allow, Class { allow: rest, ..Class::NOBODY });
        say(trunk.media(), Class { allow: media, ..Class::NOBODY });
        say(&trunk.deny, Class { deny: media | rest, ..Class::NOBODY });
    }
    for (number, listener) in policy.listeners.iter().enumerate() {
        say(&listener.allow, Class { allow: 1 << number, ..Class::NOBODY });
    }
    all.into_iter()
}

fn joined(one: Class, other: Class) -> Class {
    Class { flags: one.flags | other.flags, deny: one.deny | other.deny, allow: one.allow | other.allow }
}

/// Joins equal prefixes and hands down what outer prefixes say; drops those that say nothing new.
fn inherit<P: Copy + Ord>(mut rights: Vec<(P, Class)>, contains: impl Fn(&P, &P) -> bool) -> Vec<(P, Class)> {
    // The order of prefixes puts an outer one before all it contains.
    rights.sort_unstable_by_key(|(prefix, _)| *prefix);
    rights.dedup_by(|(prefix, class), (kept, kept_class)| {
        let same = prefix == kept;
        if same {
            *kept_class = joined(*kept_class, *class);
        }
        same
    });
    let mut open: Vec<(P, Class)> = Vec::new();
    rights.retain_mut(|(prefix, class)| {
        while open.last().is_some_and(|(outer, _)| !contains(outer, prefix)) {
            open.pop();
        }
        let outer = open.last().map_or(Class::NOBODY, |(_, class)| *class);
        *class = joined(outer, *class);
        open.push((*prefix, *class));
        *class != outer
    });
    rights
}

/// Classes in the order of their numbers.
struct Classes {
    all: Vec<Class>,
    numbers: HashMap<[u64; 3], u32>,
}

impl Default for Classes {
    fn default() -> Self {
        Self { all: vec![Class::NOBODY], numbers: HashMap::from([([0; 3], 0)]) }
    }
}

impl Classes {
    fn number<P>(&mut self, rights: Vec<(P, Class)>) -> Vec<(P, u32)> {
        rights.into_iter().map(|(prefix, class)| (prefix, self.number_of(class))).collect()
    }

    fn number_of(&mut self, class: Class) -> u32 {
        let next = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry([class.flags, class.deny, class.allow]).or_insert(next);
        if number == next {
            self.all.push(class);
        }
        number
    }
}
