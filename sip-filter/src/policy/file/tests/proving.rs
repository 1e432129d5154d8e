//! Files that let strangers prove themselves, and trunks register.

use std::path::PathBuf;
use std::time::Duration;

use sip_filter_common::sip::Method;

use super::{SIP, mistakes, parsed};
use crate::policy::file::parse;
use crate::policy::{Pbx, PbxKind, Prove, Rate, Secret, TrustScope};

const PROVE: &str = "[strangers]\nsignalling = \"prove\"\n";

#[test]
fn strangers_prove_themselves_as_the_table_says() {
    let prove = |lines: &str| parsed(&format!("{SIP}{PROVE}{lines}")).strangers.prove;
    let default = prove("").unwrap();
    assert_eq!(default, Prove::default());
    assert_eq!(default.methods, Method::Register.bit() | Method::Options.bit());
    assert_eq!(parsed(SIP).strangers.prove, None);
    assert_eq!(parsed(&format!("{SIP}[strangers.prove]\nburst = 3\n")).strangers.prove, None);
    let table = "[strangers.prove]\nmethods = [\"REGISTER\"]\nrate = \"300/m\"\nburst = 3\n\
                 total_rate = \"100/s\"\nfailures = 2\nfailures_within = \"1m\"\nban = \"2h\"\ntrust = \"flow\"\n\
                 grace = \"0s\"\nscanners = \"drop\"\n";
    let expected = Prove {
        methods: Method::Register.bit(),
        rate: Rate { count: 300, per: Duration::from_mins(1) },
        burst: 3,
        total_rate: Rate { count: 100, per: Duration::from_secs(1) },
        failures: 2,
        failures_within: Duration::from_mins(1),
        ban: Duration::from_hours(2),
        trust: TrustScope::Flow,
        grace: Duration::ZERO,
        drops_scanners: true,
    };
    assert_eq!(prove(table), Some(expected));
}

#[test]
fn mistakes_in_the_table_of_strangers_name_their_place() {
    let check = |line: &str, expected: &[&str]| {
        assert_eq!(mistakes(&format!("{SIP}{PROVE}[strangers.prove]\n{line}\n")), expected, "{line}");
    };
    check("methods = []", &["11:11 a stranger that may send no method proves nothing"]);
    check(
        "methods = [\"register\", \"DIAL\"]",
        &["11:12 there is no method \"register\"", "11:24 there is no method \"DIAL\""],
    );
    check("rate = \"0/s\"", &["11:8 rate cannot be \"0/s\""]);
    check("rate = 5", &["11:8 invalid type: integer `5`, expected a string"]);
    check("burst = 0", &["11:9 burst cannot be 0"]);
    check("burst = 4294967296", &["11:9 burst cannot be 4294967296"]);
    check("total_rate = \"299/m\"", &["11:14 total_rate, 299/m, is below the rate of one source, 5/s"]);
    check("total_rate = \"300/m\"", &[]);
    check("rate = \"3000/s\"", &["11:8 total_rate, 2000/s, is below the rate of one source, 3000/s"]);
    check("failures = 0", &["11:12 failures cannot be 0"]);
    check("failures_within = \"0s\"", &["11:19 failures_within cannot be \"0s\", which is no time at all"]);
    check("ban = \"0s\"", &["11:7 ban cannot be \"0s\", which is no time at all"]);
    check("ban = \"soon\"", &["11:7 ban cannot be \"soon\""]);
    check("grace = \"0s\"", &[]);
    check("trust = \"port\"", &["11:9 trust cannot be \"port\""]);
    check("scanners = \"ban\"", &["11:12 scanners cannot be \"ban\""]);
    check("rates = \"5/s\"", &["11:1 unknown key \"rates\""]);
    let with_dropped = format!("{SIP}[strangers.prove]\nburst = 0\n");
    assert_eq!(mistakes(&with_dropped), ["9:9 burst cannot be 0"], "also where strangers are dropped");
    let without = "9:14 strangers have no signalling listener to prove themselves at";
    let media = SIP.replace("\"signalling\"", "\"media\"");
    assert_eq!(mistakes(&format!("{media}{PROVE}")), [without]);
}

