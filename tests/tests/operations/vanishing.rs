//! An interface that goes away under the daemon, and comes back.

use std::net::{IpAddr, SocketAddr, UdpSocket};

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
        wait_until(WITHIN, "the daemon to say so", || Ok(filter.log().contains("eth1").then_some(()))).unwrap();
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

fn attached(filter: &Filter) -> [Value; 2] {
    let status = filter.status().unwrap();
    [0, 1].map(|index| status["interfaces"][index]["attached"].clone())
}
