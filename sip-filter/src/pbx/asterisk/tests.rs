//! Against text that Asterisk 22.10.1 sent, and text that nobody should send.

use super::*;
use crate::pbx::State;
use crate::pbx::tests::peer::{Answer, Peer, pbx, session};
use crate::policy::PbxKind;
use crate::trust::{Binding, SipTransport, Unplaced};

fn security(event: &str, account: &str, remote: &str, call_id: &str, more: &str) -> String {
    format!(
        "Event: {event}\r\nPrivilege: security,all\r\nEventTV: 2026-11-24T12:29:33.860+0000\r\n\
         Severity: Informational\r\nService: PJSIP\r\nEventVersion: 1\r\nAccountID: {account}\r\n\
         SessionID: {call_id}\r\nLocalAddress: IPV4/UDP/198.51.100.1/5060\r\nRemoteAddress: {remote}\r\n{more}\r\n\r\n"
    )
}

fn contact(id: &str, aor: &str, uri: &str, call_id: &str, expires_s: u64) -> String {
    format!(
        "Event: ContactList\r\nActionID: {id}\r\nObjectType: contact\r\nObjectName: {aor};@9ef04fdd3239c50e\r\n\
         ViaAddr: 192.0.2.77\r\nCallId: {call_id}\r\nPath: \r\nEndpoint: {aor}\r\nViaPort: 5099\r\nUri: {uri}\r\n\
         ExpirationTime: {expires_s}\r\nStatus: NonQualified\r\n\r\n"
    )
}

fn far() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 3600
}

/// An Asterisk that accepts the login; `listing` is its list of contacts, by the action's name.
async fn asterisk(mut listing: impl FnMut(&str) -> Answer + Send + 'static) -> Peer {
    Peer::new(move |message, text| {
        let id = message.header("ActionID").unwrap_or_default();
        let reply = match message.header("Action") {
            None if text.is_empty() => "Asterisk Call Manager/11.0.0\r\n".to_owned(),
            Some("Challenge") => {
                format!("Response: Success\r\nActionID: {id}\r\nChallenge: 756833803\r\n\r\n")
            }
            Some("Login") => {
                // What md5sum says of "756833803hush".
                assert_eq!(message.header("Key"), Some("70d1db127c42edd948d54674161be3e8"));
                let event = security("SuccessfulAuth", "alice", TLS, "call-1", "UsingPassword: 1");
                format!(
                    "Response: Success\r\nActionID: {id}\r\nMessage: Authentication accepted\r\n\r\n{event}"
                )
            }
            Some("PJSIPShowContacts") => {
                let start = format!("\r\nResponse: Success\r\nActionID: {id}\r\nEventList: start\r\n\r\n");
                return match listing(id) {
                    Answer::Say(rows) => Answer::Say(start + &rows),
                    Answer::Last(rows) => Answer::Last(start + &rows),
                };
            }
            _ => String::new(),
        };
        Answer::Say(reply)
    })
    .await
}

fn complete(id: &str) -> String {
    format!("Event: ContactListComplete\r\nActionID: {id}\r\nEventList: Complete\r\nListItems: 1\r\n\r\n")
}

const TLS: &str = "IPV4/TLS/198.51.100.3/35457";
const URI: &str = "sip:alice@10.1.2.3:5071";

/// A session in which the first listing is answered by `first`, which is the last thing that is said.
async fn once(first: impl FnOnce(&str) -> String + Send + 'static) -> (Fault, Vec<Report>, State) {
    let mut first = Some(first);
    let peer =
        asterisk(move |id| Answer::Last(first.take().map(|first| first(id)).unwrap_or_default())).await;
    session(&pbx(PbxKind::Asterisk, &peer.address())).await
}

fn tls() -> Flow {
    Flow { address: "198.51.100.3".parse().unwrap(), port: 35457, transport: SipTransport::Tls }
}

