//! Scanners that prove their address, and those that only seem to.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream};

use etherparse::PacketBuilder;
use tests::{Family, Host, send_frames, wait_until};

use super::{Scene, WITHIN, prove};

const GARBAGE: &[u8] = b"GET / HTTP/1.1\r\nHost: pbx\r\n\r\n";

/// A connection to the SIP server from an address of a host.
fn connect(from: &Host, address: IpAddr, to: SocketAddr) -> TcpStream {
    let dial = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(address, 0).into())?;
        socket.connect(&to.into())?;
        Ok::<_, std::io::Error>(TcpStream::from(socket))
    };
    from.in_namespace(dial).unwrap().unwrap()
}

#[test]
fn what_only_scanners_send_over_a_connection_bans_at_once() {
    let Some(scene) = Scene::or_skip(&prove("")) else { return };
    let to = scene.lab.pbx().sip(Family::V4);
    let options = "OPTIONS sip:lab SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKx\r\nCSeq: 1 OPTIONS\r\n\
                   User-Agent: friendly-scanner\r\nCall-ID: x\r\nContent-Length: 0\r\n\r\n";
    for (host, bytes) in [(60, GARBAGE), (61, options.as_bytes())] {
        let address = scene.somewhere(host, Family::V4);
        let mut connection = connect(scene.phones(), address, to);
        connection.write_all(bytes).unwrap();
        let is_banned = || Ok((!scene.filter.bans_of(address)?.is_empty()).then_some(()));
        wait_until(WITHIN, &format!("{address} to be banned"), is_banned).unwrap();
    }
}

#[test]
fn a_request_that_takes_two_segments_bans_nobody() {
    let Some(scene) = Scene::or_skip(&prove("")) else { return };
    let (to, address) = (scene.lab.pbx().sip(Family::V4), scene.somewhere(60, Family::V4));
    let rest = "X: y\r\nCSeq: 1 REGISTER\r\nCall-ID: x\r\nContent-Length: 0\r\n\r\n";
    let mut connection = connect(scene.phones(), address, to);
    connection.write_all(rest.as_bytes()).unwrap();
    let is_counted = || Ok((scene.filter.counter("not_sip")? > 0).then_some(()));
    wait_until(WITHIN, "the rest of a request to be dropped", is_counted).unwrap();
    // What comes later is told later.
    let mut scanner = connect(scene.phones(), scene.somewhere(61, Family::V4), to);
    scanner.write_all(GARBAGE).unwrap();
    let is_banned = || {
        Ok((scene.filter.json(&["ban", "list"])?.as_array().is_some_and(|all| !all.is_empty())).then_some(()))
    };
    wait_until(WITHIN, "the scanner to be banned", is_banned).unwrap();
    assert!(scene.filter.bans_of(address).unwrap().is_empty());
}

#[test]
fn what_somebody_else_sends_in_a_connections_name_bans_nobody() {
    let Some(scene) = Scene::or_skip(&prove("")) else { return };
    let (to, victim) = (scene.lab.pbx().sip(Family::V4), scene.somewhere(60, Family::V4));
    let connection = connect(scene.phones(), victim, to);
    let port = connection.local_addr().unwrap().port();
    let (IpAddr::V4(source), IpAddr::V4(target)) = (victim, to.ip()) else { unreachable!("IPv4") };
    let forger = scene.lab.stranger();
    let forged = |guess: u32| {
        let builder = PacketBuilder::ethernet2(forger.hardware_address(), scene.lab.pbx().hardware_address())
            .ipv4(source.octets(), target.octets(), 64)
            .tcp(port, to.port(), guess, 1_024)
            .ack(guess.wrapping_mul(0x9e37_79b1));
        let mut frame = Vec::new();
        builder.write(&mut frame, GARBAGE).unwrap();
        frame
    };
    send_frames(forger, &(1..=20).map(forged).collect::<Vec<_>>()).unwrap();
    let all_came = || Ok((scene.filter.counter("not_sip")? >= 20).then_some(()));
    wait_until(WITHIN, "the forged segments", all_came).unwrap();
    // Whoever really sends it is banned, and so what was told before was heard and did nothing.
    let other = scene.somewhere(61, Family::V4);
    connect(scene.phones(), other, to).write_all(GARBAGE).unwrap();
    let is_banned = || Ok((!scene.filter.bans_of(other)?.is_empty()).then_some(()));
    wait_until(WITHIN, "the scanner to be banned", is_banned).unwrap();
    assert!(scene.filter.bans_of(victim).unwrap().is_empty());
}
