//! Starts the packet generator in the kernel: settings in, frames out. How a packet is written is in `sip-filter-ebpf/src/floors/generator.rs`.

#[path = "../../sip-filter-ebpf/src/floors/settings.rs"]
pub mod settings;

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, TestRun, TestRunAttrs, TestRunOptions, TestRunResult,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, Xdp},
};

use self::settings::{POOL_SLOTS, REQUESTS_MAX, RING_FRAMES, RING_STRIDE, TARGETS_MAX, setting, state};
use crate::{
    floors,
    ground::Wire,
    traffic::{NUMBER_MARK, OPTIONS, Payload, Ports, Sources, Traffic, Way, header_sum},
};

/// Frames that the kernel writes before it hands them over together: a NIC's usual budget.
const BATCH: u32 = 64;
/// `struct xdp_md` as a test run takes it, and where the two fields stand that are not 0.
const CONTEXT_LEN: usize = 24;
const CONTEXT_DATA_END: usize = 4;
const CONTEXT_INTERFACE: usize = 12;
/// The known client's port.
pub(crate) const CLIENT_PORT: u16 = 5090;

/// How fast, and what else.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Frames a second; 0 sends flat out.
    pub frames_per_s: u64,
    /// Requests of the known client a second; 0 sends none.
    pub requests_per_s: u64,
    /// No flood, only the requests.
    pub quiet: bool,
    /// One frame in this power of two is written anew; 0 writes each.
    pub reuse_bits: u32,
}

/// One kind of traffic, ready to be sent along any wire.
pub struct Generator {
    object: Ebpf,
    traffic: Traffic,
}

impl Generator {
    /// Loads the program and hands it the sources.
    pub fn new(traffic: Traffic) -> Result<Self> {
        let mut object = floors::load(1)?;
        for program in traffic.programs() {
            floors::program(&mut object, program)?;
        }
        let mut pool: Array<_, [u32; 4]> = map(&mut object, "POOL")?;
        fill(&mut pool, &traffic.sources)?;
        Ok(Self { object, traffic })
    }

    /// What it sends.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Sets it to hand frames to programs, turn by turn, as if they came along `wire`; call what is on [`Handing`] inside
    /// the sender's namespace.
    pub fn hand(&mut self, wire: &Wire, legs: &[Leg]) -> Result<Handing<'_>> {
        ensure!(legs.len() <= TARGETS_MAX, "{} programs are more than can take turns", legs.len());
        let Aim { frame, interface, .. } = self.aim(wire, Pace::default())?;
        let next = self.object.map_mut("NEXT").context("the object has no map NEXT")?;
        let mut next = ProgramArray::try_from(next)?;
        for (index, leg) in (0..).zip(legs) {
            next.set(index, &leg.program, 0)?;
        }
        let mut settings = map::<[u64; setting::WORDS]>(&mut self.object, "SETTINGS")?;
        let mut words = settings.get(&0, 0)?;
        words[setting::TARGETS] = legs.len() as u64;
        for (word, leg) in words[setting::WARM_UP..].iter_mut().zip(legs) {
            *word = leg.warm_up_frames.into();
        }
        settings.set(0, words, 0)?;
        ensure!(frame.len() <= RING_STRIDE, "a frame of {} bytes has no room in the ring", frame.len());
        let mut ring = vec![0; (1 + RING_FRAMES) * RING_STRIDE];
        ring.chunks_mut(RING_STRIDE).for_each(|place| place[..frame.len()].copy_from_slice(&frame));
        let [_, program] = self.traffic.programs();
        Ok(Handing { object: &mut self.object, program, ring, interface })
    }

    /// Sets it to send along `wire`; call [`Aim::run`] on what it returns inside the sender's namespace.
    pub fn aim(&mut self, wire: &Wire, pace: Pace) -> Result<Aim<'_>> {
        let [from, to] = wire.hardware_addresses();
        let [client, address] = wire.addresses();
        let frame = self.traffic.frame(Way { from, to, address })?;
        let mut words = [0_u64; setting::WORDS];
        words[setting::INTERFACE] = wire.sender_index().into();
        words[setting::SOURCES] = self.traffic.sources.len() as u64;
        words[setting::HEADER_SUM] = header_sum(&frame[self.traffic.header_offset()..]);
        (words[setting::PORT], words[setting::PORT_RANGE_BASE], words[setting::PORT_RANGE_MASK]) =
            match self.traffic.ports {
                Ports::Protected => (5060, 10_000, 8_191),
                Ports::Signalling => (5060, 5060, 0),
                Ports::Other => (53, 53, 0),
            };
        words[setting::GAP_NS] = gap_ns(pace.frames_per_s);
        words[setting::REQUEST_GAP_NS] = gap_ns(pace.requests_per_s);
        words[setting::CLIENT] = u32::from_ne_bytes(client.octets()).into();
        words[setting::CLIENT_PORT] = CLIENT_PORT.into();
        words[setting::QUIET] = pace.quiet.into();
        words[setting::REUSE_MASK] = (1 << pace.reuse_bits) - 1;
        if pace.requests_per_s != 0 {
            ensure!(self.traffic.payload == Payload::Options, "requests need the frames of a request");
            let mark = OPTIONS.find(NUMBER_MARK).context("the request has no number")?;
            words[setting::NUMBER_OFFSET] = (mark + NUMBER_MARK.len()) as u64;
        }
        map::<[u64; setting::WORDS]>(&mut self.object, "SETTINGS")?.set(0, words, 0)?;
        let mut start = [0; state::WORDS];
        start[state::RANDOM] = 0x9e37_79b9_7f4a_7c15;
        map::<[u64; state::WORDS]>(&mut self.object, "STATE")?.set(0, start, 0)?;
        Ok(Aim {
            object: &mut self.object,
            program: self.traffic.programs()[0],
            frame,
            interface: wire.sender_index(),
        })
    }
}

