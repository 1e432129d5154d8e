//! Phones that register over TLS, where only the PBX sees that they do.

use std::net::{IpAddr, SocketAddr};

use tests::asterisk::{AMI, TLS_PORT};
use tests::attack::{crack, forged};
use tests::{
    Account, Asterisk, Capture, Family, Filter, Flood, Lab, Packet, Phone, Receiver, Softphone, Transport,
    Way, wait_until,
};

use super::{WITHIN, attacks::request, prove};
use crate::wire::traffic::{flow, let_pass};

const ALICE: Account<'_> = Account { user: "alice", password: "secret" };
const LIAR: Account<'_> = Account { user: "alice", password: "guess" };
const CONTACT: &str = "sip:alice@203.0.113.77:5071";
/// Passwords that the cracker knows.
const WORDS: usize = 200;
/// In the policy's media listener.
const MEDIA_PORT: u16 = 10_002;

/// The policy with Asterisk behind a listener for TLS.
fn policy() -> String {
    let more = format!(
        "\n[[listener]]\nname = \"sip-tls\"\nkind = \"signalling\"\ntransport = \"tcp\"\nports = [{TLS_PORT}]\n\
         encrypted = true\n\n[[pbx]]\nname = \"asterisk\"\nkind = \"asterisk\"\naddress = \"{AMI}\"\n\
         user = \"filter\"\nsecret = \"hush\"\n"
    );
    prove("") + &more
}

/// A laboratory with Asterisk and a filter that it reports to.
fn scene() -> Option<(Filter, Asterisk, Lab)> {
    let lab = Lab::or_skip()?;
    let asterisk = Asterisk::or_skip(lab.pbx(), &["alice"], "security,system")?;
    let filter = Filter::start(&lab, &policy()).unwrap();
    wait_until(WITHIN, "the link to Asterisk", || {
        Ok((!filter.status()?["links"][0]["up_for_ms"].is_null()).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {}", filter.status().unwrap()["links"]));
    Some((filter, asterisk, lab))
}

fn tls(lab: &Lab) -> SocketAddr {
    SocketAddr::new(lab.pbx().address(Family::V4), TLS_PORT)
}

#[test]
fn a_phone_that_registers_over_tls_is_let_in_and_shut_out_as_the_pbx_reports() {
    let Some((filter, _asterisk, lab)) = scene() else { return };
    let address = lab.stranger().address(Family::V4);
    let at = SocketAddr::new(lab.pbx().address(Family::V4), MEDIA_PORT);
    let receiver = Receiver::start(lab.pbx(), at).unwrap();
    let media = flow(lab.stranger(), address, at);
    let_pass(&media, 100);
    assert_eq!(receiver.numbers(address), [0; 0], "it has not registered");
    let mut phone = Phone::connect(lab.stranger(), Way::Tls, 40_001, tls(&lab)).unwrap();
    assert_eq!(phone.register(ALICE, CONTACT, 600).unwrap(), 200);
    receiver.wait_for(address, 100, WITHIN).unwrap();
    let list = filter.json(&["registration", "list"]).unwrap();
    assert_eq!(
        (&list[0]["transport"], &list[0]["witness"]["pbx"]),
        (&"tls".into(), &"asterisk".into()),
        "{list}"
    );
    // The connection that it has is that of a registered phone now.
    assert_eq!(phone.register(ALICE, CONTACT, 0).unwrap(), 200);
    wait_until(WITHIN, "its media to be dropped", || {
        let before = receiver.numbers(address).len();
        let_pass(&media, 50);
        Ok((receiver.numbers(address).len() == before).then_some(()))
    })
    .unwrap();
    media.stop().unwrap();
    assert!(filter.registrations().unwrap().is_empty());
}

#[test]
fn a_softphone_registers_calls_roams_and_calls_again_over_tls_amid_a_flood_while_a_cracker_gets_banned() {
    let Some((filter, asterisk, lab)) = scene() else { return };
    let (phones, strangers, pbx) = (lab.trunk(), lab.stranger(), lab.pbx());
    let cracker = strangers.address(Family::V4);
    let mut flood =
        Flood::start(strangers, &forged(strangers, pbx, &request("INVITE"), 20_000).unwrap()).unwrap();
    let arriving = Capture::start(pbx).unwrap();
    let attack = crack(strangers, pbx.sip(Family::V4), "alice", WORDS).unwrap();
    for place in [40, 41].map(|host| IpAddr::from([198, 51, 100, host])) {
        phones.add_address(place, 24, &[pbx]).unwrap();
        let towards = format!("{}/32", pbx.address(Family::V4));
        phones.network(&["route", "replace", &towards, "dev", "eth0", "src", &place.to_string()]).unwrap();
        let phone = Softphone::start(phones, ALICE, tls(&lab)).unwrap();
        phone.registered().unwrap();
        phone.call("600").unwrap_or_else(|error| panic!("{error:#}: {}", asterisk.tail()));
        // What it says comes back.
        wait_until(WITHIN, "its voice, and the echo", || {
            let packets = arriving.packets()?;
            let media = |way: fn(&Packet) -> IpAddr| {
                let is_media = |packet: &&Packet| packet.transport == Transport::Udp && way(packet) == place;
                packets.iter().filter(is_media).count()
            };
            Ok((media(|packet| packet.source) >= 50 && media(|packet| packet.destination) >= 50)
                .then_some(()))
        })
        .unwrap();
        assert!(filter.registrations().unwrap().iter().any(|line| line.contains(&place.to_string())));
    }
    flood.still_runs().unwrap();
    wait_until(WITHIN, "the ban", || Ok((filter.counter("banned")? > 20).then_some(()))).unwrap();
    drop(attack);
    assert_eq!(filter.bans_of(cracker).unwrap().len(), 1);
}

#[test]
fn wrong_passwords_over_tls_end_in_a_ban() {
    let Some((filter, _asterisk, lab)) = scene() else { return };
    let address = lab.stranger().address(Family::V4);
    let mut phone = Phone::connect(lab.stranger(), Way::Tls, 40_011, tls(&lab)).unwrap();
    for _ in 0..5 {
        assert_eq!(phone.register(LIAR, CONTACT, 600).unwrap(), 401);
    }
    wait_until(WITHIN, "the ban", || Ok((filter.bans_of(address)?.len() == 1).then_some(()))).unwrap();
    assert!(phone.register(ALICE, CONTACT, 600).is_err(), "also over the connection that it has");
}
