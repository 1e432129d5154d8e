//! From what the kernel program sees of SIP to what the daemon knows: rings, streams, and the program on what leaves.

use ipnet::IpNet;
use tokio::sync::mpsc;

use super::{Daemon, Event, trusting::when};
use crate::{
    control::EventsStatus,
    datapath::{Ring, Seen},
    policy::OnExit,
    policy::prefix::longest_cover,
    sip::{Message, stream::Streams},
    trust::{Effect, Flow, SipTransport, What, settings::is_spared},
};
use sip_filter_common::{maps::SightingKind, parse::protocol};

/// What of the wire is kept between two messages.
#[derive(Default)]
pub(super) struct Watching {
    /// A flow is first seen in the middle of anything: what follows a blank line is believed.
    streams: Streams<(Flow, u16)>,
    read: u64,
    /// What the last warning about lost messages said.
    lost_told: u64,
    /// The same about lines of the log.
    lost_lines_told: usize,
}

/// Waits for messages on a ring, for as long as anybody wants them.
pub(super) fn follow(mut ring: Ring, events: mpsc::Sender<Event>) {
    tokio::spawn(async move {
        loop {
            match ring.read().await {
                Ok(seen) => {
                    if events.send(Event::Seen(seen)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!("what the kernel program sees cannot be read any more: {error}");
                    return;
                }
            }
        }
    });
}

/// How many bytes of a segment have to be text.
const FOREIGN_LEN: usize = 64;
/// What stands in the first line of a request of a web client.
const HTTP: &[u8] = b" HTTP/1.";
/// What a phone asks for by such a request (RFC 7118).
const WEBSOCKET: &[u8] = b"websocket";

/// Whether no SIP message goes on like that: a segment may begin anywhere in one, and an honest phone's does where its
/// request is too long for one segment.
fn is_foreign(text: &[u8]) -> bool {
    let is_binary = |byte: &u8| byte.is_ascii_control() && !b"\t\r\n".contains(byte);
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_web = line.windows(HTTP.len()).any(|part| part == HTTP);
    let is_phone = || text.windows(WEBSOCKET.len()).any(|part| part.eq_ignore_ascii_case(WEBSOCKET));
    text.iter().take(FOREIGN_LEN).any(is_binary) || is_web && !is_phone()
}

impl Daemon {
    /// The kernel program has seen messages.
    pub(super) fn seen(&mut self, batch: Vec<Seen>) {
        for seen in batch {
            self.watching.read += 1;
            let transport =
                if seen.protocol == protocol::TCP { SipTransport::Tcp } else { SipTransport::Udp };
            let (address, port) = seen.peer;
            let flow = Flow { address, port, transport };
            match seen.kind {
                SightingKind::Accepted | SightingKind::Refused => {
                    self.replied(flow, &seen.text, when(seen.seen_ns));
                }
                SightingKind::Answered => self.answered(flow, &seen.text, when(seen.seen_ns)),
                SightingKind::Opened => {
                    // SYN takes a number.
                    let first = seen.sequence.wrapping_add(1);
                    self.watching.streams.open((flow, seen.local_port), first, seen.seen_ns);
                }
                SightingKind::Segment => self.sent(flow, &seen),
                SightingKind::Blocked => self.blocked(flow, &seen.text),
                SightingKind::Marked => self.marked(flow, &seen),
            }
        }
    }

    /// A stranger's request was dropped.
    fn blocked(&mut self, from: Flow, text: &[u8]) {
        let Some(message) = Message::parse(text) else { return };
        let Some(method) = message.method() else { return };
        let readable = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let uri = |uri: Option<&[u8]>| uri.map(readable).unwrap_or_default();
        let what = What::BlockedCall {
            source: from.address,
            method: readable(method),
            from: uri(message.from_uri()),
            to: uri(message.to_uri()),
        };
        let address = IpNet::from(from.address);
        let mut trunks = self.policy.trunks.iter();
        let trunk = trunks.find(|trunk| longest_cover(&trunk.allow, &address).is_some());
        let trunk = trunk.map(|trunk| trunk.name.clone());
        self.tell(trunk, what);
    }

    /// What gives a scanner away was dropped. Where it proved its address, by what only the receiver of the server's own
    /// packets can know, the address is banned at once; else nothing follows, for anybody can have sent it.
    fn marked(&mut self, from: Flow, seen: &Seen) {
        let proved = match from.transport {
            SipTransport::Udp => self.proves(from, &seen.text, when(seen.seen_ns)),
            _ => self.watching.streams.expected((from, seen.local_port)) == Some(seen.sequence),
        };
        let Some(prove) = self.policy.strangers.prove.as_ref().filter(|_| proved) else { return };
        let is_request = Message::parse(&seen.text).is_some_and(|message| message.method().is_some());
        if !is_request && !is_foreign(&seen.text) {
            return;
        }
        if is_spared(&self.policy, from.address) || self.trusting.is_registered(from.address) {
            return;
        }
        let duration = prove.ban;
        let cause = "what only scanners send, from a proven address".to_owned();
        self.carry_out(vec![Effect::Ban { address: from.address, duration, cause }]);
    }

    /// The SIP server sent a segment.
    fn sent(&mut self, flow: Flow, seen: &Seen) {
        let connection = (flow, seen.local_port);
        let mut messages = self.watching.streams.push(connection, seen.sequence, &seen.text, seen.seen_ns);
        // Where the beginning of a connection was not seen, as after a restart, nothing is believed that a stranger could
        // have had cut so that it looks like a reply. Who is registered has no reason to.
        let is_whole = seen.text.starts_with(b"SIP/2.0 ") && seen.text.ends_with(b"\r\n\r\n");
        if messages.is_empty() && is_whole && self.trusting.is_registered(flow.address) {
            messages.push(seen.text.clone());
        }
        for message in messages {
            self.replied(flow, &message, when(seen.seen_ns));
        }
    }

    /// Looks at what the interfaces send, where anything is to be learnt from it.
    pub(super) fn watch_all(&mut self) {
        let learns = self.policy.strangers.prove.is_some()
            || self.policy.trunks.iter().any(|trunk| !trunk.registrations.is_empty());
        let hold = self.policy.on_exit == OnExit::Hold;
        for interface in self.policy.interfaces.clone() {
            let done = match learns {
                true if self.datapath.is_watched(&interface, hold) => Ok(()),
                true => self.datapath.watch(&interface, hold),
                false => self.datapath.unwatch(&interface),
            };
            if let Err(error) = done {
                tracing::warn!("{interface}: registrations are not learnt from the wire: {error:#}");
            }
        }
        if let Err(error) = self.datapath.unwatch_others() {
            tracing::warn!("an interface that the policy does not name is still looked at: {error}");
        }
    }

    /// How many messages were read, and lost.
    pub(super) fn events_status(&self) -> EventsStatus {
        let all = self.datapath.sightings().unwrap_or_default();
        let lost = |wanted: &dyn Fn(SightingKind) -> bool| {
            all.iter().filter(|(kind, ..)| wanted(*kind)).map(|(_, _, lost)| lost).sum()
        };
        EventsStatus {
            read: self.watching.read,
            lost: lost(&|_| true),
            lost_registrations: lost(&|kind| matches!(kind, SightingKind::Accepted | SightingKind::Segment)),
        }
    }

    /// Says where messages were lost, whose news are not known, or lines of the log.
    pub(super) fn warn_of_lost(&mut self) {
        let EventsStatus { lost, .. } = self.events_status();
        if lost > self.watching.lost_told {
            let more = lost - self.watching.lost_told;
            tracing::warn!("{more} SIP messages that the kernel program saw were lost, {lost} in all");
            self.watching.lost_told = lost;
        }
        let lines = self.options.lost_lines.dropped_lines();
        if lines > self.watching.lost_lines_told {
            tracing::warn!("{lines} lines of this log were lost in all, for whoever reads it did not");
            self.watching.lost_lines_told = lines;
        }
    }
}
