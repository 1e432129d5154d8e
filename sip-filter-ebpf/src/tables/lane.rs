//! The bounded lane of strangers: what they have spent, and flows that are let in.
//!
//! All of it has a fixed size, and none of it is looked at for a peer that a list speaks for.

use core::ops::ControlFlow::{Break, Continue};

use aya_ebpf::{
    bindings::{BPF_F_CURRENT_NETNS, BPF_F_NO_PREALLOC, bpf_sock, xdp_md},
    btf_maps::{Array, HashMap},
    helpers::generated,
    macros::btf_map,
    programs::XdpContext,
};
use sip_filter_common::{
    Address, Frame,
    lane::{Datagram, Payload, charge},
    maps::{
        CHALLENGED_GROUPS, CellRate, FLOWS_MAX, FlowKey, LANE_BUCKETS, LANE_OPEN_NS, LANE_TOTALS as TOTALS,
        Lane, LaneTotal, SightingKind, Spent, TOLD_MAX, UNITS_PER_REQUEST,
    },
    parse::{self, protocol},
};

use super::{
    KernelTables, Slot, now_ns,
    sightings::{self, Place, Seen},
};
use crate::frame::LinearFrame;

#[btf_map]
static LANES: Array<Lane, { LANE_BUCKETS as usize }> = Array::new();
#[btf_map]
static CHALLENGED: Array<u64, { CHALLENGED_GROUPS as usize }> = Array::new();
#[btf_map]
static LANE_TOTALS: Array<LaneTotal, { TOTALS as usize }> = Array::new();
#[btf_map]
static FLOWS: HashMap<FlowKey, u64, { FLOWS_MAX as usize }, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// `TCP_LISTEN` of the kernel: a socket that is no connection.
const LISTENS: u32 = 10;

/// What a source has spent.
#[inline(always)]
pub(super) fn of(source: &Address, salt: u64) -> Lane {
    match LANES.get(Lane::place(source, salt)) {
        Some(lane) => *lane,
        None => Lane { spent_until_ns: u64::MAX, open_until_ns: 0 },
    }
}

/// Until when any source of its group may spend more than its own budget.
#[inline(always)]
pub(super) fn challenged_until_ns(source: &Address, salt: u64) -> u64 {
    CHALLENGED.get(Lane::group(Lane::place(source, salt))).copied().unwrap_or(u64::MAX)
}

/// Where the datagram stands that was judged: read once more, so that nobody else has to carry it along.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn sip_locate(ctx: *mut xdp_md) -> u64 {
    let context = XdpContext::new(ctx);
    let frame = LinearFrame::new(&context);
    if let Some(datagram) = Datagram::plain(&frame) {
        return datagram.to_bits();
    }
    match parse::ethernet(&frame) {
        Continue(packet) => Datagram::of(&packet).to_bits(),
        Break(_) => 0,
    }
}

/// [`has_connection`] as a global function: it has a stack of its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn sip_has_connection(ctx: *mut xdp_md, datagram: u64) -> u32 {
    let context = XdpContext::new(ctx);
    // Headers lie in the first piece of whatever a driver hands over.
    let frame = LinearFrame::new(&context);
    has_connection(ctx, &frame, &Datagram::from_bits(datagram)) as u32
}

/// [`charge`] as a global function: verified once, for any arguments.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn sip_charge(high: u64, low: u64, units: u32, slot: u32, follows: u32) -> u32 {
    let tables =
        KernelTables { ctx: core::ptr::null_mut(), slot: Slot::new(slot as u64), follows: follows != 0 };
    charge(&Address { halves: [high, low] }, units as u64, &tables) as u32
}

/// Notes until when a source has spent. Two CPUs that do so at once lose the one or the other: a little is given away.
#[inline(always)]
pub(super) fn spend(source: &Address, salt: u64, spent_until_ns: u64) {
    let Some(lane) = LANES.get_ptr_mut(Lane::place(source, salt)) else { return };
    // SAFETY: the pointer is to an element of the map; a word is written whole.
    unsafe { (*lane).spent_until_ns = spent_until_ns };
}

