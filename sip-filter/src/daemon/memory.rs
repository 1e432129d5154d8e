//! How much memory the filter takes, in the kernel and in the daemon.

use crate::{control::MemoryBytes, datapath::Datapath};

/// What both take now.
pub(super) fn memory_bytes(datapath: &Datapath) -> MemoryBytes {
    MemoryBytes { kernel: datapath.memory_bytes(), daemon: daemon_bytes().unwrap_or(0) }
}

/// What this process has for itself: its code is the file's.
fn daemon_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}
