//! How much memory the filter takes, in the kernel and in the daemon.

use crate::{control::MemoryBytes, datapath::Datapath};

/// What both take now.
pub(super) fn memory_bytes(datapath: &Datapath) -> MemoryBytes {
    MemoryBytes { kernel: datapath.memory_bytes(), daemon: daemon_bytes().unwrap_or(0) }
}

/// Gives back what a policy was compiled from: many times what stays, of which the allocator keeps 60 MiB for later.
pub(super) fn give_back() {
    // SAFETY: the function has no preconditions; what is in use stays where it is.
    #[cfg(target_env = "gnu")]
    let _: i32 = unsafe { nix::libc::malloc_trim(0) };
}

/// Has all threads share one arena, since [`give_back`] gives back the end of that one only: the daemon allocates on one
/// thread, and compiles on another now and then.
pub(super) fn share_arena() {
    // SAFETY: the function has no preconditions.
    #[cfg(target_env = "gnu")]
    let _: i32 = unsafe { nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1) };
}

/// What this process has for itself: its code is the file's.
fn daemon_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}
