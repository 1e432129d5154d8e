//! `cargo xtask test`: every test of the workspace. What a test needs and when it skips itself is for the tests to say.

use anyhow::Result;
use nix::unistd::geteuid;

use crate::{
    cargo,
    setup::{self, Group},
};

/// Run all tests, release builds; as root also those that need the kernel or a laboratory of network namespaces.
///
/// Without root these say what they skip and why.
/// Examples: cargo xtask test -- --package tests
///           cargo xtask test -- stranger -- --nocapture
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Test {
    /// Passed on to `cargo test`
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Test {
    pub(crate) fn run(self) -> Result<()> {
        let laboratory = geteuid().is_root().then_some(Group::Lab);
        setup::prepare(&[Some(Group::Build), laboratory].into_iter().flatten().collect::<Vec<_>>())?;
        // The tests start the binary that operators start.
        cargo::build_release()?;
        let mut arguments = vec!["test".to_owned(), "--release".to_owned(), "--locked".to_owned()];
        // cargo takes no single package beside the whole workspace.
        if !self.names_package() {
            arguments.push("--workspace".to_owned());
        }
        arguments.extend(self.arguments);
        cargo::run(arguments)
    }

    fn names_package(&self) -> bool {
        let mut own = self.arguments.iter().take_while(|argument| *argument != "--");
        own.any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
    }
}
