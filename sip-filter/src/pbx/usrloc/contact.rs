//! A contact as these servers list it.
//!
//! Where it is comes from `Received` alone, which the server writes from the packet; its URI is never asked.

use std::time::Duration;

use serde_json::Value;

use super::super::ledger::Row;
use super::super::sources::{flow, transport};
use crate::trust::{Flow, SipTransport};

/// The names of a contact's members.
pub(in super::super) struct Names {
    pub(in super::super) contact: &'static str,
}

/// A list in an answer; none where there is no such list.
pub(in super::super) fn list<'a>(value: &'a Value, name: &str) -> Option<&'a [Value]> {
    value.get(name)?.as_array().map(Vec::as_slice)
}

/// One row of a contact; none where nobody registered it, or it no longer stands.
pub(in super::super) fn row(aor: &str, contact: &Value, names: &Names) -> Option<Row> {
    let text = |name: &str| contact.get(name).and_then(Value::as_str).filter(|text| *text != "[not set]");
    let lifetime = Duration::from_secs(contact.get("Expires").and_then(Value::as_u64)?);
    let socket = text("Socket").unwrap_or_default();
    // Through a proxy it is the proxy that we would trust, or, with `path_use_received`, what it says.
    let flow = match text("Path") {
        Some(_) => None,
        None => text("Received").and_then(|received| received_flow(received, socket)),
    };
    (!lifetime.is_zero()).then_some(())?;
    Some(Row { aor: aor.to_owned(), contact: text(names.contact)?.to_owned(), flow, lifetime })
}

/// `sip:198.51.100.3:57231;transport=tcp`, on a socket `tcp:198.51.100.1:5060`.
fn received_flow(received: &str, socket: &str) -> Option<Flow> {
    let uri = received.strip_prefix("sip:").or_else(|| received.strip_prefix("sips:"))?;
    let (place, parameters) = uri.split_once(';').unwrap_or((uri, ""));
    let (address, port) = place.rsplit_once(':')?;
    let named = parameters.split(';').find_map(|parameter| parameter.strip_prefix("transport="));
    let by = match transport(named.unwrap_or("udp"))? {
        // Over TLS too it says only `ws`.
        SipTransport::Ws if socket.starts_with("tls:") || socket.starts_with("wss:") => SipTransport::Wss,
        other => other,
    };
    flow(address, port, by)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_source_is_read_from_what_the_server_received() {
        for (received, socket, expected) in [
            (
                "sip:198.51.100.2:60795",
                "udp:198.51.100.1:5060",
                Some(("198.51.100.2", 60795, SipTransport::Udp)),
            ),
            (
                "sip:192.0.2.9:1;transport=TLS",
                "tls:192.0.2.1:5061",
                Some(("192.0.2.9", 1, SipTransport::Tls)),
            ),
            (
                "sip:[2001:db8::9]:5;transport=ws",
                "tls:[::1]:443",
                Some(("2001:db8::9", 5, SipTransport::Wss)),
            ),
            ("sip:[2001:db8::9]:5;transport=ws", "tcp:[::1]:80", Some(("2001:db8::9", 5, SipTransport::Ws))),
            ("sip:phone.example:5060", "", None),
            ("sip:198.51.100.2", "", None),
            ("sip:198.51.100.2:5060;transport=carrier-pigeon", "", None),
            ("", "", None),
        ] {
            let expected = expected.map(|(address, port, transport)| Flow {
                address: address.parse().unwrap(),
                port,
                transport,
            });
            assert_eq!(received_flow(received, socket), expected, "{received}");
        }
    }

    #[test]
    fn a_contact_is_placed_by_received_alone_and_not_through_a_proxy() {
        let names = Names { contact: "Address" };
        let contact = |received: &str, path: &str, expires: Value| {
            let uri = "sip:alice@10.0.0.5:5060";
            json!({"Address": uri, "Expires": expires, "Received": received, "Path": path, "Socket": "udp:192.0.2.1:5060"})
        };
        let here = "sip:198.51.100.9:5060";
        let placed = |contact: Value| row("alice", &contact, &names).map(|row| row.flow.is_some());
        assert_eq!(placed(contact(here, "[not set]", json!(60))), Some(true));
        assert_eq!(placed(contact("[not set]", "[not set]", json!(60))), Some(false));
        assert_eq!(
            placed(contact(here, "<sip:192.0.2.7;lr;received=sip:203.0.113.9>", json!(60))),
            Some(false)
        );
        for over in [json!(0), json!(-5), json!("permanent"), json!("expired"), json!("deleted")] {
            assert_eq!(placed(contact(here, "[not set]", over)), None);
        }
    }
}
