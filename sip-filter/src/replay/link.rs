//! The link headers that a capture may show: from a record to what the pipeline judges.
//!
//! Knows the link layers of captures, not their files; what is behind the link header is the pipeline's.

use std::ops::ControlFlow::{self, Break};

use sip_filter_common::parse::{self, Packet};
use sip_filter_common::{Frame as _, Reason};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

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
pub(super) enum Seen {
    /// The host sent it.
    Outgoing,
    /// It came in.
    Incoming(ControlFlow<Reason, Packet>),
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

    /// Reads the link header and all behind it that decides.
    pub(super) fn read(self, record: &[u8]) -> Seen {
        match self {
            Self::Ethernet => Seen::Incoming(parse::ethernet(record)),
            Self::Cooked => cooked(record),
            Self::Cooked2 => cooked2(record),
            Self::Raw => Seen::Incoming(raw(record)),
            Self::Loopback => Seen::Incoming(loopback(record)),
        }
    }
}

/// LINKTYPE_LINUX_SLL: packet type, hardware type, address length, address, protocol.
fn cooked(record: &[u8]) -> Seen {
    match (record.read::<2>(0), record.read::<2>(14)) {
        (Some([0, OUTGOING]), _) => Seen::Outgoing,
        (_, Some(kind)) => Seen::Incoming(parse::tagged(record, u16::from_be_bytes(kind), COOKED_HEADER_LEN)),
        _ => Seen::Incoming(Break(Reason::Truncated)),
    }
}

/// LINKTYPE_LINUX_SLL2: protocol, two reserved bytes, interface, hardware type, packet type, address length, address.
fn cooked2(record: &[u8]) -> Seen {
    match (record.read::<2>(0), record.read::<1>(10)) {
        (_, Some([OUTGOING])) => Seen::Outgoing,
        (Some(kind), _) => {
            Seen::Incoming(parse::tagged(record, u16::from_be_bytes(kind), COOKED2_HEADER_LEN))
        }
        _ => Seen::Incoming(Break(Reason::Truncated)),
    }
}

/// LINKTYPE_RAW, LINKTYPE_IPV4 and LINKTYPE_IPV6: the packet itself says which it is.
fn raw(record: &[u8]) -> ControlFlow<Reason, Packet> {
    match record.first().map(|byte| byte >> 4) {
        Some(4) => parse::tagged(record, IPV4, 0),
        Some(6) => parse::tagged(record, IPV6, 0),
        Some(_) => Break(Reason::NotIp),
        None => Break(Reason::Truncated),
    }
}

/// LINKTYPE_NULL and LINKTYPE_LOOP: the address family, in the byte order and by the numbers of the capturing host.
fn loopback(record: &[u8]) -> ControlFlow<Reason, Packet> {
    let Some(family) = record.read::<4>(0) else { return Break(Reason::Truncated) };
    match u32::from_be_bytes(family).min(u32::from_le_bytes(family)) {
        2 => parse::tagged(record, IPV4, LOOPBACK_HEADER_LEN),
        // Linux, NetBSD and OpenBSD, FreeBSD, Darwin.
        10 | 24 | 28 | 30 => parse::tagged(record, IPV6, LOOPBACK_HEADER_LEN),
        _ => Break(Reason::NotIp),
    }
}
