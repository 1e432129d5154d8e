//! What a PBX has registered by its last answer, so that only changes are reported.
//!
//! Pure but for the clock that it is given.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::Fault;
use crate::trust::{Binding, Flow, Report, Unplaced};

/// More contacts than that no PBX of one host serves.
const BINDINGS_MAX: usize = 262_144;

/// A refreshed lifetime differs by more than listing and reading it may take.
const SAME_EXPIRY: Duration = Duration::from_secs(2);

/// One contact as a PBX lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// As the PBX writes it.
    pub(super) aor: String,
    /// The contact's URI.
    pub(super) contact: String,
    /// Where its REGISTER came from, where that is known.
    pub(super) flow: Option<Flow>,
    /// How much longer it stands.
    pub(super) lifetime: Duration,
}

/// What stands, by address of record and contact.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    standing: HashMap<(String, String), Standing>,
}

#[derive(Debug)]
struct Standing {
    flow: Flow,
    expires: Instant,
}

/// What a listing is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope<'a> {
    Everything,
    Aor(&'a str),
}

impl Ledger {
    /// Takes a listing of everything as the new state.
    pub(super) fn snapshot(&mut self, rows: Vec<Row>, now: Instant) -> Result<Report, Fault> {
        check(rows.len())?;
        self.standing.clear();
        let (mut bindings, mut unplaced) = (Vec::new(), Vec::new());
        for row in rows {
            match self.enter(&row, now) {
                Some(binding) => bindings.push(binding),
                None => unplaced.push(Unplaced { aor: row.aor, contact: row.contact }),
            }
        }
        Ok(Report::Snapshot { bindings, unplaced })
    }

    /// What is new, refreshed, moved or gone within the scope of a listing.
    pub(super) fn changes(
        &mut self,
        scope: Scope<'_>,
        rows: &[Row],
        now: Instant,
    ) -> Result<Vec<Report>, Fault> {
        check(self.standing.len() + rows.len())?;
        let listed: BTreeSet<(&str, &str)> =
            rows.iter().map(|row| (row.aor.as_str(), row.contact.as_str())).collect();
        let mut reports = Vec::new();
        self.standing.retain(|(aor, contact), standing| {
            let is_meant = match scope {
                Scope::Everything => true,
                Scope::Aor(meant) => aor == meant,
            };
            let stays = !is_meant || listed.contains(&(aor.as_str(), contact.as_str()));
            if !stays {
                let (aor, contact) = (aor.clone(), Some(contact.clone()));
                reports.push(Report::Unregistered { aor, contact, flow: Some(standing.flow) });
            }
            stays
        });
        for row in rows {
            if self.is_new(row, now) {
                reports.extend(self.enter(row, now).map(Report::Registered));
            }
        }
        Ok(reports)
    }

    /// Forgets a contact; the report, if it stood here.
    pub(super) fn remove(&mut self, aor: &str, contact: &str) -> Option<Report> {
        let (aor, contact) = (aor.to_owned(), contact.to_owned());
        let (key, standing) = self.standing.remove_entry(&(aor, contact))?;
        Some(Report::Unregistered { aor: key.0, contact: Some(key.1), flow: Some(standing.flow) })
    }

    fn is_new(&self, row: &Row, now: Instant) -> bool {
        let Some(standing) = self.standing.get(&(row.aor.clone(), row.contact.clone())) else { return true };
        let expires = now + row.lifetime;
        let apart = expires.max(standing.expires) - expires.min(standing.expires);
        apart > SAME_EXPIRY || row.flow.is_some_and(|flow| flow != standing.flow)
    }

    fn enter(&mut self, row: &Row, now: Instant) -> Option<Binding> {
        let flow = row.flow?;
        let standing = Standing { flow, expires: now + row.lifetime };
        self.standing.insert((row.aor.clone(), row.contact.clone()), standing);
        let (aor, contact) = (row.aor.clone(), row.contact.clone());
        Some(Binding { aor, contact, flow, lifetime: row.lifetime })
    }
}

fn check(count: usize) -> Result<(), Fault> {
    match count <= BINDINGS_MAX {
        true => Ok(()),
        false => Err(Fault::TooLong { what: "a list of contacts", limit: BINDINGS_MAX }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pbx::sources::flow;
    use crate::trust::SipTransport;

    fn row(aor: &str, from: Option<&str>, lifetime_s: u64) -> Row {
        let flow = from.map(|from| flow(from, "5060", SipTransport::Tls).unwrap());
        let contact = format!("sip:{aor}@10.0.0.1");
        Row { aor: aor.to_owned(), contact, flow, lifetime: Duration::from_secs(lifetime_s) }
    }

    fn binding(row: &Row) -> Binding {
        let (aor, contact) = (row.aor.clone(), row.contact.clone());
        Binding { aor, contact, flow: row.flow.unwrap(), lifetime: row.lifetime }
    }

    #[test]
    fn contacts_from_nowhere_known_are_listed_apart() {
        let (alice, bob) = (row("alice", Some("192.0.2.1"), 60), row("bob", None, 60));
        let unplaced = vec![Unplaced { aor: bob.aor.clone(), contact: bob.contact.clone() }];
        let report = Ledger::default().snapshot(vec![alice.clone(), bob], Instant::now()).unwrap();
        assert_eq!(report, Report::Snapshot { bindings: vec![binding(&alice)], unplaced });
    }

    #[test]
    fn only_what_is_new_refreshed_moved_or_gone_is_reported() {
        let now = Instant::now();
        let before = ["same", "refreshed", "moved", "gone"].map(|aor| row(aor, Some("192.0.2.1"), 60));
        let mut ledger = Ledger::default();
        ledger.snapshot(before.to_vec(), now).unwrap();
        let gone = &before[3];
        let after = [
            row("same", Some("192.0.2.1"), 50),
            row("refreshed", Some("192.0.2.1"), 60),
            row("moved", Some("192.0.2.2"), 50),
            row("new", Some("192.0.2.3"), 60),
        ];
        let reports = ledger.changes(Scope::Everything, &after, now + Duration::from_secs(10)).unwrap();
        let mut expected = vec![Report::Unregistered {
            aor: gone.aor.clone(),
            contact: Some(gone.contact.clone()),
            flow: gone.flow,
        }];
        expected.extend(after[1..].iter().map(|row| Report::Registered(binding(row))));
        assert_eq!(reports, expected);
    }

    #[test]
    fn a_listing_of_one_address_of_record_says_nothing_about_others() {
        let mut ledger = Ledger::default();
        let both = [row("alice", Some("192.0.2.1"), 60), row("bob", Some("192.0.2.2"), 60)];
        ledger.snapshot(both.to_vec(), Instant::now()).unwrap();
        let reports = ledger.changes(Scope::Aor("alice"), &[], Instant::now()).unwrap();
        assert!(matches!(&reports[..], [Report::Unregistered { aor, .. }] if aor == "alice"), "{reports:?}");
    }

    #[test]
    fn a_contact_whose_new_source_is_not_known_stays_where_it_was() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        ledger.snapshot(vec![row("alice", Some("192.0.2.1"), 60)], now).unwrap();
        assert_eq!(ledger.changes(Scope::Everything, &[row("alice", None, 600)], now).unwrap(), []);
    }
}
