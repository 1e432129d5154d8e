//! `cargo xtask setup`, and what every other task does first: compare the machine with the table of needs, install what is missing.
//! Two at once and twice in a row are harmless: a lock, and nothing is done that is done already.

mod apt;
mod asterisk;
mod elsewhere;
mod linker;
mod needs;

use std::{
    env,
    fs::{self, File, TryLockError},
    process::Command,
};

use anyhow::{Context, Result, bail};

pub(crate) use needs::Group;

use crate::{cargo, toolchain};

/// The machine lacks tools, and installing them is for its owner; the text is the commands to type.
#[derive(Debug)]
pub(crate) struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// Install the tools that the other tasks need, and list what is there.
///
/// On Debian, as root: the packages, and bpf-linker, which Debian does not have, by cargo.
/// Elsewhere it names the commands and exits with 2.
/// Kamailio, which the laboratory starts in a namespace of its own, does not become a service of this machine.
#[derive(clap::Args)]
pub(crate) struct Setup {
    /// Only what building needs, for a host that is to run the filter
    #[arg(long)]
    build: bool,
}

impl Setup {
    pub(crate) fn run(self) -> Result<()> {
        let groups = if self.build {
            &[Group::Build][..]
        } else {
            &[Group::Build, Group::Lint, Group::Lab, Group::Guest, Group::Bench]
        };
        for need in needs::NEEDS.iter().filter(|need| groups.contains(&need.group)) {
            let state = if need.is_met() { "there" } else { "missing" };
            println!("{state:<8} {:<16} {}", need.name, need.why);
        }
        prepare(groups)
    }
}

/// Makes sure that the machine has what these groups need; silent where it has.
pub(crate) fn prepare(groups: &[Group]) -> Result<()> {
    let _lock = lock()?;
    if needs::missing(groups).is_empty() {
        return Ok(());
    }
    if groups.contains(&Group::Lint) {
        add_components()?;
    }
    let missing = needs::missing(groups);
    if elsewhere::has_apt() {
        apt::install(&missing)?;
    } else if !missing.is_empty() {
        return Err(elsewhere::refusal(&missing).into());
    }
    if missing.iter().any(|need| need.name == linker::NAME) {
        linker::compile()?;
    }
    if missing.iter().any(|need| need.name == asterisk::NAME) {
        asterisk::fetch()?;
    }
    let still: Vec<_> = needs::missing(groups).iter().map(|need| need.name).collect();
    if !still.is_empty() {
        bail!("still missing after the set-up: {}", still.join(", "));
    }
    eprintln!("set-up: done");
    Ok(())
}

/// rustfmt and clippy of a tool chain of rustup's: Debian's packages do not serve it.
fn add_components() -> Result<()> {
    let lacks_any = !needs::has_subcommand("fmt") || !needs::has_subcommand("clippy");
    if lacks_any && env::var_os("RUSTUP_TOOLCHAIN").is_some() && toolchain::find_program("rustup").is_some() {
        eprintln!("set-up: adding rustfmt and clippy to rustup's tool chain, for the checks");
        cargo::finish(Command::new("rustup").args(["component", "add", "rustfmt", "clippy"]))?;
    }
    Ok(())
}

fn lock() -> Result<File> {
    let folder = cargo::target_dir()?;
    let path = folder.join("xtask-setup.lock");
    let context = || format!("cannot lock {}", path.display());
    fs::create_dir_all(&folder).with_context(context)?;
    let file = File::create(&path).with_context(context)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("set-up: waiting for another one that is under way");
            file.lock().with_context(context)?;
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(context),
    }
    Ok(file)
}
