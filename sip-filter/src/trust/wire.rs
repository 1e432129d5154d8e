//! What a SIP message says that trust follows from, taken out of the message as it was on the wire.
//!
//! Says nothing about where it came from or went to: that is the packet's to say.

use super::{Challenge, Contact, Reply, Request};
use crate::sip::{Contacts, Message};

impl Reply {
    /// What a reply says; none for a request.
    pub fn of(message: &Message<'_>) -> Option<Self> {
        let contacts = match message.contacts() {
            Contacts::Star => Vec::new(),
            Contacts::List(contacts) => contacts,
        };
        let contact =
            |contact: crate::sip::Contact<'_>| Contact { uri: text(contact.uri), expires: contact.expires };
        let challenge = |challenge: crate::sip::Challenge<'_>| Challenge {
            nonce: text(&challenge.nonce),
            stale: challenge.stale,
        };
        Some(Reply {
            status: message.status()?,
            cseq: message.cseq().map(|(number, method)| (number, text(method))),
            call_id: message.call_id().map(text),
            aor: message.to_uri().and_then(crate::sip::aor),
            contacts: contacts.into_iter().map(contact).collect(),
            expires: message.expires(),
            challenges: message.challenges().into_iter().map(challenge).collect(),
            whole: message.is_complete(),
        })
    }
}

impl Request {
    /// What a request with credentials says; none where it has none, or nothing that a reply could be told by.
    pub fn of(message: &Message<'_>) -> Option<Self> {
        let method = text(message.method()?);
        let nonces: Vec<_> = message.nonces().iter().map(|nonce| text(nonce)).collect();
        if nonces.is_empty() {
            return None;
        }
        let (number, of) = message.cseq()?;
        Some(Request {
            method,
            call_id: text(message.call_id()?),
            cseq: (number, text(of)),
            nonces,
            credentials: message.credentials().map(text).collect(),
        })
    }
}

/// Bytes that are no UTF-8 are replaced: they only have to be the same each time.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<u8> {
        (lines.join("\r\n") + "\r\n\r\n").into_bytes()
    }

    #[test]
    fn a_reply_is_taken_as_it_says() {
        let bytes = lines(&[
            "SIP/2.0 401 Unauthorized",
            "To: <sip:Alice@Lab;transport=udp>;tag=x",
            "i: abc",
            "CSeq: 7 REGISTER",
            "m: <sip:a@192.0.2.1>;expires=60, <sip:b@192.0.2.2>",
            "Expires: 90",
            "WWW-Authenticate: Digest realm=\"lab\", nonce=\"n\\\"1\", stale=TRUE",
        ]);
        let contact = |uri: &str, expires| Contact { uri: uri.to_owned(), expires };
        let expected = Reply {
            status: 401,
            cseq: Some((7, "REGISTER".to_owned())),
            call_id: Some("abc".to_owned()),
            aor: Some("alice@lab".to_owned()),
            contacts: vec![contact("sip:a@192.0.2.1", Some(60)), contact("sip:b@192.0.2.2", None)],
            expires: Some(90),
            challenges: vec![Challenge { nonce: "n\"1".to_owned(), stale: true }],
            whole: true,
        };
        assert_eq!(Message::parse(&bytes).as_ref().and_then(Reply::of), Some(expected));
        assert!(Message::parse(&bytes).as_ref().and_then(Request::of).is_none());
    }

    #[test]
    fn a_request_counts_with_credentials_only() {
        let request = |more: &str| {
            let bytes = lines(&["REGISTER sip:lab SIP/2.0", "Call-ID: abc", "CSeq: 7 REGISTER", more]);
            Message::parse(&bytes).as_ref().and_then(Request::of)
        };
        let expected = Request {
            method: "REGISTER".to_owned(),
            call_id: "abc".to_owned(),
            cseq: (7, "REGISTER".to_owned()),
            nonces: vec!["n".to_owned()],
            credentials: vec!["Digest username=\"alice\", nonce=\"n\", response=\"0a\"".to_owned()],
        };
        assert_eq!(request(&format!("Authorization: {}", expected.credentials[0])), Some(expected));
        assert_eq!(request("Max-Forwards: 70"), None);
    }
}
