//! The daemon: one loop over one enum of events, around the policy in force.
//!
//! Owns the datapath. Everything that can change what the kernel does comes through `Event`.

mod banning;
mod listing;
mod memory;
mod operator;
mod registered;
mod requests;
mod save;
mod settling;
mod start;
mod trusting;
mod watching;

pub use start::{NoInterface, Unreadable, read};

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tracing_appender::non_blocking::ErrorCounter;

use crate::{
    control::{Request, Response, server},
    datapath::{AttachMode, Datapath, Seen, is_in_own_mount_namespace},
    interfaces::{Interface, Interfaces},
    policy::{OnExit, Policy, change::ListChange, registered::RegisteredTrunks},
    trust::{Report, Witness},
};
use sip_filter_common::Mode;

/// How often the daemon looks whether there is something to tidy up.
const TICK_INTERVAL: Duration = Duration::from_secs(1);
/// How many ticks pass until expired bans are taken out of the map.
const SWEEP_TICKS: u64 = 10;
/// How many events may wait; senders wait beyond that.
const EVENTS_MAX: usize = 64;

/// What the operator said on the command line.
#[derive(Debug)]
pub struct Options {
    /// The policy file.
    pub config: PathBuf,
    /// Replaces the file's `interfaces`, also in every later `apply`.
    pub interfaces: Vec<String>,
    /// Replaces the file's `mode`, also in every later `apply`.
    pub mode: Option<Mode>,
    /// The control socket.
    pub socket: PathBuf,
    /// The pin directory.
    pub pins: PathBuf,
    /// The file in which registrations outlive a restart.
    pub state: PathBuf,
    /// Say more.
    pub is_verbose: bool,
    /// How many lines nobody read in time.
    pub lost_lines: ErrorCounter,
}

/// Everything that can happen.
enum Event {
    /// A client asks.
    Request(Request, oneshot::Sender<Response>),
    /// Something about this interface changed.
    Interface(String),
    /// SIGHUP: apply the policy file.
    Reload,
    /// Time to tidy up; counts from 0.
    Tick(u64),
    /// A PBX reports something about a registration.
    Report(String, Report),
    /// The kernel program has seen SIP messages.
    Seen(Vec<Seen>),
    /// The state file was written, or not.
    Saved(trusting::Saved),
    /// The policy in force was compiled anew.
    Compiled(Box<settling::Compiled>),
    /// SIGTERM or SIGINT.
    Stop,
}

/// Whether the loop goes on.
enum Next {
    Continue,
    Stop,
}

/// The state of a running daemon.
struct Daemon {
    options: Options,
    datapath: Datapath,
    interfaces: Interfaces,
    policy: Policy,
    /// What follows from registrations for the rights of trunks.
    registered: RegisteredTrunks,
    /// Changes that the policy file does not have.
    unsaved: Vec<ListChange>,
    settling: settling::Settling,
    trusting: trusting::Trusting,
    watching: watching::Watching,
    /// Held for its file, which is to go with the daemon.
    _socket: server::SocketFile,
}

/// Runs until it is told to stop.
///
/// # Errors
///
/// It cannot start; once it runs it goes on.
pub async fn run(options: Options) -> anyhow::Result<()> {
    memory::share_arena();
    let clients = server::Places::default();
    let (mut daemon, mut events) = Daemon::start(options, clients.clone()).await?;
    sd_notify::notify(&[sd_notify::NotifyState::Ready])
        .context("cannot tell systemd that the daemon is ready")?;
    while let Some(event) = events.recv().await {
        if let Next::Stop = daemon.handle(event).await {
            break;
        }
    }
    // Who asks now is told so.
    drop(events);
    clients.are_empty().await;
    daemon.stop()
}

impl Daemon {
    async fn handle(&mut self, event: Event) -> Next {
        match event {
            Event::Request(Request::Detach { interface }, reply) => return self.detach(interface, reply),
            Event::Request(request, reply) => {
                let response = self.respond(request).await;
                // A client that left does not need its answer.
                let _: Result<(), Response> = reply.send(response);
            }
            Event::Interface(name) => {
                if self.policy.interfaces.contains(&name) && self.interfaces.describe(&name).await.is_err() {
                    tracing::warn!("interface {name} is gone: its packets are judged again when it is back");
                }
                self.reattach(&name).await;
            }
            Event::Reload => self.reload().await,
            Event::Report(pbx, report) => drop(self.reported(&Witness::Pbx(pbx), report)),
            Event::Seen(seen) => self.seen(seen),
            Event::Saved(saved) => self.trusting.saved(saved),
            Event::Compiled(compiled) => self.settle(*compiled),
            Event::Tick(number) => {
                self.settle_in_time();
                self.trust_in_time();
                if number % SWEEP_TICKS != 0 {
                    return Next::Continue;
                }
                self.sweep();
                self.warn_of_lost();
                // The kernel drops news of interfaces when too many come at once.
                for name in self.policy.interfaces.clone() {
                    self.reattach(&name).await;
                }
            }
            Event::Stop => return Next::Stop,
        }
        Next::Continue
    }

