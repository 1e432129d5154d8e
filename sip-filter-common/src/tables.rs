//! What the pipeline asks: the tables of the policy and the state beside it.

use crate::{
    maps::{Address, FragmentDecision, FragmentKey, PolicyIndex},
    reason::Reason,
};

/// BPF maps in the kernel, ordinary collections elsewhere.
///
/// All answers come from one policy: an implementation picks it before the packet is looked at.
pub trait Tables {
    /// What the policy looks up by number.
    fn index(&self) -> &PolicyIndex;
    /// The class number of the longest prefix that holds `source`; 0 if none does.
    fn class_of(&self, source: &Address) -> u32;
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
}
