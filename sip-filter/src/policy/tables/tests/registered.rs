//! What lists say while trunks are registered.

use std::{net::IpAddr, path::Path};

use sip_filter_common::{Address, Class, sources::ipv4 as read4, sources::ipv6 as read6};

use super::{super::classes_of_trunk, HostTables, RegisteredTrunks, Tables};
use crate::policy::{Policy, file};

/// Listener 0 is SIP, listener 1 media.
const LISTENERS: &str = r#"
[[listener]]
name = "sip"
kind = "signalling"
transport = "udp"
ports = [5060]

[[listener]]
name = "rtp"
kind = "media"
transport = "udp"
ports = ["10000-20000"]
"#;
const SIP: u64 = 1;
const RTP: u64 = 2;

fn policy(rest: &str) -> Policy {
    file::parse(Path::new("test.toml"), &format!("{LISTENERS}{rest}"))
        .unwrap_or_else(|error| panic!("{error}"))
}

fn trunk(lines: &str) -> Policy {
    policy(&format!("[[trunk]]\nname = \"a\"\nregistrations = [\"100\"]\n{lines}\n"))
}

fn registered() -> RegisteredTrunks {
    let mut registered = RegisteredTrunks::default();
    assert!(registered.set("a", vec![IpAddr::from([10, 0, 0, 1])]));
    registered
}

fn class(policy: &Policy, registered: &RegisteredTrunks, source: &str) -> Class {
    let tables = HostTables::new(Tables::compile(policy, registered).unwrap());
    let number = match source.parse().unwrap() {
        IpAddr::V4(address) => read4::class_number(&tables, address),
        IpAddr::V6(address) => read6::class_number(&tables, &Address::from_ipv6(address.octets())),
    };
    sip_filter_common::Tables::index(&tables).classes[number as usize].class
}

#[test]
fn who_has_to_register_is_told_by_trunk_and_registration() {
    let check = |lines: &str, registered: &RegisteredTrunks, source: &str, allow: u64, registering: u64| {
        let found = class(&trunk(lines), registered, source);
        let expected = Class { allow, registering, ..Class::NOBODY };
        assert_eq!(found, expected, "{source} with {lines} and {registered:?}");
    };
    let (nobody, somebody) = (RegisteredTrunks::default(), registered());
    let plain = "allow = [\"10.0.0.0/24\", \"2001:db8::/32\"]";
    check(plain, &nobody, "10.0.0.1", SIP | RTP, 0);
    check(plain, &somebody, "10.0.0.1", SIP | RTP, SIP | RTP);
    check(plain, &somebody, "10.0.0.2", SIP | RTP, SIP | RTP);
    check(plain, &somebody, "2001:db8::1", SIP | RTP, SIP | RTP);
    check(plain, &somebody, "10.0.1.2", 0, 0);
    let required = &format!("{plain}\nrequire_registration = true");
    check(required, &nobody, "10.0.0.1", SIP | RTP, SIP | RTP);
    check(required, &somebody, "10.0.0.1", SIP | RTP, SIP | RTP);
    // Media servers do not register: they wait for the trunk.
    let media = &format!("{plain}\nmedia = [\"10.0.9.0/24\"]");
    check(media, &nobody, "10.0.9.1", RTP, 0);
    check(media, &somebody, "10.0.9.1", RTP, 0);
    check(media, &somebody, "10.0.0.1", SIP, SIP);
    let both = &format!("{media}\nrequire_registration = true");
    check(both, &nobody, "10.0.9.1", RTP, RTP);
    check(both, &somebody, "10.0.9.1", RTP, 0);
}

#[test]
fn a_list_without_conditions_is_not_held_back_by_another() {
    let check = |rest: &str, source: &str, allow: u64, registering: u64| {
        let text = format!(
            "[[trunk]]\nname = \"a\"\nallow = [\"10.0.0.0/24\"]\nregistrations = [\"100\"]\n\
             require_registration = true\n{rest}"
        );
        let found = class(&policy(&text), &RegisteredTrunks::default(), source);
        assert_eq!((found.allow, found.registering), (allow, registering), "{source} with {rest}");
    };
    check("", "10.0.0.1", SIP | RTP, SIP | RTP);
    check("[allow]\nsources = [\"10.0.0.1\"]", "10.0.0.1", SIP | RTP, 0);
    check("[allow]\nsources = [\"10.0.0.0/8\"]", "10.0.0.1", SIP | RTP, 0);
    check("[allow]\nsources = [\"10.0.0.1\"]", "10.0.0.2", SIP | RTP, SIP | RTP);
    let other = "[[trunk]]\nname = \"b\"\nallow = [\"10.0.0.1\"]\nlisteners = [\"rtp\"]";
    check(&format!("listeners = [\"sip\"]\n{other}"), "10.0.0.1", SIP | RTP, SIP);
}

#[test]
fn an_outbound_proxy_may_answer_whoever_is_registered() {
    let policy = trunk("allow = [\"10.0.0.0/24\"]\noutbound_proxies = [\"10.0.0.9:5060\", \"10.0.1.9\"]");
    for proxy in ["10.0.0.9", "10.0.1.9"] {
        let found = class(&policy, &registered(), proxy);
        assert_eq!((found.allow, found.registering), (SIP | RTP, RTP), "{proxy}");
    }
    assert_eq!(class(&policy, &registered(), "10.0.0.8").registering, SIP | RTP);
}

#[test]
fn what_changes_with_a_registration_is_what_the_tables_will_say() {
    let policy = trunk(
        "allow = [\"10.0.0.0/24\", \"10.0.0.0/25\", \"10.0.2.0/24\", \"2001:db8::/32\"]\n\
         media = [\"10.0.0.7\", \"10.0.9.0/24\"]\nrequire_registration = true\n\
         [deny]\nsources = [\"10.0.2.128/25\"]\n[allow]\nsources = [\"10.0.0.16/28\", \"10.0.9.0/30\"]",
    );
    let sources = [
        "10.0.0.1",
        "10.0.0.7",
        "10.0.0.16",
        "10.0.0.130",
        "10.0.2.1",
        "10.0.2.200",
        "10.0.9.1",
        "10.0.9.5",
        "2001:db8::1",
    ];
    for registered in [RegisteredTrunks::default(), registered()] {
        let groups = classes_of_trunk(&policy, &registered, "a", 100).unwrap();
        for source in sources {
            let address: IpAddr = source.parse().unwrap();
            let of_it = groups.iter().filter(|group| group[0].0.contains(&address));
            let held = of_it.flatten().filter(|(prefix, _)| prefix.contains(&address));
            let (_, found) = held.max_by_key(|(prefix, _)| prefix.prefix_len()).unwrap();
            assert_eq!(*found, class(&policy, &registered, source), "{source}, {registered:?}");
        }
    }
    assert_eq!(
        classes_of_trunk(&policy, &registered(), "b", 100),
        Some(Vec::new()),
        "there is no such trunk"
    );
    assert_eq!(classes_of_trunk(&policy, &registered(), "a", 7), None, "that many prefixes have no room");
}

#[test]
fn only_to_register_at_all_changes_what_lists_mean() {
    let mut registered = registered();
    assert!(!registered.set("a", vec![IpAddr::from([10, 0, 0, 2])]), "it has moved");
    assert_eq!(registered.at("a"), [IpAddr::from([10, 0, 0, 2])]);
    assert!(registered.set("a", Vec::new()));
    assert!(!registered.set("a", Vec::new()));
    assert!(registered.at("a").is_empty());
}
