//! How long after the SIP server's 200 OK a peer is let in.
//!
//! The SIP server here is a socket that accepts everybody at once: the registrar's own time does not count.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tests::{Family, Filter, Lab};

use super::prove;

/// A thousand registrations a second, each of an address of its own.
const EVERY: Duration = Duration::from_millis(1);
const REGISTRATIONS: u32 = 4_000;
/// Far more than one may take; a registration that is not seen is an error.
const PATIENCE: Duration = Duration::from_secs(2);
/// What all but one in a hundred may take.
const GOAL: Duration = Duration::from_millis(1);
/// Whoever shares the machine disturbs one measurement, but hardly all.
const ATTEMPTS: usize = 5;
/// Registrations a second, of a thousand, below which a measurement says nothing and is no attempt.
const PACE_MIN: f64 = 900.0;
/// Measurements in all, attempts or not.
const MEASUREMENTS: u8 = 10;

fn message(first_line: &str, method: &str, peer: SocketAddr, rest: &str) -> String {
    let user = peer.ip();
    format!(
        "{first_line}\r\nVia: SIP/2.0/UDP {peer};branch=z9hG4bK-{user};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:{user}@lab>;tag=a\r\nTo: <sip:{user}@lab>;tag=b\r\nCall-ID: {user}@lab\r\n\
         CSeq: 1 {method}\r\n{rest}Content-Length: 0\r\n\r\n"
    )
}

/// Registers one peer, and then has it call until a call arrives: the time from the 200 OK to then.
fn promotion(server: &UdpSocket, client: &UdpSocket, at: SocketAddr) -> Result<Duration> {
    let local = client.local_addr()?;
    let mut buffer = [0; 2048];
    client.send_to(message("REGISTER sip:lab SIP/2.0", "REGISTER", local, "").as_bytes(), at)?;
    server.set_nonblocking(false)?;
    // Calls of the one before may still be on their way.
    while server.recv_from(&mut buffer).context("the registration did not arrive")?.1 != local {}
    let contact = format!("Contact: <sip:{local}>;expires=3600\r\n");
    let accepted = message("SIP/2.0 200 OK", "REGISTER", local, &contact);
    let call = message("INVITE sip:lab SIP/2.0", "INVITE", local, "");
    server.set_nonblocking(true)?;
    let started = Instant::now();
    server.send_to(accepted.as_bytes(), local)?;
    loop {
        client.send_to(call.as_bytes(), at)?;
        match server.recv_from(&mut buffer) {
            Ok((_, from)) if from == local => break,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("receive"),
        }
        if started.elapsed() > PATIENCE {
            bail!("{local} is not let in");
        }
        thread::yield_now();
    }
    Ok(started.elapsed())
}

/// What the registrations of one network took.
struct Measured {
    /// Registrations a second.
    rate: f64,
    /// What all but one in a hundred took at most.
    most: Duration,
}

fn measure(lab: &Lab, network: u8) -> Result<Measured> {
    let at = lab.pbx().sip(Family::V4);
    let server = lab.pbx().in_namespace(|| UdpSocket::bind(at))??;
    server.set_read_timeout(Some(PATIENCE))?;
    let started = Instant::now();
    let mut times = Vec::new();
    for number in 0..REGISTRATIONS {
        let [_, _, high, low] = (number + 1).to_be_bytes();
        let address = Ipv4Addr::new(10, network, high, low);
        let client = lab.stranger().in_namespace(|| UdpSocket::bind((address, 5060)))??;
        // The pace of the load; nothing is waited for here.
        thread::sleep((EVERY * number).saturating_sub(started.elapsed()));
        times.push(promotion(&server, &client, at)?);
    }
    let rate = f64::from(REGISTRATIONS) / started.elapsed().as_secs_f64();
    times.sort_unstable();
    let [half, most, all] = [50, 99, 100].map(|percent| times[times.len() * percent / 100 - 1]);
    println!("promotion at {rate:.0}/s: median {half:?}, 99 % {most:?}, longest {all:?}");
    Ok(Measured { rate, most })
}

#[test]
fn at_a_thousand_registrations_a_second_a_peer_is_let_in_within_a_millisecond() {
    let Some(lab) = Lab::or_skip() else { return };
    let _filter = Filter::start(&lab, &prove("total_rate = \"100000/s\"")).unwrap();
    let by = lab.stranger().address(Family::V4).to_string();
    lab.pbx().network(&["route", "add", "10.0.0.0/8", "via", &by]).unwrap();
    // All of these addresses are the stranger's, as those of one prefix can be (AnyIP).
    lab.stranger().network(&["route", "add", "local", "10.0.0.0/8", "dev", "lo"]).unwrap();
    let measured = (1..=MEASUREMENTS).map(|network| measure(&lab, network).unwrap());
    let mut attempts = measured.filter(|measured| measured.rate >= PACE_MIN).take(ATTEMPTS);
    assert!(
        attempts.any(|measured| measured.most < GOAL),
        "never {PACE_MIN} a second, or one in a hundred takes longer than {GOAL:?}"
    );
}
