//! Interfaces without native XDP, and several filters on one machine.

use std::net::{IpAddr, SocketAddr};

use tests::{Family, Filter, Lab, POLICY, PacedSender, Receiver};

use super::traffic::{assert_counts, assert_whole, flow, let_pass};

#[test]
fn where_the_driver_refuses_the_filter_works_in_generic_mode_and_says_so() {
    let Some(lab) = Lab::or_skip() else { return };
    // The loopback device has no native XDP.
    let policy = POLICY
        .replace("interfaces = [\"eth0\"]", "interfaces = [\"lo\"]")
        .replace("\"198.51.100.20\"", "\"127.0.0.2\"");
    let filter = Filter::start(&lab, &policy).unwrap();
    filter.logs(&["WARN", "generic mode"]).unwrap();
    let status = filter.status().unwrap();
    assert_eq!(status["interfaces"][0]["attached"], "generic");
    assert!(status["interfaces"][0]["program_id"].is_u64());

    let at: SocketAddr = "127.0.0.1:5060".parse().unwrap();
    let receiver = Receiver::start(lab.pbx(), at).unwrap();
    let sources: [IpAddr; 2] = ["127.0.0.2", "127.0.0.3"].map(|address| address.parse().unwrap());
    let flows = sources.map(|source| flow(lab.pbx(), source, at));
    flows.iter().for_each(|flow| let_pass(flow, 100));
    let [of_trunk, of_stranger] = flows.map(|flow| PacedSender::stop(flow).unwrap());
    assert_whole(&receiver, sources[0], of_trunk);
    assert_counts(&filter, "trunk", of_trunk);
    assert_counts(&filter, "stranger", of_stranger);
    assert_eq!(receiver.numbers(sources[1]), [0; 0]);
}

#[test]
fn two_filters_on_two_interfaces_know_nothing_of_each_other() {
    let Some(lab) = Lab::or_skip() else { return };
    let [near, far]: [IpAddr; 2] = ["192.0.2.129", "192.0.2.130"].map(|address| address.parse().unwrap());
    lab.pbx().cable("eth1", near, lab.stranger(), far).unwrap();
    let one = Filter::start(&lab, POLICY).unwrap();
    let policy = POLICY.replace("\"eth0\"", "\"eth1\"").replace("\"198.51.100.20\"", "\"192.0.2.130\"");
    let mut other = Filter::beside(&lab, "-second", &policy).unwrap();
    other.run().unwrap();

    let receiver = Receiver::start(lab.pbx(), "0.0.0.0:5060".parse().unwrap()).unwrap();
    let stranger = lab.stranger().address(Family::V4);
    let on_one = flow(lab.stranger(), stranger, lab.pbx().sip(Family::V4));
    let on_other = flow(lab.stranger(), far, SocketAddr::new(near, 5060));
    let_pass(&on_one, 100);
    let_pass(&on_other, 100);
    let on_one = on_one.stop().unwrap();
    assert_whole(&receiver, far, on_other.stop().unwrap());
    assert_counts(&one, "stranger", on_one);
    assert_counts(&one, "trunk", 0);
    assert_counts(&other, "stranger", 0);

    other.done(&["detach"]).unwrap();
    assert!(!other.pins().exists());
    assert_eq!(one.status().unwrap()["interfaces"][0]["attached"], "native");
    assert_eq!(receiver.numbers(stranger), [0; 0]);
}
