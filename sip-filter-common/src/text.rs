//! One look at the text of a SIP message: what the packet path must know of its headers.
//!
//! Tolerant where a SIP server is: line ends of either kind, any case, folded CSeq, compact forms where there are any.
//! What it finds is written into memory, not carried along, so that the verifier sees one step and not all that led to it.

#![expect(clippy::cast_possible_truncation, reason = "places in a message, and lengths of names, are small")]

use crate::{
    maps::{SIGHTING_TEXT_LEN, TextMarks},
    sip::{METHOD_BYTES, Method},
};

/// How many bytes of a message are looked at: a full segment, and no loop without end.
pub const LOOKED_AT_MAX: usize = 1_536;
/// How many bytes are looked at in one go.
pub const PART_LEN: usize = 32;
/// How far behind its name a header's value may begin.
const GAP_MAX: usize = 48;

/// How scanners begin to name themselves in User-Agent, in lower case; the first eight letters tell.
///
/// Public lists: Kamailio's default configuration, and what SIP honeypots report. Names that honest products share are
/// not among them.
const SCANNERS: [&str; 20] = [
    "friendly", "sipv", "sip-scan", "sipscan", "sipcli", "sundaydd", "iwar", "pplsip", "vaxsipus",
    "vaxipuse", "vaxusera", "siparmyk", "sivus", "gulp", "svmap", "svwar", "svcrack", "voiphopp", "nsaudito",
    "sippts",
];

/// How many bytes of a name are looked at; a header has more, and the end of its line.
const WORD_LEN: usize = 8;

/// A text of up to eight bytes as a number.
const fn word_of(text: &[u8]) -> u64 {
    let (mut word, mut at) = (0, 0);
    while at < text.len() {
        word = word << 8 | text[at] as u64;
        at += 1;
    }
    word
}

/// Whether eight bytes in lower case begin with a text.
macro_rules! begins_with {
    ($word:expr, $text:expr) => {{
        const WORD: u64 = word_of($text);
        const SHIFT: u32 = 64 - 8 * $text.len() as u32;
        $word >> SHIFT == WORD
    }};
}

/// What a look has come across; offsets point behind what was found, 0: nothing.
///
/// In memory, as [`TextMarks`] are.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Found {
    /// Behind "CSeq".
    pub cseq: u16,
    /// Behind "User-Age".
    pub user_agent: u16,
    /// Where a value begins.
    pub value: u16,
    /// How many Call-IDs there are.
    pub call_ids: u16,
}

impl Found {
    /// Nothing.
    pub const NOTHING: Self = Self { cseq: 0, user_agent: 0, value: 0, call_ids: 0 };
}

/// Looks at the first `len` bytes; `part` stands for [`part`], which the kernel calls as a function of its own.
#[inline(always)]
pub fn look(
    text: &[u8; SIGHTING_TEXT_LEN],
    len: usize,
    marks: &mut TextMarks,
    found: &mut Found,
    part: impl Fn(&mut TextMarks, &mut Found, usize) -> bool,
) {
    *marks = TextMarks::NONE;
    *found = Found::NOTHING;
    let len = if len > LOOKED_AT_MAX { LOOKED_AT_MAX } else { len };
    marks.looked_at = len as u16;
    let mut from = 0;
    while from < LOOKED_AT_MAX {
        if from >= len || part(marks, found, from) {
            break;
        }
        from += PART_LEN;
    }
    // Another function may have written there.
    let (marks, found) = (core::hint::black_box(marks), core::hint::black_box(found));
    if found.cseq != 0 {
        let at = value(text, found.cseq as usize, &mut found.value, |byte| !byte.is_ascii_alphabetic());
        let method = Method::at_start_of(&bytes(text, at));
        // Behind the end stands what an earlier message left.
        let method = method.filter(|method| at + method.name().len() <= len);
        marks.cseq_method = method.map_or(0, |method| method as u16 + 1);
    }
    if found.user_agent != 0 {
        let colon = value(text, found.user_agent as usize, &mut found.value, |byte| byte != b':');
        let at = value(text, colon + 1, &mut found.value, |byte| byte <= b' ');
        if at + WORD_LEN <= len && is_scanner(lower_word(text, at)) {
            marks.is_scanner = 1;
        }
    }
}

