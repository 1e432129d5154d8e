//! What a PBX has registered by its last answer, so that only changes are reported.
//!
//! Pure but for the clock that it is given.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
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

/// What stands, by address of record and contact, so that one address of record costs no more than it has.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    standing: HashMap<String, HashMap<String, Standing>>,
    /// Of contacts.
    count: usize,
}

#[derive(Debug)]
struct Standing {
    /// None where the PBX has not said it since we asked first: what it said before may stand elsewhere.
    flow: Option<Flow>,
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
        *self = Ledger::default();
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
        check(rows.len())?;
        let listed: HashSet<(&str, &str)> =
            rows.iter().map(|row| (row.aor.as_str(), row.contact.as_str())).collect();
        let mut reports = Vec::new();
        match scope {
            Scope::Everything => self.standing.retain(|aor, contacts| {
                retain(aor, contacts, &listed, &mut reports);
                !contacts.is_empty()
            }),
            Scope::Aor(aor) => {
                if let Some(contacts) = self.standing.get_mut(aor) {
                    retain(aor, contacts, &listed, &mut reports);
                    if contacts.is_empty() {
                        self.standing.remove(aor);
                    }
                }
            }
        }
        self.count -= reports.len();
        for row in rows {
            if self.is_new(row, now) {
                reports.extend(self.enter(row, now).map(Report::Registered));
            }
        }
        check(self.count)?;
        Ok(reports)
    }

    /// Forgets a contact; the report, if it stood here.
    pub(super) fn remove(&mut self, aor: &str, contact: &str) -> Option<Report> {
        let contacts = self.standing.get_mut(aor)?;
        let standing = contacts.remove(contact)?;
        if contacts.is_empty() {
            self.standing.remove(aor);
        }
        self.count -= 1;
        Some(gone(aor, contact, &standing))
    }

    fn is_new(&self, row: &Row, now: Instant) -> bool {
        let contacts = self.standing.get(&row.aor);
        let Some(standing) = contacts.and_then(|contacts| contacts.get(&row.contact)) else { return true };
        let expires = now + row.lifetime;
        let apart = expires.max(standing.expires) - expires.min(standing.expires);
        apart > SAME_EXPIRY || row.flow.is_some_and(|flow| Some(flow) != standing.flow)
    }

    /// What is to be told of a row; nothing where nobody says where from, and then a place that is known stays.
    fn enter(&mut self, row: &Row, now: Instant) -> Option<Binding> {
        // To say that it went would be to say that all went.
        if row.flow.is_none() && row.contact.is_empty() {
            return None;
        }
        let standing = Standing { flow: row.flow, expires: now + row.lifetime };
        match self.standing.entry(row.aor.clone()).or_default().entry(row.contact.clone()) {
            Entry::Occupied(mut entry) if row.flow.is_some() => drop(entry.insert(standing)),
            Entry::Occupied(_) => {}
            Entry::Vacant(entry) => {
                entry.insert(standing);
                self.count += 1;
            }
        }
        let flow = row.flow?;
        Some(Binding { aor: row.aor.clone(), contact: row.contact.clone(), flow, lifetime: row.lifetime })
    }
}

/// Keeps the contacts of an address of record that are listed, and reports the others.
fn retain(
    aor: &str,
    contacts: &mut HashMap<String, Standing>,
    listed: &HashSet<(&str, &str)>,
    reports: &mut Vec<Report>,
) {
    contacts.retain(|contact, standing| {
        let stays = listed.contains(&(aor, contact.as_str()));
        if !stays {
            reports.push(gone(aor, contact, standing));
        }
        stays
    });
}

fn gone(aor: &str, contact: &str, standing: &Standing) -> Report {
    Report::Unregistered { aor: aor.to_owned(), contact: Some(contact.to_owned()), flow: standing.flow }
}

fn check(count: usize) -> Result<(), Fault> {
    match count <= BINDINGS_MAX {
        true => Ok(()),
        false => Err(Fault::TooLong { what: "a list of contacts", limit: BINDINGS_MAX }),
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

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

    #[test]
    fn the_departure_of_a_contact_from_nowhere_known_is_reported_by_its_name() {
        let (now, bob) = (Instant::now(), row("bob", None, 60));
        let mut ledger = Ledger::default();
        ledger.snapshot(vec![bob.clone()], now).unwrap();
        assert_eq!(ledger.changes(Scope::Everything, slice::from_ref(&bob), now).unwrap(), []);
        let gone =
            Report::Unregistered { aor: bob.aor.clone(), contact: Some(bob.contact.clone()), flow: None };
        assert_eq!(ledger.changes(Scope::Everything, &[], now).unwrap(), slice::from_ref(&gone));
        // One that came while the link was up is no different.
        assert_eq!(ledger.changes(Scope::Aor("bob"), slice::from_ref(&bob), now).unwrap(), []);
        assert_eq!(ledger.remove(&bob.aor, &bob.contact), Some(gone));
        let placed = row("bob", Some("192.0.2.1"), 60);
        ledger.changes(Scope::Everything, &[bob], now).unwrap();
        let reports = ledger.changes(Scope::Everything, slice::from_ref(&placed), now).unwrap();
        assert_eq!(reports, [Report::Registered(binding(&placed))]);
    }

    #[test]
    fn the_departure_of_a_contact_without_a_name_or_a_place_is_no_word_about_others() {
        let unnamed = Row { contact: String::new(), ..row("bob", None, 60) };
        let mut ledger = Ledger::default();
        ledger.snapshot(vec![unnamed], Instant::now()).unwrap();
        assert_eq!(ledger.changes(Scope::Everything, &[], Instant::now()).unwrap(), []);
    }

    #[test]
    fn a_list_that_was_short_enough_once_is_so_again() {
        let rows: Vec<Row> =
            (0..=BINDINGS_MAX / 2).map(|user| row(&user.to_string(), Some("192.0.2.1"), 60)).collect();
        let mut ledger = Ledger::default();
        ledger.snapshot(rows.clone(), Instant::now()).unwrap();
        assert_eq!(ledger.changes(Scope::Everything, &rows, Instant::now()).unwrap(), []);
    }
}
