//! Real Asterisk, by its manager interface.

use std::net::SocketAddr;

use sip_filter::policy::PbxKind;
use sip_filter::trust::{Report, SipTransport};
use tests::asterisk::{AMI, TLS_PORT};
use tests::{Account, Asterisk, Family, Lab, Phone, Way, wait_until};

use super::follower::{Follower, flow};

const ALICE: Account<'_> = Account { user: "alice", password: "secret" };
const LIAR: Account<'_> = Account { user: "alice", password: "guess" };
const BOB: Account<'_> = Account { user: "bob", password: "secret" };
/// Nobody's.
const CONTACT: &str = "sip:alice@203.0.113.77:5071";

fn tls(lab: &Lab) -> SocketAddr {
    SocketAddr::new(lab.pbx().address(Family::V4), TLS_PORT)
}

#[test]
fn phones_are_where_their_packets_come_from_over_tls_tcp_and_udp_whatever_they_say() {
    let Some(lab) = Lab::or_skip() else { return };
    let Some(mut asterisk) = Asterisk::or_skip(lab.pbx(), &["alice", "bob"], "security,system") else {
        return;
    };
    let mut follower = Follower::start(lab.pbx(), PbxKind::Asterisk, AMI, "hush");
    assert_eq!(follower.snapshot(), (vec![], 0));

    let mut tls_phone = Phone::connect(lab.stranger(), Way::Tls, 40_001, tls(&lab)).unwrap();
    assert_eq!(tls_phone.register(ALICE, CONTACT, 600).unwrap(), 200);
    let challenged = flow(tls_phone.local(), SipTransport::Tls);
    follower.wait("the challenge", |report| (*report == Report::Challenged(challenged)).then_some(()));
    follower.wait("the proof", |report| (*report == Report::Authenticated(challenged)).then_some(()));
    let binding = follower.registered("alice");
    assert_eq!((binding.flow, binding.contact.as_str()), (challenged, CONTACT));
    assert!((590..=600).contains(&binding.lifetime.as_secs()), "{binding:?}");

    for (way, transport, port) in [(Way::Tcp, SipTransport::Tcp, 0), (Way::Udp, SipTransport::Udp, 40_003)] {
        let mut phone = Phone::connect(lab.trunk(), way, port, lab.pbx().sip(Family::V4)).unwrap();
        assert_eq!(
            phone.register(BOB, &format!("sip:bob@203.0.113.78:{}", way as u8 + 1), 600).unwrap(),
            200
        );
        assert_eq!(follower.registered("bob").flow, flow(phone.local(), transport));
    }
    asterisk.still_runs().unwrap();
}

#[test]
fn refresh_move_departure_and_expiry_are_followed() {
    let Some(lab) = Lab::or_skip() else { return };
    let Some(_asterisk) = Asterisk::or_skip(lab.pbx(), &["alice"], "security,system") else { return };
    let mut follower = Follower::start(lab.pbx(), PbxKind::Asterisk, AMI, "hush");
    follower.snapshot();
    let mut phone = Phone::connect(lab.stranger(), Way::Tls, 40_011, tls(&lab)).unwrap();
    phone.register(ALICE, CONTACT, 600).unwrap();
    follower.registered("alice");
    // No event about the contact tells of a refresh.
    phone.register(ALICE, CONTACT, 900).unwrap();
    assert!(follower.registered("alice").lifetime.as_secs() > 800);
    let mut elsewhere = Phone::connect(lab.trunk(), Way::Tls, 40_012, tls(&lab)).unwrap();
    // Under its own Call-ID, which Asterisk's list never shows.
    elsewhere.register(ALICE, CONTACT, 1200).unwrap();
    assert_eq!(follower.registered("alice").flow, flow(elsewhere.local(), SipTransport::Tls));
    elsewhere.register(ALICE, CONTACT, 0).unwrap();
    follower.unregistered("alice");
    elsewhere.register(ALICE, CONTACT, 3).unwrap();
    follower.registered("alice");
    follower.unregistered("alice");
}

#[test]
fn failures_are_reported_where_the_transport_proves_the_source_and_only_there() {
    let Some(lab) = Lab::or_skip() else { return };
    let Some(_asterisk) = Asterisk::or_skip(lab.pbx(), &["alice"], "security,system") else { return };
    let mut follower = Follower::start(lab.pbx(), PbxKind::Asterisk, AMI, "hush");
    follower.snapshot();
    let mut udp = Phone::connect(lab.stranger(), Way::Udp, 40_021, lab.pbx().sip(Family::V4)).unwrap();
    assert_eq!(udp.register(LIAR, CONTACT, 600).unwrap(), 401);
    let mut tls = Phone::connect(lab.stranger(), Way::Tls, 40_022, tls(&lab)).unwrap();
    assert_eq!(tls.register(LIAR, CONTACT, 600).unwrap(), 401);
    let failed = follower.wait("the failure", |report| match report {
        Report::Failed(flow) => Some(*flow),
        _ => None,
    });
    assert_eq!(failed, flow(tls.local(), SipTransport::Tls));
    let failures = follower.reports.iter().filter(|report| matches!(report, Report::Failed(_)));
    assert_eq!(failures.count(), 1);
}