/// The SIP server has challenged a peer, and waits for what it says.
#[inline(always)]
pub(crate) fn open(peer: &Address, salt: u64, now_ns: u64) {
    let place = Lane::place(peer, salt);
    let until_ns = now_ns + LANE_OPEN_NS;
    if let Some(lane) = LANES.get_ptr_mut(place) {
        // SAFETY: the pointer is to an element of the map; a word is written whole.
        unsafe { (*lane).open_until_ns = until_ns };
    }
    if let Some(challenged) = CHALLENGED.get_ptr_mut(Lane::group(place)) {
        // SAFETY: as above.
        unsafe { *challenged = until_ns };
    }
}

/// Spends from what all strangers may.
///
/// Where there is not enough, the word is only read: no cache line goes from CPU to CPU under a flood.
#[inline(always)]
pub(super) fn spend_total(
    is_challenged: bool,
    units: u64,
    now_ns: u64,
    rate: &CellRate,
    really: bool,
) -> bool {
    // Who spends little at a time would else leave no room for a request.
    spend_from(is_challenged as u32, [units, UNITS_PER_REQUEST], now_ns, rate, really)
}

/// Hands a message that is refused to the controller, if it is to be told of one more; a global function, verified once for
/// all that is told.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn sip_tell(ctx: *mut xdp_md, kind: u32, datagram: u64, part: u64) -> u32 {
    let datagram = Datagram::from_bits(datagram);
    let kind =
        if kind == SightingKind::Blocked as u32 { SightingKind::Blocked } else { SightingKind::Marked };
    if !may_tell(kind, datagram.is_tcp, now_ns()) {
        return 0;
    }
    let payload = Payload { at: part as u32 as usize, len: (part >> 32) as usize };
    sightings::read(&ctx, sightings::looked_at(payload), Place::Filter);
    let context = XdpContext::new(ctx);
    let frame = LinearFrame::new(&context);
    if let Some(source) = datagram.source(&frame) {
        report(kind, &frame, &datagram, &source, Place::Filter);
    }
    0
}

/// Hands the text that was read last to the controller.
#[inline(always)]
pub(super) fn report<F: Frame + ?Sized>(
    kind: SightingKind,
    frame: &F,
    datagram: &Datagram,
    peer: &Address,
    place: Place,
) {
    let Some([from_high, from_low, to_high, to_low]) = frame.read(datagram.transport_at) else { return };
    let acknowledged = match frame.read(datagram.transport_at + 8) {
        Some(number) if datagram.is_tcp => u32::from_be_bytes(number),
        _ => 0,
    };
    let seen = Seen {
        kind,
        peer,
        peer_port: u16::from_be_bytes([from_high, from_low]),
        local_port: u16::from_be_bytes([to_high, to_low]),
        protocol: if datagram.is_tcp { protocol::TCP } else { protocol::UDP },
        sequence: acknowledged,
    };
    sightings::report(&seen, place);
}

/// Whether one more packet that is refused is to be told of.
#[inline(always)]
fn may_tell(kind: SightingKind, is_tcp: bool, now_ns: u64) -> bool {
    let rate = CellRate { unit_ns: 1_000_000_000 / TOLD_MAX, burst_ns: 1_000_000_000 };
    // What anybody can make up uses up nothing of what is said over connections.
    let budget = match kind {
        SightingKind::Marked => 3 + is_tcp as u32,
        _ => 2,
    };
    spend_from(budget, [1, 1], now_ns, &rate, true)
}

#[inline(always)]
fn spend_from(number: u32, [units, room]: [u64; 2], now_ns: u64, rate: &CellRate, really: bool) -> bool {
    let Some(total) = LANE_TOTALS.get_ptr_mut(number) else { return false };
    // SAFETY: the pointer is to an element of the map; a word is read whole.
    let spent_until_ns = unsafe { (*total).spent_until_ns };
    let Some(spent) = rate.spend(units, room, spent_until_ns, now_ns) else { return false };
    if really {
        match spent {
            // SAFETY: as above; what another CPU adds at this moment is given away.
            Spent::Until(until_ns) => unsafe { (*total).spent_until_ns = until_ns },
            // SAFETY: the pointer is to an element of the map, and aligned.
            Spent::More(cost_ns) => unsafe { add(&raw mut (*total).spent_until_ns, cost_ns) },
        }
    }
    true
}

