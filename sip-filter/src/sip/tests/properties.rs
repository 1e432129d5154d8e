//! What holds for any bytes, and for any message that is built.

use proptest::prelude::*;

use super::reading;

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = reading(&bytes);
        let _ = crate::sip::aor(&bytes);
    }

    #[test]
    fn any_headers_are_read_without_panic(
        headers in prop::collection::vec(("(Contact|To|CSeq|WWW-Authenticate|Authorization|m|l)", "[ -~\\r\\n\"<>,;=\\\\]{0,40}"), 0..8),
    ) {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let _ = reading(format!("SIP/2.0 200 OK\r\n{headers}\r\n").as_bytes());
    }
}
