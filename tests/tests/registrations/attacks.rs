//! Phones register and call while others attack.

use std::net::{IpAddr, UdpSocket};

use tests::attack::{Flood, crack, forged, war};
use tests::{Capture, Family, Handset, Packet, Process, Transport, ask_from, options, wait_until};

use super::{PROBE, Scene, WITHIN, prove, requests};

const AN_HOUR_S: u32 = 3_600;
const FAILURES: usize = 5;
/// Passwords that the cracker knows.
const WORDS: usize = 200;
/// The same where most guesses are dropped for their number: it has two hundred a second.
const MANY_WORDS: usize = 4_000;
/// What may have been on its way when the fifth refusal left, and while the ban was made: a cracker waits for no answer.
const ON_ITS_WAY: usize = 5;
/// The same amid a flood, where the daemon has to wait for a CPU; out of two hundred.
const ON_ITS_WAY_IN_A_FLOOD: usize = 20;

pub(super) fn request(method: &str) -> String {
    format!(
        "{method} sip:100@198.51.100.10 SIP/2.0\r\nVia: SIP/2.0/UDP 198.18.0.1:5060;branch=z9hG4bK-flood;rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:100@198.18.0.1>;tag=flood\r\nTo: <sip:100@198.51.100.10>\r\n\
         Call-ID: flood@198.18.0.1\r\nCSeq: 1 {method}\r\nContact: <sip:100@198.18.0.1>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A flood with forged sources from the stranger's host.
fn flood(scene: &Scene, methods: &[&str]) -> Flood {
    let (from, to) = (scene.lab.stranger(), scene.lab.pbx());
    let frames = methods.iter().flat_map(|method| forged(from, to, &request(method), 20_000).unwrap());
    Flood::start(from, &frames.collect::<Vec<_>>()).unwrap()
}

/// Lets a cracker go on until what it sends is dropped for a ban.
fn await_ban(scene: &Scene, cracker: Process) {
    wait_until(WITHIN, "the ban", || Ok((scene.filter.counter("banned")? > 20).then_some(()))).unwrap();
    drop(cracker);
}

/// How many guesses arrived, how many of them were refused, and how many arrived after the fifth refusal had left.
fn guesses(packets: &[Packet], cracker: IpAddr) -> [usize; 3] {
    let header =
        |text: &str, name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.to_owned()));
    let transaction = |text: &str| (header(text, "Call-ID: "), header(text, "CSeq: "));
    let (mut guessed, mut refused, mut late) = (Vec::new(), 0, 0);
    for packet in packets {
        let text = String::from_utf8_lossy(&packet.payload);
        if packet.source == cracker && text.contains("\nAuthorization: ") {
            late += usize::from(refused >= FAILURES);
            guessed.push(transaction(&text));
        } else if packet.destination == cracker && text.starts_with("SIP/2.0 401 ") {
            refused += usize::from(guessed.contains(&transaction(&text)));
        }
    }
    [guessed.len(), refused, late]
}

#[test]
fn phones_register_call_roam_and_call_again_amid_a_flood_while_a_cracker_gets_banned() {
    let Some(mut scene) = Scene::or_skip(&prove("")) else { return };
    let cracker = scene.lab.stranger().address(Family::V4);
    let mut flood = flood(&scene, &["INVITE"]);
    wait_until(WITHIN, "the flood", || Ok((scene.filter.counter("stranger")? > 10_000).then_some(())))
        .unwrap();
    let arriving = Capture::start(scene.lab.pbx()).unwrap();
    let places = [40, 41, 42, 43].map(|host| scene.somewhere(host, Family::V4));
    let attack = crack(scene.lab.stranger(), scene.lab.pbx().sip(Family::V4), "alice", WORDS).unwrap();
    for (transport, [home, away]) in [Transport::Udp, Transport::Tcp].into_iter().zip([[0, 1], [2, 3]]) {
        let phone = Handset::new(scene.lab.trunk(), places[home], transport, "alice");
        for phone in [phone.at(places[home]), phone.at(places[away])] {
            let registered = phone.register(AN_HOUR_S).unwrap();
            assert!(registered.complete, "{transport:?} at {}: {}", phone.address(), registered.log);
            let call = phone.call().unwrap();
            assert!(call.complete, "{transport:?} at {}: {}", phone.address(), call.log);
        }
    }
    flood.still_runs().unwrap();
    await_ban(&scene, attack);
    let causes = scene.filter.bans_of(cracker).unwrap();
    assert_eq!(causes.len(), 1, "the cracker is banned");
    let arrived = arriving.stop().unwrap();
    let [guesses, refused, late] = guesses(&arrived, cracker);
    assert!(
        refused >= FAILURES && late <= ON_ITS_WAY_IN_A_FLOOD,
        "{guesses} guesses arrived, {refused} were refused, {late} late: {causes:?}"
    );
    let is_forged = |address: IpAddr| matches!(address, IpAddr::V4(v4) if v4.octets()[..2] == [198, 18] || v4.octets()[..2] == [198, 19]);
    assert_eq!(arrived.iter().filter(|packet| is_forged(packet.source)).count(), 0);
    for place in places {
        // Challenged, and then with credentials; nothing of it was lost.
        assert_eq!(requests(&arrived, place, "REGISTER", true), 1, "{place}");
        assert_eq!(requests(&arrived, place, "INVITE", true), 1, "{place}");
        assert!(scene.filter.bans_of(place).unwrap().is_empty(), "{place}");
    }
    scene.pbx.still_runs().unwrap();
}

