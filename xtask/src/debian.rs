//! Debian's archive, asked with an apt state of one's own: nothing is installed, and the machine's package lists and their
//! choice of suites stay as they are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{cargo, toolchain};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Asked where the system's own sources name no mirror.
const MIRROR: &str = "http://deb.debian.org/debian";

/// apt with a state of its own.
pub(crate) struct Apt {
    configuration: PathBuf,
}

impl Apt {
    /// For these suites and one architecture, with its state in `folder`/apt, made anew.
    pub(crate) fn new(suites: &[&str], architecture: &str, folder: &Path) -> Result<Self> {
        ensure!(
            toolchain::find_program("apt-get").is_some() && Path::new(KEYRING).is_file(),
            "this comes from Debian's archive by apt-get: run it on Debian"
        );
        let folder = fresh(folder.join("apt"))?;
        fs::create_dir_all(folder.join("lists/partial"))?;
        fs::create_dir_all(folder.join("cache/archives/partial"))?;
        let mirror = mirror();
        let sources = suites.iter().map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"));
        fs::write(folder.join("sources.list"), sources.collect::<String>())?;
        let at = folder.display();
        let configuration = format!(
            "Dir::State \"{at}\";\nDir::State::lists \"{at}/lists\";\nDir::State::status \"/dev/null\";\n\
             Dir::Cache \"{at}/cache\";\nDir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"/dev/null\";\nAPT::Architecture \"{architecture}\";\nAPT::Sandbox::User \"root\";\n\
             Acquire::Languages \"none\";\nAcquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             Acquire::Check-Valid-Until \"false\";\n"
        );
        let path = folder.join("apt.conf");
        fs::write(&path, configuration)?;
        Ok(Self { configuration: path })
    }

    /// Fetches the lists.
    pub(crate) fn update(&self) -> Result<()> {
        cargo::finish(self.command("apt-get").args(["-qq", "update"]))
    }

    /// One of apt's programs, with this state.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.configuration).env("LC_ALL", "C");
        command
    }
}

/// The mirror that this system gets its own packages from.
fn mirror() -> String {
    let lists = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"];
    let text: String = lists.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    mirror_in(&text).unwrap_or_else(|| MIRROR.to_owned())
}

fn mirror_in(text: &str) -> Option<String> {
    let lines = text.lines().filter(|line| line.starts_with("URIs:") || line.starts_with("deb "));
    let mut words = lines.flat_map(str::split_whitespace).map(|word| word.trim_end_matches('/'));
    words.find(|word| word.contains("://") && word.ends_with("/debian")).map(str::to_owned)
}

/// Unpacks every package of a folder into another, as dpkg would install it but for its scripts.
pub(crate) fn unpack(packages: &Path, root: &Path) -> Result<()> {
    for file in fs::read_dir(packages)? {
        let file = file?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            cargo::finish(Command::new("dpkg").arg("--extract").arg(file).arg(root))?;
        }
    }
    Ok(())
}

/// The folder, empty.
pub(crate) fn fresh(folder: PathBuf) -> Result<PathBuf> {
    let context = || format!("cannot empty {}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(context)?;
    }
    fs::create_dir_all(&folder).with_context(context)?;
    Ok(folder)
}

/// What a command prints.
pub(crate) fn text(command: &mut Command) -> Result<String> {
    let line = cargo::line(command);
    let output = command.output().with_context(|| format!("cannot start `{line}`"))?;
    ensure!(output.status.success(), "`{line}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_systems_own_and_not_that_of_security_updates() {
        let new = "# http://old.example/debian\nURIs: http://security.example/debian-security\nURIs: http://a.example/debian/\n";
        assert_eq!(mirror_in(new).as_deref(), Some("http://a.example/debian"));
        let old = "deb [arch=amd64] https://b.example/debian bookworm main\n";
        assert_eq!(mirror_in(old).as_deref(), Some("https://b.example/debian"));
        assert_eq!(mirror_in("deb https://c.example/apt stable main\n"), None);
    }
}
