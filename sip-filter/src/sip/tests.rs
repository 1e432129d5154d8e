//! Oddities as rows: each is read alike in a request and in a response.

mod properties;
mod real;

use super::{Contacts, Message, Start};

/// What a message says, as one line; `None` where it is none.
fn reading(bytes: &[u8]) -> Option<String> {
    let message = Message::parse(bytes)?;
    let start = match message.start() {
        Start::Request { method, uri } => format!("{} {}", method.escape_ascii(), uri.escape_ascii()),
        Start::Response { status } => status.to_string(),
    };
    let rest = headers(&message);
    Some(if rest.is_empty() { start } else { format!("{start} | {rest}") })
}

fn headers(message: &Message<'_>) -> String {
    let text =
        |name: &str, bytes: Option<&[u8]>| bytes.map(|bytes| format!("{name} {}", bytes.escape_ascii()));
    let number = |name: &str, number: Option<u32>| number.map(|number| format!("{name} {number}"));
    let mut all = vec![
        message.cseq().map(|(number, method)| format!("cseq {number} {}", method.escape_ascii())),
        text("call", message.call_id()),
        text("from", message.from_uri()),
        text("to", message.to_uri()),
        number("expires", message.expires()),
        number("length", message.content_length()),
    ];
    match message.contacts() {
        Contacts::Star => all.push(Some("contact *".to_owned())),
        Contacts::List(list) => all.extend(list.iter().map(|contact| {
            let expires = contact.expires.map(|seconds| format!(" for {seconds}")).unwrap_or_default();
            Some(format!("contact {}{expires}", contact.uri.escape_ascii()))
        })),
    }
    all.extend(message.challenges().iter().map(|challenge| {
        let stale = if challenge.stale { " stale" } else { "" };
        Some(format!("challenge {}{stale}", challenge.nonce.escape_ascii()))
    }));
    all.extend(message.nonces().iter().map(|nonce| Some(format!("nonce {}", nonce.escape_ascii()))));
    if !message.is_complete() {
        all.push(Some("cut".to_owned()));
    }
    all.into_iter().flatten().collect::<Vec<_>>().join(" | ")
}

