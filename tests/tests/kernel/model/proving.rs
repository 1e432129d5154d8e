//! Whether a datagram is one by which somebody may try to register, by the words of the README.
//!
//! Takes the message apart as text, line by line. It knows no connection of TCP, since there is none where it is used.

use sip_filter_common::Reason;

/// In the order of their bits in the policy.
const METHODS: [&str; 14] = [
    "REGISTER",
    "OPTIONS",
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "PRACK",
    "SUBSCRIBE",
    "NOTIFY",
    "PUBLISH",
    "INFO",
    "REFER",
    "MESSAGE",
    "UPDATE",
];
/// Those that occur in tests.
const SCANNERS: [&str; 3] = ["friendly-scanner", "sipcli", "pplsip"];
/// A longer message is not judged.
const TEXT_LEN_MAX: usize = 1_536;

/// What somebody may do who may not do everything.
pub(super) struct Allowed {
    /// A bit for each of [`METHODS`].
    pub(super) methods: u32,
    /// Whether a scanner may not even register.
    pub(super) drops_scanners: bool,
}

/// What a datagram asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Wish {
    /// Nothing that costs anything.
    Free(Reason),
    /// A request; within limits, this is its reason.
    Paid(Reason),
}

/// Judges what stands from the transport's header on; `said_len` is how much the IP header says there is.
pub(super) fn wish(transport: &[u8], said_len: Option<usize>, is_tcp: bool, allowed: &Allowed) -> Wish {
    let refused = Wish::Free(Reason::Stranger);
    let Some(said_len) = said_len else { return refused };
    if is_tcp {
        return segment(transport, said_len).unwrap_or(refused);
    }
    let [_, _, _, _, high, low, _, _, rest @ ..] = transport else { return refused };
    let udp_len = usize::from(*high) * 256 + usize::from(*low);
    match udp_len.checked_sub(8) {
        Some(len) if udp_len <= said_len => message(rest, len, allowed),
        _ => refused,
    }
}

/// Only a bare request for a connection is more than nothing.
fn segment(transport: &[u8], said_len: usize) -> Option<Wish> {
    let header_len = usize::from(transport.get(12)? / 16) * 4;
    let flags = transport.get(13)?;
    // SYN, without ACK and without URG, which no request for a connection needs.
    let asks_for_a_connection = flags & 0b0011_0010 == 0b0000_0010;
    let is_bare = header_len >= 20 && header_len == said_len;
    (asks_for_a_connection && is_bare).then_some(Wish::Paid(Reason::Probation))
}

/// A message of `len` bytes, of which the frame need not have all.
fn message(rest: &[u8], len: usize, allowed: &Allowed) -> Wish {
    let is_whole = len <= rest.len();
    let text = &rest[..len.min(rest.len())];
    if is_keep_alive(text, len) {
        return Wish::Free(Reason::Stranger);
    }
    let Some(method) = method(text) else {
        return Wish::Free(if is_reply(text) { Reason::Stranger } else { Reason::NotSip });
    };
    let number = METHODS.iter().position(|known| *known == method).unwrap();
    if allowed.methods >> number & 1 == 0 {
        return Wish::Free(Reason::Stranger);
    }
    if !is_whole || len > TEXT_LEN_MAX {
        return Wish::Paid(Reason::Malformed);
    }
    let [headed, text] = [without_stub(text), text].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    Wish::Paid(request(method, &headed, &text, allowed))
}

fn is_keep_alive(text: &[u8], len: usize) -> bool {
    if len <= 4 {
        return text.len() == len && text.iter().all(|byte| b"\r\n\0".contains(byte));
    }
    len >= 20 && text.len() >= 8 && text[0] < 0x40 && text[4..8] == [0x21, 0x12, 0xa4, 0x42]
}

fn method(text: &[u8]) -> Option<&'static str> {
    // No request is so short that this would matter.
    let start = text.get(..10)?;
    let word = start.split(|byte| *byte <= b' ').next()?;
    METHODS.into_iter().find(|known| known.as_bytes() == word)
}

fn is_reply(text: &[u8]) -> bool {
    let Some(status) = text.strip_prefix(b"SIP/2.0 ") else { return false };
    status.len() >= 4 && status[..3].iter().all(u8::is_ascii_digit)
}

