//! Starts that are refused, each leaving no trace, and leftovers that a start has to cope with.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use nix::{net::if_::if_nametoindex, sys::signal::Signal};
use tests::{Family, Filter, Lab, Outcome, POLICY, PacedSender, Process, Receiver, wait_until};

use super::asking::{WITHIN, assert_told, leaving_all_as_it_was, reason};

const EVERY: Duration = Duration::from_millis(1);

fn on(interface: &str) -> String {
    POLICY.replace("\"eth0\"", &format!("\"{interface}\""))
}

/// What `run` says where it is to refuse, and that nothing is left of it.
fn refused(title: &str, filter: &Filter, words: &[&str]) {
    assert_told(title, &filter.run_in_vain(&[]).unwrap(), 1, words);
    assert!(!filter.pins().exists(), "{title}: pins are left");
    assert!(!filter.socket().exists(), "{title}: a socket is left");
}

#[test]
fn an_interface_that_cannot_be_filtered_is_named_and_the_remedy_with_it() {
    let Some(lab) = Lab::or_skip() else { return };
    lab.pbx().network(&["tuntap", "add", "mode", "tun", "name", "tun0"]).unwrap();
    let filter = Filter::start(&lab, POLICY).unwrap();
    for (interface, words) in [
        ("eth7", vec!["eth7", "this host has", "eth0", "lo", "tun0"]),
        (
            "tun0",
            vec!["tun0", "no Ethernet header", "attach to the interface whose frames carry its packets"],
        ),
    ] {
        refused(interface, &Filter::beside(&lab, "-second", &on(interface)).unwrap(), &words);
        let policy = POLICY.replace("[\"eth0\"]", &format!("[\"eth0\", \"{interface}\"]"));
        leaving_all_as_it_was(&filter, || assert_told(interface, &filter.apply(&policy).unwrap(), 1, &words));
    }
}

#[test]
fn what_cannot_be_the_name_of_an_interface_is_refused_from_the_command_line_as_from_the_file() {
    let Some(lab) = Lab::or_skip() else { return };
    for name in ["longer-than-the-kernel-takes", "", "a/b"] {
        let quoted = format!("\"{name}\"");
        let words = [quoted.as_str(), "cannot be the name of an interface"];
        let filter = Filter::prepare(&lab, &on(name)).unwrap();
        assert_told(name, &filter.run_in_vain(&[]).unwrap(), 2, &words);
        filter.write_config(POLICY).unwrap();
        assert_told(name, &filter.run_in_vain(&["--interface", name]).unwrap(), 2, &words);
    }
}

#[test]
fn an_interface_named_twice_is_no_program_of_somebody_else() {
    let Some(lab) = Lab::or_skip() else { return };
    let mut filter = Filter::prepare(&lab, POLICY).unwrap();
    let twice = filter.config().display().to_string();
    filter.write_config(&POLICY.replace("\"eth0\"", "\"eth0\", \"eth0\"")).unwrap();
    assert_told("file", &filter.run_in_vain(&[]).unwrap(), 2, &[&twice, "\"eth0\" is named twice"]);
    filter.write_config(POLICY).unwrap();
    filter.run_with(&["--interface", "lo", "--interface", "lo"]).unwrap();
    assert_eq!(filter.status().unwrap()["interfaces"].as_array().map(Vec::len), Some(1));
}

#[test]
fn two_daemons_do_not_share_what_outlives_a_restart() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let other = Filter::beside(&lab, "-second", POLICY).unwrap();
    let state = filter.state().display().to_string();
    let mut command = other.command();
    command.args(["run", "--interface", "lo", "--state", &state, "--config"]).arg(other.config());
    let outcome = lab.pbx().run("run", command, WITHIN).unwrap();
    assert_told("second", &outcome, 1, &[&state, "stop it first", "--state"]);
    assert_eq!(filter.status().unwrap()["interfaces"].as_array().map(Vec::len), Some(1));
}

