//! What is printed: one JSON document with `--json`, plain text into a pipe, errors on standard error.

use std::time::Duration;

use serde_json::Value;
use tests::{Family, Filter, Lab, POLICY, Transport, options};

use super::asking::{done, told};

#[test]
fn a_debug_build_logs_each_packet_when_it_is_to_say_more() {
    let Some(lab) = Lab::or_skip() else { return };
    let Some(mut filter) = Filter::prepare(&lab, POLICY).unwrap().of_profile("debug") else {
        assert!(std::env::var_os("CI").is_none(), "`cargo xtask lint` builds the debug binary first");
        eprintln!("skipped: there is no debug build: `cargo build -p sip-filter`");
        return;
    };
    filter.run_with(&["--verbose"]).unwrap();
    options(lab.stranger(), lab.pbx().sip(Family::V4), Transport::Udp, Duration::from_millis(1)).unwrap();
    filter.logs(&["stranger", "bytes"]).unwrap();
}

#[test]
fn every_command_that_prints_takes_json_and_prints_no_colour_into_a_pipe() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let config = filter.config().display().to_string();
    for command in [
        &format!("check --config {config}"),
        &format!("apply --config {config}"),
        &format!("apply --dry-run --config {config}"),
        "status",
        "allow add 192.0.2.1",
        "allow list",
        "allow remove 192.0.2.1",
        "deny add 192.0.2.1",
        "deny list",
        "deny remove 192.0.2.1",
        "ban add 192.0.2.1",
        "ban list",
        "ban remove 192.0.2.1",
        "registration add alice@lab --from 192.0.2.1 --for 1h",
        "registration list",
        "registration remove alice@lab",
        "trunk list",
        "explain --from 192.0.2.1 --to :5060 --transport udp",
        "detach --interface eth0",
    ] {
        // What comes undone is done again, so that each can be asked for twice.
        let undo = match command.split(' ').take(2).collect::<Vec<_>>()[..] {
            [list @ ("allow" | "deny" | "ban"), "add"] => Some(format!("{list} remove 192.0.2.1")),
            [list @ ("allow" | "deny" | "ban"), "remove"] => Some(format!("{list} add 192.0.2.1")),
            ["registration", "add"] => Some("registration remove alice@lab".to_owned()),
            ["registration", "remove"] => {
                Some("registration add alice@lab --from 192.0.2.1 --for 1h".to_owned())
            }
            ["detach", _] => Some(format!("apply --config {config}")),
            _ => None,
        };
        let printed = done(&filter, command);
        assert!(!printed.trim().is_empty() && !printed.contains('\x1b'), "{command}: {printed:?}");
        if let Some(undo) = undo {
            done(&filter, &undo);
        }
        let printed = done(&filter, &format!("{command} --json"));
        assert!(serde_json::from_str::<Value>(&printed).is_ok(), "{command} --json: {printed}");
    }
}

#[test]
fn an_error_is_on_standard_error_alone_even_with_json() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::prepare(&lab, POLICY).unwrap();
    for command in ["status --json", "ban list", "explain --from x --to :1 --transport udp --json"] {
        let outcome = told(&filter, command);
        assert_eq!(outcome.stdout, "", "{command}");
        assert!(
            outcome.stderr.starts_with("error: ") && outcome.stderr.lines().count() == 1,
            "{}",
            outcome.stderr
        );
    }
}
