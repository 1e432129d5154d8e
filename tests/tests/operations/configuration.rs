//! Files that are no policy, and commands that are none.

use std::fs;

use serde_json::json;
use tests::{Filter, Lab, POLICY};

use super::asking::{assert_told, leaving_all_as_it_was, told};

/// What is wrong, the policy with it, the text that the place given is the place of, and words of the message.
fn mistakes() -> Vec<(&'static str, String, &'static str, Vec<&'static str>)> {
    let with = |from: &str, to: &str| {
        assert!(POLICY.contains(from), "{from}");
        POLICY.replacen(from, to, 1)
    };
    let and = |more: &str| format!("{POLICY}\n{more}\n");
    let trunk = |key: &'static str| with("[[trunk]]", &format!("[[trunk]]\n{key}"));
    vec![
        ("a value is missing", with("\"enforce\"", ""), "\non_exit", vec![]),
        ("a quote is missing", with("\"enforce\"", "\"enforce"), "\non_exit", vec![]),
        ("unknown key", with("admin =", "admins ="), "admins", vec!["did you mean \"admin\"?"]),
        ("unknown key of a trunk", trunk("denny = []"), "denny", vec!["did you mean \"deny\"?"]),
        ("unknown table", and("[stranger]"), "stranger]", vec!["did you mean \"strangers\"?"]),
        ("unknown mode", with("\"enforce\"", "\"enforced\""), "\"enforced\"", vec!["did you mean \"enforce\"?"]),
        ("number for a word", with("\"enforce\"", "1"), "1\n", vec!["mode"]),
        ("no address", with("192.0.2.10", "192.0.2.300"), "\"192.0.2.300\"", vec!["write an address or a prefix"]),
        ("no port", with("\"5060\"", "\"70000\""), "\"70000\"", vec!["65535"]),
        ("range upside down", with("10000-20000", "20000-10000"), "\"20000-10000\"", vec![]),
        ("no kind", with("kind = \"media\"", "kind = \"rtp\""), "\"rtp\"\ntransport", vec!["signalling"]),
        ("one port, two listeners", with("10000-20000", "5000-20000"), "\"5000-20000\"", vec!["sip-udp", "5060"]),
        ("one name, two listeners", with("name = \"sip-tcp\"", "name = \"sip-udp\""), "\"sip-udp\"\nkind = \"signalling\"\ntransport = \"tcp\"", vec!["sip-udp"]),
        ("one address, two trunks", and("[[trunk]]\nname = \"b\"\nallow = [\"198.51.100.0/24\"]"), "\"198.51.100.0/24\"", vec!["carrier", "198.51.100"]),
        ("no such listener", trunk("listeners = [\"sip-upd\"]"), "\"sip-upd\"", vec!["sip-udp"]),
        ("DNS name", with("\"198.51.100.20\"", "\"sip.example.com\""), "\"sip.example.com\"", vec!["not supported yet"]),
        ("preset", with("\"198.51.100.20\"", "\"preset:x\""), "\"preset:x\"", vec!["not supported yet"]),
        ("file entry", with("\"198.51.100.20\"", "\"file:x\""), "\"file:x\"", vec!["not supported yet"]),
        ("require_registration", trunk("require_registration = true"), "true\n", vec!["not supported yet"]),
        ("registrations", trunk("registrations = [\"a\"]"), "[\"a\"]", vec!["not supported yet"]),
        ("media of a trunk", trunk("media = \"pinhole\""), "\"pinhole\"", vec!["not supported yet"]),
        ("prove", with("signalling = \"drop\"", "signalling = \"prove\""), "\"prove\"", vec!["not supported yet"]),
        ("pinholes", with("media = \"drop\"", "media = \"pinhole\""), "\"pinhole\"", vec!["not supported yet"]),
    ]
}

#[test]
fn a_mistake_is_shown_with_its_place_by_check_apply_and_run_and_changes_nothing() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let broken = Filter::beside(&lab, "-broken", "").unwrap();
    let config = broken.config().display().to_string();
    leaving_all_as_it_was(&filter, || {
        for (title, policy, offending, words) in mistakes() {
            broken.write_config(&policy).unwrap();
            let (line, column) = place(&policy, offending);
            let place = format!("{config}:{line}:{column}: ");
            let words = [vec![place.as_str()], words].concat();
            assert_told(title, &told(&broken, &format!("check --config {config}")), 2, &words);
            assert_told(title, &told(&filter, &format!("apply --config {config}")), 2, &words);
            assert_told(title, &told(&filter, &format!("apply --dry-run --config {config}")), 2, &words);
            assert_told(title, &broken.run_in_vain(&[]).unwrap(), 2, &words);
            let outcome = told(&broken, &format!("check --json --config {config}"));
            assert_eq!(outcome.code, Some(2), "{title}");
            let answer: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
            let error = &answer["errors"][0];
            assert_eq!(answer["ok"], false, "{title}");
            assert_eq!((&error["line"], &error["column"]), (&json!(line), &json!(column)), "{title}: {answer}");
            assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{title}: {answer}");
        }
    });
    assert!(!broken.pins().exists() && !broken.socket().exists());
}

