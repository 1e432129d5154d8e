//! Against exchanges as FreeSWITCH's documents have them, on a real socket.

use std::time::{Duration, SystemTime};

use super::*;
use crate::pbx::State;
use crate::pbx::tests::peer::{Answer, Peer, pbx, session};
use crate::policy::PbxKind;
use crate::trust::{Binding, Flow, Report, SipTransport};

const GREETING: &str = "Content-Type: auth/request\n\n";

fn reply(text: &str) -> String {
    format!("Content-Type: command/reply\nReply-Text: {text}\n\n")
}

fn response(body: &str) -> String {
    format!("Content-Type: api/response\nContent-Length: {}\n\n{body}", body.len())
}

fn event(subclass: &str) -> String {
    let body = format!(
        "Event-Subclass: sofia%3A%3A{subclass}\nEvent-Name: CUSTOM\nCore-UUID: 11f751fa-47a7-11e2-9f24-bf76d9fc9ea3\n\
         profile-name: internal\nfrom-user: 1000\nfrom-host: pbx.example\nnetwork-ip: 198.51.100.9\n\
         network-port: 5060\nexpires: 3600\n\n"
    );
    format!("Content-Length: {}\nContent-Type: text/event-plain\n\n{body}", body.len())
}

/// One row of `show registrations as json`.
fn registration(user: &str, url: &str, (ip, port, proto): (&str, u16, &str), lifetime_s: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    format!(
        "{{\"reg_user\":\"{user}\",\"realm\":\"pbx.example\",\"token\":\"jk9a9jc3f8\",\"url\":\"{url}\",\
         \"expires\":\"{}\",\"network_ip\":\"{ip}\",\"network_port\":\"{port}\",\"network_proto\":\"{proto}\",\
         \"hostname\":\"pbx\",\"metadata\":\"\"}}",
        now + lifetime_s
    )
}

fn table(rows: &[String]) -> String {
    format!("{{\"row_count\":{},\"rows\":[{}]}}\n", rows.len(), rows.join(","))
}

/// A FreeSWITCH that accepts the password "hush"; each listing is answered by the next of `listings`, the last one ends.
async fn freeswitch(listings: Vec<String>) -> (Fault, Vec<Report>, State) {
    let mut listings = listings.into_iter().peekable();
    let peer = Peer::new(move |_, text| match text {
        "" => Answer::Say(GREETING.to_owned()),
        "auth hush" => Answer::Say(reply("+OK accepted")),
        text if text.starts_with("auth ") => Answer::Last(reply("-ERR invalid")),
        text if text.starts_with("event plain CUSTOM ") => {
            Answer::Say(reply("+OK event listener enabled plain"))
        }
        "api show registrations as json" => match (listings.next(), listings.peek()) {
            (Some(text), Some(_)) => Answer::Say(text),
            (text, _) => Answer::Last(text.unwrap_or_default()),
        },
        other => panic!("{other:?}"),
    })
    .await;
    session(&pbx(PbxKind::Freeswitch, &peer.address())).await
}

fn flow_of(address: &str, port: u16, transport: SipTransport) -> Flow {
    Flow { address: address.parse().unwrap(), port, transport }
}

