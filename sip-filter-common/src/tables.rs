//! What the pipeline asks: the tables of the policy and the state beside it.

use core::ops::ControlFlow::{Break, Continue};

use crate::{
    frame::Frame,
    lane::{self, Bounds, Datagram, Payload},
    maps::{
        Address, Blocks4, Class, Filter6, FlowKey, FragmentKey, Known, LINE_WORDS, Lane, PolicyIndex,
        Regions4, SightingKind, SourceIndex, TextMarks,
    },
    parse,
    pipeline::{
        self, Settled,
        plain::{self, Likely, Unsettled},
    },
    reason::Reason,
    sources::{borders, ipv6},
};

/// What one policy says about sources.
pub trait Lines {
    /// What is looked up by number.
    fn sources(&self) -> &SourceIndex;
    /// Who is named in which region of IPv4, and the buckets of regions.
    fn regions4(&self) -> &Regions4;
    /// Where anybody is named in IPv4; `None` where that is unknown, which no policy in force has.
    fn blocks4(&self) -> Option<&Blocks4>;
    /// Presence bits of IPv6, and lines of sites and hosts where they are few; `None` where there are none, which no policy in force has.
    fn filter6(&self) -> Option<&Filter6>;
    /// A line of table memory; `None` behind its end.
    fn line(&self, at: u32) -> Option<&[u64; LINE_WORDS]>;

    /// All bits set where the highest one is, else none: a choice without a branch, which the processor could guess
    /// wrong.
    ///
    /// A compiler that sees through it makes a branch of it where there is no other way to choose, as in BPF.
    #[inline(always)]
    fn sign_mask(&self, word: u64) -> u64 {
        (word.cast_signed() >> 63).cast_unsigned()
    }

    /// See [`borders::listed`]; the kernel calls it as a function that the verifier checks once.
    #[inline(always)]
    fn listed(&self, first: u32, count: u32, place: u32) -> u32 {
        borders::listed(self, first, count, place)
    }

    /// See [`ipv6::search`]; the kernel calls it as a function that the verifier checks once.
    #[inline(always)]
    fn search6(&self, source: &Address, at: u32) -> u32 {
        ipv6::search(self, source, at)
    }

    /// See [`ipv6::find`]; the kernel calls it as a function that the verifier checks once.
    #[inline(always)]
    fn find6(&self, source: &Address, step: u32) -> u32 {
        ipv6::find(self, source, step)
    }
}

/// BPF maps in the kernel, ordinary collections elsewhere.
///
/// All answers come from one policy: an implementation picks it before the packet is looked at.
pub trait Tables: Lines + Sized {
    /// What the policy looks up by number.
    fn index(&self) -> &PolicyIndex;
    /// Whether there are live changes to the policy.
    fn has_changes(&self) -> bool;
    /// What they make of `source`; `None` where they do not concern it.
    fn changed(&self, source: &Address) -> Option<Class>;
    /// The listeners that are tied to the local address `destination`.
    fn listeners_at(&self, destination: &Address) -> u64;
    /// Whether anything may be known about `source` beside the policy; false where nothing is.
    fn may_know(&self, source: &Address) -> bool;
    /// What is known about `source` beside the policy.
    fn peer(&self, source: &Address) -> Known;
    /// Whether this flow is registered now.
    fn has_flow(&self, flow: &FlowKey) -> bool;
    /// What a stranger has spent.
    fn lane(&self, source: &Address) -> Lane;
    /// Notes until when a stranger has spent.
    fn spend(&self, source: &Address, spent_until_ns: u64);
    /// Whether a stranger may be one that the SIP server has challenged lately; false where it is none.
    fn may_be_challenged(&self, source: &Address) -> bool;
    /// [`lane::charge`], which the kernel calls as a function of its own.
    fn charge(&self, source: &Address, units: u64) -> bool;
    /// The time by which the budget of all strangers is judged: [`now_ns`](Self::now_ns), or a little later.
    fn budget_ns(&self) -> u64;
    /// Whether [`spend_total`](Self::spend_total) would find anything to spend.
    fn has_room(&self, is_challenged: bool, now_ns: u64) -> bool;
    /// Spends from what all strangers may, or all that are challenged; false where that is used up.
    fn spend_total(&self, is_challenged: bool, units: u64, now_ns: u64) -> bool;
    /// Hands a message that is refused to the controller, a few of them in a second.
    fn tell<F: Frame + ?Sized>(&self, kind: SightingKind, frame: &F, datagram: &Datagram, payload: Payload);
    /// Whether this host has a connection, or is opening one, for a segment of TCP.
    fn has_connection<F: Frame + ?Sized>(&self, frame: &F, datagram: &Datagram) -> bool;
    /// Looks at the text of a message, and keeps a copy for [`report`](Self::report).
    fn read_text<F: Frame + ?Sized>(&self, frame: &F, payload: Payload) -> TextMarks;
    /// Hands the text that was read last to the controller.
    fn report<F: Frame + ?Sized>(&self, kind: SightingKind, frame: &F, datagram: &Datagram, peer: &Address);
    /// CLOCK_BOOTTIME in nanoseconds.
    fn now_ns(&self) -> u64;
    /// What was decided for the datagram, if that still stands at [`now_ns`](Self::now_ns).
    fn followed(&self, datagram: &FragmentKey) -> Option<Reason>;
    /// Lets later fragments follow this decision, or none, for [`FRAGMENT_LIFETIME_NS`](crate::maps::FRAGMENT_LIFETIME_NS).
    fn follow(&self, datagram: &FragmentKey, reason: Option<Reason>);

    /// The lower 16 bits.
    ///
    /// Up to Linux 6.12 at least it does not know that what it swapped has no more, and the compiler leaves out what says so.
    #[inline(always)]
    fn lower_16(&self, number: usize) -> usize {
        number & 0xffff
    }

    /// See [`plain::look_closer`]; the kernel has its pointers forgotten first, so that strangers' packets keep none for it.
    #[inline(always)]
    fn look_closer<F: Frame + ?Sized>(&self, frame: &F, likely: Likely) -> Reason {
        plain::look_closer(frame, likely, self)
    }

    /// See [`plain::tagged`]; the kernel calls it as a function that the verifier checks once.
    #[inline(always)]
    fn tagged<F: Frame + ?Sized>(&self, frame: &F) -> Option<Settled> {
        plain::tagged(frame, self)
    }

    /// See [`plain::weigh`]; the kernel calls it as a function that the verifier checks once.
    #[inline(always)]
    fn weigh<F: Frame + ?Sized>(&self, frame: &F, unsettled: Unsettled) -> Settled {
        plain::weigh(frame, unsettled, self)
    }

    /// See [`lane::judge`]; the kernel calls it as a function that the verifier checks once.
    #[inline(always)]
    fn prove<F: Frame + ?Sized>(&self, frame: &F, bounds: Bounds) -> Reason {
        // It was read before.
        let Continue(packet) = parse::ethernet(frame) else { return Reason::Stranger };
        lane::judge(frame, &Datagram::of(&packet), &packet.source, bounds, self)
    }

    /// Judges a frame of any shape; the kernel calls it as a function that the verifier checks once.
    #[inline(always)]
    fn rest<F: Frame + ?Sized>(&self, frame: &F) -> Reason {
        match parse::ethernet(frame) {
            Continue(packet) => pipeline::decide(frame, &packet, self),
            Break(reason) => reason,
        }
    }
}
