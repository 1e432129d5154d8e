//! The directory on a bpffs that keeps maps, links and programs alive without a daemon.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use aya::programs::links::{FdLink, PinnedLink};
use nix::{
    mount::{MsFlags, mount},
    net::if_::if_indextoname,
    sys::statfs::{BPF_FS_MAGIC, statfs},
};
use sip_filter_common::maps::{name, program};

use super::watching;

/// Where a bpffs is looked for, and mounted where there is none.
const BPFFS: &str = "/sys/fs/bpf";
const LINK_PREFIX: &str = "link-";
const WATCH_PREFIX: &str = "watch-";

/// A pin directory that no other daemon uses.
#[derive(Debug)]
pub struct Pins {
    directory: PathBuf,
    /// Held, not read: the lock ends with the process.
    _lock: File,
}

/// Why a pin directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// No bpffs there.
    #[error(
        "the pin directory {0} is not on a bpffs: choose one below {BPFFS}, or make it one with `mkdir -p {0} && mount \
         -t bpf bpf {0}`"
    )]
    NotBpffs(PathBuf),
    /// There should be a bpffs but it cannot be mounted.
    #[error("no bpffs is mounted at {BPFFS} and mounting one failed (needs CAP_SYS_ADMIN)")]
    Mount(#[source] nix::Error),
    /// Another daemon has it.
    #[error(
        "another sip-filter runs with the pin directory {0}: stop it first, or give this instance its own --pins and \
         --socket"
    )]
    InUse(PathBuf),
    /// The directory cannot be made or read.
    #[error("cannot use the pin directory {path}")]
    Io {
        /// As given.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Pins {
    /// Makes the directory where needed, and takes it for this process.
    ///
    /// Mounts a bpffs at `/sys/fs/bpf` where there is none and the directory is to stand below it.
    ///
    /// # Errors
    ///
    /// See [`PinsError`].
    pub fn open(directory: &Path) -> Result<Self, PinsError> {
        if !is_on_bpffs(directory) {
            if !directory.starts_with(BPFFS) {
                return Err(PinsError::NotBpffs(directory.to_path_buf()));
            }
            mount_bpffs()?;
        }
        let io = |source| PinsError::Io { path: directory.to_path_buf(), source };
        fs::create_dir_all(directory).map_err(io)?;
        let lock = File::open(directory).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { directory: directory.to_path_buf(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(PinsError::InUse(directory.to_path_buf())),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// The file of a pinned map or program.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name::pin(name))
    }

    /// Whether something is pinned under this name.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The file of an interface's link. A bpffs takes no dots, an interface no colons.
    pub(super) fn link(&self, interface: &str) -> PathBuf {
        self.directory.join(format!("{LINK_PREFIX}{}", interface.replace('.', ":")))
    }

    /// Gives the links of an earlier daemon the names that their interfaces have now; at no time is one without a pin.
    ///
    /// The link of an interface that is gone goes too.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed or renamed.
    pub fn follow_renames(&self) -> Result<(), PinsError> {
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |source| PinsError::Io { path, source }
        };
        let mut moved = Vec::new();
        for name in self.links() {
            // What is no link is left to whoever wants to use it as one.
            let Ok(pinned) = PinnedLink::from_pin(self.link(&name)) else { continue };
            let link = FdLink::from(pinned);
            let Some(index) = interface_index(&link) else { continue };
            let current = if_indextoname(index).ok();
            let current = current.and_then(|current| current.into_string().ok());
            if current.as_ref() == Some(&name) {
                continue;
            }
            let Some(current) = current else {
                tracing::warn!("interface {name}, which an earlier daemon filtered, is gone");
                self.remove_link(&name)?;
                continue;
            };
            // Two may have exchanged their names. What an earlier start left half-way is found by its number again.
            let between = self.link(&format!(":{index}:"));
            if self.link(&name) != between {
                fs::rename(self.link(&name), &between).map_err(io(&between))?;
                self.remove_link(&name)?;
            }
            moved.push((between, self.link(&current)));
        }
        for (between, path) in moved {
            fs::rename(&between, &path).map_err(io(&path))?;
        }
        Ok(())
    }

    /// Whether an earlier daemon left a link on this interface.
    pub fn has_link(&self, interface: &str) -> bool {
        self.link(interface).exists()
    }

    /// The interfaces whose links are pinned, sorted.
    pub fn links(&self) -> Vec<String> {
        self.interfaces(LINK_PREFIX)
    }

    /// The interfaces on which what they send is looked at by a pinned link, sorted.
    pub(super) fn watches(&self) -> Vec<String> {
        self.interfaces(WATCH_PREFIX)
    }

    fn interfaces(&self, prefix: &str) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut interfaces: Vec<_> = entries
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix(prefix)?.replace(':', ".")))
            .collect();
        interfaces.sort_unstable();
        interfaces
    }

    /// Removes the pin of an interface's link; the kernel detaches it when nobody else holds it.
    ///
    /// # Errors
    ///
    /// The file is there and cannot be removed.
    pub fn remove_link(&self, interface: &str) -> Result<bool, PinsError> {
        self.remove(&self.watch(interface))?;
        watching::remove_filter(interface);
        self.remove(&self.link(interface))
    }

    /// Removes links, maps and programs.
    ///
    /// # Errors
    ///
    /// A file is there and cannot be removed.
    pub fn remove_all(&self) -> Result<(), PinsError> {
        for interface in self.links() {
            self.remove_link(&interface)?;
        }
        for interface in self.watches() {
            self.remove_link(&interface)?;
        }
        for name in name::ALL.iter().chain(&[program::FILTER, program::EXPLAIN]) {
            self.remove(&self.path(name))?;
        }
        self.remove_directory();
        Ok(())
    }

    /// Only an empty directory goes: one with pins is in use by the kernel, and what is not ours stays.
    fn remove_directory(&self) {
        let _: io::Result<()> = fs::remove_dir(&self.directory);
    }

    /// Where the link is pinned that looks at what an interface sends.
    pub(super) fn watch(&self, interface: &str) -> PathBuf {
        self.path(&format!("{WATCH_PREFIX}{}", interface.replace('.', ":")))
    }

    fn remove(&self, path: &Path) -> Result<bool, PinsError> {
        match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(PinsError::Io { path: path.to_path_buf(), source }),
        }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.remove_directory();
    }
}

