//! The second scene: phones at addresses that nobody lists, a cracker, and a flood.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::Result;
use tests::attack::{crack, forged};
use tests::{
    Capture, Family, Filter, Flood, Handset, Lab, Packet, Pbx, Report, Transport, ask_from, call, wait_until,
};

/// Long enough for the scene.
const LIFETIME_S: u32 = 600;
/// Passwords that the cracker knows, none of them right.
const WORDS: usize = 50;
/// Sources of the flood.
const FORGED: u32 = 20_000;
/// How long to wait for the answer to a single request.
const PROBE: Duration = Duration::from_millis(500);

/// How long the cracker's ban may take to be noticed.
const BAN: Duration = Duration::from_secs(20);

const POLICY: &str = include_str!("../../demo-policy.toml");

pub(super) fn show(report: &mut Report) -> Result<String> {
    report.step("second scene: no list names the phones, and strangers may prove themselves");
    let lab = Lab::new()?;
    let [home, away] = [40, 41].map(|host| IpAddr::from(Ipv4Addr::new(198, 51, 100, host)));
    for address in [home, away] {
        lab.trunk().add_address(address, 24, &[lab.pbx()])?;
    }
    report
        .step("starting Kamailio as a registrar with passwords, and sip-filter with signalling = \"prove\"");
    let _pbx = Pbx::start_registrar(lab.pbx())?;
    let filter = Filter::start(&lab, &POLICY.replace("signalling = \"drop\"", "signalling = \"prove\""))?;
    report.step("a flood of INVITEs with forged sources begins, as fast as one core sends");
    let frames = forged(lab.stranger(), lab.pbx(), "INVITE sip:100@198.51.100.10 SIP/2.0\r\n\r\n", FORGED)?;
    let mut flood = Flood::start(lab.stranger(), &frames)?;
    let arriving = Capture::start(lab.pbx())?;
    report.step("svcrack guesses a phone's password; the phone registers, calls, moves, registers and calls");
    let cracker = crack(lab.stranger(), lab.pbx().sip(Family::V4), "alice", WORDS)?;
    phone(report, &lab, [home, away])?;
    wait_until(BAN, "the cracker to be banned", || Ok((filter.counter("banned")? > 0).then_some(())))?;
    drop(cracker);
    flood.still_runs()?;
    let arrived = arriving.stop()?;
    attackers(report, &lab, &filter, &arrived)?;
    drop(flood);
    super::counters(report, &filter)
}

fn phone(report: &mut Report, lab: &Lab, [home, away]: [IpAddr; 2]) -> Result<()> {
    for (address, transport) in [(home, Transport::Udp), (away, Transport::Tcp)] {
        let phone = Handset::new(lab.trunk(), address, transport, "alice").behind_nat();
        let reply = ask_from(lab.trunk(), address, "INVITE", lab.pbx().sip(Family::V4), PROBE)?;
        let tried = format!("phone at {address}, not registered: INVITE");
        report.row(tried, "no reply", super::answer(reply), reply.is_none());
        let registered = phone.register(LIFETIME_S)?;
        let happened = match registered.complete {
            true => format!("accepted in {:.1} s", registered.took.as_secs_f64()),
            false => "failed".to_owned(),
        };
        report.row(
            format!("it registers over {}", transport.name()),
            "accepted",
            happened,
            registered.complete,
        );
        let capture = Capture::start(lab.pbx())?;
        let call = phone.call()?;
        let media = capture.stop()?.iter().filter(|packet| call.is_media(packet)).count();
        let state = if call.complete { "complete" } else { "failed" };
        report.row(
            "it calls, with nothing changed by hand",
            format!("complete, {} RTP packets arrive", call::MEDIA_PACKETS),
            format!("{state}, {media} RTP packets arrived"),
            call.complete && media == call::MEDIA_PACKETS,
        );
        for log in [registered.log, call.log].iter().filter(|log| !log.is_empty()) {
            report.step(&format!("that failed: {}", log.trim()));
        }
    }
    let reply = ask_from(lab.trunk(), home, "INVITE", lab.pbx().sip(Family::V4), PROBE)?;
    report.row(
        format!("INVITE from {home}, which it left"),
        "no reply",
        super::answer(reply),
        reply.is_none(),
    );
    Ok(())
}

fn attackers(report: &mut Report, lab: &Lab, filter: &Filter, arrived: &[Packet]) -> Result<()> {
    let cracker = lab.stranger().address(Family::V4);
    let has_credentials = |packet: &&Packet| {
        packet.source == cracker && String::from_utf8_lossy(&packet.payload).contains("\nAuthorization:")
    };
    let guesses = arrived.iter().filter(has_credentials).count();
    let cause = filter.bans_of(cracker)?.pop();
    let happened = match &cause {
        Some(cause) => format!("banned ({cause}); {guesses} of {WORDS} guesses arrived"),
        None => format!("not banned; {guesses} of {WORDS} guesses arrived"),
    };
    report.row(
        "svcrack",
        "banned after 5 wrong passwords",
        happened,
        cause.is_some() && (5..=10).contains(&guesses),
    );
    let is_forged = |packet: &&Packet| matches!(packet.source, IpAddr::V4(source) if source.octets()[0] == 198 && source.octets()[1] & 0xfe == 18);
    let forged = arrived.iter().filter(is_forged).count();
    let dropped = filter.counter("stranger")?;
    report.row(
        "the flood with forged sources",
        "none arrives",
        format!("{dropped} dropped, {forged} arrived"),
        forged == 0 && dropped > u64::from(FORGED),
    );
    Ok(())
}
