//! Addresses of record in one normal form, whoever writes them (RFC 3261 sections 10.3 and 19.1.4): the wire, the
//! operator and PBXs.
//!
//! Knows no server's data: whether a domain is a server's own is not asked.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

/// The address of record that a SIP, SIPS or tel URI names on the wire; none where it is something else, names no user,
/// or where servers would not agree whom it names. See [`canonical_aor`].
pub fn aor(uri: &[u8]) -> Option<String> {
    let (scheme, rest) = scheme(uri)?;
    if scheme == Scheme::Tel {
        return Some(number(rest)).filter(|aor| !aor.is_empty());
    }
    let at = rest.iter().position(|byte| *byte == b'@')?;
    let user = without_password(&rest[..at]);
    let host = host(&rest[at + 1..])?;
    (!user.is_empty()).then(|| format!("{}@{host}", canonical(user, USER)))
}

/// An address of record as whoever writes it means it: a URI, "user@domain", or "user" where the domain goes without
/// saying; empty where nothing is written. What is canonical stays as it is.
///
/// "user@domain", or "user" where no domain is known: without scheme, password, port, parameters, headers and angle
/// brackets, in lower case. Escapes are decoded, and what may not stand in a user part is an escape, so that the text is
/// plain and has one `@` at most. Users are told apart by case and by escapes in RFC 3261, but by few SIP servers, and an
/// operator who writes "Alice" hardly means somebody else than "alice".
pub fn canonical_aor(text: &str) -> String {
    let text = text.rsplit_once('<').map_or(text, |(_, uri)| uri);
    let text = text.split('>').next().unwrap_or_default().trim();
    if let Some(aor) = aor(text.as_bytes()) {
        return aor;
    }
    let (scheme, bytes) = match scheme(text.as_bytes()) {
        Some((Scheme::Tel, rest)) => return number(rest),
        Some((Scheme::Sip, rest)) => (true, rest),
        None => (false, text.as_bytes()),
    };
    let Some(at) = bytes.iter().rposition(|byte| *byte == b'@') else {
        let end: &[u8] = if scheme { b":;?" } else { b";?" };
        return canonical(until(bytes, end), ALONE);
    };
    let user = without_password(&bytes[..at]);
    match host(&bytes[at + 1..]) {
        Some(host) if !user.is_empty() => format!("{}@{host}", canonical(user, USER)),
        Some(_) => String::new(),
        None => canonical(until(user, b";?"), ALONE),
    }
}

/// Whether a registration could belong to both, canonical: one without a domain stands for that user of every domain.
pub fn could_be_one(one: &str, other: &str) -> bool {
    let parts = |aor| str::rsplit_once(aor, '@').unwrap_or((aor, ""));
    let ((user, domain), (other_user, other_domain)) = (parts(one), parts(other));
    user == other_user && (domain.is_empty() || other_domain.is_empty() || domain == other_domain)
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
    let mut user = canonical(until(bytes, b";"), ALONE);
    // Only here, since a separator may have been an escape.
    user.retain(|character| !"-.()".contains(character));
    user
}

fn until<'a>(bytes: &'a [u8], ends: &[u8]) -> &'a [u8] {
    bytes.split(|byte| ends.contains(byte)).next().unwrap_or_default()
}

fn without_password(user: &[u8]) -> &[u8] {
    until(user, b":")
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

/// What stands in a user part as it is, beside letters and digits (section 25.1).
const USER: &[u8] = b"-_.!~*'()&=+$,;?/#";
/// The same where no domain follows: parameters would follow these then.
const ALONE: &[u8] = b"-_.!~*'()&=+$,/#";

/// Decodes escapes, escapes what is not allowed, and makes it lower case.
fn canonical(user: &[u8], allowed: &[u8]) -> String {
    let mut text = String::with_capacity(user.len());
    let mut rest = user;
    while let [first, behind @ ..] = rest {
        let decoded = escaped(rest);
        rest = if decoded.is_some() { &rest[3..] } else { behind };
        let byte = decoded.unwrap_or(*first).to_ascii_lowercase();
        if byte.is_ascii_alphanumeric() || allowed.contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02x}");
        }
    }
    text
}
