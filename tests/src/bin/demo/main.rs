//! The main job, shown from end to end: calls of a provisioned peer go through, and strangers find no SIP
//! here; and phones that nobody lists are let in by their registrations.
//!
//! Run it by `cargo xtask demo`. It holds no test: what must be held to in detail is in the integration
//! tests.

mod registrations;

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tests::{
    Call, Capture, Family, Filter, Host, Lab, Packet, Pbx, Report, Role, Sweep, Transport, call, options,
    sweep, wait_until,
};

/// OPTIONS in a sweep.
const SWEEP_PACKETS: usize = 10;
/// How long a call may take.
const CALL: Duration = Duration::from_secs(8);
/// How long to wait for an answer to a single packet; below a second, so that TCP sends one SYN.
const PROBE: Duration = Duration::from_millis(800);
/// How long the ban is.
const BAN: &str = "2s";
/// How long its end may take to be noticed.
const AFTER_BAN: Duration = Duration::from_secs(10);

/// Every way to reach the SIP server.
const WAYS: [(Transport, Family); 4] = [
    (Transport::Udp, Family::V4),
    (Transport::Tcp, Family::V4),
    (Transport::Udp, Family::V6),
    (Transport::Tcp, Family::V6),
];

fn main() -> ExitCode {
    let mut report = Report::new();
    let shown = show(&mut report);
    let shown = shown.and_then(|first| Ok(format!("{first}\n{}", registrations::show(&mut report)?)));
    println!("\n{}", report.table());
    match shown {
        Ok(counters) => println!("{counters}"),
        Err(error) => {
            eprintln!("the demo stopped before its end: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    if report.all_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn show(report: &mut Report) -> Result<String> {
    report.step("building the laboratory: pbx, trunk and stranger on a switch, in network namespaces");
    let lab = Lab::new()?;
    let mut filter = Filter::prepare(&lab, include_str!("../../demo-policy.toml"))?;
    report.step("starting Kamailio and two phones on the pbx");
    let _pbx = Pbx::start(lab.pbx())?;
    control(report, &lab)?;
    report.step("starting sip-filter on the pbx, mode enforce");
    filter.run()?;
    calls(report, &lab)?;
    strangers(report, &lab, &filter)?;
    live_changes(report, &lab, &filter)?;
    counters(report, &filter)
}

/// Without the filter the stranger must get replies, or their absence later would prove nothing.
fn control(report: &mut Report, lab: &Lab) -> Result<()> {
    report.step("control, no filter yet: the stranger scans by svmap over IPv4 and IPv6, and asks over TCP");
    for (way, found) in scan(lab)? {
        report.row(format!("no filter: {way}"), "replies", count(found, "reply", "replies"), found > 0);
    }
    Ok(())
}

fn calls(report: &mut Report, lab: &Lab) -> Result<()> {
    report.step("the trunk places four calls at once: INVITE, audio, BYE over UDP and TCP, IPv4 and IPv6");
    let capture = Capture::start(lab.pbx())?;
    let calls =
        at_once(WAYS.map(|(transport, family)| move || Call::place(lab.trunk(), transport, family, CALL)))?;
    let packets = capture.stop()?;
    for ((transport, family), call) in WAYS.into_iter().zip(calls) {
        let media = packets.iter().filter(|packet| call.is_media(packet)).count();
        let state = if call.complete { "complete" } else { "failed" };
        report.row(
            format!("trunk calls over {} {}", transport.name(), family.name()),
            format!("complete, {} RTP packets arrive", call::MEDIA_PACKETS),
            format!("{state} in {:.1} s, {media} RTP packets arrived", call.took.as_secs_f64()),
            call.complete && media == call::MEDIA_PACKETS,
        );
        if !call.complete {
            report.step(&format!("that call failed: {}", call.log.trim()));
        }
    }
    Ok(())
}

fn strangers(report: &mut Report, lab: &Lab, filter: &Filter) -> Result<()> {
    report.step("the stranger scans again, past the filter; tcpdump watches on its side and on the pbx's");
    let arriving = Capture::start(lab.pbx())?;
    let leaving = Capture::start(lab.stranger())?;
    let before = filter.counter("stranger")?;
    let found = scan(lab)?;
    let counted = filter.counter("stranger")?.saturating_sub(before);
    let sent = leaving.stop()?.iter().filter(|packet| is_strangers_sip(packet)).count();
    let arrived = arriving.stop()?.iter().filter(|packet| is_strangers_sip(packet)).count();
    for (way, replies) in found {
        report.row(format!("stranger: {way}"), "no reply", count(replies, "reply", "replies"), replies == 0);
    }
    let happened = format!("{} sent, {arrived} arrived", count(sent, "packet", "packets"));
    report.row("stranger: packets in the pbx's stack", "none arrives", happened, sent > 0 && arrived == 0);
    let counted = usize::try_from(counted)?;
    report.row(
        "counter `stranger`",
        format!("rises by {sent}"),
        format!("rose by {counted}"),
        counted == sent,
    );
    Ok(())
}

fn live_changes(report: &mut Report, lab: &Lab, filter: &Filter) -> Result<()> {
    let stranger = lab.stranger();
    let address = stranger.address(Family::V4).to_string();
    report.step(&format!("sip-filter allow add {address}"));
    filter.done(&["allow", "add", &address])?;
    report.step("the stranger scans by svmap");
    let Sweep { replies, .. } = sweep(stranger, lab.pbx().sip(Family::V4), SWEEP_PACKETS)?;
    report.row(
        "after `allow add`: svmap",
        "replies at once",
        count(replies, "reply", "replies"),
        replies > 0,
    );

    report.step(&format!("sip-filter ban add {address} --for {BAN}, then one OPTIONS at once"));
    filter.done(&["ban", "add", &address, "--for", BAN])?;
    let reply = ask(stranger, lab, Transport::Udp, Family::V4)?;
    report.row(
        format!("after `ban add --for {BAN}`: one OPTIONS"),
        "no reply",
        answer(reply),
        reply.is_none(),
    );

    report.step("asking until the ban is over");
    let again =
        wait_until(AFTER_BAN, "the ban to end", || ask(stranger, lab, Transport::Udp, Family::V4)).ok();
    report.row("after the ban's end: OPTIONS", "a reply", answer(again), again.is_some());
    Ok(())
}

fn counters(report: &Report, filter: &Filter) -> Result<String> {
    report.step("sip-filter status --json");
    let status = filter.status()?;
    let counters = status["counters"].as_object().context("`status --json` has no counters")?;
    let mut text = format!("{:<16}{:<8}{:>10}{:>12}\n", "reason", "verdict", "packets", "bytes");
    for (reason, counter) in counters {
        let verdict = counter["verdict"].as_str().unwrap_or("?");
        let [packets, bytes] = ["packets", "bytes"].map(|unit| counter[unit].to_string());
        text += &format!("{reason:<16}{verdict:<8}{packets:>10}{bytes:>12}\n");
    }
    Ok(text)
}

/// All that the stranger tries, at once, with the number of replies to each.
fn scan(lab: &Lab) -> Result<Vec<(String, usize)>> {
    let found = at_once(WAYS.map(|(transport, family)| {
        move || match transport {
            Transport::Udp => Ok(sweep(lab.stranger(), lab.pbx().sip(family), SWEEP_PACKETS)?.replies),
            _ => Ok(usize::from(ask(lab.stranger(), lab, transport, family)?.is_some())),
        }
    }))?;
    let ways = WAYS.map(|(transport, family)| match transport {
        Transport::Udp => format!("svmap sweep over {}", family.name()),
        _ => format!("OPTIONS over {} {}", transport.name(), family.name()),
    });
    Ok(ways.into_iter().zip(found).collect())
}

fn ask(from: &Host, lab: &Lab, transport: Transport, family: Family) -> Result<Option<u16>> {
    options(from, lab.pbx().sip(family), transport, PROBE)
}

/// SIP from the stranger to the pbx, in either capture.
fn is_strangers_sip(packet: &Packet) -> bool {
    Family::ALL.into_iter().any(|family| packet.source == Role::Stranger.address(family))
        && matches!(packet.transport, Transport::Udp | Transport::Tcp)
}

/// Runs each on a thread of its own and returns the results in order.
fn at_once<T: Send, const N: usize>(tasks: [impl FnOnce() -> Result<T> + Send; N]) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let threads = tasks.map(|task| scope.spawn(task));
        let results = threads
            .map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a part of the demo panicked"))));
        results.into_iter().collect()
    })
}

fn count(number: usize, one: &str, many: &str) -> String {
    match number {
        0 => format!("no {one}"),
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    }
}

fn answer(code: Option<u16>) -> String {
    code.map_or_else(|| "no reply".to_owned(), |code| format!("reply {code}"))
}
