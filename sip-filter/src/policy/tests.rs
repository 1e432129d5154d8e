//! What holds for every policy, and rows for what single ones answer.

use std::path::Path;

use proptest::prelude::*;
use serde_json::json;
use sip_filter_common::Reason;

use super::change::{Action, List, ListChange};
use super::difference::Difference;
use super::prefix::{canonical, parse_prefix};
use super::*;

fn parsed(text: &str) -> Policy {
    file::parse(Path::new("test.toml"), text).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"))
}

const POLICY: &str = r#"
mode = "enforce"
admin = ["192.0.2.10"]

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
vlans = [7, 5]

[[listener]]
name = "web"
kind = "other"
transport = "tcp"
ports = [8088]
addresses = ["192.0.2.1"]
allow = ["10.0.0.0/8"]

[deny]
sources = ["198.51.100.0/24", "198.51.0.0/16"]

[allow]
sources = ["203.0.113.0/24"]

[[trunk]]
name = "a"
allow = ["203.0.113.14", "10.1.0.0/16"]
deny = ["203.0.113.99", "203.0.113.98/31"]
outbound_proxies = ["203.0.113.5:5061"]
media = ["203.0.113.15"]

[[trunk]]
name = "b"
allow = ["10.2.0.0/16"]
listeners = ["web"]
"#;

#[test]
fn the_entry_that_decided_is_named() {
    let policy = parsed(POLICY);
    let check =
        |source: &str, to: &str, transport: Transport, reason: Reason, expected: serde_json::Value| {
            let because = policy.because(source.parse().unwrap(), to.parse().unwrap(), transport, reason);
            let json = serde_json::to_value(&because).unwrap();
            assert_eq!(json, expected, "{source} to {to}");
            assert_eq!(serde_json::from_value::<Option<because::Because>>(json).unwrap(), because);
        };
    let (udp, tcp) = (Transport::Udp, Transport::Tcp);
    let (sip, rtp, web) = ("192.0.2.1:5060", "192.0.2.1:10000", "192.0.2.1:8088");
    check("192.0.2.10", sip, udp, Reason::Admin, json!({"list": "admin", "entry": "192.0.2.10/32"}));
    check("198.51.100.1", sip, udp, Reason::Denied, json!({"list": "deny", "entry": "198.51.100.0/24"}));
    check(
        "203.0.113.99",
        sip,
        udp,
        Reason::Denied,
        json!({"trunk": "a", "list": "deny", "entry": "203.0.113.99/32"}),
    );
    check("203.0.113.14", sip, udp, Reason::Trunk, json!({"trunk": "a", "entry": "203.0.113.14/32"}));
    check("::ffff:203.0.113.14", sip, udp, Reason::Trunk, json!({"trunk": "a", "entry": "203.0.113.14/32"}));
    check("203.0.113.5", sip, udp, Reason::Trunk, json!({"trunk": "a", "entry": "203.0.113.5/32"}));
    check("203.0.113.15", rtp, udp, Reason::Trunk, json!({"trunk": "a", "entry": "203.0.113.15/32"}));
    check("203.0.113.14", rtp, udp, Reason::Trunk, json!({"list": "allow", "entry": "203.0.113.0/24"}));
    check("10.1.0.1", web, tcp, Reason::Trunk, json!({"listener": "web", "entry": "10.0.0.0/8"}));
    check("10.2.0.1", web, tcp, Reason::Trunk, json!({"trunk": "b", "entry": "10.2.0.0/16"}));
    check("203.0.113.1", web, tcp, Reason::Trunk, json!(null));
    check("10.1.0.1", "192.0.2.2:8088", tcp, Reason::Trunk, json!(null));
    check("203.0.113.15", rtp, udp, Reason::WrongVlan, json!({"listener": "rtp", "vlans": [5, 7]}));
    check("203.0.113.14", sip, udp, Reason::Stranger, json!(null));
}

