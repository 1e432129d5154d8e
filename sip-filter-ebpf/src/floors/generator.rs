//! Writes packets: run as `BPF_PROG_TEST_RUN` with live frames, it gives each frame another source and other ports and redirects it into one end of a veth pair.
//! The rest of a frame is what user space handed over; nothing is judged here.

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, ProgramArray},
    helpers::generated,
    macros::btf_map,
    programs::XdpContext,
};

use super::settings::{
    BURST_FRAMES, POOL_SLOTS, REQUESTS_MAX, RING_FRAMES, RING_STRIDE, TARGETS_MAX, TURN_FRAMES, TURNS_MAX,
    setting, state,
};

type Settings = [u64; setting::WORDS];
type State = [u64; state::WORDS];
type Slot = [u32; 4];

#[btf_map]
static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map]
static STATE: Array<State, 1> = Array::new();
#[btf_map]
static POOL: Array<Slot, POOL_SLOTS> = Array::new();
/// When each request left, on the monotonic clock.
#[btf_map]
static DEPARTURES: Array<u64, REQUESTS_MAX> = Array::new();
/// The programs to which frames of the ring are handed.
#[btf_map]
static NEXT: ProgramArray<TARGETS_MAX> = ProgramArray::new();
/// Nanoseconds that each turn took.
#[btf_map]
static SPENT: Array<u64, TURNS_MAX> = Array::new();

/// IPv4 and UDP headers together.
const HEADERS4_LEN: usize = 28;
/// IPv6 and UDP headers together.
const HEADERS6_LEN: usize = 48;
/// Digits of a request's number.
const NUMBER_LEN: usize = 8;

/// What a run of the program works on.
pub(super) struct Run {
    settings: &'static Settings,
    state: &'static mut State,
}

/// What becomes of a frame.
enum Turn {
    /// It is not time for one.
    Wait,
    /// A request of the known client.
    Request,
    /// One frame of the flood.
    Flood,
}

impl Run {
    #[inline(always)]
    fn begin() -> Option<Self> {
        let settings = SETTINGS.get(0)?;
        let state = STATE.get_ptr_mut(0)?;
        // SAFETY: one CPU runs this program at a time, and nobody else writes its state meanwhile.
        Some(Self { settings, state: unsafe { &mut *state } })
    }

    /// Xorshift: a few instructions, and no two frames in a row alike.
    #[inline(always)]
    fn random(&mut self) -> u64 {
        let mut value = self.state[state::RANDOM];
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
        self.state[state::RANDOM] = value;
        value
    }

    #[inline(always)]
    fn turn(&mut self) -> Turn {
        // The clock is read for one frame in 64 only: it costs as much as a look-up.
        if self.settings[setting::REQUEST_GAP_NS] != 0 && self.random() & 63 == 0 {
            let now = now_ns();
            let due = self.state[state::NEXT_REQUEST_NS];
            if now >= due {
                let gap_ns = self.settings[setting::REQUEST_GAP_NS];
                // What was missed by more than one is not made up for.
                let from = if now - due > gap_ns { now } else { due };
                self.state[state::NEXT_REQUEST_NS] = from + gap_ns;
                return Turn::Request;
            }
        }
        if self.settings[setting::QUIET] != 0 {
            return Turn::Wait;
        }
        let gap_ns = self.settings[setting::GAP_NS];
        if gap_ns == 0 {
            return Turn::Flood;
        }
        if self.state[state::BURST] == 0 {
            let now = now_ns();
            let due = self.state[state::NEXT_BURST_NS];
            if now < due {
                return Turn::Wait;
            }
            let burst_ns = BURST_FRAMES * gap_ns;
            // What was missed by more than four bursts is not made up for.
            let from = if now - due > 4 * burst_ns { now } else { due };
            self.state[state::NEXT_BURST_NS] = from + burst_ns;
            self.state[state::BURST] = BURST_FRAMES;
        }
        self.state[state::BURST] -= 1;
        Turn::Flood
    }

    /// The number of the next source in the pool.
    #[inline(always)]
    fn next_source(&mut self) -> u32 {
        let source = self.state[state::NEXT_SOURCE];
        let next = source + 1;
        self.state[state::NEXT_SOURCE] = if next >= self.settings[setting::SOURCES] { 0 } else { next };
        source as u32
    }

    #[inline(always)]
    fn ports(&mut self) -> (u16, u16) {
        let random = self.random();
        let destination = if random & 1 == 0 {
            self.settings[setting::PORT]
        } else {
            self.settings[setting::PORT_RANGE_BASE]
                + ((random >> 1) & self.settings[setting::PORT_RANGE_MASK])
        };
        ((random >> 32) as u16 | 1024, destination as u16)
    }

