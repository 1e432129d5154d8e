//! Random events beside naive models.

use proptest::{collection::vec, prelude::*};

use super::*;

/// A registrar that does what RFC 3261 says, its phones, and what each of them may do.
#[derive(Debug, Clone, Default)]
struct Registrar {
    /// By account and contact: where it really is, and when it ends.
    bindings: BTreeMap<(u8, usize), (Flow, u64)>,
    /// It lists only the contact that the request was about.
    lists_one: bool,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A device, with a contact of its own, registers an account from somewhere.
    Register { account: u8, device: usize, from: u8 },
    /// It takes its contact away, from where it is.
    Leave { account: u8, device: usize },
    /// It takes all contacts away.
    LeaveAll { account: u8, device: usize },
    /// It asks for the list.
    Ask { account: u8, device: usize },
    /// So many seconds pass beside those between two steps.
    Pass { seconds: u64 },
}

/// What each device asks for: always the same, so that a refresh always moves the end.
const LIFETIMES_S: [u64; 4] = [30, 90, 300, 4_000];

fn step() -> impl Strategy<Value = Step> {
    let (account, device, from) = (0..2_u8, 0..LIFETIMES_S.len(), 0..4_u8);
    prop_oneof![
        6 => (account.clone(), device.clone(), from)
            .prop_map(|(account, device, from)| Step::Register { account, device, from }),
        2 => (account.clone(), device.clone()).prop_map(|(account, device)| Step::Leave { account, device }),
        1 => (account.clone(), device.clone()).prop_map(|(account, device)| Step::LeaveAll { account, device }),
        1 => (account, device).prop_map(|(account, device)| Step::Ask { account, device }),
        2 => (1..60_u64).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

/// Where a reply goes to, for which account, and what it lists.
type Answer = (Flow, u8, Vec<(String, u32)>);

impl Registrar {
    /// Does a step and returns the reply to it, and where it goes to.
    fn step(&mut self, step: Step, now_s: u64) -> Option<Answer> {
        self.bindings.retain(|_, (_, ends_s)| *ends_s > now_s);
        let (to, account, about) = match step {
            Step::Register { account, device, from } => {
                // Where only one is listed, devices of one account behind one address cannot be told apart.
                let place = if self.lists_one { from * 10 + u8::try_from(device).unwrap() } else { from };
                let to = flow(&format!("198.51.100.{place}:{}", 5060 + device));
                self.bindings.insert((account, device), (to, now_s + LIFETIMES_S[device]));
                (to, account, Some(device))
            }
            Step::Leave { account, device } => {
                let (to, _) = self.bindings.remove(&(account, device))?;
                (to, account, None)
            }
            Step::LeaveAll { account, device } => {
                let (to, _) = *self.bindings.get(&(account, device))?;
                self.bindings
                    .retain(|(other, _), (at, _)| *other != account || (self.lists_one && *at != to));
                (to, account, None)
            }
            Step::Ask { account, device } if !self.lists_one => {
                (self.bindings.get(&(account, device))?.0, account, None)
            }
            Step::Ask { .. } | Step::Pass { .. } => return None,
        };
        let all = self.bindings.iter().filter(|((other, _), _)| *other == account);
        let seen = all.filter(|((_, device), _)| !self.lists_one || about == Some(*device));
        let left = |ends_s: u64| u32::try_from(ends_s - now_s).unwrap();
        let list = seen
            .map(|((_, device), (_, ends_s))| (format!("sip:{device}@192.168.1.{device}"), left(*ends_s)));
        Some((to, account, list.collect()))
    }
}

/// How often all refresh until what was missed is made good.
const ROUNDS: usize = 3;

/// Three seconds pass between two steps, so that none of them is ambiguous.
const BETWEEN_S: u64 = 3;

proptest! {
    #[test]
    fn the_kernel_lets_in_exactly_the_addresses_at_which_somebody_is_registered(
        steps in vec(step(), 1..60),
    ) {
        let mut world = World::new();
        let mut registrar = Registrar::default();
        for step in steps {
            world.pass(BETWEEN_S);
            if let Step::Pass { seconds } = step {
                world.pass(seconds);
            }
            let now_s = world.now.boot_ns / NS_PER_S;
            let reply = registrar.step(step, now_s);
            if let Some((to, account, list)) = &reply {
                let list: Vec<(&str, u32)> = list.iter().map(|(uri, left)| (uri.as_str(), *left)).collect();
                world.accept_for(&format!("{account}@pbx.example"), *to, &list);
            }
            let mut expected: BTreeMap<IpAddr, u64> = BTreeMap::new();
            for (at, ends_s) in registrar.bindings.values().filter(|(_, ends_s)| *ends_s > now_s) {
                let until_ns = (ends_s + GRACE_S) * NS_PER_S;
                let most = expected.entry(at.address).or_default();
                *most = until_ns.max(*most);
            }
            // Those in their grace are in as well, and nobody keeps the books of them.
            let grace_ns = GRACE_S * NS_PER_S;
            let mut admitted = world.addresses.clone();
            admitted.retain(|address, until_ns| {
                expected.contains_key(address) || *until_ns > world.now.boot_ns + grace_ns
            });
            prop_assert_eq!(admitted, expected, "after {:?}, which was answered {:?}", step, reply);
        }
    }

    #[test]
    fn a_registrar_that_lists_one_contact_has_nobody_cut_off_who_is_registered(
        steps in vec(step(), 1..60),
    ) {
        let mut world = World::new();
        let mut registrar = Registrar { lists_one: true, ..Registrar::default() };
        for step in steps {
            world.pass(BETWEEN_S);
            let now_s = world.now.boot_ns / NS_PER_S;
            let reply = registrar.step(step, now_s);
            if let Some((to, account, list)) = &reply {
                let list: Vec<(&str, u32)> = list.iter().map(|(uri, left)| (uri.as_str(), *left)).collect();
                world.accept_for(&format!("{account}@pbx.example"), *to, &list);
            }
            for (at, ends_s) in registrar.bindings.values().filter(|(_, ends_s)| *ends_s > now_s) {
                let until_ns = world.addresses.get(&at.address).copied().unwrap_or_default();
                prop_assert!(until_ns >= ends_s * NS_PER_S, "{at:?} after {step:?}");
            }
        }
    }

    #[test]
    fn replies_that_were_missed_shut_nobody_out_for_long_and_let_nobody_in_beyond_what_was_granted(
        steps in vec((step(), any::<bool>()), 1..60),
    ) {
        let mut world = World::new();
        let mut registrar = Registrar::default();
        // By account: the latest end that was granted; by address: the accounts that replies to it were about.
        let mut granted: BTreeMap<u8, u64> = BTreeMap::new();
        let mut heard: BTreeMap<IpAddr, Vec<u8>> = BTreeMap::new();
        let mut go = |world: &mut World, registrar: &mut Registrar, step: Step, missed: bool| {
            world.pass(BETWEEN_S);
            let now_s = world.now.boot_ns / NS_PER_S;
            let Some((to, account, list)) = registrar.step(step, now_s) else { return };
            let ends = list.iter().map(|(_, left)| now_s + u64::from(*left));
            let latest = granted.entry(account).or_default();
            *latest = ends.max().unwrap_or_default().max(*latest);
            heard.entry(to.address).or_default().push(account);
            if !missed {
                let list: Vec<(&str, u32)> = list.iter().map(|(uri, left)| (uri.as_str(), *left)).collect();
                world.accept_for(&format!("{account}@pbx.example"), to, &list);
            }
            for (address, until_ns) in &world.addresses {
                let most = heard[address].iter().map(|account| granted[account]).max().unwrap_or_default();
                assert!(*until_ns <= (most + GRACE_S) * NS_PER_S, "{address} beyond what was granted");
            }
        };
        for (step, missed) in steps {
            go(&mut world, &mut registrar, step, missed);
        }
        // Whoever is registered refreshes, and is seen to, a few times.
        for _ in 0..ROUNDS {
            for ((account, device), (to, _)) in registrar.bindings.clone() {
                let from = to.address.to_string().rsplit('.').next().unwrap().parse().unwrap();
                go(&mut world, &mut registrar, Step::Register { account, device, from }, false);
            }
        }
        let now_s = world.now.boot_ns / NS_PER_S;
        for (at, ends_s) in registrar.bindings.values().filter(|(_, ends_s)| *ends_s > now_s) {
            let until_ns = world.addresses.get(&at.address).copied().unwrap_or_default();
            prop_assert!(until_ns >= ends_s * NS_PER_S, "{:?} is shut out", at);
        }
    }

    #[test]
    fn what_reports_say_is_what_the_kernel_holds(
        events in vec((0..3_u8, 0..5_u8, 0..3_u8, 0..3_u8, 0..4_u8, 0..100_u64), 1..80),
    ) {
        let mut world = World::new();
        // By witness, account and contact: where, and until when.
        let mut model: BTreeMap<(u8, u8, u8), (IpAddr, u64)> = BTreeMap::new();
        for (witness, what, account, contact, place, seconds) in events {
            let from = flow(&format!("198.51.100.{place}:5060"));
            let by = Witness::Pbx(witness.to_string());
            let aor = account.to_string();
            let uri = format!("sip:{contact}@h");
            let lifetime = Duration::from_secs(seconds);
            let binding = Binding { aor: aor.clone(), contact: uri.clone(), flow: from, lifetime };
            let ends_ns = world.now.boot_ns + seconds * NS_PER_S;
            let key = (witness, account, contact);
            match what {
                0 => {
                    world.report(&by, Report::Unregistered { aor, contact: Some(uri), flow: None });
                    model.remove(&key);
                }
                1 => {
                    world.report(&by, Report::Snapshot { bindings: vec![binding], unplaced: vec![] });
                    model.retain(|(other, ..), _| *other != witness);
                    model.insert(key, (from.address, ends_ns));
                }
                2 => world.pass(seconds),
                _ => {
                    world.report(&by, Report::Registered(binding));
                    model.insert(key, (from.address, ends_ns));
                }
            }
            if seconds == 0 && matches!(what, 1 | 3 | 4) {
                model.remove(&key);
            }
            let mut expected: BTreeMap<IpAddr, u64> = BTreeMap::new();
            for (address, ends_ns) in model.values() {
                let until_ns = ends_ns + GRACE_S * NS_PER_S;
                if until_ns > world.now.boot_ns {
                    let most = expected.entry(*address).or_default();
                    *most = until_ns.max(*most);
                }
            }
            prop_assert_eq!(&world.addresses, &expected);
            prop_assert_eq!(&world.addresses, &world.trust.kernel.addresses().collect());
        }
    }

    #[test]
    fn who_is_banned_answered_its_own_challenges_wrongly_as_often_as_that(
        events in vec((0..3_u8, 0..2_u8, 0..6_u8, 0..2_u32, 0..15_u64), 1..120),
    ) {
        let mut world = World::new();
        // Everything that happened, to be gone through from the beginning each time.
        let mut history: Vec<(u8, u8, u8, u32, u64)> = Vec::new();
        for (what, place, nonce, cseq, seconds) in events {
            world.pass(seconds);
            let at = flow(&format!("198.51.100.{place}:5060"));
            let text = nonce.to_string();
            match what {
                0 => world.challenge(at, &text),
                1 => world.answer(at, cseq, &text),
                _ => world.conclude(at, cseq, 401, &[]),
            }
            history.push((what, place, nonce, cseq, world.now.boot_ns / NS_PER_S));
            for place in 0..3 {
                let banned = world.bans.iter().filter(|banned| **banned == IpAddr::from([198, 51, 100, place]));
                prop_assert_eq!(banned.count(), bans_by_history(&history, place), "{:?}", history);
            }
        }
    }
}

/// How often an address is banned by what happened, as the rules are written: slowly.
fn bans_by_history(history: &[(u8, u8, u8, u32, u64)], address: u8) -> usize {
    let (mut failed, mut bans) = (Vec::new(), 0);
    // What it answered: transaction, nonce, when, and whether a reply came to it.
    let mut answers: Vec<(u32, u8, u64, bool)> = Vec::new();
    for (index, &(what, _, nonce, cseq, now_s)) in
        history.iter().enumerate().filter(|(_, event)| event.1 == address)
    {
        answers.retain(|(.., at_s, _)| now_s - at_s <= 300);
        if what == 1 && was_proof(&history[..index], address, nonce, now_s) {
            let again = answers.iter().any(|(number, other, ..)| (*number, *other) == (cseq, nonce));
            answers.extend((!again).then_some((cseq, nonce, now_s, false)));
        }
        let first = answers.iter_mut().find(|(number, .., replied)| *number == cseq && !replied);
        let answered = first.filter(|_| what == 2);
        if let Some((.., replied)) = answered {
            *replied = true;
            failed.retain(|at_s| now_s - at_s <= 600);
            failed.push(now_s);
        }
        if failed.len() >= 3 {
            failed.clear();
            bans += 1;
        }
    }
    bans
}

/// Whether a nonce had been sent to that address within five minutes, and to nobody else since it was last forgotten.
fn was_proof(before: &[(u8, u8, u8, u32, u64)], address: u8, nonce: u8, now_s: u64) -> bool {
    let mut sent: Vec<(u8, u64)> = Vec::new();
    for &(_, to, _, _, at_s) in before.iter().filter(|event| event.0 == 0 && event.2 == nonce) {
        if sent.last().is_some_and(|(_, last_s)| at_s - last_s > 300) {
            sent.clear();
        }
        sent.push((to, at_s));
    }
    let recent = sent.last().is_some_and(|(_, last_s)| now_s - last_s <= 300);
    recent && sent.iter().all(|(to, _)| *to == address)
}
