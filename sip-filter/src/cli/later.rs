//! Commands and options of later capabilities: refused by name, never ignored.

use super::Usage;

/// Whatever comes with such a command.
#[derive(Debug, clap::Args)]
pub(super) struct Anything {
    /// Not looked at.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _words: Vec<String>,
}

/// Says so.
pub(super) fn refuse(name: &str) -> anyhow::Result<()> {
    Err(Usage(format!("{name} is not supported yet")).into())
}