    /// Whether this frame may leave as it left last time: its header is then still shared between the CPUs' caches.
    #[inline(always)]
    fn reuses(&mut self) -> bool {
        let mask = self.settings[setting::REUSE_MASK];
        mask != 0 && self.random() & mask != 0
    }

    /// Frames before those of this turn that count.
    #[inline(always)]
    fn warm_up_frames(&self) -> u64 {
        self.settings[setting::WARM_UP + self.state[state::TARGET] as usize % TARGETS_MAX]
    }

    /// Whose turn the next frames of the ring are in.
    #[inline(always)]
    fn take_turns(&mut self) {
        if self.state[state::TURN_FRAMES] == self.warm_up_frames() + TURN_FRAMES {
            if let Some(spent_ns) = SPENT.get_ptr_mut(self.state[state::TURNS] as u32) {
                // SAFETY: the pointer is to an element that only this program writes.
                unsafe { *spent_ns = now_ns() - self.state[state::TURN_STARTED_NS] };
            }
            self.state[state::TURNS] += 1;
            let next = self.state[state::TARGET] + 1;
            self.state[state::TARGET] = if next < self.settings[setting::TARGETS] { next } else { 0 };
            self.state[state::TURN_FRAMES] = 0;
        }
        if self.state[state::TURN_FRAMES] == self.warm_up_frames() {
            self.state[state::TURN_STARTED_NS] = now_ns();
        }
        self.state[state::TURN_FRAMES] += RING_FRAMES as u64;
    }

    #[inline(always)]
    fn send(&mut self) -> u32 {
        self.state[state::SENT] += 1;
        redirect(self.settings)
    }
}

/// One frame with an IPv4 packet, whose header begins at `AT`.
#[inline(always)]
pub(super) fn ipv4<const AT: usize>(ctx: &XdpContext) -> u32 {
    let Some(mut run) = Run::begin() else { return xdp_action::XDP_ABORTED };
    let start = ctx.data() + AT;
    if start + HEADERS4_LEN > ctx.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: the check above leaves both headers inside the frame.
    let headers = unsafe { &mut *(start as *mut [u8; HEADERS4_LEN]) };
    match run.turn() {
        Turn::Wait => xdp_action::XDP_DROP,
        Turn::Request => request::<AT>(ctx, &mut run, headers),
        Turn::Flood => {
            if run.reuses() && is_of_flood(headers, run.settings) {
                return run.send();
            }
            match rewrite4::<AT>(ctx, &mut run, ctx.data()) {
                Some(()) => run.send(),
                None => xdp_action::XDP_ABORTED,
            }
        }
    }
}

/// Whether this page carried a frame of the flood last time: not before it was ever written, nor after a request.
#[inline(always)]
fn is_of_flood(headers: &[u8; HEADERS4_LEN], settings: &Settings) -> bool {
    let source = u32::from_ne_bytes([headers[12], headers[13], headers[14], headers[15]]);
    source != 0 && source != settings[setting::CLIENT] as u32
}

/// One frame with an IPv6 packet, whose header begins at `AT`.
#[inline(always)]
pub(super) fn ipv6<const AT: usize>(ctx: &XdpContext) -> u32 {
    let Some(mut run) = Run::begin() else { return xdp_action::XDP_ABORTED };
    if matches!(run.turn(), Turn::Wait | Turn::Request) {
        return xdp_action::XDP_DROP;
    }
    match rewrite6::<AT>(ctx, &mut run, ctx.data()) {
        Some(()) => run.send(),
        None => xdp_action::XDP_ABORTED,
    }
}

/// Moves on to the next frame of the ring and hands it to another program, in which this run ends.
///
/// What stands before the head tells where in the ring it is: a run begins one place before the first frame. All frames
/// are written anew whenever it comes to the first one, as a NIC's arrive in batches: what was written a moment ago cannot
/// be read back in other words.
#[inline(always)]
pub(super) fn hand_over(
    ctx: &XdpContext,
    rewrite: impl Fn(&XdpContext, &mut Run, usize) -> Option<()>,
) -> u32 {
    let Some(mut run) = Run::begin() else { return xdp_action::XDP_ABORTED };
    let left = ctx.data_end() - ctx.data();
    let is_last = left < 2 * RING_STRIDE;
    let by = if is_last { -((RING_FRAMES - 1) as i32) } else { 1 } * RING_STRIDE as i32;
    // SAFETY: the context is the program's own.
    if unsafe { generated::bpf_xdp_adjust_head(ctx.ctx, by) } != 0 {
        return xdp_action::XDP_ABORTED;
    }
    if is_last || left > RING_FRAMES * RING_STRIDE {
        for place in 0..RING_FRAMES {
            if rewrite(ctx, &mut run, ctx.data() + place * RING_STRIDE).is_none() {
                return xdp_action::XDP_ABORTED;
            }
            run.state[state::SENT] += 1;
        }
        run.take_turns();
    }
    // SAFETY: the other program is of the same type; nothing of this run is used any more.
    unsafe {
        // Numbers that are known beforehand: the kernel makes jumps of such calls, which cost next to nothing.
        match run.state[state::TARGET] {
            0 => NEXT.tail_call(ctx, 0),
            1 => NEXT.tail_call(ctx, 1),
            2 => NEXT.tail_call(ctx, 2),
            3 => NEXT.tail_call(ctx, 3),
            4 => NEXT.tail_call(ctx, 4),
            5 => NEXT.tail_call(ctx, 5),
            6 => NEXT.tail_call(ctx, 6),
            _ => NEXT.tail_call(ctx, 7),
        }
    }
    // There was none.
    xdp_action::XDP_ABORTED
}

