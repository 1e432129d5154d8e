//! Whatever an address of record holds, its canonical text is plain, stays itself and means the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sip_filter::sip::{aor, canonical_aor};

fuzz_target!(|uri: &[u8]| {
    let read = aor(uri);
    if let Ok(text) = str::from_utf8(uri) {
        let canonical = canonical_aor(text);
        assert!(canonical.bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(canonical_aor(&canonical), canonical);
        assert!(read.as_ref().is_none_or(|read| *read == canonical));
    }
    let Some(text) = read else { return };
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
    assert_eq!(canonical_aor(&text), text);
    let scheme = if text.contains('@') { "sip" } else { "tel" };
    assert_eq!(aor(format!("{scheme}:{text}").as_bytes()), Some(text));
});
