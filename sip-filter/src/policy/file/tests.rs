//! Files and what is said about them.

mod proving;
mod secrecy;
mod shapes;

use super::*;
use crate::policy::{Listener, ListenerKind};

/// The places and messages of all mistakes, one `LINE:COLUMN message` each.
fn mistakes(text: &str) -> Vec<String> {
    let found = match parse(Path::new("test.toml"), text) {
        Ok(_) => Mistakes::default(),
        Err(mistakes) => mistakes,
    };
    found.iter().map(|mistake| format!("{}:{} {}", mistake.line, mistake.column, mistake.message)).collect()
}

fn parsed(text: &str) -> Policy {
    parse(Path::new("test.toml"), text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// One listener `sip` to start a file with; eight lines.
const SIP: &str = r#"
[[listener]]
name = "sip"
kind = "signalling"
transport = "udp"
ports = ["5060"]

"#;

const CONTRACT_EXAMPLE: &str = r#"interfaces = ["eth0"]          # where to attach; `--interface` on the command line replaces it
mode = "enforce"               # "monitor" | "enforce"; default "monitor"
on_exit = "hold"               # "hold": the kernel keeps filtering when the daemon is gone; "open": it detaches
admin = ["192.0.2.10"]         # lock-out guard: never dropped, whatever else the policy says

[[listener]]
name = "sip-udp"
kind = "signalling"            # "signalling" | "media" | "other"
transport = "udp"              # "udp" | "tcp"
ports = ["5060"]               # single ports and ranges
encrypted = false              # true: TLS, the payload is not looked at
vlans = []                     # VLAN IDs on which this listener may be reached; empty: any, and untagged
addresses = []                 # local addresses of this listener; empty: every one

[[listener]]
name = "sip-tls"
kind = "signalling"
transport = "tcp"
ports = ["5061"]
encrypted = true

[[listener]]
name = "rtp"
kind = "media"
transport = "udp"
ports = ["10000-20000"]

[[listener]]
name = "pbx-admin"
kind = "other"
transport = "tcp"
ports = ["8088"]
allow = ["10.0.0.0/8"]         # a listener of kind "other" names its own peers; strangers are dropped

[deny]
sources = ["198.51.100.0/24", "2001:db8:bad::/48"]   # always deny: wins over every allow, registration and pinhole

[[trunk]]
name = "ipcomms"
allow = ["34.23.59.14", "208.69.174.150/32"]  # addresses, prefixes, DNS names, "preset:NAME", "file:PATH" (one prefix a line)
deny = ["34.23.59.99"]                         # wins over this trunk's allow
outbound_proxies = ["203.0.113.5:5061"]        # where we send calls; placed on the allow list by itself
media = ["34.23.59.14"]                        # who may send media; default: the same as allow; "pinhole": only what SDP negotiated
listeners = ["sip-udp", "sip-tls", "rtp"]      # default: every signalling and media listener
require_registration = false                   # true: only the address that is registered now may do more than register
registrations = []                             # AORs that belong to this trunk, "user" or "user@domain"

[strangers]
signalling = "drop"            # "drop" | "prove": may send the methods below, in a bounded lane, until authenticated
media = "drop"                 # "drop" | "pinhole"

[strangers.prove]
methods = ["REGISTER", "OPTIONS"]
rate = "5/s"                   # per source
burst = 10
total_rate = "2000/s"          # all strangers together: known peers are never starved by them
failures = 5                   # failed authentications before a ban
ban = "1h"
trust = "address"              # what a registration lets in: "address" | "flow" (address, port and transport)
"#;

#[test]
fn the_full_example_is_a_policy() {
    let policy = parsed(CONTRACT_EXAMPLE);
    assert!(policy.warnings.is_empty(), "{}", policy.warnings);
    assert_eq!(policy.mode, Mode::Enforce);
    let ipcomms = &policy.trunks[0];
    let allow: Vec<String> = ipcomms.allow.iter().map(ToString::to_string).collect();
    assert_eq!(allow, ["34.23.59.14/32", "203.0.113.5/32", "208.69.174.150/32"]);
    assert_eq!(ipcomms.media().len(), 1);
    assert_eq!(ipcomms.listeners, [0, 1, 2]);
    assert_eq!(policy.listeners[2].ports, [10_000..=20_000]);
}

#[test]
fn the_example_file_of_this_project_has_no_mistakes() {
    let policy = parsed(include_str!("../../../../sip-filter.example.toml"));
    assert!(policy.warnings.is_empty(), "{}", policy.warnings);
    assert_eq!((policy.listeners.len(), policy.trunks.len(), policy.allow.len()), (4, 1, 1));
    // What it says about strangers that prove themselves, and about a PBX, is what it says the defaults are.
    let text = include_str!("../../../../sip-filter.example.toml");
    let text = text.replace("signalling = \"drop\"", "signalling = \"prove\"");
    let commented =
        |line: &str| line.starts_with("# [[pbx]]") || line.contains(" = \"") && line.starts_with("# ");
    let (head, pbx) = text.split_at(text.find("# [[pbx]]").unwrap());
    let pbx: String =
        pbx.lines().filter(|line| commented(line)).map(|line| format!("{}\n", &line[2..])).collect();
    let policy = parsed(&format!("{head}{pbx}"));
    assert_eq!(policy.strangers.prove, Some(crate::policy::Prove::default()));
    assert_eq!(policy.pbxs.len(), 1);
}

#[test]
fn an_empty_file_is_a_policy_with_the_defaults() {
    let policy = parsed("");
    assert_eq!((policy.mode, policy.on_exit), (Mode::Monitor, OnExit::Hold));
    assert!(policy.interfaces.is_empty() && policy.listeners.is_empty() && policy.trunks.is_empty());
}

#[test]
fn every_mistake_names_its_place() {
    let check = |text: &str, expected: &[&str]| assert_eq!(mistakes(text), expected, "{text}");
    // The syntax, the keys and the types: the reader stops at the first.
    check("mode = \n", &["1:8 string values must be quoted, expected literal string"]);
    check("mode = \"monitor\"\nmode = \"enforce\"\n", &["2:1 duplicate key"]);
    check("mod = \"monitor\"\n", &["1:1 unknown key \"mod\""]);
    check("[deny]\nsource = []\n", &["2:1 unknown key \"source\""]);
    check("interfaces = \"eth0\"\n", &["1:14 invalid type: string \"eth0\", expected a list"]);
    check("[[listener]]\nname = \"a\"\n", &["1:1 the key \"kind\" is missing"]);
    check(
        "[[trunk]]\nname = \"a\"\nmedia = 5\n",
        &["3:9 invalid type: integer `5`, expected a list of prefixes"],
    );
    // The meaning: all at once, by place.
    check(
        "mode = \"Enforce\"\non_exit = \"close\"\ninterfaces = [\"eth0\", \"eth 1\", \"eth0\"]\nadmin = [\"10.0.0.5/8\"]\n",
        &[
            "1:8 mode cannot be \"Enforce\"",
            "2:11 on_exit cannot be \"close\"",
            "3:23 \"eth 1\" cannot be the name of an interface",
            "3:32 interface \"eth0\" is named twice",
            "4:10 \"10.0.0.5/8\" has bits set behind its prefix length",
        ],
    );
    check(
        "admin = [\"é\", \"10.0.0.300\", \"10.0.0.0/33\"]",
        &[
            "1:10 \"é\" is neither an address nor a prefix",
            "1:15 \"10.0.0.300\" is neither an address nor a prefix",
            "1:29 the prefix length of \"10.0.0.0/33\" is not a number from 0 to 32",
        ],
    );
}

#[test]
fn later_capabilities_are_refused_by_name() {
    let check =
        |text: &str, expected: &[&str]| assert_eq!(mistakes(&format!("{SIP}{text}")), expected, "{text}");
    check("[strangers]\nmedia = \"pinhole\"\n", &["9:9 media = \"pinhole\" is not supported yet"]);
    let in_trunk =
        |line: &str, expected: &[&str]| check(&format!("[[trunk]]\nname = \"a\"\n{line}\n"), expected);
    in_trunk("media = \"pinhole\"", &["10:9 media = \"pinhole\" is not supported yet"]);
    in_trunk("media = [\"preset:a\"]", &["10:10 the preset \"preset:a\" is not supported yet"]);
    in_trunk(
        "allow = [\"sip.example.com\", \"preset:a\"]",
        &[
            "10:10 the DNS name \"sip.example.com\" is not supported yet",
            "10:29 the preset \"preset:a\" is not supported yet",
        ],
    );
    in_trunk(
        "outbound_proxies = [\"sip.example.com:5061\", \"preset:a\"]",
        &[
            "10:21 the DNS name \"sip.example.com:5061\" is not supported yet",
            "10:45 the preset \"preset:a\" is not supported yet",
        ],
    );
}

/// A listener with the lines given; seven lines.
fn listener(name: &str, lines: &str) -> String {
    let lines = if lines.contains("ports") { lines.to_owned() } else { format!("ports = [5060]\n{lines}") };
    let transport = if lines.contains("transport") { "" } else { "transport = \"udp\"\n" };
    let kind = if lines.contains("kind") { "" } else { "kind = \"media\"\n" };
    format!("[[listener]]\nname = \"{name}\"\n{kind}{transport}{lines}\n")
}

#[test]
fn listeners_are_checked_one_by_one() {
    let check =
        |lines: &str, expected: &[&str]| assert_eq!(mistakes(&listener("a", lines)), expected, "{lines}");
    check("ports = [5060, \"10000-20000\", \"1\"]", &[]);
    check("ports = []", &["5:9 a listener without ports protects nothing"]);
    check(
        "ports = [0, 65536, \"20-10\", \"sip\", \"+5\", \"5-\"]",
        &[
            "5:10 \"0\" is neither a port nor a range of ports",
            "5:13 \"65536\" is neither a port nor a range of ports",
            "5:20 the range \"20-10\" descends",
            "5:29 \"sip\" is neither a port nor a range of ports",
            "5:36 \"+5\" is neither a port nor a range of ports",
            "5:42 \"5-\" is neither a port nor a range of ports",
        ],
    );
    check(
        "vlans = [1, 4094, 0, 4095, -1]",
        &["6:19 0 is not a VLAN ID", "6:22 4095 is not a VLAN ID", "6:28 -1 is not a VLAN ID"],
    );
    check("addresses = [\"10.0.0.1\", \"10.0.0.0/8\"]", &["6:26 \"10.0.0.0/8\" is not an address"]);
    check("kind = \"others\"", &["5:8 kind cannot be \"others\""]);
    check("transport = \"sctp\"", &["5:13 transport cannot be \"sctp\""]);
    check("allow = [\"10.0.0.0/8\"]", &["6:9 allow does not go with a listener of kind \"media\""]);
    check("kind = \"other\"\nallow = [\"10.0.0.0/8\"]", &[]);
    check("kind = \"other\"", &[]);
    assert_eq!(mistakes(&listener("", "")), ["2:8 \"\" cannot be the name of a listener"]);
    assert_eq!(mistakes(&listener("a b", "")), ["2:8 \"a b\" cannot be the name of a listener"]);
}

#[test]
fn listeners_must_not_share_packets() {
    let check = |first: &str, second: &str, port: Option<u16>| {
        let text = format!("{}{}", listener("a", first), listener("b", second));
        let found = mistakes(&text);
        let expected = port.map(|port| format!("listener \"b\" and listener \"a\" share port {port}"));
        assert_eq!(found.len(), usize::from(expected.is_some()), "{found:?}");
        assert!(found.iter().zip(expected).all(|(found, expected)| found.ends_with(&expected)), "{found:?}");
    };
    check("ports = [5060]", "ports = [\"5000-6000\"]", Some(5060));
    check("ports = [\"5000-5061\"]", "ports = [\"5061-6000\"]", Some(5061));
    check("ports = [5060]", "ports = [5061]", None);
    check("transport = \"tcp\"", "", None);
    check("addresses = [\"10.0.0.1\"]", "", Some(5060));
    check("addresses = [\"10.0.0.1\"]", "addresses = [\"10.0.0.2\"]", None);
    check("addresses = [\"10.0.0.1\"]", "addresses = [\"::ffff:10.0.0.1\"]", Some(5060));
    check("vlans = [5]", "", Some(5060));
    check("vlans = [5]", "vlans = [6]", None);
    check("vlans = [5, 6]", "vlans = [6]", Some(5060));
    check("vlans = [5]", "vlans = [6]\naddresses = [\"10.0.0.2\"]", None);
    let same_name = format!("{}{}", listener("a", ""), listener("a", "ports = [5]"));
    assert_eq!(mistakes(&same_name), ["8:8 there is another listener \"a\" above"]);
}

#[test]
fn at_most_so_many_listeners_are_possible() {
    let text = |count: usize| -> String {
        (1..=count).map(|port| listener(&format!("l{port}"), &format!("ports = [{port}]"))).collect()
    };
    assert!(mistakes(&text(sip_filter_common::LISTENERS_MAX)).is_empty());
    let found = mistakes(&text(sip_filter_common::LISTENERS_MAX + 1));
    assert_eq!(found, ["322:8 there are 65 listeners, at most 64 are possible"]);
}

#[test]
fn trunks_are_checked_one_by_one() {
    let check = |lines: &str, expected: &[&str]| {
        assert_eq!(mistakes(&format!("{SIP}[[trunk]]\nname = \"a\"\n{lines}\n")), expected, "{lines}");
    };
    check("listeners = [\"sip\", \"spi\"]", &["10:21 there is no listener \"spi\""]);
    check("listeners = []", &["10:13 a trunk without listeners reaches nothing"]);
    check("media = \"anybody\"", &["10:9 media cannot be \"anybody\""]);
    check("[[trunk]]\nname = \"a\"", &["11:8 there is another trunk \"a\" above"]);
    check(
        "outbound_proxies = [\"10.0.0.1\", \"10.0.0.2:5060\", \"[2001:db8::1]:5060\", \"2001:db8::2\", \"10.0.0.0/8\", \"10.0.0.1:0\"]",
        &[
            "10:87 \"10.0.0.0/8\" is neither an address nor an address and port",
            "10:101 \"10.0.0.1:0\" is neither an address nor an address and port",
        ],
    );
}

#[test]
fn trunks_must_not_claim_the_same_address() {
    let check = |first: &str, second: &str, rest: &str, expected: &[&str]| {
        let trunk = |name: &str, lines: &str| format!("[[trunk]]\nname = \"{name}\"\n{lines}\n");
        let rtp = "[[listener]]\nname = \"rtp\"\nkind = \"media\"\ntransport = \"udp\"\nports = [10000]\n";
        let text = format!("{SIP}{rtp}{}{}{rest}", trunk("a", first), trunk("b", second));
        assert_eq!(mistakes(&text), expected, "{text}");
    };
    let wide = "allow = [\"10.0.0.0/8\"]";
    let narrow = "allow = [\"10.1.0.0/16\"]";
    let clash =
        "trunk \"a\" already claims 10.0.0.0/8 at listener \"sip\", so trunk \"b\" cannot have 10.1.0.0/16";
    check(wide, narrow, "", &[&format!("18:10 {clash}")]);
    let reverse = "18:10 trunk \"a\" already claims 10.1.0.0/16 at listener \"sip\", so trunk \"b\" cannot have 10.0.0.0/8";
    check(narrow, wide, "", &[reverse]);
    check(
        wide,
        "outbound_proxies = [\"10.1.0.1:5060\"]",
        "",
        &[&format!("18:21 {}", clash.replace("10.1.0.0/16", "10.1.0.1/32"))],
    );
    check(wide, "allow = [\"11.0.0.0/8\"]", "", &[]);
    check(wide, narrow, "[deny]\nsources = [\"10.0.0.0/9\"]", &[]);
    check(wide, narrow, "[deny]\nsources = [\"10.1.0.0/17\", \"10.1.128.0/17\"]", &[]);
    check(wide, narrow, "[deny]\nsources = [\"10.1.0.0/17\"]", &[&format!("18:10 {clash}")]);
    check(&format!("{wide}\ndeny = [\"10.1.0.0/16\"]"), narrow, "", &[]);
    check(&format!("{wide}\nlisteners = [\"sip\"]"), &format!("{narrow}\nlisteners = [\"rtp\"]"), "", &[]);
    let on_media = "19:10 trunk \"a\" already claims 10.0.0.0/8 at listener \"rtp\", so trunk \"b\" cannot have 10.1.0.0/16";
    check(wide, "allow = []\nmedia = [\"10.1.0.0/16\"]", "", &[on_media]);
    check(&format!("{wide}\nmedia = []"), "media = [\"10.1.0.0/16\"]", "", &[]);
}

#[test]
fn what_is_hardly_meant_is_a_warning() {
    let check = |text: &str, expected: &[&str]| {
        let text = format!("admin = [\"192.0.2.10\"]\n{SIP}{text}");
        let policy = parsed(&text);
        let found: Vec<String> = policy
            .warnings
            .iter()
            .map(|found| format!("{}:{} {}", found.line, found.column, found.message))
            .collect();
        assert_eq!(found, expected, "{text}");
    };
    check("", &[]);
    check(
        "[allow]\nsources = [\"0.0.0.0/0\"]\n",
        &[
            "10:12 0.0.0.0/0 on a list of allow lets everybody in: nothing is filtered for this address family",
        ],
    );
    check(
        "[allow]\nsources = [\"10.0.0.1\", \"10.0.0.1/32\"]\n",
        &["10:24 \"10.0.0.1/32\" is on this list already"],
    );
    check(
        "[deny]\nsources = [\"10.0.0.0/9\", \"10.128.0.0/9\"]\n[[trunk]]\nname = \"a\"\nallow = [\"10.0.0.0/8\"]\n",
        &["13:10 10.0.0.0/8 never matches, for a deny list covers it"],
    );
    check(
        "[strangers.prove]\ntrust = \"flow\"\n",
        &["10:9 a registration lets in the whole address where strangers are dropped"],
    );
    let found = parsed("").warnings;
    assert_eq!(found.len(), 2, "{found}");
}

#[test]
fn mistakes_are_shown_with_source_and_remedy() {
    let text = "# caf\u{e9}\nadmin = [\"10.0.0.5/8\"]\n";
    let shown = parse(Path::new("/etc/sip-filter.toml"), text).unwrap_err();
    let expected = "\
error: /etc/sip-filter.toml:2:10: \"10.0.0.5/8\" has bits set behind its prefix length
  |
2 | admin = [\"10.0.0.5/8\"]
  |          ^^^^^^^^^^^^
  = write 10.0.0.0/8 or 10.0.0.5/32";
    assert_eq!(shown.to_string(), expected);
    let json = serde_json::to_value(&shown).unwrap();
    assert_eq!((&json[0]["line"], &json[0]["column"]), (&2.into(), &10.into()));
    let unknown = parse(Path::new("a"), "[[trunk]]\nname = \"x\"\nalow = []\n").unwrap_err().to_string();
    assert!(unknown.ends_with("= did you mean \"allow\"?"), "{unknown}");
}

#[test]
fn lists_are_kept_sorted_and_in_one_form() {
    let policy =
        parsed("[deny]\nsources = [\"::ffff:10.0.0.2\", \"2001:db8::1\", \"10.0.0.1\", \"10.0.0.0/24\"]\n");
    let deny: Vec<String> = policy.deny.iter().map(ToString::to_string).collect();
    assert_eq!(deny, ["10.0.0.0/24", "10.0.0.1/32", "10.0.0.2/32", "2001:db8::1/128"]);
    let listener: &Listener = &parsed(&listener("a", "ports = [7, \"3-5\", 6, 9, 4]")).listeners[0];
    assert_eq!((listener.kind, &listener.ports[..]), (ListenerKind::Media, &[3..=7, 9..=9][..]));
}

#[test]
fn a_hundred_thousand_entries_are_read_in_reasonable_time() {
    let entries = |from: u32| -> String {
        (0..100_000u32).map(|index| format!("\"{}\",", std::net::Ipv4Addr::from(from + index * 2))).collect()
    };
    let trunk =
        |name: &str, from: u32| format!("[[trunk]]\nname = \"{name}\"\nallow = [{}]\n", entries(from));
    let disjoint = format!("{SIP}{}{}", trunk("a", 0x0a00_0000), trunk("b", 0x0a00_0001));
    let started = std::time::Instant::now();
    assert_eq!(parsed(&disjoint).trunks[1].allow.len(), 100_000);
    let same = format!("{SIP}{}{}", trunk("a", 0x0a00_0000), trunk("b", 0x0a00_0000));
    assert_eq!(mistakes(&same).len(), 100_000);
    // Far above what it takes, far below what anything quadratic would.
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
