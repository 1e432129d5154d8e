//! Reads SIP as it really comes (RFC 3261): what a filter needs of a message, over bytes, without ever failing hard.
//!
//! An observer is more forgiving than a SIP server: whatever a server takes must be read here too, and read alike.
//! Nothing is rewritten, judged or answered here, nothing panics, and at most [`LENGTH_MAX`] bytes are looked at.
//! Values are slices of the message, so what is allocated never exceeds what came in.

mod aor;
mod head;
pub mod stream;
mod value;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use self::aor::{aor, canonical_aor, could_be_one, user};
pub use self::value::{Challenge, Contact};

/// How many bytes of a message are looked at: what the largest datagram holds.
pub const LENGTH_MAX: usize = 65_535;

/// How many contacts of one message are kept.
pub const CONTACTS_MAX: usize = 256;

/// How many challenges of one message are kept.
pub const CHALLENGES_MAX: usize = 16;

/// A request or a response, or as much of it as was copied.
///
/// Where a header that may stand once is there several times, the first counts.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    start: Start<'a>,
    /// All that follows the start line.
    rest: &'a [u8],
    /// The blank line was seen.
    complete: bool,
}

/// The first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start<'a> {
    /// Somebody asks.
    Request {
        /// As it stands; methods are case-sensitive (section 7.1), and any token may be one.
        method: &'a [u8],
        /// As it stands, whatever its scheme.
        uri: &'a [u8],
    },
    /// Somebody answers.
    Response {
        /// 100 to 699.
        status: u16,
    },
}

/// What the Contact headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contacts<'a> {
    /// `*`: all bindings of the address of record (section 10.2.2).
    Star,
    /// In the order of the message; may be empty.
    List(Vec<Contact<'a>>),
}

impl<'a> Message<'a> {
    /// Reads a message, or what is there of it; none where the bytes do not begin with a whole start line.
    ///
    /// Line ends and spaces before it are skipped.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let bytes = &bytes[..bytes.len().min(LENGTH_MAX)];
        let begin = bytes.iter().position(|byte| !value::is_space(*byte))?;
        let (line, rest) = head::line(&bytes[begin..])?;
        Some(Self { start: head::start(line)?, rest, complete: head::is_whole(rest) })
    }

    /// The first line.
    pub fn start(&self) -> Start<'a> {
        self.start
    }

    /// The method of a request.
    pub fn method(&self) -> Option<&'a [u8]> {
        match self.start {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            Start::Request { .. } => None,
            Start::Response { status } => Some(status),
        }
    }

    /// Whether the blank line was seen, so that no header is missing.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether a header is there, by its full name in any case; compact forms count.
    pub fn has_header(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// The sequence number and the method of CSeq.
    pub fn cseq(&self) -> Option<(u32, &'a [u8])> {
        let (number, method) = value::word(self.first("CSeq")?);
        let (method, rest) = value::word(method);
        let number = value::number(number)?;
        (value::is_token(method) && rest.is_empty()).then_some((number, method))
    }

    /// Call-ID, which is compared byte by byte (section 20.8).
    pub fn call_id(&self) -> Option<&'a [u8]> {
        self.first("Call-ID").filter(|id| !id.is_empty())
    }

    /// The URI of From.
    pub fn from_uri(&self) -> Option<&'a [u8]> {
        value::address(self.first("From")?).map(|(uri, _)| uri)
    }

    /// The URI of To: what is registered, in a REGISTER and in the replies to it.
    pub fn to_uri(&self) -> Option<&'a [u8]> {
        value::address(self.first("To")?).map(|(uri, _)| uri)
    }

    /// What all Contact headers say, up to [`CONTACTS_MAX`]; what cannot be read is left out.
    ///
    /// `*` beside others means nothing, and is left out.
    pub fn contacts(&self) -> Contacts<'a> {
        let items = || self.all("Contact").flat_map(|value| value::items(value, b','));
        let list: Vec<_> = items().filter_map(value::contact).take(CONTACTS_MAX).collect();
        if list.is_empty() && items().any(|item| item == b"*") {
            Contacts::Star
        } else {
            Contacts::List(list)
        }
    }

    /// Expires, in seconds; what does not fit is [`u32::MAX`], and none what is no number.
    pub fn expires(&self) -> Option<u32> {
        value::number(self.first("Expires")?)
    }

    /// The Digest challenges of WWW-Authenticate and Proxy-Authenticate, up to [`CHALLENGES_MAX`].
    pub fn challenges(&self) -> Vec<Challenge<'a>> {
        let values = self.all("WWW-Authenticate").chain(self.all("Proxy-Authenticate"));
        values.flat_map(value::challenges).take(CHALLENGES_MAX).collect()
    }

    /// What Authorization and Proxy-Authorization say, as it stands.
    pub fn credentials(&self) -> impl Iterator<Item = &'a [u8]> {
        self.all("Authorization").chain(self.all("Proxy-Authorization"))
    }

    /// Whatever a server may take for the nonce of one of these, without quotes, brackets and escapes and with them; none is
    /// empty.
    pub fn nonces(&self) -> Vec<Cow<'a, [u8]>> {
        let mut nonces = Vec::new();
        for value in self.credentials() {
            nonces.extend(value::nonces(value));
            if let Some(plain) = value::percent_decoded(value) {
                nonces.extend(value::nonces(&plain).map(|nonce| nonce.into_owned().into()));
            }
        }
        nonces
    }

    /// Content-Length in bytes; what does not fit is [`u32::MAX`].
    pub fn content_length(&self) -> Option<u32> {
        value::number(self.first("Content-Length")?)
    }

    /// Every value of a header, by its full name in any case, without the spaces around it.
    ///
    /// A folded value holds its line ends, which count as spaces.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        head::headers(self.rest).filter(move |header| header.is(name)).map(|header| header.value)
    }

    /// The first value of a header.
    fn first(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }
}
