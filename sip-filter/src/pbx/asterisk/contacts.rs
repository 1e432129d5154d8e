//! The answer to `PJSIPShowContacts`, as it comes in.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::super::fault::Fault;
use super::super::ledger::Row;
use super::super::messages::Message;
use super::super::sources::Sources;

/// More contacts than that no Asterisk serves.
const CONTACTS_MAX: usize = 262_144;

/// A list that is under way.
pub(super) struct Listing {
    /// The action's name.
    pub(super) id: String,
    pub(super) began: Instant,
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
    pub(super) fn new(id: String, began: Instant) -> Self {
        Self { id, began, contacts: Vec::new() }
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
    pub(super) fn rows(self, sources: &Sources, now: SystemTime) -> Vec<Row> {
        let row = |contact: Contact| {
            let lifetime = contact.expires.duration_since(now).ok().filter(|left| !left.is_zero())?;
            let flow = sources.find(&contact.endpoint, &contact.call_id);
            Some(Row { aor: contact.aor, contact: contact.uri, flow, lifetime })
        };
        self.contacts.into_iter().filter_map(row).collect()
    }
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
