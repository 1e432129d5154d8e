//! Rows for what single policies answer.

mod properties;

use std::path::Path;

use serde_json::json;
use sip_filter_common::Reason;

use super::change::{Action, List, ListChange};
use super::difference::Difference;
use super::prefix::parse_prefix;
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
            let (source, to) = (source.parse().unwrap(), to.parse().unwrap());
            let because = policy.because(source, to, transport, 7, reason);
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
fn the_entry_that_decided_is_one_of_the_packets_vlan() {
    let listener = "kind = \"signalling\"\ntransport = \"udp\"\nports = [5060]\n";
    let policy = parsed(&format!(
        "[[listener]]\nname = \"a\"\n{listener}vlans = [10]\n[[listener]]\nname = \"b\"\n{listener}vlans = [20]\n\
         [[trunk]]\nname = \"ta\"\nallow = [\"198.51.100.0/24\"]\nlisteners = [\"a\"]\n\
         [[trunk]]\nname = \"tb\"\nallow = [\"198.51.0.0/16\"]\nlisteners = [\"b\"]\n"
    ));
    let (source, to) = ("198.51.100.5".parse().unwrap(), "192.0.2.1:5060".parse().unwrap());
    for (vlan, trunk) in [(10, "ta"), (20, "tb")] {
        let because = policy.because(source, to, Transport::Udp, vlan, Reason::Trunk);
        assert_eq!(serde_json::to_value(because).unwrap()["trunk"], trunk);
    }
}

