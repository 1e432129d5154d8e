//! The answer to `PJSIPShowContacts`, as it comes in.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::super::fault::Fault;
use super::super::ledger::Row;
use super::super::messages::Message;
use super::super::sources::{Moment, Sources};

/// More contacts than that no Asterisk serves.
const CONTACTS_MAX: usize = 262_144;

/// A list that is under way.
pub(super) struct Listing {
    /// The action's name.
    pub(super) id: String,
    pub(super) began: Instant,
    /// What was learnt after that may be about what the list shows, or about what it does not show yet.
    asked: Moment,
    contacts: Vec<Contact>,
}

struct Contact {
    aor: String,
    uri: String,
    endpoint: String,
    call_id: String,
    expires: SystemTime,
}

impl Listing {
    pub(super) fn new(id: String, began: Instant, asked: Moment) -> Self {
        Self { id, began, asked, contacts: Vec::new() }
    }

    /// Takes one message of the answer; true when it was the last.
    pub(super) fn hear(&mut self, message: &Message) -> Result<bool, Fault> {
        if message.header("Response") == Some("Error") {
            let said = message.header("Message").unwrap_or("no reason given");
            // That is how Asterisk says that the list is empty.
            return if said == "No Contacts found" { Ok(true) } else { Err(unanswered(said)) };
        }
        match message.header("Event") {
            Some("ContactListComplete") => return Ok(true),
            Some("ContactList") => self.contacts.extend(Contact::of(message)),
            _ => {}
        }
        match self.contacts.len() <= CONTACTS_MAX {
            true => Ok(false),
            false => Err(Fault::TooLong { what: "a list of contacts", limit: CONTACTS_MAX }),
        }
    }

    /// A contact went away while the list was under way.
    pub(super) fn forget(&mut self, aor: &str, uri: &str) {
        self.contacts.retain(|contact| contact.aor != aor || contact.uri != uri);
    }

    /// The contacts that still stand, each where its account proved itself.
    pub(super) fn rows(self, before: &mut Expiries, sources: &mut Sources, now: SystemTime) -> Vec<Row> {
        let mut expiries = HashMap::new();
        let mut rows = Vec::new();
        for contact in self.contacts {
            let Some(lifetime) = contact.expires.duration_since(now).ok().filter(|left| !left.is_zero())
            else {
                continue;
            };
            let key = (contact.aor.clone(), contact.uri.clone());
            let was_refreshed = before.listed.get(&key).is_some_and(|expires| *expires != contact.expires);
            let refreshed = was_refreshed.then_some(before.at);
            expiries.insert(key, contact.expires);
            let flow = sources.find(&contact.endpoint, &contact.call_id, refreshed);
            rows.push(Row { aor: contact.aor, contact: contact.uri, flow, lifetime });
        }
        *before = Expiries { listed: expiries, at: self.asked };
        rows
    }
}

/// When contacts would end by the list before, which tells those that were refreshed since.
#[derive(Default)]
pub(super) struct Expiries {
    /// By address of record and URI.
    listed: HashMap<(String, String), SystemTime>,
    at: Moment,
}

impl Contact {
    /// None for a contact that stands in the configuration: nobody registered it.
    fn of(message: &Message) -> Option<Self> {
        let call_id = message.header("CallId").filter(|call_id| !call_id.is_empty())?;
        let name = message.header("ObjectName")?;
        let (aor, _) = name.split_once(";@").or_else(|| name.split_once("@@"))?;
        let expires_s = message.header("ExpirationTime")?.parse().ok()?;
        Some(Self {
            aor: aor.to_owned(),
            uri: message.header("Uri")?.to_owned(),
            endpoint: message.header("Endpoint")?.to_owned(),
            call_id: call_id.to_owned(),
            expires: SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(expires_s))?,
        })
    }
}

fn unanswered(said: &str) -> Fault {
    Fault::Unanswered {
        asked: "PJSIPShowContacts",
        said: said.to_owned(),
        remedy: "give the user `write = system` in manager.conf, and have res_pjsip.so loaded",
    }
}
