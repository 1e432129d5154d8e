//! What was seen on the wire: replies of the SIP server, and strangers' answers to its challenges.

use std::time::Duration;

use super::{
    Effect, Flow, Now, Witness,
    attribution::{Change, Heard, Known, Listed, attribute},
    failures::nanoseconds,
    keeper::{TEXT_MAX, Trust},
    table::{Place, Registration},
};
use crate::policy::Policy;

/// How long a contact stands where a reply does not say (RFC 3261 section 10.2.1.1).
const LIFETIME_DEFAULT: Duration = Duration::from_secs(3600);

/// How long a reply may be sent again (RFC 3261 section 17.2.2, timer J); a phone that has no memory of its numbers may
/// use them once more later.
const AGAIN_NS: u64 = 32_000_000_000;

/// A reply of the SIP server that left on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Its status code.
    pub status: u16,
    /// The number and the method of its CSeq.
    pub cseq: Option<(u32, String)>,
    /// Its Call-ID.
    pub call_id: Option<String>,
    /// What its To header names, canonical: the address of record in a reply to a REGISTER.
    pub aor: Option<String>,
    /// Its contacts.
    pub contacts: Vec<Contact>,
    /// Its Expires header, in seconds.
    pub expires: Option<u32>,
    /// Its challenges.
    pub challenges: Vec<Challenge>,
    /// All of its headers were seen. What was cut off lets in, but takes nothing away.
    pub whole: bool,
}

/// A contact of a reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contact {
    /// As it stands, without angle brackets.
    pub uri: String,
    /// Its `expires` parameter, in seconds.
    pub expires: Option<u32>,
}

/// A Digest challenge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Challenge {
    /// Its nonce.
    pub nonce: String,
    /// The answer was right but for its nonce.
    pub stale: bool,
}

/// A stranger's request with credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// What it asks for.
    pub method: String,
    /// Its Call-ID.
    pub call_id: String,
    /// The number and the method of its CSeq.
    pub cseq: (u32, String),
    /// What may be the nonce of a challenge that it answers, by one server or another.
    pub nonces: Vec<String>,
    /// Its credentials as they stand: a request that is sent again has the same.
    pub credentials: Vec<String>,
}

impl Trust {
    /// Takes a reply of the SIP server that left on the wire. The policy is asked only who is never banned.
    pub fn reply(&mut self, policy: &Policy, to: Flow, reply: &Reply, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let to = Flow { address: to.address.to_canonical(), ..to };
        if self.settings.on {
            self.conclude(policy, to, reply, now, &mut effects);
            self.learn(to, reply, now, &mut effects);
            // After it was judged as an answer: a stale or wrong answer's reply carries the next challenge.
            for challenge in reply.challenges.iter().filter(|_| matches!(reply.status, 401 | 407)) {
                let call_id = reply.call_id.as_deref().unwrap_or_default();
                self.failures.challenge(to.address, &challenge.nonce, call_id, now.boot_ns);
            }
        }
        self.settle(now, &mut effects);
        effects
    }

    /// Takes a stranger's request that carries credentials, before the reply to it.
    pub fn request(&mut self, from: Flow, request: &Request, now: Now) {
        self.failures.answer(from.address.to_canonical(), request, now.boot_ns);
    }

    /// Whether a request answers a challenge that was sent to where it comes from: its address is proved.
    pub fn is_proof(&self, from: Flow, request: &Request, now: Now) -> bool {
        self.failures.is_answer(from.address.to_canonical(), request, now.boot_ns)
    }

    /// What a final reply says about an answer to a challenge.
    fn conclude(&mut self, policy: &Policy, to: Flow, reply: &Reply, now: Now, effects: &mut Vec<Effect>) {
        let (Some(cseq), Some(call_id)) = (&reply.cseq, &reply.call_id) else {
            return;
        };
        let transaction = self.failures.transaction(call_id, cseq);
        if reply.status < 200 {
            return;
        }
        let Some(concluded) = self.failures.conclude(to.address, transaction, now.boot_ns) else {
            return;
        };
        let stale = reply.challenges.iter().any(|challenge| challenge.stale);
        match reply.status {
            401 | 403 | 407 if !stale => self.fail(policy, to.address, now, effects),
            // Servers answer others, OPTIONS above all, without looking at what credentials say.
            200..=299 if concluded.registers => self.failures.forgive(to.address),
            _ => {}
        }
    }

    /// What a reply says about who is registered.
    fn learn(&mut self, to: Flow, reply: &Reply, now: Now, effects: &mut Vec<Effect>) {
        let registers = reply.cseq.as_ref().filter(|(_, method)| method == "REGISTER");
        let (200..=299, Some(cseq), Some(aor)) = (reply.status, registers, &reply.aor) else {
            return;
        };
        if aor.is_empty() || aor.len() > TEXT_MAX {
            return;
        }
        // A reply that is sent again because it was lost says what was so when it was sent first.
        let call_id = reply.call_id.as_deref().unwrap_or_default();
        let transaction = self.failures.transaction(call_id, cseq);
        let account = self.table.account(aor);
        let lists_one = account.as_ref().is_some_and(|account| account.lists_one);
        let is_again = |(last_to, last, at_ns): (Flow, u64, u64)| {
            (last_to, last) == (to, transaction) && now.boot_ns.saturating_sub(at_ns) < AGAIN_NS
        };
        if account.and_then(|account| account.last_reply).is_some_and(is_again) {
            return;
        }
        let heard = heard(to, reply, lists_one, now);
        let known = self.known(aor);
        let changes = attribute(&heard, &known);
        let lists_one = lists_one_only(&heard, &known, &changes);
        for change in changes {
            self.change(aor, &heard, change, now, effects);
        }
        if let Some(account) = self.table.account(aor) {
            account.last_reply = Some((to, transaction, now.boot_ns));
            account.lists_one = lists_one.unwrap_or(account.lists_one);
        }
    }

