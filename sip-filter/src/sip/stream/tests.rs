//! Streams cut in every way, with what networks do to them.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::{BYTES_MAX, FLOWS_MAX, HEAD_MAX, SILENT_MAX_NS, Streams};
use crate::trust::{Flow, SipTransport};

const OK: &[u8] = b"SIP/2.0 200 OK\r\nCall-ID: a\r\n\r\n";
const BYE: &[u8] = b"BYE sip:x SIP/2.0\nCall-ID: b\nl: 0\n\n";
const INVITE: &[u8] = b"INVITE sip:x SIP/2.0\r\nl: 21\r\n\r\n";
const INVITE_BODY: &[u8] = b"SIP/2.0 200 OK\r\n\r\n\r\n\0";

fn flow(port: u16) -> Flow {
    Flow { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port, transport: SipTransport::Tcp }
}

/// Segments, each at its sequence number.
type Segments<'a> = &'a [(u32, &'a [u8])];

/// A connection that begins with this sequence number.
fn opened(sequence: u32) -> Streams<Flow> {
    let mut streams = Streams::default();
    streams.open(flow(1), sequence, 0);
    streams
}

/// What they say.
fn messages(segments: Segments<'_>) -> Vec<Vec<u8>> {
    let mut streams = opened(segments[0].0);
    segments.iter().flat_map(|(sequence, bytes)| streams.push(flow(1), *sequence, bytes, 0)).collect()
}

/// Everything between messages, bodies and keep-alives, that a stream may hold.
fn everything() -> Vec<u8> {
    [OK, b"\r\n\r\n", INVITE, INVITE_BODY, BYE, b"\n", OK].concat()
}

fn expected() -> Vec<Vec<u8>> {
    [OK, INVITE, BYE, OK].map(<[u8]>::to_vec).to_vec()
}

#[test]
fn a_stream_cut_anywhere_is_the_same() {
    let bytes = everything();
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            // The sequence numbers wrap within.
            let begin = u32::MAX - 40;
            let mut streams = opened(begin);
            let mut found = Vec::new();
            for (from, to) in [(0, first), (first, second), (second, bytes.len())] {
                let sequence = begin.wrapping_add(u32::try_from(from).unwrap());
                found.extend(streams.push(flow(1), sequence, &bytes[from..to], 0));
            }
            assert_eq!(found, expected(), "cut at {first} and {second}");
            assert_eq!(streams.buffered(), 0);
        }
    }
}

