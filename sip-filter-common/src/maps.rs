//! The contents of the kernel maps: names, capacities, keys and values.
//!
//! Both sides compile this file, so a layout cannot drift.
//! Only plain integers and byte arrays cross; the macro `shared!` refuses padding at compile time.

#[macro_use]
mod shared;

mod address;
mod lane;
mod live;
mod policy;
mod sighting;
mod sources;

pub use lane::{
    CHALLENGED_GROUPS, CellRate, FLOWS_MAX, FlowKey, LANE_BUCKETS, LANE_OPEN_NS, LANE_TOTALS, Lane,
    LaneLimits, LaneTotal, Spent, TOLD_MAX, UNITS_PER_REQUEST,
};
pub use policy::{Mode, Transport};
pub use sighting::{
    BLOCKED_RING_BYTES, RING_BYTES, SIGHTING_TEXT_LEN, STREAM_RING_BYTES, Sighting, SightingHeader,
    SightingKind, TextMarks,
};

pub use sources::{
    Blocks4, FILTER4_WORDS_MAX, FILTER6_WORDS_MAX, Filter6, GROUPS4, LENGTHS6_MAX, NEAR, NEAR_BUCKET_LINES,
    NEAR_LINES6, Near6, REGIONS4, Regions4, SourceIndex, Step6,
};

/// How many listeners a policy may have: one bit of a `u64` each.
pub const LISTENERS_MAX: usize = 64;
/// How many different sets of listeners the ports of one policy may form; set 0 is the empty one.
pub const PORT_SETS_MAX: usize = 256;
/// How many different classes of sources a policy may form; two are there in each: see [`crate::sources`].
pub const CLASSES_MAX: usize = 4_096;
/// How many values a 12-bit VLAN ID takes (IEEE 802.1Q).
pub const VLAN_IDS: usize = 4_096;
/// How many values a port takes.
pub const PORTS: usize = 65_536;
/// How many bans are in force at most.
pub const BANS_MAX: u32 = 65_536;
/// How many bytes of text a ban carries as its cause.
pub const BAN_CAUSE_LEN: usize = 56;
/// How many prefixes the source table of one address family holds at most.
pub const PREFIXES_MAX: u32 = 1 << 22;
/// How many fragmented datagrams are followed at a time.
pub const FRAGMENTS_MAX: u32 = 16_384;
/// How many local addresses listeners may be tied to.
pub const LOCAL_ADDRESSES_MAX: u32 = 1_024;
/// How many reasons have a counter; with room, so that a new reason does not change the map.
pub const COUNTERS_MAX: u32 = 64;
/// How many copies of a policy's tables there are: the one in force and the one being written.
pub const POLICY_SLOTS: u32 = 2;
/// How many words a line of table memory has: a cache line.
pub const LINE_WORDS: usize = 8;
/// How many lines a chunk of table memory has: a mebibyte.
pub const CHUNK_LINES: usize = 16_384;
/// How many chunks of table memory a policy may use.
pub const CHUNKS_MAX: u32 = 128;
/// How many prefixes of live changes wait to be compiled into the tables at most.
pub const CHANGES_MAX: u32 = 4_096;
/// How many addresses are let in by registrations at most.
pub const REGISTERED_MAX: u32 = 65_536;
/// How many buckets the packet path's table of peers has at most.
pub const PEER_BUCKETS: u32 = 131_072;
/// How many of them are used at first; as many again whenever one in four has a peer. The fewer they are, the closer together
/// stand those whom a processor is asked about; but the fuller, the more often a new one has to move others and wait.
pub const PEER_BUCKETS_MIN: u32 = 1_024;
/// How many peers a bucket holds: all [`BANS_MAX`] and [`REGISTERED_MAX`] fill half of the places.
pub const PEER_BUCKET_WIDTH: usize = 2;
/// How many words the presence bits of peers have.
pub const PEER_BITS_WORDS: usize = 8_192;

/// How long a fragment waits for its datagram: `net.ipv6.ip6frag_time`, the longer of the kernel's two limits.
pub const FRAGMENT_LIFETIME_NS: u64 = 60_000_000_000;

