//! From live changes back to tables: while any stand before the tables in force, all packets take a longer way.
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
/// How long after tables were refused they are compiled once more.
const RETRY: Duration = Duration::from_secs(60);

/// What waits to be compiled.
pub(super) struct Settling {
    events: mpsc::Sender<Event>,
    /// When the first and the last change was made that no tables have.
    since: Option<(Instant, Instant)>,
    /// Before when they are not compiled again, since they were refused.
    not_before: Option<Instant>,
    is_under_way: bool,
}

/// The tables of a policy that was in force when they were begun.
pub(super) struct Compiled {
    generation: u64,
    tables: Result<Tables, Full>,
}

impl Settling {
    pub(super) fn new(events: mpsc::Sender<Event>) -> Self {
        Self { events, since: None, not_before: None, is_under_way: false }
    }

    /// A live change was put before the tables.
    pub(super) fn changed(&mut self) {
        let now = Instant::now();
        let first = self.since.map_or(now, |(first, _)| first);
        self.since = Some((first, now));
    }

    /// The tables in force have everything.
    pub(super) fn settled(&mut self) {
        (self.since, self.not_before) = (None, None);
    }
}

impl Daemon {
    /// Begins to compile where changes have come to rest.
    pub(super) fn settle_in_time(&mut self) {
        let Some((first, last)) = self.settling.since else { return };
        let is_too_early = self.settling.not_before.is_some_and(|time| Instant::now() < time);
        let is_restless = last.elapsed() < QUIET && first.elapsed() < PATIENCE;
        if self.settling.is_under_way || is_too_early || is_restless {
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
        self.settle_by(compiled.tables);
    }

    /// Puts into the tables what has not been settled yet, for a kernel that goes on by itself.
    pub(super) fn settle_at_last(&mut self) {
        if self.settling.since.is_some() {
            self.settle_by(Tables::compile(&self.policy, &self.registered));
        }
    }

    fn settle_by(&mut self, tables: Result<Tables, Full>) {
        let settled = tables
            .map_err(anyhow::Error::from)
            .and_then(|mut tables| Ok(self.datapath.settle(&mut tables)?));
        memory::give_back();
        match settled {
            Ok(_) => self.settling.settled(),
            Err(error) => {
                // They are in force all the same, only not as cheaply.
                self.settling.not_before = Some(Instant::now() + RETRY);
                tracing::warn!("live changes stay beside the tables: {error:#}");
            }
        }
    }
}
