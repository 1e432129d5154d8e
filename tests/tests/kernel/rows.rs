//! Frames and what becomes of them, as rows; one [`check`] behind all of them.
//!
//! Every row is judged by the pipeline over ordinary collections, by the naive model, and by the loaded program.
//! A finding of the differential test or of the field becomes a row here.

mod extensions;
mod fragments;
mod framing;
mod listeners;
mod lists;
mod proving;
mod registered;
mod truncation;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use sip_filter::host_tables::HostTables;
use sip_filter::policy::registered::RegisteredTrunks;
use sip_filter::policy::tables::Tables;
use sip_filter::policy::{Policy, file};
use sip_filter_common::{Mode, Reason, Verdict, judge};

use super::loaded::{Clean, Loaded, TICK_NS_MAX, last_tick_ns, may_use_the_kernel, now_ns};
use super::model::Model;
use super::packet::Packet;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const HOUR_NS: u64 = 3_600_000_000_000;

/// Most rows are judged by this policy.
const POLICY: &str = r#"
mode = "enforce"
admin = ["192.0.2.10", "2001:db8:a::10"]

[[listener]]
name = "sip-udp"
kind = "signalling"
transport = "udp"
ports = ["5060"]

[[listener]]
name = "sip-tcp"
kind = "signalling"
transport = "tcp"
ports = ["5060"]

[[listener]]
name = "rtp"
kind = "media"
transport = "udp"
ports = ["10000-20000"]

[[listener]]
name = "office"
kind = "signalling"
transport = "udp"
ports = ["5070"]
vlans = [10, 20]

[[listener]]
name = "web"
kind = "other"
transport = "tcp"
ports = ["8088", "8443-8444"]
allow = ["10.0.0.0/8", "2001:db8:10::/48"]

[deny]
sources = ["203.0.113.0/24", "2001:db8:bad::/48", "192.0.2.19", "2001:db8:16::19"]

[allow]
sources = ["192.0.2.128/25", "2001:db8:128::/48"]

[[trunk]]
name = "provider"
allow = ["192.0.2.16/28", "2001:db8:16::/48"]
deny = ["192.0.2.17", "2001:db8:16::17", "192.0.2.129"]
outbound_proxies = ["192.0.2.5:5061", "[2001:db8:5::5]:5061"]
media = ["192.0.2.32/28", "2001:db8:32::/48"]

[[trunk]]
name = "branch"
allow = ["192.0.2.48/28", "2001:db8:48::/48"]
listeners = ["office", "web"]
"#;

const ADMIN: Peer = Peer("192.0.2.10", "2001:db8:a::10");
const DENIED: Peer = Peer("203.0.113.7", "2001:db8:bad::7");
const LISTED: Peer = Peer("192.0.2.200", "2001:db8:128::200");
const PROVIDER: Peer = Peer("192.0.2.18", "2001:db8:16::18");
const REFUSED_BY_PROVIDER: Peer = Peer("192.0.2.17", "2001:db8:16::17");
const PROVIDER_PROXY: Peer = Peer("192.0.2.5", "2001:db8:5::5");
const PROVIDER_MEDIA: Peer = Peer("192.0.2.33", "2001:db8:32::33");
const BRANCH: Peer = Peer("192.0.2.50", "2001:db8:48::50");
const BROWSER: Peer = Peer("10.1.2.3", "2001:db8:10::3");
const STRANGER: Peer = Peer("192.0.2.66", "2001:db8:66::66");

/// A remote address of each family.
#[derive(Clone, Copy)]
struct Peer(&'static str, &'static str);

/// The protected host's address of each family.
const LOCAL: Peer = Peer("198.51.100.1", "2001:db8:5060::1");

/// Which address of a peer.
type Family = fn(Peer) -> &'static str;

const FAMILIES: [Family; 2] = [|peer| peer.0, |peer| peer.1];

impl Packet {
    /// From a peer to a port of the protected host, in the family that `of` picks.
    fn between(self, of: Family, peer: Peer, port: u16) -> Self {
        let address: IpAddr = of(LOCAL).parse().unwrap();
        self.from(of(peer)).with_destination((address, port).into())
    }
}

/// A frame, what was before it, and what is to become of it.
struct Row {
    name: String,
    policy: &'static str,
    bans: Vec<(IpAddr, End)>,
    registered: Vec<(IpAddr, End)>,
    flows: Vec<(SocketAddr, u8, End)>,
    opened: Vec<IpAddr>,
    before: Vec<(Vec<u8>, Reason)>,
    frame: Vec<u8>,
    reason: Reason,
}

/// When a ban or a registration ends.
#[derive(Clone, Copy)]
enum End {
    Ahead,
    Past,
}

impl End {
    fn after(self, now_ns: u64) -> u64 {
        match self {
            Self::Ahead => now_ns.saturating_add(HOUR_NS),
            Self::Past => now_ns.saturating_sub(TICK_NS_MAX),
        }
    }
}

fn row(name: impl Into<String>, packet: Packet, reason: Reason) -> Row {
    Row {
        name: name.into(),
        policy: POLICY,
        bans: Vec::new(),
        registered: Vec::new(),
        flows: Vec::new(),
        opened: Vec::new(),
        before: Vec::new(),
        frame: packet.build(),
        reason,
    }
}

impl Row {
    fn under(self, policy: &'static str) -> Self {
        Self { policy, ..self }
    }