#[tokio::test]
async fn a_contact_is_where_its_account_proved_itself_and_not_where_contact_or_via_say() {
    let (fault, reports, state) = once(|id| {
        contact(id, "alice", URI, "call-1", far())
            + &contact(id, "bob", "sip:bob@10.9.9.9", "other", far())
            + &complete(id)
    })
    .await;
    assert!(matches!(fault, Fault::Closed), "{fault}");
    let [Report::Authenticated(at), Report::Snapshot { bindings, unplaced }] = &reports[..] else {
        panic!("{reports:?}");
    };
    let [Binding { aor, contact, flow, lifetime }] = &bindings[..] else { panic!("{bindings:?}") };
    assert_eq!((aor.as_str(), contact.as_str(), *flow, *at), ("alice", URI, tls(), tls()));
    assert!((3590..=3600).contains(&lifetime.as_secs()), "{lifetime:?}");
    assert_eq!(unplaced, &[Unplaced { aor: "bob".to_owned(), contact: "sip:bob@10.9.9.9".to_owned() }]);
    assert!(state.connected_since.is_some() && state.last_error.is_none(), "{state:?}");
}

#[tokio::test]
async fn what_follows_the_snapshot_is_reported_as_it_happens() {
    let (_, reports, _) = once(|id| {
        let removed = format!(
            "Event: ContactStatus\r\nPrivilege: system,all\r\nURI: {URI}\r\nContactStatus: Removed\r\nAOR: alice\r\n\
             EndpointName: alice\r\n\r\n"
        );
        let failed = |remote| security("ChallengeResponseFailed", "alice", remote, "x", "Challenge: 1/2");
        contact(id, "alice", URI, "call-1", far())
            + &complete(id)
            + &security("ChallengeSent", "bob", "IPV6/WSS/2001:db8::9/4711", "y", "Challenge: ")
            + &failed(TLS)
            + &failed("IPV4/UDP/203.0.113.9/5060")
            + &removed
            + &removed
            + &security("SuccessfulAuth", "carol", TLS, "z", "UsingPassword: 0")
            + &security("SuccessfulAuth", "carol", TLS, "z", "UsingPassword: 1")
    })
    .await;
    let wss = Flow { address: "2001:db8::9".parse().unwrap(), port: 4711, transport: SipTransport::Wss };
    let gone =
        Report::Unregistered { aor: "alice".to_owned(), contact: Some(URI.to_owned()), flow: Some(tls()) };
    let expected = [Report::Challenged(wss), Report::Failed(tls()), gone, Report::Authenticated(tls())];
    assert_eq!(reports[2..], expected);
}

#[tokio::test]
async fn a_contact_that_goes_while_it_is_listed_is_gone() {
    let (_, reports, _) = once(|id| {
        let removed = format!(
            "Event: ContactStatus\r\nURI: {URI}\r\nContactStatus: Removed\r\nAOR: alice\r\nEndpointName: alice\r\n\r\n"
        );
        contact(id, "alice", URI, "call-1", far()) + &removed + &complete(id)
    })
    .await;
    assert_eq!(reports[1], Report::Snapshot { bindings: vec![], unplaced: vec![] });
}

#[tokio::test]
async fn a_refresh_without_an_event_about_the_contact_is_seen_by_listing_again() {
    let mut listings = 0;
    let peer = asterisk(move |id| {
        listings += 1;
        let rows = contact(id, "alice", URI, "call-1", far() + 600 * (listings - 1)) + &complete(id);
        let proof = security("SuccessfulAuth", "alice", TLS, "call-1", "UsingPassword: 1");
        if listings < 3 { Answer::Say(rows + &proof) } else { Answer::Last(String::new()) }
    })
    .await;
    let (_, reports, state) = session(&pbx(PbxKind::Asterisk, &peer.address())).await;
    let refreshed = reports.iter().filter_map(|report| match report {
        Report::Registered(binding) => Some(binding.lifetime.as_secs()),
        _ => None,
    });
    let lifetimes: Vec<_> = refreshed.collect();
    assert!(matches!(lifetimes[..], [4190..=4200]), "{reports:?}");
    assert_eq!(state.events, 3);
}

