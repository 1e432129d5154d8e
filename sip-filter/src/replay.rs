//! What a policy would do to a capture: the pipeline over packets from a file.
//!
//! Asks nothing of the kernel and needs no privileges; prints nothing.

mod capture;
mod link;
mod report;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::net::IpAddr;
use std::ops::ControlFlow::{Break, Continue};

use sip_filter_common::{Reason, parse, pipeline};

use self::capture::Capture;
use self::link::Seen;
use self::report::Tally;
use crate::host_tables::HostTables;
use crate::policy::{Policy, registered::RegisteredTrunks, tables::Full, tables::Tables};

pub use self::capture::CaptureError;
pub use self::report::{Counts, Report, Source};

/// Why there is no report, or none about the whole capture.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The policy does not fit into the kernel's tables, so there is nothing that it would do.
    #[error(transparent)]
    Policy(#[from] Full),
    /// It is no capture, or its first packet cannot be judged.
    #[error(transparent)]
    Unreadable(CaptureError),
    /// The capture could be read up to some record.
    #[error("{error}")]
    Stopped {
        /// About all records before that one.
        report: Box<Report>,
        /// What is wrong there.
        #[source]
        error: CaptureError,
    },
}

/// Judges every packet of a capture, in pcap or pcapng format, as `policy` would in mode enforce.
///
/// The packets' time stamps are the clock.
/// Nobody is banned, and no datagram is followed that began before the capture.
/// What a host itself sent is left out where the capture tells (Linux cooked ones do);
/// in an Ethernet capture it is judged like everything else.
///
/// # Errors
///
/// Every [`ReplayError`]; a capture that breaks off gives [`ReplayError::Stopped`], with the report so far.
pub fn replay(capture: impl Read, policy: &Policy) -> Result<Report, ReplayError> {
    replay_over(capture, &mut HostTables::new(Tables::compile(policy, &RegisteredTrunks::default())?))
}

fn replay_over(capture: impl Read, tables: &mut HostTables) -> Result<Report, ReplayError> {
    let mut tally = Tally::default();
    match judge_all(capture, tables, &mut tally) {
        Ok(()) => Ok(tally.report(false)),
        Err(error) if tally.is_empty() && !matches!(error, CaptureError::CutOff) => {
            Err(ReplayError::Unreadable(error))
        }
        Err(error) => {
            let report = Box::new(tally.report(matches!(error, CaptureError::CutOff)));
            Err(ReplayError::Stopped { report, error })
        }
    }
}

fn judge_all(capture: impl Read, tables: &mut HostTables, tally: &mut Tally) -> Result<(), CaptureError> {
    let mut capture = Capture::open(capture)?;
    while let Some(record) = capture.next()? {
        if let Some(at_ns) = record.at_ns {
            tables.set_now_ns(at_ns);
        }
        match record.link.read(record.bytes) {
            Seen::Outgoing => tally.outgoing(),
            Seen::Incoming(frame) => match parse::ethernet(&*frame) {
                Break(reason) => tally.judged(None, reason),
                Continue(packet) => {
                    let reason: Reason = pipeline::decide(&*frame, &packet, tables);
                    tally.judged(Some(IpAddr::from(packet.source)), reason);
                }
            },
        }
    }
    Ok(())
}
