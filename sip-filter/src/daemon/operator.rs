//! Registrations that the operator enters and takes back.

use std::time::Duration;

use anyhow::Context as _;

use super::{Daemon, requests::Misuse};
use crate::{
    control::{RegistrationEntry, RegistrationPlace},
    policy::TrustScope,
    sip::canonical_aor,
    trust::{Binding, Flow, LIFETIME_MAX, Report, SipTransport, Witness},
};

impl Daemon {
    /// Takes what the operator says for registered.
    pub(super) fn registration_add(
        &mut self,
        aor: String,
        from: RegistrationPlace,
        transport: SipTransport,
        for_ms: u64,
    ) -> anyhow::Result<RegistrationEntry> {
        if for_ms == 0 {
            return Err(Misuse::new("a registration lasts longer than 0 s").into());
        }
        let lifetime = Duration::from_millis(for_ms);
        if lifetime > LIFETIME_MAX {
            let max = humantime::format_duration(LIFETIME_MAX);
            let message = format!("a registration lasts {max} at most; put who is to stay on an allow list");
            return Err(Misuse::new(message).into());
        }
        let prove = self.policy.strangers.prove.as_ref();
        if from.port == 0 && prove.is_some_and(|prove| prove.trust == TrustScope::Flow) {
            let message = "with trust = \"flow\" a registration lets in a port: give --from ADDRESS:PORT";
            return Err(Misuse::new(message).into());
        }
        if canonical_aor(&aor).is_empty() {
            let message = format!("\"{aor}\" is no address of record: write user@domain");
            return Err(Misuse::new(message).into());
        }
        let address = from.address;
        let (entry, refusal) = self.register(&aor, from, transport, lifetime);
        let entry = entry.with_context(|| {
            format!(
                "{aor} cannot be registered there: too many are registered, or its trunk's allow list does not hold \
                 the address"
            )
        })?;
        match refusal {
            None => Ok(entry),
            Some(error) => Err(error.context(format!(
                "{aor} is registered, but the kernel does not let {address} in, which is tried again every second"
            ))),
        }
    }

    /// Takes what the operator says for registered no more.
    pub(super) fn registration_remove(
        &mut self,
        aor: &str,
        from: Option<RegistrationPlace>,
    ) -> anyhow::Result<Vec<RegistrationEntry>> {
        let removed = self.unregister(aor, from);
        if removed.is_empty() {
            let place = if from.is_some() { " there" } else { "" };
            return Err(Misuse::new(format!("{aor} is not registered{place}")).into());
        }
        Ok(removed)
    }

    /// What the operator says is registered, none where it is refused, for a reason in the log; and why the kernel does
    /// not let it in, if so.
    fn register(
        &mut self,
        aor: &str,
        from: RegistrationPlace,
        transport: SipTransport,
        lifetime: Duration,
    ) -> (Option<RegistrationEntry>, Option<anyhow::Error>) {
        let flow = Flow { address: from.address.to_canonical(), port: from.port, transport };
        let binding = Binding { aor: aor.to_owned(), contact: String::new(), flow, lifetime };
        let report = Report::Registered(binding);
        let refusal = self.reported(&Witness::Operator, report);
        let aor = canonical_aor(aor);
        let is_it = |entry: &RegistrationEntry| {
            entry.witness == Witness::Operator && entry.aor == aor && flow_of(entry) == flow
        };
        (self.registrations_of(&aor).into_iter().find(is_it), refusal)
    }

    /// Takes what the operator says for registered no more; what was registered.
    fn unregister(&mut self, aor: &str, from: Option<RegistrationPlace>) -> Vec<RegistrationEntry> {
        let before = self.registrations_of(aor);
        let is_there = |entry: &&RegistrationEntry| {
            let fits = |from: &RegistrationPlace| {
                from.address.to_canonical() == entry.address && (from.port == 0 || from.port == entry.port)
            };
            from.as_ref().is_none_or(fits)
        };
        let flows = match from {
            None => vec![None],
            Some(_) => before.iter().filter(is_there).map(|entry| Some(flow_of(entry))).collect(),
        };
        for flow in flows {
            let report = Report::Unregistered { aor: aor.to_owned(), contact: None, flow };
            self.reported(&Witness::Operator, report);
        }
        let after = self.registrations_of(aor);
        let key = |entry: &RegistrationEntry| {
            (entry.aor.clone(), entry.contact.clone(), flow_of(entry), entry.witness.clone())
        };
        let stands = |entry: &RegistrationEntry| after.iter().any(|other| key(other) == key(entry));
        before.into_iter().filter(|entry| !stands(entry)).collect()
    }
}

fn flow_of(entry: &RegistrationEntry) -> Flow {
    Flow { address: entry.address, port: entry.port, transport: entry.transport }
}
