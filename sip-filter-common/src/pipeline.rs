//! What happens to a packet, from its bytes to its reason.
//!
//! A stage returns `Break` where the packet's way is settled and `Continue` with what the next stage needs.
//! Counting and the verdict are the caller's: there is one entry and one exit.

use core::ops::ControlFlow::{self, Break, Continue};

use crate::{
    frame::Frame,
    lane::Datagram,
    maps::{Class, FRAGMENT_LIFETIME_NS, FlowKey, FragmentDecision, Peer, Transport},
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
        conclude(frame, parse::packet(frame, network), tables)
    } else {
        conclude(frame, parse::packet(frame, network), tables)
    }
}

#[inline(always)]
fn conclude<F: Frame + ?Sized, T: Tables>(
    frame: &F,
    parsed: ControlFlow<Reason, Packet>,
    tables: &T,
) -> Reason {
    match parsed {
        Break(reason) => reason,
        Continue(packet) => decide(frame, &packet, tables),
    }
}

/// Judges a packet of `frame` whose headers were already read.
#[inline(always)]
pub fn decide<F: Frame + ?Sized, T: Tables>(frame: &F, packet: &Packet, tables: &T) -> Reason {
    let is_first = matches!(packet.part, Part::First);
    let listeners = classify(packet, tables);
    if listeners == 0 && !is_first {
        return Reason::NotProtected;
    }
    let class = class_of(packet, tables);
    // A stranger's packet is the commonest where this filter is needed most: it asks nothing about its rights.
    if let (None, Part::Whole) = (class, packet.part) {
        return stranger(frame, packet, listeners, tables);
    }
    let class = class.unwrap_or(Class::NOBODY);
    let (Break(reason) | Continue(reason)) = settle(frame, packet, listeners, class, tables);
    if is_first {
        lead(packet, reason, class, tables);
    }
    reason
}

/// What [`settle`] comes to for a whole datagram of somebody whom no list names.
#[inline(always)]
fn stranger<F: Frame + ?Sized, T: Tables>(frame: &F, packet: &Packet, listeners: u64, tables: &T) -> Reason {
    let listeners = on_its_vlan(packet, listeners, tables);
    if listeners == 0 {
        return Reason::WrongVlan;
    }
    let peer = tables.peer(&packet.source);
    if is_ahead(peer.banned_until_ns, tables) {
        return Reason::Banned;
    }
    unlisted(frame, packet, &peer, listeners, tables)
}

/// Whom no list speaks for at these listeners: a registered peer, or a stranger.
#[inline(always)]
fn unlisted<F: Frame + ?Sized, T: Tables>(
    frame: &F,
    packet: &Packet,
    peer: &Peer,
    listeners: u64,
    tables: &T,
) -> Reason {
    if is_registered(packet, peer, listeners, tables) {
        return Reason::Registered;
    }
    let index = tables.index();
    if listeners & index.prove == 0 || !matches!(packet.part, Part::Whole) {
        return Reason::Stranger;
    }
    let is_encrypted = listeners & index.prove & !index.encrypted == 0;
    tables.prove(frame, &Datagram::of(packet), &packet.source, is_encrypted)
}

/// Whether a registration lets the packet in at one of these listeners.
#[inline(always)]
fn is_registered<T: Tables>(packet: &Packet, peer: &Peer, listeners: u64, tables: &T) -> bool {
    let index = tables.index();
    if !is_ahead(peer.registered_until_ns, tables) {
        return false;
    }
    if listeners & index.media != 0 {
        return true;
    }
    let flow =
        FlowKey { address: packet.source, port: packet.source_port as u32, protocol: packet.protocol as u32 };
    listeners & index.signalling != 0 && (index.trusts_flows == 0 || tables.has_flow(&flow))
}

/// Whether a time of CLOCK_BOOTTIME, or 0 for none, is still to come.
#[inline(always)]
fn is_ahead<T: Tables>(until_ns: u64, tables: &T) -> bool {
    until_ns != 0 && until_ns > tables.now_ns()
}

/// The README's precedence.
#[inline(always)]
fn settle<F: Frame + ?Sized, T: Tables>(
    frame: &F,
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
        Part::Whole | Part::First => admit(frame, packet, listeners, class, tables),
        Part::Later => follow(packet, listeners, class, tables),
        Part::Hidden => Break(Reason::Malformed),
    }
}

/// The listeners that a packet leaves from.
#[inline(always)]
pub fn listeners_behind<T: Tables>(packet: &Packet, tables: &T) -> u64 {
    let reversed = Packet {
        source: packet.destination,
        destination: packet.source,
        port: packet.source_port,
        source_port: packet.port,
        ..*packet
    };
    classify(&reversed, tables)
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
fn admit<F: Frame + ?Sized, T: Tables>(
    frame: &F,
    packet: &Packet,
    listeners: u64,
    class: Class,
    tables: &T,
) -> ControlFlow<Reason, Reason> {
    let listeners = on_its_vlan(packet, listeners, tables);
    if listeners == 0 {
        return Break(Reason::WrongVlan);
    }
    let peer = tables.peer(&packet.source);
    refuse(&peer, class, tables)?;
    if class.deny & listeners != 0 {
        return Break(Reason::Denied);
    }
    if class.allow & listeners != 0 {
        return Break(Reason::Trunk);
    }
    Continue(unlisted(frame, packet, &peer, listeners, tables))
}

/// What refuses a peer at every listener.
#[inline(always)]
fn refuse<T: Tables>(peer: &Peer, class: Class, tables: &T) -> ControlFlow<Reason> {
    if class.flags & Class::DENIED != 0 {
        return Break(Reason::Denied);
    }
    if is_ahead(peer.banned_until_ns, tables) { Break(Reason::Banned) } else { Continue(()) }
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

/// Known is whom a list or a registration speaks for at any listener that the datagram may be for.
#[inline(always)]
fn without_decision<T: Tables>(packet: &Packet, listeners: u64, class: Class, tables: &T) -> Reason {
    let peer = tables.peer(&packet.source);
    if refuse(&peer, class, tables).is_break() {
        return Reason::Fragment;
    }
    let index = tables.index();
    if class.allow & !class.deny & listeners != 0 {
        Reason::Trunk
    } else if !class.deny & (index.signalling | index.media) & listeners != 0
        && is_ahead(peer.registered_until_ns, tables)
    {
        Reason::Registered
    } else {
        Reason::Fragment
    }
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
