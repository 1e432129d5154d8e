//! SIP messages as bytes, sound or odd, for frames to carry.
//!
//! Knows nothing of how the filter reads them.

/// What every request has, beside its CSeq; long, so that what damages a frame's beginning spares what follows.
const COMMON: &str = "Via: SIP/2.0/UDP phone.example.org:5060;rport;branch=z9hG4bK87asdks7\r\n\
    Max-Forwards: 70\r\n\
    From: <sip:alice@example.org>;tag=9fxced76sl\r\n\
    To: <sip:alice@example.org>\r\n\
    Call-ID: 3848276298220188511\r\n";

/// A STUN binding request (RFC 8489 section 5).
pub(crate) const STUN: &[u8] = &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

/// What keeps a binding of NAT, or a connection, alive (RFC 5626 section 3.5.1), and what phones send for that.
pub(crate) const KEEP_ALIVES: &[&[u8]] = &[b"", b"\0", b"\r\n", b"\r\n\r\n", b"\0\0\0\0", STUN];

/// A request with these headers behind the common ones.
pub(crate) fn with_headers(method: &str, headers: &[&str]) -> Vec<u8> {
    let mut text = format!("{method} sip:example.org SIP/2.0\r\n{COMMON}");
    for header in headers {
        text += header;
        text += "\r\n";
    }
    text += "Content-Length: 0\r\n\r\n";
    text.into_bytes()
}

/// A request with its CSeq and one more header.
pub(crate) fn with_header(method: &str, header: &str) -> Vec<u8> {
    with_headers(method, &[&format!("CSeq: 1 {method}"), header])
}

/// A request as a phone sends it.
pub(crate) fn request(method: &str) -> Vec<u8> {
    with_header(method, "User-Agent: Phone/1.0")
}

/// A request of exactly so many bytes, which are more than it needs.
pub(crate) fn request_of_len(method: &str, len: usize) -> Vec<u8> {
    const NAME: &str = "X-Filler: ";
    let rest = len - with_header(method, NAME).len();
    with_header(method, &format!("{NAME}{}", "x".repeat(rest)))
}

/// A reply.
pub(crate) fn reply(status: &str) -> Vec<u8> {
    format!("SIP/2.0 {status}\r\n{COMMON}CSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n").into_bytes()
}