#[test]
fn nobody_is_left_to_prove_something_that_none_can_see() {
    let warnings = |text: &str| -> Vec<String> {
        let policy = parsed(&format!("admin = [\"192.0.2.10\"]\n{text}"));
        policy
            .warnings
            .iter()
            .map(|warning| format!("{}:{} {}", warning.line, warning.column, warning.message))
            .collect()
    };
    let tls = SIP.replace("ports", "encrypted = true\nports").replace("udp", "tcp");
    let unseen =
        "listener \"sip\" is encrypted, so that no registration there is seen, and no PBX reports any";
    assert_eq!(warnings(&format!("{tls}{PROVE}")), [format!("11:14 {unseen}")]);
    assert!(warnings(&format!("{SIP}{PROVE}")).is_empty());
    assert!(warnings(&tls).is_empty(), "strangers are dropped there");
    let pbx = "[[pbx]]\nname = \"k\"\nkind = \"kamailio\"\naddress = \"/run/k\"\n";
    assert!(warnings(&format!("{tls}{PROVE}{pbx}")).is_empty());
    let mute = format!("{SIP}{PROVE}[strangers.prove]\nmethods = [\"OPTIONS\", \"OPTIONS\"]\n");
    assert_eq!(
        warnings(&mute),
        [
            "12:11 no stranger gets trusted without REGISTER among the methods",
            "12:23 \"OPTIONS\" is on this list already",
        ]
    );
}

#[test]
fn trunks_register_by_the_addresses_of_record_that_they_name() {
    let file = |rest: &str| format!("{SIP}[[trunk]]\nname = \"a\"\n{rest}\n");
    let check = |rest: &str, expected: &[&str]| assert_eq!(mistakes(&file(rest)), expected, "{rest}");
    let required = "require_registration = true";
    let policy = parsed(&file(&format!(
        "allow = [\"10.0.0.1\"]\n{required}\nregistrations = [\"100\", \"a@b.example\"]"
    )));
    assert!(policy.trunks[0].require_registration);
    assert_eq!(policy.trunks[0].registrations, ["100", "a@b.example"]);
    check("require_registration = false\nregistrations = []", &[]);
    check(
        "registrations = [\"sip:100@b.example\"]",
        &["10:18 \"sip:100@b.example\" is no address of record"],
    );
    check(
        "registrations = [\"\", \"a b\", \"@b\", \"a@\"]",
        &[
            "10:18 \"\" is no address of record",
            "10:22 \"a b\" is no address of record",
            "10:29 \"@b\" is no address of record",
            "10:35 \"a@\" is no address of record",
        ],
    );
    let never = "require_registration without any registrations: nobody could ever do more than register";
    check(&format!("allow = [\"10.0.0.1\"]\n{required}"), &[&format!("11:24 {never}")]);
    let nowhere =
        "require_registration with an empty allow, while strangers are dropped: nobody could register";
    let roaming = format!("registrations = [\"100\"]\n{required}");
    check(&roaming, &[&format!("11:24 {nowhere}")]);
    check(&format!("{roaming}\n{PROVE}"), &[]);
    check(&format!("{roaming}\noutbound_proxies = [\"10.0.0.1\"]"), &[]);
}

#[test]
fn an_address_of_record_belongs_to_one_trunk() {
    let check = |first: &str, second: &str, is_taken: bool| {
        let trunk =
            |name: &str, aor: &str| format!("[[trunk]]\nname = \"{name}\"\nregistrations = [\"{aor}\"]\n");
        let found = mistakes(&format!("{SIP}{}{}", trunk("a", first), trunk("b", second)));
        let expected = format!("13:18 \"{second}\" belongs to trunk \"a\" already");
        assert_eq!(found, if is_taken { vec![expected] } else { Vec::new() }, "{first} and {second}");
    };
    check("100", "100", true);
    check("100", "100@b.example", true);
    check("100@b.example", "100", true);
    check("100@b.example", "100@B.EXAMPLE", true);
    check("alice", "Alice", true);
    check("+4930@b.example", "%2B4930", true);
    check("100@b.example", "100@c.example", false);
    check("100", "101", false);
}