#[test]
fn text_that_a_stranger_gets_into_events_speaks_for_nobody() {
    let Some(lab) = Lab::or_skip() else { return };
    let Some(_asterisk) = Asterisk::or_skip(lab.pbx(), &["alice"], "security,system") else { return };
    let mut follower = Follower::start(lab.pbx(), PbxKind::Asterisk, AMI, "hush");
    follower.snapshot();
    let mut stranger = Phone::connect(lab.stranger(), Way::Tls, 40_041, tls(&lab)).unwrap();
    for user in [
        "b%0d%0aRemoteAddress%3aIPV4/TLS/9.9.9.9/1",
        "b%0d%0a%0d%0aEvent%3aSuccessfulAuth%0d%0aX%3a",
        "b%0d%0aContent-Length%3a%204000000%0d%0aX%3a",
    ] {
        assert_eq!(stranger.register(Account { user, password: "guess" }, CONTACT, 600).unwrap(), 401);
    }
    // Everything before this has been heard then.
    let mut phone = Phone::connect(lab.trunk(), Way::Tls, 40_042, tls(&lab)).unwrap();
    phone.register(ALICE, CONTACT, 600).unwrap();
    assert_eq!(follower.registered("alice").flow, flow(phone.local(), SipTransport::Tls));
    let [stranger, phone] = [&stranger, &phone].map(|phone| flow(phone.local(), SipTransport::Tls));
    for report in &follower.reports {
        let is_true = match report {
            Report::Snapshot { bindings, unplaced } => bindings.is_empty() && unplaced.is_empty(),
            Report::Authenticated(at) => *at == phone,
            Report::Registered(binding) => binding.flow == phone,
            Report::Challenged(at) => [stranger, phone].contains(at),
            Report::Failed(flow) => *flow == stranger,
            _ => false,
        };
        assert!(is_true, "{report:?}");
    }
}

#[test]
fn a_link_that_comes_back_knows_where_everybody_is_and_a_new_one_says_that_it_does_not() {
    let Some(lab) = Lab::or_skip() else { return };
    let Some(asterisk) = Asterisk::or_skip(lab.pbx(), &["alice"], "security,system") else { return };
    let mut follower = Follower::start(lab.pbx(), PbxKind::Asterisk, AMI, "hush");
    follower.snapshot();
    let mut phone = Phone::connect(lab.stranger(), Way::Udp, 40_031, lab.pbx().sip(Family::V4)).unwrap();
    phone.register(ALICE, CONTACT, 600).unwrap();
    let before = follower.registered("alice");
    asterisk.stop().unwrap();
    follower.wait("the loss", |report| (*report == Report::Lost).then_some(()));
    let state = follower.state();
    assert!(state.connected_since.is_none() && state.last_error.is_some(), "{state:?}");
    let _asterisk = Asterisk::or_skip(lab.pbx(), &["alice"], "security,system").unwrap();
    let (bindings, unplaced) = follower.snapshot();
    assert_eq!((bindings[0].flow, bindings.len(), unplaced), (before.flow, 1, 0));
    let mut newcomer = Follower::start(lab.pbx(), PbxKind::Asterisk, AMI, "hush");
    let (placed, unplaced) = newcomer.snapshot();
    assert_eq!((placed, unplaced), (vec![], 1));
}

#[test]
fn a_wrong_password_and_a_missing_right_are_told_with_the_remedy() {
    let Some(lab) = Lab::or_skip() else { return };
    let Some(_asterisk) = Asterisk::or_skip(lab.pbx(), &["alice"], "system") else { return };
    let refused = Follower::start(lab.pbx(), PbxKind::Asterisk, AMI, "wrong");
    let deaf = Follower::start(lab.pbx(), PbxKind::Asterisk, AMI, "hush");
    for (follower, remedy) in [(refused, "manager.conf"), (deaf, "read = security,system")] {
        let patience = std::time::Duration::from_secs(30);
        let error = wait_until(patience, "the complaint", || Ok(follower.state().last_error)).unwrap();
        assert!(error.contains(remedy), "{error}");
    }
}
