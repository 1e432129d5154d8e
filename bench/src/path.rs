//! The ways a packet can take through the filter, each a row of the report: who sends, how it is framed, what must become of it.

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::{
    filter::{Listed, Running, Strangers},
    floors::Floor,
    generator::{Generator, Leg},
    plan::{Layout, Plan, SOURCES, Version},
    traffic::{Framing, Payload, Ports, Sources, Traffic},
};

/// Sources that are banned in the rows of bans, and as many more that are registered in theirs.
pub const PEERS: usize = 1_000;
/// Packets that are counted to see that a path is the one it claims to be.
const CHECKED_PACKETS: u32 = 6_400;

/// A way through the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// From nobody's peer.
    Stranger,
    /// From an entry of the deny list, which is the long list then.
    Denied,
    /// From an address under a ban.
    Banned,
    /// From an entry of a trunk's allow list.
    Trunk,
    /// From where somebody is registered.
    Registered,
    /// For no listener.
    Other,
    /// A stranger's first fragment.
    Fragment,
    /// A stranger's, behind a VLAN tag.
    Tagged,
    /// One of a flood of requests, where strangers may prove themselves.
    Request,
}

impl Way {
    /// Every one.
    pub const ALL: [Way; 9] = [
        Way::Stranger,
        Way::Denied,
        Way::Banned,
        Way::Trunk,
        Way::Registered,
        Way::Other,
        Way::Fragment,
        Way::Tagged,
        Way::Request,
    ];

    /// The rows measured for one plan, but for those that have a filter of their own.
    pub fn of(version: Version, layout: Layout) -> &'static [Way] {
        match (version, layout) {
            (Version::V4, Layout::Packed) => &[
                Way::Stranger,
                Way::Trunk,
                Way::Registered,
                Way::Banned,
                Way::Other,
                Way::Fragment,
                Way::Tagged,
            ],
            (Version::V6, Layout::Packed) => &[Way::Stranger, Way::Trunk, Way::Registered],
            _ => &[Way::Stranger, Way::Trunk],
        }
    }

    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Way::Stranger => "stranger",
            Way::Denied => "denied",
            Way::Banned => "banned",
            Way::Trunk => "trunk",
            Way::Registered => "registered",
            Way::Other => "no listener",
            Way::Fragment => "first fragment",
            Way::Tagged => "tagged stranger",
            Way::Request => "stranger's request",
        }
    }

    /// Under which reason the filter has to count it.
    pub fn reason(self) -> &'static str {
        match self {
            Way::Stranger | Way::Fragment | Way::Tagged => "stranger",
            Way::Denied => "denied",
            Way::Banned => "banned",
            Way::Trunk => "trunk",
            Way::Registered => "registered",
            Way::Other => "not_protected",
            Way::Request => "rate_exceeded",
        }
    }

    /// Whether it passes.
    pub fn passes(self) -> bool {
        matches!(self, Way::Trunk | Way::Registered | Way::Other)
    }

    /// What it is compared with: an empty program, a minimal parser, the filter's own parser; and for those whom the
    /// policy knows over IPv4 one look into a table of a word for each prefix.
    pub fn floors(self, version: Version) -> &'static [Floor] {
        match (self.passes(), version) {
            (false, Version::V4) if self == Way::Denied => {
                &[Floor::Drop, Floor::ParseDrop, Floor::HeadersDrop, Floor::LookDrop]
            }
            (false, Version::V4) => &[Floor::Drop, Floor::ParseDrop, Floor::HeadersDrop],
            (false, Version::V6) => &[Floor::Drop, Floor::Parse6Drop, Floor::HeadersDrop],
            (true, Version::V4) if self == Way::Trunk => {
                &[Floor::Pass, Floor::ParsePass, Floor::HeadersPass, Floor::LookPass]
            }
            (true, Version::V4) => &[Floor::Pass, Floor::ParsePass, Floor::HeadersPass],
            (true, Version::V6) => &[Floor::Pass, Floor::Parse6Pass, Floor::HeadersPass],
        }
    }

    /// Which list the plan's prefixes are on for it.
    pub fn listed(self) -> Listed {
        if self == Way::Denied { Listed::Deny } else { Listed::Allow }
    }

    /// What strangers may do at the filter that it is measured on.
    pub fn strangers(self) -> Strangers {
        if self == Way::Request { Strangers::Prove } else { Strangers::Drop }
    }

    /// Its packets.
    pub fn traffic(self, plan: &Plan) -> Traffic {
        let sources = match self {
            Way::Denied | Way::Trunk => plan.listed.clone(),
            Way::Banned | Way::Registered => self.peers(plan),
            _ => plan.strangers.part(2 * PEERS..SOURCES),
        };
        let framing = match self {
            Way::Fragment => Framing::FirstFragment,
            Way::Tagged => Framing::Tagged,
            _ => Framing::Plain,
        };
        let ports = match self {
            Way::Other => Ports::Other,
            Way::Request => Ports::Signalling,
            _ => Ports::Protected,
        };
        let payload = if self == Way::Request { Payload::Register } else { Payload::Short };
        Traffic { sources, framing, ports, payload }
    }

    /// Of the strangers drawn, those who are banned for it, or registered; the others never are.
    pub fn peers(self, plan: &Plan) -> Sources {
        let first = if self == Way::Banned { 0 } else { PEERS };
        plan.strangers.part(first..first + PEERS)
    }

    /// How many of [`CHECKED_PACKETS`] may be counted as something else: requests that are let through.
    fn others(self) -> u32 {
        if self == Way::Request { CHECKED_PACKETS / 10 } else { 0 }
    }

    /// Hands over a few packets and sees that the filter counts all of them as this way.
    ///
    /// # Errors
    ///
    /// Where it counts another number: a figure of such a run would be one of something else.
    pub fn check(self, generator: &mut Generator, filter: &Running) -> Result<()> {
        let before = filter.counted(self.reason())?;
        let leg = Leg { program: filter.program()?, warm_up_frames: 0 };
        let handing = generator.hand(filter.wire(), &[leg])?;
        filter.wire().sender().in_namespace(|| handing.run(CHECKED_PACKETS))??;
        let counted = filter.counted(self.reason())? - before;
        ensure!(
            (CHECKED_PACKETS - self.others()..=CHECKED_PACKETS).contains(&u32::try_from(counted)?),
            "of {CHECKED_PACKETS} packets of the way \"{}\" the filter counted {counted} as {}",
            self.name(),
            self.reason()
        );
        Ok(())
    }
}
