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
use super::usrloc::{self, Dialect, Names, row, unanswered};
use crate::policy::Pbx;

/// Where `event_route[xhttp:request]` dispatches JSON-RPC, by the words of Kamailio's own examples.
const PATH: &str = "/RPC";
const VARIABLE: &str = "sip_filter";
const TABLE: &str = "location";
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
    async fn dump(&mut self, rpc: &mut Rpc) -> Result<Value, Fault> {
        let is_by_datagrams = rpc.is_by_datagrams();
        let remedy = "load usrloc.so";
        match rpc.call("ul.dump", json!([])).await {
            Ok(answer) => answer.map_err(|objection| unanswered("ul.dump", objection, remedy)),
            Err(Fault::Silent { .. }) if is_by_datagrams => Err(Fault::Unanswered {
                asked: "ul.dump",
                said: "nothing came".to_owned(),
                remedy: "more than some 150 contacts do not fit into a datagram: have Kamailio answer by HTTP, as \
                         docs/kamailio-sip-filter.cfg shows, and set `address` to that host:port",
            }),
            Err(fault) => Err(fault),
        }
    }

    async fn lookup(&mut self, rpc: &mut Rpc, aor: &str) -> Result<Option<Value>, Fault> {
        let user = aor.split('@').next().unwrap_or(aor);
        // Without `use_domain` the table knows users only.
        for name in [aor, user] {
            if let Ok(value) = rpc.call("ul.lookup", json!([TABLE, name])).await? {
                return Ok(Some(value));
            }
        }
        Ok(None)
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

    fn rows(&self, value: &Value) -> Vec<Row> {
        let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned();
        let mut rows = Vec::new();
        let mut take = |info: &Value| {
            let aor = info.get("AoR").and_then(Value::as_str).unwrap_or_default();
            for contact in list(info, "Contacts").unwrap_or_default() {
                rows.extend(contact.get("Contact").and_then(|contact| row(aor, contact, &NAMES)));
            }
        };
        let domains = list(value, "Domains").unwrap_or_default();
        let domains = domains.iter().filter_map(|domain| domain.get("Domain"));
        for aor in domains.flat_map(|domain| list(domain, "AoRs").unwrap_or_default()) {
            aor.get("Info").map(&mut take);
        }
        // A look-up has the row itself.
        take(value);
        rows
    }
}
