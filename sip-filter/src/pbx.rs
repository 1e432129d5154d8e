//! Connectors to PBXs: they ask who is registered, follow what changes, and report it in the words of [`crate::trust`].
//!
//! Where a registration came from is only ever what the PBX itself saw on its socket, never a Contact or a Via.
//! Nothing here decides whom to trust, and nothing that a PBX sends is believed beyond its bounds.
//!
//! While a link is down nothing is reported but [`Report::Lost`]: what was said stands until its own expiry.

mod aside;
mod asterisk;
mod backoff;
mod fault;
mod freeswitch;
mod kamailio;
mod ledger;
mod link;
mod messages;
mod opensips;
mod rpc;
mod sources;
mod usrloc;

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

pub use self::fault::Fault;
pub use self::link::{Link, State};

use self::backoff::Backoff;
use self::link::Outlet;
use crate::policy::{Pbx, PbxKind};
use crate::trust::Report;

/// Starts to follow a PBX, on the current tokio runtime, for as long as the link lives and the reports are received.
///
/// Each report carries the name of its `[[pbx]]`. A PBX that is away is tried again after 1 s, then less and less
/// often, at least once a minute; one that refuses the login once a minute.
pub fn start(pbx: Pbx, reports: mpsc::Sender<(String, Report)>) -> Link {
    let (state, watched) = watch::channel(State::default());
    let outlet = Outlet::new(pbx.name.clone(), reports, state);
    Link::new(tokio::spawn(keep(pbx, outlet)), watched)
}

/// How long to wait with a PBX, and for it: a fifth in tests, which wait by the machine's clock.
const fn patience(seconds: u64) -> Duration {
    Duration::from_millis(seconds * if cfg!(test) { 200 } else { 1_000 })
}

/// How a kind of PBX is followed, with what outlives one connection.
enum Connector {
    Asterisk(asterisk::Asterisk),
    Kamailio,
    Opensips,
    Freeswitch,
}

impl Connector {
    fn new(kind: PbxKind) -> Self {
        match kind {
            PbxKind::Asterisk => Connector::Asterisk(asterisk::Asterisk::default()),
            PbxKind::Kamailio => Connector::Kamailio,
            PbxKind::Opensips => Connector::Opensips,
            PbxKind::Freeswitch => Connector::Freeswitch,
        }
    }

    /// Follows the PBX until that ends, which it always does with a fault.
    async fn session(&mut self, pbx: &Pbx, outlet: &Outlet) -> Fault {
        let ended = match self {
            Connector::Asterisk(asterisk) => asterisk.session(pbx, outlet).await,
            Connector::Kamailio => kamailio::session(pbx, outlet).await,
            Connector::Opensips => opensips::session(pbx, outlet).await,
            Connector::Freeswitch => freeswitch::session(pbx, outlet).await,
        };
        match ended {
            Ok(never) => match never {},
            Err(fault) => fault,
        }
    }
}

async fn keep(pbx: Pbx, outlet: Outlet) {
    let mut connector = Connector::new(pbx.kind);
    let mut backoff = Backoff::default();
    loop {
        let began = Instant::now();
        let fault = connector.session(&pbx, &outlet).await;
        if matches!(fault, Fault::Unwanted) {
            return;
        }
        if outlet.is_connected() && outlet.report(Report::Lost).await.is_err() {
            return;
        }
        // One that breaks as soon as it stands is no better than none.
        if began.elapsed() >= backoff::LONGEST {
            backoff = Backoff::default();
        }
        let pause = backoff.next(fault.is_refusal());
        tracing::warn!("pbx {}: {}; next try in {:.0} s", pbx.name, fault.with_causes(), pause.as_secs_f64());
        outlet.disconnected(&fault);
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests;
