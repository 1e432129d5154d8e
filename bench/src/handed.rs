//! What a program costs by itself: frames handed to it one after the other, where a driver would hand them over.
//!
//! No driver and no stack take part, so that a few nanoseconds are no small share of what is measured, and a frame that
//! passes costs what one does that is dropped.

use anyhow::{Context, Result, ensure};
use aya::programs::ProgramFd;

use crate::{
    generator::{
        Generator, Leg,
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

/// Frames that fill the caches with a program's tables: a table of two mebibytes has 32,768 lines.
pub const WARM_UP_FRAMES: u32 = 60_000;
/// Frames that bring a program back that was there a moment ago: one without tables, and one with.
const SHORT_WARM_UP_FRAMES: u32 = 1_600;
const AGAIN_FRAMES: u32 = 8_000;
const _: () = assert!(
    TURN_FRAMES.is_multiple_of(RING_FRAMES as u64)
        && (WARM_UP_FRAMES as u64).is_multiple_of(RING_FRAMES as u64)
        && (SHORT_WARM_UP_FRAMES as u64).is_multiple_of(RING_FRAMES as u64)
        && (AGAIN_FRAMES as u64).is_multiple_of(RING_FRAMES as u64)
);

/// A program to which frames are handed.
#[derive(Debug)]
pub struct Program {
    /// Of XDP.
    pub program: ProgramFd,
    /// Whether it reads any that have to be in the caches before its turn.
    pub has_tables: bool,
}

/// Nanoseconds that a frame took in a turn of all programs.
///
/// What all of them have in common, writing frames and getting to the program, is in these figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// With the empty program, before the others and after them.
    pub empty_ns: [f64; 2],
    /// With each of the others.
    pub ns: Vec<f64>,
}

impl Turn {
    /// Whether the machine was the programs' own, as far as the empty one tells.
    pub fn is_quiet(&self, quietest_ns: f64) -> bool {
        self.empty_ns.iter().all(|ns| *ns <= quietest_ns * QUIET_TO_QUIETEST)
    }
}

/// What the empty program takes where the machine is its own, as far as these turns tell.
///
/// Whoever else is on the other thread of a core, or wants the same caches, takes from some programs more than from others.
pub fn quietest_ns(turns: &[Turn]) -> f64 {
    quantile(turns.iter().flat_map(|turn| turn.empty_ns).collect(), QUIETEST_SHARE)
}

/// Hands frames to each of the programs, turn by turn, and to an empty one; the last one is measured, the others it is compared
/// with.
///
/// # Errors
///
/// Where a frame does not get to its program.
pub fn turns(
    generator: &mut Generator,
    wire: &Wire,
    empty: &ProgramFd,
    programs: &[Program],
    turns: usize,
) -> Result<Vec<Turn>> {
    let (legs, at) = legs(empty, programs)?;
    // What begins is cold.
    let run = turns + 1;
    ensure!(run * legs.len() <= TURNS_MAX, "{turns} turns of {} programs are too many", legs.len());
    let frames = |leg: &Leg| TURN_FRAMES + u64::from(leg.warm_up_frames);
    // That a turn is over is seen when the next ring begins.
    let all = run as u64 * legs.iter().map(frames).sum::<u64>() + RING_FRAMES as u64;
    let mut handing = generator.hand(wire, &legs)?;
    let verdict = wire.sender().in_namespace(|| {
        pin(CPU)?;
        handing.run(u32::try_from(all)?)
    })??;
    ensure!(verdict != XDP_ABORTED, "a frame did not get to the program that it was handed to");
    let spent_ns = handing.spent_ns(run * legs.len())?;
    Ok(spent_ns.chunks(legs.len()).skip(1).map(|spent_ns| turn(spent_ns, &at)).collect())
}

/// Where in a turn each of the programs has the leg that counts.
struct Places {
    empty: [usize; 2],
    others: Vec<usize>,
}

/// Who has a leg in a turn: those with tables that are only compared with, which leave no trace then; the last one, to bring its
/// tables into the caches; and then, as close together as can be, the empty one, those without tables, the last one and
/// the empty one.
fn legs(empty: &ProgramFd, programs: &[Program]) -> Result<(Vec<Leg>, Places)> {
    let mut legs = Vec::new();
    let mut add = |program: &ProgramFd, warm_up_frames| {
        legs.push(Leg { program: program.try_clone()?, warm_up_frames });
        anyhow::Ok(legs.len() - 1)
    };
    let (last, compared) = programs.split_last().context("no program to hand frames to")?;
    let mut others = vec![0; programs.len()];
    for (place, compared) in others.iter_mut().zip(compared).filter(|(_, compared)| compared.has_tables) {
        *place = add(&compared.program, WARM_UP_FRAMES)?;
    }
    add(&last.program, WARM_UP_FRAMES)?;
    let before = add(empty, SHORT_WARM_UP_FRAMES)?;
    for (place, compared) in others.iter_mut().zip(compared).filter(|(_, compared)| !compared.has_tables) {
        *place = add(&compared.program, SHORT_WARM_UP_FRAMES)?;
    }
    others[compared.len()] = add(&last.program, AGAIN_FRAMES)?;
    let after = add(empty, SHORT_WARM_UP_FRAMES)?;
    Ok((legs, Places { empty: [before, after], others }))
}

fn turn(spent_ns: &[u64], at: &Places) -> Turn {
    let per_frame = |leg: &usize| spent_ns[*leg] as f64 / TURN_FRAMES as f64;
    Turn { empty_ns: at.empty.map(|leg| per_frame(&leg)), ns: at.others.iter().map(per_frame).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_quiet_whose_empty_program_was_quick_before_and_after() {
        let turn = |empty_ns: [f64; 2]| Turn { empty_ns, ns: vec![2.0 * empty_ns[0]] };
        let turns = [[50.0, 54.0], [54.0, 70.0], [70.0, 70.0], [70.0, 53.0], [53.0, 51.0]].map(turn);
        let quietest_ns = quietest_ns(&turns);
        let quiet: Vec<bool> = turns.iter().map(|turn| turn.is_quiet(quietest_ns)).collect();
        assert_eq!((quietest_ns, &quiet[..]), (50.0, &[true, false, false, false, true][..]));
    }

    #[test]
    fn each_program_has_the_figure_of_its_own_leg() {
        let at = Places { empty: [2, 5], others: vec![3, 0, 4] };
        let spent_ns = [10, 20, 30, 40, 50, 60].map(|ns| ns * TURN_FRAMES);
        let expected = Turn { empty_ns: [30.0, 60.0], ns: vec![40.0, 10.0, 50.0] };
        assert_eq!(turn(&spent_ns, &at), expected);
    }
}
