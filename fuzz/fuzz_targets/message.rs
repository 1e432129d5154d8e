//! Any bytes are read, and a message that is cut says nothing that the whole one does not.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sip_filter::sip::{Contacts, Message};

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let Some(whole) = Message::parse(bytes) else { return };
    let (contacts, challenges, credentials) = (whole.contacts(), whole.challenges(), whole.credentials());

    let Some(part) = Message::parse(&bytes[..usize::from(cut).min(bytes.len())]) else { return };
    assert_eq!(part.start(), whole.start());
    assert!(whole.is_complete() || !part.is_complete());
    assert!(part.cseq().is_none() || part.cseq() == whole.cseq());
    assert!(part.call_id().is_none() || part.call_id() == whole.call_id());
    assert!(part.from_uri().is_none() || part.from_uri() == whole.from_uri());
    assert!(part.to_uri().is_none() || part.to_uri() == whole.to_uri());
    assert!(part.expires().is_none() || part.expires() == whole.expires());
    assert!(part.content_length().is_none() || part.content_length() == whole.content_length());
    assert!(part.challenges().iter().all(|challenge| challenges.contains(challenge)));
    assert!(part.credentials().iter().all(|answer| credentials.contains(answer)));
    if let (Contacts::List(part), Contacts::List(whole)) = (part.contacts(), contacts) {
        assert!(whole.starts_with(&part));
    }
});
