//! How trust ends, and what it outlives.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData};
use nix::sys::signal::Signal;
use sip_filter_common::maps::{FlowKey, Live, name};
use tests::{Family, Handset, Receiver, Transport, wait_until};

use super::{Scene, WITHIN, prove};
use crate::wire::traffic::{assert_whole, flow, let_pass};

const AN_HOUR_S: u32 = 3_600;
/// In the policy's media listener.
const MEDIA_PORT: u16 = 10_002;

#[test]
fn a_phone_that_takes_its_registration_back_is_a_stranger_again() {
    let Some(scene) = Scene::or_skip(&prove("")) else { return };
    for transport in [Transport::Udp, Transport::Tcp] {
        for all in [false, true] {
            let address = scene.somewhere(if all { 41 } else { 40 }, Family::V4);
            let phone = Handset::new(scene.lab.trunk(), address, transport, "alice");
            assert!(phone.register(AN_HOUR_S).unwrap().complete);
            scene.assert_let_in(address);
            let gone = if all { phone.deregister_all() } else { phone.deregister() }.unwrap();
            assert!(gone.complete, "{transport:?}: {}", gone.log);
            scene.assert_shut_out(address);
            assert!(scene.filter.registrations().unwrap().is_empty());
        }
        // Two tests share the addresses.
        scene.lab.trunk().network(&["address", "flush", "dev", "eth0", "to", "198.51.100.40/31"]).unwrap();
    }
}

#[test]
fn a_registration_that_nobody_refreshes_ends_by_itself_also_without_a_daemon() {
    let Some(mut scene) = Scene::or_skip(&prove("grace = \"1s\"").replace("\"open\"", "\"hold\"")) else {
        return;
    };
    let addresses = [40, 41].map(|host| scene.somewhere(host, Family::V4));
    let register = |address, user: &str| {
        let phone = Handset::new(scene.lab.trunk(), address, Transport::Udp, user);
        assert!(phone.register(3).unwrap().complete);
        scene.assert_let_in(address);
    };
    register(addresses[0], "alice");
    scene.assert_shut_out(addresses[0]);
    wait_until(WITHIN, "the list to be empty", || Ok(scene.filter.registrations()?.is_empty().then_some(())))
        .unwrap();
    register(addresses[1], "bob");
    scene.filter.kill(Signal::SIGKILL).unwrap();
    scene.assert_let_in(addresses[1]);
    scene.assert_shut_out(addresses[1]);
}

#[test]
fn a_refresh_prolongs_what_it_refreshes() {
    let Some(scene) = Scene::or_skip(&prove("grace = \"0s\"")) else { return };
    let address = scene.somewhere(40, Family::V4);
    let phone = Handset::new(scene.lab.trunk(), address, Transport::Udp, "alice");
    assert!(phone.register(5).unwrap().complete);
    assert!(phone.register(AN_HOUR_S).unwrap().complete);
    let list = scene.filter.json(&["registration", "list"]).unwrap();
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    let remaining_ms = list[0]["remaining_ms"].as_u64().unwrap();
    assert!((3_500_000..=3_600_000).contains(&remaining_ms), "{list}");
}

#[test]
fn registrations_outlive_the_daemon_whatever_is_left_in_the_kernel() {
    for on_exit in ["hold", "open"] {
        let Some(mut scene) = Scene::or_skip(&prove("").replace("\"open\"", &format!("\"{on_exit}\"")))
        else {
            return;
        };
        let address = scene.somewhere(40, Family::V4);
        let phone = Handset::new(scene.lab.trunk(), address, Transport::Udp, "alice");
        assert!(phone.register(AN_HOUR_S).unwrap().complete);
        let before = scene.filter.registrations().unwrap();
        assert_eq!(before.len(), 1);
        // What is written at most once a second is there when the daemon is asked to end.
        scene.filter.restart().unwrap();
        assert_eq!(scene.filter.registrations().unwrap(), before, "{on_exit}");
        let call = phone.call().unwrap();
        assert!(call.complete, "{on_exit}: {}", call.log);
        let list = scene.filter.json(&["registration", "list"]).unwrap();
        assert!(list[0]["remaining_ms"].as_u64().unwrap() <= 3_600_000, "{list}");
    }
}

#[test]
fn an_upgrade_takes_no_packet_from_who_is_registered() {
    let Some(mut scene) = Scene::or_skip(&prove("").replace("\"open\"", "\"hold\"")) else { return };
    // Behind all others: one by one, they take a while.
    let address = scene.somewhere(240, Family::V4);
    assert!(
        Handset::new(scene.lab.trunk(), address, Transport::Udp, "alice")
            .register(AN_HOUR_S)
            .unwrap()
            .complete
    );
    for host in 100..200 {
        let (aor, from) = (format!("{host}@lab"), format!("198.51.100.{host}"));
        scene.filter.done(&["registration", "add", &aor, "--from", &from, "--for", "1h"]).unwrap();
    }
    let at = SocketAddr::new(scene.lab.pbx().address(Family::V4), MEDIA_PORT);
    let receiver = Receiver::start(scene.lab.pbx(), at).unwrap();
    let sending = flow(scene.lab.trunk(), address, at);
    receiver.wait_for(address, 100, WITHIN).unwrap();

    scene.filter.kill(Signal::SIGTERM).unwrap();
    let pinned = MapData::from_pin(scene.filter.pins().join(name::pin(name::LIVE))).unwrap();
    let mut live: Array<_, Live> = Map::Array(pinned).try_into().unwrap();
    let in_force = live.get(&0, 0).unwrap();
    live.set(0, Live { object: !in_force.object, ..in_force }, 0).unwrap();
    scene.filter.run().unwrap();
    scene.filter.logs(&["another version's"]).unwrap();

    let_pass(&sending, 100);
    assert_whole(&receiver, address, sending.stop().unwrap());
    assert_eq!(scene.filter.registrations().unwrap().len(), 101);
}

