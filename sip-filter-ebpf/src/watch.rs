//! What leaves the SIP server: replies that accept, challenge and refuse, copied for the controller.
//!
//! Decides about no packet. The one thing that it changes is the lane of whom the SIP server challenges.

use core::ops::ControlFlow::{Break, Continue};

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};
use sip_filter_common::{
    Address, Tables as _,
    lane::{Datagram, Payload, Segment, tcp_header},
    maps::SightingKind,
    parse::{self, Part, protocol},
    pipeline::listeners_behind,
    sip::{self, Method},
};

use crate::{
    outgoing::OutgoingFrame,
    tables::{
        KernelTables, boot_ns, lane,
        sightings::{self, COPIED_MAX, Place, Seen},
    },
};

/// How many bytes tell a status.
const STATUS_LEN: usize = 12;
/// How many copies one segment may take: as much as a segment can hold.
const COPIES_MAX: usize = 17;
const _: () = assert!(COPIES_MAX * COPIED_MAX > 0xffff);

/// Looks at one packet.
#[inline(always)]
pub(crate) fn look(ctx: &TcContext) {
    let tables = KernelTables::in_force(core::ptr::null_mut(), true);
    let index = tables.index();
    let wanted = index.signalling & !index.encrypted;
    if wanted == 0 {
        return;
    }
    let frame = OutgoingFrame::with_headers(ctx);
    let packet = match parse::ethernet(&frame) {
        Continue(packet) => packet,
        Break(reason) => {
            // The compiler would leave what nobody asks for without a value, and go on as if it had one.
            core::hint::black_box(reason as u32);
            return;
        }
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
    let peer = Address { halves: [high, low] };
    let seen = Seen {
        kind: SightingKind::Segment,
        peer: &peer,
        peer_port: (ports >> 16) as u16,
        local_port: ports as u16,
        protocol: if datagram.is_tcp { protocol::TCP } else { protocol::UDP },
        sequence: 0,
    };
    if datagram.is_tcp {
        let Some(segment) = tcp_header(&frame, &datagram) else { return 0 };
        return stream(ctx, &segment, &seen);
    }
    let at = datagram.transport_at + 8;
    match datagram.end(&frame) {
        Some(end) if at < end => reply(ctx, Payload { at, len: end - at }, &seen),
        _ => 0,
    }
}

/// A datagram is one message.
#[inline(always)]
fn reply(ctx: *mut __sk_buff, payload: Payload, seen: &Seen<'_>) -> u32 {
    let kind = match status(ctx, payload) {
        Some(200..=299) => SightingKind::Accepted,
        Some(401 | 407) => {
            open_lane(seen.peer);
            SightingKind::Refused
        }
        Some(403) => SightingKind::Refused,
        _ => return 0,
    };
    let marks = sightings::read(&ctx, payload, Place::Watch);
    if !matches!(kind, SightingKind::Accepted) || marks.method() == Some(Method::Register) {
        sightings::report(&Seen { kind, ..*seen }, Place::Watch);
    }
    0
}

/// Where messages begin and end in a stream is for the controller to find out: the peer has a hand in how it is cut.
#[inline(always)]
fn stream(ctx: *mut __sk_buff, segment: &Segment, seen: &Seen<'_>) -> u32 {
    let Segment { sequence, accepts, payload, .. } = *segment;
    if accepts {
        sightings::clear(Place::Watch);
        sightings::report(&Seen { kind: SightingKind::Opened, sequence, ..*seen }, Place::Watch);
        return 0;
    }
    if payload.len == 0 {
        return 0;
    }
    // What only looks like a challenge does no harm.
    if matches!(status(ctx, payload), Some(401 | 407)) {
        open_lane(seen.peer);
    }
    copy_all(ctx, payload, &Seen { sequence, ..*seen })
}

/// The status code of the reply that begins there; need not lie where headers do.
#[inline(always)]
fn status(ctx: *mut __sk_buff, payload: Payload) -> Option<u16> {
    let len = if payload.len < STATUS_LEN { payload.len } else { STATUS_LEN };
    sightings::copy(&ctx, Payload { len, ..payload }, Place::Watch);
    sip::status_at(sightings::copied(Place::Watch)?, 0, payload.len)
}

#[inline(always)]
fn open_lane(peer: &Address) {
    let tables = KernelTables::in_force(core::ptr::null_mut(), true);
    lane::open(peer, tables.salt(), boot_ns());
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
        copied += COPIED_MAX;
        copies += 1;
    }
    0
}