/// Looks at [`PART_LEN`] bytes from `from` on, of `len` in all; whether the headers end among them.
#[inline(always)]
pub fn part(
    text: &[u8; SIGHTING_TEXT_LEN],
    len: usize,
    marks: &mut TextMarks,
    found: &mut Found,
    from: usize,
) -> bool {
    let mut step = 0;
    while step < PART_LEN {
        let at = (from & PLACE_MASK) + step;
        if at >= len {
            return false;
        }
        // What was found stays in memory: in registers, each way to have found it would be followed on its own.
        let (marks, found) = (core::hint::black_box(&mut *marks), core::hint::black_box(&mut *found));
        match text[at] {
            b'\n' => {
                if marks.start_line == 0 {
                    marks.start_line = at as u16 + 1;
                }
                if let Some(end) = blank_line(text, at + 1, len) {
                    marks.blank_line = end as u16;
                    return true;
                }
                header(text, at + 1, len, marks, found);
            }
            b'\r' if at + 1 < len && text[at + 1] != b'\n' => marks.is_ambiguous = 1,
            b' ' if marks.start_line == 0 => marks.spaces += 1,
            b's' | b'S' if marks.start_line != 0 && at + WORD_LEN <= len && is_version(text, at) => {
                marks.is_ambiguous = 1;
            }
            b'@' | b'"' if at + 1 + WORD_LEN <= len => name(text, at + 1, marks),
            _ => {}
        }
        step += 1;
    }
    false
}

/// Whether SIP's version stands there as in a start line: in a Via header a slash follows (RFC 3261 section 20.42).
///
/// In a stream of TCP nobody but the receiver knows where it goes on to read: behind a body, say, or behind what it
/// had before. Where no other start line stands, there is none to be read.
#[inline(always)]
fn is_version(text: &[u8; SIGHTING_TEXT_LEN], at: usize) -> bool {
    let word = u64::from_be_bytes(bytes(text, at)) | 0x2020_2000_0000_0000;
    begins_with!(word, b"sip/2.0") && word as u8 != b'/'
}

/// Looks at the header that begins at `at`; behind `len` stands what an earlier message left.
#[inline(always)]
fn header(text: &[u8; SIGHTING_TEXT_LEN], at: usize, len: usize, marks: &mut TextMarks, found: &mut Found) {
    let name = lower_word(text, at);
    let is_compact = is_compact_call_id(name);
    if at + (if is_compact { 2 } else { WORD_LEN }) > len {
        return;
    }
    if begins_with!(name, b"cseq") {
        marks.cseqs += 1;
        found.cseq = at as u16 + 4;
    } else if begins_with!(name, b"call-id") || is_compact {
        found.call_ids += 1;
        // The reply to it names one of them, and servers differ in which.
        if found.call_ids > 1 {
            marks.is_ambiguous = 1;
        }
    } else if begins_with!(name, b"user-age") {
        found.user_agent = at as u16 + 8;
    } else if begins_with!(name, b"authoriz") || begins_with!(name, b"proxy-au") {
        marks.has_credentials = 1;
    }
}

/// Whether a line in lower case begins with the compact form of Call-ID (RFC 3261 section 7.3.3).
#[inline(always)]
fn is_compact_call_id(line: u64) -> bool {
    const TAB: u64 = b'\t' as u64 | 0x20;
    let [name, next] = [line >> 56, line >> 48 & 0xff];
    name == b'i' as u64 && (next == b':' as u64 || next == b' ' as u64 || next == TAB)
}

/// What SIPVicious writes into From, To and Contact.
#[inline(always)]
fn name(text: &[u8; SIGHTING_TEXT_LEN], at: usize, marks: &mut TextMarks) {
    let name = lower_word(text, at);
    if begins_with!(name, b"1.1.1.1") || begins_with!(name, b"sipvicio") {
        marks.is_scanner = 1;
    }
}

