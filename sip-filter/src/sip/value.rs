//! What header values are made of: words, lists, addresses, parameters, Digest (RFC 3261 sections 20, 22 and 25).
//!
//! A line end within a value is a fold, and counts as a space. Every function looks at each byte a fixed number of
//! times.

use std::borrow::Cow;

/// A contact of a REGISTER, or of the reply to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact<'a> {
    /// As it stands: this is where the peer says that it is, which is not where it is.
    pub uri: &'a [u8],
    /// Its parameter of that name in seconds; what does not fit is [`u32::MAX`], and none what is no number.
    pub expires: Option<u32>,
}

/// A Digest challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// Without quotes and escapes, never empty.
    pub nonce: Cow<'a, [u8]>,
    /// The answer was right but for its nonce, which is too old (RFC 7616 section 3.3).
    pub stale: bool,
}

/// How long a nonce is at most that answers are looked through for: several times what servers make.
const NONCE_MAX: usize = 256;

/// True for spaces, tabs and the line ends of folds.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Without the spaces around it.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let Some(begin) = bytes.iter().position(|byte| !is_space(*byte)) else {
        return &[];
    };
    let end = bytes.iter().rposition(|byte| !is_space(*byte)).map_or(0, |last| last + 1);
    &bytes[begin..end]
}

/// The first word, and what follows without the spaces around it.
pub(super) fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let bytes = trim(bytes);
    let end = bytes.iter().position(|byte| is_space(*byte)).unwrap_or(bytes.len());
    (&bytes[..end], trim(&bytes[end..]))
}

/// True for a token (section 25.1).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(byte))
}

/// A decimal number; what does not fit is [`u32::MAX`].
pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u32, digit: &u8| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
    Some(bytes.iter().fold(0, add))
}

/// The items of a list, trimmed; separators in quoted strings and in `<>` separate nothing.
pub(super) fn items(list: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(list);
    // Once a quote has no other, none behind it has: looking again for each would cost the square of the length.
    let mut quotes = true;
    std::iter::from_fn(move || {
        let bytes = rest?;
        let end = end_of_item(bytes, separator, &mut quotes);
        rest = bytes.get(end + 1..);
        Some(trim(&bytes[..end]))
    })
}

fn end_of_item(bytes: &[u8], separator: u8, quotes: &mut bool) -> usize {
    let mut at = 0;
    let mut bracketed = false;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' if *quotes && !bracketed => match end_of_quoted(&bytes[at..]) {
                Some(length) => at += length - 1,
                None => *quotes = false,
            },
            b'<' => bracketed = true,
            b'>' => bracketed = false,
            byte if *byte == separator && !bracketed => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// The length of the quoted string that these bytes begin with, its quotes included; none where it does not end.
fn end_of_quoted(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The URI of a name-addr or addr-spec, and the parameters behind it.
pub(super) fn address(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let (uri, parameters) = match bracket(value) {
        Some(open) => {
            let inside = &value[open + 1..];
            let close = inside.iter().position(|byte| *byte == b'>')?;
            (trim(&inside[..close]), &inside[close + 1..])
        }
        // Without brackets, parameters are the header's (section 20.10).
        None => {
            let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
            let (uri, behind) = word(&value[..end]);
            (if behind.is_empty() { uri } else { &[] }, &value[end..])
        }
    };
    (!uri.is_empty()).then_some((uri, parameters))
}

/// Where the `<` is that does not stand in a quoted display name.
fn bracket(value: &[u8]) -> Option<usize> {
    let begin = match value.first()? {
        b'"' => end_of_quoted(value).unwrap_or(0),
        _ => 0,
    };
    value[begin..].iter().position(|byte| *byte == b'<').map(|at| begin + at)
}

/// Reads one contact; none for `*`.
pub(super) fn contact(item: &[u8]) -> Option<Contact<'_>> {
    let (uri, parameters) = address(item).filter(|(uri, _)| *uri != b"*")?;
    let expires = items(parameters, b';').filter_map(parameter).find(|(name, _)| is(name, "expires"));
    Some(Contact { uri, expires: expires.and_then(|(_, value)| number(trim(&unquoted(value)))) })
}

/// Name and value of a parameter, its quotes included.
fn parameter(item: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = item.iter().position(|byte| *byte == b'=')?;
    Some((trim(&item[..equals]), trim(&item[equals + 1..])))
}

fn is(name: &[u8], other: &str) -> bool {
    name.eq_ignore_ascii_case(other.as_bytes())
}

