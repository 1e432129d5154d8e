//! Asterisk for the laboratory, unpacked into a folder of the target directory: Debian 12 has none to install.
//!
//! Nothing of it is installed, and it starts only inside a laboratory. Removing the folder brings a newer one.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::elsewhere;
use crate::{
    cargo,
    debian::{Apt, fresh, text, unpack},
};

/// The row of the table that this serves.
pub(super) const NAME: &str = "asterisk";

/// The releases of Debian that have it, but for one that is too old.
const SUITES: &[&str] = &["forky"];

/// Written last: the version that stands in `root`.
const DONE: &str = "version";

/// Whether it is unpacked, or cannot be: elsewhere than on Debian the tests with it skip themselves.
pub(super) fn is_there() -> bool {
    !elsewhere::has_apt() || folder().is_ok_and(|folder| folder.join(DONE).is_file())
}

/// Downloads it with all that it needs, some 75 MB, and unpacks them. Needs no root.
pub(super) fn fetch() -> Result<()> {
    let folder = fresh(folder()?)?;
    eprintln!("set-up: unpacking Asterisk of Debian's {} into {}", SUITES.join(", "), folder.display());
    let architecture = text(Command::new("dpkg").arg("--print-architecture"))?;
    let apt = Apt::new(SUITES, architecture.trim(), &folder)?;
    apt.update()?;
    let mut get = apt.command("apt-get");
    get.args(["-qq", "install", "--yes", "--no-install-recommends", "--download-only", NAME]);
    // It would lock the machine's own dpkg, or what stands beside the status file.
    get.args(["-o", "Debug::NoLocking=true"]).stdin(Stdio::null());
    cargo::finish(&mut get)?;
    unpack(&folder.join("apt/cache/archives"), &fresh(folder.join("root"))?)?;
    let policy = text(apt.command("apt-cache").args(["policy", NAME]))?;
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    let version = version.with_context(|| format!("apt-cache tells no version of {NAME}"))?;
    fs::remove_dir_all(folder.join("apt"))?;
    fs::write(folder.join(DONE), version)?;
    Ok(())
}

fn folder() -> Result<PathBuf> {
    Ok(cargo::target_dir()?.join(NAME))
}