#[test]
fn a_live_change_makes_a_new_policy_or_says_why_not() {
    let policy = parsed(POLICY);
    let change = |list: &List, action, prefix: &str| ListChange {
        list: list.clone(),
        prefix: prefix.parse().unwrap(),
        action,
    };
    let check = |list: List, action: Action, prefix: &str, expected: &str| {
        let outcome = policy.with(&change(&list, action, prefix));
        let outcome = outcome.map(|changed| Difference::between(&policy, &changed).to_string());
        assert_eq!(outcome.unwrap_or_else(|error| error.to_string()), expected);
    };
    let (add, remove) = (Action::Add, Action::Remove);
    let trunk = |name: &str| List::Trunk(name.to_owned());
    check(List::Deny, add, "192.0.2.7/32", "+ deny 192.0.2.7/32");
    check(List::Deny, add, "::ffff:192.0.2.7/128", "+ deny 192.0.2.7/32");
    check(List::Deny, remove, "198.51.100.0/24", "- deny 198.51.100.0/24");
    check(List::Allow, add, "192.0.2.7/32", "+ allow 192.0.2.7/32");
    check(trunk("a"), add, "192.0.2.7/32", "+ trunk a allow 192.0.2.7/32");
    check(trunk("c"), add, "192.0.2.7/32", "there is no trunk \"c\"; known trunks: a, b");
    check(List::Deny, add, "198.51.0.0/16", "198.51.0.0/16 is already on the deny list");
    check(List::Deny, remove, "192.0.2.7/32", "192.0.2.7/32 is not on the deny list");
    check(
        List::Deny,
        remove,
        "198.51.100.7/32",
        "198.51.100.7/32 is not on the deny list, only as a part of 198.51.100.0/24; remove 198.51.100.0/24 and add what shall remain of it",
    );
    check(
        trunk("a"),
        remove,
        "203.0.113.5/32",
        "203.0.113.5/32 is on the allow list of trunk \"a\" for its outbound proxy 203.0.113.5:5061; remove that from outbound_proxies in the file and apply it",
    );
}

#[test]
fn a_live_change_must_not_bring_trunks_into_conflict() {
    let trunk = |name: &str, allow: &str| {
        format!("[[trunk]]\nname = \"{name}\"\nallow = [\"{allow}\"]\nlisteners = [\"sip\"]\n")
    };
    let sip = "[[listener]]\nname = \"sip\"\nkind = \"signalling\"\ntransport = \"udp\"\nports = [5060]\n";
    let deny = "[deny]\nsources = [\"10.1.0.0/16\"]\n";
    let policy = parsed(&format!("{sip}{deny}{}{}", trunk("a", "10.0.0.0/8"), trunk("b", "10.1.0.0/16")));
    let check = |list: List, action: Action, prefix: &str, second: &str| {
        let refused =
            policy.with(&ListChange { list, prefix: parse_prefix(prefix).unwrap(), action }).unwrap_err();
        let expected = format!(
            "trunk \"a\" (10.0.0.0/8) and trunk \"b\" ({second}) claim the same addresses at listener \"sip\"; take the address from one of them first"
        );
        assert_eq!(refused.to_string(), expected);
    };
    check(List::Trunk("b".to_owned()), Action::Add, "10.2.0.1", "10.2.0.1/32");
    check(List::Deny, Action::Remove, "10.1.0.0/16", "10.1.0.0/16");
}

#[test]
fn a_media_list_by_default_follows_the_allow_list() {
    let policy = parsed(POLICY);
    let change = ListChange {
        list: List::Trunk("b".to_owned()),
        prefix: parse_prefix("192.0.2.7").unwrap(),
        action: Action::Add,
    };
    let changed = policy.with(&change).unwrap();
    assert_eq!(changed.trunks[1].media(), changed.trunks[1].allow);
}

