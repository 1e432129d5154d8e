//! The bounded lane: what a stranger may send while it tries to authenticate.
//!
//! Decides from the transport header and the request alone, and spends from budgets of fixed size.
//! A stranger gets no further than a request of a listed method, whole, in one datagram or at the start of one segment
//! that it fills: nothing that a SIP server could read as a second request.

#![expect(clippy::cast_possible_truncation, reason = "offsets are masked")]

mod bounds;
mod budget;

pub use self::{bounds::Bounds, budget::charge};

use crate::{
    frame::Frame,
    maps::{Address, FlowKey, LaneLimits, SightingKind, TextMarks, UNITS_PER_REQUEST},
    parse::{self, OFFSET_MASK, Packet, protocol},
    reason::Reason,
    sip::{self, Method},
    tables::Tables,
};

/// Where a datagram stands in its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Where the IP header begins.
    pub network_at: usize,
    /// Where the transport header begins.
    pub transport_at: usize,
    /// TCP, or else UDP.
    pub is_tcp: bool,
    /// Whether the IP header is one of IPv6.
    pub is_ipv6: bool,
}

/// The payload of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Where it begins.
    pub at: usize,
    /// How long it is, in bytes.
    pub len: usize,
}

/// What a stranger's packet asks for.
enum Wish {
    /// Nothing but to keep something open.
    KeepAlive,
    /// Nothing that SIP has a word for, over a connection.
    Garbage(Payload),
    /// So many units.
    Spend(u64),
    /// As many as a request costs, if the request is one that may be made.
    Request(Method, Payload),
    /// A request that a stranger may not make.
    Call(Payload),
    /// Nothing that a stranger may have.
    Nothing(Reason),
}

/// Judges a stranger's whole datagram for listeners at which strangers may prove themselves.
#[inline(always)]
pub fn judge<F: Frame + ?Sized, T: Tables>(
    frame: &F,
    datagram: &Datagram,
    source: &Address,
    bounds: Bounds,
    tables: &T,
) -> Reason {
    if bounds.is_registered && is_registered_flow(frame, datagram, source, tables) {
        return Reason::Registered;
    }
    // A trunk is known, whoever else is of its network.
    if datagram.is_ipv6 && !bounds.is_trunk && is_network_banned(source, tables) {
        return Reason::Banned;
    }
    let wish = if datagram.is_tcp {
        segment(frame, datagram, bounds, tables)
    } else {
        user_datagram(frame, datagram, bounds, tables)
    };
    match wish {
        Wish::Nothing(reason) => reason,
        Wish::KeepAlive => Reason::Stranger,
        Wish::Call(payload) => {
            tables.tell(SightingKind::Blocked, frame, datagram, payload);
            Reason::Stranger
        }
        Wish::Garbage(payload) => {
            tables.tell(SightingKind::Marked, frame, datagram, payload);
            Reason::NotSip
        }
        Wish::Spend(units) => spend(source, units, bounds, tables),
        Wish::Request(method, payload) => {
            let reason = spend(source, UNITS_PER_REQUEST, bounds, tables);
            if reason as u32 != Reason::Probation as u32 {
                return reason;
            }
            let marks = tables.read_text(frame, payload);
            let reason = look(method, &marks, payload, datagram.is_tcp, bounds, &tables.index().lane);
            let may_be_proved = datagram.is_tcp || marks.has_credentials != 0;
            if matches!(reason, Reason::Probation) && marks.has_credentials != 0 {
                tables.report(SightingKind::Answered, frame, datagram, source);
            } else if matches!(reason, Reason::Scanner) && may_be_proved {
                tables.tell(SightingKind::Marked, frame, datagram, payload);
            }
            reason
        }
    }
}

/// Whether the ban of an IPv6 network is in force: who has one address of it has all of them.
#[inline(always)]
fn is_network_banned<T: Tables>(source: &Address, tables: &T) -> bool {
    let network = source.network();
    tables.may_know(&network) && tables.peer(&network).banned_until_ns > tables.now_ns()
}

#[inline(always)]
fn is_registered_flow<F: Frame + ?Sized, T: Tables>(
    frame: &F,
    datagram: &Datagram,
    source: &Address,
    tables: &T,
) -> bool {
    let Some([high, low]) = frame.read(datagram.transport_at) else { return false };
    let protocol = if datagram.is_tcp { protocol::TCP } else { protocol::UDP };
    let port = u16::from_be_bytes([high, low]).into();
    tables.has_flow(&FlowKey { address: *source, port, protocol: protocol.into() })
}

#[inline(always)]
fn user_datagram<F: Frame + ?Sized, T: Tables>(
    frame: &F,
    datagram: &Datagram,
    bounds: Bounds,
    tables: &T,
) -> Wish {
    match user_payload(frame, datagram) {
        Some(payload) => request(frame, payload, bounds, tables),
        None => Wish::Nothing(Reason::Stranger),
    }
}

