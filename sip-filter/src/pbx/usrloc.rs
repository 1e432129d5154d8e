//! What Kamailio and OpenSIPS have in common: a location table that is dumped and looked up by JSON-RPC, and datagrams
//! that say whose row changed.
//!
//! A datagram is only a reason to look: it is never believed, so that who forges one gains a look-up.

mod contact;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};
use tokio::time::{Instant, sleep_until};

pub(super) use self::contact::{Names, list, row};

use super::Fault;
use super::ledger::{Ledger, Row, Scope};
use super::link::Outlet;
use super::rpc::{Objection, Rpc};
use crate::policy::Pbx;

/// How often the server is asked whether it is still the one that we know.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How often the whole table is compared, so that a lost datagram does no lasting harm.
const DUMP_INTERVAL: Duration = Duration::from_secs(60);
/// Dumping is to take no more than this part of the time, whatever was heard.
const DUMP_SHARE: u32 = 20;
/// Changes that come together are looked at together.
const SETTLING: Duration = Duration::from_millis(50);
/// Beyond so many look-ups for what changed together, everything is asked for instead.
const LOOKUPS_MAX: usize = 64;
/// How both servers begin to say that an address of record is not there, or has no contact any more.
const NOBODY: [&str; 2] = ["AOR not found", "AOR has no contact"];
/// More than any event of these servers, which the rest of a longer one is cut off from.
const EVENT_BYTES_MAX: usize = 64 * 1024;

/// What differs between the servers.
pub(super) trait Dialect {
    /// Everything that is registered.
    async fn dump(&mut self, rpc: &mut Rpc) -> Result<Listing, Fault>;
    /// One address of record's contacts in a table.
    async fn lookup(&mut self, rpc: &mut Rpc, table: &str, aor: &str) -> Result<Found, Fault>;
    /// Has events sent there, anew each time; what is missing for it, if anything is.
    async fn subscribe(&mut self, rpc: &mut Rpc, to: SocketAddr) -> Result<Option<&'static str>, Fault>;
    /// Whose row an event is about.
    fn event(&self, datagram: &[u8]) -> Option<String>;
}

/// Everything that a server has.
pub(super) struct Listing {
    /// The names of its tables, the empty ones too.
    pub(super) tables: Vec<String>,
    pub(super) rows: Vec<Row>,
}

/// What a look-up came to.
pub(super) enum Found {
    Rows(Vec<Row>),
    /// The server knows the table, and has nobody of that name there.
    Nobody,
    /// It says anything else, which is no word about who is registered.
    Unclear,
}

impl Found {
    /// What an answer means; none: it is no row of a table.
    pub(super) fn of(answer: Result<Option<Vec<Row>>, Objection>) -> Self {
        match answer {
            Ok(rows) => rows.map_or(Found::Unclear, Found::Rows),
            // The code is 500 for this and for anything else, or 404 for this and for a table that is not there.
            Err(objection) if NOBODY.iter().any(|text| objection.message.starts_with(text)) => Found::Nobody,
            Err(objection) => {
                tracing::debug!("a look-up was answered: {} ({})", objection.message, objection.code);
                Found::Unclear
            }
        }
    }
}

/// Follows a server until that ends.
pub(super) async fn session(
    mut dialect: impl Dialect,
    mut rpc: Rpc,
    pbx: &Pbx,
    outlet: &Outlet,
) -> Result<Infallible, Fault> {
    let events = UdpSocket::bind((near(&rpc, pbx).await?, 0)).await.map_err(Fault::Broken)?;
    let to = events.local_addr().map_err(Fault::Broken)?;
    // First, so that nothing happens unseen between the dump and the subscription.
    let missing = dialect.subscribe(&mut rpc, to).await?;
    let now = Instant::now();
    let mut session = Session {
        dialect,
        rpc,
        outlet,
        ledger: Ledger::default(),
        tables: Vec::new(),
        changed: BTreeSet::new(),
        look_at: None,
        dumps: Dumps { at: now, not_before: now },
        keepalive_at: now + KEEPALIVE_INTERVAL,
        to,
    };
    session.dump().await?;
    outlet.complain(missing);
    session.run(events).await
}

/// The address of this host at which the server reaches it.
async fn near(rpc: &Rpc, pbx: &Pbx) -> Result<IpAddr, Fault> {
    if rpc.is_by_datagrams() {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    let unreachable = |source| Fault::Unreachable { address: pbx.address.clone(), source };
    let server = lookup_host(&pbx.address).await.map_err(unreachable)?.next();
    let server = server.ok_or_else(|| unreachable(std::io::ErrorKind::NotFound.into()))?;
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let probe = UdpSocket::bind(any).await.map_err(Fault::Broken)?;
    // Sends nothing: it only has the kernel choose.
    probe.connect(server).await.map_err(unreachable)?;
    Ok(probe.local_addr().map_err(Fault::Broken)?.ip())
}

struct Session<'a, D> {
    dialect: D,
    rpc: Rpc,
    outlet: &'a Outlet,
    ledger: Ledger,
    /// As of the last dump.
    tables: Vec<String>,
    changed: BTreeSet<String>,
    look_at: Option<Instant>,
    dumps: Dumps,
    keepalive_at: Instant,
    to: SocketAddr,
}

