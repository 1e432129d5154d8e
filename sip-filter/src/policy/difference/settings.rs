//! What is no list: keys and their values in the words of the file, to be compared and shown.

use std::collections::BTreeSet;

use sip_filter_common::{Mode, Transport, sip::Method};

use crate::policy::{Listener, Pbx, PbxKind, Policy, Prove, Secret, Trunk, TrustScope};

/// Keys and values, the same keys in the same order for the same kind of owner; an empty value is not worth a word.
pub(super) type Settings = Vec<(&'static str, String)>;

pub(super) fn policy_settings(policy: &Policy) -> Settings {
    let mode = match policy.mode {
        Mode::Monitor => "monitor",
        Mode::Enforce => "enforce",
    };
    vec![
        ("interfaces", policy.interfaces.join(",")),
        ("mode", mode.to_owned()),
        ("on_exit", policy.on_exit.to_string()),
        ("strangers.signalling", if policy.strangers.prove.is_some() { "prove" } else { "drop" }.to_owned()),
    ]
}

pub(super) fn listener_settings(listener: &Listener) -> Settings {
    let transport = match listener.transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    };
    let port = |range: &std::ops::RangeInclusive<u16>| {
        if range.start() == range.end() {
            range.start().to_string()
        } else {
            format!("{}-{}", range.start(), range.end())
        }
    };
    vec![
        ("kind", listener.kind.to_string()),
        ("transport", transport.to_owned()),
        ("ports", joined(listener.ports.iter().map(port))),
        ("encrypted", listener.encrypted.to_string()),
        ("vlans", joined(listener.vlans.iter().map(u16::to_string))),
        ("addresses", joined(listener.addresses.iter().map(ToString::to_string))),
    ]
}

pub(super) fn trunk_settings(policy: &Policy, trunk: &Trunk) -> Settings {
    // A trunk's listeners are compared by name: that another listener was put before them changes nothing for the trunk.
    let listeners: BTreeSet<&str> =
        trunk.listeners.iter().map(|index| policy.listeners[*index].name.as_str()).collect();
    let media = if trunk.media.is_some() { "its own list" } else { "" };
    vec![
        ("listeners", joined(listeners.into_iter().map(str::to_owned))),
        ("outbound_proxies", joined(trunk.outbound_proxies.iter().map(|proxy| proxy.text.clone()))),
        ("media", media.to_owned()),
        ("require_registration", if trunk.require_registration { "true" } else { "" }.to_owned()),
        ("registrations", trunk.registrations.join(",")),
    ]
}

/// The keys of `[strangers.prove]`.
pub(super) fn prove_settings(prove: &Prove) -> Settings {
    let methods = Method::ALL.iter().filter(|method| prove.methods & method.bit() != 0);
    let time = |time| humantime::format_duration(time).to_string();
    let trust = match prove.trust {
        TrustScope::Address => "address",
        TrustScope::Flow => "flow",
    };
    vec![
        ("strangers.prove.methods", joined(methods.map(|method| method.name().to_owned()))),
        ("strangers.prove.rate", prove.rate.to_string()),
        ("strangers.prove.burst", prove.burst.to_string()),
        ("strangers.prove.total_rate", prove.total_rate.to_string()),
        ("strangers.prove.failures", prove.failures.to_string()),
        ("strangers.prove.failures_within", time(prove.failures_within)),
        ("strangers.prove.ban", time(prove.ban)),
        ("strangers.prove.trust", trust.to_owned()),
        ("strangers.prove.grace", time(prove.grace)),
        ("strangers.prove.scanners", if prove.drops_scanners { "drop" } else { "prove" }.to_owned()),
    ]
}

/// The keys of a `[[pbx]]`; of a secret only where it stands, and whether it is still that of `before`.
pub(super) fn pbx_settings(pbx: &Pbx, before: Option<&Pbx>) -> Settings {
    let kind = match pbx.kind {
        PbxKind::Asterisk => "asterisk",
        PbxKind::Kamailio => "kamailio",
        PbxKind::Opensips => "opensips",
        PbxKind::Freeswitch => "freeswitch",
    };
    let (secret, file) = match &pbx.secret {
        Some(Secret::Text(_)) => match before.and_then(|before| before.secret.as_ref()) {
            Some(other @ Secret::Text(_)) if Some(other) != pbx.secret.as_ref() => ("given anew", None),
            _ => ("given", None),
        },
        Some(Secret::File(path)) => ("", Some(path.display().to_string())),
        None => ("", None),
    };
    vec![
        ("kind", kind.to_owned()),
        ("address", pbx.address.clone()),
        ("user", pbx.user.clone().unwrap_or_default()),
        ("secret", secret.to_owned()),
        ("secret_file", file.unwrap_or_default()),
    ]
}

fn joined(values: impl Iterator<Item = String>) -> String {
    values.collect::<Vec<_>>().join(",")
}
