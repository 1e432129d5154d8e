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

/// Source; destination, transport and more; verdict and reason; and because.
const ANSWERS: [(&str, &str, &str, &str); 26] = [
    ("198.51.100.20", ":5060 udp", "pass trunk", r#"{"trunk": "carrier", "entry": "198.51.100.20/32"}"#),
    (
        "198.51.100.20:5060",
        "198.51.100.10:5060 udp",
        "pass trunk",
        r#"{"trunk": "carrier", "entry": "198.51.100.20/32"}"#,
    ),
    ("198.51.100.20", ":5060 tcp", "pass trunk", r#"{"trunk": "carrier", "entry": "198.51.100.20/32"}"#),
    (
        "2001:db8:5060::20",
        ":5060 udp",
        "pass trunk",
        r#"{"trunk": "carrier", "entry": "2001:db8:5060::20/128"}"#,
    ),
    (
        "[2001:db8:5060::20]:5060",
        "[2001:db8:5060::10]:5060 udp",
        "pass trunk",
        r#"{"trunk": "carrier", "entry": "2001:db8:5060::20/128"}"#,
    ),
    (
        "2001:db8:5060::20",
        "[]:5060 udp",
        "pass trunk",
        r#"{"trunk": "carrier", "entry": "2001:db8:5060::20/128"}"#,
    ),
    (
        "::ffff:198.51.100.20",
        ":5060 udp",
        "pass trunk",
        r#"{"trunk": "carrier", "entry": "198.51.100.20/32"}"#,
    ),
    ("198.18.0.1", ":5060 udp", "pass trunk", r#"{"trunk": "second", "entry": "198.18.0.0/24"}"#),
    ("198.18.0.200", ":5060 udp", "pass trunk", r#"{"trunk": "second", "entry": "198.18.0.128/25"}"#),
    ("198.19.0.1", ":10000 udp", "pass trunk", r#"{"trunk": "second", "entry": "198.19.0.0/24"}"#),
    ("198.19.0.1", ":5060 udp", "drop stranger", "null"),
    ("198.18.0.1", ":10000 udp", "drop stranger", "null"),
    (
        "198.18.0.9",
        ":5060 udp",
        "drop denied",
        r#"{"trunk": "second", "list": "deny", "entry": "198.18.0.9/32"}"#,
    ),
    ("203.0.113.9", ":5060 udp", "drop denied", r#"{"list": "deny", "entry": "203.0.113.0/24"}"#),
    ("2001:db8:bad::9", ":5060 udp", "drop denied", r#"{"list": "deny", "entry": "2001:db8:bad::/48"}"#),
    ("192.0.2.10", ":5060 udp", "pass admin", r#"{"list": "admin", "entry": "192.0.2.10/32"}"#),
    ("192.0.2.70", ":5060 udp", "pass trunk", r#"{"list": "allow", "entry": "192.0.2.64/26"}"#),
    ("2001:db8:5060::77", ":5060 udp", "drop banned", r#"{"ban": "2001:db8:5060::77", "cause": "rude"}"#),
    ("198.51.100.30", ":5060 udp", "drop stranger", "null"),
    ("2001:db8:5060::30", ":5060 tcp", "drop stranger", "null"),
    ("198.51.100.30", ":53 udp", "pass not_protected", "null"),
    ("198.51.100.20", ":5080 udp", "drop wrong_vlan", r#"{"listener": "inside", "vlans": [10, 20]}"#),
    (
        "198.51.100.20",
        ":5080 udp --vlan 20",
        "pass trunk",
        r#"{"trunk": "carrier", "entry": "198.51.100.20/32"}"#,
    ),
    (
        "198.51.100.20",
        ":5080 udp --vlan 30",
        "drop wrong_vlan",
        r#"{"listener": "inside", "vlans": [10, 20]}"#,
    ),
    ("10.1.2.3", ":8088 tcp", "pass trunk", r#"{"listener": "pbx-admin", "entry": "10.0.0.0/8"}"#),
    ("198.51.100.20", ":8088 tcp", "drop stranger", "null"),
];

#[test]
fn every_kind_of_entry_that_decides_is_named_and_no_counter_moves() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, &format!("{POLICY}{MORE}")).unwrap();
    done(&filter, "ban add 2001:db8:5060::77 --for 1h --cause rude");
    let before = counters(&filter);
    for (from, to, answer, because) in ANSWERS {
        check(&filter, from, to, answer, because);
    }
    let payload = lab.directory().join("payload");
    for bytes in [0, 1, 1_400, 3_000, 65_000] {
        fs::write(&payload, "x".repeat(bytes)).unwrap();
        for transport in ["udp", "tcp"] {
            let to = format!(":5060 {transport} --payload {}", payload.display());
            check(&filter, "198.51.100.30", &to, "drop stranger", "null");
        }
    }
    assert_eq!(counters(&filter), before);
}

fn check(filter: &Filter, from: &str, to: &str, answer: &str, because: &str) {
    let (to, transport) = to.split_once(' ').unwrap();
    let question = format!("explain --from {from} --to {to} --transport {transport}");
    let words: Vec<&str> = question.split(' ').collect();
    let mut explained = filter.json(&words).unwrap();
    if let Some(ban) = explained["because"].as_object_mut() {
        ban.remove("remaining_ms");
    }
    let (verdict, reason) = answer.split_once(' ').unwrap();
    assert_eq!(
        (&explained["verdict"], &explained["reason"]),
        (&json!(verdict), &json!(reason)),
        "{question}"
    );
    let because: Value = serde_json::from_str(because).unwrap();
    assert_eq!(explained["because"], because, "{question}");
    let told = filter.done(&words).unwrap();
    assert!(told.starts_with(&format!("{verdict}: {reason}")), "{question}: {told}");
}

/// Without those that neighbour discovery moves.
fn counters(filter: &Filter) -> Value {
    let mut counters = filter.status().unwrap()["counters"].take();
    counters
        .as_object_mut()
        .unwrap()
        .retain(|reason, _| !["not_ip", "not_protected"].contains(&reason.as_str()));
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
        (
            "--from 192.0.2.1 --to [2001:db8::1]:5060 --transport udp",
            vec!["192.0.2.1", "2001:db8::1", "different IP versions"],
        ),
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