#[test]
fn pbxs_are_read() {
    let text = "[[pbx]]\nname = \"a\"\nkind = \"asterisk\"\naddress = \"127.0.0.1:5038\"\nuser = \"sip-filter\"\n\
                secret_file = \"secrets/a\"\n[[pbx]]\nname = \"k\"\nkind = \"kamailio\"\naddress = \"/run/kamailio/rpc\"\n";
    let policy = parse(std::path::Path::new("/etc/x/policy.toml"), text).unwrap();
    let asterisk = Pbx {
        name: "a".to_owned(),
        kind: PbxKind::Asterisk,
        address: "127.0.0.1:5038".to_owned(),
        user: Some("sip-filter".to_owned()),
        secret: Some(Secret::File(PathBuf::from("/etc/x/secrets/a"))),
    };
    let kamailio = Pbx {
        name: "k".to_owned(),
        kind: PbxKind::Kamailio,
        address: "/run/kamailio/rpc".to_owned(),
        user: None,
        secret: None,
    };
    assert_eq!(policy.pbxs, [asterisk, kamailio]);
}

#[test]
fn mistakes_about_a_pbx_name_their_place() {
    let check = |lines: &str, expected: &[&str]| {
        assert_eq!(mistakes(&format!("[[pbx]]\nname = \"a\"\n{lines}\n")), expected, "{lines}");
    };
    let kamailio = "kind = \"kamailio\"\n";
    let at = |address: &str| format!("{kamailio}address = \"{address}\"");
    for right in ["127.0.0.1:1", "[::1]:8080", "pbx.example:80", "localhost:5038", "/run/k"] {
        check(&at(right), &[]);
    }
    for wrong in
        ["", "127.0.0.1", "127.0.0.1:0", "::1", "::1:8080", "k:", ":80", "run/k", "a b:80", "k:99999"]
    {
        check(&at(wrong), &[&format!("4:11 \"{wrong}\" is no address of a PBX")]);
    }
    for (kind, whose) in
        [("asterisk", "Asterisk's manager interface"), ("freeswitch", "FreeSWITCH's event socket")]
    {
        let lines = format!("kind = \"{kind}\"\naddress = \"/run/k\"\nuser = \"a\"\nsecret = \"b\"");
        check(&lines, &[&format!("4:11 \"/run/k\" is a path, but {whose} is reached by TCP")]);
    }
    check("kind = \"opensips\"\naddress = \"/run/k\"", &[]);
    check("kind = \"3cx\"\naddress = \"k:80\"", &["3:8 kind cannot be \"3cx\""]);
    check(
        &format!("{}\n[[pbx]]\nname = \"a\"\n{}", at("k:80"), at("k:81")),
        &["6:8 there is another pbx \"a\" above"],
    );
    let login = "2:8 Asterisk's manager interface asks for a user and a secret";
    let asterisk = "kind = \"asterisk\"\naddress = \"k:5038\"";
    check(asterisk, &[login]);
    check(&format!("{asterisk}\nuser = \"a\""), &[login]);
    check(&format!("{asterisk}\nuser = \"a\"\nsecret = \"b\""), &[]);
    check(
        &format!("{asterisk}\nuser = \"\"\nsecret = \"\""),
        &["5:8 the user is empty", "6:10 the secret is empty"],
    );
    check(
        &format!("{}\nsecret = \"a\"\nsecret_file = \"b\"", at("k:80")),
        &["6:15 secret and secret_file exclude each other"],
    );
    let password = "2:8 FreeSWITCH's event socket asks for a password";
    check("kind = \"freeswitch\"\naddress = \"k:8021\"", &[password]);
}