    /// The contacts of an address of record that a reply can be about: as the wire showed them, else as a PBX did.
    fn known(&self, aor: &str) -> Vec<Known<'_>> {
        let places = self.table.of(aor);
        let at_place = |place: &Place| self.table.at_place(*place).map(|registration| (*place, registration));
        let of = |wire: bool| {
            let wanted = move |registration: &Registration| match registration.witness {
                Witness::Wire => wire,
                Witness::Pbx(_) => !wire,
                Witness::Operator => false,
            };
            places.iter().filter_map(at_place).filter(move |(_, registration)| wanted(registration))
        };
        let mut known: Vec<Known<'_>> = Vec::new();
        for (place, registration) in of(true).chain(of(false)) {
            let (uri, flow) = (&*registration.contact, registration.flow);
            if !known.iter().any(|known| known.uri == uri && known.flow.address == flow.address) {
                let Registration { stated_ns, refreshed_ns, .. } = *registration;
                known.push(Known { place, uri, flow, stated_ns, refreshed_ns });
            }
        }
        known
    }

    fn change(&mut self, aor: &str, heard: &Heard<'_>, change: Change, now: Now, effects: &mut Vec<Effect>) {
        let registration = |listed: usize, contact: Option<&str>, flow: Flow| {
            let Listed { uri, stated_ns } = heard.listed[listed];
            Registration::new(aor, contact.unwrap_or(uri), flow, Witness::Wire, stated_ns, now.boot_ns)
        };
        match change {
            Change::Take { listed, was } => {
                let before = was.and_then(|place| self.table.at_place(place)).cloned();
                let is_wire = before.as_ref().is_some_and(|before| before.witness == Witness::Wire);
                let moved = before.as_ref().filter(|before| before.flow.address != heard.to.address);
                if let Some(before) = moved {
                    self.remove_shadows(before, was);
                }
                // A PBX's own word stays its own, but where the contact has left for another address.
                let was = was.filter(|_| is_wire || moved.is_some());
                self.put(registration(listed, None, heard.to), was, now, effects);
            }
            Change::Join { listed } => {
                self.put(registration(listed, Some(""), heard.to), None, now, effects);
            }
            Change::Renew { listed, place } => {
                let before = self.table.at_place(place).filter(|before| before.witness == Witness::Wire);
                if let Some(flow) = before.map(|before| before.flow) {
                    self.put(registration(listed, None, flow), Some(place), now, effects);
                }
            }
            Change::Remove { place } => {
                if let Some(removed) = self.remove(place) {
                    self.remove_shadows(&removed, None);
                }
            }
        }
    }

    /// Removes what PBXs say about the same contact at the same address, since it has left.
    fn remove_shadows(&mut self, gone: &Registration, but: Option<Place>) {
        for place in self.table.of(&gone.aor) {
            let is_shadow = self.table.at_place(place).is_some_and(|other| {
                matches!(other.witness, Witness::Pbx(_))
                    && other.contact == gone.contact
                    && other.flow.address == gone.flow.address
            });
            if is_shadow && Some(place) != but {
                self.remove(place);
            }
        }
    }
}

fn heard<'a>(to: Flow, reply: &'a Reply, lists_one: bool, now: Now) -> Heard<'a> {
    let mut heard = Heard {
        to,
        now_ns: now.boot_ns,
        listed: Vec::new(),
        ended: Vec::new(),
        whole: reply.whole,
        lists_one,
    };
    let named = reply.contacts.iter().filter(|contact| contact.uri.len() <= TEXT_MAX && contact.uri != "*");
    for Contact { uri, expires } in named {
        let seconds = expires.or(reply.expires).map(|seconds| Duration::from_secs(seconds.into()));
        let lifetime = seconds.unwrap_or(LIFETIME_DEFAULT);
        if lifetime.is_zero() {
            heard.ended.push(uri);
        } else {
            let stated_ns = now.boot_ns.saturating_add(nanoseconds(lifetime));
            heard.listed.push(Listed { uri, stated_ns });
        }
    }
    heard
}

/// Whether this server leaves others' contacts out, where the reply shows it.
fn lists_one_only(heard: &Heard<'_>, known: &[Known<'_>], changes: &[Change]) -> Option<bool> {
    let is_taken = |known: &Known<'_>| {
        let own = |change: &Change| matches!(change, Change::Take { was, .. } if *was == Some(known.place));
        changes.iter().any(own)
    };
    let is_other = |known: &&Known<'_>| {
        // One that ends about now may be left out by any server.
        let stands =
            known.stated_ns.saturating_sub(heard.now_ns) > nanoseconds(super::attribution::TOLERANCE);
        known.flow.address != heard.to.address && !known.uri.is_empty() && stands && !is_taken(known)
    };
    let is_listed = |known: &Known<'_>| heard.listed.iter().any(|listed| listed.uri == known.uri);
    let mut others = known.iter().filter(is_other).peekable();
    others.peek()?;
    (!heard.listed.is_empty() && heard.whole).then(|| !others.any(is_listed))
}