    fn banned(mut self, address: &str, end: End) -> Self {
        self.bans.push((address.parse().unwrap(), end));
        self
    }

    fn registered(mut self, address: &str, end: End) -> Self {
        self.registered.push((address.parse().unwrap(), end));
        self
    }

    /// Registered from this port, by this IP protocol; the address is not let in by that alone.
    fn registered_flow(mut self, address: &str, port: u16, protocol: u8, end: End) -> Self {
        let address: IpAddr = address.parse().unwrap();
        self.flows.push(((address, port).into(), protocol, end));
        self
    }

    /// The SIP server has just challenged this address.
    fn challenged(mut self, address: &str) -> Self {
        self.opened.push(address.parse().unwrap());
        self
    }

    /// Another frame before this one, with a reason of its own.
    fn after(mut self, packet: Packet, reason: Reason) -> Self {
        self.before.push((packet.build(), reason));
        self
    }
}

pub(crate) fn parsed(text: &str) -> Policy {
    file::parse(Path::new("test.toml"), text).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"))
}

/// Judges all rows three times over.
fn check(what: &str, rows: &[Row]) {
    let has_kernel = may_use_the_kernel(what);
    for rows in rows.chunk_by(|one, other| one.policy == other.policy) {
        let policy = parsed(rows[0].policy);
        let mut host = HostTables::new(Tables::compile(&policy, &RegisteredTrunks::default()).unwrap());
        // The kernel is tried where no connection is.
        host.set_has_connections(false);
        let mut now_ns = now_ns();
        for row in rows {
            // What was decided for the fragments of another row is past then.
            now_ns += HOUR_NS;
            check_on_the_host(row, &policy, &mut host, now_ns);
        }
        if has_kernel {
            let mut kernel = Clean::with(&policy);
            rows.iter().for_each(|row| check_in_the_kernel(row, &policy, &mut kernel));
        }
    }
}

fn check_on_the_host(row: &Row, policy: &Policy, host: &mut HostTables, now_ns: u64) {
    let mut model = Model::new(policy);
    host.set_now_ns(now_ns);
    model.now_ns = now_ns;
    for (address, end) in &row.bans {
        host.ban(*address, end.after(now_ns));
        model.bans.insert(*address, end.after(now_ns));
    }
    for (address, end) in &row.registered {
        host.register(*address, end.after(now_ns));
        model.registered.insert(*address, end.after(now_ns));
    }
    for (peer, protocol, end) in &row.flows {
        host.register_flow(*peer, *protocol, end.after(now_ns));
        model.flows.insert((*peer, *protocol), end.after(now_ns));
    }
    for address in &row.opened {
        host.open_lane(*address, now_ns + 1);
        model.challenged.push(*address);
    }
    for (frame, reason) in row.frames() {
        assert_eq!(judge(&**frame, host), *reason, "by the host's pipeline: {}", row.describe(frame));
        assert_eq!(model.judge(frame), *reason, "by the model: {}", row.describe(frame));
    }
    for (address, _) in &row.bans {
        assert!(host.unban(*address));
    }
    row.registered.iter().for_each(|(address, _)| host.register(*address, 0));
    row.flows.iter().for_each(|(peer, protocol, _)| host.register_flow(*peer, *protocol, 0));
}

fn check_in_the_kernel(row: &Row, policy: &Policy, kernel: &mut Loaded) {
    let now_ns = last_tick_ns();
    row.bans.iter().for_each(|(address, end)| kernel.ban(*address, end.after(now_ns)));
    row.registered.iter().for_each(|(address, end)| kernel.register(*address, end.after(now_ns)));
    for (peer, protocol, end) in &row.flows {
        kernel.register_flow(*peer, *protocol, end.after(now_ns));
    }
    row.opened.iter().for_each(|address| kernel.open_lane(*address));
    // What another row left behind.
    kernel.forget_fragments();
    let taken: Vec<_> = row.frames().filter(|(frame, _)| kernel.takes(frame)).collect();
    for (frame, reason) in taken {
        let expected = Ok((*reason, action(policy.mode, *reason)));
        assert_eq!(kernel.judge(frame), expected, "by the kernel: {}", row.describe(frame));
    }
    for (address, _) in &row.bans {
        assert!(kernel.datapath.unban(*address).unwrap());
    }
    kernel.forget_registrations();
}

impl Row {
    fn frames(&self) -> impl Iterator<Item = (&Vec<u8>, &Reason)> {
        let before = self.before.iter().map(|(frame, reason)| (frame, reason));
        before.chain([(&self.frame, &self.reason)])
    }

    fn describe(&self, frame: &[u8]) -> String {
        let hex: String = frame.iter().take(200).map(|byte| format!("{byte:02x}")).collect();
        let which = if *frame == *self.frame { "" } else { " (a frame before it)" };
        format!("{}{which}\n{hex} ({} bytes)", self.name, frame.len())
    }
}

/// What the program is to return.
pub(crate) fn action(mode: Mode, reason: Reason) -> u32 {
    match (reason.verdict(), mode) {
        (Verdict::Drop, Mode::Enforce) => XDP_DROP,
        _ => XDP_PASS,
    }
}

/// The same expectation for both families.
fn both(name: &str, make: impl Fn(Family) -> Packet, reason: Reason) -> Vec<Row> {
    let named = FAMILIES.iter().map(|of| (of, of(Peer("IPv4", "IPv6"))));
    named.map(|(of, family)| row(format!("{name}, {family}"), make(*of), reason)).collect()
}
