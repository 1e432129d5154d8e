//! How much a stranger, and all of them together, may try.

use sip_filter_common::{Mode, Reason};

use super::{PROVING, STRANGER, registers};
use crate::kernel::loaded::{Clean, may_use_the_kernel};
use crate::kernel::packet::{Packet, tcp, udp};
use crate::kernel::request::{request, with_headers};
use crate::kernel::rows::{End, FAMILIES, Family, Peer, Row, action, check, parsed, row};

/// Three at once, and then none for an hour.
const THREE: &str = "rate = \"1/h\"\nburst = 3\ntotal_rate = \"500000/s\"\n";
/// Five in each second.
const LOOSER: &str = "rate = \"5/s\"\nburst = 10\ntotal_rate = \"500000/s\"\n";
/// One of all strangers in an hour.
const ONE_OF_ALL: &str = "rate = \"1/h\"\nburst = 10\ntotal_rate = \"1/h\"\n";

fn limited(limits: &str) -> &'static str {
    let (policy, _) = PROVING.split_once("rate = ").unwrap();
    format!("{policy}{limits}").leak()
}

/// What each row has for itself, since the kernel remembers what was spent.
const SPENDERS: [Peer; 5] = [
    Peer("192.0.2.70", "2001:db8:70::1"),
    Peer("192.0.2.71", "2001:db8:71::1"),
    Peer("192.0.2.72", "2001:db8:72::1"),
    Peer("192.0.2.73", "2001:db8:73::1"),
    Peer("192.0.2.74", "2001:db8:74::1"),
];

/// The last of several packets, each with its reason.
fn last_of(name: &str, packets: &[(Packet, Reason)]) -> Row {
    let [before @ .., (packet, reason)] = packets else { panic!("no packet in {name}") };
    before
        .iter()
        .fold(row(name, packet.clone(), *reason), |row, (packet, reason)| row.after(packet.clone(), *reason))
}

fn three_times(packet: &Packet, reason: Reason) -> Vec<(Packet, Reason)> {
    vec![(packet.clone(), reason); 3]
}

#[test]
fn a_stranger_that_tries_too_much_is_dropped() {
    let mut rows = Vec::new();
    let mut add = |name: &str, of: Family, packets: Vec<(Packet, Reason)>| {
        rows.push(last_of(&format!("{name}, {}", of(Peer("IPv4", "IPv6"))), &packets));
    };
    for of in FAMILIES {
        let [sound, odd, _, refused, _] = SPENDERS.map(|peer| registers(of, peer, 5060));
        let mut packets = three_times(&sound, Reason::Probation);
        packets.push((sound.clone(), Reason::RateExceeded));
        packets.push((sound.payload(request("INVITE")), Reason::Stranger));
        add("the fourth is dropped, and what is never let in has its own reason", of, packets);

        let odd = odd.payload(with_headers("REGISTER", &[]));
        let mut packets = three_times(&odd, Reason::Malformed);
        packets.push((odd, Reason::RateExceeded));
        add("what is malformed is spent for too", of, packets);

        let connects = tcp().between(of, SPENDERS[2], 5060).payload(Vec::new());
        let mut packets = three_times(&connects, Reason::Probation);
        packets.push((connects, Reason::RateExceeded));
        add("a connection costs as much", of, packets);

        let silent = udp().between(of, SPENDERS[3], 5060).payload(request("INVITE"));
        let mut packets = three_times(&silent, Reason::Stranger);
        packets.push((refused, Reason::Probation));
        add("what is never let in costs nothing", of, packets);
    }
    let rows: Vec<Row> = rows.into_iter().map(|row| row.under(limited(THREE))).collect();
    check("the rows of limits", &rows);
}

#[test]
fn a_network_of_ipv6_has_one_budget() {
    let from = |source: &str| udp().from(source).to("[2001:db8:5060::1]:5060").payload(request("REGISTER"));
    let mut packets: Vec<(Packet, Reason)> =
        (1..4).map(|host| (from(&format!("2001:db8:64::{host}")), Reason::Probation)).collect();
    packets.push((from("2001:db8:64::4"), Reason::RateExceeded));
    packets.push((from("2001:db8:64:1::4"), Reason::Probation));
    check(
        "the row of a network",
        &[last_of("the next /64 is another one's", &packets).under(limited(THREE))],
    );
}

