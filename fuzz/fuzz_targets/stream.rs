//! Any segments are taken within bounds, and how a stream is cut changes nothing.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use sip_filter::sip::Message;
use sip_filter::sip::stream::{BYTES_MAX, Streams};
use sip_filter::trust::{Flow, SipTransport};

#[derive(Arbitrary, Debug)]
struct Segment<'a> {
    port: u8,
    /// Added to where the stream is.
    jump: i8,
    minutes: u8,
    bytes: &'a [u8],
}

fn flow(port: u8) -> Flow {
    Flow { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: port.into(), transport: SipTransport::Tcp }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fuzz_target!(|segments: Vec<Segment<'_>>| {
    let mut streams = Streams::default();
    // The other two are first seen in the middle.
    for port in 0..2 {
        streams.open(flow(port), 0, 0);
    }
    let (mut sequence, mut now_ns) = (0u32, 0u64);
    for segment in &segments {
        now_ns += u64::from(segment.minutes % 4) * 60_000_000_000;
        let at = sequence.wrapping_add_signed(segment.jump.into());
        for message in streams.push(flow(segment.port % 4), at, segment.bytes, now_ns) {
            let read = Message::parse(&message).is_some_and(|message| message.is_complete());
            assert!(read && message.ends_with(b"\n"));
        }
        assert!(streams.buffered() <= BYTES_MAX);
        sequence = at.wrapping_add(length(segment.bytes));
    }

    let whole: Vec<u8> = segments.iter().flat_map(|segment| segment.bytes).copied().collect();
    let mut streams = Streams::default();
    streams.open(flow(0), 0, 0);
    let at_once = streams.push(flow(0), 0, &whole, 0);
    streams.open(flow(0), 0, 0);
    let (mut pieces, mut sequence) = (Vec::new(), 0u32);
    for segment in &segments {
        pieces.extend(streams.push(flow(0), sequence, segment.bytes, 0));
        sequence = sequence.wrapping_add(length(segment.bytes));
    }
    // Bytes that are no SIP are given up segment by segment, so pieces may find more; as long as all is SIP, the same.
    assert!(at_once.len() <= pieces.len());
    assert_eq!(at_once, pieces[..at_once.len()]);
});