impl<D: Dialect> Session<'_, D> {
    async fn run(mut self, events: UdpSocket) -> Result<Infallible, Fault> {
        let mut buffer = vec![0; EVENT_BYTES_MAX];
        loop {
            let look_at = self.look_at.unwrap_or(self.dumps.at);
            let wake = look_at.min(self.dumps.at).min(self.keepalive_at);
            tokio::select! {
                received = events.recv(&mut buffer) => {
                    // A socket error is about one datagram.
                    let length = received.unwrap_or(0);
                    self.hear(&buffer[..length]);
                }
                () = sleep_until(wake) => self.on_time(Instant::now()).await?,
            }
        }
    }

    fn hear(&mut self, datagram: &[u8]) {
        let Some(aor) = self.dialect.event(datagram) else { return };
        self.outlet.count_event();
        let soon = Instant::now() + SETTLING;
        if (self.changed.len() + 1) * self.tables.len().max(1) <= LOOKUPS_MAX {
            self.changed.insert(aor);
            self.look_at.get_or_insert(soon);
        } else {
            self.dumps.bring_forward(soon);
        }
    }

    async fn on_time(&mut self, now: Instant) -> Result<(), Fault> {
        if now >= self.keepalive_at {
            self.keepalive_at = now + KEEPALIVE_INTERVAL;
            self.outlet.complain(self.dialect.subscribe(&mut self.rpc, self.to).await?);
        } else if now >= self.dumps.at {
            self.dump().await?;
        } else {
            self.look_at = None;
            for aor in std::mem::take(&mut self.changed) {
                self.look(&aor).await?;
            }
        }
        Ok(())
    }

    async fn dump(&mut self) -> Result<(), Fault> {
        let began = Instant::now();
        let Listing { tables, rows } = self.dialect.dump(&mut self.rpc).await?;
        let now = Instant::now();
        self.tables = tables;
        self.dumps = Dumps::after(began, now);
        self.look_at = None;
        self.changed.clear();
        self.outlet.listed(&mut self.ledger, rows, now).await
    }

    async fn look(&mut self, aor: &str) -> Result<(), Fault> {
        let Some(rows) = self.look_up(aor).await? else {
            self.dumps.bring_forward(Instant::now());
            return Ok(());
        };
        let now = Instant::now();
        // The server's own word for it where it has a row, which may lack the domain.
        let Some(row) = rows.first() else {
            let user = aor.split('@').next().unwrap_or(aor);
            self.report(Scope::Aor(aor), &[], now).await?;
            return self.report(Scope::Aor(user), &[], now).await;
        };
        let name = row.aor.clone();
        self.report(Scope::Aor(&name), &rows, now).await
    }

    /// What all tables have of an address of record; none where that is not certain.
    async fn look_up(&mut self, aor: &str) -> Result<Option<Vec<Row>>, Fault> {
        let mut rows = Vec::new();
        for table in &self.tables {
            match self.dialect.lookup(&mut self.rpc, table, aor).await? {
                Found::Rows(found) => rows.extend(found),
                Found::Nobody => {}
                Found::Unclear => return Ok(None),
            }
        }
        Ok((!self.tables.is_empty()).then_some(rows))
    }

    async fn report(&mut self, scope: Scope<'_>, rows: &[Row], now: Instant) -> Result<(), Fault> {
        for report in self.ledger.changes(scope, rows, now)? {
            self.outlet.report(report).await?;
        }
        Ok(())
    }
}

/// When the whole table is asked for.
#[derive(Debug, Clone, Copy)]
struct Dumps {
    at: Instant,
    not_before: Instant,
}

impl Dumps {
    /// Behind one that took from `began` to `now`.
    fn after(began: Instant, now: Instant) -> Self {
        let not_before = now + (now - began) * DUMP_SHARE;
        Self { at: not_before.max(now + DUMP_INTERVAL), not_before }
    }

    /// To then, or as soon afterwards as is affordable.
    fn bring_forward(&mut self, to: Instant) {
        self.at = self.at.min(to.max(self.not_before));
    }
}

/// An answer to a dump that is none: to take it for an empty table would take everybody's trust.
pub(super) fn no_dump(asked: &'static str) -> Fault {
    Fault::Foreign { protocol: "JSON-RPC", what: format!("it answers {asked} without a list of domains") }
}

/// Turns an objection into the end of the link.
pub(super) fn unanswered(asked: &'static str, objection: Objection, remedy: &'static str) -> Fault {
    Fault::Unanswered { asked, said: format!("{} ({})", objection.message, objection.code), remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_asked_for_within_its_share_of_the_time_whatever_is_heard() {
        let (began, second) = (Instant::now(), Duration::from_secs(1));
        for (took, heard_after, at_after) in
            [(1, 0, 20), (1, 5, 20), (1, 30, 30), (1, 70, 60), (4, 0, 80), (4, 100, 80)]
        {
            let now = began + took * second;
            let mut dumps = Dumps::after(began, now);
            assert_eq!(dumps.at, now + second * 60.max(took * DUMP_SHARE));
            for _ in 0..2 {
                dumps.bring_forward(now + heard_after * second);
                assert_eq!(dumps.at, now + at_after * second, "{took} {heard_after}");
            }
        }
    }

    #[test]
    fn only_one_objection_says_that_nobody_is_there() {
        for (code, message, says_nobody) in [
            (500, "AOR not found in location table", true),
            (500, "AOR has no contacts", true),
            (404, "AOR has no contact", true),
            (404, "AOR not found", true),
            (404, "Table not found", false),
            (500, "Domain table not found", false),
            (500, "Domain missing in AOR", false),
            (500, "Internal error creating aor struct", false),
            (-32601, "Method not found", false),
        ] {
            let objection = Objection { code, message: message.to_owned() };
            let found = Found::of(Err(objection));
            assert_eq!(matches!(found, Found::Nobody), says_nobody, "{message}");
        }
        assert!(matches!(Found::of(Ok(None)), Found::Unclear));
    }
}