fn bindings(report: &Report) -> &[Binding] {
    match report {
        Report::Snapshot { bindings, unplaced } if unplaced.is_empty() => bindings,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn registrations_are_where_freeswitch_saw_them_by_the_transport_that_its_url_tells() {
    let websocket = "sofia/internal/sip:u27c5j46@40d9qcmqq6i8.invalid;transport=ws;fs_nat=yes;\
                     fs_path=sip%3Au27c5j46%40198.51.100.9%3A65403%3Btransport%3Dwss";
    let rows = [
        registration("1000", "sofia/internal/sip:1000@10.0.0.5:5060", ("198.51.100.7", 31000, "udp"), 600),
        registration(
            "1001",
            "sofia/internal/sip:1001@10.0.0.6;transport=tls",
            ("2001:db8::7", 31001, "tls"),
            600,
        ),
        registration("1002", websocket, ("198.51.100.9", 65403, "udp"), 600),
        registration(
            "1003",
            "sofia/internal/sip:1003@10.0.0.7;transport=tls",
            ("198.51.100.7", 5, "udp"),
            600,
        ),
        registration(
            "1004",
            "sofia/internal/sip:1004@10.0.0.8;fs_path=sip%3A1004%40198.51.100.7%3Btransport%3Dtls",
            ("198.51.100.7", 6, "udp"),
            600,
        ),
    ];
    let (fault, reports, state) = freeswitch(vec![response(&table(&rows))]).await;
    assert!(matches!(fault, Fault::Closed), "{fault}");
    let found: Vec<_> =
        bindings(&reports[0]).iter().map(|binding| (binding.aor.as_str(), binding.flow)).collect();
    let expected = [
        ("1000@pbx.example", flow_of("198.51.100.7", 31000, SipTransport::Udp)),
        ("1001@pbx.example", flow_of("2001:db8::7", 31001, SipTransport::Tls)),
        ("1002@pbx.example", flow_of("198.51.100.9", 65403, SipTransport::Wss)),
        // What the phone writes proves nothing.
        ("1003@pbx.example", flow_of("198.51.100.7", 5, SipTransport::Udp)),
        ("1004@pbx.example", flow_of("198.51.100.7", 6, SipTransport::Udp)),
    ];
    assert_eq!(found, expected);
    assert!(bindings(&reports[0]).iter().all(|binding| (590..=600).contains(&binding.lifetime.as_secs())));
    assert!(state.connected_since.is_some());
}

#[tokio::test]
async fn an_event_has_the_list_asked_again_and_the_difference_is_reported() {
    let url = "sofia/internal/sip:1000@10.0.0.5:5060";
    let here = ("198.51.100.7", 31000, "udp");
    let listings = vec![
        response("{\"row_count\":0}\n") + &event("register"),
        response(&table(&[registration("1000", url, here, 600)])) + &event("unregister"),
        response(&table(&[])) + &event("expire"),
        String::new(),
    ];
    let (_, reports, state) = freeswitch(listings).await;
    assert_eq!(bindings(&reports[0]), []);
    let at = flow_of("198.51.100.7", 31000, SipTransport::Udp);
    assert!(matches!(&reports[1], Report::Registered(binding) if binding.flow == at), "{reports:?}");
    let aor = "1000@pbx.example".to_owned();
    assert_eq!(reports[2..], [Report::Unregistered { aor, contact: Some(url.to_owned()), flow: Some(at) }]);
    assert_eq!(state.events, 3);
}

#[tokio::test]
async fn failures_are_not_reported_since_they_prove_nothing_about_the_source() {
    let listings = vec![response("{\"row_count\":0}\n") + &event("register_failure"), String::new()];
    let (_, reports, _) = freeswitch(listings).await;
    assert_eq!(reports.len(), 1, "{reports:?}");
}

#[tokio::test]
async fn a_wrong_password_and_a_closed_door_are_told_with_the_remedy() {
    let peer = Peer::new(|_, text| match text {
        "" => Answer::Say(GREETING.to_owned()),
        _ => Answer::Last(reply("-ERR invalid")),
    })
    .await;
    let (fault, _, _) = session(&pbx(PbxKind::Freeswitch, &peer.address())).await;
    assert!(fault.is_refusal() && fault.to_string().contains("event_socket.conf.xml"), "{fault}");
    let rude = "Content-Type: text/rude-rejection\nContent-Length: 24\n\nAccess Denied, go away.\n";
    let peer = Peer::new(move |_, _| Answer::Last(rude.to_owned())).await;
    let (fault, _, _) = session(&pbx(PbxKind::Freeswitch, &peer.address())).await;
    assert!(fault.is_refusal() && fault.to_string().contains("apply-inbound-acl"), "{fault}");
}

#[tokio::test]
async fn a_body_that_claims_to_be_endless_is_refused() {
    let lie = "Content-Type: api/response\nContent-Length: 99999999999999999999999\n\n{";
    let (fault, _, _) = freeswitch(vec![lie.to_owned(), String::new()]).await;
    assert!(matches!(fault, Fault::TooLong { what: "a body", .. }), "{fault}");
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let part = "Content-Type: api/response\nContent-Length: 4000\n\n{\"row_count\":1,\"rows\":[";
    let (fault, reports, _) = freeswitch(vec![part.to_owned(), String::new()]).await;
    assert!(matches!(fault, Fault::Silent { within: SILENCE_MAX, .. }) && reports.is_empty(), "{fault}");
}

#[tokio::test]
async fn what_is_no_table_is_told() {
    let (fault, _, _) = freeswitch(vec![response("-ERR no database\n")]).await;
    assert!(fault.to_string().contains("-ERR no database"), "{fault}");
}

#[tokio::test]
async fn a_connection_that_breaks_at_any_byte_is_a_closed_one() {
    let row = registration("1000", "sofia/internal/sip:1000@10.0.0.5", ("198.51.100.7", 31000, "udp"), 600);
    let whole = response(&table(&[row]));
    for length in 0..whole.len() {
        let (fault, reports, _) = freeswitch(vec![whole[..length].to_owned()]).await;
        assert!(matches!(fault, Fault::Closed | Fault::Broken(_)), "at {length}: {fault}");
        assert_eq!(reports, [], "at {length}");
    }
}

#[test]
fn registrations_that_have_ended_or_say_nothing_useful_are_left_out() {
    let now = SystemTime::now();
    for row in [
        registration("1000", "sip:x", ("198.51.100.7", 31000, "udp"), 0),
        registration("1000", "sip:x", ("198.51.100.7", 31000, "smoke"), 600),
    ] {
        let entry: Entry = serde_json::from_str(&row).unwrap();
        assert_eq!(entry.row(now + Duration::from_secs(1)), None, "{row}");
    }
}
