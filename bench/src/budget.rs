//! Programs held against one another by `BPF_PROG_TEST_RUN`: for tests that fail when one grows beyond its budget.
//!
//! One packet again and again has its tables in the cache: this sees instructions, not look-ups; those are for the benchmark.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{inline::CPU, results::median};

/// Runs of a program in one turn.
const RUNS: u32 = 200_000;

/// The median of the nanoseconds that each of these programs, by their numbers in the kernel, takes for `frame`: in rounds, so that all see the same machine.
///
/// By bpftool, which takes programs by number and tells whole nanoseconds.
///
/// # Errors
///
/// Where bpftool is missing, or the kernel does not run a program, with what it said.
pub fn medians_ns(programs: &[u32], frame: &[u8], rounds: usize) -> Result<Vec<f64>> {
    let file = std::env::temp_dir().join(format!("sip-filter-budget-{}", std::process::id()));
    fs::write(&file, frame).with_context(|| format!("write {}", file.display()))?;
    let mut turns = vec![Vec::new(); programs.len()];
    let measured = (0..rounds).try_for_each(|_| {
        programs.iter().zip(&mut turns).try_for_each(|(&program, turns)| {
            turns.push(run_ns(program, &file)?);
            anyhow::Ok(())
        })
    });
    // The file goes whether or not that worked.
    fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
    measured?;
    Ok(turns.into_iter().map(median).collect())
}

fn run_ns(program: u32, frame: &std::path::Path) -> Result<f64> {
    let mut command = Command::new("taskset");
    command.args(["-c", &CPU.to_string(), "bpftool", "--json", "prog", "run", "id", &program.to_string()]);
    command.arg("data_in").arg(frame).args(["repeat", &RUNS.to_string()]);
    let output = command.output().context("start taskset and bpftool: `cargo xtask setup` installs them")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{command:?} failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value =
        serde_json::from_str(&text).with_context(|| format!("read bpftool's answer: {text}"))?;
    answer["duration"].as_f64().with_context(|| format!("bpftool told no duration: {text}"))
}
