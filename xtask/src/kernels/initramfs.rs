//! A guest's whole file system: the programs of this machine with the libraries they ask for, the kernel's modules,
//! and the script that is its first process.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{Seek as _, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{Programs, archive::Kernel};
use crate::toolchain;

/// What the tests start. A shell of the machine's own, since busybox's runs its own `ip`.
const TOOLS: &[&str] = &["sh", "ip", "tc", "ethtool", "nsenter"];
/// What the scripts start, by its names.
const APPLETS: &[&str] = &["busybox", "cat", "insmod", "mkdir", "mount", "poweroff", "rm"];
/// What a guest's kernel must have as a module or built in.
const MODULES: &[&str] = &["veth", "bridge", "8021q", "sch_netem", "pktgen"];
/// Fewer policies than on real hardware: an emulated processor is some thirty times slower.
const DIFFERENTIAL_CASES: u32 = 5;

/// Modes of files in the archive (`cpio(5)`).
const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// Writes the archive into a file without a name, which is gone with its last reader, however that ends.
pub(super) fn build(kernel: &Kernel, programs: &Programs, filters: &[String]) -> Result<File> {
    let mut tree = Tree::default();
    for folder in ["dev", "proc", "sys", "run", "tmp", "var/tmp"] {
        tree.folder(Path::new("/").join(folder));
    }
    for name in TOOLS {
        let path = find(name)?;
        // As the path says and not where a link leads: `/bin/sh` is what scripts call it.
        let place = if *name == "sh" { PathBuf::from("/bin/sh") } else { Path::new("/usr/bin").join(name) };
        tree.program(&path, &place)?;
    }
    tree.program(&programs.tests, Path::new("/tests/all"))?;
    tree.program(&programs.filter, Path::new("/tests/sip-filter"))?;
    let busybox = find("busybox")?;
    for applet in APPLETS {
        match *applet {
            "busybox" => tree.program(&busybox, Path::new("/bin/busybox"))?,
            applet => tree.link(&format!("/bin/{applet}"), "busybox"),
        }
    }
    let modules = modules(kernel)?;
    for path in &modules {
        let name = file_name(path)?;
        let name = name.trim_end_matches(".xz");
        tree.file(&format!("/modules/{name}"), module(path)?);
    }
    tree.file("/init", init(&modules, filters)?.into_bytes());
    tree.write(&kernel.console)
}

/// Names by which an archive is laid out, sorted so that folders come before what is in them.
#[derive(Default)]
struct Tree(BTreeMap<PathBuf, (u32, Vec<u8>)>);

impl Tree {
    fn folder(&mut self, path: PathBuf) {
        for folder in path.ancestors().filter(|folder| folder.parent().is_some()) {
            self.0.entry(folder.to_owned()).or_insert((DIRECTORY, Vec::new()));
        }
    }

    fn put(&mut self, path: &Path, mode: u32, content: Vec<u8>) {
        self.folder(path.parent().unwrap_or(path).to_owned());
        self.0.insert(path.to_owned(), (mode, content));
    }

    fn file(&mut self, path: &str, content: Vec<u8>) {
        self.put(Path::new(path), EXECUTABLE, content);
    }

    fn link(&mut self, path: &str, target: &str) {
        self.put(Path::new(path), LINK, target.as_bytes().to_vec());
    }

    /// A program at `place`, and its libraries at the paths where its loader looks for them.
    fn program(&mut self, path: &Path, place: &Path) -> Result<()> {
        self.put(place, EXECUTABLE, read(path)?);
        for library in libraries(path)? {
            self.put(&library, EXECUTABLE, read(&library)?);
        }
        Ok(())
    }

