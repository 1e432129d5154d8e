//! Rows for wrong answers to challenges.

use super::*;
use crate::trust::failures::{ANSWERS_EACH_MAX, CHALLENGES_EACH_MAX, CHALLENGES_MAX, SPIKE};

impl World {
    pub(super) fn challenge(&mut self, to: Flow, nonce: &str) {
        self.challenge_within(to, nonce, "another");
    }

    fn challenge_within(&mut self, to: Flow, nonce: &str, call_id: &str) {
        let challenges = vec![Challenge { nonce: nonce.to_owned(), stale: false }];
        let (cseq, call_id) = (Some((u32::MAX, "INVITE".to_owned())), Some(call_id.to_owned()));
        self.reply(to, &Reply { status: 401, cseq, call_id, challenges, whole: true, ..Reply::default() });
    }

    pub(super) fn answer(&mut self, from: Flow, cseq: u32, nonce: &str) {
        self.try_to(from, "REGISTER", cseq, nonce, "wrong");
    }

    /// A request of a method, with this for a proof.
    fn try_to(&mut self, from: Flow, method: &str, cseq: u32, nonce: &str, response: &str) {
        let request = Request { method: method.to_owned(), ..request(method, cseq, nonce, response) };
        self.trust.request(from, &request, self.now);
    }

    pub(super) fn conclude(&mut self, to: Flow, cseq: u32, status: u16, challenges: &[(&str, bool)]) {
        self.conclude_of("REGISTER", to, cseq, status, challenges);
    }

    fn conclude_of(&mut self, method: &str, to: Flow, cseq: u32, status: u16, challenges: &[(&str, bool)]) {
        let challenges = challenges
            .iter()
            .map(|(nonce, stale)| Challenge { nonce: (*nonce).to_owned(), stale: *stale })
            .collect();
        let cseq = Some((cseq, method.to_owned()));
        let call_id = Some("try".to_owned());
        self.reply(to, &Reply { status, cseq, call_id, challenges, whole: true, ..Reply::default() });
    }

    /// A challenge, a wrong answer to it and the next challenge.
    fn guess(&mut self, from: Flow, cseq: u32) {
        let nonce = format!("{}-{cseq}", from.address);
        self.challenge(from, &nonce);
        self.answer(from, cseq, &nonce);
        self.conclude(from, cseq, 401, &[("next", false)]);
    }
}

fn request(method: &str, cseq: u32, nonce: &str, response: &str) -> Request {
    let (method, call_id) = (method.to_owned(), "try".to_owned());
    let credentials = vec![format!("Digest nonce={nonce}, response={response}")];
    Request { cseq: (cseq, method.clone()), method, call_id, nonces: vec![nonce.to_owned()], credentials }
}

#[test]
fn as_many_wrong_answers_as_allowed_ban() {
    for status in [401, 403, 407] {
        let mut world = World::new();
        for cseq in 1..=3 {
            assert!(world.bans.is_empty());
            let nonce = format!("n{cseq}");
            world.challenge(x(), &nonce);
            world.answer(x(), cseq, &nonce);
            world.conclude(x(), cseq, status, &[]);
        }
        assert_eq!(world.bans, [x().address], "{status}");
    }
}

#[test]
fn who_has_one_address_of_an_ipv6_network_has_all_of_them() {
    let guess_from_three = |world: &mut World| {
        for (cseq, address) in
            (1..).zip(["[2001:db8::1]:5060", "[2001:db8::2]:5060", "[2001:db8::2:0:0:3]:5060"])
        {
            world.guess(flow(address), cseq);
        }
    };
    let mut world = World::new();
    guess_from_three(&mut world);
    assert_eq!(world.bans, ["2001:db8::".parse::<IpAddr>().unwrap()]);
    // Beside somebody who is known, only the last one.
    let mut world = World::new();
    world.accept(flow("[2001:db8::9]:5060"), &[("sip:a@x", 60)]);
    guess_from_three(&mut world);
    assert_eq!(world.bans, ["2001:db8::2:0:0:3".parse::<IpAddr>().unwrap()]);
    let mut world = World::new();
    world.policy.allow.push("2001:db8::/128".parse().unwrap());
    guess_from_three(&mut world);
    assert_eq!(world.bans, ["2001:db8::2:0:0:3".parse::<IpAddr>().unwrap()]);
    // Behind a translator are many networks of IPv4.
    let mut world = World::new();
    for (cseq, host) in (1..=6).zip(0..) {
        world.guess(flow(&format!("[64:ff9b::198.51.100.{}]:5060", host % 3)), cseq);
    }
    assert!(world.bans.is_empty());
    // Another network's count apart.
    let mut world = World::new();
    for (cseq, network) in (1..=6).zip(0..) {
        world.guess(flow(&format!("[2001:db8:0:{}::1]:5060", network % 3)), cseq);
    }
    assert!(world.bans.is_empty());
}

