//! What the pipeline asks: the tables of the policy and the state beside it.

use crate::{
    maps::{Address, Class, Filter6, FragmentDecision, FragmentKey, LINE_WORDS, PolicyIndex, SourceIndex},
    reason::Reason,
    sources::ipv6,
};

/// What one policy says about sources.
pub trait Lines {
    /// What is looked up by number.
    fn sources(&self) -> &SourceIndex;
    /// Presence bits of IPv6; `None` where there are none, which no policy in force has.
    fn filter6(&self) -> Option<&Filter6>;
    /// A line of table memory; `None` behind its end.
    fn line(&self, at: u32) -> Option<&[u64; LINE_WORDS]>;
}

/// BPF maps in the kernel, ordinary collections elsewhere.
///
/// All answers come from one policy: an implementation picks it before the packet is looked at.
pub trait Tables: Lines {
    /// What the policy looks up by number.
    fn index(&self) -> &PolicyIndex;
    /// What live changes to the policy make of `source`; `None` where they do not concern it.
    fn changed(&self, source: &Address) -> Option<Class>;
    /// The listeners that are tied to the local address `destination`.
    fn listeners_at(&self, destination: &Address) -> u64;
    /// When the ban on `source` ends, in nanoseconds of CLOCK_BOOTTIME; 0 if there is none.
    fn banned_until_ns(&self, source: &Address) -> u64;
    /// CLOCK_BOOTTIME in nanoseconds.
    fn now_ns(&self) -> u64;
    /// What was decided for the datagram, if that still stands at [`now_ns`](Self::now_ns).
    fn followed(&self, datagram: &FragmentKey) -> Option<Reason>;
    /// Lets later fragments follow this decision, or none.
    fn follow(&self, datagram: &FragmentKey, decision: Option<&FragmentDecision>);

    /// See [`ipv6::find`]; the kernel calls it as a function that the verifier checks once.
    #[inline(always)]
    fn find6(&self, source: &Address, step: u32) -> u32 {
        ipv6::find(self, source, step)
    }
}
