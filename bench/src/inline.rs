//! What one packet costs: generator, veth and receiver on one CPU, each batch received in the softirq that sent it.
//! Processor time and not wall time, so that a busy machine does not count; nothing is compared here.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::time::TimeValLike,
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use crate::{
    generator::{Generator, Pace},
    ground::Wire,
};

/// The CPU that everything runs on.
pub const CPU: usize = 0;
/// Frames before the measurement: they fill caches and tell how many fit into it.
const WARM_UP_FRAMES: u32 = 20_000;
/// A turn is cut into so many parts, of which the least disturbed counts: neighbours of this machine take cache and memory away, never give any.
const PARTS: u32 = 5;
/// Frames that may be missing of those sent before a figure is no figure.
const LOSS_MAX: f64 = 0.01;

/// Nanoseconds of processor time that a frame takes from being written to its end, in a run of about `length`.
///
/// # Errors
///
/// Where frames do not arrive at the other end.
pub fn ns_per_frame(generator: &mut Generator, wire: &Wire, length: Duration) -> Result<f64> {
    let aim = generator.aim(wire, Pace::default())?;
    let before = wire.received()?;
    let (frames, spent) = wire.sender().in_namespace(|| -> Result<_> {
        pin(CPU)?;
        let warm_up = Instant::now();
        aim.run(WARM_UP_FRAMES)?;
        let each = warm_up.elapsed().as_secs_f64() / f64::from(WARM_UP_FRAMES);
        let frames = frames_in(length / PARTS, each);
        let softirq = softirq_thread(CPU)?;
        let mut least = Duration::MAX;
        for _ in 0..PARTS {
            let started = (thread_time()?, processor_time(softirq)?);
            aim.run(frames)?;
            let ended = (thread_time()?, processor_time(softirq)?);
            least = least.min(ended.0 - started.0 + ended.1 - started.1);
        }
        Ok((frames, least))
    })??;
    let sent = f64::from(frames) * f64::from(PARTS) + f64::from(WARM_UP_FRAMES);
    let received = (wire.received()? - before) as f64;
    ensure!(received > sent * (1.0 - LOSS_MAX), "of {sent} frames on {} only {received} arrived", wire.name());
    Ok(spent.as_secs_f64() * 1e9 / f64::from(frames))
}

fn frames_in(length: Duration, each_s: f64) -> u32 {
    let frames = length.as_secs_f64() / each_s;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
    let frames = frames.clamp(1e4, 1e8) as u32;
    frames
}

/// Keeps this thread on one CPU.
pub(crate) fn pin(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).with_context(|| format!("run on CPU {cpu}"))
}

fn thread_time() -> Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("read this thread's clock")?;
    Ok(Duration::from_nanos(time.num_nanoseconds().unsigned_abs()))
}

/// The kernel thread that takes over from a softirq that goes on for too long.
fn softirq_thread(cpu: usize) -> Result<u32> {
    find_thread(&format!("ksoftirqd/{cpu}"))?.with_context(|| format!("find ksoftirqd/{cpu}"))
}

/// A process by its name, such as a kernel thread's.
pub(crate) fn find_thread(name: &str) -> Result<Option<u32>> {
    let entries = fs::read_dir("/proc").context("read /proc")?;
    let mut ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_named = |id: &u32| {
        fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|comm| comm.trim_end().starts_with(name))
    };
    Ok(ids.find(is_named))
}

/// Processor time of a process so far.
pub(crate) fn processor_time(id: u32) -> Result<Duration> {
    let path = format!("/proc/{id}/schedstat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
    Ok(Duration::from_nanos(nanoseconds.with_context(|| format!("{path} has no number"))?))
}
