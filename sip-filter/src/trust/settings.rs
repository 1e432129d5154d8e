//! What the trust logic needs of the operator's policy, and nothing more of it.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use ipnet::IpNet;

use crate::policy::{Policy, Prove, TrustScope, prefix::longest_cover};

/// What of a policy decides who is trusted.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Whether what the wire and PBXs say lets anybody in; the operator's registrations always do.
    pub(super) on: bool,
    pub(super) prove: Option<Prove>,
    /// Those trunks that registrations can belong to.
    pub(super) trunks: Vec<TrunkSettings>,
    /// From a trunk's addresses of record, canonical, to its place in `trunks`.
    by_aor: HashMap<String, usize>,
    /// From their user parts alone, for a PBX that keeps no domains.
    by_user: HashMap<String, usize>,
}

/// A trunk that registers with us.
#[derive(Debug, Clone, Default)]
pub(super) struct TrunkSettings {
    pub(super) name: String,
    /// Sorted; empty: it may register from anywhere.
    allow: Vec<IpNet>,
    /// Its addresses of record, canonical.
    pub(super) aors: Vec<String>,
}

impl Settings {
    /// Takes what matters here out of a policy.
    pub fn of(policy: &Policy) -> Self {
        let mut settings = Settings { prove: policy.strangers.prove.clone(), ..Settings::default() };
        for trunk in policy.trunks.iter().filter(|trunk| !trunk.registrations.is_empty()) {
            let aors: Vec<String> = trunk.registrations.iter().map(|aor| canonical_aor(aor)).collect();
            for aor in &aors {
                let place = settings.trunks.len();
                settings.by_aor.entry(aor.clone()).or_insert(place);
                settings.by_user.entry(user(aor).to_owned()).or_insert(place);
            }
            settings.trunks.push(TrunkSettings {
                name: trunk.name.clone(),
                allow: trunk.allow.clone(),
                aors,
            });
        }
        // A trunk may register although strangers may not: its allow list lets it.
        settings.on = settings.prove.is_some() || !policy.pbxs.is_empty() || !settings.trunks.is_empty();
        settings
    }

    /// The trunk that an address of record, canonical, belongs to, by its place in `trunks`.
    pub(super) fn trunk_of(&self, aor: &str) -> Option<usize> {
        let user = user(aor);
        // "user" in the policy stands for that user of every domain; and a PBX without domains for every trunk's user.
        let exact = self.by_aor.get(aor).or_else(|| self.by_aor.get(user));
        exact.or_else(|| self.by_user.get(user).filter(|_| user == aor)).copied()
    }

    pub(super) fn scope(&self) -> TrustScope {
        self.prove.as_ref().map_or(TrustScope::Address, |prove| prove.trust)
    }

    pub(super) fn grace(&self) -> Duration {
        self.prove.as_ref().map_or(Duration::ZERO, |prove| prove.grace)
    }
}

impl TrunkSettings {
    pub(super) fn may_register_from(&self, address: IpAddr) -> bool {
        self.allow.is_empty() || longest_cover(&self.allow, &IpNet::from(address)).is_some()
    }
}

/// True for who is never banned on evidence, whatever they do: `admin`, `[allow]`, and everybody on a list of a trunk or of
/// a listener, since a ban holds at every listener.
pub fn is_spared(policy: &Policy, address: IpAddr) -> bool {
    let trunks = policy.trunks.iter().flat_map(|trunk| std::iter::once(&trunk.allow).chain(&trunk.media));
    let listeners = policy.listeners.iter().map(|listener| &listener.allow);
    let mut lists = [&policy.admin, &policy.allow].into_iter().chain(trunks).chain(listeners);
    lists.any(|list| longest_cover(list, &IpNet::from(address)).is_some())
}

/// An address of record as "user" or "user@domain" in lower case: without scheme, port, parameters and angle brackets.
///
/// Users are told apart by case in RFC 3261, but by few PBXs; two that differ in nothing else count as one here.
pub fn canonical_aor(text: &str) -> String {
    let text = text.trim();
    let text = text.rsplit_once('<').map_or(text, |(_, uri)| uri);
    let text = text.split('>').next().unwrap_or_default();
    let text = ["sip:", "sips:"].iter().find_map(|scheme| strip_prefix(text, scheme)).unwrap_or(text);
    // The user part may hold ';' and '?' (RFC 3261 section 25.1), the host may not.
    let (user, host) = text.rsplit_once('@').map_or((text, ""), |(user, host)| (user, host));
    let bare = |part: &str| part.split([';', '?']).next().unwrap_or_default().to_ascii_lowercase();
    if host.is_empty() {
        return bare(user);
    }
    let host = bare(host);
    let end = match host.rfind(':') {
        Some(colon) if colon > host.rfind(']').unwrap_or(0) => colon,
        _ => host.len(),
    };
    format!("{}@{}", user.to_ascii_lowercase(), &host[..end])
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(tail)
}

/// The user part of a canonical address of record.
pub(super) fn user(aor: &str) -> &str {
    aor.rsplit_once('@').map_or(aor, |(user, _)| user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_record_are_read_however_they_are_written() {
        let check = |text: &str, expected: &str| assert_eq!(canonical_aor(text), expected, "{text}");
        check("100", "100");
        check("Alice@Example.COM", "alice@example.com");
        check("sip:100", "100");
        check("SIPS:100@pbx.example;user=phone", "100@pbx.example");
        check("sip:100@pbx.example:5061", "100@pbx.example");
        check("sip:100@[2001:db8::1]:5061;transport=tcp", "100@[2001:db8::1]");
        check("sip:100@[2001:db8::1]", "100@[2001:db8::1]");
        check("\"A <b>\" <sip:100@pbx.example>", "100@pbx.example");
        check("sip:1;phone-context=x@pbx.example?a=b", "1;phone-context=x@pbx.example");
        check("100;ob", "100");
        check("", "");
        check("sip", "sip");
    }
}
