//! Files that are no policy, and commands that are none.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::json;
use sip_filter_common::maps::name;
use tests::{Filter, Lab, POLICY};

use super::asking::{WITHIN, assert_told, leaving_all_as_it_was, reason, told};

/// What is wrong, what stands in the policy, what is there instead, the text that the place given is the place of, and
/// a part of the message.
const MISTAKES: [(&str, &str, &str, &str, &str); 25] = [
    ("a value is missing", "\"enforce\"", "", "\non_exit", ""),
    ("a quote is missing", "\"enforce\"", "\"enforce", "\non_exit", ""),
    ("unknown key", "admin =", "admins =", "admins", "did you mean \"admin\"?"),
    ("unknown key of a trunk", "[[trunk]]", "[[trunk]]\ndenny = []", "denny", "did you mean \"deny\"?"),
    ("unknown table", "[strangers]", "[stranger]", "stranger]", "did you mean \"strangers\"?"),
    ("unknown mode", "\"enforce\"", "\"enforced\"", "\"enforced\"", "did you mean \"enforce\"?"),
    ("number for a word", "\"enforce\"", "1", "1\n", "mode"),
    ("no address", "192.0.2.10", "192.0.2.300", "\"192.0.2.300\"", "write an address or a prefix"),
    ("no port", "\"5060\"", "\"70000\"", "\"70000\"", "65535"),
    ("range upside down", "10000-20000", "20000-10000", "\"20000-10000\"", ""),
    ("no kind", "kind = \"media\"", "kind = \"rtp\"", "\"rtp\"\ntransport", "signalling"),
    (
        "one port, two listeners",
        "10000-20000",
        "5000-20000",
        "\"5000-20000\"",
        "listener \"sip-udp\" share port 5060",
    ),
    (
        "one name, two listeners",
        "\"sip-tcp\"",
        "\"sip-udp\"",
        "\"sip-udp\"\nkind = \"signalling\"\ntransport = \"tcp\"",
        "sip-udp",
    ),
    (
        "one address, two trunks",
        "[strangers]",
        "[[trunk]]\nname = \"b\"\nallow = [\"198.51.100.0/24\"]\n[strangers]",
        "\"198.51.100.0/24\"",
        "trunk \"carrier\"",
    ),
    ("no such listener", "[[trunk]]", "[[trunk]]\nlisteners = [\"sip-upd\"]", "\"sip-upd\"", "sip-udp"),
    ("DNS name", "\"198.51.100.20\"", "\"sip.example.com\"", "\"sip.example.com\"", "not supported yet"),
    ("preset", "\"198.51.100.20\"", "\"preset:x\"", "\"preset:x\"", "not supported yet"),
    ("preset of a list", "\"203.0.113.0/24\"", "\"preset:x\"", "\"preset:x\"", "not supported yet"),
    (
        "no registrations",
        "[[trunk]]",
        "[[trunk]]\nrequire_registration = true",
        "true\n",
        "registrations = [\"user@domain\"]",
    ),
    (
        "address of record",
        "[[trunk]]",
        "[[trunk]]\nregistrations = [\"sip:a\"]",
        "\"sip:a\"",
        "\"user@domain\"",
    ),
    ("media of a trunk", "[[trunk]]", "[[trunk]]\nmedia = \"pinhole\"", "\"pinhole\"", "not supported yet"),
    ("strangers", "signalling = \"drop\"", "signalling = \"prov\"", "\"prov\"", "did you mean \"prove\"?"),
    (
        "rate of strangers",
        "media = \"drop\"",
        "media = \"drop\"\n[strangers.prove]\nrate = \"0/s\"",
        "\"0/s\"",
        "5/s",
    ),
    (
        "a PBX's address",
        "[strangers]",
        "[[pbx]]\nname = \"a\"\nkind = \"kamailio\"\naddress = \"run/k\"\n[strangers]",
        "\"run/k\"",
        "Unix socket",
    ),
    ("pinholes", "media = \"drop\"", "media = \"pinhole\"", "\"pinhole\"", "not supported yet"),
];

