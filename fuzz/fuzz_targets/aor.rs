//! Whatever a URI holds, its canonical text is plain, stays itself and means the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sip_filter::sip::{Aor, aor, same_aor};

fuzz_target!(|uri: &[u8]| {
    if let Ok(text) = str::from_utf8(uri) {
        assert_eq!(same_aor(text, text), Aor::written(text).is_some());
    }
    let Some(text) = aor(uri) else { return };
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
    let read = Aor::parse(uri).map(|aor| aor.matches(&text));
    assert_eq!(read, Some(true));
    let scheme = if text.contains('@') { "sip" } else { "tel" };
    assert_eq!(aor(format!("{scheme}:{text}").as_bytes()), Some(text));
});
