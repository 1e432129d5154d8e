//! Ways to write an address of record.

use proptest::prelude::*;

use super::{aor, canonical_aor, could_be_one};

#[test]
fn a_uri_has_one_canonical_text() {
    let rows: &[(&[u8], Option<&str>)] = &[
        (b"sip:alice@example.com", Some("alice@example.com")),
        (b"SIPS:Alice@EXAMPLE.com", Some("alice@example.com")),
        (b"sip:alice:secret@example.com:5061;transport=tcp?subject=x", Some("alice@example.com")),
        (b"sip:alice@example.com?subject=x", Some("alice@example.com")),
        (b"sip:alice@example.com;x=a@b", Some("alice@example.com")),
        (b"sip:%61l%69ce@example.com", Some("alice@example.com")),
        (b"sip:a%2fb%40c@x", Some("a/b%40c@x")),
        (b"sip:a/b@x", Some("a/b@x")),
        (b"sip:100%@x", Some("100%25@x")),
        (b"sip:a%4@x", Some("a%254@x")),
        (b"sip:1%3bx%3fy@x", Some("1%3bx%3fy@x")),
        (b"sip:+49-30;phone-context=x@gw", Some("+49-30%3bphone-context=x@gw")),
        (b"sip:bob smith@x", Some("bob%20smith@x")),
        (b"sip:a\r\nb@x", Some("a%0d%0ab@x")),
        (b"sip:\xff\xc3\xbc@x", Some("%ff%c3%bc@x")),
        (b"sip:a%c3%bc@x", Some("a%c3%bc@x")),
        (b"sip:a@192.0.2.1:5060", Some("a@192.0.2.1")),
        (b"sip:a@[2001:DB8::1]:5060", Some("a@[2001:db8::1]")),
        (b"tel:+49-30-(123)4;phone-context=x", Some("+49301234")),
        (b"TEL:110", Some("110")),
        (b"tel:+49%2e30%2D1", Some("+49301")),
        // No user.
        (b"tel:-.()", None),
        (b"sip:example.com", None),
        (b"sip:@example.com", None),
        (b"sip::secret@example.com", None),
        // Who that would be is not clear: servers differ.
        (b"sip:victim@pbx@example.com", None),
        (b"sip:a@", None),
        (b"sip:a@exa mple.com", None),
        (b"sip:a@[2001:db8::1", None),
        (b"sip:a@[::1]x", None),
        (b"mailto:a@example.com", None),
        (b"alice@example.com", None),
        (b"", None),
    ];
    for (uri, expected) in rows {
        assert_eq!(aor(uri).as_deref(), *expected, "{}", uri.escape_ascii());
        let written = str::from_utf8(uri).ok().filter(|_| expected.is_some()).map(canonical_aor);
        assert!(written.is_none() || written.as_deref() == *expected, "{}", uri.escape_ascii());
    }
}

#[test]
fn addresses_of_record_are_read_however_they_are_written() {
    let check = |text: &str, expected: &str| assert_eq!(canonical_aor(text), expected, "{text}");
    check("100", "100");
    check("Alice@Example.COM", "alice@example.com");
    check("sip:100", "100");
    check("sip:100:secret", "100");
    check("SIPS:100@pbx.example;user=phone", "100@pbx.example");
    check("sip:100@pbx.example:5061", "100@pbx.example");
    check("100:secret@pbx.example:5061;x=a@b", "100@pbx.example");
    check("sip:100@[2001:db8::1]:5061;transport=tcp", "100@[2001:db8::1]");
    check("sip:100@[2001:db8::1]", "100@[2001:db8::1]");
    check("\"A <b>\" <sip:100@pbx.example>", "100@pbx.example");
    check("\"A\" <tel:+49-30-1>;x", "+49301");
    check("sip:1;phone-context=x@pbx.example?a=b", "1%3bphone-context=x@pbx.example");
    check("100;ob", "100");
    check("100@", "100");
    check("%2B4930", "+4930");
    check("a%40b", "a%40b");
    check("1%3bx", "1%3bx");
    check("Müller@x", "m%c3%bcller@x");
    check("sip", "sip");
    for nobody in
        ["", " ", "<>", "@", "sip:", "tel:-", "@x", ":secret@x", "victim@pbx@example.com", "a@exa mple"]
    {
        check(nobody, "");
    }
}

#[test]
fn what_an_operator_writes_is_met_in_any_case_and_with_escapes() {
    let rows = [
        ("sip:Alice@Example.com", "alice", true),
        ("sip:alice@example.com", "ALICE@EXAMPLE.COM", true),
        ("sip:%41lice@example.com", "alice@example.com", true),
        ("sip:alice@example.com", "sip:%61LICE@example.com:5070;x=y", true),
        ("sip:alice@example.com", " alice ", true),
        ("sip:%2B4930@example.com", "+4930", true),
        ("sip:a%40b@example.com", "a%40b", true),
        ("sip:m%C3%BCller@x", "müller", true),
        ("sip:1;x@example.com", "1%3Bx", true),
        ("tel:+49-30-1", "+49301", true),
        ("tel:+49-30-1", "+49301@example.com", true),
        ("sip:alice@example.com", "alice@example.org", false),
        ("sip:alice@example.com", "alice2", false),
        ("sip:alice@example.com", "example.com", false),
        ("sip:a%40b@example.com", "a@b", false),
        ("sip:alice@example.com", "alice:secret", false),
        ("sip:alice@example.com", "", false),
        ("sip:alice@example.com", "@example.com", false),
    ];
    for (uri, written, expected) in rows {
        let (aor, written) = (aor(uri.as_bytes()).unwrap(), canonical_aor(written));
        assert_eq!(could_be_one(&aor, &written), expected, "{uri} {written}");
        assert_eq!(could_be_one(&written, &aor), expected, "{written} {uri}");
    }
}

#[test]
fn a_user_without_a_domain_is_that_of_any() {
    assert!(could_be_one("6001", "6001@pbx.example"));
    assert!(could_be_one("6001@one.example", "6001"));
    assert!(!could_be_one("6001@one.example", "6001@two.example"));
}

proptest! {
    #[test]
    fn canonical_text_is_plain_and_means_the_same(user in prop::collection::vec(any::<u8>(), 1..20)) {
        let uri = [b"sip:", &user[..], b"@example.com"].concat();
        if let Some(text) = aor(&uri) {
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(aor(format!("sip:{text}").as_bytes()), Some(text.clone()));
            prop_assert_eq!(canonical_aor(&text), text);
        }
    }

    #[test]
    fn what_is_canonical_stays_as_it_is(text in "(sips?:|tel:|\"a\" ?<)?[a-zA-Z0-9%:;?@<>\\[\\] ü+.-]{0,20}") {
        let canonical = canonical_aor(&text);
        prop_assert!(canonical.bytes().all(|byte| byte.is_ascii_graphic()));
        prop_assert!(canonical.bytes().filter(|byte| *byte == b'@').count() <= 1);
        prop_assert_eq!(canonical_aor(&canonical), canonical);
    }

    #[test]
    fn a_user_with_every_character_escaped_is_the_same(user in "[a-zA-Z0-9+;=@/ü ]{1,12}") {
        let escaped: String = user.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let aor = aor(format!("sip:{escaped}@example.com").as_bytes()).unwrap();
        let written = format!("sip:{}@example.com", user.replace('@', "%40"));
        prop_assert_eq!(canonical_aor(&written), aor);
    }
}
