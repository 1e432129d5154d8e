//! Installs Debian packages. It removes none, and starts no service on the machine's own interfaces.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{self, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use nix::unistd::geteuid;

use super::{elsewhere, needs::Need};
use crate::cargo;

/// The package that would become a service of this machine.
pub(super) const SIP_SERVER: &str = "kamailio";

/// Debian's hook that says whether a package may start its service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Tells our policy from one of the machine's own.
const MARK: &str = "# Written by the set-up of sip-filter for as long as it installs packages.";

/// Installs what `missing` asks for; does nothing where all packages are there already.
pub(super) fn install(missing: &[&Need]) -> Result<()> {
    let is_root = geteuid().is_root();
    let mut choice = choose(missing)?;
    let mut lists_are_new = false;
    if is_root && !choice.lacking.is_empty() {
        update()?;
        lists_are_new = true;
        choice = choose(missing)?;
    }
    if !choice.lacking.is_empty() {
        return Err(match is_root {
            true => elsewhere::refusal_of_release(&choice.lacking),
            // The lists may only be too old: the first choice of names is the best guess.
            false => elsewhere::refusal_without_root(missing, &first_choices(missing)),
        }
        .into());
    }
    if choice.packages.is_empty() {
        return Ok(());
    }
    if !is_root {
        return Err(elsewhere::refusal_without_root(missing, &choice.packages).into());
    }
    announce(missing, &choice.packages);
    let _quiet = choice.packages.contains(&SIP_SERVER).then(Quiet::new).transpose()?;
    let installed = get(&choice.packages);
    // Old lists name files that the mirror has no more.
    if installed.is_err() && !lists_are_new {
        update()?;
        get(&choice.packages)?;
    } else {
        installed?;
    }
    if choice.packages.contains(&SIP_SERVER) {
        disable_service()?;
    }
    Ok(())
}

struct Choice<'a> {
    /// To be installed.
    packages: Vec<&'static str>,
    /// Needs for which this release, as far as its lists are known, has no packages.
    lacking: Vec<&'a Need>,
}

fn choose<'a>(missing: &[&'a Need]) -> Result<Choice<'a>> {
    let states = states(missing)?;
    let mut choice = Choice { packages: Vec::new(), lacking: Vec::new() };
    for need in missing {
        let exists = |packages: &&&[&str]| packages.iter().all(|package| states.contains_key(*package));
        match need.debian.iter().find(exists) {
            Some(packages) => choice.packages.extend(packages.iter().filter(|package| !states[**package])),
            None => choice.lacking.push(need),
        }
    }
    choice.packages.sort_unstable();
    choice.packages.dedup();
    Ok(choice)
}

fn first_choices(missing: &[&Need]) -> Vec<&'static str> {
    let mut packages: Vec<_> =
        missing.iter().filter_map(|need| need.debian.first()).copied().flatten().copied().collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// Which of the packages exist here, and whether they are installed.
fn states(missing: &[&Need]) -> Result<BTreeMap<String, bool>> {
    let names = missing.iter().flat_map(|need| need.debian.iter().copied().flatten());
    let output = Command::new("apt-cache").arg("policy").args(names).env("LC_ALL", "C").output();
    let output = output.context("cannot start apt-cache")?;
    ensure!(output.status.success(), "apt-cache failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(parse_policy(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_policy(text: &str) -> BTreeMap<String, bool> {
    let mut states = BTreeMap::new();
    let (mut name, mut installed) = ("", false);
    for line in text.lines() {
        if let Some(package) = line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            name = package;
        } else if let Some(version) = line.trim_start().strip_prefix("Installed: ") {
            installed = version != "(none)";
        } else if let Some(version) = line.trim_start().strip_prefix("Candidate: ")
            && version != "(none)"
        {
            states.insert(name.to_owned(), installed);
        }
    }
    states
}

fn announce(missing: &[&Need], packages: &[&str]) {
    eprintln!("set-up: installing Debian packages for");
    for need in missing {
        eprintln!("  {:<16} {}", need.name, need.why);
    }
    eprintln!("  apt-get install {}", packages.join(" "));
}

fn update() -> Result<()> {
    eprintln!("set-up: apt-get update, since the package lists are absent or old");
    cargo::finish(apt_get().arg("update"))
}

fn get(packages: &[&str]) -> Result<()> {
    let mut command = apt_get();
    command.args(["install", "--yes", "--no-install-recommends", "--no-remove"]).args(packages);
    cargo::finish(&mut command)
        .context("where packages conflict with others that are installed, decide by hand which to keep")
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-qq", "-o", "DPkg::Lock::Timeout=600", "-o", "Dpkg::Use-Pty=0"]);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(io::stderr());
    command
}

fn disable_service() -> Result<()> {
    eprintln!("set-up: {SIP_SERVER} stays off as a service of this machine");
    cargo::finish(Command::new("update-rc.d").args([SIP_SERVER, "disable"]).stdout(io::stderr()))?;
    if Path::new("/run/systemd/system").exists() {
        cargo::finish(Command::new("systemctl").args(["stop", SIP_SERVER]))?;
    }
    Ok(())
}

/// Keeps the SIP server from being started on installation, where the machine has no such policy of its own.
struct Quiet {
    ours: bool,
}

impl Quiet {
    fn new() -> Result<Self> {
        // Not even a kill of this program leaves a lasting policy: without it the script allows everything and removes itself.
        let process = process::id();
        let script = format!(
            "#!/bin/sh\n{MARK}\nif kill -0 {process} 2>/dev/null; then\n    \
             case \"$*\" in *{SIP_SERVER}*) exit 101 ;; esac\nelse\n    rm -f \"$0\"\nfi\nexit 0\n"
        );
        if fs::read_to_string(POLICY).is_ok_and(|text| text.contains(MARK)) {
            fs::remove_file(POLICY)
                .with_context(|| format!("cannot remove {POLICY}, left by a set-up that was killed"))?;
        }
        let file = fs::File::options().write(true).create_new(true).mode(0o755).open(POLICY);
        match file.and_then(|mut file| io::Write::write_all(&mut file, script.as_bytes())) {
            Ok(()) => Ok(Self { ours: true }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Self { ours: false }),
            Err(error) => Err(error).with_context(|| format!("cannot write {POLICY}")),
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("set-up: cannot remove {POLICY}, remove it by hand: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_tells_installed_available_and_virtual_packages_apart() {
        let text = "there:\n  Installed: 1.0\n  Candidate: 1.1\n  Version table:\n *** 1.0 100\n\
                    new:\n  Installed: (none)\n  Candidate: 2.0\n\
                    virtual:\n  Installed: (none)\n  Candidate: (none)\n";
        let expected = [("there".to_owned(), true), ("new".to_owned(), false)];
        assert_eq!(parse_policy(text), BTreeMap::from(expected));
    }
}
