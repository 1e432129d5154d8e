//! Letting go: by `detach`, with and without a daemon; and SIGHUP, which is no end.

use nix::sys::signal::Signal;
use serde_json::json;
use tests::{Filter, Host, Lab, POLICY, wait_until};

use super::asking::{WITHIN, assert_told, done, generation, leaving_all_as_it_was, reason, told};

fn has_xdp(host: &Host, interface: &str) -> bool {
    host.network(&["-details", "link", "show", "dev", interface]).unwrap().contains("xdp")
}

fn on_both(on_exit: &str) -> String {
    POLICY.replace("[\"eth0\"]", "[\"eth0\", \"lo\"]").replace("\"open\"", on_exit)
}

#[test]
fn detach_lets_one_interface_go_or_all_whether_a_daemon_runs_or_not() {
    let Some(lab) = Lab::or_skip() else { return };
    let mut filter = Filter::prepare(&lab, "").unwrap();
    let attached = || ["eth0", "lo"].map(|interface| has_xdp(lab.pbx(), interface));
    for (on_exit, runs) in [("\"open\"", true), ("\"hold\"", true), ("\"hold\"", false)] {
        let title = format!("{on_exit}, the daemon runs: {runs}");
        filter.write_config(&on_both(on_exit)).unwrap();
        filter.run().unwrap();
        if !runs {
            filter.kill(Signal::SIGKILL).unwrap();
        }
        assert_eq!(attached(), [true, true], "{title}");
        assert_told(&title, &told(&filter, "detach --interface eth7"), 2, &["eth7", "eth0, lo"]);
        assert_eq!(filter.json(&["detach", "--interface", "lo"]).unwrap(), json!(["lo"]), "{title}");
        assert_eq!(attached(), [true, false], "{title}");
        if runs {
            assert_eq!(filter.status().unwrap()["interfaces"].as_array().map(Vec::len), Some(1));
            assert_eq!(reason(&filter, "198.51.100.30"), "stranger");
        }
        let printed = done(&filter, "detach");
        assert!(printed.contains("detached from eth0"), "{title}: {printed}");
        if runs {
            assert_eq!(filter.ended().unwrap().code, Some(0), "{title}");
        }
        assert_eq!(attached(), [false, false], "{title}");
        assert!(!filter.pins().exists(), "{title}");
        assert_told(&title, &told(&filter, "status"), 3, &[]);
        let printed = done(&filter, "detach");
        assert!(printed.contains("nothing was attached"), "{title}: {printed}");
    }
    filter.run().unwrap();
    assert_eq!(attached(), [true, true]);
}

#[test]
fn apply_attaches_what_is_new_lets_go_of_what_is_gone_and_changes_what_the_end_will_leave() {
    let Some(lab) = Lab::or_skip() else { return };
    let mut filter = Filter::start(&lab, POLICY).unwrap();
    let attached = || ["eth0", "lo"].map(|interface| has_xdp(lab.pbx(), interface));
    let apply = |filter: &Filter, policy: &str| assert_told("apply", &filter.apply(policy).unwrap(), 0, &[]);
    apply(&filter, &on_both("\"open\""));
    assert_eq!(attached(), [true, true]);
    apply(&filter, POLICY);
    assert_eq!(attached(), [true, false]);
    apply(&filter, &on_both("\"hold\""));
    filter.kill(Signal::SIGKILL).unwrap();
    assert_eq!(attached(), [true, true], "from open to hold");
    filter.run().unwrap();
    apply(&filter, &on_both("\"open\""));
    filter.kill(Signal::SIGKILL).unwrap();
    assert_eq!(attached(), [false, false], "from hold to open");
}

#[test]
fn sighup_applies_the_file_and_a_broken_file_leaves_the_policy_before() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    done(&filter, "allow add 198.51.100.30");
    let before = generation(&filter);
    filter.write_config(&POLICY.replace("203.0.113.0/24", "203.0.112.0/23")).unwrap();
    filter.signal(Signal::SIGHUP).unwrap();
    wait_until(WITHIN, "the new policy", || Ok((generation(&filter) > before).then_some(()))).unwrap();
    assert_eq!(reason(&filter, "203.0.112.1"), "denied");
    assert_eq!(reason(&filter, "198.51.100.30"), "stranger");
    // As by `apply`: what ends unsaved is named.
    filter.logs(&["WARN", "198.51.100.30/32"]).unwrap();

    leaving_all_as_it_was(&filter, || {
        filter.write_config(&POLICY.replace("enforce", "enforced")).unwrap();
        filter.signal(Signal::SIGHUP).unwrap();
        let place = format!("{}:3:8", filter.config().display());
        filter.logs(&[&place]).unwrap();
    });
}

#[test]
fn the_daemon_ends_with_0_by_the_signals_that_ask_it_to() {
    let Some(lab) = Lab::or_skip() else { return };
    let mut filter = Filter::prepare(&lab, POLICY).unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        filter.run().unwrap();
        assert_eq!(filter.kill(signal).unwrap().code, Some(0), "{signal}");
        assert!(!filter.socket().exists(), "{signal}: the socket is left");
        assert!(!filter.pins().exists(), "{signal}: pins are left although nothing is attached");
    }
}
