//! Addresses of record in one normal form, whoever writes them (RFC 3261 sections 10.3 and 19.1.4): the wire, the
//! operator and PBXs.
//!
//! Knows no server's data: whether a domain is a server's own is not asked.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

/// The address of record that a SIP, SIPS or tel URI names on the wire, canonical; none where it is something else, names
/// no user, or where servers would not agree whom it names.
pub fn aor(uri: &[u8]) -> Option<String> {
    let (scheme, rest) = scheme(uri.trim_ascii())?;
    match scheme {
        Scheme::Sip => user_at_host(rest),
        Scheme::Tel => Some(number(rest)).filter(|aor| !aor.is_empty()),
    }
}

/// An address of record as whoever writes it means it: a URI, "user@domain", or "user" where the domain goes without
/// saying; empty where it names no user. What is canonical stays as it is.
///
/// "user@domain", or "user" where no domain is known: without scheme, password, port, parameters, headers and angle
/// brackets, in lower case. What an escape stands for may stand as itself is decoded, and all else is an escape, so that
/// the text is plain and has one `@` at most. Users are told apart by case in RFC 3261, but by few SIP servers, and an
/// operator who writes "Alice" hardly means somebody else than "alice".
pub fn canonical_aor(text: &str) -> String {
    let bracketed = text.rsplit_once('<').map_or(text, |(_, uri)| uri);
    let bracketed = bracketed.split('>').next().unwrap_or_default().trim_ascii().as_bytes();
    aor(text.as_bytes()).or_else(|| aor(bracketed)).unwrap_or_else(|| incomplete(bracketed))
}

/// What is no whole URI: its scheme goes without saying, or its domain, or both.
fn incomplete(bytes: &[u8]) -> String {
    let (rest, end): (&[u8], &[u8]) = match scheme(bytes) {
        Some((Scheme::Tel, _)) => return String::new(),
        Some((Scheme::Sip, rest)) => (rest, b":;?"),
        None => (bytes, b";?"),
    };
    // A PBX may write it so that keeps no domains.
    let rest = rest.strip_suffix(b"@").unwrap_or(rest);
    if rest.contains(&b'@') { user_at_host(rest).unwrap_or_default() } else { canonical(until(rest, end)) }
}

/// Whether a registration could belong to both, canonical: one without a domain stands for that user of every domain.
pub fn could_be_one(one: &str, other: &str) -> bool {
    let ((user, domain), (other_user, other_domain)) = (parts(one), parts(other));
    user == other_user && (domain.is_empty() || other_domain.is_empty() || domain == other_domain)
}

/// The user of an address of record, canonical; two that could be one have the same.
pub fn user(aor: &str) -> &str {
    parts(aor).0
}

fn parts(aor: &str) -> (&str, &str) {
    aor.rsplit_once('@').unwrap_or((aor, ""))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Sip,
    Tel,
}

fn scheme(uri: &[u8]) -> Option<(Scheme, &[u8])> {
    let colon = uri.iter().position(|byte| *byte == b':')?;
    let (scheme, rest) = (&uri[..colon], &uri[colon + 1..]);
    let is = |name: &[u8]| scheme.eq_ignore_ascii_case(name);
    let known = if is(b"tel") { Scheme::Tel } else { Scheme::Sip };
    (known == Scheme::Tel || is(b"sip") || is(b"sips")).then_some((known, rest))
}

/// Numbers are written with and without separators for the eye (RFC 3966 section 5.1.1).
fn number(bytes: &[u8]) -> String {
    let mut user = canonical(until(bytes, b";"));
    // Only here, since a separator may have been an escape.
    user.retain(|character| !"-.()".contains(character));
    user
}

fn until<'a>(bytes: &'a [u8], ends: &[u8]) -> &'a [u8] {
    bytes.split(|byte| ends.contains(byte)).next().unwrap_or_default()
}

fn user_at_host(bytes: &[u8]) -> Option<String> {
    let at = bytes.iter().position(|byte| *byte == b'@')?;
    // Behind the colon is a password.
    let user = until(&bytes[..at], b":");
    let host = host(&bytes[at + 1..])?;
    (!user.is_empty()).then(|| format!("{}@{host}", canonical(user)))
}

/// The host in front of port, parameters and headers; none where that is no host.
fn host(bytes: &[u8]) -> Option<String> {
    let (host, behind) = match bytes.first()? {
        b'[' => bytes.split_at(bytes.iter().position(|byte| *byte == b']')? + 1),
        _ => bytes.split_at(bytes.iter().position(|byte| b":;?".contains(byte)).unwrap_or(bytes.len())),
    };
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(byte);
    let whole = !host.is_empty()
        && host.iter().all(allowed)
        && behind.first().is_none_or(|byte| b":;?".contains(byte));
    let text = str::from_utf8(host).ok().filter(|_| whole)?;
    Some(text.to_ascii_lowercase())
}

/// The byte that an escape at the beginning stands for.
fn escaped(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// What stands in a user part as it is, beside letters and digits (section 25.1); without what would begin parameters or
/// headers where no domain follows.
const USER: &[u8] = b"-_.!~*'()&=+$,/#";

/// Decodes escapes, escapes what is not allowed, and makes it lower case.
fn canonical(user: &[u8]) -> String {
    let mut text = String::with_capacity(user.len());
    let mut rest = user;
    while let [first, behind @ ..] = rest {
        let decoded = escaped(rest);
        rest = if decoded.is_some() { &rest[3..] } else { behind };
        let byte = decoded.unwrap_or(*first).to_ascii_lowercase();
        if byte.is_ascii_alphanumeric() || USER.contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02x}");
        }
    }
    text
}
