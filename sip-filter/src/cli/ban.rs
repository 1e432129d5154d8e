//! `ban`: refuse an address for a while.

use std::{net::IpAddr, time::Duration};

use super::{Global, output};
use crate::control::{BanEntry, Banned, Request, client::call};

/// What `ban` does.
#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "Examples:\n  sip-filter ban add 198.51.100.9 --for 1h --cause \"called premium numbers\"\n  sip-filter ban list"
)]
pub(super) enum Action {
    /// Refuse an address until the ban expires; `admin` is not affected.
    Add(Add),
    /// Lift a ban.
    Remove {
        /// Whose.
        address: IpAddr,
    },
    /// Every ban in force.
    List,
}

/// One ban.
#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// Who.
    address: IpAddr,
    /// For how long, such as 90s, 1h or 7d; the kernel ends it.
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Why, for the list and for `explain`.
    #[arg(long, value_name = "TEXT", default_value = "manual")]
    cause: String,
}

pub(super) fn run(global: &Global, action: Action) -> anyhow::Result<()> {
    match action {
        Action::Add(Add { address, duration, cause }) => {
            let for_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            let banned: Banned = call(&global.socket, &Request::BanAdd { address, for_ms, cause })?;
            if global.json {
                return output::json(&banned);
            }
            let Banned { ban, warning } = banned;
            if let Some(warning) = warning {
                output::print(&format!("warning: {warning}"))?;
            }
            output::print(&format!("{} is banned for {}", ban.address, output::duration(ban.remaining_ms)))
        }
        Action::Remove { address } => {
            let () = call(&global.socket, &Request::BanRemove { address })?;
            if global.json {
                return output::json(&());
            }
            output::print(&format!("{address} is no longer banned"))
        }
        Action::List => {
            let bans: Vec<BanEntry> = call(&global.socket, &Request::BanList)?;
            if global.json {
                return output::json(&bans);
            }
            let mut table = output::table(&["address", "ends in", "cause"]);
            for BanEntry { address, remaining_ms, cause } in bans {
                table.add_row([address.to_string(), output::duration(remaining_ms), cause]);
            }
            output::print(&table.to_string())
        }
    }
}