/// The maps of the kernel program, by their names in the object; [`pin`](name::pin) says how they are pinned.
pub mod name {
    /// One [`Live`](super::Live): which policy is in force, and what tells the packet path to look at `CHANGES` and
    /// `PEERS`.
    pub const LIVE: &str = ".bss.LIVE";
    /// A [`PolicyIndex`](super::PolicyIndex) for each slot, in one value.
    pub const POLICIES: &str = ".bss.POLICIES";
    /// A [`Blocks4`](super::Blocks4) for each slot.
    pub const BLOCKS4: &str = "BLOCKS4";
    /// A [`Filter6`](super::Filter6) for each slot.
    pub const FILTERS6: &str = "FILTERS6";
    /// Table memory: [`CHUNKS_MAX`](super::CHUNKS_MAX) chunks a slot.
    pub const TABLES: &str = "TABLES";
    /// [`ChangeKey`](super::ChangeKey) prefixes to [`ChangedClass`](super::ChangedClass).
    pub const CHANGES: &str = "CHANGES";
    /// Local addresses to sets of listeners, one table a slot.
    pub const LOCAL_ADDRESSES: &str = "LOCAL_ADDRESSES";
    /// [`Address`](super::Address) to [`Ban`](super::Ban): the bans as people know them.
    pub const BANS: &str = "BANS";
    /// [`PeerBucket`](super::PeerBucket) by hash: who is banned and who is registered, for the packet path.
    pub const PEERS: &str = "PEERS";
    /// [`FlowKey`](super::FlowKey) to the end of its registration, in nanoseconds of CLOCK_BOOTTIME.
    pub const FLOWS: &str = "FLOWS";
    /// [`Lane`](super::Lane) by hash of the source.
    pub const LANES: &str = "LANES";
    /// Until when any source of a [group](super::Lane::group) may spend more than its own budget, in nanoseconds of
    /// CLOCK_BOOTTIME.
    pub const CHALLENGED: &str = "CHALLENGED";
    /// The [`LaneTotal`](super::LaneTotal)s of all strangers.
    pub const LANE_TOTALS: &str = "LANE_TOTALS";
    /// A ring of [`Sighting`](super::Sighting)s: replies over UDP that accept a registration.
    pub const ACCEPTED: &str = "ACCEPTED";
    /// A ring of [`Sighting`](super::Sighting)s over UDP that strangers can fill: replies that refuse, requests with
    /// credentials.
    pub const REFUSED: &str = "REFUSED";
    /// A ring of [`Sighting`](super::Sighting)s: all that is said over TCP, in order.
    pub const STREAMS: &str = "STREAMS";
    /// A ring of [`Sighting`](super::Sighting)s: some of the requests that were dropped.
    pub const BLOCKED: &str = "BLOCKED";
    /// Two [`Counter`](super::Counter)s for each [`SightingKind`](super::SightingKind): written, and lost.
    pub const SIGHTINGS: &str = "SIGHTINGS";
    /// Room for a [`Sighting`](super::Sighting) that is being made, on each CPU.
    pub const SCRATCH: &str = "SCRATCH";
    /// [`FragmentKey`](super::FragmentKey) to [`FragmentDecision`](super::FragmentDecision).
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// [`Counter`](super::Counter) by reason, per CPU.
    pub const COUNTERS: &str = "COUNTERS";
    /// The time that was read last, and at which tick: see [`clock`](super::clock).
    pub const CLOCK: &str = ".bss.CLOCK";

    /// The name under which a map is pinned: that of its section, without what makes it one.
    pub fn pin(map: &str) -> &str {
        map.strip_prefix(".bss.").unwrap_or(map)
    }

    /// All of them; first the one that says which object the others belong to.
    pub const ALL: &[&str] = &[
        LIVE,
        POLICIES,
        BLOCKS4,
        FILTERS6,
        TABLES,
        CHANGES,
        LOCAL_ADDRESSES,
        BANS,
        PEERS,
        FLOWS,
        LANES,
        CHALLENGED,
        LANE_TOTALS,
        ACCEPTED,
        REFUSED,
        STREAMS,
        BLOCKED,
        SIGHTINGS,
        SCRATCH,
        FRAGMENTS,
        COUNTERS,
        CLOCK,
    ];
}

