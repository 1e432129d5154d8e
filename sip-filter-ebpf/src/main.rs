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
use sip_filter_common::{Mode, Reason, Tables as _, Verdict, judge, parse, pipeline::decide};

use crate::{
    copied::CopiedFrame,
    frame::LinearFrame,
    tables::{
        KernelTables,
        sightings::{self, Place},
    },
};

/// What other programs and filters on the interface say is what happens.
const TC_ACT_UNSPEC: i32 = -1;

/// Judges a frame, counts its reason and obeys the mode.
#[xdp(frags)]
#[inline(always)]
pub fn sip_filter(ctx: XdpContext) -> u32 {
    // No policy yet: there is no listener that could be protected.
    let Some(tables) = KernelTables::<true>::in_force(ctx.ctx, true) else { return xdp_action::XDP_PASS };
    let reason = reason_for(&ctx, &tables);
    let len_bytes = LinearFrame::new(&ctx).len_bytes();
    tables::count(reason, len_bytes);
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(&ctx, "{} {} bytes", reason.name(), len_bytes);
    match (reason.verdict(), Mode::from_number(tables.index().mode)) {
        (Verdict::Drop, Mode::Enforce) => xdp_action::XDP_DROP,
        _ => xdp_action::XDP_PASS,
    }
}

/// Judges a frame as [`sip_filter`] does and returns the reason's index; neither counts nor remembers anything.
#[xdp(frags)]
#[inline(always)]
pub fn sip_explain(ctx: XdpContext) -> u32 {
    match KernelTables::<true>::in_force(ctx.ctx, false) {
        Some(tables) => reason_for(&ctx, &tables) as u32,
        None => Reason::NotProtected as u32,
    }
}

/// Looks at what leaves for replies of the SIP server; changes nothing and decides nothing.
#[classifier]
#[inline(always)]
pub fn sip_watch(ctx: TcContext) -> i32 {
    watch::look(&ctx);
    TC_ACT_UNSPEC
}

/// Judges a frame in one piece, and once more where a header may lie in another.
#[inline(always)]
fn reason_for(ctx: &XdpContext, tables: &KernelTables) -> Reason {
    let frame = LinearFrame::new(ctx);
    let reason = judge(&frame, tables);
    if matches!(reason, Reason::Truncated | Reason::Malformed) && frame.is_scattered() {
        let place = tables.place() as u32;
        let again = match sip_parse_scattered(ctx.ctx, place) {
            0 => sip_decide_scattered(place, tables.follows() as u32),
            settled => settled - 1,
        };
        return Reason::from_index(again).unwrap_or(reason);
    }
    reason
}

/// Reads the headers of a frame that lies in pieces; what they say is kept for [`sip_decide_scattered`].
///
/// Returns the number of the reason that settles it already, plus one; 0 where none does.
/// In two steps: the stack of all functions that call one another has an end, and old kernels count in steps of 32.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sip_parse_scattered(ctx: *mut xdp_md, place: u32) -> u32 {
    let ctx = XdpContext::new(ctx);
    let place = Place::from_number(place);
    match parse::ethernet(&CopiedFrame::new(&ctx, place)) {
        Continue(packet) => {
            sightings::keep(packet, place);
            0
        }
        Break(reason) => reason as u32 + 1,
    }
}

/// Judges what [`sip_parse_scattered`] has read.
///
/// May judge by the policy after the one that the caller picked: that one decided nothing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sip_decide_scattered(place: u32, follows: u32) -> u32 {
    let place = Place::from_number(place);
    let tables = KernelTables::<false>::in_force(core::ptr::null_mut(), follows != 0);
    let (Some(tables), Some(packet)) = (tables, sightings::kept(place)) else {
        return Reason::NotProtected as u32;
    };
    // No byte is asked for any more: without a lane only headers decide.
    decide(&[][..], packet, &tables) as u32
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
