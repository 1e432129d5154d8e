//! The kernel program: one frame in, one reason counted, one verdict out.
//!
//! Thin on purpose: what happens to a packet is decided in `sip_filter_common::pipeline`;
//! here are the maps it asks and the bytes it reads.

#![no_std]
#![no_main]

mod features;
mod frame;
mod tables;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use sip_filter_common::{Mode, Reason, Tables as _, Verdict, judge};

use crate::{frame::KernelFrame, tables::KernelTables};

/// Judges a frame, counts its reason and obeys the mode.
#[xdp(frags)]
pub fn sip_filter(ctx: XdpContext) -> u32 {
    // No policy yet: there is no listener that could be protected.
    let Some(tables) = KernelTables::in_force(true) else { return xdp_action::XDP_PASS };
    let frame = KernelFrame::new(&ctx);
    let reason = judge(&frame, &tables);
    tables::count(reason, frame.len_bytes());
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(&ctx, "{} {} bytes", reason.name(), frame.len_bytes());
    match (reason.verdict(), Mode::from_number(tables.index().mode)) {
        (Verdict::Drop, Mode::Enforce) => xdp_action::XDP_DROP,
        _ => xdp_action::XDP_PASS,
    }
}

/// Judges a frame as [`sip_filter`] does and returns the reason's index; neither counts nor remembers anything.
#[xdp(frags)]
pub fn sip_explain(ctx: XdpContext) -> u32 {
    match KernelTables::in_force(false) {
        Some(tables) => judge(&KernelFrame::new(&ctx), &tables) as u32,
        None => Reason::NotProtected as u32,
    }
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