/// The time that was read last, in one word that all CPUs share, so that it is read once a tick at most.
pub mod clock {
    /// The bits of nanoseconds in whose place stand those of the tick at which it was read, so that it is a millisecond off at
    /// most. They come again after a quarter of an hour at least: whoever is the first to ask for that long may be told that old
    /// time, for as long as a tick lasts.
    const TICK: u64 = (1 << 20) - 1;

    /// A time in nanoseconds, read at this tick of the kernel's timer.
    #[inline(always)]
    pub const fn at(now_ns: u64, tick: u64) -> u64 {
        now_ns & !TICK | tick & TICK
    }

    /// Whether it was read at this tick.
    #[inline(always)]
    pub const fn is_of(clock: u64, tick: u64) -> bool {
        (clock ^ tick) & TICK == 0
    }
}

/// The programs of the object.
pub mod program {
    /// Judges and counts; the one that is attached, and pinned.
    pub const FILTER: &str = "sip_filter";
    /// Judges only and returns the reason's index: what `explain` asks.
    pub const EXPLAIN: &str = "sip_explain";
    /// Looks at what leaves: the SIP server's replies.
    pub const WATCH: &str = "sip_watch";
}

shared! {
    /// An IP address; IPv4 as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2).
    pub struct Address: 16 {
        /// The sixteen bytes in network byte order, eight a word: what takes two loads and two compares.
        pub halves: [u64; 2],
    }

    /// What the policy says about a class of sources.
    pub struct Class: 32 {
        /// [`Class::ADMIN`] and [`Class::DENIED`].
        pub flags: u64,
        /// The listeners at which a trunk's deny list refuses the source.
        pub deny: u64,
        /// The listeners at which an allow list speaks for the source.
        pub allow: u64,
        /// Those of `allow` at which the list lets the source only register until it is registered.
        pub registering: u64,
    }

    /// What a class number stands for.
    pub struct ClassEntry: 40 {
        /// The listeners at which it is not let in, or not whatever else is said but for a ban: a list may refuse it, or a
        /// missing registration.
        pub unsettled: u64,
        /// All that the policy says.
        pub class: Class,
    }

    /// The part of a policy that is looked up by number. What is read for most packets stands first: an offset in an
    /// instruction of the kernel program has 15 bits.
    pub struct PolicyIndex: 1_644_848 {
        /// The listeners where a stranger's packet is more than that: strangers may prove themselves, or it may be for nobody or
        /// come by a wrong VLAN.
        pub unsettled: u64,
        /// Listeners that are tied to local addresses or VLANs.
        pub tied: u64,
        /// Listeners that are tied to local addresses.
        pub at_addresses: u64,
        /// Listeners that are tied to VLANs.
        pub at_vlans: u64,
        /// The listeners of each transport, by [`Transport::row`].
        pub transports: [u64; 2],
        /// The listeners of SIP.
        pub signalling: u64,
        /// The listeners of RTP.
        pub media: u64,
        /// The listeners whose payload cannot be read.
        pub encrypted: u64,
        /// The listeners at which strangers may try to authenticate.
        pub prove: u64,
        /// How much they may try.
        pub lane: LaneLimits,
        /// The listeners at which a registration lets in all that comes from its address: those of SIP, unless it lets in a
        /// flow, and those of RTP.
        pub by_address: u64,
        /// A bit for each [`Reason`](crate::Reason), by its number: whether packets are dropped for it; see [`Mode::drops`].
        pub drops: u64,
        /// Who the sources are.
        pub sources: SourceIndex,
        /// The listeners in each set of listeners that share a port.
        pub port_sets: [u64; PORT_SETS_MAX],
        /// The set of listeners at each local port, by [`Transport::row`] and by the port in network byte order.
        pub ports: [[u8; PORTS]; 2],
        /// What the class numbers in the source tables stand for.
        pub classes: [ClassEntry; CLASSES_MAX],
        /// Presence bits of blocks of IPv4, by hash; as many words as [`SourceIndex::filter4_mask`] says.
        pub filter4: [u64; FILTER4_WORDS_MAX],
        /// The listeners that are tied to each VLAN.
        pub vlans: [u64; VLAN_IDS],
        /// Who is named in which region of IPv4.
        pub regions4: Regions4,
    }

    /// A prefix of live changes: which policy it changes and in which address family, then the network.
    pub struct ChangeKey: 20 {
        /// Twice the slot; one more for IPv6, whose `::/0` would hold the IPv4-mapped addresses too.
        pub space: u32,
        /// The network, as an [`Address`] in network byte order.
        pub network: [u8; 16],
    }

    /// A [`Class`] in halves: a trie's value may not ask for more alignment than its key.
    pub struct ChangedClass: 32 {
        /// `flags`, `deny`, `allow` and `registering`, the lower half of each first.
        pub halves: [u32; 8],
    }

    /// What the packet path reads first. The controller replaces it whole; no two words of it have to agree.
    pub struct Live: 65_584 {
        /// The slot of the policy in force: the word that switches from one policy to the next.
        pub slot: u64,
        /// What has to be looked at beside the tables: [`Live::CHANGES`] and [`Live::PEERS`]. Mostly nothing.
        pub watch: u64,
        /// Makes the hashes of this machine's peers unlike those of others; odd.
        pub salt: u64,
        /// The bits of a hash that are the number of a bucket of peers.
        pub peers_mask: u64,
        /// Counts the policies and live changes that were put in force, from 1.
        pub generation: u64,
        /// Which object's programs know what stands in the maps: a checksum of it.
        pub object: u64,
        /// A bit for each peer, by hash: clear where there is none.
        pub peer_bits: [u64; PEER_BITS_WORDS],
    }

    /// What is known about an address beside the policy.
    pub struct Known: 16 {
        /// When its ban ends, in nanoseconds of CLOCK_BOOTTIME; 0 for none.
        pub banned_until_ns: u64,
        /// Until when a registration lets it in, in nanoseconds of CLOCK_BOOTTIME; 0 for none.
        pub registered_until_ns: u64,
    }

    /// An address about which something is known; all zeros in an empty place.
    pub struct Peer: 32 {
        /// Who.
        pub address: Address,
        /// What.
        pub known: Known,
    }

    /// The peers of which either hash leads here: a cache line.
    pub struct PeerBucket: 64 {
        /// In no order.
        pub places: [Peer; PEER_BUCKET_WIDTH],
    }

    /// A temporary refusal of one address; complete, so that it outlives the daemon.
    pub struct Ban: 64 {
        /// When it ends, in nanoseconds of CLOCK_BOOTTIME.
        pub until_ns: u64,
        /// Why, as UTF-8, filled up with zeros.
        pub cause: [u8; BAN_CAUSE_LEN],
    }

    /// What makes fragments one datagram (RFC 791 section 3.2, RFC 8200 section 4.5).
    pub struct FragmentKey: 40 {
        /// Where it comes from.
        pub source: Address,
        /// Where it goes to.
        pub destination: Address,
        /// Its identification, as a number.
        pub identification: u32,
        /// Its protocol; 0 for IPv6, where it does not count.
        pub protocol: u32,
    }

    /// What was decided for the first fragment of a datagram.
    pub struct FragmentDecision: 16 {
        /// Until when it stands, in nanoseconds of CLOCK_BOOTTIME.
        pub until_ns: u64,
        /// The index of its reason.
        pub reason: u64,
    }

    /// What one reason has seen on one CPU.
    pub struct Counter: 16 {
        /// Packets.
        pub packets: u64,
        /// Bytes of these packets, from the Ethernet header on.
        pub bytes: u64,
    }
}

// What Linux 5.10 takes as a value of an array: `KMALLOC_MAX_SIZE`.
const _: () = assert!(POLICY_SLOTS as usize * size_of::<PolicyIndex>() <= 4 << 20);

#[cfg(test)]
mod tests {
    use super::clock;

    #[test]
    fn a_clock_is_of_one_tick_and_tells_the_time_to_a_millisecond() {
        for (now_ns, tick) in
            [(0, 1), (5_000_000_000, 1 << 20), (u64::MAX >> 1, 0xf_ffff), (1 << 40, 4_294_667_296)]
        {
            let read = clock::at(now_ns, tick);
            assert!(read.abs_diff(now_ns) < 1 << 20, "{read} for {now_ns}");
            assert!(clock::is_of(read, tick));
            for other in [tick + 1, tick.wrapping_sub(1), tick + 250, tick + (1 << 20) - 1] {
                assert!(!clock::is_of(read, other), "tick {other} for {tick}");
            }
        }
    }
}
