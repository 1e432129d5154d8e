//! What holds for any bytes, and for any message that is built.

use proptest::prelude::*;

use super::reading;

/// A header that is well-formed, with what it says; written in one of the ways that it may be written.
fn header() -> impl Strategy<Value = (String, String)> {
    let value = prop_oneof![
        (any::<u32>(), "[A-Z]{1,12}").prop_map(|(number, method)| {
            (["CSeq", "CSEQ"], format!("{number} {method}"), format!("cseq {number} {method}"))
        }),
        "[a-z0-9@.-]{1,20}".prop_map(|id| (["Call-ID", "i"], id.clone(), format!("call {id}"))),
        ("[a-z]{1,8}", name()).prop_map(|(user, name)| {
            (["From", "f"], format!("{name}<sip:{user}@x>;tag=1"), format!("from sip:{user}@x"))
        }),
        ("[a-z]{1,8}", name()).prop_map(|(user, name)| {
            (["To", "t"], format!("{name}<sip:{user}@x;p=1>;q=\"<,>\""), format!("to sip:{user}@x;p=1"))
        }),
        any::<u32>().prop_map(|seconds| {
            (["Expires", "expires"], seconds.to_string(), format!("expires {seconds}"))
        }),
        prop::collection::vec(("[a-z]{1,8}", name(), any::<u32>()), 1..4).prop_map(|list| {
            let (written, said): (Vec<_>, Vec<_>) = list
                .into_iter()
                .map(|(user, name, seconds)| {
                    let uri = format!("sip:{user},;@x;ob");
                    (format!("{name}<{uri}>;q=1;expires={seconds}"), format!("contact {uri} for {seconds}"))
                })
                .unzip();
            (["Contact", "m"], written.join(","), said.join(" | "))
        }),
        ("[a-z ,;<>]{0,8}", "[a-z0-9/=]{1,8}").prop_map(|(realm, nonce)| {
            let value = format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm=MD5");
            (["WWW-Authenticate", "www-authenticate"], value, format!("challenge {nonce}"))
        }),
        ("[a-z ,;<>]{0,8}", "[a-z0-9/=]{1,8}").prop_map(|(response, nonce)| {
            let value = format!("Digest nonce=\"{nonce}\",response=\"{response}\",uri=\"sip:x\"");
            (["Authorization", "AUTHORIZATION"], value, format!("nonce {nonce}"))
        }),
    ];
    let spaces = prop::sample::select(vec![":", ": ", " : ", ":\t", ":\r\n ", " \t:\n\t"]);
    (value, any::<bool>(), spaces, any::<bool>()).prop_map(|((names, value, said), other, colon, bare)| {
        let end = if bare { "\n" } else { "\r\n" };
        (format!("{}{colon}{value}{end}", names[usize::from(other)]), said)
    })
}

/// A display name, or none.
fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "Bob ", "\"a, b\" ", "\"<sip:no@x>;expires=7\"", "\"\\\"\" "])
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = reading(&bytes);
        let _ = crate::sip::aor(&bytes);
    }

    #[test]
    fn any_headers_are_read_without_panic(
        headers in prop::collection::vec(
            ("(Contact|To|CSeq|WWW-Authenticate|Authorization|m|l)", "[ -~\\r\\n\"<>,;=\\\\]{0,40}"),
            0..8,
        ),
    ) {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let _ = reading(format!("SIP/2.0 200 OK\r\n{headers}\r\n").as_bytes());
    }

    #[test]
    fn a_header_reads_back_behind_any_start_line_and_among_others((header, said) in header(), answer: bool) {
        let start = if answer { "SIP/2.0 401 Unauthorized" } else { "REGISTER sip:x SIP/2.0" };
        let message = format!("{start}\r\nVia: SIP/2.0/UDP x;branch=1\r\n{header}Max-Forwards: 70\r\n\r\n");
        let start = if answer { "401" } else { "REGISTER sip:x" };
        prop_assert_eq!(reading(message.as_bytes()), Some(format!("{start} | {said}")));
    }

    #[test]
    fn a_message_that_is_cut_says_nothing_that_the_whole_one_does_not(
        headers in prop::collection::vec(header(), 0..6),
    ) {
        let headers: String = headers.iter().map(|(header, _)| header.as_str()).collect();
        let head = format!("SIP/2.0 200 OK\r\n{headers}\r\n");
        let end = head.len();
        let bytes = (head + "Expires: 1\r\n").into_bytes();
        let whole = reading(&bytes).unwrap();
        for cut in 0..bytes.len() {
            let part = reading(&bytes[..cut]);
            prop_assert_eq!(part.is_some(), cut >= "SIP/2.0 200 OK\r\n".len());
            let Some(part) = part else { continue };
            prop_assert_eq!(part.ends_with("| cut"), cut < end, "{}", cut);
            let mut said = whole.split(" | ");
            for piece in part.split(" | ").filter(|piece| *piece != "cut") {
                prop_assert!(said.any(|other| other == piece), "{} in {}", piece, whole);
            }
        }
    }
}
