//! The tables of the pipeline in ordinary collections: what `replay` and tests judge by.
//!
//! Answers as the kernel's maps would for the same contents; knows neither the kernel nor a real clock.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use sip_filter_common::lane::{self, Datagram, Payload};
use sip_filter_common::maps::{
    Blocks4, FRAGMENT_LIFETIME_NS, FRAGMENTS_MAX, Filter6, FlowKey, Known, LANE_TOTALS, LINE_WORDS, Lane,
    Regions4, SIGHTING_TEXT_LEN, SightingKind, SourceIndex, TextMarks, UNITS_PER_REQUEST,
};
use sip_filter_common::text;
use sip_filter_common::{
    Address, Class, FragmentDecision, FragmentKey, Frame, Lines, PolicyIndex, Reason, Tables,
};

use crate::policy;

/// One policy in force, with the peers, the clock and the followed datagrams beside it.
///
/// The clock stands still, at 0 to begin with, until [`set_now_ns`](Self::set_now_ns) moves it.
#[derive(Debug)]
pub struct HostTables {
    index: Box<PolicyIndex>,
    blocks4: Box<Blocks4>,
    filter6: Box<Filter6>,
    lines: Vec<[u64; LINE_WORDS]>,
    local_addresses: HashMap<IpAddr, u64>,
    peers: HashMap<IpAddr, Known>,
    flows: HashMap<(SocketAddr, u32), u64>,
    lanes: RefCell<HashMap<u32, Lane>>,
    totals: [Cell<u64>; LANE_TOTALS as usize],
    has_connections: bool,
    now_ns: u64,
    fragments: RefCell<Fragments>,
}

impl HostTables {
    /// Puts a compiled policy in force; nobody is banned and no datagram followed.
    pub fn new(tables: policy::tables::Tables) -> Self {
        let policy::tables::Tables { index, blocks4, filter6, lines, local_addresses } = tables;
        Self {
            index,
            blocks4,
            filter6,
            lines,
            local_addresses: local_addresses.into_iter().collect(),
            peers: HashMap::new(),
            flows: HashMap::new(),
            lanes: RefCell::default(),
            totals: Default::default(),
            has_connections: true,
            now_ns: 0,
            fragments: RefCell::default(),
        }
    }

    /// Moves the clock, forwards or backwards.
    pub fn set_now_ns(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Bans an address until the clock shows `until_ns`; replaces the ban there is.
    pub fn ban(&mut self, address: IpAddr, until_ns: u64) {
        self.peer_mut(address).banned_until_ns = until_ns;
    }

    /// Lifts the ban on an address; whether there was one.
    pub fn unban(&mut self, address: IpAddr) -> bool {
        std::mem::take(&mut self.peer_mut(address).banned_until_ns) != 0
    }

    /// Lets an address in by a registration until the clock shows `until_ns`; 0: not any more.
    pub fn register(&mut self, address: IpAddr, until_ns: u64) {
        self.peer_mut(address).registered_until_ns = until_ns;
    }

    /// Lets a flow of this IP protocol in by a registration until the clock shows `until_ns`.
    pub fn register_flow(&mut self, peer: SocketAddr, protocol: u8, until_ns: u64) {
        self.flows.insert((peer, protocol.into()), until_ns);
    }

    /// Lets a stranger spend more than its own budget, as a challenge does, until the clock shows `until_ns`.
    pub fn open_lane(&mut self, address: IpAddr, until_ns: u64) {
        let source = Address::from(address.to_canonical());
        let lane = Lane { open_until_ns: until_ns, ..self.lane(&source) };
        self.lanes.borrow_mut().insert(Lane::place(&source, 1), lane);
    }

    /// Whether a stranger's segments of TCP count as those of a connection, which a capture does not tell; at first
    /// they do.
    pub fn set_has_connections(&mut self, has_connections: bool) {
        self.has_connections = has_connections;
    }

    fn peer_mut(&mut self, address: IpAddr) -> &mut Known {
        self.peers.entry(address.to_canonical()).or_insert(Known::NOTHING)
    }
}

impl Lines for HostTables {
    fn sources(&self) -> &SourceIndex {
        &self.index.sources
    }

    fn regions4(&self) -> &Regions4 {
        &self.index.regions4
    }

    fn blocks4(&self) -> Option<&Blocks4> {
        Some(&self.blocks4)
    }

    fn filter6(&self) -> Option<&Filter6> {
        Some(&self.filter6)
    }

    fn line(&self, at: u32) -> Option<&[u64; LINE_WORDS]> {
        self.lines.get(at as usize)
    }
}

impl Tables for HostTables {
    fn index(&self) -> &PolicyIndex {
        &self.index
    }

    fn has_changes(&self) -> bool {
        // A policy that changes is compiled anew here.
        false
    }

    fn changed(&self, _source: &Address) -> Option<Class> {
        None
    }

    fn listeners_at(&self, destination: &Address) -> u64 {
        self.local_addresses.get(&IpAddr::from(*destination)).copied().unwrap_or(0)
    }