/// Line and column of the first place where `offending` stands, each from 1.
fn place(text: &str, offending: &str) -> (usize, usize) {
    let at = text.find(offending).unwrap_or_else(|| panic!("no {offending} in {text}"));
    let line = &text[text[..at].rfind('\n').map_or(0, |end| end + 1)..at];
    (text[..at].matches('\n').count() + 1, line.chars().count() + 1)
}

#[test]
fn a_file_that_is_not_there_is_named_whoever_is_to_read_it() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::prepare(&lab, POLICY).unwrap();
    fs::remove_file(filter.config()).unwrap();
    let config = filter.config().display().to_string();
    for command in ["check", "apply", "run", "replay /dev/null"] {
        let outcome = told(&filter, &format!("{command} --config {config}"));
        assert_told(command, &outcome, 2, &[&config, "No such file"]);
    }
}

#[test]
fn the_example_is_a_policy_without_privileges_and_without_a_daemon() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::prepare(&lab, include_str!("../../../sip-filter.example.toml")).unwrap();
    let mut command = filter.command_under(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.args(["check", "--json", "--config"]).arg(filter.config());
    let outcome = lab.pbx().run("check", command, super::asking::WITHIN).unwrap();
    assert_told("example", &outcome, 0, &[]);
    let answer: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&answer["ok"], &answer["errors"]), (&json!(true), &json!([])));
}

#[test]
fn a_policy_without_an_interface_is_refused_unless_the_command_line_names_one() {
    let Some(lab) = Lab::or_skip() else { return };
    let mut filter = Filter::prepare(&lab, &POLICY.replace("interfaces = [\"eth0\"]", "")).unwrap();
    let outcome = filter.run_in_vain(&[]).unwrap();
    assert_told("none", &outcome, 2, &["interfaces = [\"eth0\"]", "--interface"]);
    filter.run_with(&["--interface", "eth0", "--mode", "monitor"]).unwrap();
    let status = filter.status().unwrap();
    assert_eq!((&status["interfaces"][0]["name"], &status["mode"]), (&json!("eth0"), &json!("monitor")));
    // What the command line says goes on to replace what the file says.
    assert_eq!(filter.apply(POLICY).unwrap().code, Some(0));
    assert_eq!(filter.status().unwrap()["mode"], "monitor");
}

#[test]
fn what_later_versions_will_do_is_refused_by_name() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let config = filter.config().display().to_string();
    leaving_all_as_it_was(&filter, || {
        for command in [
            "confirm",
            "rollback",
            "registration list",
            "registration add alice@example.com --from 192.0.2.1:5060 --for 1h",
            "registration remove alice",
            "pinhole list",
            &format!("apply --config {config} --confirm-within 60s"),
        ] {
            assert_told(command, &told(&filter, command), 2, &["not supported yet"]);
        }
    });
    for (command, words) in [
        ("frobnicate", vec!["frobnicate"]),
        ("ban add", vec!["ADDRESS"]),
        ("ban add 192.0.2.0/24", vec!["192.0.2.0/24"]),
        ("ban add 192.0.2.1 --for soon", vec!["soon"]),
        ("allow add 192.0.2.1/33", vec!["192.0.2.1/33"]),
        ("allow add sip.example.com", vec!["sip.example.com"]),
        ("explain --from 192.0.2.1 --to :5060 --transport sctp", vec!["sctp"]),
        ("run --mode quiet", vec!["quiet"]),
    ] {
        assert_told(command, &told(&filter, command), 2, &words);
    }
}

#[test]
fn without_a_daemon_every_command_that_asks_one_exits_with_3() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::prepare(&lab, POLICY).unwrap();
    let config = filter.config().display().to_string();
    let socket = filter.socket().display().to_string();
    for command in [
        "status",
        "status --json",
        &format!("apply --config {config}"),
        &format!("apply --dry-run --config {config}"),
        "allow add 192.0.2.1",
        "allow remove 192.0.2.1",
        "allow list",
        "deny add 192.0.2.1",
        "deny remove 192.0.2.1",
        "deny list",
        "ban add 192.0.2.1",
        "ban remove 192.0.2.1",
        "ban list",
        "trunk list",
        "explain --from 192.0.2.1 --to :5060 --transport udp",
    ] {
        assert_told(command, &told(&filter, command), 3, &[&socket, "sip-filter run"]);
    }
    // Needs none, and there is nothing to do.
    assert_told("detach", &told(&filter, "detach"), 0, &[]);
}
