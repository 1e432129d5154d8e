//! Bans: by hand, for a while, kept by the kernel.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use tests::{Family, Filter, Lab, POLICY, PacedSender, Receiver, wait_until};

use super::asking::{WITHIN, ask, assert_told, done, explained, leaving_all_as_it_was, reason, told};

/// What the ban list holds; the kernel's map is that large.
const BANS_MAX: usize = 65_536;

#[test]
fn a_ban_refuses_whom_a_trunk_allows_and_its_cause_is_shown() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    for address in ["198.51.100.20", "2001:db8:5060::20"] {
        filter.done(&["ban", "add", address, "--for", "2h", "--cause", "scans us"]).unwrap();
        let answer = explained(&filter, address);
        assert_eq!((&answer["verdict"], &answer["reason"]), (&json!("drop"), &json!("banned")));
        let because = &answer["because"];
        assert_eq!((&because["ban"], &because["cause"]), (&json!(address), &json!("scans us")));
        let remaining = because["remaining_ms"].as_u64().unwrap();
        assert!((7_100_000..=7_200_000).contains(&remaining), "{remaining}");
        let list = done(&filter, "ban list");
        assert!(list.contains(address) && list.contains("scans us"), "{list}");
        done(&filter, &format!("ban remove {address}"));
        assert_eq!(reason(&filter, address), "trunk");
    }
    assert_eq!(filter.json(&["ban", "list"]).unwrap(), json!([]));
    // An address has one ban, however it is written; a new one replaces it.
    done(&filter, "ban add ::ffff:192.0.2.77 --for 1h --cause one");
    done(&filter, "ban add 192.0.2.77 --for 2h --cause two");
    let bans = filter.json(&["ban", "list"]).unwrap();
    assert_eq!((bans.as_array().unwrap().len(), &bans[0]["cause"]), (1, &json!("two")), "{bans}");
    assert_eq!(explained(&filter, "192.0.2.77")["because"]["cause"], "two");
    assert_eq!(explained(&filter, "::ffff:192.0.2.77")["because"]["cause"], "two");
}

#[test]
fn a_ban_of_admin_does_not_lock_the_operator_out() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let outcome = told(&filter, "ban add 192.0.2.10");
    let answer = explained(&filter, "192.0.2.10");
    assert_eq!((&answer["verdict"], &answer["reason"]), (&json!("pass"), &json!("admin")));
    // Whether it is refused or of no effect, it is said.
    let said = outcome.stdout + &outcome.stderr;
    assert!(said.contains("admin"), "{said}");
}

#[test]
fn a_ban_that_cannot_be_is_refused() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    leaving_all_as_it_was(&filter, || {
        assert_told("zero", &told(&filter, "ban add 192.0.2.1 --for 0s"), 2, &["0 s"]);
        assert_told("not banned", &told(&filter, "ban remove 192.0.2.1"), 2, &["192.0.2.1 is not banned"]);
        let cause = format!("ban add 192.0.2.1 --cause {}", "x".repeat(300));
        assert_told("long cause", &told(&filter, &cause), 2, &["300 bytes"]);
    });
    // Longer than the kernel's clock can count is for ever.
    done(&filter, "ban add 192.0.2.1 --for 10000years");
    assert_eq!(reason(&filter, "192.0.2.1"), "banned");
}

#[test]
fn bans_outlive_the_daemon_and_the_kernel_ends_them_without_one() {
    let Some(lab) = Lab::or_skip() else { return };
    let mut filter = Filter::start(&lab, &POLICY.replace("\"open\"", "\"hold\"")).unwrap();
    let (to, trunk) = (lab.pbx().sip(Family::V4), lab.trunk().address(Family::V4));
    let receiver = Receiver::start(lab.pbx(), to).unwrap();
    let number = |number: u64| number.to_be_bytes().to_vec();
    done(&filter, "ban add 192.0.2.99 --for 1h --cause lasting");
    let started = Instant::now();
    done(&filter, &format!("ban add {trunk} --for 2s"));
    filter.kill(Signal::SIGKILL).unwrap();
    let flow =
        PacedSender::start(lab.trunk(), (trunk, 0).into(), to, Duration::from_millis(1), number).unwrap();
    let first = receiver.wait_for(trunk, 1, WITHIN).unwrap()[0];
    assert!(started.elapsed() >= Duration::from_secs(2), "it ended after {:?}", started.elapsed());
    assert!(first > 100, "packet {first} was the first to arrive");
    flow.stop().unwrap();
    filter.run().unwrap();
    let bans = filter.json(&["ban", "list"]).unwrap();
    assert_eq!((bans.as_array().map(Vec::len), &bans[0]["cause"]), (Some(1), &json!("lasting")), "{bans}");
    assert_eq!(reason(&filter, "192.0.2.99"), "banned");
    filter.restart().unwrap();
    assert_eq!(reason(&filter, "192.0.2.99"), "banned");
}

/// By the control socket itself: that many commands would take an hour.
#[test]
fn a_full_ban_list_says_so_and_goes_on_refusing_whom_it_holds() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let ban = |number: usize| {
        let address = format!("10.{}.{}.{}", number >> 16, number >> 8 & 0xff, number & 0xff);
        json!({"command": "ban_add", "address": address, "for_ms": 3_600_000, "cause": "many"})
    };
    thread::scope(|scope| {
        for part in 0..4 {
            let (filter, ban) = (&filter, &ban);
            scope.spawn(move || {
                for number in (part..BANS_MAX).step_by(4) {
                    let answer = ask(filter, &ban(number));
                    assert!(answer["ok"].is_object(), "ban {number}: {answer}");
                }
            });
        }
    });
    leaving_all_as_it_was(&filter, || {
        let outcome = told(&filter, "ban add 192.0.2.1");
        assert_told("one more", &outcome, 1, &["the ban list is full", "65536", "deny list"]);
    });
    assert_eq!(reason(&filter, "10.0.255.255"), "banned");
    // A ban that is there can be changed, and one that is lifted makes room.
    done(&filter, "ban add 10.0.0.1 --for 2h --cause longer");
    done(&filter, "ban remove 10.0.0.2");
    done(&filter, "ban add 192.0.2.1");
    assert_eq!(filter.json(&["ban", "list"]).unwrap().as_array().map(Vec::len), Some(BANS_MAX));
}

#[test]
fn who_reads_the_log_and_stands_still_holds_nothing_up() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::prepare(&lab, POLICY).unwrap();
    let mut command = filter.command();
    command.args(["run", "--config"]).arg(filter.config()).arg("--state").arg(filter.state());
    let mut daemon = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until(WITHIN, "the daemon", || Ok(filter.status().ok())).unwrap();
    // More lines than a pipe holds.
    for number in 0..1_000 {
        let address = format!("10.0.{}.{}", number >> 8, number & 0xff);
        let request =
            json!({"command": "ban_add", "address": address, "for_ms": 60_000, "cause": "x".repeat(56)});
        assert!(ask(&filter, &request)["ok"].is_object());
    }
    done(&filter, "detach");
    let ended = wait_until(WITHIN, "the daemon's end", || Ok(daemon.try_wait()?)).unwrap();
    assert!(ended.success());
}
