//! A network that reorders, duplicates and loses, between the peers and the filter.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::socket::{setsockopt, sockopt};
use tests::{Family, Filter, Host, Lab, POLICY};

use super::lab_with;
use crate::wire::traffic::{WITHIN, assert_counts};

/// Three fragments at an MTU of 1500.
const DATAGRAM_BYTES: usize = 3_000;
const DATAGRAMS: u64 = 100;
const FRAGMENTS: u64 = 3 * DATAGRAMS;
const BUFFER_BYTES: usize = 16 << 20;

/// Puts a network between a host and the switch.
fn disturb(host: &Host, how: &[&str]) -> Result<()> {
    let mut tc = host.command("tc");
    tc.args(["qdisc", "replace", "dev", "eth0", "root", "netem", "limit", "10000"]).args(how);
    let outcome = host.run("tc", tc, WITHIN)?;
    anyhow::ensure!(outcome.succeeded(), "{outcome:?}");
    Ok(())
}

/// Every fragment is late by another time: the later ones overtake the first.
fn reorder(lab: &Lab) -> Result<()> {
    [lab.trunk(), lab.stranger()].into_iter().try_for_each(|host| disturb(host, &["delay", "20ms", "15ms"]))
}

fn bound(host: &Host, at: SocketAddr) -> UdpSocket {
    let socket = host.in_namespace(|| UdpSocket::bind(at)).unwrap().unwrap();
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket
}

/// Numbered datagrams that each leave as three fragments.
fn send_large(from: &Host, to: SocketAddr, datagrams: u64) {
    let source = SocketAddr::new(from.address(Family::of(to.ip())), 0);
    let socket = from.in_namespace(|| UdpSocket::bind(source)).unwrap().unwrap();
    for number in 0..datagrams {
        let mut datagram = number.to_be_bytes().to_vec();
        datagram.resize(DATAGRAM_BYTES, 0);
        socket.send_to(&datagram, to).unwrap();
    }
}

/// The numbers of whole datagrams of an address that arrive until there are `wanted` different ones.
fn received(socket: &UdpSocket, from: &Host, family: Family, wanted: usize, within: Duration) -> BTreeSet<u64> {
    let (deadline, mut buffer) = (Instant::now() + within, [0; 65_536]);
    let mut numbers = BTreeSet::new();
    while numbers.len() < wanted && Instant::now() < deadline {
        let Ok((length, source)) = socket.recv_from(&mut buffer) else { continue };
        assert_eq!((length, source.ip()), (DATAGRAM_BYTES, from.address(family)));
        numbers.insert(u64::from_be_bytes(buffer[..8].try_into().unwrap()));
    }
    numbers
}

/// All fragments of a stranger are counted and none of its datagrams is whole.
///
/// The counters tell when the last fragment is there: fragments are judged before any is put together.
fn assert_nothing_of_the_stranger(filter: &Filter, socket: &UdpSocket, first: u64, later: u64) {
    assert_counts(filter, "stranger", first);
    assert_counts(filter, "fragment", later);
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv_from(&mut [0; 1]).is_err(), "a datagram of a stranger arrived");
    socket.set_nonblocking(false).unwrap();
}

#[test]
fn fragments_of_a_known_peer_pass_in_any_order_and_none_of_a_stranger_does() {
    let Some(lab) = lab_with("netem", reorder) else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    for (round, family) in (1..).zip(Family::ALL) {
        let to = lab.pbx().sip(family);
        let socket = bound(lab.pbx(), to);
        send_large(lab.trunk(), to, DATAGRAMS);
        let numbers = received(&socket, lab.trunk(), family, DATAGRAMS as usize, WITHIN);
        assert!(numbers.into_iter().eq(0..DATAGRAMS), "{family:?}: datagrams of the trunk are missing");
        assert_counts(&filter, "trunk", round * FRAGMENTS);
        send_large(lab.stranger(), to, DATAGRAMS);
        assert_nothing_of_the_stranger(&filter, &socket, round * DATAGRAMS, round * 2 * DATAGRAMS);
        assert_counts(&filter, "trunk", round * FRAGMENTS);
    }
}

#[test]
fn duplicated_fragments_of_a_known_peer_pass_as_often_as_they_come() {
    let twice = |lab: &Lab| disturb(lab.trunk(), &["delay", "20ms", "15ms", "duplicate", "100%"]);
    let Some(lab) = lab_with("netem", twice) else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let to = lab.pbx().sip(Family::V4);
    let socket = bound(lab.pbx(), to);
    send_large(lab.trunk(), to, DATAGRAMS);
    let numbers = received(&socket, lab.trunk(), Family::V4, DATAGRAMS as usize, WITHIN);
    assert!(numbers.into_iter().eq(0..DATAGRAMS), "datagrams of the trunk are missing");
    assert_counts(&filter, "trunk", 2 * FRAGMENTS);
    assert_counts(&filter, "fragment", 0);
    assert_counts(&filter, "stranger", 0);
}

#[test]
fn where_fragments_are_lost_those_that_come_are_the_trunks_all_the_same() {
    let lossy = |lab: &Lab| disturb(lab.trunk(), &["delay", "20ms", "15ms", "loss", "20%"]);
    let Some(lab) = lab_with("netem", lossy) else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let to = lab.pbx().sip(Family::V4);
    let socket = bound(lab.pbx(), to);
    send_large(lab.trunk(), to, DATAGRAMS);
    tests::wait_until(WITHIN, "the network to empty itself", || Ok((backlog(lab.trunk())? == 0).then_some(())))
        .unwrap();
    let counted = filter.counter("trunk").unwrap();
    let whole = received(&socket, lab.trunk(), Family::V4, DATAGRAMS as usize, Duration::from_secs(2)).len() as u64;
    assert!(counted < FRAGMENTS && counted > FRAGMENTS / 2, "{counted} of {FRAGMENTS} came through a loss of 20 %");
    assert!(whole > 0 && whole * 3 <= counted, "{whole} datagrams out of {counted} fragments");
    assert_counts(&filter, "fragment", 0);
    assert_counts(&filter, "stranger", 0);
}

/// Packets that wait in a host's disturbed network.
fn backlog(host: &Host) -> Result<u64> {
    let mut tc = host.command("tc");
    tc.args(["-s", "-j", "qdisc", "show", "dev", "eth0"]);
    let outcome = host.run("tc", tc, WITHIN)?;
    anyhow::ensure!(outcome.succeeded(), "{outcome:?}");
    let qdiscs: serde_json::Value = serde_json::from_str(&outcome.stdout)?;
    qdiscs[0]["qlen"].as_u64().context("tc tells no queue length")
}