#[test]
fn start_lines_are_read_as_servers_read_them() {
    let rows: &[(&str, &[u8], Option<&str>)] = &[
        ("request", b"REGISTER sip:example.com SIP/2.0\r\n\r\n", Some("REGISTER sip:example.com")),
        ("response", b"SIP/2.0 200 OK\r\n\r\n", Some("200")),
        ("bare LF", b"OPTIONS sip:x SIP/2.0\n\n", Some("OPTIONS sip:x")),
        ("bare LF in a response", b"SIP/2.0 401 Unauthorized\n\n", Some("401")),
        ("leading CRLFs", b"\r\n\r\nSIP/2.0 200 OK\r\n\r\n", Some("200")),
        ("leading spaces", b"\n \tBYE sip:x SIP/2.0\r\n\r\n", Some("BYE sip:x")),
        ("several spaces", b"BYE   sip:x \t SIP/2.0\r\n\r\n", Some("BYE sip:x")),
        ("a space behind the version", b"BYE sip:x SIP/2.0 \r\n\r\n", Some("BYE sip:x")),
        ("several spaces in a response", b"SIP/2.0  200  OK\r\n\r\n", Some("200")),
        ("no reason phrase", b"SIP/2.0 200\r\n\r\n", Some("200")),
        ("an empty reason phrase", b"SIP/2.0 200 \r\n\r\n", Some("200")),
        ("a reason phrase of any bytes", b"SIP/2.0 200 \xc4\xff: ok\r\n\r\n", Some("200")),
        ("version in lower case", b"sip/2.0 200 OK\r\n\r\n", Some("200")),
        ("version of a request in lower case", b"BYE sip:x sip/2.0\r\n\r\n", Some("BYE sip:x")),
        ("a method that is not known", b"X-FOO.1 sip:x SIP/2.0\r\n\r\n", Some("X-FOO.1 sip:x")),
        ("a method in lower case is another", b"register sip:x SIP/2.0\r\n\r\n", Some("register sip:x")),
        ("tel", b"INVITE tel:+4930123 SIP/2.0\r\n\r\n", Some("INVITE tel:+4930123")),
        ("urn", b"INVITE urn:service:sos SIP/2.0\r\n\r\n", Some("INVITE urn:service:sos")),
        ("spaces in the URI", b"INVITE sip:a b@x SIP/2.0\r\n\r\n", Some("INVITE sip:a b@x")),
        ("non-UTF-8 in the URI", b"INVITE sip:\xff@x SIP/2.0\r\n\r\n", Some("INVITE sip:\\xff@x")),
        ("a start line alone", b"SIP/2.0 200 OK\r\n", Some("200 | cut")),
        ("a start line that is cut", b"SIP/2.0 200 OK", None),
        ("nothing", b"", None),
        ("a keep-alive", b"\r\n\r\n", None),
        ("no URI", b"BYE SIP/2.0\r\n\r\n", None),
        ("another version", b"BYE sip:x SIP/3.0\r\n\r\n", None),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n", None),
        ("a method that is no token", b"B(YE sip:x SIP/2.0\r\n\r\n", None),
        ("a status of two digits", b"SIP/2.0 20 OK\r\n\r\n", None),
        ("a status of four digits", b"SIP/2.0 2000 OK\r\n\r\n", None),
        ("a status that is too low", b"SIP/2.0 099 OK\r\n\r\n", None),
        ("a status that is too high", b"SIP/2.0 700 OK\r\n\r\n", None),
        ("a signed status", b"SIP/2.0 +20 OK\r\n\r\n", None),
        ("TLS", b"\x16\x03\x01\x02\x00\n\n", None),
        ("STUN", b"\x00\x01\x00\x00\x21\x12\xa4\x42\n\n", None),
    ];
    for (name, bytes, expected) in rows {
        assert_eq!(reading(bytes).as_deref(), *expected, "{name}");
    }
}

