//! Datagrams as almost every one is: whole, without options, over IPv4 or IPv6, behind one tag or none; each of these
//! shapes has a copy of all that is asked, in which much is known beforehand.
//!
//! Most are settled by a word or two.

use core::ops::ControlFlow::{self, Break, Continue};

use super::{Settled, at_its_address, at_port, conclude, known, settle, unlisted};
use crate::{
    frame::Frame,
    maps::{Address, ClassEntry, Known},
    parse::{self, Packet, Part, Shape},
    reason::Reason,
    sources::{DENIED, NOBODY, class_far, class_near, entry_of, is_near},
    tables::Tables,
};

/// Judges a frame that is of one of these shapes and in one piece.
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
    if let Some(packet) = parse::plain6(frame) {
        return Some(decide(frame, &packet, tables));
    }
    if !parse::is_tagged(frame) {
        return None;
    }
    Some(conclude(frame, tables.tagged(frame)?, tables))
}

/// What [`decide`](super::decide) comes to for a whole datagram while there are no live changes.
#[inline(always)]
fn decide<F: Frame + ?Sized, T: Tables>(frame: &F, packet: &Packet, tables: &T) -> Reason {
    match glance(packet, false, tables) {
        Break(reason) => reason,
        Continue(likely) => tables.look_closer(frame, likely),
    }
}

/// What is known of a frame with a tag; `None` where no datagram of this shape is behind it.
#[inline(always)]
pub fn tagged<F: Frame + ?Sized, T: Tables>(frame: &F, tables: &T) -> Option<Settled> {
    if let Some(packet) = parse::plain_tagged(frame, false) {
        return Some(settle_tagged(frame, &packet, tables));
    }
    Some(settle_tagged(frame, &parse::plain_tagged(frame, true)?, tables))
}

#[inline(always)]
fn settle_tagged<F: Frame + ?Sized, T: Tables>(frame: &F, packet: &Packet, tables: &T) -> Settled {
    match glance(packet, true, tables) {
        Break(reason) => Settled::By(reason),
        Continue(likely) => look(frame, likely, tables, |settled| settled),
    }
}

/// What is commonest is asked first: whether anybody knows it, and whether one word settles it whatever else is said.
#[inline(always)]
fn glance<T: Tables>(packet: &Packet, is_tagged: bool, tables: &T) -> ControlFlow<Reason, Likely> {
    let index = tables.index();
    // Of either, or it is not plain.
    let listeners = at_port(packet.port.to_be() as usize, packet.protocol, tables);
    if listeners == 0 {
        return Break(Reason::NotProtected);
    }
    let may_know = tables.may_know(&packet.source);
    let is_near = is_near(&packet.source, packet.is_ipv6, tables);
    if !is_near
        && !may_know
        && listeners & index.unsettled == 0
        && class_far(packet.is_ipv6, tables) == NOBODY
    {
        return Break(Reason::Stranger);
    }
    let shape = Shape { is_ipv6: packet.is_ipv6, is_tagged };
    Continue(Likely { shape, source: packet.source, listeners, may_know, is_near })
}

/// Whom it takes more than a word or two to settle, as far as that has come.
#[derive(Clone, Copy, Debug)]
pub struct Likely {
    /// What the frame is like.
    shape: Shape,
    /// Where it comes from.
    source: Address,
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
    look(frame, likely, tables, |settled| conclude(frame, settled, tables))
}

/// What `end` makes of what is known, at each of the ends, so that it knows what that is.
#[inline(always)]
fn look<F: Frame + ?Sized, T: Tables, E>(
    frame: &F,
    likely: Likely,
    tables: &T,
    end: impl Fn(Settled) -> E,
) -> E {
    let Likely { shape, source, mut listeners, may_know, is_near } = likely;
    let mut on_its_vlan = listeners;
    if listeners & tables.index().tied != 0 {
        // Once more: what few packets are asked is not kept for all.
        let Some(packet) = &parse::again(frame, shape) else { return end(Settled::By(Reason::Truncated)) };
        listeners = at_its_address(packet, listeners, tables);
        if listeners == 0 {
            return end(Settled::By(Reason::NotProtected));
        }
        on_its_vlan = super::on_its_vlan(packet, listeners, tables);
    }
    let number =
        if is_near { class_near(&source, shape.is_ipv6, tables) } else { class_far(shape.is_ipv6, tables) };
    let settled = match number {
        _ if on_its_vlan == 0 => Continue(()),
        NOBODY => of_nobody(&source, on_its_vlan, may_know, tables),
        DENIED => Break(Settled::By(Reason::Denied)),
        _ => of_class(&source, entry_of(number, tables), on_its_vlan, may_know, tables),
    };
    match settled {
        Break(settled) => end(settled),
        Continue(()) => end(tables.weigh(frame, Unsettled { shape, listeners, number })),
    }
}

/// What a word or two settle for a packet whose source no list names.
#[inline(always)]
fn of_nobody<T: Tables>(
    source: &Address,
    listeners: u64,
    may_know: bool,
    tables: &T,
) -> ControlFlow<Settled> {
    let index = tables.index();
    if may_know {
        // A flow may be registered, not an address.
        if listeners & !index.by_address != 0 {
            return Continue(());
        }
        let peer = tables.peer(source);
        let now_ns = tables.now_ns();
        if peer.banned_until_ns > now_ns {
            return Break(Settled::By(Reason::Banned));
        }
        if peer.registered_until_ns > now_ns {
            return Break(Settled::By(Reason::Registered));
        }
    }
    Break(unlisted(Part::Whole, &Known::NOTHING, listeners, tables))
}

/// What a word or two settle for a packet whose source lists name.
#[inline(always)]
fn of_class<T: Tables>(
    source: &Address,
    entry: &ClassEntry,
    listeners: u64,
    may_know: bool,
    tables: &T,
) -> ControlFlow<Settled> {
    let is_settled =
        listeners & entry.unsettled == 0 && !(may_know && tables.peer(source).banned_until_ns != 0);
    if is_settled { Break(Settled::By(Reason::Trunk)) } else { Continue(()) }
}

/// Whom no word settles, as far as that has come.
#[derive(Clone, Copy, Debug)]
pub struct Unsettled {
    /// What the frame is like.
    pub shape: Shape,
    /// The listeners at its port and address.
    pub listeners: u64,
    /// The number of its source's class.
    pub number: u32,
}

/// What is known of a whole datagram that no word settles.
#[inline(always)]
pub fn weigh<F: Frame + ?Sized, T: Tables>(frame: &F, unsettled: Unsettled, tables: &T) -> Settled {
    // It was there before.
    let Some(packet) = &parse::again(frame, unsettled.shape) else { return Settled::By(Reason::Truncated) };
    let class = entry_of(unsettled.number, tables).class;
    settle(packet, unsettled.listeners, class, &known(packet, tables), tables)
}
