//! Against answers and events as OpenSIPS writes them, on real sockets.

use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::*;
use crate::pbx::start;
use crate::pbx::tests::http::{HttpPeer, STALL, error, ok, result};
use crate::pbx::tests::peer::{pbx, session};
use crate::policy::PbxKind;
use crate::trust::{Binding, Flow, Report, SipTransport, Unplaced};

fn contact(uri: &str, received: Option<&str>, expires: Value) -> Value {
    let mut contact = json!({
        "Contact": uri, "ContactID": "2614593219", "Expires": expires, "Q": "", "Callid": "call-1", "Cseq": 2,
        "State": "CS_NEW", "Flags": 0, "Cflags": "", "Socket": "tls:198.51.100.1:5061", "Methods": 4_294_967_295_u32,
    });
    if let Some(received) = received {
        contact["Received"] = json!(received);
    }
    contact
}

fn dump(aors: &[Value]) -> Value {
    json!({"Domains": [{"name": "location", "hash_size": 512, "AORs": aors}]})
}

fn alice(expires_s: u32) -> Value {
    let received = Some("sip:198.51.100.9:31000;transport=tls");
    json!({"AOR": "alice", "Contacts": [contact("sip:alice@10.0.0.5", received, json!(expires_s))]})
}

const HERE: &str = "198.51.100.9";

fn here() -> Flow {
    Flow { address: HERE.parse().unwrap(), port: 31000, transport: SipTransport::Tls }
}

async fn next(received: &mut mpsc::Receiver<(String, Report)>) -> Report {
    tokio::time::timeout(Duration::from_secs(10), received.recv()).await.unwrap().unwrap().1
}

#[tokio::test]
async fn a_dump_and_then_what_events_point_at_is_reported() {
    let (told, mut subscribed) = mpsc::unbounded_channel();
    let peer = HttpPeer::new(move |method, parameters| match method {
        "event_subscribe" => {
            told.send(parameters.clone()).unwrap();
            ok("{\"jsonrpc\":\"2.0\",\"result\":\"OK\",\"id\":1}")
        }
        "ul_dump" => {
            let bob = json!({"AOR": "bob", "Contacts": [
                contact("sip:bob@10.0.0.6", None, json!(60)),
                contact("sip:old@10.0.0.6", Some("sip:198.51.100.9:1"), json!("expired")),
            ]});
            result(&dump(&[alice(600), bob]))
        }
        "ul_show_contact" if parameters["aor"] == "alice" => result(&alice(1200)),
        "ul_show_contact" => error(404, "AOR not found"),
        other => panic!("{other}"),
    })
    .await;
    let (sender, mut received) = mpsc::channel(8);
    let link = start(pbx(PbxKind::Opensips, &peer.address()), sender);
    let (aor, uri) = ("alice".to_owned(), "sip:alice@10.0.0.5".to_owned());
    let binding = |lifetime_s| Binding {
        aor: aor.clone(),
        contact: uri.clone(),
        flow: here(),
        lifetime: Duration::from_secs(lifetime_s),
    };
    let unplaced = vec![Unplaced { aor: "bob".to_owned(), contact: "sip:bob@10.0.0.6".to_owned() }];
    assert_eq!(next(&mut received).await, Report::Snapshot { bindings: vec![binding(600)], unplaced });

    let mut events = Vec::new();
    for _ in EVENTS {
        events.push(subscribed.recv().await.unwrap());
    }
    assert_eq!((&events[0]["event"], &events[0]["expire"]), (&json!(EVENTS[0]), &json!(SUBSCRIPTION_S)));
    let to = events[0]["socket"].as_str().unwrap().strip_prefix("udp:").unwrap().to_owned();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let event = |method: &str, aor: &str| {
        let parameters =
            json!({"domain": "location", "aor": aor, "uri": "sip:forged", "received": "sip:203.0.113.9:1"});
        json!({"jsonrpc": "2.0", "method": method, "params": parameters}).to_string()
    };
    for datagram in ["garbage", "{}", &event("E_PIKE_BLOCKED", "x"), &event("E_UL_CONTACT_REFRESH", "alice")]
    {
        socket.send_to(datagram.as_bytes(), &to).await.unwrap();
    }
    assert_eq!(next(&mut received).await, Report::Registered(binding(1200)));
    assert_eq!(link.state().events, 1);
}

#[tokio::test]
async fn newer_names_are_tried_and_a_missing_module_is_told() {
    let peer = HttpPeer::new(|method, _| match method {
        "usrloc:dump" => result(&dump(&[])),
        _ => error(METHOD_NOT_FOUND, "Method not found"),
    })
    .await;
    let (sender, mut received) = mpsc::channel(8);
    let link = start(pbx(PbxKind::Opensips, &peer.address()), sender);
    assert_eq!(next(&mut received).await, Report::Snapshot { bindings: vec![], unplaced: vec![] });
    let mut state = link.watched();
    let state = state.wait_for(|state| state.last_error.is_some()).await.unwrap().clone();
    assert!(
        state.last_error.unwrap().contains("event_datagram"),
        "still connected: {:?}",
        state.connected_since
    );
}

