//! An interface that goes away under the daemon, and comes back.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{Filter, Lab, POLICY, wait_until};

use super::asking::{WITHIN, reason};

#[test]
fn an_interface_that_vanishes_is_reported_and_filtered_again_when_it_is_back() {
    let Some(lab) = Lab::or_skip() else { return };
    let [near, far]: [IpAddr; 2] = ["192.0.2.129", "192.0.2.130"].map(|address| address.parse().unwrap());
    let receiver = lab.pbx().in_namespace(|| UdpSocket::bind("0.0.0.0:5060")).unwrap().unwrap();
    receiver.set_read_timeout(Some(WITHIN)).unwrap();
    for (label, on_exit) in [("-open", "\"open\""), ("-hold", "\"hold\"")] {
        lab.pbx().cable("eth1", near, lab.stranger(), far).unwrap();
        let policy = POLICY
            .replace("\"eth0\"", "\"eth0\", \"eth1\"")
            .replace("\"open\"", on_exit)
            .replace("\"198.51.100.20\"", "\"198.51.100.20\", \"192.0.2.131\"");
        let mut filter = Filter::beside(&lab, label, &policy).unwrap();
        filter.run().unwrap();
        assert_eq!(attached(&filter), [json!("native"), json!("native")]);

        lab.pbx().network(&["link", "delete", "eth1"]).unwrap();
        filter.logs(&["interface eth1 is gone"]).unwrap();
        assert_eq!(attached(&filter), [json!("native"), Value::Null], "{label}");
        let status = filter.status().unwrap();
        assert!(status["warnings"].to_string().contains("there is no interface eth1"), "{status}");
        assert!(filter.done(&["status"]).unwrap().contains("NOT ATTACHED"));
        // A policy can still be put in force, for the interface that is left and for the one that will come back.
        let outcome = filter.apply(&policy.replace("203.0.113.0/24", "203.0.112.0/23")).unwrap();
        assert_eq!(outcome.code, Some(0), "{label}: {}", outcome.stderr);
        assert_eq!(reason(&filter, "203.0.112.1"), "denied");

        lab.pbx().cable("eth1", near, lab.stranger(), far).unwrap();
        wait_until(WITHIN, "eth1 to be attached again", || {
            Ok((attached(&filter) == [json!("native"), json!("native")]).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{label}: {error:#}: {}", filter.log()));
        lab.stranger().network(&["address", "add", "192.0.2.131/24", "dev", "eth1"]).unwrap();
        let before = filter.counter("stranger").unwrap();
        let send = |from: IpAddr, text: &str| {
            let socket = lab.stranger().in_namespace(|| UdpSocket::bind((from, 0))).unwrap().unwrap();
            socket.send_to(text.as_bytes(), SocketAddr::new(near, 5060)).unwrap();
        };
        send(far, "stranger");
        wait_until(WITHIN, "the stranger to be counted", || {
            Ok((filter.counter("stranger")? == before + 1).then_some(()))
        })
        .unwrap();
        send("192.0.2.131".parse().unwrap(), label);
        let mut buffer = [0; 64];
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], label.as_bytes());
        filter.done(&["detach"]).unwrap();
        lab.pbx().network(&["link", "delete", "eth1"]).unwrap();
    }
}

#[test]
fn a_link_that_somebody_detached_is_reported_and_attached_again_by_apply() {
    let Some(lab) = Lab::or_skip() else { return };
    for on_exit in ["\"open\"", "\"hold\""] {
        let policy = POLICY.replace("\"open\"", on_exit);
        let filter = Filter::start(&lab, &policy).unwrap();
        let program = filter.status().unwrap()["interfaces"][0]["program_id"].clone();
        let links: Value = serde_json::from_str(&bpftool(&lab, &["--json", "link", "show"])).unwrap();
        let link = links.as_array().unwrap().iter().find(|link| link["prog_id"] == program).unwrap();
        bpftool(&lab, &["link", "detach", "id", &link["id"].to_string()]);
        let status = filter.status().unwrap();
        assert_eq!(status["interfaces"][0]["attached"], Value::Null);
        assert!(status["warnings"].to_string().contains("eth0"), "{on_exit}: no warning: {status}");
        assert_eq!(filter.apply(&policy).unwrap().code, Some(0));
        assert_eq!(filter.status().unwrap()["interfaces"][0]["attached"], "native", "{on_exit}");
        filter.done(&["detach"]).unwrap();
    }
}

fn bpftool(lab: &Lab, arguments: &[&str]) -> String {
    let mut command = lab.pbx().command("bpftool");
    command.args(arguments);
    let outcome = lab.pbx().run("bpftool", command, WITHIN).unwrap();
    assert!(outcome.succeeded(), "{outcome:?}");
    outcome.stdout
}

#[test]
fn a_renamed_interface_is_filtered_on_and_can_be_named_anew() {
    let Some(lab) = Lab::or_skip() else { return };
    let [near, far]: [IpAddr; 2] = ["192.0.2.129", "192.0.2.130"].map(|address| address.parse().unwrap());
    lab.pbx().cable("eth1", near, lab.stranger(), far).unwrap();
    let policy = POLICY.replace("\"eth0\"", "\"eth0\", \"eth1\"");
    let filter = Filter::start(&lab, &policy).unwrap();
    for arguments in [["eth1", "down", "", ""], ["eth1", "name", "eth9", ""], ["eth9", "up", "", ""]] {
        let words = ["link", "set", "dev"].into_iter().chain(arguments).filter(|word| !word.is_empty());
        lab.pbx().network(&words.collect::<Vec<_>>()).unwrap();
    }
    assert_eq!(attached(&filter), [json!("native"), Value::Null]);
    let socket = lab.stranger().in_namespace(|| UdpSocket::bind((far, 0))).unwrap().unwrap();
    socket.send_to(b"stranger", SocketAddr::new(near, 5060)).unwrap();
    wait_until(WITHIN, "the stranger to be counted", || Ok((filter.counter("stranger")? == 1).then_some(())))
        .unwrap();
    let outcome = filter.apply(&policy.replace("\"eth1\"", "\"eth9\"")).unwrap();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(attached(&filter), [json!("native"), json!("native")]);
}

#[test]
fn an_interface_that_takes_the_name_of_another_is_filtered_itself() {
    for restarts in [false, true] {
        let Some(lab) = Lab::or_skip() else { return };
        let addresses = ["192.0.2.129", "192.0.2.130", "198.18.5.1", "198.18.5.2"];
        let [near, far, near2, far2]: [IpAddr; 4] = addresses.map(|address| address.parse().unwrap());
        lab.pbx().cable("eth1", near, lab.stranger(), far).unwrap();
        lab.pbx().cable("eth2", near2, lab.stranger(), far2).unwrap();
        let policy = POLICY.replace("\"eth0\"", "\"eth0\", \"eth1\"").replace("\"open\"", "\"hold\"");
        let mut filter = Filter::start(&lab, &policy).unwrap();
        if restarts {
            filter.kill(Signal::SIGKILL).unwrap();
        }
        for (old, new) in [("eth1", "eth8"), ("eth2", "eth1")] {
            lab.pbx().network(&["link", "set", "dev", old, "down"]).unwrap();
            lab.pbx().network(&["link", "set", "dev", old, "name", new]).unwrap();
            lab.pbx().network(&["link", "set", "dev", new, "up"]).unwrap();
        }
        if restarts {
            filter.run().unwrap();
        }
        let both = [json!("native"), json!("native")];
        wait_until(WITHIN, "both to be judged", || Ok((attached(&filter) == both).then_some(()))).unwrap();
        let before = filter.counter("stranger").unwrap();
        let socket = lab.stranger().in_namespace(|| UdpSocket::bind((far2, 0))).unwrap().unwrap();
        socket.send_to(b"stranger", SocketAddr::new(near2, 5060)).unwrap();
        wait_until(WITHIN, "the stranger to be counted", || {
            Ok((filter.counter("stranger")? == before + 1).then_some(()))
        })
        .unwrap();
    }
}

fn attached(filter: &Filter) -> [Value; 2] {
    let status = filter.status().unwrap();
    [0, 1].map(|index| status["interfaces"][index]["attached"].clone())
}
