//! What happens to a packet, from its bytes to its reason.
//!
//! A stage returns `Break` where the packet's way is settled and `Continue` with what the next stage needs.
//! Counting and the verdict are the caller's: there is one entry and one exit.

pub mod plain;

use core::ops::ControlFlow::{self, Break, Continue};

use crate::{
    frame::Frame,
    lane::Bounds,
    maps::{Class, Known, PORTS, Transport, VLAN_IDS},
    parse::{Packet, Part, protocol},
    reason::{Reason, Verdict},
    sources::class_of,
    tables::Tables,
};

/// Judges a frame that begins with an Ethernet header.
#[inline(always)]
pub fn judge<F: Frame + ?Sized, T: Tables>(frame: &F, tables: &T) -> Reason {
    match plain::judge(frame, tables) {
        Some(reason) => reason,
        None => tables.rest(frame),
    }
}

/// Judges a packet of `frame` whose headers were already read.
#[inline(always)]
pub fn decide<F: Frame + ?Sized, T: Tables>(frame: &F, packet: &Packet, tables: &T) -> Reason {
    conclude(frame, settled(packet, tables), tables)
}

#[inline(always)]
fn conclude<F: Frame + ?Sized, T: Tables>(frame: &F, settled: Settled, tables: &T) -> Reason {
    match settled {
        Settled::By(reason) => reason,
        Settled::Unless(bounds) => bounds.conclude(tables.prove(frame, bounds)),
    }
}

/// What is known about the source of a packet beside the policy.
#[inline(always)]
fn known<T: Tables>(packet: &Packet, tables: &T) -> Known {
    if tables.may_know(&packet.source) { tables.peer(&packet.source) } else { Known::NOTHING }
}

/// What becomes of a packet whose headers were already read.
#[inline(always)]
pub fn settled<T: Tables>(packet: &Packet, tables: &T) -> Settled {
    let is_first = matches!(packet.part, Part::First);
    let listeners = classify(packet, tables);
    if listeners == 0 && !is_first {
        return Settled::By(Reason::NotProtected);
    }
    let class = class_of(packet, tables);
    let peer = known(packet, tables);
    let settled = settle(packet, listeners, class, &peer, tables);
    if let (true, Settled::By(reason)) = (is_first, &settled) {
        lead(packet, *reason, class, &peer, tables);
    }
    settled
}

/// What is known of a packet without a look at what it carries.
#[derive(Clone, Copy, Debug)]
pub enum Settled {
    /// Its way ends.
    By(Reason),
    /// It is dropped, unless it is a whole datagram by which a peer may register.
    Unless(Bounds),
}

impl Settled {
    /// Set for what is dropped unless, clear for reasons, which have lower numbers.
    pub const UNLESS: u32 = 1 << 8;

    /// For a function of the kernel program, which returns numbers only.
    #[inline(always)]
    pub const fn to_bits(self) -> u32 {
        match self {
            Self::By(reason) => reason as u32,
            Self::Unless(bounds) => Self::UNLESS | bounds.to_bits(),
        }
    }

    /// Back from [`to_bits`](Self::to_bits); `None` for other numbers.
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits & Self::UNLESS != 0 {
            return Some(Self::Unless(Bounds::from_bits(bits)));
        }
        match Reason::from_index(bits) {
            Some(reason) => Some(Self::By(reason)),
            None => None,
        }
    }
}

/// Whom no list speaks for at these listeners: a registered peer, or a stranger.
#[inline(always)]
fn unlisted<T: Tables>(part: Part, peer: &Known, listeners: u64, tables: &T) -> Settled {
    let index = tables.index();
    let at = listeners & index.prove;
    let unless = at != 0 && matches!(part, Part::Whole);
    let bounds = Bounds { is_encrypted: at & !index.encrypted == 0, ..Bounds::STRANGER };
    unless_registered(peer, listeners, unless.then_some(bounds), Reason::Stranger, tables)
}

/// A trunk that may do more than register only from where it is registered.
#[inline(always)]
fn registering<T: Tables>(packet: &Packet, peer: &Known, listeners: u64, tables: &T) -> Settled {
    let index = tables.index();
    let at = listeners & index.signalling;
    let unless = at != 0 && matches!(packet.part, Part::Whole);
    let bounds = Bounds { is_encrypted: at & !index.encrypted == 0, is_trunk: true, ..Bounds::STRANGER };
    unless_registered(peer, listeners, unless.then_some(bounds), Reason::NotRegistered, tables)
}

/// A registered peer, or else whoever has to stay within bounds, if any; or else nobody.
#[inline(always)]
fn unless_registered<T: Tables>(
    peer: &Known,
    listeners: u64,
    bounds: Option<Bounds>,
    or_else: Reason,
    tables: &T,
) -> Settled {
    let index = tables.index();
    let is_registered =
        listeners & (index.signalling | index.media) != 0 && is_ahead(peer.registered_until_ns, tables);
    if is_registered && listeners & index.by_address != 0 {
        return Settled::By(Reason::Registered);
    }
    match bounds {
        Some(bounds) => Settled::Unless(Bounds { is_registered, ..bounds }),
        None => Settled::By(or_else),
    }
}

/// Whether a time of CLOCK_BOOTTIME, or 0 for none, is still to come.
#[inline(always)]
fn is_ahead<T: Tables>(until_ns: u64, tables: &T) -> bool {
    until_ns != 0 && until_ns > tables.now_ns()
}

/// The README's precedence.
#[inline(always)]
fn settle<T: Tables>(packet: &Packet, listeners: u64, class: Class, peer: &Known, tables: &T) -> Settled {
    if listeners == 0 {
        return Settled::By(Reason::NotProtected);
    }
    if class.flags & Class::ADMIN != 0 {
        return Settled::By(Reason::Admin);
    }
    match packet.part {
        Part::Whole | Part::First => admit(packet, listeners, class, peer, tables),
        Part::Later => Settled::By(follow(packet, listeners, class, peer, tables)),
        Part::Hidden => Settled::By(Reason::Malformed),
    }
}

