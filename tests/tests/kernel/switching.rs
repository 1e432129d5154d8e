//! Policies that replace each other while the program runs as fast as it can: each packet is judged by one of them.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use sip_filter::policy::Policy;
use sip_filter::policy::change::{Action, List, ListChange};
use sip_filter_common::maps::program;
use sip_filter_common::{Counter, Reason};
use tests::wait::wait_until;

use super::loaded::{Loaded, may_use_the_kernel};
use super::packet::udp;
use super::rows::parsed;
use crate::guest;

/// How often policies replace each other and a prefix comes and goes; less in an emulated machine.
fn switches() -> usize {
    if guest::is_guest() { 20 } else { 200 }
}

/// How often one system call runs the program.
pub(super) fn repeat() -> u32 {
    if guest::is_guest() { 500 } else { 20_000 }
}

const PORTS: [u16; 3] = [5060, 5070, 5080];
const SOURCES: [&str; 3] = ["192.0.2.41", "192.0.2.42", "2001:db8::43"];
const ALWAYS: &str = "192.0.2.20";

/// Source `i` may reach port `i + turn` and no other; one source may reach the first port in every turn.
///
/// The trunks of turn 1 stand the other way round: both the sources' class numbers and what a number means change, so
/// that half of the one and half of the other is neither. `first` is an address before all others, which gives the
/// same sources other places in the tables.
fn turned(turn: usize, first: &str) -> String {
    let mut text = "mode = \"enforce\"\n".to_owned();
    for port in PORTS {
        text += &format!(
            "[[listener]]\nname = \"at-{port}\"\nkind = \"signalling\"\ntransport = \"udp\"\nports = [{port}]\n"
        );
    }
    text += &format!("[[trunk]]\nname = \"always\"\nallow = [\"{ALWAYS}\"]\n");
    for index in if turn == 0 { [0, 1, 2] } else { [2, 1, 0] } {
        let port = PORTS[index];
        let source = SOURCES[(index + 3 - turn) % 3];
        let first = if index == 2 { first } else { "" };
        text += &format!(
            "[[trunk]]\nname = \"to-{port}\"\nallow = [\"{source}\"{first}]\nlisteners = [\"at-{port}\"]\n"
        );
    }
    text
}

pub(super) fn frame(source: &str, port: u16) -> Vec<u8> {
    let destination = if source.contains(':') { "[2001:db8:5060::1]" } else { "198.51.100.1" };
    udp().from(source).to(&format!("{destination}:{port}")).build()
}

/// Runs frames until `is_done`, in turn, each so often at once; returns how many packets that were.
pub(super) fn run(frames: &[Vec<u8>], repeat: u32, filter: &Xdp, is_done: &AtomicBool) -> u64 {
    let mut packets = 0;
    while !is_done.load(Ordering::Relaxed) {
        for frame in frames {
            let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
            filter.test_run(options).unwrap();
            packets += u64::from(repeat);
        }
    }
    packets
}

pub(super) fn packets(counters: &[(Reason, Counter)], reason: Reason) -> u64 {
    counters.iter().find(|(other, _)| *other == reason).unwrap().1.packets
}

/// Whatever mixes two policies lets one of the sources reach a port that neither lets it reach, or refuses the one that
/// every policy lets in.
#[test]
fn no_packet_is_judged_by_a_mixture_of_policies() {
    if !may_use_the_kernel("policies that replace each other under load") {
        return;
    }
    let policies = [parsed(&turned(0, "")), parsed(&turned(1, ", \"192.0.2.5\", \"2001:db8::5\""))];
    let mut kernel = Loaded::with(&policies[0]);
    kernel.datapath.pin().unwrap();
    let filter = Xdp::from_pin(kernel.pin(program::FILTER), XdpAttachType::Interface).unwrap();
    let never: Vec<Vec<u8>> = (0..3).map(|index| frame(SOURCES[index], PORTS[(index + 2) % 3])).collect();
    let always = [frame(ALWAYS, PORTS[0])];
    for (frames, reason) in [(&never[..], Reason::Stranger), (&always[..], Reason::Trunk)] {
        let before = packets(&kernel.datapath.counters().unwrap(), reason);
        let is_done = AtomicBool::new(false);
        let sent = thread::scope(|scope| {
            let runner = scope.spawn(|| run(frames, repeat(), &filter, &is_done));
            for switch in 1..=switches() {
                kernel.switch(&policies[switch % 2]);
            }
            is_done.store(true, Ordering::Relaxed);
            runner.join().unwrap()
        });
        let after = kernel.datapath.counters().unwrap();
        let judged = packets(&after, reason) - before;
        assert_eq!(judged, sent, "of {sent} packets that are {} under each policy: {after:?}", reason.name());
    }
}