#[test]
fn the_difference_has_a_line_for_each_change() {
    let old = parsed(POLICY);
    let check = |from: &str, to: &str, expected: &str| {
        let new = parsed(&POLICY.replace(from, to));
        let difference = Difference::between(&old, &new);
        assert_eq!(difference.to_string(), expected);
        let json = serde_json::to_string(&difference).unwrap();
        assert_eq!(serde_json::from_str::<Difference>(&json).unwrap(), difference, "{json}");
    };
    check("", "", "");
    check("mode = \"enforce\"", "on_exit = \"open\"", "~ mode enforce -> monitor\n~ on_exit hold -> open");
    check("10000-20000", "10000-30000", "~ listener rtp ports 10000-20000 -> 10000-30000");
    check("vlans = [7, 5]", "", "~ listener rtp vlans 5,7 -> default");
    check(
        "\"203.0.113.14\"",
        "\"203.0.113.13\"",
        "- trunk a allow 203.0.113.14/32\n+ trunk a allow 203.0.113.13/32",
    );
    check(
        "media = [\"203.0.113.15\"]",
        "",
        "~ trunk a media its own list -> default\n- trunk a media 203.0.113.15/32",
    );
    check("listeners = [\"web\"]", "listeners = [\"web\", \"sip\"]", "~ trunk b listeners web -> sip,web");
    check(
        "name = \"b\"",
        "name = \"c\"",
        "- trunk b allow 10.2.0.0/16\n- trunk b\n+ trunk c: listeners web\n+ trunk c allow 10.2.0.0/16",
    );
    let fresh = Difference::between(&parsed(""), &old).to_string();
    assert!(
        fresh.contains(
            "+ listener web: kind other, transport tcp, ports 8088, encrypted false, addresses 192.0.2.1\n"
        ),
        "{fresh}"
    );
    assert!(fresh.contains("+ listener web allow 10.0.0.0/8\n"), "{fresh}");
}

#[test]
fn the_json_of_a_difference_names_owner_list_and_prefix() {
    let old = parsed(POLICY);
    let new = parsed(&POLICY.replace("\"203.0.113.14\", ", "").replace("198.51.0.0/16", "198.52.0.0/16"));
    let json = serde_json::to_value(Difference::between(&old, &new)).unwrap();
    let expected = json!([
        {"change": "remove", "list": "deny", "prefix": "198.51.0.0/16"},
        {"change": "insert", "list": "deny", "prefix": "198.52.0.0/16"},
        {"change": "remove", "trunk": "a", "list": "allow", "prefix": "203.0.113.14/32"},
    ]);
    assert_eq!(json, expected);
}

/// Prefixes out of a small space, so that they meet often.
fn prefix() -> impl Strategy<Value = IpNet> {
    let v4 =
        (0u8..8, 24u8..=32).prop_map(|(low, length)| IpNet::new(IpAddr::from([10, 0, 0, low << 4]), length));
    let v6 = (0u16..4, 120u8..=128)
        .prop_map(|(low, length)| IpNet::new(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, low << 5]), length));
    prop_oneof![3 => v4, 1 => v6].prop_map(|net| canonical(net.unwrap()))
}

fn prefixes(count_max: usize) -> impl Strategy<Value = Vec<IpNet>> {
    proptest::collection::btree_set(prefix(), 0..=count_max).prop_map(|set| set.into_iter().collect())
}

fn trunk() -> impl Strategy<Value = (Vec<IpNet>, Vec<IpNet>, Option<Vec<IpNet>>, Vec<usize>)> {
    let listeners = proptest::sample::subsequence(vec![0usize, 1, 2], 1..=3);
    (prefixes(4), prefixes(1), proptest::option::of(prefixes(3)), listeners)
}

/// A policy whose trunks may well overlap.
fn any_policy() -> impl Strategy<Value = Policy> {
    let trunks = proptest::collection::vec(trunk(), 0..4);
    (prefixes(1), prefixes(2), prefixes(3), trunks).prop_map(|(admin, deny, allow, trunks)| {
        let mut policy = Policy { admin, deny, allow, ..parsed(POLICY) };
        policy.warnings = Mistakes::default();
        let named = trunks.into_iter().enumerate().map(|(index, (allow, deny, media, listeners))| Trunk {
            name: format!("trunk{index}"),
            allow,
            deny,
            media,
            outbound_proxies: Vec::new(),
            listeners,
        });
        policy.trunks = named.collect();
        policy
    })
}

