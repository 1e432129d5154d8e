//! Random policies and frames: the loaded program, the host's pipeline and a naive model must agree on each.
//!
//! `SIP_FILTER_SEED` repeats a run, `SIP_FILTER_CASES` sets how many policies it has.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use sip_filter::host_tables::HostTables;
use sip_filter::policy::change::ListChange;
use sip_filter::policy::registered::RegisteredTrunks;
use sip_filter::policy::tables::Tables;
use sip_filter::policy::{Policy, file};
use sip_filter_common::{Reason, Tables as _, judge};

use super::loaded::{Clean, Loaded, TICK_NS_MAX, last_tick_ns, may_use_the_kernel, now_ns};
use super::model::Model;
use super::random::{self, Random};
use super::rows::action;

const POLICIES: u64 = 100;
const FRAMES: usize = 1_000;
/// How often a reason occurs among ten thousand frames, at the least.
const SHARE_MIN: u64 = 20;
const HOUR_NS: u64 = 3_600_000_000_000;

/// The reasons that nothing here leads to: no policy of today lets media through pinholes, and limits, which are a
/// matter of time, have rows of their own.
const UNREACHABLE: [Reason; 2] = [Reason::Pinhole, Reason::RateExceeded];

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn kernel_pipeline_and_model_agree_on_random_frames() {
    let mut kernel = may_use_the_kernel("random frames through the loaded program")
        .then(|| Clean::with(&file::parse(Path::new("empty"), "").unwrap()));
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let seed = setting("SIP_FILTER_SEED").unwrap_or(clock.into());
    let policies = setting("SIP_FILTER_CASES").unwrap_or(POLICIES);
    println!("SIP_FILTER_SEED={seed} SIP_FILTER_CASES={policies}");
    let mut counts: BTreeMap<Reason, u64> = BTreeMap::new();
    for number in 0..policies {
        // A policy's frames do not depend on the policies before it.
        let mut random = Random(seed.wrapping_add(number << 32));
        let (text, policy) = sound_policy(&mut random);
        let answers =
            Trial { number, seed, text: &text, policy: &policy }.run(&mut random, kernel.as_deref_mut());
        answers.into_iter().for_each(|reason| *counts.entry(reason).or_default() += 1);
    }
    for &reason in Reason::ALL.iter().filter(|reason| !UNREACHABLE.contains(reason)) {
        let count = counts.get(&reason).copied().unwrap_or(0);
        println!("{:>14} {count}", reason.name());
        // A short run may miss what a long one does not.
        let wanted = if policies < POLICIES { 0 } else { SHARE_MIN * policies * FRAMES as u64 / 10_000 };
        assert!(count >= wanted, "{} occurred {count} times only, of {wanted} wanted", reason.name());
    }
    assert!(counts.keys().all(|reason| !UNREACHABLE.contains(reason)), "{counts:?}");
}

/// A policy that its reader finds free of contradictions.
fn sound_policy(random: &mut Random) -> (String, Policy) {
    loop {
        let text = random::policy(random);
        if let Ok(policy) = file::parse(Path::new("random"), &text) {
            return (text, policy);
        }
    }
}

/// Who is banned or registered, and until when.
struct Peers {
    bans: Vec<(IpAddr, u64)>,
    registered: Vec<(IpAddr, u64)>,
    flows: Vec<(SocketAddr, u8, u64)>,
}

impl Peers {
    fn new(random: &mut Random, now_ns: u64) -> Self {
        let ends = [now_ns + HOUR_NS, now_ns + HOUR_NS, now_ns - TICK_NS_MAX, 1];
        let some = |count_min, random: &mut Random| -> Vec<(IpAddr, u64)> {
            let address = |random: &mut Random| (random::source(random).to_canonical(), random.pick(&ends));
            (0..count_min + random.below(5)).map(|_| address(random)).collect()
        };
        let (mut bans, registered) = (some(2, random), some(4, random));
        // Of whole networks, too.
        for (address, _) in &mut bans {
            if let IpAddr::V6(host) = address
                && random.chance(50)
            {
                *address = Ipv6Addr::from_bits(host.to_bits() >> 64 << 64).into();
            }
        }
        let flows = registered.iter().map(|(address, _)| {
            let (peer, protocol) = random::flow(random, *address);
            (peer, protocol, random.pick(&ends))
        });
        let flows = flows.collect();
        Self { bans, registered, flows }
    }

