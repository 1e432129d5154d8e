//! Kernels from Debian's archive: found, downloaded and unpacked into a folder of their own, never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{Series, folder};
use crate::cargo;
use crate::debian::{Apt, fresh, text, unpack};

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
    let apt = Apt::new(series.suites, "amd64", folder)?;
    eprintln!("kernel {}: looking into Debian's {}", series.name, series.suites.join(", "));
    apt.update()?;
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
    unpack(&downloads, root)?;
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
}
