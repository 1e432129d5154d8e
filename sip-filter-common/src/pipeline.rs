//! What happens to a packet, from its bytes to its reason.
//!
//! A stage returns `Break` where the packet's way is settled and `Continue` with what the next stage needs.
//! Counting and the verdict are the caller's: there is one entry and one exit.

use core::ops::ControlFlow::{self, Break, Continue};

use crate::{
    frame::Frame,
    maps::{Class, FRAGMENT_LIFETIME_NS, FragmentDecision, Transport},
    parse::{self, Packet, Part, protocol},
    reason::{Reason, Verdict},
    sources::class_of,
    tables::Tables,
};

/// Judges a frame that begins with an Ethernet header.
#[inline(always)]
#[expect(clippy::if_same_then_else, reason = "each copy is compiled for one address family")]
pub fn judge<F: Frame + ?Sized, T: Tables>(frame: &F, tables: &T) -> Reason {
    let network = match parse::link(frame) {
        Continue(network) => network,
        Break(reason) => return reason,
    };
    // All that follows stands there twice, so that neither copy asks for the family again.
    if network.is_ipv4() {
        conclude(parse::packet(frame, network), tables)
    } else {
        conclude(parse::packet(frame, network), tables)
    }
}

#[inline(always)]
fn conclude<T: Tables>(parsed: ControlFlow<Reason, Packet>, tables: &T) -> Reason {
    match parsed {
        Break(reason) => reason,
        Continue(packet) => decide(&packet, tables),
    }
}

/// Judges a packet whose link layer was already read.
#[inline(always)]
pub fn decide<T: Tables>(packet: &Packet, tables: &T) -> Reason {
    let is_first = matches!(packet.part, Part::First);
    let listeners = classify(packet, tables);
    if listeners == 0 && !is_first {
        return Reason::NotProtected;
    }
    let class = class_of(packet, tables);
    // A stranger's packet is the commonest where this filter is needed most: it asks nothing about its rights.
    if let (None, Part::Whole) = (class, packet.part) {
        return stranger(packet, listeners, tables);
    }
    let class = class.unwrap_or(Class::NOBODY);
    let (Break(reason) | Continue(reason)) = settle(packet, listeners, class, tables);
    if is_first {
        lead(packet, reason, class, tables);
    }
    reason
}

/// What [`settle`] comes to for a whole datagram of somebody whom no list names.
#[inline(always)]
fn stranger<T: Tables>(packet: &Packet, listeners: u64, tables: &T) -> Reason {
    if on_its_vlan(packet, listeners, tables) == 0 {
        Reason::WrongVlan
    } else if is_banned(packet, tables) {
        Reason::Banned
    } else {
        Reason::Stranger
    }
}

/// The README's precedence.
#[inline(always)]
fn settle<T: Tables>(
    packet: &Packet,
    listeners: u64,
    class: Class,
    tables: &T,
) -> ControlFlow<Reason, Reason> {
    if listeners == 0 {
        return Break(Reason::NotProtected);
    }
    if class.flags & Class::ADMIN != 0 {
        return Break(Reason::Admin);
    }
    match packet.part {
        Part::Whole | Part::First => admit(packet, listeners, class, tables),
        Part::Later => follow(packet, listeners, class, tables),
        Part::Hidden => Break(Reason::Malformed),
    }
}

/// The listeners that the packet is for; those it may be for where it shows no port.
#[inline(always)]
fn classify<T: Tables>(packet: &Packet, tables: &T) -> u64 {
    let index = tables.index();
    let mut listeners = match packet.part {
        Part::Whole | Part::First => at_port(packet, tables),
        Part::Later | Part::Hidden => at_any_port(packet, tables),
    };
    if listeners & !index.any_address != 0 {
        listeners &= index.any_address | tables.listeners_at(&packet.destination);
    }
    listeners
}

#[inline(always)]
fn at_port<T: Tables>(packet: &Packet, tables: &T) -> u64 {
    let index = tables.index();
    let ports = match packet.protocol {
        protocol::UDP => &index.ports[Transport::Udp as usize],
        protocol::TCP => &index.ports[Transport::Tcp as usize],
        _ => return 0,
    };
    index.port_sets[ports[packet.port as usize] as usize]
}