/// Does something twenty times, after which nobody is banned.
#[track_caller]
fn check(what: &str, attempt: &dyn Fn(&mut World, u32)) {
    let mut world = World::new();
    for cseq in 1..=20 {
        attempt(&mut world, cseq);
    }
    assert!(world.bans.is_empty(), "{what}");
}

#[test]
fn a_nonce_that_everybody_gets_counts_where_the_challenge_had_the_same_call_id() {
    let guess_all = |call_id: &str| {
        let mut world = World::new();
        for cseq in 1..=3 {
            world.challenge_within(x(), "n", call_id);
            world.challenge_within(y(), "n", "his");
            world.answer(x(), cseq, "n");
            world.conclude(x(), cseq, 401, &[]);
        }
        world.bans
    };
    assert_eq!(guess_all("try"), [x().address]);
    assert_eq!(guess_all("his"), [] as [IpAddr; 0]);
}

#[test]
fn what_proves_nothing_counts_nothing() {
    check("refused without an answer", &|world, cseq| {
        world.challenge(x(), "n");
        world.conclude(x(), cseq, 403, &[]);
    });
    check("a nonce that was never sent", &|world, cseq| {
        world.answer(x(), cseq, "n");
        world.conclude(x(), cseq, 401, &[]);
    });
    check("a nonce that was sent to somebody else", &|world, cseq| {
        world.challenge(y(), "n");
        world.answer(x(), cseq, "n");
        world.conclude(x(), cseq, 401, &[]);
    });
    check("a nonce that was sent to somebody else too", &|world, cseq| {
        world.challenge(x(), "n");
        world.challenge(y(), "n");
        world.answer(x(), cseq, "n");
        world.conclude(x(), cseq, 401, &[]);
    });
    check("a nonce that was only too old", &|world, cseq| {
        world.challenge(x(), "n");
        world.answer(x(), cseq, "n");
        world.conclude(x(), cseq, 401, &[("m", true)]);
    });
    check("an answer that comes after five minutes", &|world, cseq| {
        world.challenge(x(), "n");
        world.now.boot_ns += 301 * NS_PER_S;
        world.answer(x(), cseq, "n");
        world.conclude(x(), cseq, 401, &[]);
    });
    check("the reply to another request", &|world, cseq| {
        world.challenge(x(), "n");
        world.answer(x(), cseq, "n");
        world.conclude(x(), cseq + 1_000, 401, &[]);
    });
    check("other refusals", &|world, cseq| {
        world.challenge(x(), "n");
        world.answer(x(), cseq, "n");
        world.conclude(x(), cseq, if cseq % 2 == 0 { 404 } else { 503 }, &[]);
    });
    check("a reply that is not final", &|world, cseq| {
        world.challenge(x(), "n");
        world.answer(x(), cseq, "n");
        world.conclude(x(), cseq, 100, &[]);
    });
}

