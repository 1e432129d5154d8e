//! Prefixes as people write them, and as the policy keeps them.
//!
//! The file, the command line and the live changes all read a prefix here, so that they agree.
//! Nothing here resolves a name or opens a file.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

/// The bits before the IPv4 part of an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// Reads an address or a prefix, IPv4 or IPv6; an address is a prefix of full length.
///
/// # Errors
///
/// A [`PrefixError`] that says what is wrong and what to write instead.
pub fn parse_prefix(text: &str) -> Result<IpNet, PrefixError> {
    if text.starts_with("preset:") {
        return Err(PrefixError::Preset { text: text.to_owned() });
    }
    if text.starts_with("file:") {
        return Err(PrefixError::File { text: text.to_owned() });
    }
    let (address_text, length_text) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(address) = address_text.parse::<IpAddr>() else {
        return Err(unreadable(text));
    };
    let host = IpNet::from(address);
    let Some(length_text) = length_text else {
        return Ok(canonical(host));
    };
    let digits_only = length_text.bytes().all(|byte| byte.is_ascii_digit());
    let length = length_text.parse::<u8>().ok().filter(|_| digits_only);
    let Some(prefix) = length.and_then(|length| IpNet::new(address, length).ok()) else {
        return Err(PrefixError::Length { text: text.to_owned(), length_max: host.max_prefix_len() });
    };
    if prefix.trunc() != prefix {
        return Err(PrefixError::HostBits { text: text.to_owned(), network: prefix.trunc(), host });
    }
    Ok(canonical(prefix))
}

/// The one form in which the policy keeps a prefix: no bits behind its length, and IPv4 where it is IPv4-mapped IPv6.
pub fn canonical(prefix: IpNet) -> IpNet {
    let prefix = prefix.trunc();
    let IpNet::V6(v6) = prefix else {
        return prefix;
    };
    let mapped: Option<Ipv4Addr> = v6.network().to_ipv4_mapped();
    let length = v6.prefix_len().checked_sub(MAPPED_BITS);
    match mapped.zip(length).and_then(|(address, length)| Ipv4Net::new(address, length).ok()) {
        Some(v4) => IpNet::V4(v4),
        None => prefix,
    }
}

/// The longest of these sorted entries that holds all of `prefix`.
pub(crate) fn longest_cover<'a>(entries: &'a [IpNet], prefix: &IpNet) -> Option<&'a IpNet> {
    covers(entries, prefix).next()
}

/// Those of these sorted entries that hold all of `prefix`, the longest first.
///
/// Asks for each length there can be, which is logarithmic in the number of entries.
pub(super) fn covers<'a>(entries: &'a [IpNet], prefix: &IpNet) -> impl Iterator<Item = &'a IpNet> {
    let outer = std::iter::successors(Some(*prefix), IpNet::supernet);
    outer.filter_map(|outer| entries.binary_search(&outer).ok().map(|place| &entries[place]))
}

/// Those of these sorted entries that lie inside `prefix` and are longer than it, in order.
pub(super) fn parts<'a>(entries: &'a [IpNet], prefix: &IpNet) -> &'a [IpNet] {
    // The order puts a prefix before all that it holds, and nothing else between them.
    let behind = &entries[entries.partition_point(|entry| entry <= prefix)..];
    &behind[..behind.partition_point(|entry| prefix.contains(entry))]
}

fn unreadable(text: &str) -> PrefixError {
    if is_dns_name(text) {
        PrefixError::DnsName { text: text.to_owned() }
    } else {
        PrefixError::Unreadable { text: text.to_owned() }
    }
}

/// Letters, digits, hyphens and dots, where the last label is no number: that would be a broken IPv4 address.
pub(super) fn is_dns_name(text: &str) -> bool {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let label_is_sound = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let last_is_a_word =
        labels.rsplit('.').next().is_some_and(|last| last.bytes().any(|byte| byte.is_ascii_alphabetic()));
    last_is_a_word && labels.split('.').all(label_is_sound)
}

/// Why a text is no prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrefixError {
    /// Neither an address nor a prefix.
    Unreadable {
        /// What was written.
        text: String,
    },
    /// The length is no number, or longer than the address.
    Length {
        /// What was written.
        text: String,
        /// The longest length for this address family.
        length_max: u8,
    },
    /// There are bits set behind the prefix length: the operator meant the network or the host.
    HostBits {
        /// What was written.
        text: String,
        /// The prefix with those bits cleared.
        network: IpNet,
        /// The address alone.
        host: IpNet,
    },
    /// A DNS name.
    DnsName {
        /// What was written.
        text: String,
    },
    /// `preset:NAME`.
    Preset {
        /// What was written.
        text: String,
    },
    /// `file:PATH`.
    File {
        /// What was written.
        text: String,
    },
}

impl PrefixError {
    /// What is wrong, without the remedy.
    pub fn message(&self) -> String {
        match self {
            PrefixError::Unreadable { text } => format!("\"{text}\" is neither an address nor a prefix"),
            PrefixError::Length { text, length_max } => {
                format!("the prefix length of \"{text}\" is not a number from 0 to {length_max}")
            }
            PrefixError::HostBits { text, .. } => format!("\"{text}\" has bits set behind its prefix length"),
            PrefixError::DnsName { text } => format!("the DNS name \"{text}\" is not supported yet"),
            PrefixError::Preset { text } => format!("the preset \"{text}\" is not supported yet"),
            PrefixError::File { text } => {
                format!("\"{text}\" cannot stand here: only the lists of the policy file name list files")
            }
        }
    }

