//! Between those who see registrations and the kernel: what they say goes into [`Trust`], what follows comes out.
//!
//! Decides nothing: it converts, carries out, and keeps the state file.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use sip_filter_common::Ban;
use tokio::sync::mpsc;

use super::{Daemon, Event, requests::boot_time_ns};
use crate::{
    control::{Cause, LinkStatus, RegistrationEntry},
    pbx::{self, Link},
    policy::{Pbx, Policy},
    sip::Message,
    trust::{
        Effect, Entry, Flow, Notice, Now, Reply, Report, Request, Trust, What, Witness,
        settings::Settings,
        state::{Loaded, Pace, StateError, Store},
    },
};

/// Who is trusted, who says so, and where it is kept.
pub(super) struct Trusting {
    trust: Trust,
    /// None where there is no place for it: then nothing outlives the daemon.
    store: Option<Store>,
    pace: Pace,
    is_saving: bool,
    links: Vec<(Pbx, Link)>,
    reports: mpsc::Sender<(String, Report)>,
    events: mpsc::Sender<Event>,
}

/// The state file was written, or not.
pub(super) struct Saved {
    revision: u64,
    took: Duration,
    error: Option<String>,
}

/// The clocks at this moment.
pub(super) fn now() -> Now {
    Now { boot_ns: boot_time_ns(), wall: SystemTime::now() }
}

/// The clocks when the kernel program saw something: what waited in a ring while no daemon ran is as old as that.
pub(super) fn when(seen_ns: u64) -> Now {
    let Now { boot_ns, wall } = now();
    let age_ns = boot_ns.saturating_sub(seen_ns);
    let wall = wall.checked_sub(Duration::from_nanos(age_ns)).unwrap_or(wall);
    Now { boot_ns: boot_ns - age_ns, wall }
}

impl Trusting {
    /// Trusts nobody yet; `reports` is what PBXs are to send to.
    ///
    /// # Errors
    ///
    /// [`StateError::InUse`]; whatever else is wrong with the state file is said, and done without it.
    pub(super) fn new(
        policy: &Policy,
        state: &std::path::Path,
        reports: mpsc::Sender<(String, Report)>,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, StateError> {
        let store = match Store::open(state) {
            Err(error @ StateError::InUse(_)) => return Err(error),
            store => store
                .inspect_err(|error| tracing::warn!("registrations do not outlive this daemon: {error}"))
                .ok(),
        };
        Ok(Self {
            trust: Trust::new(Settings::of(policy)),
            store,
            pace: Pace::default(),
            is_saving: false,
            links: Vec::new(),
            reports,
            events,
        })
    }

    /// What an earlier daemon left in its state file, to be carried out before anything else.
    pub(super) fn restore(&mut self) -> Vec<Effect> {
        let Some(store) = &self.store else { return Vec::new() };
        match store.load(now()) {
            Ok(Loaded { stored, damaged }) => {
                if let Some(aside) = damaged {
                    tracing::warn!("the state file was damaged, and is {} now", aside.display());
                }
                self.trust.restore(stored, now())
            }
            Err(error) => {
                tracing::warn!("{error}");
                Vec::new()
            }
        }
    }

    /// Follows the PBXs of a policy; links to those that it names as before stay up.
    pub(super) fn follow(&mut self, policy: &Policy) {
        self.links.retain(|(pbx, _)| policy.pbxs.contains(pbx));
        for pbx in &policy.pbxs {
            if !self.links.iter().any(|(followed, _)| followed == pbx) {
                self.links.push((pbx.clone(), pbx::start(pbx.clone(), self.reports.clone())));
            }
        }
    }

    /// Whether anybody is registered from there.
    pub(super) fn is_registered(&self, address: IpAddr) -> bool {
        self.trust.is_registered(address)
    }

    /// How the links stand.
    pub(super) fn links(&self, policy: &Policy) -> Vec<LinkStatus> {
        let status = |pbx: &Pbx| {
            let (_, link) = self.links.iter().find(|(followed, _)| followed == pbx)?;
            let state = link.state();
            let up_for = state.connected_since.and_then(|since| since.elapsed().ok());
            Some(LinkStatus {
                name: pbx.name.clone(),
                kind: pbx.kind,
                up_for_ms: up_for.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
                last_error: state.last_error,
                events: state.events,
            })
        };
        policy.pbxs.iter().filter_map(status).collect()
    }

    /// Writes the state file aside, where something has changed and it is time to.
    fn save_in_time(&mut self) {
        let revision = self.trust.revision();
        if self.is_saving || !self.pace.is_due(revision, now()) {
            return;
        }
        let Some(store) = self.store.clone() else { return };
        let (stored, events) = (self.trust.stored(now()), self.events.clone());
        self.is_saving = true;
        tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            let error = store.save(revision, &stored, now()).err().map(|error| error.to_string());
            let saved = Saved { revision, took: started.elapsed(), error };
            // A daemon that has ended has written it itself.
            let _: Result<(), _> = events.blocking_send(Event::Saved(saved));
        });
    }

    /// The state file was written, or not.
    pub(super) fn saved(&mut self, saved: Saved) {
        self.is_saving = false;
        match saved.error {
            None => self.pace.saved(saved.revision, saved.took, now()),
            Some(error) => {
                tracing::warn!("{error}");
                self.pace.failed(now());
            }
        }
    }

    /// Writes the state file now: the daemon ends.
    pub(super) fn save(&self) {
        let Some(store) = &self.store else { return };
        if let Err(error) = store.save(self.trust.revision(), &self.trust.stored(now()), now()) {
            tracing::error!("{error}");
        }
    }
}

