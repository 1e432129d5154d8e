//! From the command line to a filter in force: whole, or not at all.

use std::path::Path;

use anyhow::{Context as _, bail};
use caps::{CapSet, Capability};
use sip_filter_common::Transport;
use tokio::sync::mpsc;

use super::{
    Daemon, EVENTS_MAX, Event, Options, Signals, memory, settling::Settling, start_sources,
    trusting::Trusting,
};
use crate::{
    control::server,
    datapath::{AttachError, Datapath, Pins, is_in_own_mount_namespace, program_name},
    interfaces::{Attached, Interface, InterfaceError, Interfaces},
    list_files::OnDisk,
    policy::{Listener, OnExit, Policy, file, registered::RegisteredTrunks, tables::Tables},
    trust::Effect,
};

/// What loading, pinning and attaching need. CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON, and to nobody else does the kernel
/// open maps, programs and links by their numbers (capabilities(7)), as those in a map of maps.
const CAPABILITIES: [Capability; 2] = [Capability::CAP_NET_ADMIN, Capability::CAP_SYS_ADMIN];
const LOCAL_PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED_PORTS: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Which trunks are registered by what an earlier daemon left.
fn registered_trunks(effects: &[Effect]) -> RegisteredTrunks {
    let mut registered = RegisteredTrunks::default();
    for effect in effects {
        if let Effect::TrunkAt { trunk, addresses } = effect {
            registered.set(trunk, addresses.clone());
        }
    }
    registered
}

impl Daemon {
    /// Reads the policy, loads the program, attaches it and opens the control socket.
    ///
    /// Everything that can be refused is refused before the kernel's tables change.
    pub(super) async fn start(
        options: Options,
        clients: server::Places,
    ) -> anyhow::Result<(Self, mpsc::Receiver<Event>)> {
        let text = read(&options.config)?;
        let policy = options.parse(&options.config, &text)?;
        check_capabilities()?;
        // From here on a signal waits until the start is over.
        let signals = Signals::new()?;
        let (interfaces, changes) = Interfaces::connect()?;
        let pins = Pins::open(&options.pins)?;
        pins.follow_renames()?;
        let (listener, socket) = server::bind(&options.socket)?;
        let wanted =
            describe_all(&interfaces, &policy, &[], |interface| pins.has_link(&interface.name)).await?;
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let (report_sender, reports) = mpsc::channel(EVENTS_MAX);
        let mut trusting = Trusting::new(&policy, &options.state, report_sender, sender.clone())?;
        // The first tables know already which trunks are registered: none loses its media by a restart.
        let restored = trusting.restore();
        let registered = registered_trunks(&restored);
        let mut tables = Tables::compile(&policy, &registered)?;

        let datapath = Datapath::load(pins, options.is_verbose)?;
        let mut daemon = Self {
            options,
            datapath,
            interfaces,
            policy,
            registered,
            unsaved: Vec::new(),
            settling: Settling::new(sender.clone()),
            trusting,
            watching: super::watching::Watching::default(),
            _socket: socket,
        };
        daemon.datapath.start_kernel_log();
        if let Err(error) = daemon.begin(&mut tables, restored, &wanted) {
            daemon.let_go_of_new(&wanted);
            return Err(error);
        }
        drop(tables);
        memory::give_back();
        daemon.let_go_of_others()?;
        daemon.tell_of_start();
        daemon.trusting.follow(&daemon.policy);
        daemon.watch_all();
        for ring in daemon.datapath.rings()? {
            super::watching::follow(ring, sender.clone());
        }
        start_sources(listener, clients, changes, reports, signals, sender);
        Ok((daemon, events))
    }

    fn tell_of_start(&self) {
        for warning in self.warnings() {
            tracing::warn!("{warning}");
        }
        let Policy { mode, interfaces, listeners, trunks, .. } = &self.policy;
        let (mode, interfaces) = (mode.name(), interfaces.join(", "));
        tracing::info!("{mode} on {interfaces}: {} listeners, {} trunks", listeners.len(), trunks.len());
    }