/// Judges a request; `headed` is all of `text` in which headers are looked for.
fn request(method: &str, headed: &str, text: &str, allowed: &Allowed) -> Reason {
    let mut lines = headed.split('\n');
    let start = lines.next().unwrap_or_default();
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines.take_while(|line| !line.trim_end_matches('\r').is_empty()) {
        match (line.strip_prefix([' ', '\t']), headers.last_mut()) {
            (Some(more), Some((_, value))) => *value += more,
            _ => {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                headers.push((name.trim().to_lowercase(), value.trim().to_owned()));
            }
        }
    }
    let head = &text[..text.len() - rest_of(text).len()];
    let is_lone = |(at, _): (usize, &str)| at + 1 < text.len() && !text[at + 1..].starts_with('\n');
    // At the very end nothing follows.
    let behind_start = text.split_once('\n').map_or(text.len(), |(start, _)| start.len() + 1);
    let small = text.to_ascii_lowercase();
    let versions = small.match_indices("sip/2.0").map(|(at, version)| (at, at + version.len()));
    let mut later = versions.filter(|(at, end)| (behind_start..head.len()).contains(at) && *end < text.len());
    let starts_again = later.any(|(_, end)| !text[end..].starts_with('/'));
    if head.match_indices('\r').any(is_lone) || starts_again {
        return Reason::Malformed;
    }
    if headers.iter().filter(|(name, _)| ["call-id", "i"].contains(&name.as_str())).count() > 1 {
        return Reason::Malformed;
    }
    let cseqs: Vec<&String> =
        headers.iter().filter(|(name, _)| name == "cseq").map(|(_, value)| value).collect();
    let [cseq] = cseqs[..] else { return Reason::Malformed };
    if cseq.split_whitespace().last() != Some(method) || start.matches(' ').count() != 2 {
        return Reason::Malformed;
    }
    let is_scanner = headers.iter().any(|(name, value)| {
        let value = value.to_lowercase();
        // Eight bytes tell, where the message has as many from there on.
        let may_tell = value.len() >= 8 || !small.ends_with(&value);
        let begins = |scanner: &str| may_tell && value.starts_with(&scanner[..scanner.len().min(8)]);
        name == "user-agent" && SCANNERS.into_iter().any(begins)
            || value.contains("@1.1.1.1") && !small.ends_with("@1.1.1.1")
    });
    if is_scanner && (method != "REGISTER" || allowed.drops_scanners) {
        return Reason::Scanner;
    }
    Reason::Probation
}

/// All but a last line that is shorter than the eight bytes by which a header is told: `Call-ID`, cut there.
fn without_stub(text: &[u8]) -> &[u8] {
    let Some(end) = text.iter().rposition(|byte| *byte == b'\n') else { return text };
    let last = text[end + 1..].to_ascii_lowercase();
    // The compact form has its colon; a line that goes on has no name.
    let is_more = ["i:", "i ", "i\t", " ", "\t"].iter().any(|begin| last.starts_with(begin.as_bytes()));
    if last.len() < 8 && !is_more { &text[..end] } else { text }
}

/// What stands behind the headers.
fn rest_of(text: &str) -> &str {
    let ends = ["\n\n", "\n\r\n"].map(|end| text.find(end).map(|at| at + end.len()));
    ends.into_iter().flatten().min().map_or("", |end| &text[end..])
}

#[test]
fn a_request_is_told_from_what_only_begins_like_one() {
    let allowed = Allowed { methods: 1, drops_scanners: false };
    let of = |text: &str| message(text.as_bytes(), text.len(), &allowed);
    let register = |rest: &str| of(&format!("REGISTER sip:x SIP/2.0\r\n{rest}\r\n"));
    assert_eq!(register("CSeq: 1 REGISTER\r\n"), Wish::Paid(Reason::Probation));
    assert_eq!(register("cseq:\r\n 1 REGISTER\r\n"), Wish::Paid(Reason::Probation));
    assert_eq!(register("CSeq: 1 INVITE\r\n"), Wish::Paid(Reason::Malformed));
    assert_eq!(register(""), Wish::Paid(Reason::Malformed));
    let ending = |end: &str| of(&format!("REGISTER sip:x SIP/2.0\r\nCSeq: 1 REGISTER\r\ni:a\r\n{end}"));
    assert_eq!(ending("Call-ID"), Wish::Paid(Reason::Probation));
    assert_eq!(ending("Call-ID:"), Wish::Paid(Reason::Malformed));
    assert_eq!(of("INVITE sip:x SIP/2.0\r\n\r\n"), Wish::Free(Reason::Stranger));
    assert_eq!(of("GET / HTTP/1.1\r\n\r\n"), Wish::Free(Reason::NotSip));
}
