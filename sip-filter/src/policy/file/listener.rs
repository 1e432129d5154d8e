//! The listeners of the file, one by one and against each other.

use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};

use ipnet::IpNet;
use sip_filter_common::{LISTENERS_MAX, Transport};
use toml::Spanned;

use super::entries;
use super::lists::Lists;
use super::{ListenerFile, PortText, check_name, word};
use crate::policy::difference::Owner;
use crate::policy::mistake::Report;
use crate::policy::sources::ListSources;
use crate::policy::{ListName, Listener, ListenerKind};

/// VLAN IDs 0 and 4095 are reserved (IEEE 802.1Q section 9.6).
const VLAN_IDS: RangeInclusive<i64> = 1..=4094;

/// What can run behind a listener.
const KINDS: [(&str, ListenerKind); 3] = [
    ("signalling", ListenerKind::Signalling),
    ("media", ListenerKind::Media),
    ("other", ListenerKind::Other),
];

/// Reads all listeners; one for each table, so that indices and names agree even where there are mistakes.
///
/// What is to be remembered of their list files goes into `sources`.
pub(super) fn listeners(
    given: &[ListenerFile],
    sources: &mut Vec<ListSources>,
    lists: &mut Lists,
    report: &mut Report,
) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for file in given {
        let mut listener = listener(file, &listeners, report);
        listener.allow = allow(file, listener.kind, sources, lists, report);
        listeners.push(listener);
    }
    if let Some(surplus) = given.get(LISTENERS_MAX) {
        let message = format!("there are {} listeners, at most {LISTENERS_MAX} are possible", given.len());
        let remedy = "put ports that the same peers may reach into one listener".to_owned();
        report.mistake(surplus.name.span(), message, remedy);
    }
    overlaps(given, &listeners, report);
    listeners
}

fn listener(file: &ListenerFile, earlier: &[Listener], report: &mut Report) -> Listener {
    check_name("listener", &file.name, earlier.iter().map(|listener| listener.name.as_str()), report);
    let transports = [("udp", Transport::Udp), ("tcp", Transport::Tcp)];
    let kind = word("kind", &file.kind, &KINDS, &[], report);
    let transport = word("transport", &file.transport, &transports, &[], report);
    let ports = ports(&file.ports, report);
    Listener {
        name: file.name.get_ref().clone(),
        // With a mistake above, the values below only have to keep the further checks quiet: no port meets nothing.
        ports: if transport.is_some() { ports } else { Vec::new() },
        kind: kind.unwrap_or(ListenerKind::Signalling),
        transport: transport.unwrap_or(Transport::Udp),
        encrypted: file.encrypted,
        vlans: vlans(&file.vlans, report),
        addresses: addresses(&file.addresses, report),
        allow: Vec::new(),
    }
}

/// Who may reach a listener of kind `other`.
fn allow(
    file: &ListenerFile,
    kind: ListenerKind,
    sources: &mut Vec<ListSources>,
    lists: &mut Lists,
    report: &mut Report,
) -> Vec<IpNet> {
    let Some(allow) = &file.allow else { return Vec::new() };
    // Where the kind is a mistake of its own, nothing more is said.
    if kind != ListenerKind::Other && KINDS.iter().any(|(word, _)| word == file.kind.get_ref()) {
        let message = format!("allow does not go with a listener of kind \"{}\"", file.kind.get_ref());
        report.mistake(allow.span(), message, "name its peers in a [[trunk]] or in [allow]".to_owned());
        return Vec::new();
    }
    let entries = entries::list(allow.get_ref(), ListName::Allow, lists, report);
    let owner = Some(Owner::Listener(file.name.get_ref().clone()));
    sources.extend(entries.sources(owner, ListName::Allow, lists));
    entries.sorted(lists)
}

fn ports(given: &Spanned<Vec<Spanned<PortText>>>, report: &mut Report) -> Vec<RangeInclusive<u16>> {
    if given.get_ref().is_empty() {
        let remedy = "name at least one port, such as \"5060\"".to_owned();
        report.mistake(given.span(), "a listener without ports protects nothing", remedy);
    }
    let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
    for spanned in given.get_ref() {
        match port_range(spanned.get_ref()) {
            Ok(range) => ranges.push(range),
            Err((message, remedy)) => report.mistake(spanned.span(), message, remedy),
        }
    }
    merged(ranges)
}

/// Sorts the ranges, and makes one of those that meet.
fn merged(mut ranges: Vec<RangeInclusive<u16>>) -> Vec<RangeInclusive<u16>> {
    ranges.sort_by_key(|range| (*range.start(), *range.end()));
    let mut merged: Vec<RangeInclusive<u16>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// A range of ports; else the message and the remedy.
fn port_range(given: &PortText) -> Result<RangeInclusive<u16>, (String, String)> {
    let text = match given {
        PortText::Number(number) => number.to_string(),
        PortText::Text(text) => text.clone(),
    };
    let port = |text: &str| {
        let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|port| digits_only && *port != 0)
    };
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        (Some(first), Some(last)) => {
            Err((format!("the range \"{text}\" descends"), format!("write \"{last}-{first}\"")))
        }
        _ => {
            let message = format!("\"{text}\" is neither a port nor a range of ports");
            Err((message, "write a port from 1 to 65535, or a range such as \"10000-20000\"".to_owned()))
        }
    }
}

fn vlans(given: &[Spanned<i64>], report: &mut Report) -> Vec<u16> {
    let mut vlans = Vec::new();
    for spanned in given {
        match u16::try_from(*spanned.get_ref()) {
            Ok(vlan) if VLAN_IDS.contains(&i64::from(vlan)) => vlans.push(vlan),
            _ => {
                let remedy = format!("write a number from {} to {}", VLAN_IDS.start(), VLAN_IDS.end());
                report.mistake(spanned.span(), format!("{} is not a VLAN ID", spanned.get_ref()), remedy);
            }
        }
    }
    vlans.sort_unstable();
    vlans.dedup();
    vlans
}

fn addresses(given: &[Spanned<String>], report: &mut Report) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for spanned in given {
        match spanned.get_ref().parse::<IpAddr>() {
            Ok(address) => addresses.push(address.to_canonical()),
            Err(_) => {
                let remedy = "write an address of this host, or [] for every one".to_owned();
                report.mistake(
                    spanned.span(),
                    format!("\"{}\" is not an address", spanned.get_ref()),
                    remedy,
                );
            }
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Notes each listener that shares packets with one before it.
fn overlaps(given: &[ListenerFile], listeners: &[Listener], report: &mut Report) {
    // The surplus has its own mistake; to compare thousands with each other would only keep the operator waiting.
    for (index, listener) in listeners.iter().enumerate().take(LISTENERS_MAX) {
        let earlier = listeners[..index].iter();
        let shared = earlier.filter_map(|other| Some((other, listener.shared_port(other)?))).next();
        if let Some((other, port)) = shared {
            let message =
                format!("listener \"{}\" and listener \"{}\" share port {port}", listener.name, other.name);
            let remedy = "give each its own ports, addresses or vlans".to_owned();
            report.mistake(port_span(&given[index], port), message, remedy);
        }
    }
}

fn port_span(file: &ListenerFile, port: u16) -> Range<usize> {
    let holds = |text: &PortText| port_range(text).is_ok_and(|range| range.contains(&port));
    let entry = file.ports.get_ref().iter().find(|spanned| holds(spanned.get_ref()));
    entry.map_or(file.ports.span(), Spanned::span)
}