#[test]
fn an_xdp_program_that_is_there_already_is_named_and_not_replaced() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let id = filter.status().unwrap()["interfaces"][0]["program_id"].to_string();
    leaving_all_as_it_was(&filter, || {
        let other = Filter::beside(&lab, "-second", POLICY).unwrap();
        refused("second", &other, &["eth0", "sip_filter", &id, "detach it first"]);
    });
    // The same for one that comes later, by apply.
    lab.pbx()
        .cable("eth1", "192.0.2.129".parse().unwrap(), lab.stranger(), "192.0.2.130".parse().unwrap())
        .unwrap();
    let mut other = Filter::beside(&lab, "-second", &on("eth1")).unwrap();
    other.run().unwrap();
    leaving_all_as_it_was(&other, || {
        let policy = POLICY.replace("[\"eth0\"]", "[\"eth1\", \"eth0\"]");
        assert_told("apply", &other.apply(&policy).unwrap(), 1, &["eth0", "sip_filter", &id]);
    });
    assert_eq!(filter.status().unwrap()["interfaces"][0]["program_id"].to_string(), id);
}

#[test]
fn for_a_program_without_a_link_the_command_that_removes_it_is_named() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let program = filter.pins().join("sip_filter").display().to_string();
    // Not by `Host::network`: `ip -n` mounts a /sys of its own, without the bpffs.
    let mut command = lab.pbx().command("ip");
    command.args(["link", "set", "dev", "lo", "xdpgeneric", "pinned", &program]);
    let outcome = lab.pbx().run("ip", command, WITHIN).unwrap();
    assert!(outcome.succeeded(), "{outcome:?}");
    let mut other = Filter::beside(&lab, "-second", &on("lo")).unwrap();
    refused("lo", &other, &["lo", "sip_filter", "ip link set dev lo xdpgeneric off"]);
    lab.pbx().network(&["link", "set", "dev", "lo", "xdp", "off"]).unwrap();
    other.run().unwrap();
}

#[test]
fn one_socket_and_one_pin_directory_belong_to_one_daemon() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let second = || Filter::beside(&lab, "-second", &on("lo")).unwrap();
    leaving_all_as_it_was(&filter, || {
        let same_pins = second().with_pins(filter.pins());
        let pins = filter.pins().display().to_string();
        assert_told("pins", &same_pins.run_in_vain(&[]).unwrap(), 1, &[&pins, "--pins", "--socket"]);
        let same_socket = second().with_socket(filter.socket());
        let socket = filter.socket().display().to_string();
        assert_told("socket", &same_socket.run_in_vain(&[]).unwrap(), 1, &[&socket, "--socket", "--pins"]);
    });
}

#[test]
fn missing_privileges_are_named_and_only_those() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::prepare(&lab, POLICY).unwrap();
    let all = ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"];
    let check = |starter: &[&str], missing: &[&str]| {
        let mut command = filter.command_under(starter);
        command.args(["run", "--config"]).arg(filter.config()).arg("--state").arg(filter.state());
        let outcome: Outcome = lab.pbx().run("run", command, WITHIN).unwrap();
        assert_told(
            &format!("{starter:?}"),
            &outcome,
            1,
            &[missing, &["root", "AmbientCapabilities="]].concat(),
        );
        for present in all.iter().filter(|capability| !missing.contains(capability)) {
            assert!(!outcome.stderr.contains(*present), "{present}: {}", outcome.stderr);
        }
    };
    check(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"], &all);
    check(&["setpriv", "--inh-caps=-net_admin", "--bounding-set=-net_admin"], &all[..1]);
    check(&["setpriv", "--inh-caps=-sys_admin", "--bounding-set=-sys_admin"], &all[1..]);
    assert!(!filter.pins().exists() && !filter.socket().exists());
}

#[test]
fn pins_that_are_not_on_a_bpffs_are_refused_with_the_command_that_makes_it_one() {
    let Some(lab) = Lab::or_skip() else { return };
    let pins = lab.directory().join("bpf/pins");
    let filter = Filter::prepare(&lab, POLICY).unwrap().with_pins(&pins);
    let parent = lab.directory().join("bpf").display().to_string();
    refused("pins", &filter, &[&pins.display().to_string(), &format!("mount -t bpf bpf {parent}")]);
}

#[test]
fn where_no_bpffs_is_mounted_run_mounts_it_and_says_so() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::prepare(&lab, POLICY).unwrap();
    // In a mount namespace of its own: nobody else's goes.
    let without = "while umount /sys/fs/bpf 2>/dev/null; do :; done; exec \"$0\" \"$@\"";
    let mut command = filter.command_under(&["unshare", "--mount", "sh", "-c", without]);
    command.args(["run", "--config"]).arg(filter.config()).arg("--state").arg(filter.state());
    let mut daemon = lab.pbx().spawn("run", command).unwrap();
    answers(&filter, &mut daemon);
    assert!(daemon.stderr().contains("mounted a bpffs at /sys/fs/bpf"), "{}", daemon.tail());
    assert_eq!(filter.status().unwrap()["interfaces"][0]["attached"], "native");
    assert!(daemon.stop(Signal::SIGTERM, WITHIN).unwrap().succeeded());
}

