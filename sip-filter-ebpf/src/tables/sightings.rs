//! Copies of SIP messages, made on the way and handed to the controller through rings.
//!
//! What strangers can fill has a ring of its own. A message that finds its ring full is counted as lost.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    btf_maps::{PerCpuArray, RingBuf},
    helpers::generated,
    macros::btf_map,
};
use sip_filter_common::{
    Address, Counter,
    lane::Payload,
    maps::{
        BLOCKED_RING_BYTES, RING_BYTES, SIGHTING_TEXT_LEN, STREAM_RING_BYTES, Sighting, SightingHeader,
        SightingKind, TextMarks,
    },
    parse::{OFFSET_MASK, Packet, protocol},
    text::{self, Found, LOOKED_AT_MAX, PART_LEN},
};

use super::boot_ns;
use crate::frame::MULTI_BUFFER;

/// Room for one message, and what is noted while it is looked at.
#[repr(C)]
pub(crate) struct Scratch {
    sighting: Sighting,
    found: Found,
    packet: MaybeUninit<Packet>,
}

/// One for the filter, one for `explain`, which may be interrupted by the filter, and one for what leaves.
#[btf_map]
static SCRATCH: PerCpuArray<Scratch, 3> = PerCpuArray::new();
#[btf_map]
static ACCEPTED: RingBuf<(), RING_BYTES> = RingBuf::new();
#[btf_map]
static REFUSED: RingBuf<(), RING_BYTES> = RingBuf::new();
#[btf_map]
static STREAMS: RingBuf<(), STREAM_RING_BYTES> = RingBuf::new();
#[btf_map]
static BLOCKED: RingBuf<(), BLOCKED_RING_BYTES> = RingBuf::new();
#[btf_map]
static SIGHTINGS: PerCpuArray<Counter, { 2 * SightingKind::ALL.len() }> = PerCpuArray::new();

/// Which room is used.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Place {
    Filter = 0,
    Explain = 1,
    Watch = 2,
}

impl Place {
    /// The place of this number.
    #[inline(always)]
    pub(crate) fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Filter,
            1 => Self::Explain,
            _ => Self::Watch,
        }
    }
}

/// Keeps what the headers of a frame say.
#[inline(always)]
pub(crate) fn keep(packet: Packet, place: Place) {
    if let Some(scratch) = SCRATCH.get_ptr_mut(place as u32) {
        // SAFETY: this CPU's own, and nothing that uses the same place runs before this returns.
        unsafe { (*scratch).packet = MaybeUninit::new(packet) };
    }
}

/// What [`keep`] has kept.
#[inline(always)]
pub(crate) fn kept(place: Place) -> Option<&'static Packet> {
    let scratch = SCRATCH.get_ptr_mut(place as u32)?;
    // SAFETY: this CPU's own; the caller has kept one there, and nothing that uses the same place runs before it returns.
    Some(unsafe { (*scratch).packet.assume_init_ref() })
}

/// Where bytes are copied from.
pub(crate) trait Source {
    /// Copies from `offset` on, into the room of that place; false where there are not so many.
    fn copy(&self, offset: usize, target: &mut [u8; SIGHTING_TEXT_LEN], len: u32, place: Place) -> bool;
}

impl Source for *mut xdp_md {
    #[inline(always)]
    fn copy(&self, offset: usize, target: &mut [u8; SIGHTING_TEXT_LEN], len: u32, place: Place) -> bool {
        if MULTI_BUFFER.load() == 0 {
            return sip_copy_by_bytes(*self, offset as u32, len, place as u32) != 0;
        }
        // SAFETY: the context is this call's own; `len` is less than the target has.
        unsafe { generated::bpf_xdp_load_bytes(*self, offset as u32, target.as_mut_ptr().cast(), len) == 0 }
    }
}

impl Source for *mut __sk_buff {
    #[inline(always)]
    fn copy(&self, offset: usize, target: &mut [u8; SIGHTING_TEXT_LEN], len: u32, _: Place) -> bool {
        // SAFETY: the context is this call's own; `len` is less than the target has.
        unsafe {
            generated::bpf_skb_load_bytes(self.cast(), offset as u32, target.as_mut_ptr().cast(), len) == 0
        }
    }
}