/// [`look`] with [`part`] in place.
pub fn look_alone(text: &[u8; SIGHTING_TEXT_LEN], len: usize) -> TextMarks {
    let mut marks = TextMarks::NONE;
    look(text, len, &mut marks, &mut { Found::NOTHING }, |marks, found, from| {
        part(text, marks.looked_at.into(), marks, found, from)
    });
    marks
}

/// The end of a blank line that begins at `at`.
#[inline(always)]
fn blank_line(text: &[u8; SIGHTING_TEXT_LEN], at: usize, len: usize) -> Option<usize> {
    if at < len && text[at] == b'\n' {
        return Some(at + 1);
    }
    (at + 1 < len && text[at] == b'\r' && text[at + 1] == b'\n').then_some(at + 2)
}

/// Eight bytes as a number, the first one highest, letters in lower case; other bytes may change too.
#[inline(always)]
fn lower_word(text: &[u8; SIGHTING_TEXT_LEN], at: usize) -> u64 {
    u64::from_be_bytes(bytes(text, at)) | 0x2020_2020_2020_2020
}

/// The first place from `at` on whose byte is not to be skipped.
///
/// By way of memory: the verifier goes through what follows once, not once for each length of the gap.
#[inline(always)]
fn value(text: &[u8; SIGHTING_TEXT_LEN], at: usize, place: &mut u16, skips: impl Fn(u8) -> bool) -> usize {
    let mut gap = 0;
    while gap < GAP_MAX && skips(text[(at + gap) & PLACE_MASK]) {
        gap += 1;
    }
    *place = (at + gap) as u16;
    *core::hint::black_box(place) as usize
}

/// Every place that is looked at, and some more.
const PLACE_MASK: usize = 0x7ff;
const _: () = assert!(
    LOOKED_AT_MAX + 2 * GAP_MAX + 8 < PLACE_MASK && PLACE_MASK + PART_LEN + METHOD_BYTES < SIGHTING_TEXT_LEN
);

#[inline(always)]
fn bytes<const N: usize>(text: &[u8; SIGHTING_TEXT_LEN], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&text[at & PLACE_MASK..][..N]);
    bytes
}

