//! `allow` and `deny`: live changes to the lists.

use super::{Global, Usage, output};
use crate::{
    control::{Changed, Entry, ListKind, Request, client::call},
    policy::{
        change::{Action, List, ListChange},
        prefix::parse_prefix,
    },
};

/// What `allow` does.
#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "Examples:\n  sip-filter allow add 203.0.113.77 --trunk provider --save\n  sip-filter allow list"
)]
pub(super) enum Allow {
    /// Let a prefix in, at once.
    Add(AllowChange),
    /// Take a prefix off the list.
    Remove(AllowChange),
    /// Every entry, and whose it is.
    List,
}

/// What `deny` does.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:\n  sip-filter deny add 198.51.100.0/24 --save\n  sip-filter deny list")]
pub(super) enum Deny {
    /// Refuse a prefix, at once; wins over every allow.
    Add(Change),
    /// Take a prefix off the list.
    Remove(Change),
    /// Every entry, and whose it is.
    List,
}

/// One prefix of an allow list.
#[derive(Debug, clap::Args)]
pub(super) struct AllowChange {
    #[command(flatten)]
    change: Change,
    /// The trunk whose allow list is meant; without it the plain one, `[allow]`.
    #[arg(long, value_name = "NAME")]
    trunk: Option<String>,
}

/// One prefix.
#[derive(Debug, clap::Args)]
pub(super) struct Change {
    /// An address or a prefix, such as 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32.
    prefix: String,
    /// Also change the policy file, keeping its comments; without it the change ends with the next apply or restart.
    #[arg(long)]
    save: bool,
}

pub(super) fn allow(global: &Global, action: Allow) -> anyhow::Result<()> {
    let list = |trunk: Option<String>| trunk.map_or(List::Allow, List::Trunk);
    match action {
        Allow::Add(AllowChange { change, trunk }) => run(global, change, list(trunk), Action::Add),
        Allow::Remove(AllowChange { change, trunk }) => run(global, change, list(trunk), Action::Remove),
        Allow::List => show(global, ListKind::Allow),
    }
}

pub(super) fn deny(global: &Global, action: Deny) -> anyhow::Result<()> {
    match action {
        Deny::Add(change) => run(global, change, List::Deny, Action::Add),
        Deny::Remove(change) => run(global, change, List::Deny, Action::Remove),
        Deny::List => show(global, ListKind::Deny),
    }
}

fn run(global: &Global, Change { prefix, save }: Change, list: List, action: Action) -> anyhow::Result<()> {
    let prefix = parse_prefix(&prefix).map_err(|error| Usage(error.to_string()))?;
    let done = match action {
        Action::Add => format!("{prefix} is on {list}"),
        Action::Remove => format!("{prefix} is off {list}"),
    };
    let change = ListChange { list, prefix, action };
    let changed: Changed = call(&global.socket, &Request::Change { change, save })?;
    if global.json {
        return output::json(&changed);
    }
    if let Some(note) = changed.note {
        output::print(&format!("note: {note}"))?;
    }
    output::print(&match changed.saved_to {
        Some(path) => format!("{done}, and in {}", path.display()),
        None => format!("{done} until the next apply or restart; --save keeps it"),
    })
}

fn show(global: &Global, list: ListKind) -> anyhow::Result<()> {
    let entries: Vec<Entry> = call(&global.socket, &Request::List { list })?;
    if global.json {
        return output::json(&entries);
    }
    let mut table = output::table(&["prefix", "trunk", "saved"]);
    for entry in entries {
        let yes_or_no = |saved| if saved { "yes" } else { "no" };
        let (what, trunk, saved) = match entry {
            Entry::Prefix { prefix, trunk, saved } => (prefix.to_string(), trunk, yes_or_no(saved)),
            Entry::File { source, trunk } => (output::source(&source), trunk, "yes"),
            Entry::Removed { removed, trunk, saved } => {
                (format!("{removed} removed"), trunk, yes_or_no(saved))
            }
        };
        table.add_row([what, trunk.unwrap_or_else(|| "-".to_owned()), saved.into()]);
    }
    output::print(&table.to_string())
}