/// For kernels whose XDP frames are in one piece, and who have no helper to read them.
///
/// A function of its own, and another one in it: each way out of a loop is followed by the verifiers of such kernels.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sip_copy_by_bytes(ctx: *mut xdp_md, offset: u32, len: u32, place: u32) -> u32 {
    let mut from = 0;
    while from < LOOKED_AT_MAX as u32 {
        if from >= len {
            break;
        }
        if sip_copy_part(ctx, offset, len, place, from) == 0 {
            return 0;
        }
        from += PART_LEN as u32;
    }
    1
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sip_copy_part(ctx: *mut xdp_md, offset: u32, len: u32, place: u32, from: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(place) else { return 0 };
    // SAFETY: this CPU's own, and nothing that uses the same place runs before this returns.
    let target = unsafe { &mut (*scratch).sighting.text };
    // SAFETY: the context is this call's own.
    let (start, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
    let from = from as usize & (SIGHTING_TEXT_LEN / 2 - 1);
    let mut step = 0;
    while step < PART_LEN {
        if from + step >= len as usize {
            break;
        }
        // The compiler would check one pointer and read by another. The byte before it comes along: the verifier takes no
        // check of a single byte.
        let pair =
            core::hint::black_box(start + ((offset as usize - 1) & OFFSET_MASK as usize) + from + step);
        if pair + 2 > end {
            return 0;
        }
        // SAFETY: the check above leaves these two bytes inside the packet.
        let [_, byte] = unsafe { (pair as *const [u8; 2]).read_unaligned() };
        target[from + step] = byte;
        step += 1;
    }
    1
}

/// How many bytes are copied at most: what a power of two leaves as a remainder.
pub(crate) const COPIED_MAX: usize = SIGHTING_TEXT_LEN - 1;

/// Copies as much of a message as there is room for; how much that was.
#[inline(always)]
pub(crate) fn copy<S: Source>(source: &S, payload: Payload, place: Place) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(place as u32) else { return 0 };
    // SAFETY: this CPU's own, and nothing that uses the same place runs before this returns.
    let sighting = unsafe { &mut (*scratch).sighting };
    sighting.header.text_len = 0;
    if payload.len == 0 {
        return 0;
    }
    let len = if payload.len < COPIED_MAX { payload.len } else { COPIED_MAX };
    // Bounded by arithmetic that the compiler cannot see through: it would drop the check that the verifier needs.
    let len = core::hint::black_box(len - 1) % SIGHTING_TEXT_LEN + 1;
    if source.copy(payload.at, &mut sighting.text, len as u32, place) {
        sighting.header.text_len = len as u32;
    }
    sighting.header.text_len
}

/// Reads a plain value of a frame from wherever it lies.
#[inline(always)]
pub(crate) fn value_at<T: Copy>(ctx: *mut xdp_md, offset: usize, place: Place) -> Option<T> {
    if sip_copy_header(ctx, offset as u32, size_of::<T>() as u32, place as u32) == 0 {
        return None;
    }
    let scratch = SCRATCH.get_ptr_mut(place as u32)?;
    // SAFETY: this CPU's own, and nothing that uses the same place runs before this returns.
    let text = unsafe { &(*scratch).sighting.text };
    // SAFETY: as many bytes were copied there; callers ask for integers only.
    Some(unsafe { text.as_ptr().cast::<T>().read_unaligned() })
}

/// Copies the few bytes of a header; a global function, which the many places that read have in common.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sip_copy_header(ctx: *mut xdp_md, offset: u32, len: u32, place: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(place) else { return 0 };
    // SAFETY: as in the caller.
    let text = unsafe { &mut (*scratch).sighting.text };
    let len = core::hint::black_box(len.wrapping_sub(1)) % 64 + 1;
    ctx.copy(offset as usize, text, len, Place::from_number(place)) as u32
}

/// The first bytes of what was copied last.
#[inline(always)]
pub(crate) fn copied(place: Place) -> Option<&'static [u8]> {
    let scratch = SCRATCH.get_ptr_mut(place as u32)?;
    // SAFETY: this CPU's own, and nothing that uses the same place runs before the caller has read it.
    Some(unsafe { &(&(*scratch).sighting.text)[..16] })
}

/// There is no text.
#[inline(always)]
pub(crate) fn clear(place: Place) {
    if let Some(scratch) = SCRATCH.get_ptr_mut(place as u32) {
        // SAFETY: this CPU's own, and nothing that uses the same place runs before this returns.
        unsafe { (*scratch).sighting.header.text_len = 0 };
    }
}

/// Copies a message and looks at it; nothing found where it cannot be read.
#[inline(always)]
pub(crate) fn read<S: Source>(source: &S, payload: Payload, place: Place) -> TextMarks {
    let len = copy(source, payload, place);
    sip_look(place as u32, len);
    marks(place)
}

/// What of a stranger's message is looked at.
#[inline(always)]
pub(crate) fn looked_at(payload: Payload) -> Payload {
    let len = if payload.len < LOOKED_AT_MAX { payload.len } else { LOOKED_AT_MAX };
    Payload { len, ..payload }
}

