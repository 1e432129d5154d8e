//! Lists of prefixes as the file has them, each entry with its place.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use ipnet::IpNet;
use toml::Spanned;

use crate::policy::mistake::Report;
use crate::policy::prefix::{Cover, PrefixError, canonical, is_dns_name, parse_prefix};
use crate::policy::{ListName, OutboundProxy};

/// The entries of one list, and where each stands.
#[derive(Default)]
pub(super) struct Entries {
    spans: HashMap<IpNet, Range<usize>>,
    /// False when an entry was a mistake, so that nothing is to be concluded from what is missing.
    pub(super) complete: bool,
}

impl Entries {
    /// The prefixes in the order in which a policy keeps them.
    pub(super) fn sorted(&self) -> Vec<IpNet> {
        let mut prefixes: Vec<IpNet> = self.spans.keys().copied().collect();
        prefixes.sort_unstable();
        prefixes
    }

    /// Where the file names this prefix.
    pub(super) fn span(&self, prefix: &IpNet) -> Option<Range<usize>> {
        self.spans.get(prefix).cloned()
    }
}

/// Reads a list; what stands twice in it is noted as a warning, and so is an allow entry for everybody.
pub(super) fn list(given: &[Spanned<String>], name: ListName, report: &mut Report) -> Entries {
    let mut entries = Entries { spans: HashMap::new(), complete: true };
    for spanned in given {
        match parse_prefix(spanned.get_ref()) {
            Ok(prefix) => {
                let lets_in = matches!(name, ListName::Allow | ListName::Media);
                if lets_in && prefix.prefix_len() == 0 {
                    warn_of_everybody(prefix, spanned, name, report);
                }
                entries.insert(prefix, spanned, report);
            }
            Err(error) => {
                entries.complete = false;
                report.mistake(spanned.span(), error.message(), error.remedy());
            }
        }
    }
    entries
}

impl Entries {
    fn insert(&mut self, prefix: IpNet, spanned: &Spanned<String>, report: &mut Report) {
        match self.spans.entry(prefix) {
            Entry::Vacant(vacant) => {
                vacant.insert(spanned.span());
            }
            Entry::Occupied(_) => {
                let message = format!("\"{}\" is on this list already", spanned.get_ref());
                report.warning(spanned.span(), message, "remove one of them".to_owned());
            }
        }
    }

    /// Reads the outbound proxies, and puts the address of each on this list.
    pub(super) fn add_proxies(
        &mut self,
        given: &[Spanned<String>],
        report: &mut Report,
    ) -> Vec<OutboundProxy> {
        let mut proxies = Vec::new();
        for spanned in given {
            let text = spanned.get_ref();
            match proxy_address(text) {
                Ok(address) => {
                    let prefix = canonical(IpNet::from(address));
                    self.spans.entry(prefix).or_insert_with(|| spanned.span());
                    proxies.push(OutboundProxy { text: text.clone(), prefix });
                }
                Err((message, remedy)) => {
                    self.complete = false;
                    report.mistake(spanned.span(), message, remedy);
                }
            }
        }
        proxies
    }
}

fn warn_of_everybody(prefix: IpNet, spanned: &Spanned<String>, list: ListName, report: &mut Report) {
    let message = format!(
        "{prefix} on a list of {list} lets everybody in: nothing is filtered for this address family"
    );
    report.warning(spanned.span(), message, "name the prefixes of your peers".to_owned());
}

/// Notes the allow entries that can never match, since they lie inside one of these denies.
pub(super) fn warn_of_denied(allow: &Entries, denies: &[&Entries], report: &mut Report) {
    let denied: Vec<IpNet> = denies.iter().flat_map(|deny| deny.spans.keys().copied()).collect();
    let cover = Cover::of(&denied);
    for (prefix, span) in allow.spans.iter().filter(|(prefix, _)| cover.holds(prefix)) {
        let message = format!("{prefix} never matches, for a deny list covers it");
        report.warning(span.clone(), message, "remove it here, or take it out of the deny list".to_owned());
    }
}

/// The address in "address:port", "[v6]:port" or a bare address; else the message and the remedy.
fn proxy_address(text: &str) -> Result<IpAddr, (String, String)> {
    if let Ok(socket) = text.parse::<SocketAddr>()
        && socket.port() != 0
    {
        return Ok(socket.ip());
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address);
    }
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
    match parse_prefix(text) {
        Err(error @ (PrefixError::Preset { .. } | PrefixError::File { .. })) => {
            Err((error.message(), error.remedy()))
        }
        _ if is_dns_name(host) => {
            let error = PrefixError::DnsName { text: text.to_owned() };
            Err((error.message(), error.remedy()))
        }
        _ => {
            let message = format!("\"{text}\" is neither an address nor an address and port");
            Err((message, "write it as 203.0.113.5:5061, [2001:db8::5]:5061 or 203.0.113.5".to_owned()))
        }
    }
}
