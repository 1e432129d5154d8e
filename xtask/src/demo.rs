//! `cargo xtask demo`: the filter at work in a laboratory of network namespaces. The laboratory itself is the crate tests'.

use anyhow::Result;

use crate::{
    cargo,
    setup::{self, Group},
};

/// Show the filter at work: a SIP server, a trunk and a stranger in network namespaces of their own.
///
/// Builds the release binaries and starts the demo, through sudo where this is not root.
/// The machine's own interfaces are left alone.
#[derive(clap::Args)]
pub(crate) struct Demo {
    /// Passed on to the demo
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Demo {
    pub(crate) fn run(self) -> Result<()> {
        setup::prepare(&[Group::Build, Group::Lab])?;
        cargo::build_release()?;
        cargo::become_release("demo", &self.arguments)
    }
}
