//! A network that reorders, duplicates and loses, between the peers and the filter.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::socket::{setsockopt, sockopt};
use tests::{Family, Filter, Host, Lab, POLICY, PacedSender};

use super::lab_with;
use crate::wire::traffic::{WITHIN, assert_counts, let_pass};

/// Three fragments at an MTU of 1500.
const DATAGRAM_BYTES: usize = 3_000;
const FRAGMENTS: u64 = 3;
const DATAGRAMS: u64 = 100;
const EVERY: Duration = Duration::from_millis(4);
const BUFFER_BYTES: usize = 16 << 20;

/// Has the PBX put together what comes however late: by itself it gives a datagram up when 64 other fragments of its
/// sender came meanwhile, and that loss would look like the filter's.
fn be_patient(lab: &Lab) -> Result<()> {
    let path = "/proc/sys/net/ipv4/ipfrag_max_dist";
    lab.pbx().in_namespace(|| std::fs::write(path, "0"))?.with_context(|| format!("write {path}"))
}

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
    be_patient(lab)?;
    [lab.trunk(), lab.stranger()].into_iter().try_for_each(|host| disturb(host, &["delay", "20ms", "15ms"]))
}

/// Every fragment comes twice, at different times.
fn repeat(lab: &Lab) -> Result<()> {
    disturb(lab.trunk(), &["delay", "20ms", "15ms", "duplicate", "100%"])
}

/// Every fifth fragment never arrives; the question for the hardware address, which may be lost too, need not be asked.
fn lose(lab: &Lab) -> Result<()> {
    let [address, hardware] = [
        lab.pbx().address(Family::V4).to_string(),
        lab.pbx().hardware_address().map(|byte| format!("{byte:02x}")).join(":"),
    ];
    let neighbour =
        ["neighbour", "replace", &address, "lladdr", &hardware, "dev", "eth0", "nud", "permanent"];
    lab.trunk().network(&neighbour)?;
    disturb(lab.trunk(), &["delay", "20ms", "15ms", "loss", "20%"])
}

fn bound(host: &Host, at: SocketAddr) -> UdpSocket {
    let socket = host.in_namespace(|| UdpSocket::bind(at)).unwrap().unwrap();
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket
}

/// Sends numbered datagrams that each leave as three fragments, and returns how many.
fn send_large(from: &Host, to: SocketAddr) -> u64 {
    let source = SocketAddr::new(from.address(Family::of(to.ip())), 0);
    let datagram = |number: u64| {
        let mut datagram = number.to_be_bytes().to_vec();
        datagram.resize(DATAGRAM_BYTES, 0);
        datagram
    };
    let flow = PacedSender::start(from, source, to, EVERY, datagram).unwrap();
    let_pass(&flow, DATAGRAMS);
    flow.stop().unwrap()
}

/// The numbers of whole datagrams of an address that arrive until there are `wanted` different ones.
fn received(socket: &UdpSocket, from: &Host, family: Family, wanted: u64, within: Duration) -> BTreeSet<u64> {
    let (deadline, mut buffer) = (Instant::now() + within, [0; 65_536]);
    let mut numbers = BTreeSet::new();
    while (numbers.len() as u64) < wanted && Instant::now() < deadline {
        let Ok((length, source)) = socket.recv_from(&mut buffer) else { continue };
        assert_eq!((length, source.ip()), (DATAGRAM_BYTES, from.address(family)));
        numbers.insert(u64::from_be_bytes(buffer[..8].try_into().unwrap()));
    }
    numbers
}

/// All fragments of a stranger are counted and none of its datagrams is whole.
///
/// The counters tell when the last fragment is there: fragments are judged before any is put together.
fn assert_nothing_of_the_stranger(filter: &Filter, socket: &UdpSocket, datagrams: u64) {
    assert_counts(filter, "stranger", datagrams);
    assert_counts(filter, "fragment", (FRAGMENTS - 1) * datagrams);
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv_from(&mut [0; 1]).is_err(), "a datagram of a stranger arrived");
    socket.set_nonblocking(false).unwrap();
}

/// One daemon for all three: in a guest its start takes a quarter of a minute.
#[test]
fn fragments_of_a_known_peer_pass_whatever_the_network_does_to_them_and_none_of_a_stranger_does() {
    let Some(lab) = lab_with("netem", reorder) else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    pass_in_any_order(&lab, &filter);
    repeat(&lab).unwrap();
    pass_as_often_as_they_come(&lab, &filter);
    lose(&lab).unwrap();
    pass_though_others_are_lost(&lab, &filter);
}

fn pass_in_any_order(lab: &Lab, filter: &Filter) {
    let (mut of_trunk, mut of_stranger) = (0, 0);
    for family in Family::ALL {
        let to = lab.pbx().sip(family);
        let socket = bound(lab.pbx(), to);
        let sent = send_large(lab.trunk(), to);
        of_trunk += FRAGMENTS * sent;
        assert_counts(filter, "trunk", of_trunk);
        let numbers = received(&socket, lab.trunk(), family, sent, WITHIN);
        assert!(
            numbers.iter().copied().eq(0..sent),
            "{family:?}: {} of {sent} datagrams arrived",
            numbers.len()
        );
        of_stranger += send_large(lab.stranger(), to);
        assert_nothing_of_the_stranger(filter, &socket, of_stranger);
        assert_counts(filter, "trunk", of_trunk);
    }
}

fn pass_as_often_as_they_come(lab: &Lab, filter: &Filter) {
    let [of_trunk, of_stranger, fragments] = counted(filter);
    let to = lab.pbx().sip(Family::V4);
    let socket = bound(lab.pbx(), to);
    let sent = send_large(lab.trunk(), to);
    assert_counts(filter, "trunk", of_trunk + 2 * FRAGMENTS * sent);
    assert_eq!(counted(filter)[1..], [of_stranger, fragments]);
    let numbers = received(&socket, lab.trunk(), Family::V4, sent, WITHIN);
    assert!(numbers.iter().copied().eq(0..sent), "{} of {sent} datagrams arrived", numbers.len());
}

fn pass_though_others_are_lost(lab: &Lab, filter: &Filter) {
    let [of_trunk, of_stranger, fragments] = counted(filter);
    let to = lab.pbx().sip(Family::V4);
    let socket = bound(lab.pbx(), to);
    let sent = send_large(lab.trunk(), to);
    tests::wait_until(WITHIN, "the network to empty itself", || {
        Ok((backlog(lab.trunk())? == 0).then_some(()))
    })
    .unwrap();
    let came = filter.counter("trunk").unwrap() - of_trunk;
    let whole = received(&socket, lab.trunk(), Family::V4, sent, Duration::from_secs(1)).len() as u64;
    assert!(
        came < FRAGMENTS * sent && came > FRAGMENTS * sent / 2,
        "{came} fragments of {sent} datagrams came"
    );
    assert!(whole > 0 && whole * FRAGMENTS <= came, "{whole} datagrams out of {came} fragments");
    assert_eq!(counted(filter)[1..], [of_stranger, fragments]);
}

/// Packets of the trunk, of strangers, and fragments without a datagram.
fn counted(filter: &Filter) -> [u64; 3] {
    ["trunk", "stranger", "fragment"].map(|reason| filter.counter(reason).unwrap())
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
