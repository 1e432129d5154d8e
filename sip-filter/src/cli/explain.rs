//! `explain`: the loaded program's own answer.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use super::{Global, Usage, output};
use crate::{
    control::{Cause, Explanation, Question, Request, TransportName, client::call},
    explain,
};

/// A source port that a client may have, where none is given.
const ANY_PORT: u16 = 49_152;

/// The packet in question.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sip-filter explain --from 203.0.113.20:5060 --to :5060 --transport udp\n  sip-filter explain --from 2001:db8::7 --to [2001:db8::1]:5061 --transport tcp --json"
)]
pub(super) struct Arguments {
    /// Its source, such as 192.0.2.1, 192.0.2.1:5060 or [2001:db8::1]:5060.
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    from: String,
    /// Its destination on this host, such as 198.51.100.1:5060 or [2001:db8::2]:5060; without an address, any local one.
    #[arg(long, value_name = "[ADDRESS]:PORT")]
    to: String,
    /// Its transport.
    #[arg(long, value_enum)]
    transport: TransportName,
    /// What it carries.
    #[arg(long, value_name = "FILE")]
    payload: Option<PathBuf>,
    /// The VLAN it comes on.
    #[arg(long, value_name = "ID", default_value_t = 0, hide_default_value = true)]
    vlan: u16,
}

pub(super) fn run(global: &Global, arguments: Arguments) -> anyhow::Result<()> {
    let from = source(&arguments.from)?;
    let payload = match &arguments.payload {
        None => Vec::new(),
        Some(path) => std::fs::read(path)
            .map_err(|error| Usage(format!("cannot read the payload {}: {error}", path.display())))?,
    };
    let question = Question {
        from,
        to: destination(&arguments.to, from)?,
        transport: arguments.transport,
        vlan: arguments.vlan,
        payload,
    };
    explain::frame(&question).map_err(|error| Usage(error.to_string()))?;
    let explanation: Explanation = call(&global.socket, &Request::Explain(question))?;
    if global.json {
        return output::json(&explanation);
    }
    let Explanation { verdict, reason, because, mode } = explanation;
    let because = match because {
        None => String::new(),
        Some(Cause::Policy(because)) => format!(", because of {because}"),
        Some(Cause::Registration { registration, trunk, remaining_ms, .. }) => {
            let trunk = trunk.map(|trunk| format!(" of trunk {trunk}")).unwrap_or_default();
            let remaining = output::duration(remaining_ms);
            format!(", because of the registration of {registration}{trunk} for {remaining} more")
        }
        Some(Cause::Ban { cause, remaining_ms, .. }) => {
            format!(", because of a ban for {} more ({cause})", output::duration(remaining_ms))
        }
    };
    let monitor =
        if mode == "monitor" && verdict == "drop" { " (passed, since the mode is monitor)" } else { "" };
    output::print(&format!("{verdict}: {reason}{because}{monitor}"))
}

fn source(text: &str) -> Result<SocketAddr, Usage> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address.to_canonical(), ANY_PORT));
    }
    text.parse().map(canonical).map_err(|_| {
        Usage(format!("--from {text} is no address: write 192.0.2.1, 192.0.2.1:5060 or [2001:db8::1]:5060"))
    })
}

/// An IPv4-mapped IPv6 address is how sockets show IPv4 ones.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// An absent or empty address stands for any local one of the source's IP version.
fn destination(text: &str, from: SocketAddr) -> Result<SocketAddr, Usage> {
    let port = text.strip_prefix("[]").or(Some(text)).and_then(|text| text.strip_prefix(':')).unwrap_or(text);
    if let Ok(port) = port.parse::<u16>() {
        let any = if from.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        return Ok(SocketAddr::new(any, port));
    }
    text.parse().map_err(|_| {
        Usage(format!("--to {text} is no destination: write 198.51.100.1:5060, [2001:db8::2]:5060 or :5060"))
    })
}
