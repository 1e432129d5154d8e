//! What the kernel program hands to the controller: copies of SIP messages.

use super::Address;

/// How many bytes of a message are copied; a power of two, which the verifier can follow.
pub const SIGHTING_TEXT_LEN: usize = 4_096;
/// How many bytes a ring of sightings has.
pub const RING_BYTES: usize = 1 << 22;
/// How many bytes the ring of calls that were dropped has.
pub const BLOCKED_RING_BYTES: usize = 1 << 18;
/// How many bytes the ring of TCP segments has.
pub const STREAM_RING_BYTES: usize = 1 << 23;

shared! {
    /// Where and when a message was seen.
    pub struct SightingHeader: 56 {
        /// When, in nanoseconds of CLOCK_BOOTTIME.
        pub seen_ns: u64,
        /// The peer's address: where a reply goes to, where a request comes from.
        pub peer: Address,
        /// The peer's port.
        pub peer_port: u16,
        /// The port of the listener.
        pub local_port: u16,
        /// [`SightingKind`] as a number.
        pub kind: u16,
        /// The IP protocol.
        pub protocol: u16,
        /// For TCP, the number of the first byte of a segment from the SIP server; of what comes in, the number that it
        /// acknowledges, which nobody knows who has not seen what the server sent.
        pub sequence: u32,
        /// How many bytes of text there are.
        pub text_len: u32,
        /// What was found in the text.
        pub marks: TextMarks,
    }

    /// What the packet path found in the headers of a message.
    pub struct TextMarks: 16 {
        /// The number of the method that the CSeq header names, plus one; 0 where it names none of the known ones.
        pub cseq_method: u16,
        /// How many CSeq headers there are.
        pub cseqs: u16,
        /// How many bytes there are up to the first blank line, it included; 0 where none was seen.
        pub blank_line: u16,
        /// How many spaces the start line has.
        pub spaces: u16,
        /// 1 where there are credentials.
        pub has_credentials: u8,
        /// 1 where a header names a scanner.
        pub is_scanner: u8,
        /// 1 where servers differ in where a line ends (a lone CR) or in which Call-ID counts, or where what could be another
        /// start line follows.
        pub is_ambiguous: u16,
        /// How many bytes were looked at; no more than `text::LOOKED_AT_MAX`.
        pub looked_at: u16,
        /// How many bytes the start line has; 0 where its end was not seen.
        pub start_line: u16,
    }

    /// A message, or the beginning of one.
    pub struct Sighting: 4_152 {
        /// Where and when.
        pub header: SightingHeader,
        /// Its bytes; behind `text_len`, what stood there before.
        pub text: [u8; SIGHTING_TEXT_LEN],
    }
}

/// What is seen in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum SightingKind {
    /// A 2xx reply to REGISTER.
    Accepted = 0,
    /// A reply of 401, 403 or 407.
    Refused = 1,
    /// A stranger's request in the lane, with credentials.
    Answered = 2,
    /// A segment of TCP from the SIP server.
    Segment = 3,
    /// A request that was dropped.
    Blocked = 4,
    /// A connection of TCP that the SIP server accepts; no text.
    Opened = 5,
    /// What a scanner, or nobody who speaks SIP, sent over a connection or with credentials, and what was dropped.
    Marked = 6,
}

impl SightingKind {
    /// All of them, each at its number.
    pub const ALL: &[Self] = &[
        Self::Accepted,
        Self::Refused,
        Self::Answered,
        Self::Segment,
        Self::Blocked,
        Self::Opened,
        Self::Marked,
    ];
}

impl TextMarks {
    /// Nothing found.
    pub const NONE: Self = Self {
        cseq_method: 0,
        cseqs: 0,
        blank_line: 0,
        spaces: 0,
        has_credentials: 0,
        is_scanner: 0,
        is_ambiguous: 0,
        looked_at: 0,
        start_line: 0,
    };

    /// The method that the CSeq header names.
    #[inline(always)]
    pub fn method(&self) -> Option<crate::sip::Method> {
        crate::sip::Method::from_number(self.cseq_method.wrapping_sub(1))
    }
}
