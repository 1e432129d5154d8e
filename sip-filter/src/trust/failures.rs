//! Who answered challenges wrongly, and only what they could not have been made to seem to do.
//!
//! A wrong answer counts where its nonce had been sent to the very address that answers. Some servers give everybody the
//! same nonce within a second (Kamailio does, unless told otherwise), so that a forger who got it too could answer in
//! another's name: such a nonce counts only where the challenge to that address also had the Call-ID of the answer.
//! A forger who makes up the first request as well gets past that; only a nonce that is bound to the address keeps it
//! out altogether.
//! Everything is bounded, the oldest goes first, and what anybody can fill (challenges) is kept apart from what stands
//! proven (failures).

use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    hash::BuildHasher as _,
    net::IpAddr,
    num::NonZeroUsize,
    time::Duration,
};

use lru::LruCache;
use sip_filter_common::Address;

use super::Request;

/// How long a challenge can be answered for the answer to count: as long as servers take a nonce (Kamailio's default).
const NONCE_LIFETIME_NS: u64 = 300 * NS_PER_S;
/// How many challenges are remembered.
pub(super) const CHALLENGES_MAX: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();
/// How many of them for one address.
pub(super) const CHALLENGES_EACH_MAX: usize = 64;
/// How many answers whose outcome is not known yet are remembered.
const ANSWERS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// How many of one transaction; of those that come faster than they are refused, the oldest do not count.
pub(super) const ANSWERS_EACH_MAX: usize = 16;
/// The method whose 2xx is a proof.
const REGISTER: &str = "REGISTER";
/// For how many networks failures are counted.
const FAILING_MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// So many failures of all addresses within [`SPIKE_WITHIN`] are told.
pub(super) const SPIKE: u32 = 20;
/// See [`SPIKE`]; also how long it takes until they are told again.
pub(super) const SPIKE_WITHIN: Duration = Duration::from_secs(60);
const NS_PER_S: u64 = 1_000_000_000;

/// Challenges, answers and failures.
#[derive(Debug)]
pub(super) struct Failures {
    /// Keyed at random, so that nobody can choose texts whose digests are the same.
    hasher: RandomState,
    /// By the nonce's digest, the one sent last at the front.
    challenges: LruCache<u64, Challenge>,
    /// The same, by the address that each was sent to first, the oldest at the front.
    challenged: HashMap<IpAddr, VecDeque<u64>>,
    /// When a challenge was sent, by the digest of address, nonce and Call-ID.
    by_call_id: LruCache<u64, u64>,
    /// Answers to challenges, by who answered and their transaction's digest.
    answers: LruCache<(IpAddr, u64), Answers>,
    /// When somebody of a network failed, within the window that counts.
    failing: LruCache<IpAddr, VecDeque<u64>>,
    /// How many failed in a second of the clock, for the last minute.
    recent: VecDeque<(u64, u32)>,
    told_at_ns: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Challenge {
    address: IpAddr,
    sent_at_ns: u64,
    /// It was sent to others as well.
    shared: bool,
}

/// The answers of one transaction: a cracker may put many into one, and wait for no reply.
#[derive(Debug)]
struct Answers {
    /// The oldest first, no two alike.
    each: VecDeque<Pending>,
    /// All of their requests were REGISTER.
    register: bool,
}

#[derive(Debug)]
struct Pending {
    /// Of all credentials of the request: one that is sent again has the same.
    digest: u64,
    seen_at_ns: u64,
    concluded: bool,
}

/// A final reply was to an answer that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Concluded {
    /// The request was a REGISTER, where a 2xx says that the answer was right.
    pub(super) registers: bool,
}