/// A policy with one listener and these sources on its allow list.
pub(super) fn allowing(sources: &[&str]) -> Policy {
    parsed(&format!(
        "mode = \"enforce\"\n[[listener]]\nname = \"sip\"\nkind = \"signalling\"\ntransport = \"udp\"\n\
         ports = [5060]\n[allow]\nsources = {sources:?}\n"
    ))
}

/// What only the change lets in is let in by it until the tables do.
#[test]
fn a_live_change_holds_until_the_tables_have_it() {
    if !may_use_the_kernel("live changes that are compiled under load") {
        return;
    }
    let change =
        |action| ListChange { list: List::Allow, prefix: ALWAYS.parse::<IpAddr>().unwrap().into(), action };
    let (without, with) = (allowing(&[]), allowing(&[ALWAYS]));
    let mut kernel = Loaded::with(&without);
    kernel.datapath.pin().unwrap();
    let filter = Xdp::from_pin(kernel.pin(program::FILTER), XdpAttachType::Interface).unwrap();
    let frames = [frame(ALWAYS, 5060)];
    for _ in 0..switches() / 10 {
        kernel.change(&without, &change(Action::Add));
        let before = packets(&kernel.datapath.counters().unwrap(), Reason::Trunk);
        let is_done = AtomicBool::new(false);
        let sent = thread::scope(|scope| {
            let runner = scope.spawn(|| run(&frames, 50 * repeat(), &filter, &is_done));
            // A system call takes longer to begin and to end than the tables to be exchanged.
            let waited = wait_until(Duration::from_secs(20), "packets to be judged", || {
                let counters = kernel.datapath.counters()?;
                Ok((packets(&counters, Reason::Trunk) > before).then_some(()))
            });
            kernel.settle(&with);
            is_done.store(true, Ordering::Relaxed);
            let sent = runner.join().unwrap();
            waited.unwrap();
            sent
        });
        let after = kernel.datapath.counters().unwrap();
        assert_eq!(packets(&after, Reason::Trunk) - before, sent, "{after:?}");
        kernel.change(&with, &change(Action::Remove));
        kernel.settle(&without);
    }
}

#[test]
fn a_live_change_is_never_half_in_force() {
    if !may_use_the_kernel("live changes under load") {
        return;
    }
    // What comes and goes is a prefix around the source; the source itself is let in by an entry of its own.
    let change = |action| ListChange { list: List::Allow, prefix: "192.0.2.0/24".parse().unwrap(), action };
    let policies = [allowing(&[ALWAYS]), allowing(&[ALWAYS, "192.0.2.0/24"])];
    let mut kernel = Loaded::with(&policies[0]);
    kernel.datapath.pin().unwrap();
    let filter = Xdp::from_pin(kernel.pin(program::FILTER), XdpAttachType::Interface).unwrap();
    let frames = [frame(ALWAYS, 5060)];
    let is_done = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let runner = scope.spawn(|| run(&frames, repeat(), &filter, &is_done));
        for number in 1..=25 * switches() {
            let action = if number % 2 == 1 { Action::Add } else { Action::Remove };
            kernel.change(&policies[(number + 1) % 2], &change(action));
            if number % 500 == 0 {
                kernel.settle(&policies[number % 2]);
            }
        }
        is_done.store(true, Ordering::Relaxed);
        runner.join().unwrap()
    });
    let after = kernel.datapath.counters().unwrap();
    assert_eq!(packets(&after, Reason::Trunk), sent, "{after:?}");
}