/// The text of a policy of [`any_policy`].
fn written(policy: &Policy, multi_line: bool) -> String {
    let list = |prefixes: &[IpNet]| {
        let quoted: Vec<String> = prefixes.iter().map(|prefix| format!("\"{prefix}\"")).collect();
        if multi_line {
            format!("[\n    {},  # last\n]", quoted.join(", # one\n    "))
        } else {
            format!("[{}]", quoted.join(", "))
        }
    };
    let list = |prefixes: &[IpNet]| if prefixes.is_empty() { "[]".to_owned() } else { list(prefixes) };
    let (head, rest) = POLICY.split_once("[deny]").unwrap();
    assert!(rest.contains("[allow]"));
    let mut text = head.replace("[\"192.0.2.10\"]", &list(&policy.admin));
    text +=
        &format!("[deny]\nsources = {}\n[allow]\nsources = {}\n", list(&policy.deny), list(&policy.allow));
    for trunk in &policy.trunks {
        let names: Vec<&str> =
            trunk.listeners.iter().map(|index| policy.listeners[*index].name.as_str()).collect();
        text += &format!(
            "[[trunk]]\nname = \"{}\"\nallow = {}\ndeny = {}\n",
            trunk.name,
            list(&trunk.allow),
            list(&trunk.deny)
        );
        text += &format!("listeners = {names:?}\n");
        if let Some(media) = &trunk.media {
            text += &format!("media = {}\n", list(media));
        }
    }
    text
}

/// Every address for itself: the spaces of [`prefix`] are small enough for that.
fn overlaps_naively(policy: &Policy) -> bool {
    let v4 = (0u8..=255).map(|low| IpAddr::from([10, 0, 0, low]));
    let v6 = (0u16..256).map(|low| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, low]));
    v4.chain(v6).any(|address| {
        let holds = |list: &[IpNet]| list.iter().any(|entry| entry.contains(&address));
        (0..policy.listeners.len()).any(|listener| {
            let kind = policy.listeners[listener].kind;
            let trunks = || policy.trunks.iter().filter(|trunk| trunk.listeners.contains(&listener));
            let settled =
                holds(&policy.admin) || holds(&policy.deny) || trunks().any(|trunk| holds(&trunk.deny));
            !settled && trunks().filter(|trunk| holds(trunk.allow_at(kind))).count() > 1
        })
    })
}

fn any_change() -> impl Strategy<Value = ListChange> {
    let list = prop_oneof![
        Just(List::Deny),
        Just(List::Allow),
        (0u8..3).prop_map(|index| List::Trunk(format!("trunk{index}")))
    ];
    let action = prop_oneof![Just(Action::Add), Just(Action::Remove)];
    (list, prefix(), action).prop_map(|(list, prefix, action)| ListChange { list, prefix, action })
}

proptest! {
    #[test]
    fn overlaps_are_those_that_a_look_at_every_address_finds(policy in any_policy()) {
        prop_assert_eq!(policy.overlap().is_some(), overlaps_naively(&policy));
    }

    #[test]
    fn a_policy_differs_from_others_only(one in any_policy(), other in any_policy()) {
        prop_assert!(Difference::between(&one, &one).is_empty());
        prop_assert_eq!(Difference::between(&one, &other).is_empty(), one == other);
    }

    #[test]
    fn a_changed_file_reads_as_the_changed_policy(
        policy in any_policy(),
        changes in proptest::collection::vec(any_change(), 1..8),
        multi_line: bool,
    ) {
        prop_assume!(policy.overlap().is_none());
        let mut text = written(&policy, multi_line);
        let mut policy = Policy { warnings: Mistakes::default(), ..policy };
        prop_assert_eq!(Policy { warnings: Mistakes::default(), ..parsed(&text) }, policy.clone());
        for change in changes {
            let Ok(changed) = policy.with(&change) else { continue };
            text = edit::edit(&text, &change).unwrap();
            policy = changed;
            prop_assert_eq!(Policy { warnings: Mistakes::default(), ..parsed(&text) }, policy.clone(), "{}", text);
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(\\PC|\n|[a-z_]+ = |\\[\\[(trunk|listener)\\]\\]|\"10\\.0\\.0\\.0/8\"){0,30}") {
        if let Err(mistakes) = file::parse(Path::new("test.toml"), &text) {
            prop_assert!(!mistakes.is_empty());
        }
    }
}
