//! Numbered packets at a steady pace, and what must have become of them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tests::{Filter, Host, PacedSender, Receiver, wait_until};

/// For whatever must come true; reached only where it does not.
pub(crate) const WITHIN: Duration = Duration::from_secs(30);
/// Two thousand packets a second.
const EVERY: Duration = Duration::from_micros(500);

/// Sends numbered packets from one of a host's addresses.
pub(crate) fn flow(host: &Host, from: IpAddr, to: SocketAddr) -> PacedSender {
    let number = |number: u64| number.to_be_bytes().to_vec();
    PacedSender::start(host, (from, 0).into(), to, EVERY, number).unwrap()
}

/// Waits until so many more packets are sent: the flow is the clock.
pub(crate) fn let_pass(flow: &PacedSender, packets: u64) {
    let goal = flow.sent() + packets;
    wait_until(WITHIN, "the flow to go on", || Ok((flow.sent() >= goal).then_some(()))).unwrap();
}

/// Every packet arrived, once.
pub(crate) fn assert_whole(receiver: &Receiver, from: IpAddr, sent: u64) {
    let mut numbers = receiver.wait_for(from, sent, WITHIN).unwrap_or_else(|error| {
        let arrived = receiver.numbers(from);
        let missing: Vec<u64> = (0..sent).filter(|number| !arrived.contains(number)).take(20).collect();
        panic!("{error:#}; missing of {sent}: {missing:?} …");
    });
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..sent), "packets of {from} arrived twice");
}

/// Waits until a counter has risen to `goal`, and fails if it goes beyond.
pub(crate) fn assert_counts(filter: &Filter, reason: &str, goal: u64) {
    let mut last = 0;
    let reached = wait_until(WITHIN, "the counter", || {
        last = filter.counter(reason)?;
        Ok((last >= goal).then_some(()))
    });
    reached.unwrap_or_else(|error| panic!("{error:#}: {reason} is at {last} of {goal}"));
    assert_eq!(last, goal, "counter {reason}");
}
