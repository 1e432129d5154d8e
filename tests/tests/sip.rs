//! The SIP reader against another one, ezk's, on what both are made for: well-formed messages.
//!
//! What the other reads otherwise is not compared: it takes methods without regard to case and by their beginning, and a
//! quote behind a backslash for the end of a display name; it stops at bytes that are no UTF-8 and where the message is
//! cut. Rows beside the reader hold those.

use bytes::Bytes;
use ezk_sip_types::{
    Headers, Name,
    header::typed::{CSeq, CallID, Contact, Expires, FromTo},
    msg::{Line, MessageLine, PullParser},
    print::AppendCtx as _,
};
use proptest::prelude::*;
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
    let message = Bytes::copy_from_slice(bytes);
    let mut lines = PullParser::new(&message, 0).map(|line| str::from_utf8(line.unwrap()).unwrap());
    let start = match lines.next().unwrap().parse().unwrap() {
        MessageLine::Request(line) => format!("{} {}", line.method, line.uri.default_print_ctx()),
        MessageLine::Response(line) => line.code.into_u16().to_string(),
    };
    let mut headers = Headers::new();
    for line in lines {
        let (_, line) = Line::parse(&message, line).unwrap();
        headers.insert(line.name, line.value);
    }
    let uri = |name| headers.get::<FromTo>(name).unwrap().uri.uri.default_print_ctx().to_string();
    let cseq: CSeq = headers.get_named().unwrap();
    let contacts = match headers.get_raw(&Name::CONTACT).next() {
        Some(star) if star == "*" => vec![("*".to_owned(), None)],
        Some(_) => headers.get_named::<Vec<Contact>>().unwrap().iter().map(contact_of).collect(),
        None => Vec::new(),
    };
    Reading {
        start,
        call_id: headers.get_named::<CallID>().unwrap().0.to_string(),
        cseq: (cseq.cseq, cseq.method.to_string()),
        from: uri(Name::FROM),
        to: uri(Name::TO),
        contacts,
        expires: headers.try_get_named::<Expires>().map(|expires| expires.unwrap().0),
    }
}

fn contact_of(contact: &Contact) -> (String, Option<u32>) {
    let expires = contact.params.get_val("expires").map(|seconds| seconds.parse().unwrap());
    (contact.uri.uri.default_print_ctx().to_string(), expires)
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
    (one_of(&["", "Bob ", "\"Bob, the; builder\" ", "\"<sip:bob\" ", "\"\""]), uri())
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
    let method = || one_of(&["REGISTER", "OPTIONS", "INVITE", "BYE", "PRACK", "UPDATE", "KITE"]);
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
    let line_end = one_of(&["\r\n", "\n"]);
    (start, headers, line_end).prop_flat_map(|(start, headers, line_end)| {
        let (call_id, cseq, from, to, contact, expires) = headers;
        let headers: Vec<_> = [Some(call_id), Some(cseq), Some(from), Some(to), contact, expires]
            .into_iter()
            .flatten()
            .collect();
        Just(headers).prop_shuffle().prop_map(move |headers| {
            let message = format!(
                "{start}\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\n{}\r\nContent-Length: 0\r\n\r\n",
                headers.join("\r\n")
            );
            message.replace("\r\n", line_end)
        })
    })
}

proptest! {
    #[test]
    fn two_readers_agree_on_well_formed_messages(message in message()) {
        prop_assert_eq!(ours(message.as_bytes()), theirs(message.as_bytes()), "{}", message);
    }
}
