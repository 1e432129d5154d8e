//! Compiles bpf-linker against Debian's LLVM. It needs no root: the binary goes where cargo puts what it installs.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::cargo;

/// The row of the table that this serves.
pub(super) const NAME: &str = "bpf-linker";

/// LLVM must be as new as that of the Rust which it links for.
const LLVM: &str = "llvm-22";
pub(super) const PACKAGES: &[&str] = &["llvm-22-dev", "g++", "zlib1g-dev", "libzstd-dev"];

const VERSION: &str = "0.13.0";

pub(super) fn compile() -> Result<()> {
    eprintln!(
        "set-up: compiling bpf-linker {VERSION} against {LLVM}, since no package has it; takes a minute or two"
    );
    let prefix = Path::new("/usr/lib").join(LLVM);
    // Its build asks `llvm-config` on PATH as well, which may belong to another LLVM.
    let path = env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = [prefix.join("bin")].into_iter().chain(env::split_paths(&path)).collect();
    let path = env::join_paths(directories).context("PATH has an entry that cannot stand in it")?;
    let mut command = Command::new(cargo::program());
    command.args(arguments()).env("LLVM_PREFIX", prefix).env("PATH", path);
    cargo::finish(&mut command)
}

/// The same for somebody to type.
pub(super) fn line() -> String {
    let prefix = format!("/usr/lib/{LLVM}");
    format!("PATH={prefix}/bin:$PATH LLVM_PREFIX={prefix} cargo {}", arguments().join(" "))
}

fn arguments() -> [&'static str; 8] {
    ["install", NAME, "--locked", "--version", VERSION, "--no-default-features", "--features", LLVM]
}