/// A program's part of a turn.
#[derive(Debug)]
pub struct Leg {
    /// Of XDP.
    pub program: ProgramFd,
    /// Frames that it has before those that count; whole rings.
    pub warm_up_frames: u32,
}

/// A generator that hands its frames to programs.
pub struct Handing<'a> {
    object: &'a mut Ebpf,
    program: &'static str,
    ring: Vec<u8>,
    interface: u32,
}

impl Handing<'_> {
    /// Hands over `times` frames on this CPU, one after the other: the verdict on the last one.
    pub fn run(&self, times: u32) -> Result<u32> {
        let options = TestRunOptions { repeat: times, ..TestRunOptions::new() };
        let ran = test_run(self.object, self.program, &self.ring, self.interface, options)?;
        Ok(ran.return_value)
    }

    /// Nanoseconds that each of the first `count` turns took.
    pub fn spent_ns(&mut self, count: usize) -> Result<Vec<u64>> {
        let turns = map::<[u64; state::WORDS]>(self.object, "STATE")?.get(&0, 0)?[state::TURNS];
        ensure!(turns >= count as u64, "{turns} turns are over, not {count}");
        let spent_ns = map::<u64>(self.object, "SPENT")?;
        (0..u32::try_from(count)?).map(|turn| Ok(spent_ns.get(&turn, 0)?)).collect()
    }
}

/// A generator with a goal.
pub struct Aim<'a> {
    object: &'a mut Ebpf,
    program: &'static str,
    frame: Vec<u8>,
    interface: u32,
}

impl Aim<'_> {
    /// Runs the program `times` times on this CPU; flat out, each run sends a frame.
    pub fn run(&self, times: u32) -> Result<()> {
        let attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
        let options = TestRunOptions { repeat: times, attrs, ..TestRunOptions::new() };
        test_run(self.object, self.program, &self.frame, self.interface, options)
            .context("live frames need Linux 5.18")?;
        Ok(())
    }

    /// Frames of the flood and requests of the known client sent since it was aimed.
    pub fn sent(&mut self) -> Result<(u64, u64)> {
        let words = map::<[u64; state::WORDS]>(self.object, "STATE")?.get(&0, 0)?;
        Ok((words[state::SENT], words[state::REQUESTS]))
    }

    /// When each of the first `count` requests left, in nanoseconds on the monotonic clock.
    pub fn departures_ns(&mut self, count: u64) -> Result<Vec<u64>> {
        let departures = map::<u64>(self.object, "DEPARTURES")?;
        let count = u32::try_from(count.min(REQUESTS_MAX as u64))?;
        (0..count).map(|number| Ok(departures.get(&number, 0)?)).collect()
    }
}

/// Runs a program of the generator over `frame`, as if it came in at `interface`.
fn test_run(
    object: &Ebpf,
    program: &str,
    frame: &[u8],
    interface: u32,
    options: TestRunOptions<'_>,
) -> Result<TestRunResult> {
    let program = object.program(program).context("the generator was loaded before")?;
    let program: &Xdp = program.try_into()?;
    let mut context = [0_u8; CONTEXT_LEN];
    let length = u32::try_from(frame.len())?;
    context[CONTEXT_DATA_END..][..4].copy_from_slice(&length.to_ne_bytes());
    context[CONTEXT_INTERFACE..][..4].copy_from_slice(&interface.to_ne_bytes());
    let options = TestRunOptions { data_in: Some(frame), ctx_in: Some(&context), ..options };
    program.test_run(options).context("run the generator by BPF_PROG_TEST_RUN")
}

fn map<'a, T: aya::Pod>(object: &'a mut Ebpf, name: &str) -> Result<Array<&'a mut MapData, T>> {
    let map = object.map_mut(name).with_context(|| format!("the object has no map {name}"))?;
    Ok(map.try_into()?)
}

fn fill(pool: &mut Array<&mut MapData, [u32; 4]>, sources: &Sources) -> Result<()> {
    ensure!(!sources.is_empty(), "traffic needs a source");
    let slots: Vec<[u32; 4]> = match sources {
        Sources::V4(sources) => {
            let words = |four: &[std::net::Ipv4Addr]| {
                let mut slot = [0; 4];
                for (word, source) in slot.iter_mut().zip(four) {
                    *word = u32::from_ne_bytes(source.octets());
                }
                slot
            };
            sources.chunks(4).map(words).collect()
        }
        Sources::V6(sources) => {
            let words = |source: &std::net::Ipv6Addr| {
                let octets = source.octets();
                [0, 4, 8, 12].map(|at| {
                    u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
                })
            };
            sources.iter().map(words).collect()
        }
    };
    ensure!(slots.len() <= POOL_SLOTS, "{} sources are more than the generator holds", sources.len());
    for (index, slot) in (0..).zip(slots) {
        pool.set(index, slot, 0)?;
    }
    Ok(())
}

fn gap_ns(per_s: u64) -> u64 {
    1_000_000_000_u64.checked_div(per_s).unwrap_or(0)
}
