//! Programs to measure against, and the packet generator: an object of its own, which `bench` embeds and the controller never sees.
//!
//! A floor does the least that some part of the work needs, so that the filter's own cost is what it adds to that.

#![no_std]
#![no_main]

#[expect(dead_code, reason = "the filter asks a frame for more than a parser does")]
mod frame;
#[path = "floors/generator.rs"]
mod generator;
#[path = "floors/settings.rs"]
#[expect(unreachable_pub, reason = "user space compiles this file too")]
mod settings;

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::Array,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use core::ops::ControlFlow;
use sip_filter_common::parse;

use self::settings::{LOOK_LINE_WORDS, LOOK_LINES_MAX};
use crate::frame::LinearFrame;

/// A table that says nothing about anybody, as cache lines.
#[btf_map]
static LOOK_LINES: Array<[u64; LOOK_LINE_WORDS], LOOK_LINES_MAX> = Array::new();
/// The bits of a hash that are the number of a line of it.
#[btf_map]
static LOOK_MASK: Array<u32, 1> = Array::new();

const ETHERNET_LEN: usize = 14;
const PROTOCOL_UDP: u8 = 17;

/// Nothing can be below this.
#[xdp(frags)]
#[inline(always)]
pub fn floor_drop(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// The same for a packet that passes.
#[xdp(frags)]
#[inline(always)]
pub fn floor_pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Reads IPv4 and UDP at fixed offsets and drops what is for SIP or RTP.
#[xdp(frags)]
#[inline(always)]
pub fn floor_parse_drop(ctx: XdpContext) -> u32 {
    if is_protected4(&ctx) { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

/// Reads the same and passes all of it.
#[xdp(frags)]
#[inline(always)]
pub fn floor_parse_pass(ctx: XdpContext) -> u32 {
    if is_protected4(&ctx) { xdp_action::XDP_PASS } else { unprotected() }
}

/// Reads IPv6 and UDP at fixed offsets and drops what is for SIP or RTP.
#[xdp(frags)]
#[inline(always)]
pub fn floor_parse6_drop(ctx: XdpContext) -> u32 {
    if is_protected6(&ctx) { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

/// Reads the same and passes all of it.
#[xdp(frags)]
#[inline(always)]
pub fn floor_parse6_pass(ctx: XdpContext) -> u32 {
    if is_protected6(&ctx) { xdp_action::XDP_PASS } else { unprotected() }
}

/// Reads IPv4 and UDP at fixed offsets and one word of a table at random, drops what is for SIP or RTP.
#[xdp(frags)]
#[inline(always)]
pub fn floor_look_drop(ctx: XdpContext) -> u32 {
    if is_protected4(&ctx) && is_nobody(&ctx) { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

/// Reads the same and passes all of it.
#[xdp(frags)]
#[inline(always)]
pub fn floor_look_pass(ctx: XdpContext) -> u32 {
    if is_protected4(&ctx) && is_nobody(&ctx) { xdp_action::XDP_PASS } else { unprotected() }
}

/// The filter's own parser, then a drop.
#[xdp(frags)]
#[inline(always)]
pub fn floor_headers_drop(ctx: XdpContext) -> u32 {
    if has_headers(&ctx) { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

/// The filter's own parser, then a pass.
#[xdp(frags)]
#[inline(always)]
pub fn floor_headers_pass(ctx: XdpContext) -> u32 {
    if has_headers(&ctx) { xdp_action::XDP_PASS } else { unprotected() }
}

/// Reads IPv4 and UDP at fixed offsets, drops what is for SIP or RTP but for 198.18.0.0/15, where the known client is.
#[xdp(frags)]
#[inline(always)]
pub fn floor_known(ctx: XdpContext) -> u32 {
    if !is_protected4(&ctx) {
        return xdp_action::XDP_PASS;
    }
    let Some(frame) = headers::<{ ETHERNET_LEN + 28 }>(&ctx) else { return xdp_action::XDP_PASS };
    if frame[26] == 198 && frame[27] & 0xfe == 18 { xdp_action::XDP_PASS } else { xdp_action::XDP_DROP }
}

/// Packets over IPv4.
#[xdp(frags)]
#[inline(always)]
pub fn generate(ctx: XdpContext) -> u32 {
    generator::ipv4::<ETHERNET_LEN>(&ctx)
}

/// The same behind one VLAN tag.
#[xdp(frags)]
#[inline(always)]
pub fn generate_tagged(ctx: XdpContext) -> u32 {
    generator::ipv4::<{ ETHERNET_LEN + 4 }>(&ctx)
}

/// Packets over IPv6.
#[xdp(frags)]
#[inline(always)]
pub fn generate6(ctx: XdpContext) -> u32 {
    generator::ipv6::<ETHERNET_LEN>(&ctx)
}

/// Packets over IPv4, handed to another program.
#[xdp(frags)]
#[inline(always)]
pub fn hand_over(ctx: XdpContext) -> u32 {
    generator::hand_over(&ctx, generator::rewrite4::<ETHERNET_LEN>)
}

/// The same behind one VLAN tag.
#[xdp(frags)]
#[inline(always)]
pub fn hand_over_tagged(ctx: XdpContext) -> u32 {
    generator::hand_over(&ctx, generator::rewrite4::<{ ETHERNET_LEN + 4 }>)
}

/// Packets over IPv6, handed to another program.
#[xdp(frags)]
#[inline(always)]
pub fn hand_over6(ctx: XdpContext) -> u32 {
    generator::hand_over(&ctx, generator::rewrite6::<ETHERNET_LEN>)
}

/// Passes; the compiler cannot know that, and so keeps the check that led here.
#[inline(always)]
fn unprotected() -> u32 {
    core::hint::black_box(xdp_action::XDP_PASS)
}

/// UDP over IPv4 without options to a port of SIP or RTP.
#[inline(always)]
fn is_protected4(ctx: &XdpContext) -> bool {
    let Some(frame) = headers::<{ ETHERNET_LEN + 28 }>(ctx) else { return false };
    frame[12..14] == [0x08, 0x00]
        && frame[14] & 0x0f == 5
        && frame[23] == PROTOCOL_UDP
        && is_port(u16::from_be_bytes([frame[36], frame[37]]))
}

/// UDP right behind the IPv6 header to a port of SIP or RTP.
#[inline(always)]
fn is_protected6(ctx: &XdpContext) -> bool {
    let Some(frame) = headers::<{ ETHERNET_LEN + 48 }>(ctx) else { return false };
    frame[12..14] == [0x86, 0xdd]
        && frame[20] == PROTOCOL_UDP
        && is_port(u16::from_be_bytes([frame[56], frame[57]]))
}

/// What a table of one word for each prefix says about the source: wherever its hash leads.
#[inline(always)]
fn is_nobody(ctx: &XdpContext) -> bool {
    let Some(frame) = headers::<{ ETHERNET_LEN + 28 }>(ctx) else { return false };
    let source = u32::from_ne_bytes([frame[26], frame[27], frame[28], frame[29]]);
    let hash = (source as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let Some(mask) = LOOK_MASK.get(0) else { return false };
    let Some(line) = LOOK_LINES.get((hash >> 32) as u32 & mask) else { return false };
    line[(hash >> 61) as usize % LOOK_LINE_WORDS] == 0
}

#[inline(always)]
fn is_port(port: u16) -> bool {
    port == 5060 || port.wrapping_sub(10_000) <= 10_000
}

#[inline(always)]
fn headers<const N: usize>(ctx: &XdpContext) -> Option<&[u8; N]> {
    if ctx.data() + N > ctx.data_end() {
        return None;
    }
    // SAFETY: the check above leaves N bytes inside the packet; any bytes are a valid array.
    Some(unsafe { &*(ctx.data() as *const [u8; N]) })
}

/// Whether the filter's parser finds something to judge; every field it read is kept.
#[inline(always)]
fn has_headers(ctx: &XdpContext) -> bool {
    match parse::ethernet(&LinearFrame::new(ctx)) {
        ControlFlow::Continue(packet) => {
            core::hint::black_box(&packet);
            true
        }
        ControlFlow::Break(_) => false,
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