/// Headers, behind a start line and before the blank line, and what they say.
const HEADERS: &[(&str, &[u8], &str)] = &[
    ("none", b"", ""),
    (
        "full names",
        b"Call-ID: a@b\r\nCSeq: 4711 REGISTER\r\nFrom: <sip:f@x>;tag=1\r\nTo: <sip:t@x>\r\n",
        "cseq 4711 REGISTER | call a@b | from sip:f@x | to sip:t@x",
    ),
    (
        "compact",
        b"i:a\r\nf:sip:f@x\r\nt:sip:t@x\r\nm:sip:c@x\r\nl:0\r\n",
        "call a | from sip:f@x | to sip:t@x | length 0 | contact sip:c@x",
    ),
    ("compact in upper case", b"I: a\r\nM: <sip:c@x>\r\nL: 3\r\n", "call a | length 3 | contact sip:c@x"),
    ("any case", b"cAlL-iD: a\r\ncseq: 1 BYE\r\nEXPIRES: 5\r\n", "cseq 1 BYE | call a | expires 5"),
    ("bare LF", b"Call-ID: a\nExpires: 5\n", "call a | expires 5"),
    ("spaces before the colon", b"Call-ID \t: a\r\ni : b\r\n", "call a"),
    ("no space behind the colon, several at the end", b"Call-ID:a  \r\n", "call a"),
    ("folded with a space", b"CSeq: 1\r\n REGISTER\r\nExpires: 5\r\n", "cseq 1 REGISTER | expires 5"),
    (
        "folded with a tab, bare LF, twice",
        b"CSeq:\n\t1\n \t REGISTER\nExpires: 5\n",
        "cseq 1 REGISTER | expires 5",
    ),
    ("folded behind the name", b"Call-ID:\r\n a\r\n", "call a"),
    ("folded parameters", b"Contact: <sip:c@x>\r\n ;expires=7\r\n", "contact sip:c@x for 7"),
    ("folded onto the start line", b" Call-ID: a\r\nExpires: 5\r\n", "expires 5"),
    ("a CR alone ends no line", b"Call-ID: a\rExpires: 5\r\n", "call a\\rExpires: 5"),
    (
        "a line without a colon, and what is folded onto it",
        b"rubbish\r\n Expires: 4\r\nExpires: 5\r\n",
        "expires 5",
    ),
    ("a name that is no token", b"Exp ires: 4\r\n: 5\r\n\xff: 6\r\nExpires: 7\r\n", "expires 7"),
    ("non-UTF-8", b"Call-ID: \xff\xfe\r\nFrom: <sip:\xe9>\r\n", "call \\xff\\xfe | from sip:\\xe9"),
    ("empty values", b"Call-ID:\r\nContact:\r\nFrom:\r\nExpires:\r\nCSeq:\r\n", ""),
    (
        "the first of several",
        b"Call-ID: a\r\nCall-ID: b\r\nExpires: 1\r\nExpires: 2\r\n",
        "call a | expires 1",
    ),
    ("a name that begins alike", b"Call-ID-2: a\r\nX-Expires: 3\r\n", ""),
    ("CSeq without a method", b"CSeq: 1\r\n", ""),
    ("CSeq without a number", b"CSeq: REGISTER\r\n", ""),
    ("CSeq with more", b"CSeq: 1 REGISTER 2\r\n", ""),
    ("the highest CSeq", b"CSeq: 4294967295 X\r\n", "cseq 4294967295 X"),
    ("expires 0", b"Expires: 0\r\n", "expires 0"),
    ("expires 1", b"Expires: 1\r\n", "expires 1"),
    ("expires 2^32 saturates", b"Expires: 4294967296\r\n", "expires 4294967295"),
    ("expires far beyond saturates", b"Expires: 99999999999999999999999\r\n", "expires 4294967295"),
    ("leading zeros", b"Expires: 0000000000000060\r\n", "expires 60"),
    ("expires as text", b"Expires: soon\r\n", ""),
    ("expires as a date", b"Expires: Thu, 01 Dec 1994 16:00:00 GMT\r\n", ""),
    ("expires below zero", b"Expires: -1\r\n", ""),
    ("length beyond 2^32 saturates", b"Content-Length: 4294967296\r\n", "length 4294967295"),
    ("a display name with brackets", b"To: \"<sip:evil@x>\" <sip:t@x>\r\n", "to sip:t@x"),
    ("a display name with escaped quotes", b"To: \"\\\"<sip:evil@x>\" <sip:t@x>\r\n", "to sip:t@x"),
    ("a display name without quotes", b"To: Bob Smith <sip:t@x>\r\n", "to sip:t@x"),
    ("parameters of an address without brackets", b"To: sip:t@x;tag=1\r\n", "to sip:t@x"),
    ("parameters within brackets", b"To: <sip:t@x;user=phone>;tag=1\r\n", "to sip:t@x;user=phone"),
    ("spaces within brackets", b"To: < sip:t@x >\r\n", "to sip:t@x"),
    ("a display name and no brackets", b"To: Bob sip:t@x\r\n", ""),
    ("brackets that do not close", b"To: <sip:t@x\r\n", ""),
    ("a quote that does not close", b"To: \"Bob <sip:t@x>\r\n", "to sip:t@x"),
    ("star", b"Contact: *\r\n", "contact *"),
    ("star, compact and folded", b"m:\r\n *\r\n", "contact *"),
    ("star beside others", b"Contact: *, <sip:c@x>\r\n", "contact sip:c@x"),
    (
        "contacts in several headers",
        b"Contact: <sip:a@x>\r\nm: <sip:b@x>;expires=3\r\n",
        "contact sip:a@x | contact sip:b@x for 3",
    ),
    (
        "contacts in one header",
        b"Contact: <sip:a@x>;expires=1,<sip:b@x>;expires=2 , sip:c@x;expires=3\r\n",
        "contact sip:a@x for 1 | contact sip:b@x for 2 | contact sip:c@x for 3",
    ),
    (
        "commas and semicolons in quotes",
        b"Contact: \"a, <b>; \\\" c\" <sip:a@x>;expires=1\r\n",
        "contact sip:a@x for 1",
    ),
    (
        "commas and semicolons in brackets",
        b"Contact: <sip:a,b;expires=9@x;transport=tcp>;expires=1\r\n",
        "contact sip:a,b;expires=9@x;transport=tcp for 1",
    ),
    ("a quote that does not close", b"m: \"a <sip:a@x>, <sip:b@x>\r\n", "contact sip:a@x | contact sip:b@x"),
    ("quotes in brackets", b"m: <sip:a\"@x>, <sip:b\"@x>\r\n", "contact sip:a\\\"@x | contact sip:b\\\"@x"),
    (
        "commas in quoted parameters",
        b"Contact: <sip:a@x>;+sip.instance=\"<urn:uuid:1,2;expires=9>\";expires=1\r\n",
        "contact sip:a@x for 1",
    ),
    ("empty items", b"Contact: ,<sip:a@x>,,\r\n", "contact sip:a@x"),
    ("a contact that cannot be read", b"Contact: <sip:a@x, \"\r\nContact: <sip:b@x>\r\n", "contact sip:b@x"),
    (
        "quoted expires, in any case, with spaces",
        b"Contact: <sip:a@x> ; EXPIRES = \"60\"\r\n",
        "contact sip:a@x for 60",
    ),
    (
        "expires of a contact saturates",
        b"Contact: <sip:a@x>;expires=4294967296\r\n",
        "contact sip:a@x for 4294967295",
    ),
    ("expires of a contact as text", b"Contact: <sip:a@x>;expires=soon;q=1\r\n", "contact sip:a@x"),
    ("tel as a contact", b"Contact: <tel:+49>\r\n", "contact tel:+49"),
    (
        "a challenge",
        b"WWW-Authenticate: Digest realm=\"a, b\", nonce=\"n=\", qop=\"auth\"\r\n",
        "challenge n=",
    ),
    (
        "a challenge of a proxy, folded",
        b"Proxy-Authenticate: Digest\r\n realm=r,\r\n nonce=n\r\n",
        "challenge n",
    ),
    ("stale in any case", b"WWW-Authenticate: digest NONCE=\"n\", stale=TRUE\r\n", "challenge n stale"),
    ("stale in quotes", b"WWW-Authenticate: Digest nonce=n,stale=\"true\"\r\n", "challenge n stale"),
    ("not stale", b"WWW-Authenticate: Digest nonce=n,stale=false\r\n", "challenge n"),
    (
        "several challenges",
        b"WWW-Authenticate: Digest nonce=a, algorithm=SHA-256\r\nWWW-Authenticate: Digest nonce=b\r\n",
        "challenge a | challenge b",
    ),
    (
        "several challenges in one header",
        b"WWW-Authenticate: Basic realm=\"x\", Digest realm=r, nonce=a, Digest realm=s , nonce = b\r\n",
        "challenge a | challenge b",
    ),
    (
        "escapes in quotes",
        b"WWW-Authenticate: Digest realm=\"\\\"\", nonce=\"a\\\"b\\\\\"\r\n",
        "challenge a\\\"b\\\\",
    ),
    ("a challenge without a nonce", b"WWW-Authenticate: Digest realm=\"r\"\r\n", ""),
    ("another scheme", b"WWW-Authenticate: Bearer nonce=\"n\"\r\n", ""),
    (
        "an answer",
        b"Authorization: Digest username=\"bob\", realm=\"r\", nonce=\"n\", uri=\"sip:x\", \
        response=\"0\"\r\n",
        "nonce n",
    ),
    (
        "answers to both",
        b"Proxy-Authorization: Digest nonce=\"p\",response=\"a,b\"\r\nAuthorization: Digest nonce=\"n\"\r\n",
        "nonce n | nonce p",
    ),
    // Kamailio takes the last one.
    ("two nonces", b"Authorization: Digest nonce=a, nonce=\"b\", response=c\r\n", "nonce a | nonce b"),
    ("a nonce of the client's", b"Authorization: Digest cnonce=a, NONCE = b\r\n", "nonce a | nonce b"),
    (
        "an answer with empty parameters",
        b"Authorization: Digest nonce=\"\", response=, nonce=n\r\n",
        "nonce n",
    ),
    // Kamailio takes the second quote for the end of opaque.
    (
        "what to some is quoted",
        b"Authorization: Digest opaque=\"\\\", nonce=\"a\\\"b\", x=\"\"\r\n",
        "nonce a\\\\ | nonce a\\\"b",
    ),
    // pjsip decodes both and takes brackets off.
    ("a name in digits", b"Authorization: Digest %6eonce=n%36\r\n", "nonce n6"),
    ("digits and no digits", b"Authorization: Digest nonce=%4z%41\r\n", "nonce %4z%41 | nonce %4zA"),
    ("brackets", b"Authorization: Digest nonce=[n]\r\n", "nonce [n] | nonce n"),
    ("a quote that does not close", b"Authorization: Digest response=\"0, nonce=\"n\r\n", "nonce n"),
    ("another scheme that some take for Digest", b"Authorization: X nonce\r\n\t=\r\n n\r\n", "nonce n"),
];

