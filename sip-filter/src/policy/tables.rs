//! The exact contents of the kernel maps for one policy, as a pure value.
//!
//! Every prefix is given what all prefixes around it say too, since the kernel finds only the longest one.
//! Sources with the same rights share a class, so that an entry of the big tables is one number.

mod ipv4;
mod ipv6;
mod lane;
mod memory;
mod near;
mod regions;
mod rights;
mod runs;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;
use sip_filter_common::{
    Class, PolicyIndex, Transport,
    maps::{
        Blocks4, CHUNK_LINES, CHUNKS_MAX, CLASSES_MAX, ClassEntry, Filter6, LINE_WORDS, LOCAL_ADDRESSES_MAX,
        PORT_SETS_MAX, PREFIXES_MAX,
    },
};

use self::{
    memory::Memory,
    regions::Regions,
    rights::{Classes, Said, inherit, rights},
};
use super::{Listener, Policy, change::ListChange, prefix::canonical, registered::RegisteredTrunks};

/// What the datapath writes.
#[derive(Debug)]
pub struct Tables {
    /// What is looked up by number.
    pub index: Box<PolicyIndex>,
    /// Where anybody is named in IPv4.
    pub blocks4: Box<Blocks4>,
    /// Presence bits of IPv6, and lines of sites and hosts where they are few.
    pub filter6: Box<Filter6>,
    /// Table memory, which the index points into.
    pub lines: Vec<[u64; LINE_WORDS]>,
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
    /// Compiles a policy, as it is while these trunks are registered.
    ///
    /// # Errors
    ///
    /// [`Full`] names the table that the policy does not fit into.
    pub fn compile(policy: &Policy, registered: &RegisteredTrunks) -> Result<Self, Full> {
        let mut index: Box<PolicyIndex> = bytemuck::zeroed_box();
        index.drops = policy.mode.drops();
        lane::write(policy, &mut index);
        write_ports(&policy.listeners, &mut index)?;
        let local_addresses = tie_listeners(&policy.listeners, &mut index)?;
        index.tied = index.at_vlans | index.at_addresses;
        index.unsettled = index.prove | index.tied;
        let mut classes = Classes::default();
        let (mut sources4, mut sources6) = (Vec::new(), Vec::new());
        // A list that names nobody needs no class.
        for said in rights(policy, registered).into_iter().filter(|said| !said.prefixes.is_empty()) {
            let number = classes.number_of(said.class);
            for prefix in said.prefixes {
                match prefix {
                    IpNet::V4(prefix) => sources4.push((*prefix, number)),
                    IpNet::V6(prefix) => sources6.push((*prefix, number)),
                }
            }
        }
        inherit(&mut sources4, &mut classes, |outer, inner| outer.contains(inner));
        inherit(&mut sources6, &mut classes, |outer, inner| outer.contains(inner));
        fits("IPv4 prefixes", sources4.len(), PREFIXES_MAX as usize, "join neighbouring prefixes")?;
        fits("IPv6 prefixes", sources6.len(), PREFIXES_MAX as usize, "join neighbouring prefixes")?;
        fits(
            "classes of sources",
            classes.all.len(),
            CLASSES_MAX,
            "let trunks share their sets of listeners",
        )?;
        for (entry, class) in index.classes.iter_mut().zip(&classes.all) {
            *entry = ClassEntry::of(*class);
        }
        let mut filter6: Box<Filter6> = bytemuck::zeroed_box();
        let mut blocks4: Box<Blocks4> = bytemuck::zeroed_box();
        let mut memory = Memory::default();
        let mut regions = Regions::default();
        ipv4::compile(sources4, &mut index, &mut blocks4, &mut regions, &mut memory);
        ipv6::compile(sources6, &mut index.sources, &mut filter6, &mut regions, &mut memory);
        let PolicyIndex { sources, regions4, .. } = &mut *index;
        regions.place(sources, regions4, &mut memory);
        let lines_max = CHUNKS_MAX as usize * CHUNK_LINES;
        fits("lines of table memory", memory.lines.len(), lines_max, "join neighbouring prefixes")?;
        Ok(Self { index, blocks4, filter6, lines: memory.lines, local_addresses })
    }
}

/// What a policy will say, after a change, about the addresses of the prefix that is changed, as prefixes of which the
/// longest one counts: that prefix itself, and what differs within. `None` where that is more than `max` prefixes.
///
/// What a live change puts before the tables in force; looks at no more of the lists than that.
pub fn classes_after(
    policy: &Policy,
    registered: &RegisteredTrunks,
    change: &ListChange,
    max: usize,
) -> Option<Vec<(IpNet, Class)>> {
    classes_within(&rights(policy, registered), canonical(change.prefix), Some(change), max)
}

