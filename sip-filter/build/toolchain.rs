//! Finds what can compile and link for BPF on this machine: a Rust tool chain and bpf-linker.
//! Read by `build.rs`, which uses it, and by `cargo xtask`, which asks whether it has to install anything: both must see the same.
//! It looks only; nothing is built or installed here.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The target triple of the kernel program, by the byte order of the machine that will run it.
pub(crate) fn target(big_endian: bool) -> &'static str {
    if big_endian { "bpfeb-unknown-none" } else { "bpfel-unknown-none" }
}

/// A Rust tool chain that can compile `core` for BPF.
pub(crate) enum Toolchain {
    /// This `rustc` brings `core` ready for the target, as Debian's does.
    Ready { rustc: PathBuf },
    /// rustup's nightly with the component rust-src: `core` is compiled along.
    Nightly,
}

impl Toolchain {
    /// The first that fits; `SIP_FILTER_BPF_RUSTC` leaves no choice.
    pub(crate) fn find(target: &str) -> Option<Self> {
        let fits = |rustc: &PathBuf| sysroot(Command::new(rustc)).is_some_and(|root| has_core(&root, target));
        if let Some(chosen) = env::var_os("SIP_FILTER_BPF_RUSTC").map(PathBuf::from) {
            return fits(&chosen).then_some(Self::Ready { rustc: chosen });
        }
        let mut candidates: Vec<PathBuf> = env::var_os("RUSTC").map(PathBuf::from).into_iter().collect();
        // Debian's stands behind rustup's on many a PATH.
        candidates.extend(["rustc".into(), "/usr/bin/rustc".into()]);
        match candidates.into_iter().find(fits) {
            Some(rustc) => Some(Self::Ready { rustc }),
            None => has_nightly_sources().then_some(Self::Nightly),
        }
    }
}

/// Takes from `command` what the outer cargo has set for the host, and gives it what the BPF target asks for.
/// `arch` is the architecture of the machine that will run the program, `flags` go to rustc.
pub(crate) fn for_bpf(command: &mut Command, toolchain: &Toolchain, arch: &str, flags: &[String]) {
    // The wrapper is clippy-driver under `cargo clippy`.
    for name in ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOC", "RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"]
    {
        command.env_remove(name);
    }
    for name in ["CARGO_BUILD_TARGET", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"] {
        command.env_remove(name);
    }
    let mut all = vec![format!("--cfg=bpf_target_arch=\"{arch}\"")];
    all.extend_from_slice(flags);
    command.env("CARGO_ENCODED_RUSTFLAGS", all.join("\x1f"));
    match toolchain {
        // BPF assembly is unstable; these two crates may use it on a stable rustc, all others stay stable.
        Toolchain::Ready { rustc } => {
            command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "aya_ebpf,sip_filter");
        }
        Toolchain::Nightly => {
            command.env_remove("RUSTC").env_remove("RUSTC_BOOTSTRAP").arg("-Zbuild-std=core");
        }
    }
}

/// bpf-linker: the one that `SIP_FILTER_BPF_LINKER` names, or the first on PATH or among cargo's own programs.
pub(crate) fn find_linker() -> Option<PathBuf> {
    match env::var_os("SIP_FILTER_BPF_LINKER").map(PathBuf::from) {
        Some(chosen) => chosen.is_file().then_some(chosen),
        None => find_program("bpf-linker"),
    }
}

/// A program by its name, also where administrators and cargo keep theirs.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let aside = [cargo_home().map(|home| home.join("bin")), Some("/usr/sbin".into()), Some("/sbin".into())];
    env::split_paths(&path)
        .chain(aside.into_iter().flatten())
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// Where cargo keeps its registry and the programs it installs.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    match env::var_os("CARGO_HOME") {
        Some(home) => Some(home.into()),
        None => env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")),
    }
}

/// The sysroot of a `rustc`; `command` may name it by way of another program.
pub(crate) fn sysroot(mut command: Command) -> Option<PathBuf> {
    let output = command.args(["--print", "sysroot"]).output().ok()?;
    output.status.success().then(|| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn has_core(sysroot: &Path, target: &str) -> bool {
    let libraries = sysroot.join("lib/rustlib").join(target).join("lib");
    let mut files = fs::read_dir(libraries).into_iter().flatten().flatten();
    files.any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
}

fn has_nightly_sources() -> bool {
    let mut rustc = Command::new("rustup");
    rustc.args(["run", "nightly", "rustc"]);
    sysroot(rustc).is_some_and(|root| root.join("lib/rustlib/src/rust/library/Cargo.toml").is_file())
}