#[test]
fn the_ban_of_a_network_is_for_its_strangers() {
    let of = FAMILIES[1];
    let banned = |name: &str, packet: Packet, end: End, reason: Reason| {
        row(name, packet, reason).banned("2001:db8:66::", end).under(PROVING)
    };
    let invites = |peer: Peer, port: u16| udp().between(of, peer, port).payload(request("INVITE"));
    let neighbour = Peer("", "2001:db8:66:1::66");
    check(
        "the rows of a banned network",
        &[
            banned("REGISTER", registers(of, STRANGER, 5060), End::Ahead, Reason::Banned),
            banned(
                "a connection",
                tcp().between(of, STRANGER, 5060).payload(vec![]),
                End::Ahead,
                Reason::Banned,
            ),
            banned("what is never let in", invites(STRANGER, 5060), End::Ahead, Reason::Banned),
            banned("media", invites(STRANGER, 10_000), End::Ahead, Reason::Stranger),
            banned("who is registered", invites(STRANGER, 5060), End::Ahead, Reason::Registered)
                .registered(STRANGER.1, End::Ahead),
            banned("the next network", registers(of, neighbour, 5060), End::Ahead, Reason::Probation),
            banned("afterwards", registers(of, STRANGER, 5060), End::Past, Reason::Probation),
        ],
    );
}

#[test]
fn what_was_spent_under_other_limits_counts_no_more() {
    if !may_use_the_kernel("limits that are loosened") {
        return;
    }
    let mut kernel = Clean::with(&parsed(limited(THREE)));
    let frame = registers(FAMILIES[0], SPENDERS[0], 5060).build();
    for reason in [Reason::Probation, Reason::Probation, Reason::Probation, Reason::RateExceeded] {
        assert_eq!(kernel.judge(&frame), Ok((reason, action(Mode::Enforce, reason))));
    }
    // The same limits once more change nothing.
    for (limits, reason) in [(THREE, Reason::RateExceeded), (LOOSER, Reason::Probation)] {
        kernel.settle(&parsed(limited(limits)));
        assert_eq!(kernel.judge(&frame), Ok((reason, action(Mode::Enforce, reason))), "{limits}");
    }
}

#[test]
fn who_is_challenged_may_answer_beyond_its_budget() {
    let policy = limited(THREE);
    let rows = FAMILIES.map(|of| {
        let answers = registers(of, SPENDERS[4], 5060);
        let packets = [three_times(&answers, Reason::Probation), three_times(&answers, Reason::Probation)];
        last_of("challenged", &packets.concat()).challenged(of(SPENDERS[4])).under(policy)
    });
    check("the rows of the challenged", &rows);
}

#[test]
fn strangers_together_have_a_budget_and_the_challenged_their_own() {
    let of = FAMILIES[0];
    let [one, other, challenged, ..] = SPENDERS.map(|peer| registers(of, peer, 5060));
    let packets = [
        (one.clone(), Reason::Probation),
        (one, Reason::RateExceeded),
        (other, Reason::RateExceeded),
        (registers(FAMILIES[1], STRANGER, 5060), Reason::RateExceeded),
        (challenged.clone(), Reason::Probation),
        (challenged, Reason::RateExceeded),
    ];
    let row = last_of("all strangers", &packets).challenged(of(SPENDERS[2]));
    check("the row of all strangers", &[row.under(limited(ONE_OF_ALL))]);
}

#[test]
fn who_is_challenged_has_its_own_budget_where_others_used_up_theirs() {
    let of = FAMILIES[0];
    let [other, challenged, ..] = SPENDERS.map(|peer| registers(of, peer, 5060));
    let packets = [
        (challenged.clone(), Reason::Probation),
        (challenged.clone(), Reason::Probation),
        (challenged, Reason::RateExceeded),
        (other, Reason::RateExceeded),
    ];
    let row = last_of("the challenged", &packets).challenged(of(SPENDERS[1]));
    check("the row of the challenged", &[row.under(limited(ONE_OF_ALL))]);
}