/// What a policy says, while these trunks are registered, about the addresses on the lists of one of them: one group for
/// each of the widest prefixes there, of the form of [`classes_after`]. `None` where that is more than `max` prefixes.
///
/// What is put before the tables in force when that trunk registers or ceases to be registered.
pub fn classes_of_trunk(
    policy: &Policy,
    registered: &RegisteredTrunks,
    trunk: &str,
    max: usize,
) -> Option<Vec<Vec<(IpNet, Class)>>> {
    let Some(trunk) = policy.trunks.iter().find(|candidate| candidate.name == trunk) else {
        return Some(Vec::new());
    };
    let own_media = trunk.media.as_deref().unwrap_or_default();
    if trunk.allow.len() + own_media.len() > max {
        return None;
    }
    let mut prefixes: Vec<IpNet> = trunk.allow.iter().chain(own_media).copied().collect();
    prefixes.sort_unstable();
    // The order of prefixes puts an outer one before all it contains.
    prefixes.dedup_by(|inner, outer| outer.contains(&*inner));
    let lists = rights(policy, registered);
    let mut left = max;
    let mut groups = Vec::new();
    for prefix in prefixes {
        let group = classes_within(&lists, prefix, None, left)?;
        left = left.checked_sub(group.len())?;
        groups.push(group);
    }
    Some(groups)
}

fn classes_within(
    lists: &[Said<'_>],
    prefix: IpNet,
    change: Option<&ListChange>,
    max: usize,
) -> Option<Vec<(IpNet, Class)>> {
    let mut classes = Classes::default();
    let mut all = Vec::new();
    for said in lists {
        let number = classes.number_of(said.class);
        all.extend(said.about(prefix, change).map(|prefix| (prefix, number)).take(max + 1));
        if all.len() > max {
            return None;
        }
    }
    inherit(&mut all, &mut classes, |outer, inner| outer.contains(inner));
    if all.first().is_none_or(|(first, _)| *first != prefix) {
        all.insert(0, (prefix, 0));
    }
    Some(all.into_iter().map(|(prefix, number)| (prefix, classes.all[usize::from(number)])).collect())
}

fn fits(what: &'static str, needed: usize, max: usize, remedy: &'static str) -> Result<(), Full> {
    if needed <= max { Ok(()) } else { Err(Full { what, needed, max, remedy }) }
}

/// Gives every port the number of the set of listeners there.
fn write_ports(listeners: &[Listener], index: &mut PolicyIndex) -> Result<(), Full> {
    let mut sets: HashMap<u64, usize> = HashMap::from([(0, 0)]);
    for transport in [Transport::Udp, Transport::Tcp] {
        let row = Transport::row(transport.protocol());
        let mut at_port = vec![0_u64; sip_filter_common::maps::PORTS];
        for (number, listener) in listeners.iter().enumerate().filter(|(_, l)| l.transport == transport) {
            index.transports[row] |= 1 << number;
            for range in &listener.ports {
                for port in range.clone() {
                    at_port[usize::from(port)] |= 1 << number;
                }
            }
        }
        for (port, set) in (0..=u16::MAX).zip(at_port) {
            let next = sets.len();
            let number = *sets.entry(set).or_insert(next);
            fits(
                "sets of listeners at one port",
                number + 1,
                PORT_SETS_MAX,
                "give listeners fewer overlapping port ranges",
            )?;
            index.port_sets[number] = set;
            index.ports[row][usize::from(port.to_be())] = u8::try_from(number).unwrap_or(0);
        }
    }
    Ok(())
}

/// Writes down which listeners are tied to VLANs and local addresses, and returns the latter.
fn tie_listeners(listeners: &[Listener], index: &mut PolicyIndex) -> Result<Vec<(IpAddr, u64)>, Full> {
    let mut tied: HashMap<IpAddr, u64> = HashMap::new();
    for (number, listener) in listeners.iter().enumerate() {
        let bit = 1 << number;
        if !listener.addresses.is_empty() {
            index.at_addresses |= bit;
        }
        for address in &listener.addresses {
            *tied.entry(*address).or_insert(0) |= bit;
        }
        if !listener.vlans.is_empty() {
            index.at_vlans |= bit;
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
