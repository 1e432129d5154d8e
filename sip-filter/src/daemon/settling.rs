//! From live changes back to tables: what stands before the tables in force costs every stranger a look.
//!
//! Compiles aside, so that whoever asks the daemon meanwhile is answered; what has changed since is compiled once more.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{Daemon, Event, memory};
use crate::policy::tables::{Full, Tables};

/// How long after the last change the tables are compiled anew.
const QUIET: Duration = Duration::from_secs(1);
/// How long after the first one, where they do not stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// What waits to be compiled.
pub(super) struct Settling {
    events: mpsc::Sender<Event>,
    /// When the first and the last change was made that no tables have.
    since: Option<(Instant, Instant)>,
    is_under_way: bool,
}

/// The tables of a policy that was in force when they were begun.
pub(super) struct Compiled {
    generation: u64,
    tables: Result<Tables, Full>,
}

impl Settling {
    pub(super) fn new(events: mpsc::Sender<Event>) -> Self {
        Self { events, since: None, is_under_way: false }
    }

    /// A live change was put before the tables.
    pub(super) fn changed(&mut self) {
        let now = Instant::now();
        let first = self.since.map_or(now, |(first, _)| first);
        self.since = Some((first, now));
    }

    /// The tables in force have everything.
    pub(super) fn settled(&mut self) {
        self.since = None;
    }
}

impl Daemon {
    /// Begins to compile where changes have come to rest.
    pub(super) fn settle_in_time(&mut self) {
        let Some((first, last)) = self.settling.since else { return };
        if self.settling.is_under_way || last.elapsed() < QUIET && first.elapsed() < PATIENCE {
            return;
        }
        self.settling.is_under_way = true;
        let (policy, registered) = (self.policy.clone(), self.registered.clone());
        let generation = self.datapath.generation();
        let events = self.settling.events.clone();
        tokio::task::spawn_blocking(move || {
            let tables = Tables::compile(&policy, &registered);
            // Before the daemon gives memory back, which it does when it has the tables.
            drop((policy, registered));
            let compiled = Compiled { generation, tables };
            // A daemon that has ended needs no tables.
            let _: Result<(), _> = events.blocking_send(Event::Compiled(Box::new(compiled)));
        });
    }

    /// Puts compiled tables in force, if they are still those of the policy in force.
    pub(super) fn settle(&mut self, compiled: Compiled) {
        self.settling.is_under_way = false;
        if compiled.generation != self.datapath.generation() || self.settling.since.is_none() {
            return;
        }
        self.settling.settled();
        let settled = compiled
            .tables
            .map_err(anyhow::Error::from)
            .and_then(|mut tables| Ok(self.datapath.settle(&mut tables)?));
        memory::give_back();
        if let Err(error) = settled {
            // They are in force all the same, only not as cheaply.
            tracing::warn!("live changes stay beside the tables: {error:#}");
        }
    }
}
