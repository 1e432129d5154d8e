//! Kernels from Debian's archive: found, downloaded and unpacked into a folder of their own, never installed.
//!
//! apt keeps a state of its own there, so the machine's package lists and their choice of suites stay as they are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{Series, folder};
use crate::{cargo, toolchain};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Asked where the system's own sources name no mirror.
const MIRROR: &str = "http://deb.debian.org/debian";
const PREFIX: &str = "linux-image-";
const SUFFIX: &str = "-cloud-amd64";

/// An unpacked kernel.
pub(super) struct Kernel {
    /// As `uname -r` prints it.
    pub(super) release: String,
    /// The compressed image that boots.
    pub(super) image: PathBuf,
    /// The folder with `modules.dep`.
    pub(super) modules: PathBuf,
    /// Where the console's text goes.
    pub(super) console: PathBuf,
}

/// The kernel of a series: the one downloaded before, else the newest that the archive has.
///
/// Removing the series' folder under `target/kernels` brings a newer one.
pub(super) fn kernel(series: &Series) -> Result<Kernel> {
    let folder = folder(series)?;
    let (root, done) = (folder.join("root"), folder.join("release"));
    if !done.is_file() {
        let release = download(series, &folder, &root)?;
        // Written last: a download that was cut short begins anew.
        fs::write(&done, release)?;
    }
    let release = fs::read_to_string(&done).with_context(|| format!("cannot read {}", done.display()))?;
    let modules = modules(&root, &release)?;
    let images = [root.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")];
    let image = images.into_iter().find(|path| path.is_file());
    let image = image.with_context(|| format!("no kernel image in {}", root.display()))?;
    Ok(Kernel { release, image, modules, console: folder.join("console.log") })
}

fn modules(root: &Path, release: &str) -> Result<PathBuf> {
    let folders = ["lib", "usr/lib"].map(|library| root.join(library).join("modules").join(release));
    let found = folders.into_iter().find(|folder| folder.is_dir());
    found.with_context(|| format!("no modules of {release} in {}", root.display()))
}

fn download(series: &Series, folder: &Path, root: &Path) -> Result<String> {
    let apt = Apt::new(series, folder)?;
    eprintln!("kernel {}: looking into Debian's {}", series.name, series.suites.join(", "));
    cargo::finish(apt.command("apt-get").args(["-qq", "update"]))?;
    let names = text(apt.command("apt-cache").args(["pkgnames", PREFIX]))?;
    let release = newest(&names, series.prefix).with_context(|| {
        format!("Debian's {} has no package {PREFIX}{}*{SUFFIX}", series.suites.join(", "), series.prefix)
    })?;
    let package = format!("{PREFIX}{release}");
    // Since 7.0 image and modules are packages of their own, on which this one depends.
    let depends =
        text(apt.command("apt-cache").args(["depends", "--no-recommends", "--no-suggests", &package]))?;
    let parts = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let parts = parts.filter(|name| name.starts_with("linux-") && name.contains(&release));
    let packages: Vec<&str> = [&*package].into_iter().chain(parts).collect();
    eprintln!("kernel {}: downloading {}", series.name, packages.join(", "));
    let downloads = fresh(folder.join("download"))?;
    let mut get = apt.command("apt-get");
    cargo::finish(get.current_dir(&downloads).args(["-qq", "download"]).args(&packages))?;
    fresh(root.to_owned())?;
    for file in fs::read_dir(&downloads)? {
        cargo::finish(Command::new("dpkg").arg("--extract").arg(file?.path()).arg(root))?;
    }
    fs::remove_dir_all(&downloads)?;
    index(root, &release)?;
    Ok(release)
}

/// Writes `modules.dep`, which installing the package would.
fn index(root: &Path, release: &str) -> Result<()> {
    // depmod looks into lib/modules below its base.
    let base = modules(root, release)?;
    let base = base.ancestors().nth(3).context("the modules have no base folder")?;
    cargo::finish(Command::new("depmod").arg("--basedir").arg(base).arg(release))
}

/// Of all package names the one with the highest version, without what surrounds it.
fn newest(names: &str, prefix: &str) -> Option<String> {
    let releases = names.lines().filter_map(|name| name.trim().strip_prefix(PREFIX)).filter(|release| {
        release.ends_with(SUFFIX)
            && release.starts_with(prefix)
            && release.starts_with(|first: char| first.is_ascii_digit())
    });
    // Release candidates are no kernels that anybody runs.
    let releases = releases.filter(|release| !release.contains("rc"));
    releases.max_by_key(|release| numbers(release)).map(str::to_owned)
}

fn numbers(release: &str) -> Vec<u64> {
    release
        .split(|character: char| !character.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// The folder, empty.
fn fresh(folder: PathBuf) -> Result<PathBuf> {
    let context = || format!("cannot empty {}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(context)?;
    }
    fs::create_dir_all(&folder).with_context(context)?;
    Ok(folder)
}

fn text(command: &mut Command) -> Result<String> {
    let line = cargo::line(command);
    let output = command.output().with_context(|| format!("cannot start `{line}`"))?;
    ensure!(output.status.success(), "`{line}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// apt with a state of its own.
struct Apt {
    configuration: PathBuf,
}

impl Apt {
    fn new(series: &Series, folder: &Path) -> Result<Self> {
        ensure!(
            toolchain::find_program("apt-get").is_some() && Path::new(KEYRING).is_file(),
            "the kernels come from Debian's archive by apt-get: run this on Debian"
        );
        let folder = fresh(folder.join("apt"))?;
        fs::create_dir_all(folder.join("lists/partial"))?;
        fs::create_dir_all(folder.join("cache/archives/partial"))?;
        let mirror = mirror();
        let sources =
            series.suites.iter().map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"));
        fs::write(folder.join("sources.list"), sources.collect::<String>())?;
        let at = folder.display();
        let configuration = format!(
            "Dir::State \"{at}\";\nDir::State::lists \"{at}/lists\";\nDir::State::status \"/dev/null\";\n\
             Dir::Cache \"{at}/cache\";\nDir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"/dev/null\";\nAPT::Architecture \"amd64\";\nAPT::Sandbox::User \"root\";\n\
             Acquire::Languages \"none\";\nAcquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             Acquire::Check-Valid-Until \"false\";\n"
        );
        let path = folder.join("apt.conf");
        fs::write(&path, configuration)?;
        Ok(Self { configuration: path })
    }

    fn command(&self, program: &str) -> Command {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_release_of_a_series_is_found_by_number_and_not_by_letter() {
        let names = "linux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-47-cloud-amd64\nlinux-image-6.1.0-47-amd64\n\
                     linux-image-6.12.9+deb13-cloud-amd64\nlinux-image-6.12.73+deb13-cloud-amd64\n\
                     linux-image-6.1.0-50-cloud-amd64-unsigned\nlinux-image-7.4~rc2-cloud-amd64\n\
                     linux-image-cloud-amd64\n";
        let found = |prefix| newest(names, prefix);
        assert_eq!(found("6.1.").as_deref(), Some("6.1.0-47-cloud-amd64"));
        assert_eq!(found("6.12.").as_deref(), Some("6.12.73+deb13-cloud-amd64"));
        assert_eq!(found("").as_deref(), Some("6.12.73+deb13-cloud-amd64"));
        assert_eq!(found("5.10."), None);
    }

    #[test]
    fn the_mirror_is_the_systems_own_and_not_that_of_security_updates() {
        let new = "# http://old.example/debian\nURIs: http://security.example/debian-security\nURIs: http://a.example/debian/\n";
        assert_eq!(mirror_in(new).as_deref(), Some("http://a.example/debian"));
        let old = "deb [arch=amd64] https://b.example/debian bookworm main\n";
        assert_eq!(mirror_in(old).as_deref(), Some("https://b.example/debian"));
        assert_eq!(mirror_in("deb https://c.example/apt stable main\n"), None);
    }
}
