//! `registration`: who is registered now, and what the operator says about that.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize as _, de::IntoDeserializer as _, de::value::Error};

use super::{Global, Usage, output};
use crate::{
    control::{RegistrationEntry, RegistrationPlace, Request, client::call},
    trust::{SipTransport, Witness},
};

/// What `registration` does.
#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "Examples:\n  sip-filter registration add alice@example.com --from 198.51.100.20:5060 --for 1h\n  sip-filter registration list"
)]
pub(super) enum Action {
    /// Take an address of record for registered, as if the SIP server had said so: for tests, and for PBXs that report
    /// nothing.
    Add(Add),
    /// Take it for registered no more, whoever said so; a client that registers again is let in again.
    Remove {
        /// The address of record, such as alice or alice@example.com.
        aor: String,
        /// Only from there; without it, from everywhere.
        #[arg(long, value_name = "ADDRESS[:PORT]")]
        from: Option<String>,
    },
    /// Every registration that stands.
    List,
}

/// One registration.
#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// The address of record, such as alice or alice@example.com.
    aor: String,
    /// Where it registered from, such as 198.51.100.20, 198.51.100.20:5060 or [2001:db8::1]:5060.
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    from: String,
    /// For how long, such as 90s, 1h or 12h, and 24h at most; the kernel ends it.
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// How: udp, tcp, tls, ws or wss.
    #[arg(long, default_value = "udp", value_parser = transport)]
    transport: SipTransport,
}

pub(super) fn run(global: &Global, action: Action) -> anyhow::Result<()> {
    match action {
        Action::Add(Add { aor, from, duration, transport }) => {
            let for_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            let from = place(&from)?;
            let request = Request::RegistrationAdd { aor, from, transport, for_ms };
            let entry: RegistrationEntry = call(&global.socket, &request)?;
            if global.json {
                return output::json(&entry);
            }
            let RegistrationEntry { aor, remaining_ms, .. } = &entry;
            output::print(&format!(
                "{aor} is registered at {} for {}",
                at(&entry),
                output::duration(*remaining_ms)
            ))
        }
        Action::Remove { aor, from } => {
            let from = from.as_deref().map(place).transpose()?;
            let removed: Vec<RegistrationEntry> =
                call(&global.socket, &Request::RegistrationRemove { aor, from })?;
            if global.json {
                return output::json(&removed);
            }
            removed.iter().try_for_each(|entry| {
                output::print(&format!("{} is no longer registered at {}", entry.aor, at(entry)))
            })
        }
        Action::List => {
            let entries: Vec<RegistrationEntry> = call(&global.socket, &Request::RegistrationList)?;
            if global.json {
                return output::json(&entries);
            }
            show(entries)
        }
    }
}

fn show(entries: Vec<RegistrationEntry>) -> anyhow::Result<()> {
    let mut table =
        output::table(&["registration", "from", "transport", "ends in", "said by", "trunk", "contact"]);
    for entry in entries {
        let from = at(&entry);
        let said_by = match entry.witness {
            Witness::Wire => "wire".to_owned(),
            Witness::Pbx(name) => name,
            Witness::Operator => "operator".to_owned(),
        };
        let contact = entry.contact.unwrap_or_else(|| "-".to_owned());
        table.add_row([
            entry.aor,
            from,
            name(entry.transport).to_owned(),
            output::duration(entry.remaining_ms),
            said_by,
            entry.trunk.unwrap_or_else(|| "-".to_owned()),
            contact,
        ]);
    }
    output::print(&table.to_string())
}

/// Address and port, or the address where the port is not known.
fn at(entry: &RegistrationEntry) -> String {
    match entry.port {
        0 => entry.address.to_string(),
        port => SocketAddr::new(entry.address, port).to_string(),
    }
}

fn place(text: &str) -> Result<RegistrationPlace, Usage> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(RegistrationPlace { address: address.to_canonical(), port: 0 });
    }
    match text.parse::<SocketAddr>() {
        Ok(socket) if socket.port() != 0 => {
            Ok(RegistrationPlace { address: socket.ip().to_canonical(), port: socket.port() })
        }
        _ => Err(Usage(format!(
            "--from {text} is no address: write 192.0.2.1, 192.0.2.1:5060 or [2001:db8::1]:5060"
        ))),
    }
}

fn transport(text: &str) -> Result<SipTransport, String> {
    let known = SipTransport::deserialize(text.into_deserializer());
    known.map_err(|_: Error| "write udp, tcp, tls, ws or wss".to_owned())
}

fn name(transport: SipTransport) -> &'static str {
    match transport {
        SipTransport::Udp => "udp",
        SipTransport::Tcp => "tcp",
        SipTransport::Tls => "tls",
        SipTransport::Ws => "ws",
        SipTransport::Wss => "wss",
    }
}
