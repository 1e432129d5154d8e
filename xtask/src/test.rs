//! `cargo xtask test`: every test of the workspace. What a test needs and when it skips itself is for the tests to say.

use std::{num::NonZero, thread};

use anyhow::Result;
use nix::unistd::geteuid;

use crate::{
    cargo, kernels,
    setup::{self, Group},
};

const TEST: [&str; 3] = ["test", "--release", "--locked"];
/// What measures time, and so is alone.
const TIMED: [&str; 2] = ["registrations::latency", "budget::a_"];
/// For each processor so many tests at once, which mostly wait: for phones, servers, the end of a ban.
const TESTS_OF_A_PROCESSOR: usize = 3;

/// Run all tests, release builds; as root also those that need the kernel or a laboratory of network namespaces.
///
/// Without root these say what they skip and why.
/// With --kernel, virtual machines with kernels of Debian's archive run those that depend on the kernel; needs no root.
/// Examples: cargo xtask test -- --package tests
///           cargo xtask test -- stranger -- --nocapture
///           cargo xtask test --kernel 6.1,newest -- guest::vlans
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Test {
    /// Run in guests instead: `all`, or names with commas, of 5.10, 6.1, 6.12 and newest
    #[arg(long, value_name = "NAMES")]
    kernel: Option<kernels::Choice>,
    /// Write the table of kernels in README.md anew from this run
    #[arg(long, requires = "kernel")]
    update_readme: bool,
    /// Passed on to `cargo test`; with --kernel, parts of the names of tests
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Test {
    pub(crate) fn run(self) -> Result<()> {
        if let Some(kernel) = &self.kernel {
            setup::prepare(&[Group::Build, Group::Guest])?;
            cargo::build_release()?;
            return kernels::run(kernel, &self.arguments, self.update_readme);
        }
        let laboratory = geteuid().is_root().then_some(Group::Lab);
        setup::prepare(&[Some(Group::Build), laboratory].into_iter().flatten().collect::<Vec<_>>())?;
        // The tests start the binary that operators start.
        cargo::build_release()?;
        if self.arguments.is_empty() {
            return all();
        }
        // cargo takes no single package beside the whole workspace.
        let workspace = if self.names_package() { &[][..] } else { &["--workspace"] };
        cargo::run(TEST.iter().chain(workspace).copied().chain(self.arguments.iter().map(String::as_str)))
    }

    fn names_package(&self) -> bool {
        let mut own = self.arguments.iter().take_while(|argument| *argument != "--");
        own.any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
    }
}

fn all() -> Result<()> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = (processors * TESTS_OF_A_PROCESSOR).to_string();
    let others = ["--workspace", "--", "--test-threads", &threads];
    let skipped = TIMED.iter().flat_map(|name| ["--skip", name]);
    cargo::run(TEST.into_iter().chain(others).chain(skipped))?;
    // Of the same packages, so that nothing is compiled anew.
    cargo::run(TEST.into_iter().chain(["--workspace", "--", "--test-threads", "1"]).chain(TIMED))
}