#[test]
fn headers_are_read_alike_in_requests_and_responses() {
    for (name, headers, expected) in HEADERS {
        for (line, start) in [("REGISTER sip:x SIP/2.0\r\n", "REGISTER sip:x"), ("SIP/2.0 200 OK\r\n", "200")]
        {
            let message = [line.as_bytes(), headers, b"\r\nExpires: 9\r\n"].concat();
            let expected =
                if expected.is_empty() { start.to_owned() } else { format!("{start} | {expected}") };
            assert_eq!(reading(&message), Some(expected), "{name}");
        }
    }
}

#[test]
fn a_header_that_may_be_cut_is_left_out() {
    let rows: &[(&[u8], &str)] = &[
        (b"Expires: 36", "200 | cut"),
        (b"Expires: 36\r", "200 | cut"),
        // Something might be folded onto it.
        (b"Expires: 36\r\n", "200 | cut"),
        (b"Expires: 36\r\n ", "200 | cut"),
        (b"Contact: <sip:a@x>\r\n ;expires=", "200 | cut"),
        (b"Expires: 36\r\nC", "200 | expires 36 | cut"),
        (b"Expires: 36\r\n\r", "200 | expires 36 | cut"),
        (b"Expires: 36\r\n\r\n", "200 | expires 36"),
    ];
    for (headers, expected) in rows {
        let message = [b"SIP/2.0 200 OK\r\n", *headers].concat();
        assert_eq!(reading(&message).as_deref(), Some(*expected), "{}", headers.escape_ascii());
    }
}

#[test]
fn the_body_is_no_header() {
    let message = Message::parse(b"SIP/2.0 200 OK\r\nl: 4\r\n\r\nto:x\r\n").unwrap();
    assert!(message.is_complete());
    assert!(!message.has_header("To") && message.has_header("content-length"));
}

#[test]
fn what_is_kept_is_bounded() {
    let mut text = "SIP/2.0 200 OK\r\n".to_owned();
    text += &"WWW-Authenticate: Digest nonce=n\r\n".repeat(super::CHALLENGES_MAX + 1);
    text += &format!("Contact: {}\r\n\r\n", vec!["<sip:a@x>"; super::CONTACTS_MAX + 1].join(","));
    let message = Message::parse(text.as_bytes()).unwrap();
    assert_eq!(message.challenges().len(), super::CHALLENGES_MAX);
    assert!(matches!(message.contacts(), Contacts::List(list) if list.len() == super::CONTACTS_MAX));

    let long = format!("SIP/2.0 200 OK\r\nX: {}\r\n\r\n", "x".repeat(super::LENGTH_MAX));
    assert!(!Message::parse(long.as_bytes()).unwrap().is_complete());
}