#[test]
fn a_cracker_is_banned_for_the_fifth_wrong_password() {
    // One guess at a time arrives, so that a ban for an earlier one would keep the fifth out.
    let Some(scene) = Scene::or_skip(&prove("rate = \"5/s\"\nburst = 1")) else { return };
    let cracker = scene.lab.stranger().address(Family::V4);
    let arriving = Capture::start(scene.lab.pbx()).unwrap();
    let to = scene.lab.pbx().sip(Family::V4);
    await_ban(&scene, crack(scene.lab.stranger(), to, "alice", MANY_WORDS).unwrap());
    let causes = scene.filter.bans_of(cracker).unwrap();
    let [guesses, refused, late] = guesses(&arriving.stop().unwrap(), cracker);
    assert!(
        refused >= FAILURES && late <= ON_ITS_WAY,
        "{guesses} guesses arrived, {refused} were refused, {late} late: {causes:?}"
    );
    assert_eq!(causes.len(), 1, "{causes:?}");
}

#[test]
fn those_who_registered_are_not_disturbed_by_a_flood_of_registrations() {
    let Some(scene) = Scene::or_skip(&prove("")) else { return };
    let place = scene.somewhere(40, Family::V4);
    let phone = Handset::new(scene.lab.trunk(), place, Transport::Udp, "alice");
    assert!(phone.register(AN_HOUR_S).unwrap().complete);
    let mut flood = flood(&scene, &["REGISTER", "OPTIONS"]);
    wait_until(WITHIN, "the flood", || Ok((scene.filter.counter("rate_exceeded")? > 10_000).then_some(())))
        .unwrap();
    for _ in 0..3 {
        let registered = phone.register(AN_HOUR_S).unwrap();
        assert!(registered.complete, "{}", registered.log);
        let call = phone.call().unwrap();
        assert!(call.complete, "{}", call.log);
    }
    flood.still_runs().unwrap();
}

#[test]
fn one_wrong_password_and_then_the_right_one_is_no_reason_for_a_ban() {
    let Some(scene) = Scene::or_skip(&prove("")) else { return };
    for (host, transport) in [(40, Transport::Udp), (41, Transport::Tcp)] {
        let place = scene.somewhere(host, Family::V4);
        let phone = Handset::new(scene.lab.trunk(), place, transport, "alice");
        for _ in 0..6 {
            let registered = phone.register_after(1, AN_HOUR_S).unwrap();
            assert!(registered.complete, "{transport:?}: {}", registered.log);
            assert!(phone.deregister().unwrap().complete);
        }
        assert!(scene.filter.bans_of(place).unwrap().is_empty());
        assert!(phone.register(AN_HOUR_S).unwrap().complete);
        scene.assert_let_in(place);
    }
}

#[test]
fn a_reply_that_somebody_made_up_registers_nobody() {
    let Some(scene) = Scene::or_skip(&prove("")) else { return };
    let (peer, pbx) = (scene.lab.trunk(), scene.lab.pbx().sip(Family::V4));
    let forger = scene.lab.stranger().address(Family::V4);
    let reply = format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {pbx};branch=z9hG4bK-1\r\nVia: SIP/2.0/UDP {forger}:5060;branch=z9hG4bK-2\r\n\
         From: <sip:mallory@lab>;tag=1\r\nTo: <sip:mallory@lab>;tag=2\r\nCall-ID: made-up\r\nCSeq: 1 REGISTER\r\n\
         Contact: <sip:mallory@{forger}>;expires=3600\r\nContent-Length: 0\r\n\r\n"
    );
    let sent =
        peer.in_namespace(|| UdpSocket::bind((peer.address(Family::V4), 0))?.send_to(reply.as_bytes(), pbx));
    assert_eq!(sent.unwrap().unwrap(), reply.len());
    // The registrar has one process, which answers what came later.
    assert_eq!(options(peer, pbx, Transport::Udp, WITHIN).unwrap(), Some(200));
    assert!(scene.filter.registrations().unwrap().is_empty());
    assert_eq!(ask_from(scene.lab.stranger(), forger, "INVITE", pbx, PROBE).unwrap(), None);
}

#[test]
fn who_looks_for_accounts_finds_none_and_reaches_nobody() {
    let Some(scene) = Scene::or_skip(&prove("")) else { return };
    let scanner = scene.lab.stranger();
    let (address, to) = (scanner.address(Family::V4), scene.lab.pbx().sip(Family::V4));
    let [sending, arriving] = [scanner, scene.lab.pbx()].map(|host| Capture::start(host).unwrap());
    for method in ["INVITE", "REGISTER"] {
        let outcome = war(scanner, to, method, "100-400").unwrap();
        assert!(!outcome.stdout.contains("reqauth"), "{method}: {}", outcome.stdout);
    }
    let [sent, arrived] = [sending, arriving].map(|capture| capture.stop().unwrap());
    let count = |packets: &[Packet], method: &str| requests(packets, address, method, false);
    assert!(count(&sent, "INVITE") > 0, "it called");
    assert_eq!(count(&arrived, "INVITE"), 0);
}
