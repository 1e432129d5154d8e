//! The kernel program: one frame in, one reason counted, one verdict out.
//!
//! Thin on purpose: what happens to a packet is decided in `sip_filter_common::pipeline`;
//! here are the maps it asks and the bytes it reads.

#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[macro_use]
mod frame;

mod copied;
mod outgoing;
mod tables;
mod watch;

use core::ops::ControlFlow::{Break, Continue};

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use sip_filter_common::{
    Reason, Tables as _, judge,
    parse::{self, Packet, Part, Shape},
    pipeline::{
        Settled,
        plain::{self, Unsettled},
        settled,
    },
};

use crate::{
    copied::CopiedFrame,
    frame::LinearFrame,
    tables::{
        KernelTables,
        sightings::{self, Place},
        unseen,
    },
};

/// Leaves the verdict to the other filters on the interface.
const TC_ACT_UNSPEC: i32 = -1;

const _: () = assert!(xdp_action::XDP_PASS == xdp_action::XDP_DROP + 1);

/// Judges a frame, counts its reason and obeys the mode.
#[xdp(frags)]
#[inline(always)]
pub fn sip_filter(ctx: XdpContext) -> u32 {
    let tables = KernelTables::in_force(ctx.ctx, true);
    let frame = LinearFrame::new(&ctx);
    let (reason, len_bytes) = match plain::judge(&frame, &tables) {
        Some(reason) => {
            let again = XdpContext::new(unseen::context(ctx.ctx));
            (reason, (again.data_end() - again.data()) as u64)
        }
        None => (tables.rest(&frame), frame.total_len_bytes()),
    };
    tables::count(reason, len_bytes);
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(&ctx, "{} {} bytes", reason.name(), len_bytes);
    // Without a branch.
    xdp_action::XDP_PASS - (tables.index().drops >> reason as u32 & 1) as u32
}

/// Judges a frame as [`sip_filter`] does and returns the reason's index; neither counts nor remembers anything.
#[xdp(frags)]
#[inline(always)]
pub fn sip_explain(ctx: XdpContext) -> u32 {
    judge(&LinearFrame::new(&ctx), &KernelTables::in_force(ctx.ctx, false)) as u32
}

/// Looks at what leaves for replies of the SIP server; changes nothing and decides nothing.
#[classifier]
#[inline(always)]
pub fn sip_watch(ctx: TcContext) -> i32 {
    watch::look(&ctx);
    TC_ACT_UNSPEC
}

/// What [`sip_parse`] and [`sip_parse_scattered`] return where the packet is kept for [`sip_decide`]; else the number of
/// the reason that settles it already, plus one.
pub(crate) const PARSED: u32 = 0;
/// What [`sip_parse`] returns where a header may lie in another piece of the frame.
pub(crate) const SCATTERED: u32 = u32::MAX;

/// Reads the headers of a frame of any shape; verified once, for any arguments.
///
/// Apart from what is decided: the stack of all functions that call one another has an end, and old kernels count in
/// steps of 32.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sip_parse(ctx: *mut xdp_md, place: u32) -> u32 {
    let ctx = XdpContext::new(ctx);
    let frame = LinearFrame::new(&ctx);
    match parse::ethernet(&frame) {
        Continue(packet) if matches!(packet.part, Part::Hidden) && frame.is_scattered() => SCATTERED,
        Break(Reason::Truncated | Reason::Malformed) if frame.is_scattered() => SCATTERED,
        Continue(packet) => keep(packet, place),
        Break(reason) => reason as u32 + 1,
    }
}

/// Reads the headers of a frame that lies in pieces.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sip_parse_scattered(ctx: *mut xdp_md, place: u32) -> u32 {
    let ctx = XdpContext::new(ctx);
    match parse::ethernet(&CopiedFrame::new(&ctx, Place::from_number(place))) {
        Continue(packet) => keep(packet, place),
        Break(reason) => reason as u32 + 1,
    }
}

#[inline(always)]
fn keep(packet: Packet, place: u32) -> u32 {
    sightings::keep(packet, Place::from_number(place));
    PARSED
}

/// Judges what was read last, as a [`Settled`]. `flags` are those of [`KernelTables`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sip_decide(flags: u32) -> u32 {
    let tables = KernelTables::from_flags(core::ptr::null_mut(), flags);
    let Some(packet) = sightings::kept(tables.place()) else { return Reason::NotProtected as u32 };
    settled(packet, &tables).to_bits()
}

/// What [`sip_tagged`] returns for frames that it does not judge: no [`Settled`].
const OTHER_SHAPE: u32 = Settled::UNLESS - 1;

/// Judges a whole datagram behind one tag, as a [`Settled`], or [`OTHER_SHAPE`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sip_tagged(ctx: *mut xdp_md, flags: u32) -> u32 {
    let tables = KernelTables::from_flags(ctx, flags);
    match plain::tagged(&LinearFrame::new(&XdpContext::new(ctx)), &tables) {
        Some(settled) => settled.to_bits(),
        None => OTHER_SHAPE,
    }
}

/// Judges a whole datagram that no word settles, as a [`Settled`]. `shape` is the number of its source's class and, in the
/// lowest bits, whether it is tagged and IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sip_weigh(ctx: *mut xdp_md, listeners: u64, shape: u32, flags: u32) -> u32 {
    let tables = KernelTables::from_flags(ctx, flags);
    let number = shape >> 2;
    let shape = Shape { is_ipv6: shape & 1 != 0, is_tagged: shape & 2 != 0 };
    let unsettled = Unsettled { shape, listeners, number };
    plain::weigh(&LinearFrame::new(&XdpContext::new(ctx)), unsettled, &tables).to_bits()
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program that can get here.
    loop {}
}

// The helpers that read the clock and packet bytes are for GPL-compatible programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