#[test]
fn a_live_change_changes_the_policy_or_says_why_not() {
    let policy = parsed(POLICY);
    let change = |list: &List, action, prefix: &str| ListChange {
        list: list.clone(),
        prefix: prefix.parse().unwrap(),
        action,
    };
    let check = |list: List, action: Action, prefix: &str, expected: &str| {
        let mut changed = policy.clone();
        let change = change(&list, action, prefix);
        let outcome = changed.change(&change).map(|()| Difference::between(&policy, &changed).to_string());
        if outcome.is_ok() {
            let action = if action == Action::Add { Action::Remove } else { Action::Add };
            changed.change(&ListChange { action, ..change }).unwrap();
        }
        assert_eq!(changed, policy, "refused or taken back, it leaves nothing behind");
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
fn a_live_change_that_the_policy_outweighs_says_so() {
    let policy = parsed(
        "admin = [\"192.0.2.0/28\"]\n\
         [[listener]]\nname = \"sip\"\nkind = \"signalling\"\ntransport = \"udp\"\nports = [5060]\n\
         [deny]\nsources = [\"198.51.100.0/24\", \"192.0.2.0/27\"]\n\
         [allow]\nsources = [\"203.0.113.0/24\"]\n\
         [[trunk]]\nname = \"a\"\nallow = [\"10.0.0.0/8\", \"10.1.0.0/16\"]\ndeny = [\"10.9.0.0/16\"]\nmedia = [\"10.2.0.0/16\"]\n",
    );
    let check = |list: &List, action: Action, prefix: &str, expected: &[&str]| {
        let change = ListChange { list: list.clone(), prefix: parse_prefix(prefix).unwrap(), action };
        let mut changed = policy.clone();
        changed.change(&change).unwrap();
        assert_eq!(changed.notes(&change), expected, "{change}");
    };
    let trunk = List::Trunk("a".to_owned());
    let media = "trunk \"a\" has a media list of its own, which stays as it is";
    let (add, remove) = (Action::Add, Action::Remove);
    check(&List::Allow, add, "8.8.8.8", &[]);
    check(&List::Allow, add, "192.0.2.5", &[]);
    let refused =
        "198.51.100.7/32 is refused as before: 198.51.100.0/24 on the deny list wins over every allow";
    check(&List::Allow, add, "198.51.100.7", &[refused]);
    check(&trunk, add, "198.51.100.7", &[refused, media]);
    // What holds the denied prefix is not denied as a whole.
    check(&List::Allow, add, "198.51.0.0/16", &[]);
    let at_trunk =
        "10.9.0.1/32 is refused at the listeners of trunk \"a\" as before: its deny has 10.9.0.0/16";
    check(&List::Allow, add, "10.9.0.1", &[at_trunk]);
    let admin = "192.0.2.5/32 is let in as before: 192.0.2.0/28 in admin wins over the deny list";
    check(&List::Deny, add, "192.0.2.5", &[admin]);
    check(&List::Deny, add, "8.8.8.8", &[]);
    check(&List::Deny, remove, "192.0.2.0/27", &[]);
    check(&List::Allow, remove, "203.0.113.0/24", &[]);
    let held = "10.0.0.0/8 is still on the allow list of trunk \"a\", and holds 10.1.0.0/16";
    check(&trunk, remove, "10.1.0.0/16", &[held, media]);
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
        let change = ListChange { list, prefix: parse_prefix(prefix).unwrap(), action };
        let refused = policy.check_change(&change).unwrap_err();
        let expected = format!(
            "trunk \"a\" (10.0.0.0/8) and trunk \"b\" ({second}) claim the same addresses at listener \"sip\"; take the address from one of them first"
        );
        assert_eq!(refused.to_string(), expected);
    };
    check(List::Trunk("b".to_owned()), Action::Add, "10.2.0.1", "10.2.0.1/32");
    check(List::Deny, Action::Remove, "10.1.0.0/16", "10.1.0.0/16");
}

#[test]
fn what_other_denies_settle_is_no_conflict_when_a_live_change_comes_near_it() {
    let trunk = |name: &str, lists: &str| format!("[[trunk]]\nname = \"{name}\"\n{lists}\n");
    let sip = "[[listener]]\nname = \"sip\"\nkind = \"signalling\"\ntransport = \"udp\"\nports = [5060]\n";
    let denies = "[deny]\nsources = [\"10.0.0.0/9\", \"10.128.0.0/9\"]\n";
    let wide = "allow = [\"10.0.0.0/8\"]";
    let upper = format!("{wide}\ndeny = [\"10.128.0.0/9\"]");
    let text = format!("{sip}{denies}{}{}{}", trunk("a", wide), trunk("b", &upper), trunk("c", ""));
    let policy = parsed(&text);
    let check = |list: List, action: Action, prefix: &str, is_refused: bool| {
        let change = ListChange { list, prefix: parse_prefix(prefix).unwrap(), action };
        assert_eq!(policy.check_change(&change).is_err(), is_refused, "{change}");
    };
    let third = || List::Trunk("c".to_owned());
    check(List::Deny, Action::Remove, "10.128.0.0/9", false);
    check(List::Deny, Action::Remove, "10.0.0.0/9", true);
    check(third(), Action::Add, "10.1.0.0/16", false);
    check(third(), Action::Add, "10.0.0.0/8", false);
    check(third(), Action::Add, "10.0.0.0/7", false);
}

#[test]
fn a_media_list_by_default_follows_the_allow_list() {
    let mut policy = parsed(POLICY);
    let change = ListChange {
        list: List::Trunk("b".to_owned()),
        prefix: parse_prefix("192.0.2.7").unwrap(),
        action: Action::Add,
    };
    policy.change(&change).unwrap();
    assert_eq!(policy.trunks[1].media(), policy.trunks[1].allow);
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
    check(
        "name = \"b\"",
        "name = \"b\"\nrequire_registration = true\nregistrations = [\"100\"]",
        "~ trunk b require_registration default -> true\n~ trunk b registrations default -> 100",
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
fn the_difference_tells_what_strangers_and_pbxs_may_do() {
    let check = |old: &str, new: &str, expected: &str| {
        let [old, new] = [old, new].map(|rest| parsed(&format!("{POLICY}{rest}")));
        assert_eq!(Difference::between(&old, &new).to_string(), expected);
    };
    let prove = "[strangers]\nsignalling = \"prove\"\n";
    let table = |lines: &str| format!("{prove}[strangers.prove]\n{lines}\n");
    check("", prove, "~ strangers.signalling drop -> prove");
    check("", "[strangers.prove]\nrate = \"9/s\"", "");
    check("", &table("burst = 3"), "~ strangers.signalling drop -> prove\n~ strangers.prove.burst 10 -> 3");
    check(
        &table("methods = [\"REGISTER\"]\ngrace = \"1m\""),
        &table("trust = \"flow\"\nrate = \"300/m\""),
        "~ strangers.prove.methods REGISTER -> REGISTER,OPTIONS\n~ strangers.prove.rate 5/s -> 300/m\n\
         ~ strangers.prove.trust address -> flow\n~ strangers.prove.grace 1m -> 30s",
    );
    let pbx =
        |lines: &str| format!("[[pbx]]\nname = \"p\"\nkind = \"kamailio\"\naddress = \"/run/k\"\n{lines}\n");
    check("", &pbx(""), "+ pbx p: kind kamailio, address /run/k");
    check(&pbx(""), "", "- pbx p");
    check(&pbx(""), &pbx("user = \"u\""), "~ pbx p user default -> u");
    check(&pbx("secret = \"a\""), &pbx("secret = \"a\""), "");
    check(&pbx("secret = \"a\""), &pbx("secret = \"b\""), "~ pbx p secret given -> given anew");
    check(
        &pbx("secret = \"a\""),
        &pbx("secret_file = \"/a\""),
        "~ pbx p secret given -> default\n~ pbx p secret_file default -> /a",
    );
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

#[test]
fn a_difference_lists_no_more_than_can_be_read_and_counts_the_rest() {
    let addresses = |range: std::ops::Range<u32>| -> Vec<IpNet> {
        range.map(|low| IpNet::from(IpAddr::from((0x0a00_0000 + low).to_be_bytes()))).collect()
    };
    let with_deny = |range| Policy { deny: addresses(range), ..parsed("") };
    let check = |old: std::ops::Range<u32>, new: std::ops::Range<u32>, listed: usize, last: &str| {
        let difference = Difference::between(&with_deny(old), &with_deny(new));
        let printed = difference.to_string();
        assert_eq!((printed.lines().count(), printed.lines().last()), (listed, Some(last)));
        let json = serde_json::to_string(&difference).unwrap();
        assert_eq!(serde_json::from_str::<Difference>(&json).unwrap(), difference);
    };
    check(0..0, 0..1_000, 1_000, "+ deny 10.0.3.231/32");
    check(0..0, 0..1_001, 1_001, "… deny: 1 more come");
    check(0..100_000, 0..0, 1_001, "… deny: 99,000 more leave");
    check(0..5_000, 4_990..14_990, 1_001, "… deny: 9,490 more come and 4,490 more leave");
    check(0..10, 5..5_000, 1_001, "… deny: 3,995 more come");
    let more = Difference::between(&with_deny(0..0), &with_deny(0..1_500)).changes().last().cloned();
    let expected = json!({"change": "more", "list": "deny", "inserted": 500, "removed": 0});
    assert_eq!(serde_json::to_value(more).unwrap(), expected);
}