/// [`read`] as a global function: verified once, for any place of a message in its frame.
#[inline(always)]
pub(crate) fn read_frame(ctx: *mut xdp_md, payload: Payload, place: Place) -> TextMarks {
    sip_read(ctx, payload.at as u32, payload.len as u32, place as u32);
    marks(place)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sip_read(ctx: *mut xdp_md, at: u32, len: u32, place: u32) -> u32 {
    let payload = Payload { at: at as usize, len: len as usize };
    read(&ctx, payload, Place::from_number(place));
    0
}

/// What was found in the message that was looked at last.
#[inline(always)]
fn marks(place: Place) -> TextMarks {
    match SCRATCH.get_ptr_mut(place as u32) {
        // SAFETY: this CPU's own, and nothing that uses the same place runs before this returns.
        Some(scratch) => unsafe { (*scratch).sighting.header.marks },
        None => TextMarks::NONE,
    }
}

/// [`text::look`] as a global function: verified once.
#[unsafe(no_mangle)]
extern "C" fn sip_look(place: u32, len: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(place) else { return 0 };
    // SAFETY: this CPU's own, and nothing that uses the same place runs before this returns.
    let Scratch { sighting, found, .. } = unsafe { &mut *scratch };
    text::look(&sighting.text, len as usize, &mut sighting.header.marks, found, |marks, _, from| {
        sip_look_at_part(place, marks.looked_at as u32, from as u32) != 0
    });
    0
}

/// [`text::part`] as a global function: verified once, not at each byte.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sip_look_at_part(place: u32, len: u32, from: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(place) else { return 1 };
    // SAFETY: as in the caller, which reads what is written here only when it is done.
    let Scratch { sighting, found, .. } = unsafe { &mut *scratch };
    let len = len as usize & (SIGHTING_TEXT_LEN / 2 - 1);
    text::part(&sighting.text, len, &mut sighting.header.marks, found, from as usize) as u32
}

/// Where and when a message was seen.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) kind: SightingKind,
    pub(crate) peer: &'a Address,
    pub(crate) peer_port: u16,
    pub(crate) local_port: u16,
    pub(crate) protocol: u8,
    pub(crate) sequence: u32,
}

/// Hands the message in the room to the controller.
#[inline(always)]
pub(crate) fn report(seen: &Seen<'_>, place: Place) {
    let what = seen.kind as u32 | (place as u32) << 8 | (seen.protocol as u32) << 16;
    let ports = (seen.peer_port as u32) << 16 | seen.local_port as u32;
    let [high, low] = seen.peer.halves;
    sip_report(what, high, low, ports, seen.sequence);
}

/// [`report`] as a global function: it has a stack of its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sip_report(what: u32, high: u64, low: u64, ports: u32, sequence: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(what >> 8 & 0xff) else { return 0 };
    // SAFETY: this CPU's own, and nothing that uses the same place runs before this returns.
    let sighting = unsafe { &mut (*scratch).sighting };
    let header = &mut sighting.header;
    header.seen_ns = boot_ns();
    header.peer = Address { halves: [high, low] };
    header.peer_port = (ports >> 16) as u16;
    header.local_port = ports as u16;
    header.kind = (what & 0xff) as u16;
    header.protocol = (what >> 16) as u16;
    header.sequence = sequence;
    let text_len = header.text_len;
    // As above; no text has more.
    let len = core::hint::black_box(text_len as u64) % SIGHTING_TEXT_LEN as u64;
    header.text_len = len as u32;
    let len = size_of::<SightingHeader>() as u64 + len;
    // What is said over TCP has one ring, so that question and answer keep their order.
    let is_tcp = what >> 16 == protocol::TCP as u32;
    let ring = match what & 0xff {
        BLOCKED_KIND => (&raw const BLOCKED).cast_mut().cast(),
        _ if is_tcp => (&raw const STREAMS).cast_mut().cast(),
        ACCEPTED_KIND => (&raw const ACCEPTED).cast_mut().cast(),
        _ => (&raw const REFUSED).cast_mut().cast(),
    };
    // SAFETY: the ring is a map of this program, and the room has as many bytes.
    let status = unsafe { generated::bpf_ringbuf_output(ring, (&raw mut *sighting).cast(), len, 0) };
    count(what & 0xff, status < 0, len);
    0
}

const ACCEPTED_KIND: u32 = SightingKind::Accepted as u32;
const BLOCKED_KIND: u32 = SightingKind::Blocked as u32;

/// Counts a message as written, or as lost.
#[inline(always)]
fn count(kind: u32, is_lost: bool, len: u64) {
    let Some(counter) = SIGHTINGS.get_ptr_mut(2 * kind + is_lost as u32) else { return };
    // SAFETY: the pointer is to this CPU's own counter; what interrupts here loses one count at worst.
    let counter = unsafe { &mut *counter };
    counter.packets += 1;
    counter.bytes += len;
}