/// A later IPv6 fragment names the header that followed in the first one, which need not be the transport.
#[inline(always)]
fn at_any_port<T: Tables>(packet: &Packet, tables: &T) -> u64 {
    let [udp, tcp] = tables.index().transports;
    match packet.protocol {
        protocol::UDP if !packet.is_ipv6 => udp,
        protocol::TCP if !packet.is_ipv6 => tcp,
        protocol::UDP | protocol::TCP => udp | tcp,
        other if packet.is_ipv6 && protocol::is_extension(other) => udp | tcp,
        _ => 0,
    }
}

/// The listeners that may be reached on the packet's VLAN.
#[inline(always)]
fn on_its_vlan<T: Tables>(packet: &Packet, listeners: u64, tables: &T) -> u64 {
    let index = tables.index();
    if listeners & !index.any_vlan == 0 {
        return listeners;
    }
    listeners & (index.any_vlan | index.vlans[(packet.vlan & 0x0fff) as usize])
}

/// The README's precedence from VLAN on, for a packet whose listeners are known.
#[inline(always)]
fn admit<T: Tables>(
    packet: &Packet,
    listeners: u64,
    class: Class,
    tables: &T,
) -> ControlFlow<Reason, Reason> {
    let listeners = on_its_vlan(packet, listeners, tables);
    if listeners == 0 {
        return Break(Reason::WrongVlan);
    }
    refuse(packet, class, tables)?;
    if class.deny & listeners != 0 {
        return Break(Reason::Denied);
    }
    if class.allow & listeners != 0 {
        return Break(Reason::Trunk);
    }
    Continue(Reason::Stranger)
}

/// What refuses a peer at every listener.
#[inline(always)]
fn refuse<T: Tables>(packet: &Packet, class: Class, tables: &T) -> ControlFlow<Reason> {
    if class.flags & Class::DENIED != 0 {
        return Break(Reason::Denied);
    }
    if is_banned(packet, tables) { Break(Reason::Banned) } else { Continue(()) }
}

#[inline(always)]
fn is_banned<T: Tables>(packet: &Packet, tables: &T) -> bool {
    let until_ns = tables.banned_until_ns(&packet.source);
    until_ns != 0 && until_ns > tables.now_ns()
}

/// A part without ports follows its datagram; where nothing is known of that, known peers pass.
#[inline(always)]
fn follow<T: Tables>(
    packet: &Packet,
    listeners: u64,
    class: Class,
    tables: &T,
) -> ControlFlow<Reason, Reason> {
    if let Some(reason) = tables.followed(&packet.fragment_key()) {
        return Break(reason);
    }
    Continue(without_decision(packet, listeners, class, tables))
}

/// Known is whom a list speaks for at any listener that the datagram may be for.
#[inline(always)]
fn without_decision<T: Tables>(packet: &Packet, listeners: u64, class: Class, tables: &T) -> Reason {
    let refused = refuse(packet, class, tables).is_break();
    if !refused && class.allow & !class.deny & listeners != 0 { Reason::Trunk } else { Reason::Fragment }
}

/// Remembers the decision for a first fragment where later ones would not come to the same verdict without it.
///
/// So a stranger's refused fragments take no room, and a known peer needs none.
#[inline(always)]
fn lead<T: Tables>(packet: &Packet, reason: Reason, class: Class, tables: &T) {
    let protocol = if packet.is_ipv6 { protocol::DESTINATION_OPTIONS } else { packet.protocol };
    let later = Packet { part: Part::Later, protocol, ..*packet };
    let listeners = classify(&later, tables);
    if listeners == 0 {
        // Later fragments pass by themselves.
        return;
    }
    let default = if class.flags & Class::ADMIN != 0 {
        Reason::Admin
    } else {
        without_decision(packet, listeners, class, tables)
    };
    if matches!(default.verdict(), Verdict::Pass) == matches!(reason.verdict(), Verdict::Pass) {
        tables.follow(&packet.fragment_key(), None);
    } else {
        let until_ns = tables.now_ns().saturating_add(FRAGMENT_LIFETIME_NS);
        let decision = FragmentDecision { until_ns, reason: reason as u64 };
        tables.follow(&packet.fragment_key(), Some(&decision));
    }
}