/// The listeners that a packet leaves from.
#[inline(always)]
pub fn listeners_behind<T: Tables>(packet: &Packet, tables: &T) -> u64 {
    let reversed = Packet {
        source: packet.destination,
        destination: packet.source,
        // Linux 6.1 forgets that a port has 16 bits where it lies on the stack for a while.
        port: (core::hint::black_box(packet.source_port as u64) & 0xffff) as u16,
        source_port: packet.port,
        ..*packet
    };
    classify(&reversed, tables)
}

/// The listeners that the packet is for; those it may be for where it shows no port.
#[inline(always)]
fn classify<T: Tables>(packet: &Packet, tables: &T) -> u64 {
    let port = || tables.lower_16(packet.port.to_be() as usize);
    let listeners = match (packet.part, packet.protocol) {
        (Part::Later | Part::Hidden, _) => at_any_port(packet, tables),
        (_, protocol::UDP) => at_port(port(), protocol::UDP, tables),
        (_, protocol::TCP) => at_port(port(), protocol::TCP, tables),
        _ => 0,
    };
    at_its_address(packet, listeners, tables)
}

/// The listeners at a port, of which the bytes are in network order.
#[inline(always)]
fn at_port<T: Tables>(port: usize, protocol: u8, tables: &T) -> u64 {
    let index = tables.index();
    let set = index.ports.as_flattened()[Transport::row_at(protocol) | (port % PORTS)];
    index.port_sets[set as usize]
}

/// The listeners that may be reached at the packet's destination address.
#[inline(always)]
fn at_its_address<T: Tables>(packet: &Packet, listeners: u64, tables: &T) -> u64 {
    let index = tables.index();
    if listeners & index.at_addresses == 0 {
        return listeners;
    }
    listeners & (!index.at_addresses | tables.listeners_at(&packet.destination))
}

/// A later IPv6 fragment names the header that followed in the first one, which need not be the transport.
#[inline(always)]
fn at_any_port<T: Tables>(packet: &Packet, tables: &T) -> u64 {
    let [udp, tcp] =
        [protocol::UDP, protocol::TCP].map(|number| tables.index().transports[Transport::row(number)]);
    match packet.protocol {
        protocol::UDP if !packet.is_ipv6 => udp,
        protocol::TCP if !packet.is_ipv6 => tcp,
        protocol::UDP | protocol::TCP => udp | tcp,
        // What is hidden may be anything.
        other if packet.is_ipv6 && (protocol::is_extension(other) || packet.part == Part::Hidden) => {
            udp | tcp
        }
        _ => 0,
    }
}

/// The listeners that may be reached on the packet's VLAN.
#[inline(always)]
fn on_its_vlan<T: Tables>(packet: &Packet, listeners: u64, tables: &T) -> u64 {
    let index = tables.index();
    if listeners & index.at_vlans == 0 {
        return listeners;
    }
    let vlan = tables.lower_16(packet.vlan as usize) % VLAN_IDS;
    listeners & (!index.at_vlans | index.vlans[vlan])
}

/// The README's precedence from VLAN on, for a packet whose listeners are known.
#[inline(always)]
fn admit<T: Tables>(packet: &Packet, listeners: u64, class: Class, peer: &Known, tables: &T) -> Settled {
    let listeners = on_its_vlan(packet, listeners, tables);
    if listeners == 0 {
        return Settled::By(Reason::WrongVlan);
    }
    if let Break(reason) = refuse(peer, class, tables) {
        return Settled::By(reason);
    }
    if class.deny & listeners != 0 {
        return Settled::By(Reason::Denied);
    }
    if class.allow & !class.registering & listeners != 0 {
        return Settled::By(Reason::Trunk);
    }
    if class.allow & listeners != 0 {
        return registering(packet, peer, listeners, tables);
    }
    unlisted(packet.part, peer, listeners, tables)
}

/// What refuses a peer at every listener.
#[inline(always)]
fn refuse<T: Tables>(peer: &Known, class: Class, tables: &T) -> ControlFlow<Reason> {
    if class.flags & Class::DENIED != 0 {
        return Break(Reason::Denied);
    }
    if is_ahead(peer.banned_until_ns, tables) { Break(Reason::Banned) } else { Continue(()) }
}

/// A part without ports follows its datagram; where nothing is known of that, known peers pass.
#[inline(always)]
fn follow<T: Tables>(packet: &Packet, listeners: u64, class: Class, peer: &Known, tables: &T) -> Reason {
    match tables.followed(&packet.fragment_key()) {
        Some(reason) => reason,
        None => without_decision(listeners, class, peer, tables),
    }
}

/// Known is whom a list or a registration speaks for at any listener that the datagram may be for.
#[inline(always)]
fn without_decision<T: Tables>(listeners: u64, class: Class, peer: &Known, tables: &T) -> Reason {
    if refuse(peer, class, tables).is_break() {
        return Reason::Fragment;
    }
    let index = tables.index();
    if class.allow & !class.registering & !class.deny & listeners != 0 {
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
fn lead<T: Tables>(packet: &Packet, reason: Reason, class: Class, peer: &Known, tables: &T) {
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
        without_decision(listeners, class, peer, tables)
    };
    if matches!(default.verdict(), Verdict::Pass) == matches!(reason.verdict(), Verdict::Pass) {
        tables.follow(&packet.fragment_key(), None);
    } else {
        tables.follow(&packet.fragment_key(), Some(reason));
    }
}