#[test]
fn what_is_too_long_ago_or_made_good_counts_nothing() {
    check("too few within the time", &|world, cseq| {
        world.guess(x(), cseq);
        world.pass(301);
    });
    check("a right one after each two", &|world, cseq| {
        world.guess(x(), 3 * cseq);
        world.guess(x(), 3 * cseq + 1);
        world.challenge(x(), "n");
        world.answer(x(), 3 * cseq + 2, "n");
        world.conclude(x(), 3 * cseq + 2, 200, &[]);
    });
    check("a registration after each two, though it ends", &|world, cseq| {
        world.guess(x(), 2 * cseq);
        world.guess(x(), 2 * cseq + 1);
        world.accept(x(), &[("sip:alice@h", 60)]);
        world.accept(x(), &[]);
    });
    check("the same refusal, sent again and again", &|world, cseq| {
        if cseq <= 1 {
            world.guess(x(), 1);
        }
        world.conclude(x(), 1, 401, &[]);
    });
}

#[test]
fn what_servers_accept_without_looking_at_credentials_makes_nothing_good() {
    let check = |method: &str, cseq_method: &str, banned: bool| {
        let mut world = World::new();
        for cseq in 1..=20 {
            world.guess(x(), 2 * cseq);
            world.challenge(x(), "n");
            let others = request(cseq_method, 2 * cseq + 1, "n", "any");
            let others = Request { method: method.to_owned(), ..others };
            world.trust.request(x(), &others, world.now);
            world.conclude_of(cseq_method, x(), 2 * cseq + 1, 200, &[]);
        }
        assert_eq!(!world.bans.is_empty(), banned, "{method} as {cseq_method}");
    };
    check("OPTIONS", "OPTIONS", true);
    check("INVITE", "INVITE", true);
    check("OPTIONS", "REGISTER", true);
    check("REGISTER", "OPTIONS", true);
    check("REGISTER", "REGISTER", false);
}

#[test]
fn another_methods_reply_with_the_same_number_concludes_nothing() {
    let mut world = World::new();
    for cseq in 1..=3 {
        world.challenge(x(), "n");
        world.answer(x(), cseq, "n");
        world.conclude_of("OPTIONS", x(), cseq, 200, &[]);
        world.conclude(x(), cseq, 401, &[]);
    }
    assert_eq!(world.bans, [x().address]);
}

#[test]
fn guesses_of_one_transaction_count_each_and_one_that_is_sent_again_once() {
    let burst = |responses: &[&str], refusals: usize| {
        let mut world = World::new();
        world.challenge(x(), "n");
        for response in responses {
            world.try_to(x(), "REGISTER", 1, "n", response);
        }
        for _ in 0..refusals {
            world.conclude(x(), 1, 401, &[]);
        }
        world.bans.len()
    };
    assert_eq!(burst(&["a", "b", "c"], 3), 1);
    assert_eq!(burst(&["a", "b", "c"], 2), 0);
    assert_eq!(burst(&["a", "b"], 9), 0);
    assert_eq!(burst(&["a", "a", "b", "a", "b", "a"], 9), 0);
    // No more than are kept, however many there are.
    let many: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(burst(&many, 100), ANSWERS_EACH_MAX / 3);
    // Sent again, for a reply that was lost: refused again, and counted once.
    let mut world = World::new();
    world.challenge(x(), "n");
    for _ in 0..9 {
        world.answer(x(), 1, "n");
        world.conclude(x(), 1, 401, &[]);
    }
    assert!(world.bans.is_empty());
}

#[test]
fn an_answer_that_waits_for_its_reply_while_a_provisional_one_comes_still_counts() {
    let mut world = World::new();
    for cseq in 1..=3 {
        world.challenge(x(), "n");
        world.answer(x(), cseq, "n");
        world.conclude(x(), cseq, 100, &[]);
        world.conclude(x(), cseq, 403, &[]);
    }
    assert_eq!(world.bans, [x().address]);
}

#[test]
fn nobody_is_banned_who_is_registered_or_listed() {
    let check = |from: &str, registers: bool, banned: bool| {
        let mut world = World::new();
        let from = flow(from);
        if registers {
            world.accept(from, &[("sip:alice@h", 60)]);
        }
        for cseq in 1..=9 {
            world.guess(from, cseq);
            world.report(&Witness::Pbx("pbx".to_owned()), Report::Failed(from));
        }
        assert_eq!(!world.bans.is_empty(), banned, "{from:?}");
    };
    check("198.51.100.1:5060", false, true);
    check("198.51.100.1:5060", true, false);
    check("[2001:db8::1]:5060", false, true);
    check("[2001:db8::1]:5060", true, false);
    check("192.0.2.1:5060", false, false);
    check("192.0.2.2:5060", false, false);
    check("203.0.113.77:5060", false, false);
}