#[test]
fn who_registers_while_no_daemon_runs_is_known_to_the_next_one_for_no_longer_than_was_granted() {
    let Some(mut scene) = Scene::or_skip(&prove("grace = \"0s\"").replace("\"open\"", "\"hold\"")) else {
        return;
    };
    let [short, long, connected] = [40, 41, 42].map(|host| scene.somewhere(host, Family::V4));
    scene.filter.kill(Signal::SIGKILL).unwrap();
    let register = |address, transport, user: &str, lifetime_s| {
        let phone = Handset::new(scene.lab.trunk(), address, transport, user);
        assert!(phone.register(lifetime_s).unwrap().complete);
        assert!(!scene.may_call(address), "nobody is there to let it in");
    };
    let started = Instant::now();
    register(short, Transport::Udp, "alice", 3);
    register(long, Transport::Udp, "bob", AN_HOUR_S);
    register(connected, Transport::Tcp, "carol", AN_HOUR_S);
    let is_over = || Ok((started.elapsed() > Duration::from_secs(5)).then_some(()));
    wait_until(WITHIN, "the short registration to end", is_over).unwrap();
    scene.filter.run().unwrap();
    scene.assert_let_in(long);
    scene.assert_let_in(connected);
    let list = scene.filter.json(&["registration", "list"]).unwrap();
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    let remaining_ms = |place: usize| list[place]["remaining_ms"].as_u64().unwrap();
    assert!(remaining_ms(0).max(remaining_ms(1)) <= u64::from(AN_HOUR_S) * 1_000 - 3_000, "{list}");
    assert!(!scene.may_call(short));
}

#[test]
fn the_operator_may_register_somebody_and_take_it_back() {
    let Some(scene) = Scene::or_skip(&prove("")) else { return };
    let address = scene.somewhere(40, Family::V4);
    let from = address.to_string();
    scene.filter.done(&["registration", "add", "alice@lab", "--from", &from, "--for", "1h"]).unwrap();
    scene.assert_let_in(address);
    assert_eq!(scene.filter.registrations().unwrap(), [format!("alice@lab at {from}")]);
    scene.filter.done(&["registration", "remove", "alice@lab"]).unwrap();
    assert!(!scene.may_call(address));
    let refused = scene.filter.cli(["registration", "remove", "alice@lab"]).unwrap();
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
}

#[test]
fn who_is_let_in_stays_so_until_the_end_when_the_state_file_is_lost() {
    let policy = prove("trust = \"flow\"\ngrace = \"0s\"").replace("\"open\"", "\"hold\"");
    let Some(mut scene) = Scene::or_skip(&policy) else { return };
    let [short, long] = [40, 41].map(|host| scene.somewhere(host, Family::V4));
    let register = |scene: &Scene, address, user: &str, lifetime_s| {
        let phone = Handset::new(scene.lab.trunk(), address, Transport::Udp, user);
        assert!(phone.register(lifetime_s).unwrap().complete);
    };
    let is_let_in = |scene: &Scene, address, user: &str| {
        let phone = Handset::new(scene.lab.trunk(), address, Transport::Udp, user);
        phone.call_within(Duration::from_secs(6)).unwrap().complete
    };
    register(&scene, short, "alice", 3);
    register(&scene, long, "bob", AN_HOUR_S);
    scene.filter.kill(Signal::SIGKILL).unwrap();
    if let Err(error) = std::fs::remove_file(scene.filter.state()) {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "killed before it was written");
    }
    let is_over = || Ok((!is_let_in(&scene, short, "alice")).then_some(()));
    wait_until(WITHIN, "the short registration to end", is_over).unwrap();
    scene.filter.run().unwrap();
    scene.filter.logs(&["1 addresses registered that the state file does not have"]).unwrap();
    assert!(is_let_in(&scene, long, "bob"));
    // What ended without a daemon takes no place for ever.
    let map = aya::maps::MapData::from_pin(scene.filter.pins().join("FLOWS")).unwrap();
    let flows = aya::maps::HashMap::<_, FlowKey, u64>::try_from(aya::maps::Map::HashMap(map)).unwrap();
    assert_eq!(flows.keys().count(), 1);
    register(&scene, long, "bob", AN_HOUR_S);
    assert_eq!(scene.filter.registrations().unwrap().len(), 1);
}
