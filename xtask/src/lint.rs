//! `cargo xtask lint`: format, lints, documents, and the build that only debugging uses.
//! The kernel program is its own workspace on another target, so each check runs twice.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{
    cargo,
    setup::{self, Group},
    toolchain::{self, Toolchain},
};

/// Check format, lints and documents, of the workspace and of the kernel program; build the variant that logs each packet.
#[derive(clap::Args)]
pub(crate) struct Lint {}

impl Lint {
    pub(crate) fn run(self) -> Result<()> {
        setup::prepare(&[Group::Build, Group::Lint])?;
        cargo::run(["fmt", "--all", "--check"])?;
        for other in ["sip-filter-ebpf/Cargo.toml", "fuzz/Cargo.toml"] {
            cargo::run(["fmt", "--manifest-path", other, "--check"])?;
        }
        let deny = ["--", "--deny", "warnings"];
        cargo::run(["clippy", "--workspace", "--all-targets", "--locked"].into_iter().chain(deny))?;
        for features in [&[][..], &["--features", "log"]] {
            let mut clippy = kernel_clippy()?;
            cargo::finish(clippy.args(features).args(deny))?;
        }
        document()?;
        // The debug build embeds the kernel program that logs; no other task builds it.
        cargo::run(["build", "--locked", "--package", "sip-filter"])
    }
}

/// Debian's cargo-clippy for Debian's tool chain: rustup's, earlier on PATH, has no `core` for BPF.
pub(crate) fn clippy_of(toolchain: &Toolchain) -> Option<PathBuf> {
    let Toolchain::Ready { rustc } = toolchain else { return None };
    let clippy = toolchain::sysroot(Command::new(rustc))?.join("bin/cargo-clippy");
    clippy.is_file().then_some(clippy)
}

/// The target of the kernel program on this machine.
pub(crate) fn target() -> &'static str {
    toolchain::target(cfg!(target_endian = "big"))
}

fn kernel_clippy() -> Result<Command> {
    let toolchain = Toolchain::find(target()).context("no tool chain for BPF: run `cargo xtask setup`")?;
    let mut command = match &toolchain {
        Toolchain::Ready { .. } => {
            let clippy = clippy_of(&toolchain).context("no clippy for BPF: run `cargo xtask setup`")?;
            let mut command = Command::new(&clippy);
            // The one that compiles the kernel program, so that both use the same build scripts and macros.
            command.env("CARGO", cargo::program());
            command
        }
        Toolchain::Nightly => {
            let mut command = Command::new("rustup");
            command.args(["run", "nightly", "cargo"]);
            command
        }
    };
    command.current_dir(cargo::root().join("sip-filter-ebpf")).arg("clippy");
    toolchain::for_bpf(&mut command, &toolchain, std::env::consts::ARCH, &[]);
    let folder = cargo::root().join("target/ebpf");
    command.args(["--release", "--locked", "--target", target(), "--target-dir"]).arg(folder);
    Ok(command)
}

fn document() -> Result<()> {
    let mut command = Command::new(cargo::program());
    command.current_dir(cargo::root()).env("RUSTDOCFLAGS", "--deny warnings");
    cargo::finish(command.args(["doc", "--workspace", "--no-deps", "--locked"]))
}
