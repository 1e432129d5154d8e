//! Addresses of record: whom a URI means, whatever way it is written (RFC 3261 sections 10.3 and 19.1.4).
//!
//! Knows no server's data: whether a domain is a server's own is not asked.

#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};

/// An address of record: a URI without scheme, password, port, parameters and headers.
///
/// Its text is printable ASCII only: escapes that stand for unreserved characters are decoded, everything else that is
/// not allowed in a user part is an escape in upper case. The host is in lower case. The user keeps its case, since
/// users are case-sensitive (section 19.1.4), and so is `==`; to find out whether an operator means this one, ask
/// [`matches`](Self::matches).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Aor {
    user: String,
    /// Empty: not known, or a telephone number's.
    host: String,
}

impl Aor {
    /// Reads a SIP, SIPS or tel URI; none where it is something else or names no user.
    pub fn parse(uri: &[u8]) -> Option<Self> {
        let colon = uri.iter().position(|byte| *byte == b':')?;
        let (scheme, rest) = (&uri[..colon], &uri[colon + 1..]);
        if scheme.eq_ignore_ascii_case(b"tel") {
            return Self::of_number(rest);
        }
        let is_sip = scheme.eq_ignore_ascii_case(b"sip") || scheme.eq_ignore_ascii_case(b"sips");
        if is_sip { Self::of_user_and_host(rest) } else { None }
    }

    /// Reads what an operator or a PBX writes: a URI, "user@domain", or "user" where the domain goes without saying.
    pub fn written(text: &str) -> Option<Self> {
        let text = text.trim();
        let bytes = text.as_bytes();
        Self::parse(bytes).or_else(|| match text.contains('@') {
            true => Self::of_user_and_host(bytes),
            false => (!text.contains(':')).then(|| Self::of_user(bytes, String::new())).flatten(),
        })
    }

    fn of_user_and_host(bytes: &[u8]) -> Option<Self> {
        let at = bytes.iter().position(|byte| *byte == b'@')?;
        let (user, rest) = (&bytes[..at], &bytes[at + 1..]);
        let user = user.split(|byte| *byte == b':').next()?;
        Self::of_user(user, host(rest)?)
    }

    /// Numbers are written with and without separators for the eye (RFC 3966 section 5.1.1).
    fn of_number(bytes: &[u8]) -> Option<Self> {
        let number = bytes.split(|byte| *byte == b';').next()?;
        let mut user = canonical(number);
        // Only here, since a separator may have been an escape.
        user.retain(|character| !"-.()".contains(character));
        (!user.is_empty()).then(|| Self { user, host: String::new() })
    }

    fn of_user(user: &[u8], host: String) -> Option<Self> {
        (!user.is_empty()).then(|| Self { user: canonical(user), host })
    }

    /// The user, in the case in which it came.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The domain or address, in lower case; none where it is not known.
    pub fn host(&self) -> Option<&str> {
        (!self.host.is_empty()).then_some(&*self.host)
    }

    /// Whether an operator who writes "user", "user@domain" or a URI means this one.
    ///
    /// Users are compared in any (ASCII) case and with every escape decoded, since SIP servers differ in both, and an
    /// operator who writes "Alice" hardly means somebody else than "alice". Domains are compared where both sides name
    /// one: "user" is that user of any domain, and a PBX that reports users only is met by "user@domain".
    pub fn matches(&self, written: &str) -> bool {
        Self::written(written).is_some_and(|other| self.is_same(&other))
    }

    /// Compares as [`matches`](Self::matches) does.
    pub fn is_same(&self, other: &Self) -> bool {
        let hosts = self.host.is_empty() || other.host.is_empty() || self.host == other.host;
        hosts && unescape(self.user.as_bytes()).eq_ignore_ascii_case(&unescape(other.user.as_bytes()))
    }
}

impl fmt::Display for Aor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.user)?;
        if self.host.is_empty() { Ok(()) } else { write!(formatter, "@{}", self.host) }
    }
}

/// The canonical text of the address of record that a URI names; see [`Aor`].
pub fn aor(uri: &[u8]) -> Option<String> {
    Aor::parse(uri).map(|aor| aor.to_string())
}

/// Whether two written addresses of record mean the same; see [`Aor::matches`].
pub fn same_aor(one: &str, other: &str) -> bool {
    Aor::written(one).is_some_and(|aor| aor.matches(other))
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

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte)
}

/// Decodes escapes of unreserved characters, and escapes what may not stand in a user part.
fn canonical(user: &[u8]) -> String {
    let mut text = String::with_capacity(user.len());
    let mut rest = user;
    while let [first, behind @ ..] = rest {
        let decoded = escaped(rest);
        rest = if decoded.is_some() { &rest[3..] } else { behind };
        let byte = decoded.unwrap_or(*first);
        let plain = is_unreserved(byte) || (decoded.is_none() && b"&=+$,;?/#".contains(&byte));
        if plain {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Decodes every escape.
fn unescape(user: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(user.len());
    let mut rest = user;
    while let [first, behind @ ..] = rest {
        let decoded = escaped(rest);
        rest = if decoded.is_some() { &rest[3..] } else { behind };
        plain.push(decoded.unwrap_or(*first));
    }
    plain
}
