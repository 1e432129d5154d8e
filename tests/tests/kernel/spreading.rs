//! The table of peers, which has more buckets the more there are: nobody is lost on the way, and nobody comes back.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use aya::programs::Xdp;
use aya_obj::programs::XdpAttachType;
use sip_filter_common::maps::{Live, PEER_BUCKETS_MIN, PeerBucket, name, program};
use sip_filter_common::{Address, Reason};
use tests::wait::wait_until;

use super::loaded::{Loaded, map_ids, may_use_the_kernel};
use super::switching::{allowing, frame, packets, repeat, run};
use crate::guest;

/// Until the table has grown six times; three times in an emulated machine.
fn peers() -> u32 {
    if guest::is_guest() { PEER_BUCKETS_MIN * 5 / 4 } else { PEER_BUCKETS_MIN * 10 }
}

/// Those that send meanwhile, for a while each: half of them move whenever the table grows.
const SENDERS: u32 = 16;
/// One in so many is looked at in the end; odd, so that some of them are gone.
const CHECKED_STEP: usize = 17;

fn address(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(u32::from_be_bytes([10, 0, 0, 0]) + 997 * number).into()
}

fn frame_of(number: u32) -> Vec<u8> {
    frame(&address(number).to_string(), 5060)
}

fn reason(kernel: &mut Loaded, number: u32) -> Reason {
    kernel.judge(&frame_of(number)).unwrap().0
}

#[test]
fn peers_stay_known_while_their_table_grows_and_nobody_is_known_for_longer() {
    if !may_use_the_kernel("a growing table of peers") {
        return;
    }
    let (peers, policy) = (peers(), allowing(&[]));
    let mut kernel = Loaded::with(&policy);
    kernel.datapath.pin().unwrap();
    let filter = Xdp::from_pin(kernel.pin(program::FILTER), XdpAttachType::Interface).unwrap();
    (0..SENDERS).for_each(|number| kernel.register(address(number), u64::MAX));
    let frames: Vec<Vec<u8>> = (0..SENDERS).map(frame_of).collect();
    let is_done = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let runner = scope.spawn(|| run(&frames, 20 * repeat(), &filter, &is_done));
        let waited = wait_until(Duration::from_secs(20), "packets to be judged", || {
            let counters = kernel.datapath.counters()?;
            Ok((packets(&counters, Reason::Registered) > 0).then_some(()))
        });
        (SENDERS..peers).for_each(|number| kernel.register(address(number), u64::MAX));
        is_done.store(true, Ordering::Relaxed);
        let sent = runner.join().unwrap();
        waited.unwrap();
        sent
    });
    let counters = kernel.datapath.counters().unwrap();
    assert_eq!(packets(&counters, Reason::Registered), sent, "{counters:?}");
    drop(filter);

    // The next daemon reads who is in it from there.
    let mut kernel = kernel.restarted(&policy);
    assert_eq!(kernel.datapath.registered().count(), peers as usize);
    for number in (0..peers).step_by(2) {
        kernel.datapath.dismiss(address(number)).unwrap();
    }
    // Twice as large once more.
    (peers..2 * peers).for_each(|number| kernel.register(address(number), u64::MAX));
    for number in (0..2 * peers).step_by(CHECKED_STEP) {
        let expected = if number < peers && number % 2 == 0 { Reason::Stranger } else { Reason::Registered };
        assert_eq!(reason(&mut kernel, number), expected, "peer {number}");
    }
}

/// A daemon that is killed while it moves a peer leaves it in both its buckets.
#[test]
fn who_was_being_moved_when_a_daemon_ended_can_be_dismissed_by_the_next() {
    if !may_use_the_kernel("a peer that stands in two places") {
        return;
    }
    // Addresses at equal distances stand in a row of buckets, with some salts in a few of them.
    let numbers = || (0..SENDERS).map(|number| number * number);
    let policy = allowing(&[]);
    let mut kernel = Loaded::with(&policy);
    kernel.datapath.pin().unwrap();
    numbers().for_each(|number| kernel.register(address(number), u64::MAX));

    let live = pinned::<Live>(&kernel, name::LIVE).get(&0, 0).unwrap();
    let mut peers = pinned::<PeerBucket>(&kernel, name::PEERS);
    let mut copied = 0;
    for number in numbers() {
        let peer = Address::from(address(number));
        let choices = live.peer_buckets(&peer, live.peers_mask);
        let stands = |bucket: &u32| peers.get(bucket, 0).unwrap().places.iter().any(|at| at.address == peer);
        let here = choices.into_iter().find(stands).unwrap();
        let there = choices.into_iter().find(|bucket| *bucket != here).unwrap_or(here);
        let mut bucket = peers.get(&there, 0).unwrap();
        if let Some(free) = bucket.places.iter_mut().find(|place| place.known.is_nothing()) {
            *free = peers.get(&here, 0).unwrap().places.into_iter().find(|at| at.address == peer).unwrap();
            copied += 1;
        }
        peers.set(there, bucket, 0).unwrap();
    }
    // A bucket that is full by chance takes none.
    assert!(copied > SENDERS / 2, "{copied} of {SENDERS} stand in two places");

    let mut kernel = kernel.restarted(&policy);
    for number in numbers() {
        assert_eq!(reason(&mut kernel, number), Reason::Registered, "peer {number}");
        assert!(kernel.datapath.dismiss(address(number)).unwrap());
        assert_eq!(reason(&mut kernel, number), Reason::Stranger, "peer {number}");
    }
}

#[test]
fn of_what_another_object_left_only_bans_are_kept() {
    if !may_use_the_kernel("another object's maps") {
        return;
    }
    let policy = allowing(&[]);
    let mut kernel = Loaded::with(&policy);
    kernel.datapath.pin().unwrap();
    kernel.ban(address(1), u64::MAX);
    kernel.register(address(2), u64::MAX);

    let mut kernel = kernel.restarted(&policy);
    assert_eq!(
        [1, 2, 3].map(|number| reason(&mut kernel, number)),
        [Reason::Banned, Reason::Registered, Reason::Stranger]
    );
    let own = map_ids(&kernel.datapath);

    let mut live = pinned::<Live>(&kernel, name::LIVE);
    // Earlier builds pinned two programs, and a pinned program holds its maps.
    let mut filter = Xdp::from_pin(kernel.pin(program::FILTER), XdpAttachType::Interface).unwrap();
    filter.pin(kernel.pin(program::EXPLAIN)).unwrap();
    let others = Live { object: !live.get(&0, 0).unwrap().object, ..live.get(&0, 0).unwrap() };
    live.set(0, others, 0).unwrap();
    let mut kernel = kernel.restarted(&policy);
    assert_eq!(
        [1, 2, 3].map(|number| reason(&mut kernel, number)),
        [Reason::Banned, Reason::Stranger, Reason::Stranger]
    );
    assert!(map_ids(&kernel.datapath).iter().all(|id| !own.contains(id)), "a map is used again");
    kernel.datapath.pin().unwrap();
    assert!(kernel.pin(program::FILTER).exists() && !kernel.pin(program::EXPLAIN).exists());
}

fn pinned<T: aya::Pod>(kernel: &Loaded, map: &'static str) -> Array<MapData, T> {
    Map::Array(MapData::from_pin(kernel.pin(name::pin(map))).unwrap()).try_into().unwrap()
}