    /// What to write instead.
    pub fn remedy(&self) -> String {
        match self {
            PrefixError::Unreadable { .. } => {
                "write an address or a prefix, such as 192.0.2.10 or 2001:db8::/32".to_owned()
            }
            PrefixError::Length { length_max, .. } => {
                format!("write a length of at most {length_max}, or the address alone")
            }
            PrefixError::HostBits { network, host, .. } => format!("write {network} or {host}"),
            PrefixError::DnsName { .. } => "write the addresses that it stands for".to_owned(),
            PrefixError::Preset { .. } | PrefixError::File { .. } => {
                "write out the prefixes that it stands for".to_owned()
            }
        }
    }
}

impl fmt::Display for PrefixError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; {}", self.message(), self.remedy())
    }
}

impl std::error::Error for PrefixError {}

/// The union of many prefixes, asked in logarithmic time.
pub(super) struct Cover(Vec<IpNet>);

impl Cover {
    /// Merges nested and neighbouring prefixes, so that a prefix lies in the union exactly when it lies in one member.
    pub(super) fn of<'a>(prefixes: impl IntoIterator<Item = &'a IpNet>) -> Self {
        let mut sorted: Vec<IpNet> = prefixes.into_iter().copied().collect();
        // Lists come sorted, and this sort only merges them then.
        sorted.sort();
        let mut merged: Vec<IpNet> = Vec::new();
        for prefix in sorted {
            if merged.last().is_some_and(|last| last.contains(&prefix)) {
                continue;
            }
            merged.push(prefix);
            while let [.., left, right] = merged[..]
                && left.is_sibling(&right)
                && let Some(parent) = left.supernet()
            {
                merged.truncate(merged.len() - 2);
                merged.push(parent);
            }
        }
        Cover(merged)
    }

    /// True when every address of `prefix` is in the union.
    pub(super) fn holds(&self, prefix: &IpNet) -> bool {
        let behind = self.0.partition_point(|member| member <= prefix);
        behind.checked_sub(1).is_some_and(|index| self.0[index].contains(prefix))
    }

    /// Those of these sorted prefixes that the union holds, in linear time.
    pub(super) fn held<'a>(&'a self, sorted: &'a [IpNet]) -> impl Iterator<Item = &'a IpNet> {
        let mut behind = 0;
        sorted.iter().filter(move |prefix| {
            while self.0.get(behind).is_some_and(|member| member <= *prefix) {
                behind += 1;
            }
            behind.checked_sub(1).is_some_and(|index| self.0[index].contains(*prefix))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_read_as_people_write_them() {
        let check = |text: &str, expected: &str| {
            let read = parse_prefix(text).map_or_else(|error| error.to_string(), |prefix| prefix.to_string());
            assert_eq!(read, expected, "{text}");
        };
        check("10.0.0.1", "10.0.0.1/32");
        check("10.0.0.0/8", "10.0.0.0/8");
        check("0.0.0.0/0", "0.0.0.0/0");
        check("2001:DB8::/32", "2001:db8::/32");
        check("::1", "::1/128");
        check("::ffff:10.0.0.1", "10.0.0.1/32");
        check("::ffff:10.0.0.0/104", "10.0.0.0/8");
        check("::ffff:0:0/96", "0.0.0.0/0");
        check("::/0", "::/0");
        check(
            "10.0.0.5/8",
            "\"10.0.0.5/8\" has bits set behind its prefix length; write 10.0.0.0/8 or 10.0.0.5/32",
        );
        check(
            "10.0.0.0/33",
            "the prefix length of \"10.0.0.0/33\" is not a number from 0 to 32; write a length of at most 32, or the address alone",
        );
        for text in ["10.0.0.0/+8", "10.0.0.0/", "10.0.0.0/255.0.0.0"] {
            assert!(matches!(parse_prefix(text), Err(PrefixError::Length { .. })), "{text}");
        }
        for text in [
            "",
            " 10.0.0.1",
            "10.0.0.256",
            "10.0.0",
            "10.0.0.*",
            "2001:db8",
            "[::1]",
            "fe80::1%eth0",
            "10.0.0.1:5060",
        ] {
            assert!(matches!(parse_prefix(text), Err(PrefixError::Unreadable { .. })), "{text}");
        }
        for text in ["sip.example.com", "sip.example.com.", "localhost", "10.0.0.O"] {
            assert!(matches!(parse_prefix(text), Err(PrefixError::DnsName { .. })), "{text}");
        }
        assert!(matches!(parse_prefix("preset:provider"), Err(PrefixError::Preset { .. })));
        assert!(matches!(parse_prefix("file:allow.txt"), Err(PrefixError::File { .. })));
    }

    #[test]
    fn a_union_covers_what_its_members_cover_together() {
        let prefixes =
            |texts: &[&str]| -> Vec<IpNet> { texts.iter().map(|text| parse_prefix(text).unwrap()).collect() };
        let check = |members: &[&str], prefix: &str, expected: bool| {
            let held = Cover::of(&prefixes(members)).holds(&prefixes(&[prefix])[0]);
            assert_eq!(held, expected, "{prefix} in {members:?}");
        };
        check(&[], "10.0.0.0/8", false);
        check(&["10.0.0.0/9", "10.128.0.0/9"], "10.0.0.0/8", true);
        check(&["10.0.0.0/9", "10.128.0.0/10", "10.192.0.0/10"], "10.0.0.0/8", true);
        check(&["10.128.0.0/9", "11.0.0.0/9"], "10.0.0.0/7", false);
        check(&["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8"], "10.2.0.1", true);
        check(&["0.0.0.0/1", "128.0.0.0/1"], "255.255.255.255", true);
        check(&["0.0.0.0/0"], "::/0", false);
        check(&["::/1", "8000::/1"], "::/0", true);
    }
}
