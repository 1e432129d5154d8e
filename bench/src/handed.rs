//! What a program costs by itself: frames handed to it one after the other, where a driver would hand them over.
//!
//! No driver and no stack take part, so that a few nanoseconds are no small share of what is measured, and a frame that
//! passes costs what one does that is dropped.

use anyhow::{Context, Result, ensure};

use crate::{
    generator::{
        Generator, Target,
        settings::{RING_FRAMES, TURN_FRAMES, TURNS_MAX},
    },
    ground::Wire,
    inline::{CPU, pin},
    results::quantile,
};

/// Of `enum xdp_action`: what the generator comes to where it hands nothing over, and no program that is measured.
const XDP_ABORTED: u32 = 0;

/// How much longer than in the quietest turns the empty program may take in one that counts.
const QUIET_TO_QUIETEST: f64 = 1.1;
/// The share of turns of which none is taken to have been disturbed.
const QUIETEST_SHARE: f64 = 0.05;

/// Nanoseconds that a frame took in a turn of all programs.
///
/// What all of them have in common, writing frames and getting to the program, is in these figures.
#[derive(Clone, Debug)]
pub struct Turn {
    /// With each of them; the first one is the empty one.
    pub ns: Vec<f64>,
    /// With the first one once more, right after the others.
    pub after_ns: f64,
}

/// The turns in which the machine was the program's own, as far as its empty one tells before and after the others.
///
/// Whoever else is on the other thread of a core, or wants the same caches, takes from some programs more than from others.
pub fn quiet(turns: &[Turn]) -> Vec<&Turn> {
    let empty_ns = |turn: &Turn| turn.ns.first().copied().unwrap_or(f64::NAN);
    let all = turns.iter().flat_map(|turn| [empty_ns(turn), turn.after_ns]).collect();
    let limit = quantile(all, QUIETEST_SHARE) * QUIET_TO_QUIETEST;
    turns.iter().filter(|turn| empty_ns(turn).max(turn.after_ns) <= limit).collect()
}

/// Hands frames to each of the programs, turn by turn.
///
/// # Errors
///
/// Where a frame does not get to its program.
pub fn turns(
    generator: &mut Generator,
    wire: &Wire,
    targets: Vec<Target>,
    turns: usize,
) -> Result<Vec<Turn>> {
    let programs = targets.len();
    // Tables are brought into the caches first, so that the empty program is as close to the others as can be.
    let (mut order, mut counted) = (Vec::new(), Vec::new());
    for target in targets {
        if target.has_tables {
            order.push(target.try_clone()?);
        }
        counted.push(Target { has_tables: false, ..target });
    }
    let first = order.len();
    let empty = counted.first().context("no program to hand frames to")?.try_clone()?;
    order.extend(counted);
    order.push(empty);
    // What begins is cold.
    let run = turns + 1;
    ensure!(run * order.len() <= TURNS_MAX, "{turns} turns of {} programs are too many", order.len());
    let frames = |target: &Target| TURN_FRAMES + u64::from(target.warm_up_frames());
    // That a turn is over is seen when the next ring begins.
    let all = run as u64 * order.iter().map(frames).sum::<u64>() + RING_FRAMES as u64;
    let mut handing = generator.hand(wire, &order)?;
    let verdict = wire.sender().in_namespace(|| {
        pin(CPU)?;
        handing.run(u32::try_from(all)?)
    })??;
    ensure!(verdict != XDP_ABORTED, "a frame did not get to the program that it was handed to");
    let spent_ns = handing.spent_ns(run * order.len())?;
    let per_frame = |spent_ns: &u64| *spent_ns as f64 / TURN_FRAMES as f64;
    let turn = |spent_ns: &[u64]| {
        let mut ns: Vec<f64> = spent_ns[first..].iter().map(per_frame).collect();
        let after_ns = ns.split_off(programs)[0];
        Turn { ns, after_ns }
    };
    Ok(spent_ns.chunks(order.len()).skip(1).map(turn).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_count_whose_empty_program_was_quick_before_and_after() {
        let turn = |empty_ns: f64, after_ns: f64| Turn { ns: vec![empty_ns, 2.0 * empty_ns], after_ns };
        let turns =
            [turn(50.0, 54.0), turn(54.0, 70.0), turn(70.0, 70.0), turn(70.0, 53.0), turn(53.0, 51.0)];
        let counted: Vec<f64> = quiet(&turns).iter().map(|turn| turn.ns[0]).collect();
        assert_eq!(counted, [50.0, 53.0]);
    }
}
