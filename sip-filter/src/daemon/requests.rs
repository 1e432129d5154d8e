//! What the daemon does when it is asked.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::Serialize;
use sip_filter_common::{Address, Reason, Transport};
use tokio::sync::oneshot;

use super::{
    Daemon, Next,
    memory::{self, memory_bytes},
    save, start,
};
use crate::{
    control::{
        Applied, Cause, Changed, CounterStatus, Explanation, Fault, InterfaceStatus, Question, Request,
        Response, Status, Timing, TransportName, VlanTags,
    },
    datapath::{DatapathError, Written},
    explain,
    interfaces::Interface,
    policy::{
        OnExit, Policy,
        change::{ChangeError, ListChange},
        difference::Difference,
        mistake::Mistakes,
        tables::{Full, Tables, classes_after},
    },
};

/// How many prefixes a live change may put before the tables.
pub(super) const CHANGE_PREFIXES_MAX: usize = 1_024;

/// A request that asks for what cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Misuse(String);

impl Misuse {
    pub(super) fn new(message: impl ToString) -> Self {
        Self(message.to_string())
    }
}

/// What a client is told; its exit code follows from whose fault the error is.
fn response(result: anyhow::Result<serde_json::Value>) -> Response {
    match result {
        Ok(value) => Response::Ok(value),
        Err(error) => {
            let is_usage = error.is::<Misuse>()
                || error.is::<Mistakes>()
                || error.is::<Full>()
                || error.is::<start::NoInterface>()
                || error.is::<start::Unreadable>()
                || error.is::<save::InListFile>();
            let fault = if is_usage { Fault::Usage } else { Fault::Failed };
            Response::Error { fault, message: format!("{error:#}") }
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// CLOCK_BOOTTIME, by which bans are kept.
pub(super) fn boot_time_ns() -> u64 {
    let now =
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

impl Daemon {
    pub(super) async fn respond(&mut self, request: Request) -> Response {
        let result = match request {
            Request::Status => self.status().await.and_then(value),
            Request::Apply { path, text, dry_run } => self.apply(&path, &text, dry_run).await.and_then(value),
            Request::Change { change, save } => self.change(change, save).and_then(value),
            Request::List { list } => value(self.list(list)),
            Request::BanAdd { address, for_ms, cause } => self.ban(address, for_ms, &cause).and_then(value),
            Request::BanRemove { address } => self.unban(address).and_then(value),
            Request::BanList => self.bans().and_then(value),
            Request::RegistrationAdd { aor, from, transport, for_ms } => {
                self.registration_add(aor, from, transport, for_ms).and_then(value)
            }
            Request::RegistrationRemove { aor, from } => self.registration_remove(&aor, from).and_then(value),
            Request::RegistrationList => value(self.registrations()),
            Request::TrunkList => value(self.trunks()),
            Request::Explain(question) => self.explain(question).and_then(value),
            Request::Detach { .. } => {
                Err(Misuse::new("detach is answered by the loop, which may end with it").into())
            }
        };
        response(result)
    }

    async fn status(&self) -> anyhow::Result<Status> {
        let program_id = self.datapath.program_id()?;
        let mut warnings = self.warnings();
        let mut interfaces = Vec::new();
        for name in &self.policy.interfaces {
            let (is_there, attached, strips) = match self.interfaces.describe(name).await {
                Ok(interface) => {
                    warnings.extend(start::blind_vlans(&self.policy, &interface));
                    (true, interface.xdp, interface.strips_vlan_tags)
                }
                Err(error) => {
                    warnings.push(error.to_string());
                    (false, None, false)
                }
            };
            let ours = attached.filter(|(_, program)| *program == program_id);
            match (attached, ours) {
                (Some((_, other)), None) => {
                    let program = crate::datapath::program_name(other);
                    warnings.push(format!("interface {name} is not judged: it runs another XDP program, {program}"));
                }
                (None, None) if is_there => warnings.push(format!(
                    "interface {name} is not judged: its program was detached; `sip-filter apply` attaches it again"
                )),
                _ => {}
            }
            interfaces.push(InterfaceStatus {
                name: name.clone(),
                attached: ours.map(|(attached, _)| attached),
                program_id: ours.map(|(_, program)| program),
                vlan_tags: if strips { VlanTags::Stripped } else { VlanTags::Visible },
            });
        }
        let counters = self.datapath.counters()?.into_iter().map(|(reason, counter)| {
            let verdict = reason.verdict().name().to_owned();
            (
                reason.name().to_owned(),
                CounterStatus { verdict, packets: counter.packets, bytes: counter.bytes },
            )
        });
        Ok(Status {
            mode: self.policy.mode.name().to_owned(),
            generation: self.datapath.generation(),
            interfaces,
            counters: counters.collect::<BTreeMap<_, _>>(),
            on_exit: self.policy.on_exit,
            config: self.options.config.clone(),
            unsaved_changes: self.unsaved.len(),
            memory_bytes: memory_bytes(&self.datapath),
            links: self.trusting.links(&self.policy),
            events: self.events_status(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            warnings,
        })
    }

    /// Applies the policy file as it stands now.
    pub(super) async fn apply_file(&mut self) -> anyhow::Result<Applied> {
        let path = self.options.config.clone();
        let text = start::read(&path)?;
        self.apply(&path, &text, false).await
    }

    async fn apply(&mut self, path: &Path, text: &str, dry_run: bool) -> anyhow::Result<Applied> {
        let started = Instant::now();
        // What was saved since it was read is in force, and would not be any more.
        let is_file = || path.metadata().is_ok_and(|file| file.is_file());
        let is_older = || is_file() && start::read(path).is_ok_and(|now| now != text);
        if !dry_run && path == self.options.config && is_older() {
            let path = path.display();
            return Err(Misuse::new(format!("{path} changed since it was read: apply it once more")).into());
        }
        let policy = self.options.parse(path, text)?;
        let read = started.elapsed();
        let difference = Difference::between(&self.policy, &policy);
        let program_id = self.datapath.program_id()?;
        let is_ours =
            |interface: &Interface| interface.runs(program_id) || self.datapath.is_attached(&interface.name);
        let in_force = &self.policy.interfaces;
        let interfaces = start::describe_all(&self.interfaces, &policy, in_force, is_ours).await?;
        let started = Instant::now();
        let mut tables = Tables::compile(&policy, &self.registered)?;
        let mut timing_us = Timing { read: micros(read), compile: micros(started.elapsed()), kernel: 0 };
        let dropped_changes =
            self.unsaved.iter().filter(|change| !policy.agrees_with(change)).cloned().collect();
        let mut warnings = Vec::new();
        if !dry_run {
            timing_us.kernel = self.put_in_force(policy, &mut tables, &interfaces)?.kernel_us;
            self.options.config = path.to_path_buf();
            self.unsaved.clear();
            warnings = self.follow_policy()?;
        }
        warnings.extend(self.warnings());
        drop(tables);
        memory::give_back();
        Ok(Applied {
            applied: !dry_run,
            generation: self.datapath.generation(),
            difference,
            dropped_changes,
            timing_us,
            warnings,
        })
    }

    /// Attaches what is new first, so that a failure there leaves the policy before whole.
    fn put_in_force(
        &mut self,
        policy: Policy,
        tables: &mut Tables,
        interfaces: &[Interface],
    ) -> anyhow::Result<Written> {
        let program_id = self.datapath.program_id()?;
        let is_judged = |daemon: &Self, interface: &Interface| {
            interface.runs(program_id) && daemon.datapath.is_attached(&interface.name)
        };
        let unjudged: Vec<_> = interfaces.iter().filter(|interface| !is_judged(self, interface)).collect();
        let attached = unjudged.iter().try_for_each(|interface| self.attach(interface));
        let applied = attached.and_then(|()| Ok(self.datapath.apply(tables)?));
        let written = applied.or_else(|error| {
            let new = |interface: &&Interface| !self.policy.interfaces.contains(&interface.name);
            for interface in unjudged.into_iter().filter(|interface| interface.xdp.is_none()).filter(new) {
                self.datapath.detach(&interface.name)?;
            }
            Err(error)
        })?;
        self.settling.settled();
        self.policy = policy;
        self.trust_by_policy();
        Ok(written)
    }

    /// Has pins and interfaces be as the policy in force wants them, which it is whatever becomes of them.
    ///
    /// Returns what the operator should know of pins.
    ///
    /// # Errors
    ///
    /// An interface that the policy does not name cannot be let go.
    fn follow_policy(&mut self) -> anyhow::Result<Vec<String>> {
        let is_held = self.policy.on_exit == OnExit::Hold;
        let held = self.datapath.hold(is_held).map_err(anyhow::Error::from);
        let pinned = self.datapath.pin().map_err(anyhow::Error::from);
        self.watch_all();
        self.let_go_of_others().context("the policy is in force, but at more interfaces than it names")?;
        let faults = [held, pinned].into_iter().filter_map(Result::err);
        Ok(faults
            .map(|error| format!("the policy is in force, but not all is pinned as it says: {error:#}"))
            .collect())
    }

    fn change(&mut self, change: ListChange, save: bool) -> anyhow::Result<Changed> {
        let started = Instant::now();
        // A change that is in force already may still be saved, and one that the file has may still be put in force.
        let is_new = match self.policy.check_change(&change) {
            Err(ChangeError::AlreadyThere { .. } | ChangeError::NotThere { covering: None, .. })
                if save && self.unsaved.contains(&change) =>
            {
                false
            }
            checked => checked.map(|()| true).map_err(Misuse::new)?,
        };
        // What cannot be saved is refused before it is in force.
        let edited = if save { save::edited(&self.options.config, &change)? } else { None };
        if is_new {
            self.put_change_in_force(&change)?;
        }
        let in_force_us = micros(started.elapsed());
        if is_new {
            self.policy.change(&change).map_err(Misuse::new)?;
            self.note_unsaved(change.clone());
        }
        let generation = self.datapath.generation();
        let mut notes = self.policy.notes(&change);
        notes.extend(self.ban_note(&change));
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        if !save {
            return Ok(Changed { generation, in_force_us, saved_to: None, note });
        }
        if let Some(text) = edited
            && let Err(error) = save::replace(&self.options.config, &text)
        {
            let path = self.options.config.display();
            bail!("in force, but not saved: cannot write {path}: {error}");
        }
        self.unsaved.retain(|unsaved| *unsaved != change);
        Ok(Changed { generation, in_force_us, saved_to: Some(self.options.config.clone()), note })
    }

    /// Puts what the policy will say about the addresses of a prefix before the tables in force; all of it anew where
    /// that is too much.
    fn put_change_in_force(&mut self, change: &ListChange) -> anyhow::Result<()> {
        if let Some(classes) = classes_after(&self.policy, &self.registered, change, CHANGE_PREFIXES_MAX) {
            let changed = self.datapath.change(&classes);
            // Also where half a change could not be taken back.
            self.settling.changed();
            match changed {
                Err(DatapathError::NoRoom { .. }) => {}
                changed => return Ok(changed?),
            }
        }
        let mut policy = self.policy.clone();
        policy.change(change).map_err(Misuse::new)?;
        self.datapath.apply(&mut Tables::compile(&policy, &self.registered)?)?;
        self.settling.settled();
        Ok(())
    }

    fn explain(&mut self, mut question: Question) -> anyhow::Result<Explanation> {
        let transport = match question.transport {
            TransportName::Udp => Transport::Udp,
            TransportName::Tcp => Transport::Tcp,
        };
        if question.to.ip().is_unspecified() {
            question.to.set_ip(self.local_address(&question, transport));
        }
        let frame = explain::frame(&question).map_err(Misuse::new)?;
        let reason = self.datapath.explain(&frame)?;
        let source = question.from.ip();
        let because = match reason {
            Reason::Banned => {
                let bans = self.bans()?;
                let at = |address: Address| bans.iter().find(|ban| ban.address == IpAddr::from(address));
                let source = Address::from(source.to_canonical());
                let ban = at(source).or_else(|| at(source.network()));
                ban.map(|ban| Cause::Ban {
                    ban: ban.address,
                    cause: ban.cause.clone(),
                    remaining_ms: ban.remaining_ms,
                })
            }
            Reason::Registered => self.registration_at(question.from),
            _ => {
                self.policy.because(source, question.to, transport, question.vlan, reason).map(Cause::Policy)
            }
        };
        Ok(Explanation {
            verdict: reason.verdict().name().to_owned(),
            reason: reason.name().to_owned(),
            because,
            mode: self.policy.mode.name().to_owned(),
        })
    }

    /// An address at which a packet for this port and of this IP version is judged.
    fn local_address(&self, question: &Question, transport: Transport) -> IpAddr {
        let to = question.to;
        let of_this_version = |address: &&IpAddr| address.is_ipv4() == to.is_ipv4();
        let at_port = self.policy.listeners.iter().filter(|listener| {
            listener.transport == transport && listener.ports.iter().any(|range| range.contains(&to.port()))
        });
        let tied = at_port.flat_map(|listener| &listener.addresses).find(of_this_version);
        tied.copied().unwrap_or(if to.is_ipv4() { explain::ANY_IPV4 } else { explain::ANY_IPV6 })
    }

    /// Lets go of one interface, or of all, which ends the daemon.
    pub(super) fn detach(&mut self, interface: Option<String>, reply: oneshot::Sender<Response>) -> Next {
        let before = self.datapath.attached();
        let (result, next) = match interface {
            None => match self.datapath.detach_all() {
                Ok(()) => (Ok(before), Next::Stop),
                Err(error) => (Err(error.into()), Next::Continue),
            },
            Some(name) if !before.contains(&name) => {
                let attached = before.join(", ");
                (
                    Err(Misuse(format!("interface {name} is not attached; attached: {attached}")).into()),
                    Next::Continue,
                )
            }
            Some(name) => {
                let detached = self.datapath.detach(&name).map_err(anyhow::Error::from);
                if detached.is_ok() {
                    self.policy.interfaces.retain(|wanted| *wanted != name);
                }
                (detached.map(|_| vec![name]), Next::Continue)
            }
        };
        let _: Result<(), Response> = reply.send(response(result.and_then(value)));
        next
    }
}

fn value(reply: impl Serialize) -> anyhow::Result<serde_json::Value> {
    Ok(serde_json::to_value(reply)?)
}