/// The number of the interface that an XDP link is on, 0 where that is gone; none for what is no XDP link.
///
/// The kernel shows it among what it says about an open file (proc_pid_fdinfo(5)).
pub(super) fn interface_index(link: &FdLink) -> Option<u32> {
    let id = link.info().ok()?.id().to_string();
    for entry in fs::read_dir("/proc/self/fdinfo").ok()?.flatten() {
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        let value = |key: &str| {
            let mut fields = text.lines().filter_map(|line| line.split_once(':'));
            fields.find(|(name, _)| *name == key).map(|(_, value)| value.trim())
        };
        if value("link_type") == Some("xdp") && value("link_id") == Some(&id) {
            return value("ifindex")?.parse().ok();
        }
    }
    None
}

/// Whether what this process mounts and pins ends with a mount namespace that is not the system's.
pub fn is_in_own_mount_namespace() -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    matches!((namespace("self"), namespace("1")), (Some(own), Some(system)) if own != system)
}

/// Once, also where several daemons start together: a second mount would hide what is pinned in the first.
fn mount_bpffs() -> Result<(), PinsError> {
    let io = |source| PinsError::Io { path: BPFFS.into(), source };
    let lock = File::open(BPFFS).map_err(io)?;
    lock.lock().map_err(io)?;
    if !is_on_bpffs(BPFFS.as_ref()) {
        mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), None::<&str>).map_err(PinsError::Mount)?;
        tracing::info!(
            "mounted a bpffs at {BPFFS}: there was none; its pins live as long as this mount namespace"
        );
    }
    Ok(())
}

/// Looks at the nearest directory that exists.
fn is_on_bpffs(directory: &Path) -> bool {
    let existing = directory.ancestors().find(|ancestor| ancestor.exists());
    existing.and_then(|path| statfs(path).ok()).is_some_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
}
