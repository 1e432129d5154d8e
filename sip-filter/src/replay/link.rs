//! The link headers that a capture may show: from a record to a frame for the pipeline.
//!
//! Knows the link layers of captures, not their files; what is behind the link header is the pipeline's.

use std::borrow::Cow;

use sip_filter_common::Frame as _;

/// EtherTypes, as they stand in a frame.
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// No EtherType: a length.
const NO_PROTOCOL: [u8; 2] = [0; 2];

const COOKED_HEADER_LEN: usize = 16;
const COOKED2_HEADER_LEN: usize = 20;
const LOOPBACK_HEADER_LEN: usize = 4;

/// `PACKET_OUTGOING` of packet(7).
const OUTGOING: u8 = 4;

/// A link layer whose records can be judged, after the registry of LINKTYPE_ values on tcpdump.org.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Ethernet,
    Cooked,
    Cooked2,
    Raw,
    Loopback,
}

/// What a record is to a filter that sees only what comes in.
#[derive(Debug)]
pub(super) enum Seen<'a> {
    /// The host sent it.
    Outgoing,
    /// It came in: as a frame of Ethernet, of which what the record does not have is missing.
    Incoming(Cow<'a, [u8]>),
}

impl Link {
    /// The link layer with this LINKTYPE_ value, if it is one of ours.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Ethernet),
            113 => Some(Self::Cooked),
            276 => Some(Self::Cooked2),
            101 | 228 | 229 => Some(Self::Raw),
            0 | 108 => Some(Self::Loopback),
            _ => None,
        }
    }

    /// Reads the link header.
    pub(super) fn read(self, record: &[u8]) -> Seen<'_> {
        match self {
            Self::Ethernet => Seen::Incoming(record.into()),
            Self::Cooked => cooked(record),
            Self::Cooked2 => cooked2(record),
            Self::Raw => Seen::Incoming(raw(record)),
            Self::Loopback => Seen::Incoming(loopback(record)),
        }
    }
}

/// LINKTYPE_LINUX_SLL: packet type, hardware type, address length, address, protocol.
fn cooked(record: &[u8]) -> Seen<'_> {
    match (record.read::<2>(0), record.read::<2>(14)) {
        (Some([0, OUTGOING]), _) => Seen::Outgoing,
        (_, kind) => Seen::Incoming(ethernet(kind, record, COOKED_HEADER_LEN)),
    }
}

/// LINKTYPE_LINUX_SLL2: protocol, two reserved bytes, interface, hardware type, packet type, address length, address.
fn cooked2(record: &[u8]) -> Seen<'_> {
    match (record.read::<2>(0), record.read::<1>(10)) {
        (_, Some([OUTGOING])) => Seen::Outgoing,
        (kind, packet_type) => {
            Seen::Incoming(ethernet(kind.filter(|_| packet_type.is_some()), record, COOKED2_HEADER_LEN))
        }
    }
}

/// LINKTYPE_RAW, LINKTYPE_IPV4 and LINKTYPE_IPV6: the packet itself says which it is.
fn raw(record: &[u8]) -> Cow<'_, [u8]> {
    let kind = record.first().map(|byte| match byte >> 4 {
        4 => IPV4,
        6 => IPV6,
        _ => NO_PROTOCOL,
    });
    ethernet(kind, record, 0)
}

/// LINKTYPE_NULL and LINKTYPE_LOOP: the address family, in the byte order and by the numbers of the capturing host.
fn loopback(record: &[u8]) -> Cow<'_, [u8]> {
    let kind =
        record.read::<4>(0).map(|family| match u32::from_be_bytes(family).min(u32::from_le_bytes(family)) {
            2 => IPV4,
            // Linux, NetBSD and OpenBSD, FreeBSD, Darwin.
            10 | 24 | 28 | 30 => IPV6,
            _ => NO_PROTOCOL,
        });
    ethernet(kind, record, LOOPBACK_HEADER_LEN)
}

/// What stands behind a link header of `len` bytes, behind one of Ethernet instead; nothing where the record does not show
/// what it is.
fn ethernet(kind: Option<[u8; 2]>, record: &[u8], len: usize) -> Cow<'static, [u8]> {
    let Some(kind) = kind else { return Cow::default() };
    let nobody = [0; 12];
    Cow::Owned([&nobody, &kind[..], record.get(len..).unwrap_or_default()].concat())
}
