//! `trunk`: what is known of trunks.

use super::{Global, output};
use crate::control::{Listed, Request, TrunkEntry, client::call};

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
    let header = [
        "trunk",
        "allow",
        "deny",
        "media",
        "outbound proxies",
        "listeners",
        "registrations",
        "registered at",
    ];
    let mut table = output::table(&header);
    for trunk in trunks {
        let registered_at = trunk.registered_at.iter().map(ToString::to_string).collect::<Vec<_>>();
        let registered_at = match &registered_at[..] {
            [] if trunk.registrations.is_empty() => "-".to_owned(),
            [] => "nowhere".to_owned(),
            addresses => addresses.join("\n"),
        };
        table.add_row([
            trunk.name,
            in_short(&trunk.allow),
            in_short(&trunk.deny),
            in_short(&trunk.media),
            trunk.outbound_proxies.join("\n"),
            trunk.listeners.join("\n"),
            trunk.registrations.join("\n"),
            registered_at,
        ]);
    }
    output::print(&table.to_string())
}

/// A list of a million prefixes is not for the eye.
fn in_short(entries: &[Listed]) -> String {
    const SHOWN: usize = 8;
    let line = |entry: &Listed| match entry {
        Listed::Prefix(prefix) => prefix.to_string(),
        Listed::File(source) => output::source(source),
        Listed::Removed { removed } => format!("{removed} removed"),
    };
    let mut lines: Vec<_> = entries.iter().take(SHOWN).map(line).collect();
    if entries.len() > SHOWN {
        lines.push(format!("and {} more", entries.len() - SHOWN));
    }
    lines.join("\n")
}
