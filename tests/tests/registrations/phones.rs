//! Phones at addresses that nobody listed.

use std::time::Duration;

use serde_json::json;
use tests::{Capture, Family, Handset, Transport, ask_from, call::MEDIA_PACKETS, options};

use super::{PROBE, Scene, WITHIN, prove, requests};

/// Long enough for every test.
const AN_HOUR_S: u32 = 3_600;
const UDP_AND_TCP: [Transport; 2] = [Transport::Udp, Transport::Tcp];

#[test]
fn a_phone_that_registers_may_call_with_media_and_before_that_it_may_not() {
    let Some(scene) = Scene::or_skip(&prove("")) else { return };
    let arriving = Capture::start(scene.lab.pbx()).unwrap();
    let mut next = 40;
    for (transport, family) in UDP_AND_TCP.into_iter().flat_map(|way| Family::ALL.map(|family| (way, family)))
    {
        let address = scene.somewhere(next, family);
        next += 1;
        assert!(!scene.may_call(address), "{address} has not registered");
        let phone = Handset::new(scene.lab.trunk(), address, transport, &format!("phone{next}"));
        let registered = phone.register(AN_HOUR_S).unwrap();
        assert!(registered.complete, "{transport:?} {family:?}: {}", registered.log);
        let call = phone.call().unwrap();
        assert!(call.complete, "{transport:?} {family:?}: {}", call.log);
        let arrived = arriving.packets().unwrap();
        assert_eq!(
            arrived.iter().filter(|packet| call.is_media(packet)).count(),
            MEDIA_PACKETS,
            "{family:?}"
        );
        // Challenged once, and then with credentials: the one before the registration never arrived.
        assert_eq!(requests(&arrived, address, "INVITE", false), 2, "{transport:?} {family:?}");
    }
    assert_eq!(scene.filter.registrations().unwrap().len(), 4);
    assert!(scene.filter.counter("registered").unwrap() > 4 * MEDIA_PACKETS as u64);
}

#[test]
fn a_call_of_somebody_who_has_not_registered_is_told() {
    let Some(scene) = Scene::or_skip(&prove("")) else { return };
    let address = scene.somewhere(40, Family::V4);
    let phone = Handset::new(scene.lab.trunk(), address, Transport::Udp, "alice");
    assert!(!phone.call_within(Duration::from_secs(2)).unwrap().complete);
    let line = format!("\"event\":\"blocked_call\",\"source\":\"{address}\",\"method\":\"INVITE\"");
    scene.filter.logs(&[&line]).unwrap();
}

#[test]
fn a_phone_that_is_challenged_may_answer_when_strangers_have_used_up_what_they_have() {
    // Its own first request is all that strangers may send in an hour.
    let Some(scene) = Scene::or_skip(&prove("rate = \"1/h\"\ntotal_rate = \"1/h\"")) else { return };
    let address = scene.somewhere(40, Family::V4);
    let phone = Handset::new(scene.lab.trunk(), address, Transport::Udp, "alice");
    let registered = phone.register(AN_HOUR_S).unwrap();
    assert!(registered.complete, "{}", registered.log);
}

#[test]
fn a_phone_behind_a_nat_takes_its_trust_along_to_where_it_roams() {
    let Some(scene) = Scene::or_skip(&prove("")) else { return };
    for (number, transport) in UDP_AND_TCP.into_iter().enumerate() {
        let number = u8::try_from(number).unwrap();
        let [home, away] = [50, 60].map(|host| scene.somewhere(host + number, Family::V4));
        let phone = Handset::new(scene.lab.trunk(), home, transport, &format!("roamer{number}")).behind_nat();
        assert!(phone.register(AN_HOUR_S).unwrap().complete);
        assert!(phone.call().unwrap().complete);
        let phone = phone.at(away);
        assert!(!scene.may_call(away), "it has not registered there");
        // A refresh shows by its later end, which here is no matter of how fast this test is.
        let registered = phone.register(AN_HOUR_S + 60).unwrap();
        assert!(registered.complete, "{}", registered.log);
        assert!(phone.call().unwrap().complete);
        // The same contact, from another address: the address before is nobody's.
        scene.assert_shut_out(home);
    }
}

#[test]
fn a_thousand_phones_behind_one_address_all_get_through_after_an_outage() {
    let Some(scene) = Scene::or_skip(&prove("")) else { return };
    let nat = scene.somewhere(70, Family::V4);
    for transport in UDP_AND_TCP {
        let phones = Handset::new(scene.lab.trunk(), nat, transport, "office").behind_nat();
        let registered = phones.register_many(1_000, AN_HOUR_S, WITHIN).unwrap();
        assert!(registered.complete, "{transport:?}: {}", registered.log);
        println!("1,000 phones over {} in {:.1} s", transport.name(), registered.took.as_secs_f64());
        let told = scene.filter.registrations().unwrap();
        assert_eq!(told.len(), 1_000, "{transport:?}");
        // The outage: nothing is known of them any more.
        for number in 1..=1_000 {
            let aor = format!("office{number}");
            scene.filter.ask(&json!({ "command": "registration_remove", "aor": aor })).unwrap();
        }
        assert!(!scene.may_call(nat));
    }
    assert!(scene.filter.bans_of(nat).unwrap().is_empty());
}

#[test]
fn an_answered_options_makes_nobody_trusted() {
    let Some(scene) = Scene::or_skip(&prove("")) else { return };
    for transport in UDP_AND_TCP {
        let reply = options(scene.lab.stranger(), scene.lab.pbx().sip(Family::V4), transport, PROBE).unwrap();
        assert_eq!(reply, Some(200), "{transport:?}");
    }
    let stranger = scene.lab.stranger();
    let to = scene.lab.pbx().sip(Family::V4);
    assert_eq!(ask_from(stranger, stranger.address(Family::V4), "INVITE", to, PROBE).unwrap(), None);
    assert!(scene.filter.registrations().unwrap().is_empty());
}

#[test]
fn with_trust_in_flows_another_port_of_the_same_address_stays_a_stranger() {
    let Some(scene) = Scene::or_skip(&prove("trust = \"flow\"")) else { return };
    let address = scene.somewhere(80, Family::V4);
    let phone = Handset::new(scene.lab.trunk(), address, Transport::Udp, "alice");
    assert!(phone.register(AN_HOUR_S).unwrap().complete);
    // sipp binds 5060 each time; the probe binds another port.
    let call = phone.call().unwrap();
    assert!(call.complete, "{}", call.log);
    assert!(!scene.may_call(address));
    assert!(Duration::from_secs(1) < call.took);
}

#[test]
fn where_cookies_stand_in_for_connections_they_come_about_all_the_same() {
    let Some(scene) = Scene::or_skip(&prove("")) else { return };
    let to = scene.lab.pbx().sip(Family::V4);
    // 1: only where the backlog overflows; 2: always.
    for cookies in ["1", "2"] {
        let set = || std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", cookies);
        scene.lab.pbx().in_namespace(set).unwrap().unwrap();
        for host in [scene.lab.trunk(), scene.lab.stranger()] {
            assert_eq!(options(host, to, Transport::Tcp, WITHIN).unwrap(), Some(200), "{cookies}");
        }
    }
}