/// A session with a server that answers a dump so.
async fn dumped(answer: impl Fn() -> String + Send + 'static) -> (Fault, Vec<Report>) {
    let peer = HttpPeer::new(move |method, _| match method {
        "ul_dump" => answer(),
        _ => result(&json!("OK")),
    })
    .await;
    let (fault, reports, _) = session(&pbx(PbxKind::Opensips, &peer.address())).await;
    (fault, reports)
}

#[tokio::test]
async fn answers_that_break_lie_or_make_no_sense_end_the_link_and_report_nothing() {
    let whole = result(&dump(&[alice(600)]));
    let body = whole.split_once("\r\n\r\n").unwrap().1.to_owned();
    let mut wrong: Vec<String> = (0..whole.len()).map(|length| whole[..length].to_owned()).collect();
    wrong.extend([
        "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNot Found".to_owned(),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{body}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n{body}"),
        format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n{body}", "x".repeat(1 << 20)),
        ok("[]"),
        result(&json!({})),
        result(&json!({"Domains": null})),
        ok(&"[".repeat(1 << 20)),
        error(500, "Internal Error"),
    ]);
    for answer in wrong {
        let start: String = answer.chars().take(60).collect();
        let ended = tokio::time::timeout(Duration::from_secs(10), dumped(move || answer.clone())).await;
        let (fault, reports) = ended.unwrap_or_else(|_| panic!("{start}: the link lasts"));
        assert_eq!(reports, [], "{start}: {fault}");
    }
}

#[tokio::test]
async fn an_answer_that_stops_halfway_is_given_up() {
    let whole = result(&dump(&[alice(600)]));
    let (fault, reports) = dumped(move || format!("{}{STALL}", &whole[..whole.len() - 9])).await;
    assert!(matches!(fault, Fault::Silent { awaited: "ul_dump", .. }), "{fault}");
    assert_eq!(reports, []);
}

/// A server followed until its first dump came; where it is told events, and what is reported.
async fn followed(
    script: impl Fn(&str, &Value) -> String + Send + 'static,
) -> (HttpPeer, crate::pbx::Link, mpsc::Receiver<(String, Report)>, String) {
    let (told, mut subscribed) = mpsc::unbounded_channel();
    let peer = HttpPeer::new(move |method, parameters| match method {
        "event_subscribe" => {
            told.send(parameters["socket"].as_str().unwrap().to_owned()).unwrap();
            result(&json!("OK"))
        }
        _ => script(method, parameters),
    })
    .await;
    let (sender, mut received) = mpsc::channel(8);
    let link = start(pbx(PbxKind::Opensips, &peer.address()), sender);
    assert!(matches!(next(&mut received).await, Report::Snapshot { .. }));
    let to = subscribed.recv().await.unwrap().strip_prefix("udp:").unwrap().to_owned();
    (peer, link, received, to)
}

async fn tell_of_alice(to: &str) {
    let event = json!({"method": "E_UL_CONTACT_DELETE", "params": {"aor": "alice"}}).to_string();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(event.as_bytes(), to).await.unwrap();
}

#[tokio::test]
async fn an_objection_that_does_not_say_that_nobody_is_there_takes_nothing_back_but_has_the_table_asked() {
    for (code, message) in
        [(500, "Internal Error"), (404, "Table not found"), (-32000, "busy"), (METHOD_NOT_FOUND, "gone")]
    {
        let dumps = std::sync::atomic::AtomicU32::new(0);
        let (_peer, _link, mut received, to) = followed(move |method, _| match method {
            "ul_dump" => {
                let earlier = dumps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                result(&dump(&[alice(600 * (1 + earlier.min(1)))]))
            }
            _ => error(code, message),
        })
        .await;
        tell_of_alice(&to).await;
        let report = next(&mut received).await;
        assert!(
            matches!(&report, Report::Registered(binding) if binding.lifetime.as_secs() == 1200),
            "{report:?}"
        );
    }
}

#[tokio::test]
async fn an_address_of_record_is_looked_up_in_every_table_there_is() {
    for remains in [true, false] {
        let (_peer, _link, mut received, to) = followed(move |method, parameters| match method {
            "ul_dump" => result(&json!({"Domains": [
                {"name": "location", "hash_size": 512, "AORs": []},
                {"name": "phones", "hash_size": 512, "AORs": [alice(600)]},
            ]})),
            _ if remains && parameters["table_name"] == "phones" => result(&alice(1200)),
            _ => error(404, "AOR not found"),
        })
        .await;
        tell_of_alice(&to).await;
        match next(&mut received).await {
            Report::Registered(binding) => assert!(remains && binding.lifetime.as_secs() == 1200),
            Report::Unregistered { aor, .. } => assert!(!remains && aor == "alice"),
            other => panic!("{other:?}"),
        }
    }
}