#[test]
fn what_the_network_does_to_a_stream_is_undone_or_doubted() {
    let two = [OK, OK].concat();
    let rows: &[(&str, Segments<'_>, usize)] = &[
        ("byte for byte in order", &[(5, &OK[..10]), (15, &OK[10..])], 1),
        ("repeated", &[(5, OK), (5, OK)], 1),
        ("repeated beside new bytes", &[(5, OK), (5, &two)], 2),
        ("repeated in part", &[(5, &OK[..10]), (10, &OK[5..20]), (12, &OK[7..])], 1),
        ("repeated across the wrap", &[(u32::MAX, OK), (u32::MAX, OK), (u32::MAX.wrapping_add(30), OK)], 2),
        ("a gap within a message", &[(0, &OK[..10]), (11, &OK[11..])], 0),
        ("a gap, and the next message", &[(0, &OK[..10]), (11, &OK[11..]), (30, OK)], 1),
        ("a gap, and a segment that begins like a message", &[(0, &OK[..10]), (500, OK)], 0),
        ("a gap, and the message behind that", &[(0, &OK[..10]), (500, OK), (530, OK)], 1),
        (
            "a gap, keep-alives, and a message",
            &[(0, &OK[..10]), (500, OK), (530, b"\r\n"), (532, b"\r\n\r\nS"), (537, &OK[1..])],
            1,
        ),
        ("a gap within a body", &[(0, INVITE), (40, b"\0"), (52, OK)], 2),
        ("a gap as long as the body", &[(0, INVITE), (52, OK)], 2),
        ("a gap longer than the body", &[(0, INVITE), (53, OK)], 1),
        ("another connection", &[(0, OK), (0x8000_0000, OK), (0x8000_001e, OK)], 2),
        ("no SIP", &[(0, b"\x16\x03\x01"), (3, OK), (33, OK)], 1),
        ("HTTP", &[(0, b"HTTP/1.1 101 Switching\r\n\r\n"), (26, OK)], 1),
        ("a length that is no number", &[(0, b"SIP/2.0 200 OK\r\nl: x\r\n\r\n"), (24, OK)], 1),
        ("an empty segment", &[(7, b""), (7, OK)], 1),
    ];
    for (name, segments, expected) in rows {
        assert_eq!(messages(segments).len(), *expected, "{name}");
    }
}

#[test]
fn what_a_server_repeats_of_a_stranger_passes_for_no_reply() {
    // The stranger's From holds a status line, and its window lets the reply go out in two pieces.
    let pieces: [&[u8]; 2] = [
        b"SIP/2.0 401 Unauthorized\r\nFrom: \"",
        b"SIP/2.0 200 x\" <sip:a@x>\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n",
    ];
    let second = u32::try_from(pieces[0].len()).unwrap();

    let mut whole = opened(0);
    assert!(whole.push(flow(1), 0, pieces[0], 0).is_empty());
    let found = whole.push(flow(1), second, pieces[1], 0);
    assert!(found.len() == 1 && found[0].starts_with(b"SIP/2.0 401"));

    // The second piece comes when the first is forgotten.
    let mut silent = opened(0);
    silent.push(flow(1), 0, pieces[0], 0);
    assert_eq!(silent.push(flow(1), second, pieces[1], SILENT_MAX_NS), Vec::<Vec<u8>>::new());
    assert_eq!(silent.buffered(), 0);

    // Others push the flow out.
    let mut crowded = opened(0);
    crowded.push(flow(1), 0, pieces[0], 0);
    for turn in 0..FLOWS_MAX {
        let (high, low) = (turn / 60_000, turn % 60_000);
        let transport = if high == 0 { SipTransport::Ws } else { SipTransport::Wss };
        let other = Flow { transport, port: u16::try_from(low).unwrap(), ..flow(1) };
        crowded.push(other, 0, OK, 0);
    }
    assert_eq!(crowded.flows.len(), FLOWS_MAX);
    assert_eq!(crowded.push(flow(1), second, pieces[1], 0), Vec::<Vec<u8>>::new());

    // The first piece was lost.
    let mut lost = opened(0);
    assert_eq!(lost.push(flow(1), second, pieces[1], 0), Vec::<Vec<u8>>::new());
    assert_eq!(Streams::default().push(flow(1), second, pieces[1], 0), Vec::<Vec<u8>>::new());
}

#[test]
fn a_flow_that_was_announced_is_believed_from_its_first_byte() {
    let mut streams = Streams::default();
    assert!(streams.push(flow(1), 0, OK, 0).is_empty());
    assert_eq!(streams.push(flow(1), 30, OK, 0).len(), 1);
    streams.open(flow(1), 7, 0);
    assert_eq!(streams.push(flow(1), 7, OK, 0).len(), 1);
    assert_eq!((streams.flows.len(), streams.turns.len()), (1, 1));
}

#[test]
fn a_flow_that_is_silent_goes_and_others_stay() {
    let mut streams = opened(0);
    streams.open(flow(2), 0, 0);
    streams.push(flow(1), 0, OK, 0);
    streams.push(flow(2), 0, OK, SILENT_MAX_NS - 1);
    assert_eq!(streams.flows.len(), 2);
    streams.push(flow(2), 30, &OK[..9], SILENT_MAX_NS);
    assert_eq!(streams.flows.len(), 1);
    assert_eq!(streams.push(flow(2), 39, &OK[9..], SILENT_MAX_NS + 1).len(), 1);
}

#[test]
fn a_head_may_take_so_many_bytes_and_no_more() {
    let begin = b"SIP/2.0 200 OK\r\nX: ";
    for (length, expected) in [(HEAD_MAX, 1), (HEAD_MAX + 1, 0)] {
        let mut head = begin.to_vec();
        head.resize(length - 4, b'x');
        head.extend_from_slice(b"\r\n\r\n");
        let mut streams = opened(0);
        let mut found = 0;
        for (index, piece) in head.chunks(1000).enumerate() {
            found += streams.push(flow(1), u32::try_from(index * 1000).unwrap(), piece, 0).len();
        }
        assert_eq!((found, streams.buffered()), (expected, 0));
    }
}

#[test]
fn what_begins_like_no_message_is_not_kept() {
    for bytes in [&b"\x16\x03\x01\x02\x00"[..], b"\r\n\x81\x7e", b"\x00\x01", b" SIP/2.0 200 OK"] {
        let mut streams = opened(0);
        assert!(streams.push(flow(1), 0, bytes, 0).is_empty());
        assert_eq!(streams.buffered(), 0, "{}", bytes.escape_ascii());
    }
}

#[test]
fn the_bytes_of_all_flows_are_bounded_and_the_oldest_go_first() {
    let mut streams = Streams::default();
    let piece = [b"SIP/2.0 200 OK\r\nX: ", &[b'x'; 60_000][..]].concat();
    let fitting = u16::try_from(BYTES_MAX / piece.len()).unwrap();
    for port in 0..=fitting {
        streams.open(flow(port), 0, 0);
        streams.push(flow(port), 0, &piece, 0);
        assert!(streams.buffered() <= BYTES_MAX);
    }
    assert_eq!(streams.flows.len(), usize::from(fitting));
    let sequence = u32::try_from(piece.len()).unwrap();
    assert!(streams.push(flow(0), sequence, b"\n\n", 0).is_empty());
    assert_eq!(streams.push(flow(1), sequence, b"\n\n", 0).len(), 1);
}

proptest! {
    #[test]
    fn any_segments_are_taken_without_panic(
        segments in prop::collection::vec((0u16..3, 0u32..200, "[SIP/2.0 l:\\r\\n0-9x]{0,60}", 0u64..4), 0..60),
    ) {
        let mut streams = Streams::default();
        for port in 0..2 {
            streams.open(flow(port), 0u32.wrapping_sub(100), 0);
        }
        let mut now_ns = 0;
        for (port, sequence, text, minutes) in segments {
            now_ns += minutes * 60_000_000_000;
            streams.push(flow(port), sequence.wrapping_sub(100), text.as_bytes(), now_ns);
            let held: usize = streams.flows.values().map(|stream| stream.state.buffered()).sum();
            prop_assert_eq!(streams.buffered(), held);
            prop_assert_eq!(streams.flows.len(), streams.turns.len());
        }
    }

    #[test]
    fn segments_that_are_repeated_and_overlap_add_nothing(
        cuts in prop::collection::vec((0usize..400, 1usize..400), 0..40), begin: u32,
    ) {
        let bytes = everything();
        let mut streams = opened(begin);
        let mut found = Vec::new();
        let mut sent = 0;
        // Each segment begins at what was sent, or before; the last one sends the rest.
        for (from, length) in cuts.into_iter().chain([(0, bytes.len())]) {
            let from = from.min(sent);
            let to = (from + length).min(bytes.len());
            let sequence = begin.wrapping_add(u32::try_from(from).unwrap());
            found.extend(streams.push(flow(1), sequence, &bytes[from..to], 0));
            sent = sent.max(to);
        }
        prop_assert_eq!(found, expected());
    }
}