    /// Writes the policy and who is trusted, has packets judged by them, and pins all of it.
    ///
    /// In new maps both are there before the first packet is. An earlier daemon's stay in force until nothing can fail any
    /// more but the tables themselves.
    fn begin(
        &mut self,
        tables: &mut Tables,
        trusted: Vec<Effect>,
        wanted: &[Interface],
    ) -> anyhow::Result<()> {
        if self.datapath.has_policy() {
            self.attach_all(wanted)?;
            self.datapath.apply(tables)?;
            self.trust_as_before(trusted)?;
        } else {
            self.datapath.apply(tables)?;
            self.trust_as_before(trusted)?;
            self.attach_all(wanted)?;
        }
        Ok(self.datapath.pin()?)
    }

    /// Those first that may be refused, and that can be let go again.
    fn attach_all(&mut self, wanted: &[Interface]) -> anyhow::Result<()> {
        let (new, ours): (Vec<_>, Vec<_>) = wanted.iter().partition(|interface| interface.xdp.is_none());
        new.into_iter().chain(ours).try_for_each(|interface| self.attach(interface))
    }

    /// After a failed start: what this start attached goes, what an earlier daemon attached stays.
    fn let_go_of_new(&mut self, wanted: &[Interface]) {
        for interface in wanted.iter().filter(|interface| interface.xdp.is_none()) {
            if let Err(error) = self.datapath.detach(&interface.name) {
                tracing::error!("{error}");
            }
        }
        // Whatever this policy would have at its end.
        if let Err(error) = self.datapath.hold(true) {
            tracing::error!("{error}");
        }
    }

    /// Interfaces that an earlier daemon filtered and this policy does not name.
    pub(super) fn let_go_of_others(&mut self) -> anyhow::Result<()> {
        for name in self.datapath.attached() {
            if !self.policy.interfaces.contains(&name) {
                self.datapath.detach(&name)?;
                tracing::info!("{name}: detached, the policy does not name it");
            }
        }
        Ok(())
    }

    /// What the operator should know about the policy on this host.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<_> = self
            .policy
            .warnings
            .iter()
            .map(|warning| {
                let file = warning.file.as_ref().unwrap_or(&self.options.config);
                format!("{}:{}: {}", file.display(), warning.line, warning.message)
            })
            .collect();
        if let Some(mode) = self.options.mode {
            let mode = mode.name();
            warnings.push(format!(
                "--mode {mode}, with which this daemon was started, replaces every file's `mode`"
            ));
        }
        warnings.extend(local_ports_warning(&self.policy));
        if self.policy.on_exit == OnExit::Hold && is_in_own_mount_namespace() {
            warnings.push(
                "this process has a mount namespace of its own (a container, `ip netns exec`): with it end the pins, \
                 so that the kernel does not go on filtering whatever on_exit says; start with `nsenter --net=` instead"
                    .to_owned(),
            );
        }
        warnings
    }
}

impl Options {
    /// The policy that a file means under these options.
    pub(super) fn parse(&self, path: &Path, text: &str) -> anyhow::Result<Policy> {
        let mut policy = file::parse_with(path, text, &OnDisk)?;
        if !self.interfaces.is_empty() {
            policy.interfaces.clone_from(&self.interfaces);
            // Said twice is meant once.
            policy.interfaces.sort_unstable();
            policy.interfaces.dedup();
        }
        if let Some(mode) = self.mode {
            policy.mode = mode;
        }
        if policy.interfaces.is_empty() {
            return Err(NoInterface(path.to_path_buf()).into());
        }
        Ok(policy)
    }
}

/// Nothing says where to attach.
#[derive(Debug, thiserror::Error)]
#[error("{} names no interface: write `interfaces = [\"eth0\"]` there, or give --interface", .0.display())]
pub struct NoInterface(std::path::PathBuf);

/// A policy file that is not there, or not text, or not for us.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the policy file {path}")]
pub struct Unreadable {
    path: std::path::PathBuf,
    source: std::io::Error,
}

/// Reads a policy file.
///
/// # Errors
///
/// [`Unreadable`] names it.
pub fn read(path: &Path) -> Result<String, Unreadable> {
    std::fs::read_to_string(path).map_err(|source| {
        let source = match source.kind() {
            std::io::ErrorKind::InvalidData => std::io::Error::other("it is no UTF-8: save it as UTF-8"),
            _ => source,
        };
        Unreadable { path: path.to_path_buf(), source }
    })
}