#[tokio::test]
async fn text_that_a_stranger_gets_into_an_event_does_nothing() {
    let bodies = "Content-Length: 4000000";
    for account in [
        "b\r\nRemoteAddress:IPV4/TLS/192.0.2.9/1",
        "b\r\n\r\nEvent:SuccessfulAuth\r\nX: y",
        "b\r\n\r\nResponse: Error\r\nMessage: x",
        &format!("b\r\n{bodies}"),
        &format!("b\r\n\r\nX: y\r\n{bodies}"),
    ] {
        let forged = security("ChallengeSent", account, "IPV4/TLS/198.51.100.9/1", "z", "Challenge: ");
        let (_, reports, _) = once(move |id| {
            forged + &contact("guess", "alice", "sip:forged", "call-1", far()) + &complete(id)
        })
        .await;
        let harmless = |report: &Report| match report {
            Report::Authenticated(flow) => *flow == tls(),
            // The split event's second half may still name the stranger truly.
            Report::Challenged(flow) => flow.address.to_string() == "198.51.100.9",
            Report::Snapshot { bindings, unplaced } => bindings.is_empty() && unplaced.is_empty(),
            _ => false,
        };
        assert!(reports.len() >= 2 && reports.iter().all(harmless), "{account:?}: {reports:?}");
    }
}

#[tokio::test]
async fn a_refused_login_says_what_to_do() {
    let peer = Peer::new(|message, text| {
        let id = message.header("ActionID").unwrap_or_default();
        Answer::Say(match message.header("Action") {
            None if text.is_empty() => "Asterisk Call Manager/11.0.0\r\n".to_owned(),
            Some("Challenge") => format!("Response: Success\r\nActionID: {id}\r\nChallenge: 7\r\n\r\n"),
            _ => format!("Response: Error\r\nActionID: {id}\r\nMessage: Authentication failed\r\n\r\n"),
        })
    })
    .await;
    let (fault, reports, _) = session(&pbx(PbxKind::Asterisk, &peer.address())).await;
    assert!(fault.is_refusal() && reports.is_empty());
    let text = fault.to_string();
    assert!(text.contains("Authentication failed") && text.contains("manager.conf"), "{text}");
}

#[tokio::test]
async fn another_service_at_the_address_is_named() {
    let peer = Peer::new(|_, _| Answer::Say("220 mail.example ESMTP\r\n".to_owned())).await;
    let (fault, _, _) = session(&pbx(PbxKind::Asterisk, &peer.address())).await;
    assert!(fault.to_string().contains("220 mail.example ESMTP"), "{fault}");
}

#[tokio::test]
async fn a_peer_that_stalls_within_an_event_is_given_up() {
    let part = "Event: SuccessfulAuth\r\nPrivilege: security,all\r\nEventTV: 20";
    let peer = asterisk(move |id| Answer::Say(complete(id) + part)).await;
    let (fault, reports, _) = session(&pbx(PbxKind::Asterisk, &peer.address())).await;
    assert!(matches!(fault, Fault::Silent { within: SILENCE_MAX, .. }), "{fault}");
    assert!(matches!(reports[..], [Report::Authenticated(_), Report::Snapshot { .. }]), "{reports:?}");
}

#[tokio::test]
async fn lengths_without_end_are_refused() {
    let line = "x".repeat(1 << 20);
    let (fault, _, _) = once(move |id| complete(id) + "Event: " + &line).await;
    assert!(matches!(fault, Fault::TooLong { what: "a line", .. }), "{fault}");
    let lines = "Name: value\r\n".repeat(100_000);
    let (fault, _, _) = once(move |id| complete(id) + &lines).await;
    assert!(matches!(fault, Fault::TooLong { what: "a message of lines", .. }), "{fault}");
}

#[tokio::test]
async fn a_connection_that_breaks_at_any_byte_is_a_closed_one() {
    let whole = contact("ID", "alice", URI, "call-1", far()) + &complete("ID");
    for length in 0..whole.len() {
        let part = whole[..length].to_owned();
        let peer =
            asterisk(move |id| Answer::Last(part.replace("ActionID: ID", &format!("ActionID: {id}")))).await;
        let (fault, reports, state) = session(&pbx(PbxKind::Asterisk, &peer.address())).await;
        assert!(matches!(fault, Fault::Closed | Fault::Broken(_)), "at {length}: {fault}");
        assert!(matches!(reports[..], [Report::Authenticated(_)]), "at {length}: {reports:?}");
        assert_eq!(state.connected_since, None);
    }
}