/// RFC 768; none where the header is cut or lies about the length.
#[inline(always)]
pub fn user_payload<F: Frame + ?Sized>(frame: &F, datagram: &Datagram) -> Option<Payload> {
    let [_, _, _, _, high, low, _, _] = frame.read::<8>(datagram.transport_at)?;
    let len = u16::from_be_bytes([high, low]) as usize;
    if len < 8 || datagram.transport_at + len > datagram.end(frame)? {
        return None;
    }
    Some(Payload { at: datagram.transport_at + 8, len: len - 8 })
}

/// What a TCP header says (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The number of the first byte of the payload, or of SYN.
    pub sequence: u32,
    /// SYN without ACK: a connection is asked for.
    pub opens: bool,
    /// SYN with ACK: one is granted.
    pub accepts: bool,
    /// URG: the receiver may leave a byte out.
    pub is_urgent: bool,
    /// What it carries.
    pub payload: Payload,
}

/// Reads a TCP header; none where it is cut.
#[inline(always)]
pub fn tcp_header<F: Frame + ?Sized>(frame: &F, datagram: &Datagram) -> Option<Segment> {
    let header = frame.read::<14>(datagram.transport_at)?;
    let [_, _, _, _, s0, s1, s2, s3, _, _, _, _, length, flags] = header;
    let at = datagram.transport_at + (length >> 4) as usize * 4;
    let end = datagram.end(frame)?;
    if length >> 4 < 5 || at > end {
        return None;
    }
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    const URG: u8 = 0x20;
    Some(Segment {
        sequence: u32::from_be_bytes([s0, s1, s2, s3]),
        opens: flags & (SYN | ACK) == SYN,
        accepts: flags & (SYN | ACK) == SYN | ACK,
        is_urgent: flags & URG != 0,
        payload: Payload { at, len: end - at },
    })
}

#[inline(always)]
fn segment<F: Frame + ?Sized, T: Tables>(frame: &F, datagram: &Datagram, bounds: Bounds, tables: &T) -> Wish {
    let Some(Segment { opens, payload, is_urgent, .. }) = tcp_header(frame, datagram) else {
        return Wish::Nothing(Reason::Stranger);
    };
    if is_urgent {
        return Wish::Nothing(Reason::Stranger);
    }
    if opens {
        // What comes along (TCP Fast Open) would be read before the address is proved.
        return if payload.len == 0 {
            Wish::Spend(UNITS_PER_REQUEST)
        } else {
            Wish::Nothing(Reason::Stranger)
        };
    }
    if !tables.has_connection(frame, datagram) {
        return Wish::Nothing(Reason::Stranger);
    }
    if bounds.is_encrypted {
        return Wish::Spend(1);
    }
    let payload = behind_empty_lines(frame, payload);
    match request(frame, payload, bounds, tables) {
        // All that follows an empty line in the stream would have to wait until it arrives.
        Wish::KeepAlive if payload.len <= 4 => Wish::Spend(1),
        Wish::Nothing(Reason::NotSip) => Wish::Garbage(payload),
        other => other,
    }
}

/// What follows keep-alives that are sent once more, together with a request.
#[inline(always)]
fn behind_empty_lines<F: Frame + ?Sized>(frame: &F, payload: Payload) -> Payload {
    const EMPTY_LINES: u32 = u32::from_be_bytes(*b"\r\n\r\n");
    // Behind the datagram stands what pads the frame.
    if payload.len < 4 {
        return payload;
    }
    let start = frame.read_words(payload.at).map_or(0, |[start]: [u32; 1]| u32::from_be(start));
    let start = core::hint::black_box(start);
    let len = match (start == EMPTY_LINES, start >> 16 == EMPTY_LINES >> 16) {
        (true, _) => 4,
        (_, true) => 2,
        _ => 0,
    };
    // One place to the verifier, not one for each length.
    let len = core::hint::black_box(len) & 7;
    Payload { at: (payload.at + len) & OFFSET_MASK as usize, len: payload.len - len }
}

/// A request of a listed method, a keep-alive, or nothing that a stranger may send.
#[inline(always)]
fn request<F: Frame + ?Sized, T: Tables>(frame: &F, payload: Payload, bounds: Bounds, tables: &T) -> Wish {
    if is_keep_alive(frame, payload) {
        return Wish::KeepAlive;
    }
    let Some(method) = sip::method_at(frame, payload.at, payload.len) else {
        let is_reply = sip::status_at(frame, payload.at, payload.len).is_some();
        return Wish::Nothing(if is_reply { Reason::Stranger } else { Reason::NotSip });
    };
    let methods = if bounds.is_trunk { Method::Register.bit() } else { tables.index().lane.methods };
    if methods & method.bit() == 0 {
        return Wish::Call(payload);
    }
    Wish::Request(method, payload)
}

