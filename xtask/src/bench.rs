//! `cargo xtask bench`: what the filter costs, beside bare floors and what operators have today. Measuring itself is the crate bench's.

use anyhow::Result;

use crate::{
    cargo,
    setup::{self, Group},
};

/// Measure what the filter costs, beside bare floors and what operators have today.
///
/// Builds the release binaries and starts the measurement, through sudo where this is not root.
/// It takes about 25 minutes; `cargo xtask bench -- --quick` takes about three, `-- --help` tells the options.
#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Passed on to the measurement
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        setup::prepare(&[Group::Build, Group::Lab, Group::Bench])?;
        // The same set of features as for the tests, so that nothing is compiled twice.
        let packages = ["sip-filter", "tests", "bench"].into_iter().flat_map(|name| ["--package", name]);
        cargo::run(["build", "--release", "--locked"].into_iter().chain(packages))?;
        cargo::become_release("bench", &self.arguments)
    }
}
