//! OpenSIPS, by its management interface over HTTP (`mi_http`), and event datagrams (`event_datagram`).
//!
//! Events are subscribed to by the management interface itself, for a minute at a time, so there is nothing to configure
//! but the two modules.

use std::convert::Infallible;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::Fault;
use super::ledger::Row;
use super::link::Outlet;
use super::rpc::{Answer, Rpc};
use super::usrloc::{self, Dialect, Found, Listing, Names, list, no_dump, row, unanswered};
use crate::policy::Pbx;

/// `mi_http`'s own default for `root`.
const PATH: &str = "/mi";
const NAMES: Names = Names { contact: "Contact" };
/// Longer than between two subscriptions.
const SUBSCRIPTION_S: u32 = 60;
const METHOD_NOT_FOUND: i64 = -32601;
const EVENTS: [&str; 5] = [
    "E_UL_CONTACT_INSERT",
    "E_UL_CONTACT_UPDATE",
    "E_UL_CONTACT_REFRESH",
    "E_UL_CONTACT_DELETE",
    "E_UL_AOR_DELETE",
];

const NO_EVENTS: &str = "connected, but OpenSIPS takes no subscription to E_UL_CONTACT_INSERT, so that changes are seen \
     once a minute: load event_datagram.so";

pub(super) async fn session(pbx: &Pbx, outlet: &Outlet) -> Result<Infallible, Fault> {
    let rpc = Rpc::open(&pbx.address, PATH)?;
    usrloc::session(Opensips, rpc, pbx, outlet).await
}

struct Opensips;

impl Dialect for Opensips {
    async fn dump(&mut self, rpc: &mut Rpc) -> Result<Listing, Fault> {
        let answer = read(rpc, ["ul_dump", "usrloc:dump"], json!({}), |dump| listing(&dump)).await?;
        let listing = answer.map_err(|objection| unanswered("ul_dump", objection, "load usrloc.so"))?;
        listing.ok_or_else(|| no_dump("ul_dump"))
    }

    async fn lookup(&mut self, rpc: &mut Rpc, table: &str, aor: &str) -> Result<Found, Fault> {
        let parameters = json!({"table_name": table, "aor": aor});
        let names = ["ul_show_contact", "usrloc:show_contact"];
        Ok(Found::of(read(rpc, names, parameters, |entry| rows_of(&entry)).await?))
    }

    async fn subscribe(&mut self, rpc: &mut Rpc, to: SocketAddr) -> Result<Option<&'static str>, Fault> {
        let mut taken = 0;
        for event in EVENTS {
            let parameters = json!({"event": event, "socket": format!("udp:{to}"), "expire": SUBSCRIPTION_S});
            // Older ones lack some of the events.
            let names = ["event_subscribe", "evi:subscribe"];
            taken += u32::from(read(rpc, names, parameters, drop).await?.is_ok());
        }
        Ok((taken == 0).then_some(NO_EVENTS))
    }

    fn event(&self, datagram: &[u8]) -> Option<String> {
        let event: Value = serde_json::from_slice(datagram).ok()?;
        event.get("method")?.as_str()?.strip_prefix("E_UL_")?;
        Some(event.get("params")?.get("aor")?.as_str()?.to_owned())
    }
}

fn listing(dump: &Value) -> Option<Listing> {
    let domains = list(dump, "Domains")?;
    let names = domains.iter().filter_map(|domain| domain.get("name")?.as_str().map(str::to_owned));
    let aors = domains.iter().filter_map(|domain| list(domain, "AORs")).flatten();
    Some(Listing { tables: names.collect(), rows: aors.filter_map(rows_of).flatten().collect() })
}

/// Of one address of record.
fn rows_of(entry: &Value) -> Option<Vec<Row>> {
    let aor = entry.get("AOR")?.as_str()?;
    let contacts = list(entry, "Contacts")?;
    Some(contacts.iter().filter_map(|contact| row(aor, contact, &NAMES)).collect())
}

/// By the name that most versions have, or else by the newer one.
async fn read<T: Send + 'static>(
    rpc: &mut Rpc,
    names: [&'static str; 2],
    parameters: Value,
    reader: fn(Value) -> T,
) -> Answer<T> {
    match rpc.read(names[0], parameters.clone(), reader).await? {
        Err(objection) if objection.code == METHOD_NOT_FOUND => rpc.read(names[1], parameters, reader).await,
        answer => Ok(answer),
    }
}

#[cfg(test)]
mod tests;