impl Daemon {
    /// Takes over what an earlier daemon left: by its state file, and in the kernel.
    pub(super) fn trust_as_before(&mut self, restored: Vec<Effect>) -> anyhow::Result<()> {
        self.carry_out(restored);
        let now_ns = boot_time_ns();
        self.datapath.take_over_flows()?;
        self.datapath.tidy_flows(now_ns)?;
        let is_unlisted = |(address, until_ns): &(IpAddr, u64)| {
            *until_ns > now_ns && !self.trusting.trust.is_registered(*address)
        };
        let unlisted = self.datapath.registered().filter(is_unlisted);
        let ends = unlisted.map(|(_, until_ns)| until_ns).collect::<Vec<_>>();
        if let Some(last_ns) = ends.iter().max() {
            // They registered, and are not to notice that this daemon does not know as whom.
            let within =
                humantime::format_duration(Duration::from_secs((last_ns - now_ns).div_ceil(1_000_000_000)));
            tracing::warn!(
                "{} addresses registered that the state file does not have: the kernel lets them in until their \
                 registrations end, the last in {within}; each is listed when it registers again",
                ends.len()
            );
        }
        Ok(())
    }

    /// A reply of the SIP server left for a peer.
    pub(super) fn replied(&mut self, to: Flow, bytes: &[u8], when: Now) {
        let Some(reply) = Message::parse(bytes).as_ref().and_then(Reply::of) else { return };
        let effects = self.trusting.trust.reply(&self.policy, to, &reply, when);
        self.carry_out(effects);
    }

    /// A stranger answered a challenge, perhaps.
    pub(super) fn answered(&mut self, from: Flow, bytes: &[u8], when: Now) {
        let Some(request) = Message::parse(bytes).as_ref().and_then(Request::of) else { return };
        self.trusting.trust.request(from, &request, when);
    }

    /// Whether a request answers a challenge that was sent to where it comes from, rightly or wrongly.
    pub(super) fn proves(&self, from: Flow, bytes: &[u8], when: Now) -> bool {
        let request = Message::parse(bytes).as_ref().and_then(Request::of);
        request.is_some_and(|request| self.trusting.trust.is_proof(from, &request, when))
    }

    /// A PBX, or the operator, reports something.
    ///
    /// Returns what [`carry_out`](Self::carry_out) does.
    pub(super) fn reported(&mut self, witness: &Witness, report: Report) -> Option<anyhow::Error> {
        let effects = self.trusting.trust.report(&self.policy, witness, report, now());
        self.carry_out(effects)
    }

    /// Another policy is in force.
    pub(super) fn trust_by_policy(&mut self) {
        let effects = self.trusting.trust.configure(Settings::of(&self.policy), now());
        self.carry_out(effects);
        self.trusting.follow(&self.policy);
    }

