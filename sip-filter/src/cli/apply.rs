//! `apply`: replace the policy in force.

use std::path::PathBuf;

use super::{DEFAULT_CONFIG, Global, later, output};
use crate::{
    control::{Applied, Request, client::call},
    daemon,
    policy::file,
};

/// Options of `apply`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sip-filter apply --dry-run\n  sip-filter apply --config /etc/sip-filter/sip-filter.toml"
)]
pub(super) struct Arguments {
    /// The policy file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Print the difference and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Not supported yet.
    #[arg(long, hide = true, value_name = "TIME")]
    confirm_within: Option<String>,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.confirm_within.is_some() {
        return later::refuse("apply --confirm-within");
    }
    let path = std::path::absolute(&arguments.config)?;
    let text = daemon::read(&path)?;
    // Mistakes are shown with the path as it was given, whether or not a daemon answers; list files are for the daemon.
    file::check_alone(&arguments.config, &text)?;
    let applied: Applied = call(&global.socket, &Request::Apply { path, text, dry_run: arguments.dry_run })?;
    if global.json {
        return output::json(&applied);
    }
    let Applied { applied, generation, difference, dropped_changes, warnings, .. } = applied;
    for warning in warnings {
        output::print(&format!("warning: {warning}"))?;
    }
    if difference.is_empty() {
        output::print("no difference")?;
    } else {
        output::print(&difference.to_string())?;
    }
    let ends = if applied { "dropped" } else { "would be dropped" };
    for change in dropped_changes {
        output::print(&format!("{ends}, since it was not saved: {change}"))?;
    }
    output::print(&if applied {
        format!("applied: generation {generation}")
    } else {
        "dry run: nothing changed".into()
    })
}