/// Another source and other ports for the IPv4 packet `AT` bytes behind a frame's begin.
#[inline(always)]
pub(super) fn rewrite4<const AT: usize>(ctx: &XdpContext, run: &mut Run, frame: usize) -> Option<()> {
    let start = frame + AT;
    if start + HEADERS4_LEN > ctx.data_end() {
        return None;
    }
    // SAFETY: the check above leaves both headers inside the frame.
    let headers = unsafe { &mut *(start as *mut [u8; HEADERS4_LEN]) };
    let index = run.next_source();
    let source = POOL.get(index >> 2)?[(index & 3) as usize];
    let (from, to) = run.ports();
    write4(headers, run.settings, source, run.state[state::SENT] as u16, from, to);
    Some(())
}

/// The same for an IPv6 packet.
#[inline(always)]
pub(super) fn rewrite6<const AT: usize>(ctx: &XdpContext, run: &mut Run, frame: usize) -> Option<()> {
    let start = frame + AT;
    if start + HEADERS6_LEN > ctx.data_end() {
        return None;
    }
    let index = run.next_source();
    let slot = POOL.get(index)?;
    let (from, to) = run.ports();
    // SAFETY: the check above leaves both headers inside the frame.
    let headers = unsafe { &mut *(start as *mut [u8; HEADERS6_LEN]) };
    for word in 0..4 {
        headers[8 + 4 * word..12 + 4 * word].copy_from_slice(&slot[word].to_ne_bytes());
    }
    headers[40..42].copy_from_slice(&from.to_be_bytes());
    headers[42..44].copy_from_slice(&to.to_be_bytes());
    Some(())
}

#[inline(always)]
fn write4(
    headers: &mut [u8; HEADERS4_LEN],
    settings: &Settings,
    source: u32,
    identification: u16,
    from: u16,
    to: u16,
) {
    let mut sum = settings[setting::HEADER_SUM] as u32 + identification as u32;
    sum += (source & 0xffff) + (source >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    headers[4..6].copy_from_slice(&identification.to_ne_bytes());
    headers[10..12].copy_from_slice(&(!sum as u16).to_ne_bytes());
    headers[12..16].copy_from_slice(&source.to_ne_bytes());
    headers[20..22].copy_from_slice(&from.to_be_bytes());
    headers[22..24].copy_from_slice(&to.to_be_bytes());
}

/// The known client's next request: the frame of the flood with its own source, port and number.
#[inline(always)]
fn request<const AT: usize>(ctx: &XdpContext, run: &mut Run, headers: &mut [u8; HEADERS4_LEN]) -> u32 {
    let number = run.state[state::REQUESTS] as u32;
    let Some(departure) = DEPARTURES.get_ptr_mut(number) else { return xdp_action::XDP_DROP };
    let offset = (run.settings[setting::NUMBER_OFFSET] & 0x1ff) as usize;
    let digits = ctx.data() + AT + HEADERS4_LEN + offset;
    if digits + NUMBER_LEN > ctx.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: the check above leaves the digits inside the frame.
    let digits = unsafe { &mut *(digits as *mut [u8; NUMBER_LEN]) };
    for (place, digit) in digits.iter_mut().enumerate() {
        let value = (number >> (28 - 4 * place)) as u8 & 15;
        *digit = value + if value < 10 { b'0' } else { b'a' - 10 };
    }
    let settings = run.settings;
    let client = settings[setting::CLIENT] as u32;
    let port = settings[setting::CLIENT_PORT] as u16;
    write4(headers, settings, client, number as u16, port, settings[setting::PORT] as u16);
    run.state[state::REQUESTS] += 1;
    // SAFETY: the pointer is to the element that only this program writes.
    unsafe { *departure = now_ns() };
    redirect(settings)
}

#[inline(always)]
fn redirect(settings: &Settings) -> u32 {
    // SAFETY: the helper has no preconditions.
    let action = unsafe { generated::bpf_redirect(settings[setting::INTERFACE] as u32, 0) };
    action as u32
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { generated::bpf_ktime_get_ns() }
}