#[test]
fn systemd_is_told_when_the_daemon_is_ready_and_when_it_stops() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::prepare(&lab, POLICY).unwrap();
    let path = lab.directory().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(WITHIN)).unwrap();
    let heard = || {
        let mut buffer = [0; 256];
        let length = loop {
            match systemd.recv(&mut buffer) {
                // A child of another test ended.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                received => break received.unwrap(),
            }
        };
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut command = filter.command();
    command
        .env("NOTIFY_SOCKET", &path)
        .args(["run", "--config"])
        .arg(filter.config())
        .arg("--state")
        .arg(filter.state());
    let daemon = lab.pbx().spawn("run", command).unwrap();
    assert!(heard().contains("READY=1"));
    // Ready is ready: the first question after it is answered.
    filter.status().unwrap();
    assert!(daemon.stop(Signal::SIGTERM, WITHIN).unwrap().succeeded());
    assert!(heard().contains("STOPPING=1"));
}

fn answers(filter: &Filter, daemon: &mut Process) {
    wait_until(WITHIN, "the daemon to answer", || {
        daemon.still_runs()?;
        Ok(filter.cli(["status"])?.succeeded().then_some(()))
    })
    .unwrap();
}

#[test]
fn a_file_in_the_place_of_the_socket_stays_and_a_dead_socket_goes() {
    let Some(lab) = Lab::or_skip() else { return };
    let mut filter = Filter::prepare(&lab, POLICY).unwrap();
    fs::write(filter.socket(), "precious").unwrap();
    let path = filter.socket().display().to_string();
    assert_told("file", &filter.run_in_vain(&[]).unwrap(), 1, &[&path, "not a socket", "--socket"]);
    assert_eq!(fs::read_to_string(filter.socket()).unwrap(), "precious");
    fs::remove_file(filter.socket()).unwrap();

    drop(UnixListener::bind(filter.socket()).unwrap());
    assert!(fs::metadata(filter.socket()).unwrap().file_type().is_socket());
    assert_told("dead", &filter.cli(["status"]).unwrap(), 3, &[&path]);
    filter.run().unwrap();
}

#[test]
fn pins_of_a_killed_daemon_whose_interface_is_gone_do_not_stand_in_the_way() {
    let Some(lab) = Lab::or_skip() else { return };
    let [near, far] = ["192.0.2.129", "192.0.2.130"].map(|address| address.parse().unwrap());
    lab.pbx().cable("eth1", near, lab.stranger(), far).unwrap();
    let hold = |interfaces: &str| POLICY.replace("\"open\"", "\"hold\"").replace("[\"eth0\"]", interfaces);
    let mut filter = Filter::start(&lab, &hold("[\"eth0\", \"eth1\"]")).unwrap();
    let kill = |filter: &mut Filter| {
        filter.kill(Signal::SIGKILL).unwrap();
        assert!(filter.pins().join("link-eth1").exists());
        lab.pbx().network(&["link", "delete", "eth1"]).unwrap();
    };
    kill(&mut filter);
    // Another interface of the same name has come in the meantime.
    lab.pbx().cable("eth1", near, lab.stranger(), far).unwrap();
    filter.run().unwrap();
    let attached = |filter: &Filter| {
        let status = filter.status().unwrap();
        [0, 1].map(|index| status["interfaces"][index]["attached"] == "native")
    };
    assert_eq!(attached(&filter), [true, true], "{}", filter.log());
    kill(&mut filter);
    filter.write_config(&hold("[\"eth0\"]")).unwrap();
    filter.run().unwrap();
    assert_eq!(attached(&filter), [true, false]);
    assert!(!filter.pins().join("link-eth1").exists());
}

#[test]
fn a_link_that_was_being_renamed_when_the_daemon_ended_is_found_by_the_next() {
    let Some(lab) = Lab::or_skip() else { return };
    let mut filter = Filter::start(&lab, &POLICY.replace("\"open\"", "\"hold\"")).unwrap();
    filter.kill(Signal::SIGKILL).unwrap();
    let index = lab.pbx().in_namespace(|| if_nametoindex("eth0")).unwrap().unwrap();
    let between = filter.pins().join(format!("link-:{index}:"));
    fs::rename(filter.pins().join("link-eth0"), &between).unwrap();
    filter.run().unwrap();
    filter.logs(&["took over the program of an earlier daemon"]).unwrap();
    assert!(filter.pins().join("link-eth0").exists() && !between.exists());
}