#[test]
fn one_wrong_phone_among_a_thousand_behind_one_address_locks_nobody_out() {
    let mut world = World::new();
    for phone in 0..1_000_u16 {
        let from = Flow { port: 10_000 + phone, ..x() };
        world.guess(x(), phone.into());
        world.accept_for(&format!("{phone}@pbx.example"), from, &[("sip:a@192.168.0.1", 60)]);
    }
    assert!(world.bans.is_empty());
    world.check(&[("198.51.100.1", 60)]);
}

#[test]
fn what_a_pbx_reports_counts_and_clears_like_what_is_seen() {
    let pbx = Witness::Pbx("pbx".to_owned());
    let failed = || Report::Failed(x());
    let mut world = World::new();
    world.guess(x(), 1);
    world.report(&pbx, failed());
    world.report(&pbx, Report::Authenticated(x()));
    world.report(&pbx, failed());
    world.guess(x(), 2);
    assert!(world.bans.is_empty());
    world.report(&pbx, failed());
    assert_eq!(world.bans, [x().address]);
}

#[test]
fn nobody_is_banned_where_strangers_may_not_prove_themselves() {
    let mut world = World::new();
    world.policy.strangers.prove = None;
    world.trust.configure(Settings::of(&world.policy), world.now);
    for cseq in 1..=9 {
        world.guess(x(), cseq);
    }
    assert!(world.bans.is_empty());
}

#[test]
fn many_failures_of_all_addresses_are_told_once_a_minute() {
    let mut world = World::new();
    let fail = |world: &mut World, count: u32| {
        for number in 0..count {
            let address = IpAddr::from([198, 51, 100, u8::try_from(number).unwrap()]);
            // The same once more would be a request that is sent again.
            world.transactions += 1;
            world.guess(Flow { address, ..x() }, world.transactions);
        }
    };
    fail(&mut world, SPIKE);
    world.pass(1);
    assert_eq!(world.notices, []);
    fail(&mut world, 1);
    world.pass(1);
    let told = What::FailedRegistrations { count: SPIKE + 1, within: Duration::from_secs(60) };
    assert_eq!(world.notices, [told]);
    fail(&mut world, 2 * SPIKE);
    world.pass(1);
    assert_eq!(world.notices.len(), 1);
    world.pass(58);
    world.pass(1);
    assert_eq!(world.notices.len(), 2);
    world.pass(61);
    assert_eq!(world.notices.len(), 2);
}

#[test]
fn a_million_challenges_to_addresses_that_never_asked_take_bounded_memory() {
    let mut world = World::new();
    const CHALLENGES: u32 = 1_000_000;
    let mut address = 0_u32;
    for number in 0..CHALLENGES {
        // Half of them to one address.
        if number % 2 == 0 {
            address += 1;
        }
        let to = if number % 2 == 0 { IpAddr::from(address.to_be_bytes()) } else { y().address };
        world.trust.failures.challenge(to, &number.to_string(), "c", world.now.boot_ns);
    }
    let [challenges, listed, answers, failing, dialogues] = world.trust.failures.sizes();
    assert!(dialogues <= CHALLENGES_MAX.get());
    assert!(challenges <= CHALLENGES_MAX.get() && challenges == listed, "{challenges} {listed}");
    assert_eq!((answers, failing), (0, 0));
    let own = (0..CHALLENGES).filter(|number| {
        let request = request("REGISTER", *number, &number.to_string(), "wrong");
        let transaction = world.trust.failures.transaction(&request.call_id, &request.cseq);
        world.trust.failures.answer(y().address, &request, world.now.boot_ns);
        world.trust.failures.conclude(y().address, transaction, world.now.boot_ns).is_some()
    });
    assert_eq!(own.count(), CHALLENGES_EACH_MAX);
    world.pass(301);
    assert_eq!(world.trust.failures.sizes(), [0; 5]);
}
