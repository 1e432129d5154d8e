//! The SIP reader against another one, rsipstack's, on what both are made for: well-formed messages.
//!
//! What the other refuses by design is not compared: it stops at bare LFs, at line ends before the message, at bytes that
//! are no UTF-8, at methods that it does not know and where the message is cut, and it takes a `<` in a quoted display
//! name for the URI's. Rows beside the reader hold those.

use proptest::prelude::*;
use rsipstack::sip::{HeadersExt, SipMessage, headers::untyped::ToTypedHeader};
use sip_filter::sip::{Contacts, Message, Start};

/// What both say.
#[derive(Debug, PartialEq)]
struct Reading {
    start: String,
    call_id: String,
    cseq: (u32, String),
    from: String,
    to: String,
    contacts: Vec<(String, Option<u32>)>,
    expires: Option<u32>,
}

fn text(bytes: &[u8]) -> String {
    str::from_utf8(bytes).unwrap().to_owned()
}

fn ours(bytes: &[u8]) -> Reading {
    let message = Message::parse(bytes).unwrap();
    let contacts = match message.contacts() {
        Contacts::Star => vec![("*".to_owned(), None)],
        Contacts::List(list) => list.iter().map(|contact| (text(contact.uri), contact.expires)).collect(),
    };
    let (number, method) = message.cseq().unwrap();
    Reading {
        start: match message.start() {
            Start::Request { method, uri } => format!("{} {}", text(method), text(uri)),
            Start::Response { status } => status.to_string(),
        },
        call_id: text(message.call_id().unwrap()),
        cseq: (number, text(method)),
        from: text(message.from_uri().unwrap()),
        to: text(message.to_uri().unwrap()),
        contacts,
        expires: message.expires(),
    }
}

fn theirs(bytes: &[u8]) -> Reading {
    match SipMessage::try_from(bytes).unwrap() {
        SipMessage::Request(request) => headers(format!("{} {}", request.method, request.uri), &request),
        SipMessage::Response(response) => headers(response.status_code.code().to_string(), &response),
    }
}

fn headers(start: String, message: &impl HeadersExt) -> Reading {
    let cseq = message.cseq_header().unwrap().typed().unwrap();
    let contacts = message.typed_contact_headers().unwrap();
    Reading {
        start,
        call_id: message.call_id_header().unwrap().value().to_owned(),
        cseq: (cseq.seq, cseq.method.to_string()),
        from: message.from_header().unwrap().uri().unwrap().to_string(),
        to: message.to_header().unwrap().uri().unwrap().to_string(),
        // The other prints `*` as a scheme.
        contacts: contacts
            .iter()
            .map(|contact| (contact.uri.to_string().replace("*:", "*"), contact.expires()))
            .collect(),
        expires: message.expires_header().map(|expires| expires.value().parse().unwrap()),
    }
}

/// One of these.
fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(texts)
}

/// A URI that has one text only.
fn uri() -> impl Strategy<Value = String> {
    let host =
        one_of(&["example.com", "192.0.2.7", "x.example.net:5070", "[2001:db8::1]:5060", "sip.example"]);
    (one_of(&["sip", "sips"]), "[a-z][a-z0-9]{0,7}", host, one_of(&["", ";ob", ";x=y"]))
        .prop_map(|(scheme, user, host, parameters)| format!("{scheme}:{user}@{host}{parameters}"))
}

fn address() -> impl Strategy<Value = String> {
    (one_of(&["", "Bob ", "\"Bob, the; builder\" ", "\"\""]), uri())
        .prop_map(|(name, uri)| format!("{name}<{uri}>"))
}

fn contact() -> impl Strategy<Value = String> {
    let expires = prop::option::of(any::<u32>());
    (address(), expires, one_of(&["", ";q=0.5", ";+sip.instance=\"<urn:uuid:0-a,b>\""])).prop_map(
        |(address, expires, parameter)| {
            let expires = expires.map(|seconds| format!(";expires={seconds}")).unwrap_or_default();
            format!("{address}{parameter}{expires}")
        },
    )
}

fn message() -> impl Strategy<Value = String> {
    let method = || one_of(&["REGISTER", "OPTIONS", "INVITE", "BYE", "PRACK", "UPDATE"]);
    let start = prop_oneof![
        (method(), uri()).prop_map(|(method, uri)| format!("{method} {uri} SIP/2.0")),
        one_of(&["SIP/2.0 200 OK", "SIP/2.0 401 Unauthorized", "SIP/2.0 503 Service Unavailable"])
            .prop_map(str::to_owned),
    ];
    let contacts = prop_oneof![
        Just("*".to_owned()),
        prop::collection::vec(contact(), 1..4).prop_map(|list| list.join(", ")),
    ];
    let named = |names, value: BoxedStrategy<String>| {
        (one_of(names), value).prop_map(|(name, value)| format!("{name}{value}"))
    };
    let headers = (
        named(&["Call-ID: ", "i: ", "call-id:  "], "[a-zA-Z0-9@.-]{1,30}".boxed()),
        named(
            &["CSeq: ", "cseq: "],
            (any::<u32>(), method()).prop_map(|(number, method)| format!("{number} {method}")).boxed(),
        ),
        named(
            &["From: ", "f: ", "From : ", "From:\r\n "],
            address().prop_map(|address| address + ";tag=1").boxed(),
        ),
        named(&["To: ", "t: "], address().boxed()),
        prop::option::of(named(&["Contact: ", "m: ", "Contact:\r\n\t"], contacts.boxed())),
        prop::option::of(named(&["Expires: "], any::<u32>().prop_map(|seconds| seconds.to_string()).boxed())),
    );
    (start, headers).prop_flat_map(|(start, (call_id, cseq, from, to, contact, expires))| {
        let headers: Vec<_> = [Some(call_id), Some(cseq), Some(from), Some(to), contact, expires]
            .into_iter()
            .flatten()
            .collect();
        Just(headers).prop_shuffle().prop_map(move |headers| {
            format!(
                "{start}\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\n{}\r\nContent-Length: 0\r\n\r\n",
                headers.join("\r\n")
            )
        })
    })
}

proptest! {
    #[test]
    fn two_readers_agree_on_well_formed_messages(message in message()) {
        prop_assert_eq!(ours(message.as_bytes()), theirs(message.as_bytes()), "{}", message);
    }
}