/// Looks up every interface of a policy and refuses what would not work there.
pub(super) async fn describe_all(
    interfaces: &Interfaces,
    policy: &Policy,
    in_force: &[String],
    is_ours: impl Fn(&Interface) -> bool,
) -> anyhow::Result<Vec<Interface>> {
    let mut described = Vec::new();
    for name in &policy.interfaces {
        let interface = match interfaces.describe(name).await {
            // An interface that went away while its policy is in force comes back into it.
            Err(InterfaceError::Missing { .. }) if in_force.contains(name) => continue,
            described => described?,
        };
        if let (Some((attached, program)), false) = (interface.xdp, is_ours(&interface)) {
            let (interface, program) = (name.clone(), program_name(program));
            let flag = match attached {
                Attached::Native => "xdpdrv",
                Attached::Generic => "xdpgeneric",
                Attached::Offloaded => "xdpoffload",
                Attached::Other => "xdp",
            };
            return Err(AttachError::Occupied { interface, program, flag }.into());
        }
        if let Some(error) = blind_vlans(policy, &interface) {
            bail!("{error}");
        }
        described.push(interface);
    }
    Ok(described)
}

/// What is wrong where VLAN rules meet an interface on which no tag is seen.
pub(super) fn blind_vlans(policy: &Policy, interface: &Interface) -> Option<String> {
    let listener = policy.listeners.iter().find(|listener| !listener.vlans.is_empty())?;
    let name = &interface.name;
    interface.strips_vlan_tags.then(|| {
        format!(
                "interface {name} takes VLAN tags off before XDP sees them (rx-vlan-offload is on, or it is a VLAN \
                 device), so the VLANs of listener \"{}\" would never match: run `ethtool -K {name} rxvlan off`, or \
                 remove `vlans`",
                listener.name
        )
    })
}

fn check_capabilities() -> anyhow::Result<()> {
    let effective = caps::read(None, CapSet::Effective).context("cannot read this process's capabilities")?;
    let is_missing = |capability: &&Capability| !effective.contains(capability);
    let missing: Vec<_> = CAPABILITIES.iter().filter(is_missing).map(ToString::to_string).collect();
    if !missing.is_empty() {
        bail!(
            "missing privileges: {}; run as root, or give the service AmbientCapabilities=",
            missing.join(", ")
        );
    }
    Ok(())
}

/// Answers to this host's own questions come to its ephemeral ports; a media range there would catch them.
fn local_ports_warning(policy: &Policy) -> Option<String> {
    let range = std::fs::read_to_string(LOCAL_PORT_RANGE).ok()?;
    let mut bounds = range.split_whitespace().map_while(|bound| bound.parse::<u16>().ok());
    let (first, last) = (bounds.next()?, bounds.next()?);
    let text = std::fs::read_to_string(RESERVED_PORTS).unwrap_or_default();
    let reserved = text.trim().split(',').filter_map(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        Some(from.parse::<u16>().ok()?..=to.parse::<u16>().ok()?)
    });
    let reserved: Vec<_> = reserved.collect();
    let is_caught =
        |port: &u16| (first..=last).contains(port) && !reserved.iter().any(|range| range.contains(port));
    let udp = || policy.listeners.iter().filter(|listener| listener.transport == Transport::Udp);
    let caught = |listener: &'_ Listener| listener.ports.iter().cloned().flatten().find(is_caught);
    let (listener, port) = udp().find_map(|listener| Some((listener, caught(listener)?)))?;
    // With what is reserved already: the list is replaced.
    let all = reserved.iter().cloned().chain(udp().flat_map(|listener| listener.ports.iter().cloned()));
    let ports: Vec<_> = all.map(|range| format!("{}-{}", range.start(), range.end())).collect();
    Some(format!(
        "listener \"{}\" covers UDP port {port}, from which this host sends its own queries (ip_local_port_range \
         {first}-{last}): answers of strangers, DNS among them, are dropped there; run `sysctl -w \
         net.ipv4.ip_local_reserved_ports={}`, and write that into /etc/sysctl.d as well",
        listener.name,
        ports.join(",")
    ))
}
