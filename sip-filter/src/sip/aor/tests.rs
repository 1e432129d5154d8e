//! Ways to write an address of record.

use proptest::prelude::*;

use super::{Aor, aor, same_aor};

#[test]
fn a_uri_has_one_canonical_text() {
    let rows: &[(&[u8], Option<&str>)] = &[
        (b"sip:alice@example.com", Some("alice@example.com")),
        (b"SIPS:Alice@EXAMPLE.com", Some("Alice@example.com")),
        (b"sip:alice:secret@example.com:5061;transport=tcp?subject=x", Some("alice@example.com")),
        (b"sip:alice@example.com?subject=x", Some("alice@example.com")),
        (b"sip:alice@example.com;x=a@b", Some("alice@example.com")),
        (b"sip:%61l%69ce@example.com", Some("alice@example.com")),
        (b"sip:a%2fb%40c@x", Some("a%2Fb%40c@x")),
        (b"sip:a/b@x", Some("a/b@x")),
        (b"sip:100%@x", Some("100%25@x")),
        (b"sip:a%4@x", Some("a%254@x")),
        (b"sip:+49-30;phone-context=x@gw", Some("+49-30;phone-context=x@gw")),
        (b"sip:bob smith@x", Some("bob%20smith@x")),
        (b"sip:a\r\nb@x", Some("a%0D%0Ab@x")),
        (b"sip:\xff\xc3\xbc@x", Some("%FF%C3%BC@x")),
        (b"sip:a%c3%bc@x", Some("a%C3%BC@x")),
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
        let aor = Aor::parse(uri.as_bytes()).unwrap();
        assert_eq!(aor.matches(written), expected, "{uri} {written}");
        assert_eq!(same_aor(written, uri), expected, "{written} {uri}");
    }
}

#[test]
fn a_user_without_a_domain_is_that_of_any() {
    assert!(same_aor("6001", "sip:6001@pbx.example"));
    assert!(same_aor("6001@one.example", "6001"));
    assert!(!same_aor("6001@one.example", "6001@two.example"));
    assert_eq!(Aor::written("6001").unwrap().host(), None);
    assert_eq!(Aor::written("6001@X").unwrap().host(), Some("x"));
}

proptest! {
    #[test]
    fn canonical_text_is_plain_and_means_the_same(user in prop::collection::vec(any::<u8>(), 1..20)) {
        let uri = [b"sip:", &user[..], b"@example.com"].concat();
        if let Some(text) = aor(&uri) {
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(aor(format!("sip:{text}").as_bytes()), Some(text.clone()));
            prop_assert!(Aor::parse(&uri).unwrap().matches(&text));
        }
    }

    #[test]
    fn a_user_with_every_character_escaped_is_the_same(user in "[a-zA-Z0-9+;=@/ü ]{1,12}") {
        let escaped: String = user.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let aor = Aor::parse(format!("sip:{escaped}@example.com").as_bytes()).unwrap();
        let written = format!("sip:{}@example.com", user.replace('@', "%40"));
        prop_assert!(aor.matches(&written));
    }
}
