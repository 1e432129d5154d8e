//! What a policy would do to a capture, in numbers.
//!
//! Counts and sorts; does not print.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use serde::{Serialize, Serializer};
use sip_filter_common::{Reason, Verdict};

/// The outcome for a capture; in JSON `packets`, `outgoing`, `reasons` and `sources`, and `truncated_capture` if it is true.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many packets were judged; the sum of `reasons`.
    pub packets: u64,
    /// How many were not judged, because the host itself sent them and XDP never sees those.
    pub outgoing: u64,
    /// Whether the capture ended in the middle of a record.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated_capture: bool,
    /// The packets by reason.
    pub reasons: Counts,
    /// The packets by source, the source of most dropped packets first; without those that show no IP source.
    pub sources: Vec<Source>,
}

/// What happened to the packets of one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Where they say they come from.
    pub address: IpAddr,
    /// The packets by reason.
    pub reasons: Counts,
}

/// Packets by reason; only reasons that occurred, in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    // A source has one or two reasons, and there may be millions of sources.
    by_reason: Vec<(Reason, u64)>,
}

impl Counts {
    /// The reasons that occurred, each with its packets.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> {
        self.by_reason.iter().copied()
    }

    /// How many packets ended this way.
    pub fn with_verdict(&self, verdict: Verdict) -> u64 {
        self.iter().filter(|(reason, _)| reason.verdict() == verdict).map(|(_, packets)| packets).sum()
    }

    fn add(&mut self, reason: Reason) {
        match self.by_reason.binary_search_by_key(&reason, |(reason, _)| *reason) {
            Ok(at) => self.by_reason[at].1 += 1,
            Err(at) => self.by_reason.insert(at, (reason, 1)),
        }
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(reason, packets)| (reason.name(), packets)))
    }
}

/// Collects a [`Report`].
#[derive(Debug, Default)]
pub(super) struct Tally {
    packets: u64,
    outgoing: u64,
    reasons: Counts,
    sources: HashMap<IpAddr, Counts>,
}

impl Tally {
    /// Whether no packet was seen.
    pub(super) fn is_empty(&self) -> bool {
        self.packets == 0 && self.outgoing == 0
    }

    /// Notes a packet that was not judged.
    pub(super) fn outgoing(&mut self) {
        self.outgoing += 1;
    }

    /// Notes a packet that was.
    pub(super) fn judged(&mut self, source: Option<IpAddr>, reason: Reason) {
        self.packets += 1;
        self.reasons.add(reason);
        if let Some(source) = source {
            self.sources.entry(source).or_default().add(reason);
        }
    }

    pub(super) fn report(self, truncated_capture: bool) -> Report {
        let Self { packets, outgoing, reasons, sources } = self;
        let mut sources: Vec<Source> =
            sources.into_iter().map(|(address, reasons)| Source { address, reasons }).collect();
        sources.sort_unstable_by_key(|Source { address, reasons }| {
            let dropped = reasons.with_verdict(Verdict::Drop);
            (Reverse(dropped), Reverse(reasons.with_verdict(Verdict::Pass)), *address)
        });
        Report { packets, outgoing, truncated_capture, reasons, sources }
    }
}