    fn may_know(&self, source: &Address) -> bool {
        !self.peer(source).is_nothing()
    }

    fn peer(&self, source: &Address) -> Known {
        self.peers.get(&IpAddr::from(*source)).copied().unwrap_or(Known::NOTHING)
    }

    fn has_flow(&self, flow: &FlowKey) -> bool {
        let peer = SocketAddr::new(flow.address.into(), u16::try_from(flow.port).unwrap_or(0));
        self.flows.get(&(peer, flow.protocol)).is_some_and(|until_ns| *until_ns > self.now_ns)
    }

    fn lane(&self, source: &Address) -> Lane {
        let lanes = self.lanes.borrow();
        lanes.get(&Lane::place(source, 1)).copied().unwrap_or(Lane { spent_until_ns: 0, open_until_ns: 0 })
    }

    fn spend(&self, source: &Address, spent_until_ns: u64) {
        let lane = Lane { spent_until_ns, ..self.lane(source) };
        self.lanes.borrow_mut().insert(Lane::place(source, 1), lane);
    }

    fn may_be_challenged(&self, source: &Address) -> bool {
        self.lane(source).open_until_ns > self.now_ns
    }

    fn budget_ns(&self) -> u64 {
        self.now_ns
    }

    fn has_room(&self, is_challenged: bool, now_ns: u64) -> bool {
        let spent_until_ns = self.totals[usize::from(is_challenged)].get();
        let total = &self.index.lane.total;
        total.spend(UNITS_PER_REQUEST, UNITS_PER_REQUEST, spent_until_ns, now_ns).is_some()
    }

    fn spend_total(&self, is_challenged: bool, units: u64, now_ns: u64) -> bool {
        let total = &self.totals[usize::from(is_challenged)];
        let Some(spent) = self.index.lane.total.spend(units, UNITS_PER_REQUEST, total.get(), now_ns) else {
            return false;
        };
        total.set(spent.until_ns(total.get()));
        true
    }

    fn charge(&self, source: &Address, units: u64) -> bool {
        lane::charge(source, units, self)
    }

    fn tell<F: Frame + ?Sized>(&self, _: SightingKind, _: &F, _: &Datagram, _: Payload) {
        // Nobody is to be told.
    }

    fn has_connection<F: Frame + ?Sized>(&self, _: &F, _: &Datagram) -> bool {
        self.has_connections
    }

    fn read_text<F: Frame + ?Sized>(&self, frame: &F, payload: Payload) -> TextMarks {
        let mut text = [0; SIGHTING_TEXT_LEN];
        let len = payload.len.min(SIGHTING_TEXT_LEN);
        for (at, byte) in text[..len].iter_mut().enumerate() {
            // As the kernel does: a message that is not all there is not looked at.
            let Some([read]) = frame.read(payload.at + at) else { return TextMarks::NONE };
            *byte = read;
        }
        text::look_alone(&text, len)
    }

    fn report<F: Frame + ?Sized>(&self, _: SightingKind, _: &F, _: &Datagram, _: &Address) {
        // Nobody is to be told.
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn followed(&self, datagram: &FragmentKey) -> Option<Reason> {
        self.fragments.borrow().followed(datagram, self.now_ns)
    }

    fn follow(&self, datagram: &FragmentKey, reason: Option<Reason>) {
        let until_ns = self.now_ns.saturating_add(FRAGMENT_LIFETIME_NS);
        let decision = reason.map(|reason| FragmentDecision { until_ns, reason: reason as u64 });
        self.fragments.borrow_mut().follow(datagram, decision.as_ref(), self.now_ns);
    }
}

/// A [`FragmentKey`] as the kernel's hash table sees it.
type KeyBytes = [u8; size_of::<FragmentKey>()];

/// What was decided for first fragments; full, it gives up the decision that ends first.
#[derive(Debug, Default)]
struct Fragments {
    decisions: HashMap<KeyBytes, FragmentDecision>,
    /// Every decision once, by its end.
    ends: BTreeSet<(u64, KeyBytes)>,
}

impl Fragments {
    fn followed(&self, datagram: &FragmentKey, now_ns: u64) -> Option<Reason> {
        let decision = self.decisions.get(&bytemuck::cast::<_, KeyBytes>(*datagram))?;
        let reason = u32::try_from(decision.reason).ok()?;
        if decision.until_ns > now_ns { Reason::from_index(reason) } else { None }
    }