/// A value without quotes, escapes and what folds it.
fn unquoted(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(inside) = value.strip_prefix(b"\"") else {
        return value.into();
    };
    let inside = inside.strip_suffix(b"\"").unwrap_or(inside);
    if !inside.iter().any(|byte| matches!(byte, b'\\' | b'\r' | b'\n')) {
        return inside.into();
    }
    let mut plain = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => plain.extend(bytes.next()),
            b'\r' | b'\n' => {}
            byte => plain.push(*byte),
        }
    }
    plain.into()
}

/// The Digest challenges of one header.
pub(super) fn challenges(value: &[u8]) -> impl Iterator<Item = Challenge<'_>> {
    digests(value).filter_map(|found| {
        let nonce = unquoted(found.nonce?);
        let stale = found.stale.is_some_and(|stale| is(&unquoted(stale), "true"));
        (!nonce.is_empty()).then_some(Challenge { nonce, stale })
    })
}

/// Whatever a server may take for the nonce of credentials in one header, at any place: of several of one name some take
/// the first and some the last, and to some a backslash before a quote means nothing.
pub(super) fn nonces(value: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    const NAME: &str = "nonce";
    let behind_names = (0..value.len()).filter_map(|at| {
        let (name, rest) = value[at..].split_at_checked(NAME.len())?;
        is(name, NAME).then(|| trim(rest))
    });
    behind_names.filter_map(|rest| Some(trim(rest.strip_prefix(b"=")?))).flat_map(|text| {
        let (plain, escaped) = match text.strip_prefix(b"\"") {
            Some(inside) => (up_to(inside, |byte| byte == b'"'), end_of_quoted(text).map(|end| &text[..end])),
            None => (up_to(text, |byte| byte == b',' || is_space(byte)), None),
        };
        let escaped = escaped.filter(|escaped| escaped.contains(&b'\\')).map(unquoted);
        // pjsip takes brackets for quotes.
        let bracketed = text.strip_prefix(b"[").map(|inside| up_to(inside, |byte| byte == b']').into());
        let known = |nonce: &Cow<'_, [u8]>| (1..=NONCE_MAX).contains(&nonce.len());
        [Some(plain.into()), escaped, bracketed].into_iter().flatten().filter(known)
    })
}

/// With the bytes that stand behind each `%` as two digits, as pjsip reads names and values without quotes; none where there are
/// none.
pub(super) fn percent_decoded(value: &[u8]) -> Option<Vec<u8>> {
    let decoded = |at: usize| {
        let digits = std::str::from_utf8(value.get(at + 1..at + 3)?).ok()?;
        u8::from_str_radix(digits, 16).ok().filter(|_| value[at] == b'%')
    };
    let mut plain = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        let byte_decoded = decoded(at);
        plain.push(byte_decoded.unwrap_or(*byte));
        at += if byte_decoded.is_some() { 3 } else { 1 };
    }
    (plain.len() < value.len()).then_some(plain)
}

/// The first bytes, which do not end it.
fn up_to(bytes: &[u8], ends: impl Fn(u8) -> bool) -> &[u8] {
    let end = bytes.iter().take(NONCE_MAX + 1).position(|byte| ends(*byte));
    &bytes[..end.unwrap_or(bytes.len())]
}

/// The parameters of one Digest that matter here, quotes included; of several of one name, the first.
#[derive(Debug, Clone, Copy, Default)]
struct Digest<'a> {
    nonce: Option<&'a [u8]>,
    stale: Option<&'a [u8]>,
}

/// Each Digest of a header; what other schemes say is left out.
///
/// Several may stand in one header, separated by the same commas as their parameters (RFC 9110 section 11.6.1).
fn digests(value: &[u8]) -> impl Iterator<Item = Digest<'_>> {
    let mut items = items(value, b',').filter(|item| !item.is_empty());
    let mut current: Option<Digest<'_>> = None;
    std::iter::from_fn(move || {
        for item in items.by_ref() {
            let (name, text) = parameter(item).unwrap_or((item, &[]));
            let (first, second) = word(name);
            // Two words before the equals sign, or no such sign: a scheme begins.
            if !second.is_empty() || name == item {
                let before = current.take();
                current = is(first, "Digest").then(|| Digest::default().with(second, text));
                if before.is_some() {
                    return before;
                }
            } else {
                current = current.map(|digest| digest.with(first, text));
            }
        }
        current.take()
    })
}

impl<'a> Digest<'a> {
    fn with(mut self, name: &[u8], value: &'a [u8]) -> Self {
        let places = [("nonce", &mut self.nonce), ("stale", &mut self.stale)];
        if let Some((_, place)) = places.into_iter().find(|(known, _)| is(name, known)) {
            place.get_or_insert(value);
        }
        self
    }
}
