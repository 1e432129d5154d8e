//! Datagrams as almost every one is: whole, without tags and options, over IPv4 or IPv6; either has a copy of all that
//! is asked, in which much is known beforehand.
//!
//! Most are settled by a word or two.

use core::ops::ControlFlow::{self, Break, Continue};

use super::{Settled, at_its_address, at_port, conclude, known, settle, unlisted};
use crate::{
    frame::Frame,
    maps::{ClassEntry, Known},
    parse::{self, Packet},
    reason::Reason,
    sources::{NOBODY, class_far, class_near, entry_of, is_near},
    tables::Tables,
};

/// Judges a frame that is of one of the two shapes and in one piece.
///
/// `None` says nothing about a frame: [`Tables::rest`] judges it.
#[inline(always)]
pub fn judge<F: Frame + ?Sized, T: Tables>(frame: &F, tables: &T) -> Option<Reason> {
    // Until they are compiled, mostly a second later.
    if tables.has_changes() {
        return None;
    }
    if let Some(packet) = parse::plain4(frame) {
        return Some(decide(frame, &packet, tables));
    }
    Some(decide(frame, &parse::plain6(frame)?, tables))
}

/// What [`decide`](super::decide) comes to for a whole datagram without a tag while there are no live changes.
///
/// What is commonest is asked first: whether anybody knows it, and whether one word settles it whatever else is said.
#[inline(always)]
fn decide<F: Frame + ?Sized, T: Tables>(frame: &F, packet: &Packet, tables: &T) -> Reason {
    let index = tables.index();
    // Of either, or it is not plain.
    let listeners = at_port(packet.port.to_be() as usize, packet.protocol, tables);
    if listeners == 0 {
        return Reason::NotProtected;
    }
    let may_know = tables.may_know(&packet.source);
    let is_near = is_near(packet, tables);
    if !is_near && !may_know && listeners & index.unsettled == 0 && class_far(packet, tables) == NOBODY {
        return Reason::Stranger;
    }
    tables.look_closer(frame, Likely { is_ipv6: packet.is_ipv6, listeners, may_know, is_near })
}

/// Whom it takes more than a word or two to settle, as far as that has come.
#[derive(Clone, Copy, Debug)]
pub struct Likely {
    /// Of which of the two shapes the frame is.
    is_ipv6: bool,
    /// The listeners at its port.
    listeners: u64,
    /// Whether anything may be known about its source beside the policy.
    may_know: bool,
    /// Whether anybody may be named near it.
    is_near: bool,
}

/// What becomes of a whole datagram whose source somebody may know.
#[inline(always)]
pub fn look_closer<F: Frame + ?Sized, T: Tables>(frame: &F, likely: Likely, tables: &T) -> Reason {
    let Likely { is_ipv6, listeners, may_know, is_near } = likely;
    // It was there before.
    let Some(packet) = &parse::again(frame, is_ipv6) else { return Reason::Truncated };
    let listeners = at_its_address(packet, listeners, tables);
    if listeners == 0 {
        return Reason::NotProtected;
    }
    let number = if is_near { class_near(packet, tables) } else { class_far(packet, tables) };
    let settled = if number == NOBODY {
        of_nobody(packet, listeners, may_know, tables)
    } else {
        of_class(packet, entry_of(number, tables), listeners, may_know, tables)
    };
    let settled = match settled {
        Break(settled) => settled,
        Continue(()) => tables.weigh(frame, Unsettled { is_ipv6, listeners, number }),
    };
    conclude(frame, packet, settled, tables)
}

/// What a word or two settle for a packet whose source no list names.
#[inline(always)]
fn of_nobody<T: Tables>(packet: &Packet, listeners: u64, may_know: bool, tables: &T) -> ControlFlow<Settled> {
    let index = tables.index();
    if may_know {
        if listeners & index.unsettled_registered != 0 {
            return Continue(());
        }
        let peer = tables.peer(&packet.source);
        let now_ns = tables.now_ns();
        if peer.banned_until_ns > now_ns {
            return Break(Settled::By(Reason::Banned));
        }
        if peer.registered_until_ns > now_ns {
            return Break(Settled::By(Reason::Registered));
        }
    }
    if listeners & index.at_vlans != 0 {
        return Continue(());
    }
    Break(unlisted(packet, &Known::NOTHING, listeners, tables))
}

/// What a word or two settle for a packet whose source lists name.
#[inline(always)]
fn of_class<T: Tables>(
    packet: &Packet,
    entry: &ClassEntry,
    listeners: u64,
    may_know: bool,
    tables: &T,
) -> ControlFlow<Settled> {
    if listeners & entry.unsettled == 0 && !(may_know && tables.peer(&packet.source).banned_until_ns != 0) {
        return Break(Settled::By(Reason::Trunk));
    }
    if listeners & !entry.denied == 0 { Break(Settled::By(Reason::Denied)) } else { Continue(()) }
}

/// Whom no word settles, as far as that has come.
#[derive(Clone, Copy, Debug)]
pub struct Unsettled {
    /// Of which of the two shapes the frame is.
    pub is_ipv6: bool,
    /// The listeners at its port and address.
    pub listeners: u64,
    /// The number of its source's class.
    pub number: u32,
}

/// What is known of a whole datagram that no word settles.
#[inline(always)]
pub fn weigh<F: Frame + ?Sized, T: Tables>(frame: &F, unsettled: Unsettled, tables: &T) -> Settled {
    // It was there before.
    let Some(packet) = &parse::again(frame, unsettled.is_ipv6) else { return Settled::By(Reason::Truncated) };
    let class = entry_of(unsettled.number, tables).class;
    settle(packet, unsettled.listeners, class, &known(packet, tables), tables)
}