    fn follow(&mut self, datagram: &FragmentKey, decision: Option<&FragmentDecision>, now_ns: u64) {
        let key: KeyBytes = bytemuck::cast(*datagram);
        if let Some(former) = self.decisions.remove(&key) {
            self.ends.remove(&(former.until_ns, key));
        }
        let Some(decision) = decision else { return };
        while let Some((until_ns, _)) = self.ends.first()
            && (*until_ns <= now_ns || self.ends.len() >= FRAGMENTS_MAX as usize)
        {
            if let Some((_, ended)) = self.ends.pop_first() {
                self.decisions.remove(&ended);
            }
        }
        self.decisions.insert(key, *decision);
        self.ends.insert((decision.until_ns, key));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sip_filter_common::{maps::FRAGMENT_LIFETIME_NS, sources};

    use super::*;

    const POLICY: &str = r#"
[[listener]]
name = "sip"
kind = "signalling"
transport = "udp"
ports = [5060]
addresses = ["192.0.2.1", "2001:db8::1"]

[deny]
sources = ["::/0", "10.0.0.0/8", "10.1.2.3"]

[allow]
sources = ["10.1.0.0/16", "0.0.0.0/0"]
"#;

    fn tables() -> HostTables {
        let policy = policy::file::parse(Path::new("test.toml"), POLICY).unwrap();
        HostTables::new(
            policy::tables::Tables::compile(&policy, &policy::registered::RegisteredTrunks::default())
                .unwrap(),
        )
    }

    fn address(text: &str) -> Address {
        Address::from(text.parse::<IpAddr>().unwrap())
    }

    fn datagram(identification: u32) -> FragmentKey {
        FragmentKey {
            source: address("10.0.0.1"),
            destination: address("192.0.2.1"),
            identification,
            protocol: 17,
        }
    }

    fn pass_until(until_ns: u64) -> FragmentDecision {
        FragmentDecision { until_ns, reason: Reason::Trunk as u64 }
    }

    #[test]
    fn the_longest_prefix_of_the_family_gives_the_class() {
        let tables = tables();
        let denied = sip_filter_common::Class::DENIED;
        let check = |source: &str, flags: u64, allow: u64| {
            let source = address(source);
            let number = match source.ipv4_bytes() {
                Some(source) => sources::ipv4::class_number(&tables, source.into()),
                None => sources::ipv6::class_number(&tables, &source),
            };
            let class = tables.index().classes[number as usize].class;
            assert_eq!((class.flags, class.allow), (flags, allow), "{source:?}");
            // The packet path knows two of them by their numbers.
            let is_known = |known, is: bool| assert_eq!(number == known, is, "{source:?}: {number}");
            is_known(sources::DENIED, flags == denied);
            is_known(sources::NOBODY, (flags, allow) == (0, 0));
        };
        check("192.0.2.7", 0, 1);
        check("10.0.0.1", denied, 0);
        check("10.1.2.3", denied, 0);
        check("2001:db8::7", denied, 0);
        check("::ffff:192.0.2.7", 0, 1);
    }

    #[test]
    fn listeners_and_bans_are_found_by_either_form_of_an_address() {
        let mut tables = tables();
        assert_eq!(tables.listeners_at(&address("192.0.2.1")), 1);
        assert_eq!(tables.listeners_at(&address("2001:db8::1")), 1);
        assert_eq!(tables.listeners_at(&address("192.0.2.2")), 0);
        tables.ban("::ffff:10.0.0.1".parse().unwrap(), 5);
        assert_eq!(tables.peer(&address("10.0.0.1")).banned_until_ns, 5);
        assert!(tables.unban("10.0.0.1".parse().unwrap()));
        assert_eq!(tables.peer(&address("10.0.0.1")).banned_until_ns, 0);
    }

    fn follow(tables: &HostTables, identification: u32, decision: Option<&FragmentDecision>) {
        tables.fragments.borrow_mut().follow(&datagram(identification), decision, tables.now_ns);
    }

    #[test]
    fn a_decision_is_followed_until_it_ends_or_is_taken_back() {
        let mut tables = tables();
        follow(&tables, 1, Some(&pass_until(10)));
        assert_eq!(tables.followed(&datagram(1)), Some(Reason::Trunk));
        assert_eq!(tables.followed(&datagram(2)), None);
        tables.set_now_ns(10);
        assert_eq!(tables.followed(&datagram(1)), None);
        follow(&tables, 1, Some(&pass_until(20)));
        assert_eq!(tables.followed(&datagram(1)), Some(Reason::Trunk));
        follow(&tables, 1, None);
        assert_eq!(tables.followed(&datagram(1)), None);
    }

    #[test]
    fn decisions_take_bounded_room() {
        let mut tables = tables();
        for identification in 0..FRAGMENTS_MAX + 10 {
            let until_ns = FRAGMENT_LIFETIME_NS + u64::from(identification);
            follow(&tables, identification, Some(&pass_until(until_ns)));
            follow(&tables, identification, Some(&pass_until(until_ns)));
        }
        let taken = |tables: &HostTables| {
            let fragments = tables.fragments.borrow();
            (fragments.decisions.len(), fragments.ends.len())
        };
        let max = FRAGMENTS_MAX as usize;
        assert_eq!(taken(&tables), (max, max));
        assert_eq!(tables.followed(&datagram(9)), None, "the one that ends first is given up");
        assert_eq!(tables.followed(&datagram(10)), Some(Reason::Trunk));
        tables.set_now_ns(FRAGMENT_LIFETIME_NS * 2);
        follow(&tables, 0, Some(&pass_until(u64::MAX)));
        assert_eq!(taken(&tables), (1, 1));
    }
}
