//! List files, beside policy files that name them, and what is said about both.

use std::collections::BTreeMap;

use super::*;
use crate::policy::file::{check_alone, parse, parse_with};
use crate::policy::mistake::Mistakes;
use crate::policy::{ListName, Policy};

/// List files by their paths.
struct InMemory(BTreeMap<&'static str, Vec<u8>>);

impl ListFiles for InMemory {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, ListFileError> {
        let bytes = path.to_str().and_then(|path| self.0.get(path)).cloned();
        bytes.map(Some).ok_or_else(|| ListFileError::Missing { path: path.to_owned() })
    }
}

/// One policy file in `/etc`, with the list files given.
fn read(policy: &str, files: &[(&'static str, &[u8])]) -> Result<Policy, Mistakes> {
    let files = InMemory(files.iter().map(|(path, bytes)| (*path, bytes.to_vec())).collect());
    parse_with(Path::new("/etc/test.toml"), policy, &files)
}

fn parsed(policy: &str, files: &[(&'static str, &[u8])]) -> Policy {
    read(policy, files).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn texts(prefixes: &[IpNet]) -> Vec<String> {
    prefixes.iter().map(ToString::to_string).collect()
}

/// `FILE:LINE:COLUMN message` of each, where the policy file has no name.
fn told(mistakes: &Mistakes) -> Vec<String> {
    let file =
        |file: &Option<PathBuf>| file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
    let line = |it: &crate::policy::mistake::Mistake| {
        format!("{}:{}:{} {}", file(&it.file), it.line, it.column, it.message)
    };
    mistakes.iter().map(line).collect()
}

/// One listener and the lists of one trunk.
fn trunk(lists: &str) -> String {
    let sip = "[[listener]]\nname = \"sip\"\nkind = \"signalling\"\ntransport = \"udp\"\nports = [5060]\n";
    format!("admin = [\"192.0.2.10\"]\n{sip}[[trunk]]\nname = \"a\"\n{lists}\n")
}

#[test]
fn a_line_is_a_prefix_with_or_without_comment_and_spaces() {
    let check = |text: &str, expected: &[&str]| {
        let policy = parsed("[deny]\nsources = [\"file:x\"]\n", &[("/etc/x", text.as_bytes())]);
        assert_eq!(texts(&policy.deny), expected, "{text:?}");
    };
    check("10.0.0.1\n10.0.0.0/8\n", &["10.0.0.0/8", "10.0.0.1/32"]);
    check("10.0.0.1", &["10.0.0.1/32"]);
    check("\n\n 10.0.0.1\t\n \n", &["10.0.0.1/32"]);
    check("# all\n10.0.0.1 # one\n10.0.0.2# two\n#10.0.0.3\n", &["10.0.0.1/32", "10.0.0.2/32"]);
    check("10.0.0.1\r\n\r\n10.0.0.2\r\n", &["10.0.0.1/32", "10.0.0.2/32"]);
    check("\u{feff}10.0.0.1\n", &["10.0.0.1/32"]);
    check("\u{feff}# caf\u{e9}\n10.0.0.1\n", &["10.0.0.1/32"]);
    check("2001:DB8::/32\n::ffff:10.0.0.0/104\n9.0.0.0/8", &["9.0.0.0/8", "10.0.0.0/8", "2001:db8::/32"]);
    check("10.0.0.1\n10.0.0.1/32\n::ffff:10.0.0.1\n", &["10.0.0.1/32"]);
    check("255.255.255.255\n0.0.0.0/0\n128.0.0.0/1\n", &["0.0.0.0/0", "128.0.0.0/1", "255.255.255.255/32"]);
}

#[test]
fn a_line_is_read_the_short_way_only_where_the_long_way_says_the_same() {
    let check = |line: &str, expected: bool| assert_eq!(plain(line.as_bytes()).is_some(), expected, "{line}");
    for line in ["0.0.0.0/0", "10.0.0.1", "255.255.255.255/32", "10.0.0.0/8\r", "128.0.0.0/1"] {
        check(line, true);
    }
    for line in
        ["", "10.0.0.1 ", "10.0.0.01", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.1#", "1.1.1.256"]
    {
        check(line, false);
    }
}

proptest::proptest! {
    #[test]
    fn the_short_way_agrees_with_the_long_way(
        line in "[0-9]{1,3}(\\.[0-9]{1,3}){3}(/[0-9]{1,2})?",
        address: u32,
        length in 0_u8..=32,
    ) {
        let read = plain(line.as_bytes()).map(unpacked);
        proptest::prop_assert!(read.is_none() || read == parse_prefix(&line).ok(), "{}", line);
        let prefix = Ipv4Net::new_assert(address.into(), length).trunc();
        proptest::prop_assert_eq!(plain(prefix.to_string().as_bytes()), Some(packed(prefix)));
        proptest::prop_assert_eq!(unpacked(packed(prefix)), IpNet::V4(prefix));
    }
}

#[test]
fn every_list_takes_list_files_beside_its_own_entries() {
    let policy = "\
admin = [\"file:x\", \"192.0.2.10\"]
[[listener]]
name = \"web\"
kind = \"other\"
transport = \"tcp\"
ports = [80]
allow = [\"192.0.2.10\", \"file:x\"]
[deny]
sources = [\"file:x\", \"192.0.2.10\"]
[allow]
sources = [\"file:x\", \"192.0.2.10\"]
[[trunk]]
name = \"a\"
allow = [\"file:x\"]
deny = [\"file:x\", \"192.0.2.10\"]
media = [\"192.0.2.10\", \"file:x\"]
outbound_proxies = [\"192.0.2.10:5060\"]
";
    let policy = parsed(policy, &[("/etc/x", b"10.0.0.1\n")]);
    let trunk = &policy.trunks[0];
    let lists =
        [&policy.admin, &policy.deny, &policy.allow, &policy.listeners[0].allow, &trunk.allow, &trunk.deny];
    for list in lists.into_iter().chain(&trunk.media) {
        assert_eq!(texts(list), ["10.0.0.1/32", "192.0.2.10/32"]);
    }
    assert_eq!(policy.sources.len(), 7);
    for sources in &policy.sources {
        assert_eq!(texts(&sources.own), ["192.0.2.10/32"], "{sources:?}");
        assert_eq!((sources.files.len(), sources.files[0].prefixes), (1, 1), "{sources:?}");
        assert_eq!(sources.files[0].file, Path::new("/etc/x"));
    }
    assert!(policy.sources_of(None, ListName::Admin).is_some());
}

#[test]
fn a_relative_path_begins_where_the_policy_file_is() {
    let check = |name: &str, entry: &str, path: &'static str| {
        let files = InMemory(BTreeMap::from([(path, b"10.0.0.1".to_vec())]));
        let text = format!("[deny]\nsources = [\"file:{entry}\"]\n");
        let policy = parse_with(Path::new(name), &text, &files).unwrap_or_else(|it| panic!("{name}: {it}"));
        assert_eq!(policy.deny.len(), 1);
    };
    check("/etc/test.toml", "x.txt", "/etc/x.txt");
    check("/etc/test.toml", "lists/x.txt", "/etc/lists/x.txt");
    check("/etc/test.toml", "/var/x.txt", "/var/x.txt");
    check("test.toml", "x.txt", "x.txt");
    check("../test.toml", "x.txt", "../x.txt");
}

#[test]
fn a_file_that_cannot_be_used_is_a_mistake_where_it_is_named() {
    let check = |entry: &str, bytes: &[u8], expected: &str| {
        let policy = format!("[deny]\nsources = [\"10.0.0.1\", \"{entry}\"]\n");
        let mistakes = read(&policy, &[("/etc/x", bytes)]).unwrap_err();
        assert_eq!(told(&mistakes), [expected]);
    };
    check("file:y", b"", ":2:24 there is no list file /etc/y");
    check("file:", b"", ":2:24 the entry names no list file");
    check("file:x", b"10.0.0.1\n\n\xff\xfe", ":2:24 the list file /etc/x is no text, as line 3 shows");
    check("file:x", b"\x7fELF\0\0", ":2:24 the list file /etc/x is no text, as line 1 shows");
    let alone = parse(Path::new("/etc/test.toml"), "[deny]\nsources = [\"file:x\"]\n").unwrap_err();
    assert_eq!(told(&alone), [":2:12 there is no list file /etc/x"]);
}

#[test]
fn more_prefixes_than_the_kernel_holds_are_refused() {
    let text = "1.1.1.1\n".repeat(PREFIXES_MAX as usize + 1);
    let mistakes = read("[deny]\nsources = [\"file:x\"]\n", &[("/etc/x", text.as_bytes())]).unwrap_err();
    assert_eq!(told(&mistakes), [":2:12 the list file /etc/x has more than 4194304 prefixes"]);
    let fits = &text.as_bytes()[8..];
    assert_eq!(parsed("[deny]\nsources = [\"file:x\"]\n", &[("/etc/x", fits)]).deny.len(), 1);
}

#[test]
fn a_mistake_in_a_list_file_names_that_file_and_the_line() {
    let text =
        "\u{feff}# peers\n10.0.0.1\n \t10.0.0.300 # no\r\n10.0.0.1/8\nsip.example.com\nfile:y\npreset:z\n";
    let policy = "[deny]\nsources = [\"file:x\", \"10.0.0.256\"]\n[allow]\nsources = [\"file:x\"]\n";
    let mistakes = read(policy, &[("/etc/x", text.as_bytes())]).unwrap_err();
    let expected = [
        ":2:22 \"10.0.0.256\" is neither an address nor a prefix",
        "/etc/x:3:3 \"10.0.0.300\" is neither an address nor a prefix",
        "/etc/x:4:1 \"10.0.0.1/8\" has bits set behind its prefix length",
        "/etc/x:5:1 the DNS name \"sip.example.com\" is not supported yet",
        "/etc/x:6:1 \"file:y\" cannot stand here: only the lists of the policy file name list files",
        "/etc/x:7:1 the preset \"preset:z\" is not supported yet",
    ];
    assert_eq!(told(&mistakes), expected);
    let shown = mistakes.to_string();
    let second = "\
error: /etc/x:3:3: \"10.0.0.300\" is neither an address nor a prefix
  |
3 |   10.0.0.300 # no
  |   ^^^^^^^^^^
  = write an address or a prefix, such as 192.0.2.10 or 2001:db8::/32";
    assert!(shown.contains(second), "{shown}");
    let json = serde_json::to_value(&mistakes).unwrap();
    assert_eq!((&json[0].get("file"), &json[1]["file"]), (&None, &"/etc/x".into()));
}

#[test]
fn many_mistakes_in_one_list_file_are_counted() {
    let lines: String = (0..100_000).map(|number| format!("line {number}\n")).collect();
    let mistakes = read("[deny]\nsources = [\"file:x\"]\n", &[("/etc/x", lines.as_bytes())]).unwrap_err();
    let told = told(&mistakes);
    assert_eq!(told.len(), 21);
    assert!(told[19].starts_with("/etc/x:20:1 \"line 19\" is"), "{told:?}");
    assert_eq!(told[20], "/etc/x:21:1 99980 more mistakes in this file, not shown; here is one of them");
    // The same for trunks that claim what the list of another says.
    let addresses: String = (0..1_000).map(|low| format!("10.0.{}.{}\n", low / 250, low % 250)).collect();
    let policy = trunk("allow = [\"10.0.0.0/8\"]\n[[trunk]]\nname = \"b\"\nallow = [\"file:x\"]");
    let mistakes = read(&policy, &[("/etc/x", addresses.as_bytes())]).unwrap_err();
    let told = self::told(&mistakes);
    assert_eq!(told.len(), 21);
    assert!(told[1].starts_with("/etc/x:2:1 trunk \"a\" already claims 10.0.0.0/8 at"), "{told:?}");
    assert!(told[20].starts_with("/etc/x:21:1 980 more mistakes"), "{told:?}");
}

#[test]
fn what_is_hardly_meant_in_a_list_file_is_one_warning() {
    let check = |policy: &str, text: &str, expected: &[&str]| {
        let policy = parsed(policy, &[("/etc/x", text.as_bytes())]);
        assert_eq!(told(&policy.warnings), expected);
    };
    check(&trunk("allow = [\"file:x\", \"10.0.0.1\"]"), "10.0.0.1\n", &[]);
    check(
        &trunk("allow = [\"file:x\"]"),
        "10.0.0.9\n10.0.0.1\n10.0.0.2\n10.0.0.1\n10.0.0.1/32\n10.0.0.2\n",
        &["/etc/x:2:1 3 lines of this file repeat a prefix that it has already, such as 10.0.0.1/32"],
    );
    check(&trunk("allow = [\"file:x\"]"), "# none\n", &[":9:10 the list file /etc/x names no prefix"]);
    check(
        &trunk("allow = [\"file:x\", \"file:/etc/x\"]"),
        "10.0.0.1\n",
        &[":9:20 \"file:/etc/x\" is on this list already"],
    );
    check(
        &trunk("allow = [\"file:x\"]\ndeny = [\"10.1.0.0/17\"]\n[deny]\nsources = [\"10.1.128.0/17\"]"),
        "10.0.0.1\n10.1.0.0/16\n10.1.0.1\n",
        &[
            ":9:10 2 of the 3 prefixes in /etc/x never match, such as 10.1.0.0/16, for a deny list covers them",
        ],
    );
    check(
        &trunk("allow = [\"file:x\"]"),
        "10.0.0.1\n0.0.0.0/0\n",
        &[
            "/etc/x:2:1 0.0.0.0/0 on a list of allow lets everybody in: nothing is filtered for this address family",
        ],
    );
    check(&trunk("deny = [\"file:x\"]"), "10.0.0.1\n0.0.0.0/0\n", &[]);
}

#[test]
fn a_policy_file_can_be_checked_without_its_list_files() {
    let check = |text: &str| check_alone(Path::new("/etc/test.toml"), text);
    let denied = "allow = [\"10.0.0.0/8\"]\n[[trunk]]\nname = \"b\"\nallow = [\"10.0.0.1\"]\n[deny]\nsources = [\"file:x\"]";
    assert_eq!(check(&trunk(denied)), Ok(()), "the file may settle it");
    let mistakes = check(&trunk("allow = [\"file:x\", \"10.0.0.300\"]")).unwrap_err();
    assert_eq!(told(&mistakes), [":9:20 \"10.0.0.300\" is neither an address nor a prefix"]);
}

#[test]
fn a_live_change_leaves_the_account_of_the_list_files_right() {
    use crate::policy::change::{Action, List, ListChange};
    let mut policy =
        parsed(&trunk("allow = [\"file:x\", \"10.0.0.9\"]"), &[("/etc/x", b"10.0.0.1\n10.0.0.2\n")]);
    let before = policy.clone();
    let change = |action, text: &str| ListChange {
        list: List::Trunk("a".to_owned()),
        prefix: parse_prefix(text).unwrap(),
        action,
    };
    let account = |policy: &Policy| {
        let sources = &policy.sources[0];
        (texts(&policy.trunks[0].allow), texts(&sources.own), texts(&sources.removed))
    };
    let known = policy.change(&change(Action::Add, "10.0.0.1")).unwrap_err();
    assert_eq!(known.to_string(), "10.0.0.1/32 is already on the allow list of trunk \"a\"");
    for made in [
        change(Action::Add, "10.0.0.5"),
        change(Action::Remove, "10.0.0.1"),
        change(Action::Remove, "10.0.0.9"),
    ] {
        policy.change(&made).unwrap();
    }
    let own = |texts: &[&str]| texts.iter().map(|text| format!("{text}/32")).collect::<Vec<_>>();
    let expected = (own(&["10.0.0.2", "10.0.0.5"]), own(&["10.0.0.5"]), own(&["10.0.0.1"]));
    assert_eq!(account(&policy), expected);
    for made in
        [change(Action::Add, "10.0.0.9"), change(Action::Add, "10.0.0.1"), change(Action::Remove, "10.0.0.5")]
    {
        policy.change(&made).unwrap();
    }
    assert_eq!(policy, before);
}

#[test]
fn a_million_prefixes_are_read_in_reasonable_time() {
    // Every address once, in no order.
    let addresses = (0..1_000_000_u32).map(|index| index.wrapping_mul(2_654_435_761));
    let lines: String = addresses.map(|address| format!("{}\n", std::net::Ipv4Addr::from(address))).collect();
    let started = std::time::Instant::now();
    let policy = parsed(&trunk("allow = [\"file:x\"]"), &[("/etc/x", lines.as_bytes())]);
    println!("a million prefixes read in {:?}", started.elapsed());
    assert_eq!(policy.trunks[0].allow.len(), 1_000_000);
    assert!(policy.trunks[0].allow.is_sorted());
    // Far above what it takes, far below what anything quadratic would.
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
