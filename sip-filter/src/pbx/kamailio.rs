//! Kamailio, by the JSON-RPC of its module `jsonrpcs`, and datagrams that a route sends.
//!
//! The way that asks least of an operator is the module's Unix socket: loading the module opens it, its file's rights
//! protect it, and there is no secret to keep. It carries some 150 contacts; beyond that it takes HTTP.
//! Kamailio has no event for a registration, so a line in the route sends one (`docs/kamailio-sip-filter.cfg`), to
//! wherever the shared variable `sip_filter` says; writing it is how a connector subscribes, and reading it tells a
//! Kamailio that was started anew.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::Fault;
use super::ledger::Row;
use super::link::Outlet;
use super::rpc::Rpc;
use super::usrloc::{self, Dialect, Found, Listing, Names, list, no_dump, row, unanswered};
use crate::policy::Pbx;

/// Where `event_route[xhttp:request]` dispatches JSON-RPC, by the words of Kamailio's own examples.
const PATH: &str = "/RPC";
const VARIABLE: &str = "sip_filter";
const NAMES: Names = Names { contact: "Address" };

const NO_SNIPPET: &str = "connected, but Kamailio sends no events, so that changes are seen once a minute: put \
     docs/kamailio-sip-filter.cfg into its configuration";

pub(super) async fn session(pbx: &Pbx, outlet: &Outlet) -> Result<std::convert::Infallible, Fault> {
    let rpc = Rpc::open(&pbx.address, PATH)?;
    usrloc::session(Kamailio { subscribed: None }, rpc, pbx, outlet).await
}

struct Kamailio {
    /// The variable's value as we wrote it.
    subscribed: Option<String>,
}

impl Dialect for Kamailio {
    async fn dump(&mut self, rpc: &mut Rpc) -> Result<Listing, Fault> {
        let is_by_datagrams = rpc.is_by_datagrams();
        match rpc.read("ul.dump", json!([]), |dump| listing(&dump)).await {
            Ok(Ok(listing)) => listing.ok_or_else(|| no_dump("ul.dump")),
            Ok(Err(objection)) => Err(unanswered("ul.dump", objection, "load usrloc.so")),
            Err(Fault::Silent { .. }) if is_by_datagrams => Err(Fault::Unanswered {
                asked: "ul.dump",
                said: "nothing came".to_owned(),
                remedy: "more than some 150 contacts do not fit into a datagram: have Kamailio answer by HTTP, as \
                         docs/kamailio-sip-filter.cfg shows, and set `address` to that host:port",
            }),
            Err(fault) => Err(fault),
        }
    }

    /// Without `use_domain` Kamailio takes the domain off by itself.
    async fn lookup(&mut self, rpc: &mut Rpc, table: &str, aor: &str) -> Result<Found, Fault> {
        Ok(Found::of(rpc.read("ul.lookup", json!([table, aor]), |info| rows_of(&info)).await?))
    }

    async fn subscribe(&mut self, rpc: &mut Rpc, to: SocketAddr) -> Result<Option<&'static str>, Fault> {
        let destination = format!("sip:{to}");
        if let Some(subscribed) = &self.subscribed {
            return match rpc.call("pv.shvGet", json!([VARIABLE])).await? {
                Ok(value) if value.get("value").and_then(Value::as_str) == Some(subscribed) => Ok(None),
                _ => Err(Fault::Restarted),
            };
        }
        match rpc.call("pv.shvSet", json!([VARIABLE, "str", destination])).await? {
            Ok(_) => {
                self.subscribed = Some(destination);
                Ok(None)
            }
            Err(_) => Ok(Some(NO_SNIPPET)),
        }
    }

    fn event(&self, datagram: &[u8]) -> Option<String> {
        let aor = std::str::from_utf8(datagram).ok()?.trim();
        (!aor.is_empty()).then(|| aor.to_owned())
    }
}

fn listing(dump: &Value) -> Option<Listing> {
    let domains = || list(dump, "Domains").map(|list| list.iter().filter_map(|entry| entry.get("Domain")));
    let names = domains()?.filter_map(|domain| domain.get("Domain")?.as_str().map(str::to_owned));
    let aors = domains()?.filter_map(|domain| list(domain, "AoRs")).flatten();
    let rows = aors.filter_map(|aor| rows_of(aor.get("Info")?)).flatten();
    Some(Listing { tables: names.collect(), rows: rows.collect() })
}

/// Of one address of record: a look-up has what a dump has as its `Info`.
fn rows_of(info: &Value) -> Option<Vec<Row>> {
    let aor = info.get("AoR")?.as_str()?;
    let contacts = list(info, "Contacts")?;
    Some(contacts.iter().filter_map(|entry| row(aor, entry.get("Contact")?, &NAMES)).collect())
}
