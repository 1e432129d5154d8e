//! `cargo xtask run`: build and load in one step. The program replaces this one.

use anyhow::Result;

use crate::{
    cargo,
    setup::{self, Group},
};

/// Build the filter and load it in one step: `sip-filter run ARGUMENTS`, the release build, through sudo where this is not root.
///
/// Example: cargo xtask run -- --interface eth0 --config sip-filter.toml
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Run {
    /// Passed on to `sip-filter run`, for example `--interface eth0`
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Run {
    pub(crate) fn run(self) -> Result<()> {
        setup::prepare(&[Group::Build])?;
        cargo::run(["build", "--release", "--locked", "--package", "sip-filter"])?;
        let mut arguments = vec!["run".to_owned()];
        arguments.extend(self.arguments);
        cargo::become_release("sip-filter", &arguments)
    }
}