    fn write(self, beside: &Path) -> Result<File> {
        let folder = beside.parent().unwrap_or(beside);
        let mut file = tempfile::tempfile_in(folder)
            .with_context(|| format!("cannot make a file in {}", folder.display()))?;
        let mut buffered = std::io::BufWriter::new(&mut file);
        for (number, (path, (mode, content))) in (1..).zip(&self.0) {
            let name = path.strip_prefix("/").unwrap_or(path).display().to_string();
            let entry = cpio::newc::Builder::new(&name).mode(*mode).ino(number).nlink(1);
            let length = u32::try_from(content.len()).with_context(|| format!("{name} is too large"))?;
            let mut writer = entry.write(&mut buffered, length);
            writer.write_all(content)?;
            writer.finish()?;
        }
        cpio::newc::trailer(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        file.rewind()?;
        Ok(file)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn find(name: &str) -> Result<PathBuf> {
    toolchain::find_program(name).with_context(|| format!("no program {name}: run `cargo xtask setup`"))
}

/// The loader and the libraries of a program; none where it is static.
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("ldd").arg(program).env("LC_ALL", "C").output().context("cannot start ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(!text.contains("not found"), "{} lacks libraries:\n{text}", program.display());
    // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, and the loader without an arrow.
    let words = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(words.filter(|word| Path::new(word).is_file()).map(PathBuf::from).collect())
}

/// Files of the modules and of what they depend on, in the order in which they must be put in.
fn modules(kernel: &Kernel) -> Result<Vec<PathBuf>> {
    let path = kernel.modules.join("modules.dep");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let built_in = fs::read_to_string(kernel.modules.join("modules.builtin")).unwrap_or_default();
    let mut files: Vec<PathBuf> = Vec::new();
    for name in MODULES {
        match order(&text, name) {
            Some(ordered) => {
                for file in ordered.into_iter().map(|file| kernel.modules.join(file)) {
                    if !files.contains(&file) {
                        files.push(file);
                    }
                }
            }
            None => ensure!(
                built_in.contains(&format!("/{name}.ko")),
                "kernel {} has no module {name}: remove {} to download it anew",
                kernel.release,
                kernel.modules.display()
            ),
        }
    }
    Ok(files)
}

/// `modules.dep` lists with each module what it needs, the nearest first.
fn order<'a>(dependencies: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let is_it =
        |file: &str| file.rsplit('/').next().is_some_and(|last| last.split(".ko").next() == Some(name));
    let (file, needed) =
        dependencies.lines().filter_map(|line| line.split_once(':')).find(|(file, _)| is_it(file))?;
    Some(needed.split_whitespace().rev().chain([file]).collect())
}

/// A module's bytes as the kernel takes them.
fn module(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|extension| extension != "xz") {
        return read(path);
    }
    let output = Command::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(path)
        .output()
        .context("cannot start xz")?;
    ensure!(output.status.success(), "xz cannot read {}", path.display());
    Ok(output.stdout)
}

fn file_name(path: &Path) -> Result<&str> {
    path.file_name().and_then(|name| name.to_str()).with_context(|| format!("{} has no name", path.display()))
}

/// The first process: mounts, modules, tests, the end.
///
/// One test after the other: each test run of an XDP program has the kernel patch its own code, and on 5.10 an emulated
/// processor that met the place with traffic of another test has been seen to stay there for ever.
fn init(modules: &[PathBuf], filters: &[String]) -> Result<String> {
    let names = modules
        .iter()
        .map(|path| Ok(file_name(path)?.trim_end_matches(".xz")))
        .collect::<Result<Vec<_>>>()?;
    let filters = if filters.is_empty() { "kernel:: guest::".to_owned() } else { quoted(filters) };
    let modules = names.join(" ");
    let marks = super::machine::MARKS;
    Ok(format!(
        "#!/bin/sh\n\
         export PATH=/usr/bin:/bin HOME=/ CI=true SIP_FILTER_GUEST=1 SIP_FILTER_BIN=/tests/sip-filter\n\
         export SIP_FILTER_CASES={DIFFERENTIAL_CASES} RUST_BACKTRACE=0\n\
         mount -t proc proc /proc\nmount -t sysfs sysfs /sys\nmount -t devtmpfs devtmpfs /dev\n\
         mount -t tmpfs tmpfs /run\nmount -t tmpfs tmpfs /tmp\nmount -t bpf bpf /sys/fs/bpf\n\
         for module in {modules}; do insmod /modules/$module; done\n\
         ip link set lo up\n\
         cat /proc/version\n\
         echo '{begin}'\n\
         /tests/all {filters} --test-threads 1 --show-output\n\
         echo '{end}' $?\n\
         poweroff -f\n",
        begin = marks.begin,
        end = marks.end,
    ))
}

/// For a shell.
fn quoted(words: &[String]) -> String {
    words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_after_all_that_it_needs() {
        let text = "kernel/net/8021q/8021q.ko.xz: kernel/net/802/mrp.ko.xz kernel/net/802/garp.ko.xz kernel/net/llc/llc.ko.xz\n\
                    kernel/net/llc/llc.ko.xz:\n";
        let expected = [
            "kernel/net/llc/llc.ko.xz",
            "kernel/net/802/garp.ko.xz",
            "kernel/net/802/mrp.ko.xz",
            "kernel/net/8021q/8021q.ko.xz",
        ];
        assert_eq!(order(text, "8021q").unwrap(), expected);
        assert_eq!(order(text, "llc").unwrap(), [expected[0]]);
        assert_eq!(order(text, "ll"), None);
    }

    #[test]
    fn names_of_tests_cannot_end_the_quotes_around_them() {
        assert_eq!(quoted(&["a b".to_owned(), "it's".to_owned()]), r"'a b' 'it'\''s'");
    }
}
