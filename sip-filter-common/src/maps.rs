//! The contents of the kernel maps: names, capacities, keys and values.
//!
//! Both sides compile this file, so a layout cannot drift.
//! Only plain integers and byte arrays cross; the macro `shared!` refuses padding at compile time.

/// How many listeners a policy may have: one bit of a `u64` each.
pub const LISTENERS_MAX: usize = 64;
/// How many different sets of listeners the ports of one policy may form; set 0 is the empty one.
pub const PORT_SETS_MAX: usize = 256;
/// How many different classes of sources a policy may form; class 0 is nobody's.
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

/// How long a fragment waits for its datagram: `net.ipv6.ip6frag_time`, the longer of the kernel's two limits.
pub const FRAGMENT_LIFETIME_NS: u64 = 60_000_000_000;

/// The maps of the kernel program, by the names they are pinned under.
pub mod name {
    /// One [`PolicyIndex`](super::PolicyIndex): the policy in force, replaced whole.
    pub const POLICY: &str = "POLICY";
    /// IPv4 prefixes to class numbers, one table a slot.
    pub const SOURCES4: &str = "SOURCES4";
    /// IPv6 prefixes to class numbers, one table a slot.
    pub const SOURCES6: &str = "SOURCES6";
    /// Local addresses to sets of listeners, one table a slot.
    pub const LOCAL_ADDRESSES: &str = "LOCAL_ADDRESSES";
    /// [`Address`](super::Address) to [`Ban`](super::Ban).
    pub const BANS: &str = "BANS";
    /// [`FragmentKey`](super::FragmentKey) to [`FragmentDecision`](super::FragmentDecision).
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// [`Counter`](super::Counter) by reason, per CPU.
    pub const COUNTERS: &str = "COUNTERS";

    /// All of them.
    pub const ALL: &[&str] = &[POLICY, SOURCES4, SOURCES6, LOCAL_ADDRESSES, BANS, FRAGMENTS, COUNTERS];
}

/// The programs of the object.
pub mod program {
    /// Judges and counts; the one that is attached.
    pub const FILTER: &str = "sip_filter";
    /// Judges only and returns the reason's index: what `explain` asks.
    pub const EXPLAIN: &str = "sip_explain";
}

macro_rules! shared {
    ($($(#[$doc:meta])* pub struct $name:ident: $size:literal { $($(#[$field_doc:meta])* pub $field:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
        #[repr(C)]
        pub struct $name { $($(#[$field_doc])* pub $field: $kind,)* }

        const _: () = {
            assert!(size_of::<$name>() == $size, "the size is part of the contract");
            assert!(0 $(+ size_of::<$kind>())* == $size, "no padding crosses the boundary");
        };

        // SAFETY: bytemuck's derive above holds only for plain data without padding, which is what aya asks for.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name where $name: bytemuck::Pod {}
    )*};
}

shared! {
    /// An IP address; IPv4 as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2), in network byte order.
    pub struct Address: 16 {
        /// The sixteen bytes.
        pub octets: [u8; 16],
    }

    /// What the policy says about a class of sources.
    pub struct Class: 24 {
        /// [`Class::ADMIN`] and [`Class::DENIED`].
        pub flags: u64,
        /// The listeners at which a trunk's deny list refuses the source.
        pub deny: u64,
        /// The listeners at which an allow list speaks for the source.
        pub allow: u64,
    }

    /// The part of a policy that is looked up by number.
    pub struct PolicyIndex: 264_240 {
        /// Counts the policies that were put in force, from 1.
        pub generation: u64,
        /// Listeners that are not tied to local addresses.
        pub any_address: u64,
        /// Listeners that are not tied to VLANs.
        pub any_vlan: u64,
        /// The listeners of each [`Transport`].
        pub transports: [u64; 2],
        /// [`Mode`] as a number.
        pub mode: u32,
        /// Which slot of the other tables belongs to this policy.
        pub slot: u32,
        /// What the class numbers in the source tables stand for.
        pub classes: [Class; CLASSES_MAX],
        /// The listeners in each set of listeners that share a port.
        pub port_sets: [u64; PORT_SETS_MAX],
        /// The listeners that are tied to each VLAN.
        pub vlans: [u64; VLAN_IDS],
        /// The set of listeners at each local port, by [`Transport`].
        pub ports: [[u8; PORTS]; 2],
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

impl Address {
    const IPV4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

    /// The address of an IPv4 header.
    #[inline(always)]
    pub const fn from_ipv4([a, b, c, d]: [u8; 4]) -> Self {
        Self { octets: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] }
    }

    /// The address of an IPv6 header.
    #[inline(always)]
    pub const fn from_ipv6(octets: [u8; 16]) -> Self {
        Self { octets }
    }

    /// The four bytes of an IPv4 address, if it is one.
    #[inline(always)]
    pub fn ipv4(&self) -> Option<[u8; 4]> {
        let [mapped @ .., a, b, c, d] = self.octets;
        (mapped == Self::IPV4_MAPPED).then_some([a, b, c, d])
    }
}

impl From<core::net::IpAddr> for Address {
    fn from(address: core::net::IpAddr) -> Self {
        match address {
            core::net::IpAddr::V4(address) => Self::from_ipv4(address.octets()),
            core::net::IpAddr::V6(address) => Self::from_ipv6(address.octets()),
        }
    }
}

impl From<Address> for core::net::IpAddr {
    fn from(address: Address) -> Self {
        match address.ipv4() {
            Some(octets) => Self::V4(octets.into()),
            None => Self::V6(address.octets.into()),
        }
    }
}

impl Class {
    /// Never dropped.
    pub const ADMIN: u64 = 1;
    /// On the always-deny list.
    pub const DENIED: u64 = 2;
    /// The class of a source that no list names.
    pub const NOBODY: Self = Self { flags: 0, deny: 0, allow: 0 };
}

/// What happens to a packet that is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Mode {
    /// It is counted and passes.
    Monitor = 0,
    /// It is counted and dropped.
    Enforce = 1,
}

impl Mode {
    /// The word that people and scripts see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Enforce => "enforce",
        }
    }

    /// The mode with this number; every other number enforces.
    pub const fn from_number(number: u32) -> Self {
        if number == Self::Monitor as u32 { Self::Monitor } else { Self::Enforce }
    }
}

/// A transport protocol that listeners use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Transport {
    /// RFC 768.
    Udp = 0,
    /// RFC 9293.
    Tcp = 1,
}

impl Transport {
    /// The word that people and scripts see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}
