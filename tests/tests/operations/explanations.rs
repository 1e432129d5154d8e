//! `explain`: the loaded program's answer, and what decided.

use std::fs;

use serde_json::{Value, json};
use tests::{Filter, Lab, POLICY};

use super::asking::{assert_told, done, told};

const MORE: &str = r#"
[allow]
sources = ["192.0.2.64/26"]

[[listener]]
name = "pbx-admin"
kind = "other"
transport = "tcp"
ports = ["8088"]
allow = ["10.0.0.0/8"]

[[listener]]
name = "inside"
kind = "signalling"
transport = "udp"
ports = ["5080"]
vlans = [10, 20]

[[trunk]]
name = "second"
allow = ["198.18.0.0/24", "198.18.0.128/25"]
deny = ["198.18.0.9"]
media = ["198.19.0.0/24"]
"#;

#[test]
fn every_kind_of_entry_that_decides_is_named_and_no_counter_moves() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, &format!("{POLICY}{MORE}")).unwrap();
    done(&filter, "ban add 2001:db8:5060::77 --for 1h --cause rude");
    let before = counters(&filter);
    let check = |question: &str, verdict: &str, reason: &str, because: Value| {
        let words: Vec<&str> = ["explain"].into_iter().chain(question.split(' ')).collect();
        let mut answer = filter.json(&words).unwrap();
        if let Some(ban) = answer["because"].as_object_mut() {
            ban.remove("remaining_ms");
        }
        let expected = (json!(verdict), json!(reason), because);
        assert_eq!((answer["verdict"].take(), answer["reason"].take(), answer["because"].take()), expected, "{question}");
        let told = filter.done(&words).unwrap();
        assert!(told.starts_with(&format!("{verdict}: {reason}")), "{question}: {told}");
    };
    let sip = |from: &str, to: &str| format!("--from {from} --to {to} --transport udp");
    let none = Value::Null;
    let carrier = |entry: &str| json!({"trunk": "carrier", "entry": entry});
    let second = |entry: &str| json!({"trunk": "second", "entry": entry});
    check(&sip("198.51.100.20", ":5060"), "pass", "trunk", carrier("198.51.100.20/32"));
    check(&sip("198.51.100.20:5060", "198.51.100.10:5060"), "pass", "trunk", carrier("198.51.100.20/32"));
    check(&sip("2001:db8:5060::20", ":5060"), "pass", "trunk", carrier("2001:db8:5060::20/128"));
    check(&sip("[2001:db8:5060::20]:5060", "[2001:db8:5060::10]:5060"), "pass", "trunk", carrier("2001:db8:5060::20/128"));
    check(&sip("2001:db8:5060::20", "[]:5060"), "pass", "trunk", carrier("2001:db8:5060::20/128"));
    check(&sip("::ffff:198.51.100.20", ":5060"), "pass", "trunk", carrier("198.51.100.20/32"));
    check(&sip("198.18.0.1", ":5060"), "pass", "trunk", second("198.18.0.0/24"));
    check(&sip("198.18.0.200", ":5060"), "pass", "trunk", second("198.18.0.128/25"));
    check(&sip("198.19.0.1", ":10000"), "pass", "trunk", second("198.19.0.0/24"));
    check(&sip("198.19.0.1", ":5060"), "drop", "stranger", none.clone());
    check(&sip("198.18.0.1", ":10000"), "drop", "stranger", none.clone());
    check(&sip("198.18.0.9", ":5060"), "drop", "denied", json!({"trunk": "second", "list": "deny", "entry": "198.18.0.9/32"}));
    check(&sip("203.0.113.9", ":5060"), "drop", "denied", json!({"list": "deny", "entry": "203.0.113.0/24"}));
    check(&sip("2001:db8:bad::9", ":5060"), "drop", "denied", json!({"list": "deny", "entry": "2001:db8:bad::/48"}));
    check(&sip("192.0.2.10", ":5060"), "pass", "admin", json!({"list": "admin", "entry": "192.0.2.10/32"}));
    check(&sip("192.0.2.70", ":5060"), "pass", "trunk", json!({"list": "allow", "entry": "192.0.2.64/26"}));
    check(&sip("2001:db8:5060::77", ":5060"), "drop", "banned", json!({"ban": "2001:db8:5060::77", "cause": "rude"}));
    check(&sip("198.51.100.30", ":5060"), "drop", "stranger", none.clone());
    check(&sip("2001:db8:5060::30", ":5060"), "drop", "stranger", none.clone());
    check(&sip("198.51.100.30", ":53"), "pass", "not_protected", none.clone());
    check(&sip("198.51.100.20", ":5080"), "drop", "wrong_vlan", json!({"listener": "inside", "vlans": [10, 20]}));
    check(&(sip("198.51.100.20", ":5080") + " --vlan 20"), "pass", "trunk", carrier("198.51.100.20/32"));
    check(&(sip("198.51.100.20", ":5080") + " --vlan 30"), "drop", "wrong_vlan", json!({"listener": "inside", "vlans": [10, 20]}));
    let admin = |from: &str| format!("--from {from} --to :8088 --transport tcp");
    check(&admin("10.1.2.3"), "pass", "trunk", json!({"listener": "pbx-admin", "entry": "10.0.0.0/8"}));
    check(&admin("198.51.100.20"), "drop", "stranger", none.clone());
    let payload = lab.directory().join("payload");
    for bytes in [0, 1, 1_400, 3_000, 65_000] {
        fs::write(&payload, "x".repeat(bytes)).unwrap();
        let with = |transport: &str| {
            format!("--from 198.51.100.30 --to :5060 --transport {transport} --payload {}", payload.display())
        };
        check(&with("udp"), "drop", "stranger", none.clone());
        check(&with("tcp"), "drop", "stranger", none.clone());
    }
    assert_eq!(counters(&filter), before);
}

/// Without those that neighbour discovery moves.
fn counters(filter: &Filter) -> Value {
    let mut counters = filter.status().unwrap()["counters"].take();
    counters.as_object_mut().unwrap().retain(|reason, _| !["not_ip", "not_protected"].contains(&reason.as_str()));
    counters
}

#[test]
fn a_question_that_no_packet_can_be_is_refused() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let missing = lab.directory().join("missing").display().to_string();
    let huge = lab.directory().join("huge");
    fs::write(&huge, "x".repeat(65_508)).unwrap();
    let huge = huge.display().to_string();
    for (question, words) in [
        ("--from 192.0.2.1 --to [2001:db8::1]:5060 --transport udp", vec!["192.0.2.1", "2001:db8::1", "different IP versions"]),
        ("--from 2001:db8::1 --to 192.0.2.1:5060 --transport tcp", vec!["different IP versions"]),
        ("--from nobody --to :5060 --transport udp", vec!["nobody", "192.0.2.1:5060"]),
        ("--from 192.0.2.1 --to 192.0.2.2 --transport udp", vec!["192.0.2.2", "198.51.100.1:5060"]),
        ("--from 192.0.2.1 --to :70000 --transport udp", vec![":70000"]),
        ("--from 192.0.2.1 --to :5060", vec!["--transport"]),
        ("--from 192.0.2.1 --to :5060 --transport udp --vlan 4095", vec!["4095", "4094"]),
        (&format!("--from 192.0.2.1 --to :5060 --transport udp --payload {huge}"), vec!["65508", "65507"]),
        (&format!("--from 192.0.2.1 --to :5060 --transport udp --payload {missing}"), vec![&missing]),
    ] {
        assert_told(question, &told(&filter, &format!("explain {question}")), 2, &words);
    }
}
