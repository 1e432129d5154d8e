//! Where and when a figure was made.

use std::{collections::BTreeMap, fs, process::Command};

use serde::Serialize;

/// The machine, as far as it matters for a figure.
#[derive(Debug, Default, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many of them.
    pub cpus: usize,
    /// Caches of the first processor, by level and kind.
    pub caches: BTreeMap<String, String>,
    /// The kernel's release.
    pub kernel: String,
    /// The day, in UTC.
    pub date: String,
    /// Processor time that the hypervisor took away during the run, in percent.
    pub steal_percent: f64,
}

/// Ticks since boot: all, and those stolen.
#[derive(Clone, Copy, Debug)]
pub struct Ticks {
    all: u64,
    stolen: u64,
}

impl Machine {
    /// This machine; `start` is from the beginning of the run.
    pub fn observed_since(start: Ticks) -> Self {
        let end = Ticks::now();
        Self {
            cpu: cpu_name(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            caches: caches(),
            kernel: read("/proc/sys/kernel/osrelease"),
            date: date(),
            steal_percent: 100.0 * (end.stolen - start.stolen) as f64 / (end.all - start.all).max(1) as f64,
        }
    }

    /// In one line.
    pub fn line(&self) -> String {
        let caches: Vec<String> = self.caches.iter().map(|(name, size)| format!("{name} {size}")).collect();
        format!(
            "{} x {}, {}, Linux {}, {}, {:.1} % stolen",
            self.cpus,
            self.cpu,
            caches.join(" "),
            self.kernel,
            self.date,
            self.steal_percent
        )
    }
}

impl Ticks {
    /// From `/proc/stat`.
    pub fn now() -> Self {
        let stat = read("/proc/stat");
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
        // The ninth and tenth are parts of the first two.
        Self { all: ticks.iter().take(8).sum(), stolen: ticks.get(7).copied().unwrap_or(0) }
    }
}

fn cpu_name() -> String {
    let info = read("/proc/cpuinfo");
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned())
}

fn caches() -> BTreeMap<String, String> {
    let folder = "/sys/devices/system/cpu/cpu0/cache";
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let cache = |entry: fs::DirEntry| {
        let of = |name: &str| fs::read_to_string(entry.path().join(name)).ok();
        let (level, kind, size) = (of("level")?, of("type")?, of("size")?);
        let kind = if kind.trim() == "Unified" { "" } else { &kind[..1] };
        Some((format!("L{}{kind}", level.trim()), size.trim().to_owned()))
    };
    entries.filter_map(cache).collect()
}

fn date() -> String {
    let output = Command::new("date").args(["--utc", "+%Y-%m-%d"]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Empty where there is no such file: what cannot be told is left out.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