    /// Attaches again where an interface of the policy came back.
    async fn reattach(&mut self, name: &str) {
        if !self.policy.interfaces.iter().any(|wanted| wanted == name) {
            return;
        }
        // What is missing is said by `status`, and by the kernel when it comes back.
        let Ok(interface) = self.interfaces.describe(name).await else { return };
        if interface.xdp.is_none() {
            match self.attach(&interface) {
                Ok(()) => tracing::info!("interface {name} is judged again"),
                Err(error) => tracing::error!("interface {name} is not judged: {error:#}"),
            }
            if let Some(warning) = start::blind_vlans(&self.policy, &interface) {
                tracing::warn!("{warning}");
            }
            // The one that was there went with the interface.
            if let Err(error) = self.datapath.unwatch(name) {
                tracing::warn!("{name}: {error}");
            }
            self.watch_all();
        }
    }

    fn attach(&mut self, interface: &Interface) -> anyhow::Result<()> {
        let hold = self.policy.on_exit == OnExit::Hold;
        let program = interface.xdp.map(|(_, program)| program);
        match self.datapath.attach(&interface.name, interface.index, program, hold)? {
            AttachMode::TakenOver => {
                tracing::info!("{}: took over the program of an earlier daemon", interface.name);
            }
            AttachMode::Native => tracing::info!("{}: attached in native mode", interface.name),
            AttachMode::Generic(reason) => tracing::warn!(
                "{}: the driver does not take the program ({reason}): attached in generic mode, which is slower",
                interface.name
            ),
        }
        Ok(())
    }

    async fn reload(&mut self) {
        let _: Result<(), _> = sd_notify::notify(&[sd_notify::NotifyState::Reloading]);
        match self.apply_file().await {
            Ok(applied) => {
                for change in applied.dropped_changes {
                    tracing::warn!("dropped, since it was not saved: {change}");
                }
                for warning in applied.warnings {
                    tracing::warn!("{warning}");
                }
                tracing::info!(
                    "applied {}: generation {}",
                    self.options.config.display(),
                    applied.generation
                );
            }
            Err(error) => tracing::error!("the policy before stays in force: {error:#}"),
        }
        let _: Result<(), _> = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }

    /// Leaves the kernel as `on_exit` says.
    fn stop(mut self) -> anyhow::Result<()> {
        let _: Result<(), _> = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        self.trusting.save();
        if self.policy.on_exit == OnExit::Hold {
            self.settle_at_last();
        }
        match self.policy.on_exit {
            OnExit::Open => {
                self.datapath.detach_all()?;
                tracing::info!("stopped; the interfaces are open");
            }
            OnExit::Hold if self.datapath.attached().is_empty() => {
                tracing::info!("stopped; nothing is attached");
            }
            OnExit::Hold if is_in_own_mount_namespace() => {
                tracing::warn!("stopped; the kernel goes on filtering only as long as this mount namespace");
            }
            OnExit::Hold => {
                tracing::info!("stopped; the kernel goes on filtering (`sip-filter detach` ends that)");
            }
        }
        Ok(())
    }
}

/// What the daemon is told by signals.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Everything that sends events.
fn start_sources(
    listener: tokio::net::UnixListener,
    clients: server::Places,
    mut interface_changes: futures_util::stream::BoxStream<'static, String>,
    mut reports: mpsc::Receiver<(String, Report)>,
    mut signals: Signals,
    events: mpsc::Sender<Event>,
) {
    let (calls, mut calls_receiver) = mpsc::channel(EVENTS_MAX);
    tokio::spawn(server::serve(listener, clients, calls));
    let mut tick = tokio::time::interval(TICK_INTERVAL);
    tokio::spawn(async move {
        let mut ticks = 0..;
        loop {
            let event = tokio::select! {
                Some((request, reply)) = calls_receiver.recv() => Event::Request(request, reply),
                Some((pbx, report)) = reports.recv() => Event::Report(pbx, report),
                Some(name) = interface_changes.next() => Event::Interface(name),
                _ = signals.terminate.recv() => Event::Stop,
                _ = signals.interrupt.recv() => Event::Stop,
                _ = signals.hangup.recv() => Event::Reload,
                _ = tick.tick() => Event::Tick(ticks.next().unwrap_or(0)),
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
    });
}
