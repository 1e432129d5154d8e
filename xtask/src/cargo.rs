//! Starting cargo and what it built. Which tasks there are, and in which order, is not decided here.

use std::{
    env,
    ffi::OsStr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use nix::unistd::geteuid;

use crate::toolchain;

/// The workspace.
pub(crate) fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// Where cargo builds, whichever way it was told: this program stands in its folder `debug`.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let program = env::current_exe().context("cannot tell where this program stands")?;
    let folder = program.parent().and_then(Path::parent);
    Ok(folder.with_context(|| format!("{} stands in no target folder", program.display()))?.to_owned())
}

/// The cargo that started this program.
pub(crate) fn program() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// `cargo ARGUMENTS` in the workspace, to its end.
pub(crate) fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<()> {
    let mut command = Command::new(program());
    command.current_dir(root()).args(arguments);
    finish(&mut command)
}

/// Release builds of the filter, its tests and the demo: one set of features, so that nothing is compiled twice.
pub(crate) fn build_release() -> Result<()> {
    run(["build", "--release", "--locked", "--package", "sip-filter", "--package", "tests"])
}

/// Runs `command` to its end; anything but success is an error that names it.
pub(crate) fn finish(command: &mut Command) -> Result<()> {
    let line = line(command);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    ensure!(status.success(), "`{line}` failed: {status}");
    Ok(())
}

/// Becomes the release build of `name`, as root where sudo can make it so; signals then reach it without a go-between.
pub(crate) fn become_release(name: &str, arguments: &[String]) -> Result<()> {
    let binary = target_dir()?.join("release").join(name);
    let sudo = if geteuid().is_root() { None } else { toolchain::find_program("sudo") };
    let mut command = match sudo {
        Some(sudo) => {
            let mut command = Command::new(sudo);
            command.arg("-E").arg(binary);
            command
        }
        None => Command::new(binary),
    };
    let error = command.args(arguments).exec();
    Err(error).with_context(|| format!("cannot start `{}`", line(&command)))
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
