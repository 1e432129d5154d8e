//! Rows for what replies, reports and time do to the kernel's table, which is played by [`World::addresses`].

mod failing;
mod properties;
mod refusing;
mod registering;
mod reporting;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::Path,
    time::{Duration, SystemTime},
};

use super::{settings::Settings, *};
use crate::{
    policy::{Policy, Prove, Rate, TrustScope, file},
    sip::canonical_aor,
};

const NS_PER_S: u64 = 1_000_000_000;
const GRACE_S: u64 = 10;

/// The trust logic, a clock, and what the kernel would hold.
struct World {
    trust: Trust,
    policy: Policy,
    now: Now,
    addresses: BTreeMap<IpAddr, u64>,
    flows: BTreeMap<Flow, u64>,
    trunks: BTreeMap<String, Vec<IpAddr>>,
    /// How many addresses, and how many flows, it takes.
    room: usize,
    /// It takes nothing at all.
    deaf: bool,
    bans: Vec<IpAddr>,
    lanes: Vec<IpAddr>,
    notices: Vec<What>,
    transactions: u32,
}

fn policy() -> Policy {
    let text = r#"
mode = "enforce"
admin = ["192.0.2.1"]

[[listener]]
name = "sip"
kind = "signalling"
transport = "udp"
ports = [5060]

[allow]
sources = ["192.0.2.2"]

[[trunk]]
name = "provider"
allow = ["203.0.113.0/24"]
listeners = ["sip"]

[[trunk]]
name = "anywhere"
allow = ["192.0.2.3"]
listeners = ["sip"]
"#;
    let mut policy =
        file::parse(Path::new("test.toml"), text).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"));
    policy.trunks[0].registrations = vec!["Provider@pbx.example".to_owned()];
    policy.trunks[1].registrations = vec!["anywhere".to_owned()];
    policy.trunks[1].allow.clear();
    let rate = Rate { count: 10, per: Duration::from_secs(10) };
    policy.strangers.prove = Some(Prove {
        drops_scanners: false,
        methods: 0,
        rate,
        burst: 10,
        total_rate: rate,
        failures: 3,
        failures_within: Duration::from_secs(600),
        ban: Duration::from_secs(3600),
        trust: TrustScope::Address,
        grace: Duration::from_secs(GRACE_S),
    });
    policy
}

impl World {
    fn new() -> Self {
        let policy = policy();
        Self {
            trust: Trust::new(Settings::of(&policy)),
            policy,
            now: Now { boot_ns: 1_000 * NS_PER_S, wall: SystemTime::UNIX_EPOCH },
            addresses: BTreeMap::new(),
            flows: BTreeMap::new(),
            trunks: BTreeMap::new(),
            room: usize::MAX,
            deaf: false,
            bans: Vec::new(),
            lanes: Vec::new(),
            notices: Vec::new(),
            transactions: 0,
        }
    }

    /// Does what the kernel would, and returns how many effects there were.
    fn apply(&mut self, effects: Vec<Effect>) -> usize {
        let count = effects.len();
        for effect in effects {
            let is_full = match &effect {
                Effect::Admit { address, .. } => {
                    self.addresses.len() >= self.room && !self.addresses.contains_key(address)
                }
                Effect::AdmitFlow { flow, .. } => {
                    self.flows.len() >= self.room && !self.flows.contains_key(flow)
                }
                _ => false,
            };
            if (self.deaf && !matches!(effect, Effect::Notify(_))) || is_full {
                self.trust.refused(&effect);
                continue;
            }
            match effect {
                Effect::Admit { address, until_ns } => {
                    let before = self.addresses.insert(address, until_ns);
                    assert_ne!(before, Some(until_ns), "nothing changes for {address}");
                }
                Effect::Dismiss { address } => {
                    let before = self.addresses.remove(&address);
                    assert!(before.is_some(), "{address}");
                }
                Effect::AdmitFlow { flow, until_ns } => {
                    self.flows.insert(flow, until_ns);
                }
                Effect::DismissFlow { flow } => {
                    let before = self.flows.remove(&flow);
                    assert!(before.is_some(), "{flow:?}");
                }
                Effect::OpenLane { address } => self.lanes.push(address),
                Effect::Ban { address, .. } => self.bans.push(address),
                Effect::TrunkAt { trunk, addresses } => {
                    let before = self.trunks.insert(trunk, addresses.clone());
                    assert_ne!(before, Some(addresses));
                }
                Effect::Notify(notice) => self.notices.push(notice.what),
            }
        }
        count
    }

    fn pass(&mut self, seconds: u64) {
        self.now.boot_ns += seconds * NS_PER_S;
        self.now.wall += Duration::from_secs(seconds);
        let effects = self.trust.tick(self.now);
        self.apply(effects);
    }

    fn reply(&mut self, to: Flow, reply: &Reply) -> usize {
        let effects = self.trust.reply(&self.policy, to, reply, self.now);
        self.apply(effects)
    }

    /// A 2xx to a new REGISTER for alice, with contacts and their `expires`.
    fn accept(&mut self, to: Flow, contacts: &[(&str, u32)]) -> usize {
        self.accept_for("sip:alice@pbx.example", to, contacts)
    }

    fn accept_for(&mut self, aor: &str, to: Flow, contacts: &[(&str, u32)]) -> usize {
        self.transactions += 1;
        let contacts = contacts
            .iter()
            .map(|(uri, expires)| Contact { uri: (*uri).to_owned(), expires: Some(*expires) })
            .collect();
        let reply = Reply { contacts, ..accepted(aor, self.transactions) };
        self.reply(to, &reply)
    }

    fn report(&mut self, witness: &Witness, report: Report) -> usize {
        let effects = self.trust.report(&self.policy, witness, report, self.now);
        self.apply(effects)
    }

    /// Who is in the kernel's table, and for how many seconds more without grace.
    fn admitted(&self) -> Vec<(String, u64)> {
        let left = |until_ns: u64| ((until_ns - self.now.boot_ns) / NS_PER_S).saturating_sub(GRACE_S);
        self.addresses.iter().map(|(address, until_ns)| (address.to_string(), left(*until_ns))).collect()
    }

    #[track_caller]
    fn check(&self, expected: &[(&str, u64)]) {
        let expected: Vec<(String, u64)> =
            expected.iter().map(|(address, left)| ((*address).to_owned(), *left)).collect();
        assert_eq!(self.admitted(), expected);
        assert_eq!(self.addresses, self.trust.kernel.addresses().collect());
    }
}

fn accepted(aor: &str, transaction: u32) -> Reply {
    Reply {
        status: 200,
        cseq: Some((transaction, "REGISTER".to_owned())),
        call_id: Some("call".to_owned()),
        aor: Some(canonical_aor(aor)),
        whole: true,
        ..Reply::default()
    }
}

fn flow(text: &str) -> Flow {
    let socket: std::net::SocketAddr = text.parse().unwrap();
    Flow { address: socket.ip(), port: socket.port(), transport: SipTransport::Udp }
}

fn x() -> Flow {
    flow("198.51.100.1:5060")
}

fn y() -> Flow {
    flow("198.51.100.2:5060")
}
