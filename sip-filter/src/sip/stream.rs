//! SIP over TCP as an observer of one direction sees it: from segments to messages (RFC 3261 section 18.3).
//!
//! Restores no order that the network lost, and keeps no body. Where bytes are missing, nothing is believed until a
//! message is known to begin: a peer's window decides where segments begin, so that one begins like a message proves
//! nothing. What a server repeats of a stranger's request would pass for a reply of its own.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use super::Message;
use super::value::is_token;

/// How many bytes the start line and the headers of a message may take.
pub const HEAD_MAX: usize = super::LENGTH_MAX;

/// How many bytes of unfinished messages are kept, of all flows together.
pub const BYTES_MAX: usize = 8 << 20;

/// How many flows are followed.
pub const FLOWS_MAX: usize = 16_384;

/// How long a flow may be silent before what it began is forgotten, in nanoseconds.
pub const SILENT_MAX_NS: u64 = 300_000_000_000;

/// How far back a sequence number may lie and still be a repetition: what Linux keeps for sending at most, by default.
const REPEATED_MAX: u32 = 4 << 20;

/// The flows of one direction: those to our server, or those from it. `Flow` is what tells them apart: a peer may use one
/// port of its own for two of ours.
///
/// When there are too many, or their bytes are, the flow goes that was silent for longest.
#[derive(Debug)]
pub struct Streams<Flow> {
    flows: HashMap<Flow, Stream>,
    /// The flows by when they were heard of last: turns, which are unique, unlike times.
    turns: BTreeMap<u64, Flow>,
    next_turn: u64,
    /// The bytes in all buffers.
    buffered: usize,
}

#[derive(Debug)]
struct Stream {
    turn: u64,
    heard_at_ns: u64,
    /// The sequence number of the next byte.
    expected: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// A message begins, or has begun.
    Head { bytes: Vec<u8>, line: Line },
    /// So many bytes of a body are still to come.
    Body { remaining: u32 },
    /// Bytes are missing; whether the last ones were a blank line, behind which a message may begin.
    Lost { at_blank_line: bool },
}

/// What the line holds so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Text,
    Nothing,
    CarriageReturn,
}

/// Follows nothing yet.
impl<Flow> Default for Streams<Flow> {
    fn default() -> Self {
        Self { flows: HashMap::new(), turns: BTreeMap::new(), next_turn: 0, buffered: 0 }
    }
}

impl<Flow: Copy + Eq + Hash> Streams<Flow> {
    /// A connection begins, and its first byte will have this sequence number: what is known of the flow is forgotten.
    pub fn open(&mut self, flow: Flow, sequence: u32, now_ns: u64) {
        self.forget(&flow);
        let turn = self.take_turn(flow);
        let stream = Stream { turn, heard_at_ns: now_ns, expected: sequence, state: State::between() };
        self.flows.insert(flow, stream);
        self.make_room();
    }

    /// Takes a segment, and returns the messages that it completes: start line, headers and blank line, without bodies.
    ///
    /// Where only the beginning of a segment was copied, the rest counts as missing; so does what came before the first
    /// segment of a flow that was not announced by [`open`](Self::open).
    pub fn push(&mut self, flow: Flow, sequence: u32, bytes: &[u8], now_ns: u64) -> Vec<Vec<u8>> {
        self.forget_silent(now_ns);
        let mut messages = Vec::new();
        if bytes.is_empty() {
            return messages;
        }
        let turn = self.take_turn(flow);
        // What is not known may be in the middle of a message.
        let new = Stream { turn, heard_at_ns: now_ns, expected: sequence, state: State::LOST };
        let stream = self.flows.entry(flow).or_insert(new);
        if stream.turn != turn {
            self.turns.remove(&stream.turn);
            (stream.turn, stream.heard_at_ns) = (turn, now_ns);
        }
        let before = stream.state.buffered();
        stream.push(sequence, bytes, &mut messages);
        self.buffered = self.buffered - before + stream.state.buffered();
        self.make_room();
        messages
    }

    /// The number of the byte that comes next in a flow that was announced or heard of.
    pub fn expected(&self, flow: Flow) -> Option<u32> {
        Some(self.flows.get(&flow)?.expected)
    }

    /// How many bytes of unfinished messages are kept.
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    fn take_turn(&mut self, flow: Flow) -> u64 {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns.insert(turn, flow);
        turn
    }

    fn forget(&mut self, flow: &Flow) {
        if let Some(stream) = self.flows.remove(flow) {
            self.turns.remove(&stream.turn);
            self.buffered -= stream.state.buffered();
        }
    }

    /// What began before goes too: a peer can hold back the second half of a reply for as long as it likes, and it
    /// comes in a flow that is not known then.
    fn forget_silent(&mut self, now_ns: u64) {
        while let Some((_, flow)) = self.turns.first_key_value() {
            let flow = *flow;
            let Some(stream) = self.flows.get(&flow) else { return };
            if now_ns.saturating_sub(stream.heard_at_ns) < SILENT_MAX_NS {
                return;
            }
            self.forget(&flow);
        }
    }