/// Adds to a word that other CPUs add to.
///
/// # Safety
///
/// The word is in a map, and aligned.
#[inline(always)]
unsafe fn add(word: *mut u64, value: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's word; the instruction touches nothing else. Linux has it since 3.18.
    unsafe {
        core::arch::asm!("lock *(u64 *)({word} + 0) += {value}", word = in(reg) word, value = in(reg) value);
    }
    #[cfg(not(target_arch = "bpf"))]
    let _ = (word, value);
}

/// Until when a flow is let in, in nanoseconds of CLOCK_BOOTTIME; 0 for not at all.
#[inline(always)]
pub(super) fn flow_until_ns(flow: &FlowKey) -> u64 {
    // A copy: what a helper gets a pointer to stands in memory.
    let flow = *flow;
    // SAFETY: an entry that is overwritten meanwhile is read as one or the other's.
    unsafe { FLOWS.get(flow) }.copied().unwrap_or(0)
}

/// Whether the segment is for a connection of this host, one that is being opened included: also where a SYN cookie is all that
/// there is of it, since the backlog is full.
#[inline(always)]
pub(super) fn has_connection<F: Frame + ?Sized>(ctx: *mut xdp_md, frame: &F, datagram: &Datagram) -> bool {
    // `struct bpf_sock_tuple`: source, destination, and the two ports as they stand in the header.
    let mut tuple = [0; 9];
    let Some([ports]) = frame.read_words(datagram.transport_at) else { return false };
    let len = if datagram.is_ipv6 {
        let Some(addresses) = frame.read_words::<8>(datagram.network_at + 8) else { return false };
        tuple[..8].copy_from_slice(&addresses);
        tuple[8] = ports;
        36
    } else {
        let Some(addresses) = frame.read_words::<2>(datagram.network_at + 12) else { return false };
        tuple[..2].copy_from_slice(&addresses);
        tuple[2] = ports;
        12
    };
    // SAFETY: the context is this call's own; the tuple has as many bytes as are said.
    let socket = unsafe {
        generated::bpf_skc_lookup_tcp(
            ctx.cast(),
            tuple.as_mut_ptr().cast(),
            len,
            BPF_F_CURRENT_NETNS as u64,
            0,
        )
    };
    if socket.is_null() {
        return false;
    }
    // SAFETY: the kernel gave a socket, which stays until it is released.
    let listens = unsafe { (*socket).state } == LISTENS;
    let belongs = !listens || has_cookie(socket, frame, datagram);
    // SAFETY: it is released once, and not used any more.
    unsafe { generated::bpf_sk_release(socket.cast()) };
    belongs
}

/// Whether the segment acknowledges a SYN cookie that a listening socket sent lately, which nobody knows who has not seen it.
#[inline(always)]
fn has_cookie<F: Frame + ?Sized>(socket: *mut bpf_sock, frame: &F, datagram: &Datagram) -> bool {
    let mut header = [0; 10];
    let len = if datagram.is_ipv6 {
        let Some(words) = frame.read_words::<10>(datagram.network_at) else { return false };
        header = words;
        40
    } else {
        let Some(words) = frame.read_words::<5>(datagram.network_at) else { return false };
        header[..5].copy_from_slice(&words);
        20
    };
    let Some(mut segment) = frame.read_words::<5>(datagram.transport_at) else { return false };
    // SAFETY: the socket is held; both headers have as many bytes as are said.
    let checked = unsafe {
        generated::bpf_tcp_check_syncookie(
            socket.cast(),
            header.as_mut_ptr().cast(),
            len,
            segment.as_mut_ptr().cast(),
            20,
        )
    };
    checked == 0
}
