//! The start line, and the lines of headers, of a SIP message: where each begins and ends (RFC 3261 section 7).
//!
//! Knows nothing of what values mean.

use super::Start;
use super::value::{is_space, is_token, number, trim, word};

/// Names of one letter and what they stand for: all that are registered.
const COMPACT: &[(u8, &str)] = &[
    (b'a', "Accept-Contact"),
    (b'b', "Referred-By"),
    (b'c', "Content-Type"),
    (b'd', "Request-Disposition"),
    (b'e', "Content-Encoding"),
    (b'f', "From"),
    (b'i', "Call-ID"),
    (b'j', "Reject-Contact"),
    (b'k', "Supported"),
    (b'l', "Content-Length"),
    (b'm', "Contact"),
    (b'n', "Identity-Info"),
    (b'o', "Event"),
    (b'r', "Refer-To"),
    (b's', "Subject"),
    (b't', "To"),
    (b'u', "Allow-Events"),
    (b'v', "Via"),
    (b'x', "Session-Expires"),
    (b'y', "Identity"),
];

/// One header, folded or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header<'a> {
    /// As it stands, without the spaces before the colon.
    name: &'a [u8],
    /// Without the spaces around it; the line ends of a folded value are still in it.
    pub value: &'a [u8],
}

impl Header<'_> {
    /// Whether this is the header of that full name.
    pub(super) fn is(&self, name: &str) -> bool {
        let full = match self.name {
            [letter] => COMPACT.iter().find(|(compact, _)| compact.eq_ignore_ascii_case(letter)),
            _ => None,
        };
        full.map_or(self.name, |(_, full)| full.as_bytes()).eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The first line without its end, and what follows; none where the end is missing.
///
/// Only LF ends a line, with or without a CR before it: a CR alone would let what one server takes for one header be
/// two here.
pub(super) fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), &bytes[end + 1..]))
}

/// Reads a start line.
pub(super) fn start(line: &[u8]) -> Option<Start<'_>> {
    let (first, rest) = word(line);
    if is_version(first) {
        let (status, _reason) = word(rest);
        let status = number(status).filter(|_| status.len() == 3)?;
        let status = u16::try_from(status).ok().filter(|status| (100..700).contains(status))?;
        return Some(Start::Response { status });
    }
    // Clients that do not escape put spaces into URIs, so the version is what stands behind the last one.
    let version = rest.iter().rposition(|byte| is_space(*byte))?;
    let uri = trim(&rest[..version]);
    let whole = is_token(first) && !uri.is_empty() && is_version(&rest[version + 1..]);
    whole.then_some(Start::Request { method: first, uri })
}

fn is_version(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"SIP/2.0")
}

/// Whether the blank line behind the headers is there.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((text, behind)) = line(rest) {
        if text.is_empty() {
            return true;
        }
        rest = behind;
    }
    false
}

/// The headers up to the blank line, or up to the last one that is known to be whole.
///
/// Lines that are no headers are left out, with what is folded onto them.
pub(super) fn headers(bytes: &[u8]) -> impl Iterator<Item = Header<'_>> {
    let mut rest = bytes;
    let raw = std::iter::from_fn(move || {
        let (header, behind) = header(rest)?;
        rest = behind;
        Some(header)
    });
    raw.filter_map(|header| {
        let colon = header.iter().position(|byte| *byte == b':')?;
        // A line that begins with a space is folded onto the start line.
        let name = header[..colon].trim_ascii_end();
        is_token(name).then(|| Header { name, value: trim(&header[colon + 1..]) })
    })
}

/// The first header with all that is folded onto it, and what follows.
///
/// What follows must have begun, since it might be folded onto the header.
fn header(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, mut rest) = line(bytes)?;
    if first.is_empty() {
        return None;
    }
    while matches!(rest.first()?, b' ' | b'\t') {
        (_, rest) = line(rest)?;
    }
    Some((&bytes[..bytes.len() - rest.len()], rest))
}