/// Nothing, up to two empty lines (RFC 5626 section 3.5.1), a null byte, or STUN (RFC 8489 section 5).
#[inline(always)]
fn is_keep_alive<F: Frame + ?Sized>(frame: &F, payload: Payload) -> bool {
    if payload.len >= 20 {
        const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
        let Some([kind, _, _, _, cookie @ ..]) = frame.read::<8>(payload.at) else { return false };
        return kind < 0x40 && cookie == MAGIC_COOKIE;
    }
    if payload.len > 4 {
        return false;
    }
    // With what stands before it, since the verifier takes no check of a single byte; there is a header at least.
    let from = core::hint::black_box((payload.at + payload.len).wrapping_sub(8)) & OFFSET_MASK as usize;
    let Some(end) = frame.read::<8>(from) else { return false };
    let is_filler = |back: usize| back >= payload.len || matches!(end[7 - back], b'\r' | b'\n' | 0);
    is_filler(0) && is_filler(1) && is_filler(2) && is_filler(3)
}

/// Whether the request is what its first bytes promise.
#[inline(always)]
fn look(
    method: Method,
    marks: &TextMarks,
    payload: Payload,
    is_tcp: bool,
    bounds: Bounds,
    limits: &LaneLimits,
) -> Reason {
    let is_whole = marks.looked_at as usize == payload.len;
    // Two CSeqs, or one of another method: the SIP server may see another request than this program.
    let is_one = marks.cseqs == 1 && marks.spaces == 2 && marks.method() == Some(method);
    // Behind a blank line within a segment, another request may follow.
    let is_alone = !is_tcp || marks.blank_line as usize == payload.len;
    if !is_whole || !is_one || !is_alone || marks.is_ambiguous != 0 {
        return Reason::Malformed;
    }
    // A scanner that may register is challenged: so it proves its address, and can be banned for what it answers.
    // A trunk is what the operator says, whatever it calls itself.
    if marks.is_scanner != 0 && !bounds.is_trunk && (method != Method::Register || limits.drops_scanners != 0)
    {
        return Reason::Scanner;
    }
    Reason::Probation
}

/// What a packet comes to that a stranger has to pay for.
#[inline(always)]
fn spend<T: Tables>(source: &Address, units: u64, bounds: Bounds, tables: &T) -> Reason {
    // A trunk is known, and never limited: strangers who take its address cannot use up what it has.
    if bounds.is_trunk || tables.charge(source, units) { Reason::Probation } else { Reason::RateExceeded }
}

impl Datagram {
    /// Where a whole datagram of UDP or TCP stands.
    #[inline(always)]
    pub fn of(packet: &Packet) -> Self {
        Self {
            network_at: packet.network_at as usize,
            transport_at: packet.transport_at as usize,
            is_tcp: packet.protocol == protocol::TCP,
            is_ipv6: packet.is_ipv6,
        }
    }

    /// Where the datagram stands in a frame of the commonest shape; `None` says nothing about a frame.
    #[inline(always)]
    pub fn plain<F: Frame + ?Sized>(frame: &F) -> Option<Self> {
        parse::plain4(frame).or_else(|| parse::plain6(frame)).map(|packet| Self::of(&packet))
    }

    /// Where it says that it comes from.
    #[inline(always)]
    pub fn source<F: Frame + ?Sized>(&self, frame: &F) -> Option<Address> {
        if self.is_ipv6 {
            Some(Address { halves: frame.read_long_words(self.network_at + 8)? })
        } else {
            Some(Address::from_ipv4(frame.read(self.network_at + 12)?))
        }
    }

    /// Where the datagram says that it ends; the frame may be longer, or shorter.
    #[inline(always)]
    pub fn end<F: Frame + ?Sized>(&self, frame: &F) -> Option<usize> {
        let [_, _, v4_high, v4_low, v6_high, v6_low] = frame.read(self.network_at)?;
        Some(if self.is_ipv6 {
            self.network_at + 40 + u16::from_be_bytes([v6_high, v6_low]) as usize
        } else {
            self.network_at + u16::from_be_bytes([v4_high, v4_low]) as usize
        })
    }

    /// As one word, for a function of the kernel program.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        self.network_at as u64
            | (self.transport_at as u64) << 8
            | (self.is_tcp as u64) << 48
            | (self.is_ipv6 as u64) << 49
    }

    /// Back from [`to_bits`](Self::to_bits), every offset bounded.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            network_at: (bits & 0xff) as usize,
            transport_at: (bits >> 8 & OFFSET_MASK) as usize,
            is_tcp: bits >> 48 & 1 != 0,
            is_ipv6: bits >> 49 & 1 != 0,
        }
    }
}
