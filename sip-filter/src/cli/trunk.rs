//! `trunk`: what is known of trunks.

use super::{Global, output};
use crate::control::{Request, TrunkEntry, client::call};

/// What `trunk` does.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Every trunk with its lists.
    List,
}

pub(super) fn run(global: &Global, Action::List: Action) -> anyhow::Result<()> {
    let trunks: Vec<TrunkEntry> = call(&global.socket, &Request::TrunkList)?;
    if global.json {
        return output::json(&trunks);
    }
    let mut table = output::table(&["trunk", "allow", "deny", "media", "outbound proxies", "listeners"]);
    for trunk in trunks {
        table.add_row([
            trunk.name,
            in_short(&trunk.allow),
            in_short(&trunk.deny),
            in_short(&trunk.media),
            trunk.outbound_proxies.join("\n"),
            trunk.listeners.join("\n"),
        ]);
    }
    output::print(&table.to_string())
}

/// A list of a million prefixes is not for the eye.
fn in_short(prefixes: &[ipnet::IpNet]) -> String {
    const SHOWN: usize = 8;
    let mut lines: Vec<_> = prefixes.iter().take(SHOWN).map(ToString::to_string).collect();
    if prefixes.len() > SHOWN {
        lines.push(format!("and {} more", prefixes.len() - SHOWN));
    }
    lines.join("\n")
}