#[inline(always)]
fn is_scanner(name: u64) -> bool {
    macro_rules! is_any {
        ($($number:literal)*) => { $(begins_with!(name, SCANNERS[$number].as_bytes()))||* };
    }
    is_any!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(text: &str) -> TextMarks {
        let mut bytes = [0xee; SIGHTING_TEXT_LEN];
        let len = text.len().min(SIGHTING_TEXT_LEN);
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        look_alone(&bytes, text.len())
    }

    const REGISTER: &str =
        "REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1\r\nCSeq: 1 REGISTER\r\n";

    #[test]
    fn a_plain_request_is_read() {
        let text = std::format!("{REGISTER}User-Agent: Phone/1.0\r\n\r\n");
        let found = marks(&text);
        assert_eq!(found.method(), Some(Method::Register));
        assert_eq!((found.cseqs, found.spaces, found.has_credentials, found.is_scanner), (1, 2, 0, 0));
        assert_eq!((found.blank_line as usize, found.looked_at as usize), (text.len(), text.len()));
        assert_eq!(found.start_line, 34);
    }

    #[test]
    fn header_names_are_taken_in_any_case_and_spacing() {
        for line in
            ["CSEQ:1 REGISTER", "cseq  :  4294967295\t REGISTER", "CSeq:\r\n 7 REGISTER", "cSeQ: 1 REGISTER "]
        {
            let found = marks(&std::format!("REGISTER sip:x SIP/2.0\n{line}\n\n"));
            assert_eq!(found.method(), Some(Method::Register), "{line:?}");
            assert!(found.blank_line > 0);
        }
    }

    #[test]
    fn what_looks_like_a_header_elsewhere_is_none() {
        let text = "REGISTER sip:x SIP/2.0\r\nSubject: x CSeq: 1 OPTIONS\r\nCSeq: 1 REGISTER\r\n\r\n\ncseq: 2 INVITE\r\n";
        let found = marks(text);
        assert_eq!((found.method(), found.cseqs), (Some(Method::Register), 1));
        assert!((found.blank_line as usize) < text.len());
    }

    #[test]
    fn two_cseqs_are_counted_and_none_is_none() {
        let twice = std::format!("{REGISTER}CSeq: 1 INVITE\r\n\r\n");
        assert_eq!(marks(&twice).cseqs, 2);
        assert_eq!((marks("REGISTER sip:x SIP/2.0\r\n\r\n").cseqs, marks("").cseqs), (0, 0));
        assert_eq!(marks("REGISTER sip:x SIP/2.0\r\nCSeq: 1 FETCH\r\n\r\n").method(), None);
        assert_eq!(marks("REGISTER sip:x SIP/2.0\r\nCSeq: 1 REGISTERED\r\n\r\n").method(), None);
    }

    #[test]
    fn credentials_and_scanners_are_seen() {
        for line in ["Authorization: Digest x", "proxy-authorization: Digest x"] {
            assert_eq!(marks(&std::format!("{REGISTER}{line}\r\n\r\n")).has_credentials, 1, "{line}");
        }
        for line in [
            "User-Agent: friendly-scanner",
            "user-agent :\t sipcli/v1.8",
            "USER-AGENT:PPLSIP",
            "Contact: <sip:123@1.1.1.1>",
            "From: \"SIPVicious\" <sip:100@192.0.2.9>",
            "User-Agent: Gulp",
        ] {
            assert_eq!(marks(&std::format!("{REGISTER}{line}\r\n\r\n")).is_scanner, 1, "{line}");
        }
        for line in [
            "User-Agent: Yealink",
            "User-Agent:",
            "Server: sipcli",
            "User-Agent: My friendly phone",
            "X: a@1.1.1.",
        ] {
            assert_eq!(marks(&std::format!("{REGISTER}{line}\r\n\r\n")).is_scanner, 0, "{line}");
        }
    }

    #[test]
    fn what_servers_may_read_otherwise_is_ambiguous() {
        for line in [
            "Subject: x\rAuthorization: Digest x",
            "Subject: x\r\r",
            "X: SIP/2.0 200 OK",
            "sip/2.0 200 OK",
            "INVITE sip:x SIP/2.0",
            "X: y SIP/2.0\t",
            "Call-ID: a\r\ni: b",
            "i : a\r\ncall-id\t: b",
            "I\t: a\r\nCALL-ID: a",
        ] {
            assert_eq!(marks(&std::format!("{REGISTER}{line}\r\n\r\n")).is_ambiguous, 1, "{line:?}");
        }
        for line in [
            "Via: SIP/2.0/TCP x",
            "v: sip/2.0/udp x",
            "Reason: SIP;cause=200",
            "X: <sip:2.0>",
            "Identity: x\r\ni: y",
            "Y: SIP/2.0",
        ] {
            let rest = if line == "Y: SIP/2.0" { "/" } else { "\r\n\r\n" };
            assert_eq!(marks(&std::format!("{REGISTER}{line}{rest}")).is_ambiguous, 0, "{line:?}");
        }
        assert_eq!(marks(&std::format!("{REGISTER}Call-ID: a\ni:x\n\n")).is_ambiguous, 1);
        // Cut before its colon it is no header.
        assert_eq!(marks(&std::format!("{REGISTER}Call-ID: a\nCall-ID")).is_ambiguous, 0);
        assert_eq!(marks(&std::format!("{REGISTER}Call-ID: a\nCall-ID:")).is_ambiguous, 1);
        // Behind the headers stands what a datagram carries.
        assert_eq!(marks(&std::format!("{REGISTER}\r\nSIP/2.0 200 OK\r\n")).is_ambiguous, 0);
    }

    #[test]
    fn no_more_is_looked_at_than_said() {
        let long = std::format!(
            "REGISTER sip:x SIP/2.0\r\nX: {}\r\nCSeq: 1 REGISTER\r\n\r\n",
            "x".repeat(LOOKED_AT_MAX)
        );
        let found = marks(&long);
        assert_eq!((found.looked_at as usize, found.cseqs), (LOOKED_AT_MAX, 0));
    }
}