impl Failures {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            challenges: LruCache::new(CHALLENGES_MAX),
            challenged: HashMap::new(),
            by_call_id: LruCache::new(CHALLENGES_MAX),
            answers: LruCache::new(ANSWERS_MAX),
            failing: LruCache::new(FAILING_MAX),
            recent: VecDeque::new(),
            told_at_ns: None,
        }
    }

    /// A challenge was sent there.
    pub(super) fn challenge(&mut self, to: IpAddr, nonce: &str, call_id: &str, now_ns: u64) {
        self.by_call_id.put(self.hasher.hash_one((to, nonce, call_id)), now_ns);
        let digest = self.hasher.hash_one(nonce);
        if let Some(before) = self.challenges.get_mut(&digest) {
            before.shared |= before.address != to;
            before.sent_at_ns = now_ns;
            return;
        }
        let challenge = Challenge { address: to, sent_at_ns: now_ns, shared: false };
        if let Some((digest, evicted)) = self.challenges.push(digest, challenge) {
            self.unlist(digest, evicted.address);
        }
        let own = self.challenged.entry(to).or_default();
        own.push_back(digest);
        if own.len() > CHALLENGES_EACH_MAX
            && let Some(oldest) = own.pop_front()
        {
            self.challenges.pop(&oldest);
        }
    }

    /// Whether a nonce of theirs is a challenge that was sent to them.
    pub(super) fn is_answer(&self, from: IpAddr, request: &Request, now_ns: u64) -> bool {
        let counts = |nonce: &str| {
            let call_id = request.call_id.as_str();
            let is_recent = |sent_at_ns: &u64| now_ns.saturating_sub(*sent_at_ns) <= NONCE_LIFETIME_NS;
            if self.by_call_id.peek(&self.hasher.hash_one((from, nonce, call_id))).is_some_and(is_recent) {
                return true;
            }
            let challenge = self.challenges.peek(&self.hasher.hash_one(nonce));
            challenge.is_some_and(|challenge| {
                challenge.address == from && !challenge.shared && is_recent(&challenge.sent_at_ns)
            })
        };
        request.nonces.iter().any(|nonce| counts(nonce))
    }

    /// Somebody answered; remembered where that answers a challenge that was sent to them.
    pub(super) fn answer(&mut self, from: IpAddr, request: &Request, now_ns: u64) {
        if !self.is_answer(from, request, now_ns) {
            return;
        }
        let digest = self.hasher.hash_one(&request.credentials);
        let transaction = self.transaction(&request.call_id, &request.cseq);
        let none = || Answers { each: VecDeque::new(), register: true };
        let answers = self.answers.get_or_insert_mut((from, transaction), none);
        answers.register &= request.method == REGISTER && request.cseq.1 == REGISTER;
        answers.each.retain(|pending| now_ns.saturating_sub(pending.seen_at_ns) <= NONCE_LIFETIME_NS);
        // One that is sent again because its reply was lost is the same guess.
        if answers.each.iter().any(|pending| pending.digest == digest) {
            return;
        }
        if answers.each.len() >= ANSWERS_EACH_MAX {
            answers.each.pop_front();
        }
        answers.each.push_back(Pending { digest, seen_at_ns: now_ns, concluded: false });
    }

    /// A final reply went there: which answer it is to, for each answer once.
    ///
    /// Of several in one transaction the oldest is concluded: their replies tell nothing that would tell them apart.
    pub(super) fn conclude(&mut self, to: IpAddr, transaction: u64, now_ns: u64) -> Option<Concluded> {
        let answers = self.answers.peek_mut(&(to, transaction))?;
        let is_open = |pending: &&mut Pending| {
            !pending.concluded && now_ns.saturating_sub(pending.seen_at_ns) <= NONCE_LIFETIME_NS
        };
        answers.each.iter_mut().find(is_open)?.concluded = true;
        Some(Concluded { registers: answers.register })
    }

    /// A digest of what makes a transaction out, for [`answer`](Self::answer) and [`conclude`](Self::conclude).
    ///
    /// Requests of different methods may have one Call-ID and one number.
    pub(super) fn transaction(&self, call_id: &str, (number, method): &(u32, String)) -> u64 {
        self.hasher.hash_one((call_id, number, method))
    }

    /// Counts a failure for the notice of [`spike`](Self::spike).
    pub(super) fn note(&mut self, now_ns: u64) {
        let second = now_ns / NS_PER_S;
        match self.recent.back_mut() {
            Some((last, count)) if *last >= second => *count = count.saturating_add(1),
            _ => self.recent.push_back((second, 1)),
        }
        self.forget_recent(now_ns);
    }

    /// How many failed within [`SPIKE_WITHIN`], where that is to be told now.
    pub(super) fn spike(&mut self, now_ns: u64) -> Option<u32> {
        self.forget_recent(now_ns);
        let count = self.recent.iter().fold(0_u32, |sum, (_, count)| sum.saturating_add(*count));
        let told =
            self.told_at_ns.is_some_and(|told| now_ns.saturating_sub(told) < nanoseconds(SPIKE_WITHIN));
        if count <= SPIKE || told {
            return None;
        }
        self.told_at_ns = Some(now_ns);
        Some(count)
    }

    /// Counts a failure of an address, together with those of its network: true where there were as many as allowed, whose count
    /// begins anew then.
    pub(super) fn fail(&mut self, address: IpAddr, allowed: u32, within: Duration, now_ns: u64) -> bool {
        let network = network_of(address);
        let times = self.failing.get_or_insert_mut(network, VecDeque::new);
        let since_ns = now_ns.saturating_sub(nanoseconds(within));
        times.push_back(now_ns);
        while times.front().is_some_and(|time| *time < since_ns) {
            times.pop_front();
        }
        let reached = u32::try_from(times.len()).unwrap_or(u32::MAX) >= allowed;
        if reached {
            self.failing.pop(&network);
        }
        reached
    }

    /// An address authenticated itself.
    pub(super) fn forgive(&mut self, address: IpAddr) {
        self.failing.pop(&network_of(address));
    }

    /// Forgets what is too old to count.
    pub(super) fn forget(&mut self, within: Duration, now_ns: u64) {
        let is_old = |time_ns: u64, age_ns: u64| now_ns.saturating_sub(time_ns) > age_ns;
        while let Some((_, challenge)) = self.challenges.peek_lru()
            && is_old(challenge.sent_at_ns, NONCE_LIFETIME_NS)
            && let Some((digest, challenge)) = self.challenges.pop_lru()
        {
            self.unlist(digest, challenge.address);
        }
        while self.by_call_id.peek_lru().is_some_and(|(_, time_ns)| is_old(*time_ns, NONCE_LIFETIME_NS)) {
            self.by_call_id.pop_lru();
        }
        let answered =
            |answers: &Answers| answers.each.back().map(|pending| pending.seen_at_ns).unwrap_or_default();
        while self.answers.peek_lru().is_some_and(|(_, answers)| is_old(answered(answers), NONCE_LIFETIME_NS))
        {
            self.answers.pop_lru();
        }
        let last = |times: &VecDeque<u64>| times.back().copied().unwrap_or_default();
        while self.failing.peek_lru().is_some_and(|(_, times)| is_old(last(times), nanoseconds(within))) {
            self.failing.pop_lru();
        }
    }

    fn unlist(&mut self, digest: u64, address: IpAddr) {
        let Some(own) = self.challenged.get_mut(&address) else {
            return;
        };
        own.retain(|other| *other != digest);
        if own.is_empty() {
            self.challenged.remove(&address);
        }
    }

    fn forget_recent(&mut self, now_ns: u64) {
        let since = now_ns.saturating_sub(nanoseconds(SPIKE_WITHIN)) / NS_PER_S;
        while self.recent.front().is_some_and(|(second, _)| *second < since) {
            self.recent.pop_front();
        }
    }

    /// How many challenges, answers and failing addresses are remembered.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 5] {
        let listed = self.challenged.values().map(VecDeque::len).sum();
        let (challenges, by_call_id) = (self.challenges.len(), self.by_call_id.len());
        [challenges, listed, self.answers.len(), self.failing.len(), by_call_id]
    }
}

/// An IPv4 address itself; of an IPv6 address's /64, which whoever has one of its addresses has all of, the first.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    Address::from(address).network().into()
}

/// As the clocks count.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
