//! Trunks that must register.

use std::net::SocketAddr;

use tests::{Family, Handset, Receiver, Transport};

use super::{Scene, WITHIN, prove};
use crate::wire::traffic::{assert_whole, flow, let_pass};

const AN_HOUR_S: u32 = 3_600;
/// In the policy's media listener.
const MEDIA_PORT: u16 = 10_002;

/// The carrier of the demo's policy, with these lines more.
fn carrier(policy: &str, lines: &str) -> String {
    policy.replace(
        "name = \"carrier\"\n",
        &format!("name = \"carrier\"\nregistrations = [\"carrier\"]\n{lines}\n"),
    )
}

#[test]
fn a_trunk_that_must_register_may_do_no_more_until_it_has() {
    let Some(scene) = Scene::or_skip(&carrier(tests::POLICY, "require_registration = true")) else { return };
    let address = scene.lab.trunk().address(Family::V4);
    assert!(!scene.may_call(address));
    let trunk = Handset::new(scene.lab.trunk(), address, Transport::Udp, "carrier");
    let registered = trunk.register(AN_HOUR_S).unwrap();
    assert!(registered.complete, "{}", registered.log);
    let call = trunk.call().unwrap();
    assert!(call.complete, "{}", call.log);
    let listed = scene.filter.json(&["trunk", "list"]).unwrap();
    assert_eq!(listed[0]["registered_at"], serde_json::json!([address]), "{listed}");
    assert!(trunk.deregister().unwrap().complete);
    scene.assert_shut_out(address);
}

#[test]
fn a_restart_takes_no_packet_of_media_from_a_trunk_that_is_registered() {
    let lines = "require_registration = true\nmedia = [\"198.51.100.21\"]";
    let policy = carrier(&tests::POLICY.replace("\"open\"", "\"hold\""), lines);
    let Some(mut scene) = Scene::or_skip(&policy) else { return };
    let (address, media) = (scene.lab.trunk().address(Family::V4), scene.somewhere(21, Family::V4));
    let at = SocketAddr::new(scene.lab.pbx().address(Family::V4), MEDIA_PORT);
    let receiver = Receiver::start(scene.lab.pbx(), at).unwrap();
    assert!(
        Handset::new(scene.lab.trunk(), address, Transport::Udp, "carrier")
            .register(AN_HOUR_S)
            .unwrap()
            .complete
    );
    let sending = flow(scene.lab.trunk(), media, at);
    receiver.wait_for(media, 100, WITHIN).unwrap();
    scene.filter.restart().unwrap();
    let_pass(&sending, 100);
    assert_whole(&receiver, media, sending.stop().unwrap());
}

#[test]
fn while_a_trunk_is_registered_its_other_addresses_may_only_register() {
    let policy = carrier(&prove(""), "").replace("\"198.51.100.20\"", "\"198.51.100.20\", \"198.51.100.21\"");
    let Some(scene) = Scene::or_skip(&policy) else { return };
    let [one, other] = [scene.lab.trunk().address(Family::V4), scene.somewhere(21, Family::V4)];
    // Nobody has registered.
    scene.assert_let_in(one);
    scene.assert_let_in(other);
    let trunk = Handset::new(scene.lab.trunk(), one, Transport::Udp, "carrier");
    assert!(trunk.register(AN_HOUR_S).unwrap().complete);
    scene.assert_shut_out(other);
    scene.assert_let_in(one);
    let elsewhere = trunk.at(other);
    assert!(elsewhere.register(AN_HOUR_S).unwrap().complete);
    scene.assert_let_in(other);
}
