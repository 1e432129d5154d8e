//! `replay`: what a policy would do to a capture.

use std::{fs::File, path::PathBuf};

use anyhow::Context as _;
use sip_filter_common::Verdict;

use super::{DEFAULT_CONFIG, Usage, output};
use crate::{
    daemon,
    list_files::OnDisk,
    policy::file,
    replay::{Counts, ReplayError, Report, replay},
};

/// How many sources people are shown.
const SOURCES_SHOWN: usize = 20;

/// Options of `replay`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The capture, in pcap or pcapng format.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The policy file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments, json: bool) -> anyhow::Result<()> {
    let policy = file::parse_with(&arguments.config, &daemon::read(&arguments.config)?, &OnDisk)?;
    let path = arguments.file.display().to_string();
    let capture =
        File::open(&arguments.file).map_err(|error| Usage(format!("cannot open {path}: {error}")))?;
    let show = |report: &Report| if json { output::json(report) } else { tables(report) };
    match replay(capture, &policy) {
        Ok(report) => show(&report),
        // As everywhere: how a policy is refused does not depend on what was to be done with it.
        Err(ReplayError::Policy(full)) => Err(full.into()),
        Err(ReplayError::Unreadable(error)) => Err(error).context(path),
        Err(ReplayError::Stopped { report, error }) => {
            show(&report)?;
            Err(error).context(path)
        }
    }
}

fn tables(report: &Report) -> anyhow::Result<()> {
    output::print(&format!("{} packets judged, {} outgoing left out", report.packets, report.outgoing))?;
    if report.packets == 0 {
        return Ok(());
    }
    let mut reasons = output::table(&["reason", "verdict", "packets", "share"]);
    for (reason, packets) in report.reasons.iter() {
        reasons.add_row([
            reason.name().into(),
            output::verdict(reason.verdict().name()),
            output::number(packets),
            output::number(share(packets, report.packets)),
        ]);
    }
    output::print(&format!("\n{reasons}"))?;
    if report.sources.is_empty() {
        return Ok(());
    }
    let mut sources = output::table(&["source", "dropped", "passed", "reasons"]);
    for source in report.sources.iter().take(SOURCES_SHOWN) {
        sources.add_row([
            source.address.to_string().into(),
            output::number(source.reasons.with_verdict(Verdict::Drop)),
            output::number(source.reasons.with_verdict(Verdict::Pass)),
            listed(&source.reasons).into(),
        ]);
    }
    output::print(&format!("\n{sources}"))?;
    match report.sources.len().saturating_sub(SOURCES_SHOWN) {
        0 => Ok(()),
        more => output::print(&format!("and {more} more sources: --json shows all")),
    }
}

/// In tenths of a percent, rounded down, so that only all is 100 %.
fn share(packets: u64, all: u64) -> String {
    let tenths = u128::from(packets) * 1_000 / u128::from(all.max(1));
    format!("{}.{} %", tenths / 10, tenths % 10)
}

fn listed(counts: &Counts) -> String {
    let each: Vec<String> =
        counts.iter().map(|(reason, packets)| format!("{} {packets}", reason.name())).collect();
    each.join(", ")
}
