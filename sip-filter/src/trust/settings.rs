//! What the trust logic needs of the operator's policy, and nothing more of it.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use ipnet::IpNet;

use crate::{
    policy::{Policy, Prove, TrustScope, prefix::longest_cover},
    sip::{canonical_aor, could_be_one, user},
};

/// What of a policy decides who is trusted.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Whether what the wire and PBXs say lets anybody in; the operator's registrations always do.
    pub(super) on: bool,
    pub(super) prove: Option<Prove>,
    /// The names of PBXs that are asked.
    pub(super) pbxs: Vec<String>,
    /// Those trunks that registrations can belong to.
    pub(super) trunks: Vec<TrunkSettings>,
    /// The trunks' addresses of record, canonical, by their users, with the trunks' places in `trunks`.
    by_user: HashMap<String, Vec<(String, usize)>>,
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
        let pbxs = policy.pbxs.iter().map(|pbx| pbx.name.clone()).collect();
        let mut settings = Settings { prove: policy.strangers.prove.clone(), pbxs, ..Settings::default() };
        for trunk in policy.trunks.iter().filter(|trunk| !trunk.registrations.is_empty()) {
            let aors: Vec<String> = trunk.registrations.iter().map(|aor| canonical_aor(aor)).collect();
            for aor in &aors {
                let of_user = settings.by_user.entry(user(aor).to_owned()).or_default();
                of_user.push((aor.clone(), settings.trunks.len()));
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
        let of_user = self.by_user.get(user(aor))?;
        let exact = of_user.iter().find(|(own, _)| own == aor);
        // "user" in the policy stands for that user of every domain; and a PBX without domains for every trunk's user.
        exact.or_else(|| of_user.iter().find(|(own, _)| could_be_one(own, aor))).map(|(_, place)| *place)
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