#[test]
fn a_mistake_is_shown_with_its_place_by_check_apply_and_run_and_changes_nothing() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let broken = Filter::beside(&lab, "-broken", "").unwrap();
    let config = broken.config().display().to_string();
    leaving_all_as_it_was(&filter, || {
        for (title, right, wrong, offending, message) in MISTAKES {
            assert!(POLICY.contains(right), "{title}");
            let policy = POLICY.replacen(right, wrong, 1);
            broken.write_config(&policy).unwrap();
            let (line, column) = place(&policy, offending);
            let place = format!("{config}:{line}:{column}: ");
            let words = [place.as_str(), message];
            assert_told(title, &told(&broken, &format!("check --config {config}")), 2, &words);
            assert_told(title, &told(&filter, &format!("apply --config {config}")), 2, &words);
            assert_told(title, &told(&filter, &format!("apply --dry-run --config {config}")), 2, &words);
            assert_told(title, &broken.run_in_vain(&[]).unwrap(), 2, &words);
            let outcome = told(&broken, &format!("check --json --config {config}"));
            assert_eq!(outcome.code, Some(2), "{title}");
            let answer: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
            let error = &answer["errors"][0];
            assert_eq!(answer["ok"], false, "{title}");
            assert_eq!(
                (&error["line"], &error["column"]),
                (&json!(line), &json!(column)),
                "{title}: {answer}"
            );
            assert!(
                error["message"].as_str().is_some_and(|message| !message.is_empty()),
                "{title}: {answer}"
            );
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
    let applied = filter.apply(POLICY).unwrap();
    assert!(applied.succeeded() && applied.stdout.contains("--mode monitor"), "{}", applied.stdout);
    assert_eq!(filter.status().unwrap()["mode"], "monitor");
}

#[test]
fn what_later_versions_will_do_is_refused_by_name() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let config = filter.config().display().to_string();
    leaving_all_as_it_was(&filter, || {
        for command in
            ["confirm", "rollback", "pinhole list", &format!("apply --config {config} --confirm-within 60s")]
        {
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
        ("registration add alice --for 1h", vec!["--from"]),
        ("registration add alice --from b.example --for 1h", vec!["b.example", "192.0.2.1:5060"]),
        ("registration add alice --from 192.0.2.1:0 --for 1h", vec!["192.0.2.1:0"]),
        ("registration add alice --from 192.0.2.1 --for soon", vec!["soon"]),
        ("registration add alice --from 192.0.2.1 --for 1h --transport sctp", vec!["sctp", "wss"]),
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
        "registration add alice --from 192.0.2.1 --for 1h --transport tls",
        "registration remove alice --from [2001:db8::1]:5060",
        "registration list",
        "trunk list",
        "explain --from 192.0.2.1 --to :5060 --transport udp",
    ] {
        assert_told(command, &told(&filter, command), 3, &[&socket, "sip-filter run"]);
    }
    // Needs none, and there is nothing to do.
    assert_told("detach", &told(&filter, "detach"), 0, &[]);
}

/// Has the kernel refuse whatever the daemon writes into a map, as it may for want of memory.
fn freeze(lab: &Lab, filter: &Filter, map: &str) {
    let mut bpftool = lab.pbx().command("bpftool");
    bpftool.args(["map", "freeze", "pinned"]).arg(filter.pins().join(name::pin(map)));
    assert!(lab.pbx().run("bpftool", bpftool, WITHIN).unwrap().succeeded());
}

#[test]
fn what_the_kernel_refuses_at_the_switch_changes_nothing_however_often_it_is_asked_for() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    // Once, since the spare slot's memory stays.
    assert!(filter.apply(POLICY).unwrap().succeeded());
    // While this one stands before the tables, the next would too as soon as it is there.
    filter.done(&["allow", "add", "198.51.100.24"]).unwrap();
    freeze(&lab, &filter, name::LIVE);
    let other = POLICY.replace("\"198.51.100.20\"", "\"198.51.100.21\"");
    leaving_all_as_it_was(&filter, || {
        // The second of them must not take the slot in force for the spare one.
        for turn in ["first", "second", "third"] {
            assert_told(turn, &filter.apply(&other).unwrap(), 1, &["kernel map"]);
        }
        for turn in ["first", "second"] {
            for command in ["allow add 198.51.100.22", "ban add 198.51.100.20 --for 60s"] {
                assert_told(&format!("{turn} {command}"), &told(&filter, command), 1, &["kernel map"]);
            }
        }
    });
    // That one is registered stands all the same, and is tried again: who asks a second time is not let in either.
    for turn in ["first", "second"] {
        let registered = told(&filter, "registration add a@example.com --from 198.51.100.23 --for 60s");
        assert_told(turn, &registered, 1, &["does not let 198.51.100.23 in", "kernel map"]);
    }
    for stranger in ["198.51.100.22", "198.51.100.23"] {
        assert_eq!(reason(&filter, stranger), "stranger");
    }
    assert_eq!(reason(&filter, "198.51.100.24"), "trunk");
}

#[test]
fn a_start_whose_policy_the_kernel_does_not_take_leaves_held_what_a_daemon_before_held() {
    let Some(lab) = Lab::or_skip() else { return };
    let mut filter = Filter::start(&lab, &POLICY.replace("\"open\"", "\"hold\"")).unwrap();
    filter.kill(Signal::SIGKILL).unwrap();
    freeze(&lab, &filter, name::FILTERS6);
    // This policy would have the link end with its daemon.
    filter.write_config(POLICY).unwrap();
    assert_told("a start", &filter.run_in_vain(&[]).unwrap(), 1, &["kernel map"]);
    assert!(filter.pins().join("link-eth0").exists());
    let link = lab.pbx().network(&["-details", "link", "show", "dev", "eth0"]).unwrap();
    assert!(link.contains("xdp"), "{link}");
}

#[test]
fn a_live_change_that_the_kernel_does_not_take_is_none() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    freeze(&lab, &filter, name::CHANGES);
    leaving_all_as_it_was(&filter, || {
        for turn in ["first", "second"] {
            assert_told(turn, &told(&filter, "allow add 198.51.100.22"), 1, &["kernel map"]);
        }
    });
    assert_eq!(reason(&filter, "198.51.100.22"), "stranger");
}

#[test]
fn a_policy_behind_which_the_kernel_cannot_clear_up_is_in_force_and_the_next_one_waits() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    assert!(filter.apply(POLICY).unwrap().succeeded());
    filter.done(&["allow", "add", "198.51.100.24"]).unwrap();
    freeze(&lab, &filter, name::TABLES);
    let other = POLICY.replace("\"198.51.100.20\"", "\"198.51.100.21\"");
    assert!(filter.apply(&other).unwrap().succeeded());
    let reasons = || ["198.51.100.20", "198.51.100.21", "198.51.100.24"].map(|from| reason(&filter, from));
    assert_eq!(reasons(), ["stranger", "trunk", "stranger"]);
    filter.logs(&["not cleared away"]).unwrap();
    // Packets may still look at what it would be written over.
    for turn in ["first", "second"] {
        assert_told(turn, &filter.apply(POLICY).unwrap(), 1, &["kernel map"]);
        assert_told(turn, &told(&filter, "allow add 198.51.100.22"), 1, &["kernel map"]);
    }
    assert_eq!(reasons(), ["stranger", "trunk", "stranger"]);
    assert_eq!(reason(&filter, "198.51.100.22"), "stranger");
}

#[test]
fn a_ban_that_the_kernel_does_not_lift_is_in_force_and_listed() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    filter.done(&["ban", "add", "198.51.100.20", "--for", "1h"]).unwrap();
    freeze(&lab, &filter, name::PEERS);
    leaving_all_as_it_was(&filter, || {
        for turn in ["first", "second"] {
            assert_told(turn, &told(&filter, "ban remove 198.51.100.20"), 1, &["kernel map"]);
        }
    });
    assert_eq!(reason(&filter, "198.51.100.20"), "banned");
}