#[test]
fn a_start_that_is_refused_leaves_in_force_what_a_daemon_before_left() {
    let Some(lab) = Lab::or_skip() else { return };
    let hold = POLICY.replace("\"open\"", "\"hold\"");
    let mut filter = Filter::start(&lab, &hold).unwrap();
    filter.done(&["ban", "add", "192.0.2.99"]).unwrap();
    filter.kill(Signal::SIGKILL).unwrap();
    fs::remove_file(filter.socket()).unwrap();
    let receiver = Receiver::start(lab.pbx(), lab.pbx().sip(Family::V4)).unwrap();
    let [trunk, stranger] = [lab.trunk(), lab.stranger()].map(|host| host.address(Family::V4));
    let [of_trunk, of_stranger] = [(lab.trunk(), trunk), (lab.stranger(), stranger)].map(|(host, from)| {
        let number = |number: u64| number.to_be_bytes().to_vec();
        PacedSender::start(host, (from, 0).into(), lab.pbx().sip(Family::V4), EVERY, number).unwrap()
    });
    for (title, policy, code) in [
        ("a mistake", hold.replace("enforce", "enforced"), 2),
        ("no such interface", hold.replace("[\"eth0\"]", "[\"eth0\", \"eth7\"]"), 1),
        ("another interface that is not there", hold.replace("\"eth0\"", "\"eth7\""), 1),
    ] {
        filter.write_config(&policy).unwrap();
        assert_told(title, &filter.run_in_vain(&[]).unwrap(), code, &[]);
        assert!(filter.pins().join("link-eth0").exists(), "{title}");
        let goal = of_trunk.sent();
        receiver.wait_for(trunk, goal, WITHIN).unwrap();
    }
    filter.write_config(&hold).unwrap();
    filter.run().unwrap();
    assert_eq!(reason(&filter, "192.0.2.99"), "banned");
    let sent = of_trunk.stop().unwrap();
    let counted = || format!("counted: {:?}", filter.status());
    receiver.wait_for(trunk, sent, WITHIN).with_context(counted).unwrap();
    let sent = of_stranger.stop().unwrap();
    wait_until(WITHIN, "every packet of the stranger to be counted", || {
        Ok((filter.counter("stranger")? == sent).then_some(()))
    })
    .unwrap();
    assert_eq!(receiver.numbers(stranger), [0; 0]);
}

#[test]
fn garbage_in_the_pin_directory_is_replaced_where_it_is_in_the_way_and_left_alone_elsewhere() {
    let Some(lab) = Lab::or_skip() else { return };
    let mut filter = Filter::start(&lab, &POLICY.replace("\"open\"", "\"hold\"")).unwrap();
    filter.kill(Signal::SIGTERM).unwrap();
    let names: Vec<String> = fs::read_dir(filter.pins())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("link-"))
        .collect();
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        fs::remove_file(filter.pins().join(&name)).unwrap();
        pin_garbage(&lab, &filter.pins().join(name));
    }
    let foreign = filter.pins().join("foreign");
    pin_garbage(&lab, &foreign);
    filter.run().unwrap();
    assert_eq!(reason(&filter, "198.51.100.20"), "trunk");
    assert_eq!(filter.status().unwrap()["interfaces"][0]["attached"], "native");
    filter.done(&["detach"]).unwrap();
    filter.ended().unwrap();
    assert!(foreign.exists());
    assert_eq!(fs::read_dir(filter.pins()).unwrap().count(), 1);

    let link = filter.pins().join("link-eth0");
    pin_garbage(&lab, &link);
    assert_told("link", &filter.run_in_vain(&[]).unwrap(), 1, &[&link.display().to_string(), "remove"]);
}

/// A map that nobody uses.
fn pin_garbage(lab: &Lab, path: &Path) {
    let mut command = lab.pbx().command("bpftool");
    command.args(["map", "create"]).arg(path);
    command.args(["type", "array", "key", "4", "value", "4", "entries", "1", "name", "garbage"]);
    let outcome = lab.pbx().run("bpftool", command, WITHIN).unwrap();
    assert!(outcome.succeeded(), "{outcome:?}");
}
