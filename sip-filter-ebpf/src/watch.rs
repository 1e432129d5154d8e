//! What leaves the SIP server: replies that accept, challenge and refuse, copied for the controller.
//!
//! Decides about no packet. The one thing that it changes is the lane of whom the SIP server challenges.

use core::ops::ControlFlow::{Break, Continue};

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};
use sip_filter_common::{
    Address, Tables as _,
    lane::{Datagram, Payload, Segment, tcp_header},
    maps::{SIGHTING_TEXT_LEN, SightingKind, TextMarks},
    parse::{self, Part, protocol},
    pipeline::listeners_behind,
    sip::{self, Method},
};

use crate::{
    frame::OutgoingFrame,
    sightings::{self, Place, Seen},
    tables::{KernelTables, lane, now_ns},
};

/// How many copies one segment may take: as much as a segment can hold.
const COPIES_MAX: usize = 17;
const _: () = assert!(COPIES_MAX * SIGHTING_TEXT_LEN > 0xffff);

/// Looks at one packet.
#[inline(always)]
pub(crate) fn look(ctx: &TcContext) {
    let Some(tables) = KernelTables::in_force(core::ptr::null_mut(), true) else { return };
    let index = tables.index();
    let wanted = index.signalling & !index.encrypted;
    if wanted == 0 {
        return;
    }
    let frame = OutgoingFrame::new(ctx);
    let packet = match parse::ethernet(&frame) {
        Continue(packet) => packet,
        Break(_) => return,
    };
    if !matches!(packet.part, Part::Whole | Part::First) || listeners_behind(&packet, &tables) & wanted == 0 {
        return;
    }
    let datagram = Datagram::of(&packet);
    let ports = (packet.port as u32) << 16 | packet.source_port as u32;
    let [high, low] = packet.destination.halves;
    sip_watch_message(ctx.skb.skb, high, low, datagram.to_bits(), ports);
}

/// Looks at a packet of a listener; a global function, verified once, for any arguments.
#[unsafe(no_mangle)]
extern "C" fn sip_watch_message(ctx: *mut __sk_buff, high: u64, low: u64, datagram: u64, ports: u32) -> u32 {
    let context = TcContext::new(ctx);
    let frame = OutgoingFrame::new(&context);
    let datagram = Datagram::from_bits(datagram);
    let (payload, sequence) = if datagram.is_tcp {
        let Some(Segment { payload, sequence, .. }) = tcp_header(&frame, &datagram) else { return 0 };
        (payload, sequence)
    } else {
        let at = datagram.transport_at + 8;
        match datagram.end(&frame) {
            Some(end) if at <= end => (Payload { at, len: end - at }, 0),
            _ => return 0,
        }
    };
    if payload.len == 0 {
        return 0;
    }
    let peer = Address { halves: [high, low] };
    let status = sip::status_at(&frame, payload.at, payload.len).unwrap_or(0);
    if status == 401 || status == 407 {
        open_lane(&peer);
    }
    let seen = Seen {
        kind: SightingKind::Segment,
        peer: &peer,
        peer_port: (ports >> 16) as u16,
        local_port: ports as u16,
        protocol: if datagram.is_tcp { protocol::TCP } else { protocol::UDP },
        sequence,
    };
    let kind = match status {
        200..=299 => SightingKind::Accepted,
        401 | 403 | 407 => SightingKind::Refused,
        _ if !datagram.is_tcp => return 0,
        _ => SightingKind::Segment,
    };
    let marks = sightings::read(&ctx, payload, Place::Watch);
    // Of a stream, what is not one message alone is put together by the controller.
    if datagram.is_tcp && marks.blank_line as usize != payload.len {
        return copy_all(ctx, payload, &seen);
    }
    if is_wanted(kind, &marks) {
        sightings::report(&Seen { kind, ..seen }, Place::Watch);
    }
    0
}

/// Whether the controller learns from a whole message.
#[inline(always)]
fn is_wanted(kind: SightingKind, marks: &TextMarks) -> bool {
    match kind {
        SightingKind::Accepted => marks.method() == Some(Method::Register),
        SightingKind::Refused => true,
        _ => false,
    }
}

#[inline(always)]
fn open_lane(peer: &Address) {
    if let Some(tables) = KernelTables::in_force(core::ptr::null_mut(), true) {
        lane::open(peer, tables.salt(), now_ns());
    }
}

/// Copies a segment, piece by piece.
#[inline(always)]
fn copy_all(ctx: *mut __sk_buff, payload: Payload, seen: &Seen<'_>) -> u32 {
    let mut copied = 0;
    let mut copies = 0;
    while copies < COPIES_MAX && copied < payload.len {
        let rest = Payload { at: payload.at + copied, len: payload.len - copied };
        sightings::copy(&ctx, rest, Place::Watch);
        let sequence = seen.sequence.wrapping_add(copied as u32);
        sightings::report(&Seen { sequence, ..*seen }, Place::Watch);
        copied += SIGHTING_TEXT_LEN;
        copies += 1;
    }
    0
}