    fn put_into(&self, kernel: &mut Loaded) {
        self.bans.iter().for_each(|(address, until_ns)| kernel.ban(*address, *until_ns));
        self.registered.iter().for_each(|(address, until_ns)| kernel.register(*address, *until_ns));
        for (peer, protocol, until_ns) in &self.flows {
            kernel.register_flow(*peer, *protocol, *until_ns);
        }
    }

    fn put_beside(&self, host: &mut HostTables, model: &mut Model<'_>) {
        for (address, until_ns) in &self.bans {
            host.ban(*address, *until_ns);
            model.bans.insert(*address, *until_ns);
        }
        for (address, until_ns) in &self.registered {
            host.register(*address, *until_ns);
            model.registered.insert(*address, *until_ns);
        }
        for (peer, protocol, until_ns) in &self.flows {
            host.register_flow(*peer, *protocol, *until_ns);
            model.flows.insert((*peer, *protocol), *until_ns);
        }
    }
}

/// One policy and its frames.
struct Trial<'a> {
    number: u64,
    seed: u64,
    text: &'a str,
    policy: &'a Policy,
}

impl Trial<'_> {
    fn run(&self, random: &mut Random, mut kernel: Option<&mut Loaded>) -> Vec<Reason> {
        let peers = Peers::new(random, last_tick_ns());
        if let Some(kernel) = kernel.as_mut() {
            kernel.apply(self.policy);
            peers.put_into(kernel);
        }
        let mut reasons = self.judge(self.policy, &peers, FRAMES / 2, random, kernel.as_deref_mut());
        // The host compiles what the kernel is told piece by piece.
        let mut policy = self.policy.clone();
        let changes: Vec<ListChange> =
            (0..1 + random.below(4)).map(|_| random::change(random, &policy)).collect();
        for change in &changes {
            let before = policy.clone();
            if policy.change(change).is_err() {
                continue;
            }
            // What the test harness shows of a run that fails.
            println!("policy {}: {change}", self.number);
            if let Some(kernel) = kernel.as_mut() {
                kernel.change(&before, change);
            }
        }
        reasons.extend(self.judge(&policy, &peers, FRAMES / 4, random, kernel.as_deref_mut()));
        if let Some(kernel) = kernel.as_mut() {
            kernel.settle(&policy);
        }
        reasons.extend(self.judge(&policy, &peers, FRAMES / 4, random, kernel));
        reasons
    }

    /// Random frames, judged by a policy that the kernel has already.
    fn judge(
        &self,
        policy: &Policy,
        peers: &Peers,
        frames: usize,
        random: &mut Random,
        mut kernel: Option<&mut Loaded>,
    ) -> Vec<Reason> {
        let mut model = Model::new(policy);
        let now_ns = now_ns();
        model.now_ns = now_ns;
        // One for each way of a frame through the pipeline: that of plain ones, and that of all.
        let [host, odd] = [(); 2].map(|()| {
            let mut host = HostTables::new(Tables::compile(policy, &RegisteredTrunks::default()).unwrap());
            host.set_now_ns(now_ns);
            // The kernel is tried where no connection is.
            host.set_has_connections(false);
            peers.put_beside(&mut host, &mut model);
            host
        });
        if let Some(kernel) = kernel.as_mut() {
            kernel.forget_fragments();
        }
        let mut reasons = Vec::new();
        for _ in 0..frames {
            let frame = random::frame(random, policy);
            let by_model = model.judge(&frame);
            let by_host = [judge(&*frame, &host), odd.rest(&*frame)];
            let by_kernel =
                kernel.as_mut().filter(|kernel| kernel.takes(&frame)).map(|kernel| kernel.judge(&frame));
            let expected = Ok((by_model, action(policy.mode, by_model)));
            if by_host != [by_model; 2] || by_kernel.as_ref().is_some_and(|answer| *answer != expected) {
                self.disagree(&frame, by_model, by_host, &by_kernel, &model);
            }
            reasons.push(by_model);
        }
        reasons
    }

    fn disagree(
        &self,
        frame: &[u8],
        by_model: Reason,
        by_host: [Reason; 2],
        by_kernel: &Option<Result<(Reason, u32), String>>,
        model: &Model<'_>,
    ) -> ! {
        let hex = frame.iter().fold(String::new(), |mut hex, byte| {
            let _: std::fmt::Result = write!(hex, "{byte:02x}");
            hex
        });
        panic!(
            "policy {} of SIP_FILTER_SEED={}:\n{}\nbans: {:?}, registered: {:?}, flows: {:?} at {}\nframe: {hex}\nmodel: {by_model:?}\nhost: {by_host:?}\nkernel: {by_kernel:?}",
            self.number, self.seed, self.text, model.bans, model.registered, model.flows, model.now_ns
        );
    }
}