    fn make_room(&mut self) {
        while self.buffered > BYTES_MAX || self.flows.len() > FLOWS_MAX {
            let Some((_, flow)) = self.turns.first_key_value() else { return };
            let flow = *flow;
            self.forget(&flow);
        }
    }
}

impl Stream {
    fn push(&mut self, sequence: u32, bytes: &[u8], messages: &mut Vec<Vec<u8>>) {
        let repeated = self.expected.wrapping_sub(sequence);
        let new = if repeated <= REPEATED_MAX {
            bytes.get(repeated as usize..).unwrap_or_default()
        } else {
            self.state.miss(sequence.wrapping_sub(self.expected));
            self.expected = sequence;
            bytes
        };
        // A segment is shorter than 2^32, and sequence numbers wrap there.
        self.expected = self.expected.wrapping_add(u32::try_from(new.len()).unwrap_or_default());
        let mut rest = new;
        while !rest.is_empty() {
            rest = self.state.read(rest, messages);
        }
    }
}

impl State {
    const LOST: Self = Self::Lost { at_blank_line: false };

    fn between() -> Self {
        Self::Head { bytes: Vec::new(), line: Line::Text }
    }

    fn buffered(&self) -> usize {
        match self {
            Self::Head { bytes, .. } => bytes.len(),
            Self::Body { .. } | Self::Lost { .. } => 0,
        }
    }

    /// So many bytes were not seen.
    fn miss(&mut self, count: u32) {
        match self {
            Self::Body { remaining } if *remaining >= count => self.skip(count),
            _ => *self = Self::LOST,
        }
    }

    fn skip(&mut self, count: u32) {
        if let Self::Body { remaining } = self {
            *remaining -= count;
            if *remaining == 0 {
                *self = Self::between();
            }
        }
    }

    /// Takes bytes, at least one where there are any, and returns those that remain.
    fn read<'a>(&mut self, bytes: &'a [u8], messages: &mut Vec<Vec<u8>>) -> &'a [u8] {
        match self {
            Self::Head { bytes: head, .. } if head.is_empty() && matches!(bytes[0], b'\r' | b'\n') => {
                &bytes[1..]
            }
            Self::Head { bytes: head, .. } if head.is_empty() && !is_token(&bytes[..1]) => {
                *self = Self::lost_after(bytes);
                &[]
            }
            Self::Head { bytes: head, line } => {
                let end = end_of_head(line, bytes);
                let (more, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                if head.len() + more.len() > HEAD_MAX {
                    *self = Self::lost_after(bytes);
                    return &[];
                }
                head.extend_from_slice(more);
                if end.is_none() {
                    return rest;
                }
                let head = std::mem::take(head);
                *self = Self::behind(&head);
                if matches!(self, Self::Lost { .. }) {
                    *self = Self::lost_after(bytes);
                    return &[];
                }
                messages.push(head);
                rest
            }
            Self::Body { remaining } => {
                let count = u32::try_from(bytes.len()).map_or(*remaining, |length| length.min(*remaining));
                self.skip(count);
                &bytes[count as usize..]
            }
            Self::Lost { at_blank_line: true } => {
                let begin =
                    bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
                if bytes.get(begin).is_some_and(|byte| is_token(&[*byte])) {
                    *self = Self::between();
                } else if begin < bytes.len() {
                    *self = Self::lost_after(bytes);
                    return &[];
                }
                &bytes[begin..]
            }
            Self::Lost { at_blank_line: false } => {
                *self = Self::lost_after(bytes);
                &[]
            }
        }
    }

    /// What follows a head: its body, or the next message.
    fn behind(head: &[u8]) -> Self {
        let Some(message) = Message::parse(head) else { return Self::LOST };
        match message.content_length() {
            Some(0) => Self::between(),
            Some(remaining) => Self::Body { remaining },
            // A length that is no number leaves open where the next message begins.
            None if message.has_header("Content-Length") => Self::LOST,
            None => Self::between(),
        }
    }

    fn lost_after(bytes: &[u8]) -> Self {
        Self::Lost { at_blank_line: bytes.ends_with(b"\n\n") || bytes.ends_with(b"\n\r\n") }
    }
}

/// The length up to the blank line and with it, where that is here.
fn end_of_head(line: &mut Line, bytes: &[u8]) -> Option<usize> {
    for (at, byte) in bytes.iter().enumerate() {
        *line = match (byte, *line) {
            (b'\n', Line::Text) => Line::Nothing,
            (b'\n', Line::Nothing | Line::CarriageReturn) => return Some(at + 1),
            (b'\r', Line::Nothing) => Line::CarriageReturn,
            _ => Line::Text,
        };
    }
    None
}
