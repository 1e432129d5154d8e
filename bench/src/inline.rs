//! What one packet costs on a wire: generator, veth and receiver on one CPU, each batch received in the softirq that sent it.
//! Processor time and not wall time, so that a busy machine does not count; nothing is compared here.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::time::TimeValLike,
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use crate::{
    floors::{Floor, Floors},
    generator::{Generator, Pace},
    ground::Wire,
    handed::WARM_UP_FRAMES,
    results::median,
};

/// The CPU that everything runs on.
pub const CPU: usize = 0;
/// Frames that tell how many fit into a part.
const TRIAL_FRAMES: u32 = 50_000;
/// A turn is cut into so many parts, of which the middle one counts: the least would not do, since some parts are quicker than most, whatever the program.
const PARTS: u32 = 5;
/// Frames that may be missing of those sent before a figure is no figure.
const LOSS_MAX: f64 = 0.01;

/// At the end of which wire packets are measured.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// At a floor's.
    Floor(Floor),
    /// At this one's.
    Wire(&'a Wire),
}

/// Nanoseconds of processor time that a frame takes from being written to its end, at each of the targets, in runs of about `length` each.
///
/// The targets take turns, part by part, so that what disturbs one for longer disturbs all.
///
/// # Errors
///
/// Where frames do not arrive at the other end.
pub fn ns_per_frame(
    generator: &mut Generator,
    floors: &mut Floors,
    targets: &[Target<'_>],
    length: Duration,
) -> Result<Vec<f64>> {
    let softirq = softirq_thread(CPU)?;
    let before = received(floors, targets)?;
    let mut turn = |target: &Target<'_>, frames| -> Result<f64> {
        let wire = match *target {
            Target::Floor(floor) => floors.stand(floor)?,
            Target::Wire(wire) => wire,
        };
        let spent = spent(generator, wire, frames, softirq)?;
        Ok(spent.as_secs_f64() * 1e9 / f64::from(frames))
    };
    let mut parts: Vec<Vec<f64>> = vec![Vec::new(); targets.len()];
    let mut sent = 0_u64;
    for _ in 0..=PARTS {
        for (target, parts) in targets.iter().zip(&mut parts) {
            let frames = match &**parts {
                [] => TRIAL_FRAMES,
                parts => frames_in(length / PARTS, median(parts.to_vec())),
            };
            parts.push(turn(target, frames)?);
            sent += u64::from(frames) + u64::from(WARM_UP_FRAMES);
        }
    }
    let received = received(floors, targets)? - before;
    ensure!(received as f64 > sent as f64 * (1.0 - LOSS_MAX), "of {sent} frames only {received} arrived");
    // Without the trial.
    Ok(parts.into_iter().map(|mut parts| median(parts.split_off(1))).collect())
}

/// Frames that all the targets' wires have received.
fn received(floors: &Floors, targets: &[Target<'_>]) -> Result<u64> {
    let others = targets.iter().filter_map(|target| match *target {
        Target::Wire(wire) => Some(wire),
        Target::Floor(_) => None,
    });
    others.chain([floors.wire()]).map(Wire::received).sum()
}

/// Processor time that so many frames take.
fn spent(generator: &mut Generator, wire: &Wire, frames: u32, softirq: u32) -> Result<Duration> {
    let aim = generator.aim(wire, Pace::default())?;
    wire.sender().in_namespace(|| {
        pin(CPU)?;
        aim.run(WARM_UP_FRAMES)?;
        let started = (thread_time()?, processor_time(softirq)?);
        aim.run(frames)?;
        let ended = (thread_time()?, processor_time(softirq)?);
        Ok(ended.0 - started.0 + ended.1 - started.1)
    })?
}

fn frames_in(length: Duration, each_ns: f64) -> u32 {
    let frames = length.as_secs_f64() * 1e9 / each_ns;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
    let frames = frames.clamp(1e3, 1e8) as u32;
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