    /// What time brings about.
    pub(super) fn trust_in_time(&mut self) {
        let effects = self.trusting.trust.tick(now());
        self.carry_out(effects);
        self.trusting.save_in_time();
    }

    /// Does what follows; what the kernel does not take is said, and the rest is done.
    ///
    /// Returns why it did not take the first of these, for whoever waits for it.
    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) -> Option<anyhow::Error> {
        let mut refusal = None;
        for effect in effects {
            if let Err(error) = self.carry_out_one(&effect) {
                tracing::error!("cannot carry out {effect:?}: {error:#}");
                self.trusting.trust.refused(&effect);
                refusal.get_or_insert(error);
            }
        }
        refusal
    }

    fn carry_out_one(&mut self, effect: &Effect) -> anyhow::Result<()> {
        match effect {
            Effect::Admit { address, until_ns } => self.datapath.admit(*address, *until_ns)?,
            Effect::Dismiss { address } => drop(self.datapath.dismiss(*address)?),
            Effect::AdmitFlow { flow, until_ns } => self.datapath.admit_flow(flow, *until_ns)?,
            Effect::DismissFlow { flow } => self.datapath.dismiss_flow(flow)?,
            Effect::OpenLane { address } => self.datapath.open_lane(*address, boot_time_ns())?,
            Effect::Ban { address, duration, cause } => {
                let duration_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
                let mut ban = Ban { until_ns: boot_time_ns().saturating_add(duration_ns), cause: [0; _] };
                let end = cause.floor_char_boundary(ban.cause.len());
                ban.cause[..end].copy_from_slice(&cause.as_bytes()[..end]);
                // The operator's may be longer.
                if self.datapath.banned_until_ns(*address) >= ban.until_ns {
                    return Ok(());
                }
                self.datapath.ban_by_itself(*address, ban)?;
                self.tell(None, What::Banned { address: *address, cause: cause.clone() });
            }
            Effect::TrunkAt { trunk, addresses } => self.trunk_is_at(trunk, addresses.clone())?,
            Effect::Notify(notice) => match serde_json::to_string(notice) {
                Ok(line) => tracing::info!("{line}"),
                Err(error) => tracing::warn!("a notice that cannot be written: {error}"),
            },
        }
        Ok(())
    }

    /// Tells people of something.
    pub(super) fn tell(&mut self, trunk: Option<String>, what: What) {
        let notice = Notice { time: SystemTime::now(), trunk, what };
        self.carry_out(vec![Effect::Notify(notice)]);
    }

    /// The registration for which an address is let in for longest.
    pub(super) fn registration_at(&self, from: SocketAddr) -> Option<Cause> {
        let address = from.ip().to_canonical();
        let mut there: Vec<_> =
            self.registrations().into_iter().filter(|entry| entry.address == address).collect();
        // Behind one address, the one at this port is meant.
        if there.iter().any(|entry| entry.port == from.port()) {
            there.retain(|entry| entry.port == from.port());
        }
        let RegistrationEntry { aor, witness, trunk, remaining_ms, .. } =
            there.into_iter().max_by_key(|entry| entry.remaining_ms)?;
        Some(Cause::Registration { registration: aor, witness, trunk, remaining_ms })
    }

    /// The registrations whose address of record could be this one.
    pub(super) fn registrations_of(&self, aor: &str) -> Vec<RegistrationEntry> {
        self.trusting.trust.listing_of(aor, now()).into_iter().map(registration).collect()
    }

    /// Every registration.
    pub(super) fn registrations(&self) -> Vec<RegistrationEntry> {
        self.trusting.trust.listing(now()).into_iter().map(registration).collect()
    }
}

fn registration(entry: Entry) -> RegistrationEntry {
    RegistrationEntry {
        aor: entry.aor,
        contact: Some(entry.contact).filter(|contact| !contact.is_empty()),
        address: entry.address,
        port: entry.port,
        transport: entry.transport,
        witness: entry.witness,
        remaining_ms: u64::try_from(entry.remaining.as_millis()).unwrap_or(u64::MAX),
        trunk: entry.trunk,
    }
}
