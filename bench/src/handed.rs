//! What a program costs by itself: frames handed to it one after the other, where a driver would hand them over.
//!
//! No driver and no stack take part, so that a few nanoseconds are no small share of what is measured, and a frame that
//! passes costs what one does that is dropped.

use anyhow::{Result, ensure};

use crate::{
    generator::{
        Generator, Target,
        settings::{RING_FRAMES, TURN_FRAMES, TURNS_MAX, WARM_UP_FRAMES},
    },
    ground::Wire,
    inline::{CPU, pin},
};

/// Of `enum xdp_action`: what the generator comes to where it hands nothing over, and no program that is measured.
const XDP_ABORTED: u32 = 0;

/// Nanoseconds that a frame takes with each of the programs, turn by turn; in a turn each of them has its own.
///
/// What all of them have in common, writing frames and getting to the program, is in these figures.
///
/// # Errors
///
/// Where a frame does not get to its program.
pub fn ns_per_frame(
    generator: &mut Generator,
    wire: &Wire,
    targets: &[Target],
    turns: usize,
) -> Result<Vec<Vec<f64>>> {
    ensure!(turns * targets.len() <= TURNS_MAX, "{turns} turns of {} programs are too many", targets.len());
    let frames = |target: &Target| TURN_FRAMES + if target.has_tables { WARM_UP_FRAMES.into() } else { 0 };
    // That a turn is over is seen when the next ring begins.
    let all = turns as u64 * targets.iter().map(frames).sum::<u64>() + RING_FRAMES as u64;
    let mut handing = generator.hand(wire, targets)?;
    let verdict = wire.sender().in_namespace(|| {
        pin(CPU)?;
        handing.run(u32::try_from(all)?)
    })??;
    ensure!(verdict != XDP_ABORTED, "a frame did not get to the program that it was handed to");
    let spent_ns = handing.spent_ns(turns * targets.len())?;
    let per_frame = |spent_ns: &u64| *spent_ns as f64 / TURN_FRAMES as f64;
    Ok(spent_ns.chunks(targets.len()).map(|turn| turn.iter().map(per_frame).collect()).collect())
}
