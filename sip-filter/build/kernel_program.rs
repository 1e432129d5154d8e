//! Compiles one object of the kernel programs' package and puts it into `$OUT_DIR`.
//! Shared by the build scripts of the packages that embed one; which object is theirs to say.
//! It installs nothing: where a tool is missing it names the remedy and stops.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio, exit},
};

use crate::toolchain::{self, Toolchain};

/// The package's folder.
const CRATE: &str = "sip-filter-ebpf";
/// The object that can log packets.
const LOGS: &str = "sip-filter";

const NO_TOOLCHAIN: &str = "no Rust tool chain that can compile for BPF; one of these is needed:
  cargo xtask setup                                          (installs what is missing, on Debian as root)
  apt-get install rustc-web cargo-web libstd-rust-web-dev-bpf   (Debian 12)
  rustup toolchain install nightly --component rust-src
or SIP_FILTER_BPF_RUSTC names a rustc whose sysroot has core for BPF, or SIP_FILTER_EBPF_DIR a folder with the compiled object";

const NO_LINKER: &str = "no bpf-linker on PATH nor in cargo's bin folder; one of these is needed:
  cargo xtask setup                                          (compiles it, on Debian as root)
  cargo binstall bpf-linker
or SIP_FILTER_BPF_LINKER names it, or SIP_FILTER_EBPF_DIR names a folder with the compiled object";

/// Compiles the package's binary `object` to `$OUT_DIR/OBJECT`; ends the build script where that fails.
pub(crate) fn build(object: &str) {
    let destination = PathBuf::from(variable("OUT_DIR")).join(object);
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let workspace = package.parent().unwrap_or_else(|| fail("the package has no parent folder"));
    watch(workspace);

    if let Some(folder) = env::var_os("SIP_FILTER_EBPF_DIR") {
        return copy(&Path::new(&folder).join(object), &destination);
    }
    compile(workspace, object, &destination);
}

fn watch(workspace: &Path) {
    let sources = ["sip-filter-ebpf/src", "sip-filter-ebpf/Cargo.toml", "sip-filter-ebpf/Cargo.lock"];
    for path in sources.into_iter().chain(["sip-filter-common/src", "sip-filter-common/Cargo.toml"]) {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
    for name in ["SIP_FILTER_EBPF_DIR", "SIP_FILTER_BPF_RUSTC", "SIP_FILTER_BPF_LINKER"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
}

fn compile(workspace: &Path, object: &str, destination: &Path) {
    let target = toolchain::target(variable("CARGO_CFG_TARGET_ENDIAN") == "big");
    let toolchain = Toolchain::find(target).unwrap_or_else(|| fail(NO_TOOLCHAIN));
    let linker = toolchain::find_linker().unwrap_or_else(|| fail(NO_LINKER));

    // Not cargo's own, whose lock the outer cargo holds. One for all profiles, so that most of what the program stands on is compiled once.
    let folder = workspace.join("target/ebpf");
    // Held until the object is copied: another profile's, which differs and bears the same name, may be under way in the same place.
    let _lock = lock(&folder);

    let mut cargo = match &toolchain {
        Toolchain::Ready { .. } => Command::new(variable("CARGO")),
        Toolchain::Nightly => {
            let mut rustup = Command::new("rustup");
            rustup.args(["run", "nightly", "cargo"]);
            rustup
        }
    };
    cargo.current_dir(workspace.join(CRATE)).arg("build");
    toolchain::for_bpf(&mut cargo, &toolchain, &variable("CARGO_CFG_TARGET_ARCH"), &flags(workspace));
    cargo.env(format!("CARGO_TARGET_{}_LINKER", target.replace('-', "_").to_uppercase()), &linker);
    // The kernel program itself is always optimised: the verifier refuses what comes out otherwise.
    cargo.args(["--release", "--locked", "--bin", object, "--target", target, "--target-dir"]).arg(&folder);
    if object == LOGS && variable("PROFILE") == "debug" {
        cargo.args(["--features", "log"]);
    }
    run(cargo);
    copy(&folder.join(target).join("release").join(object), destination);
}

/// BTF for the maps and the verifier's log, and no path of this machine in the object: it is the same wherever it is built.
fn flags(workspace: &Path) -> Vec<String> {
    let mut flags = vec!["-Cdebuginfo=2".to_owned(), "-Clink-arg=--btf".to_owned()];
    // Headers stand at odd places, and every machine that this is compiled for reads words there at once.
    flags.push("-Clink-arg=--cpu-features=+allows-misaligned-mem-access".to_owned());
    // Instructions of 32 bits, which every supported kernel (5.10) has: no zeros to shift in behind each number of that size.
    flags.push("-Ctarget-cpu=v3".to_owned());
    flags.push(format!("--remap-path-prefix={}=.", workspace.display()));
    if let Some(home) = toolchain::cargo_home() {
        flags.push(format!("--remap-path-prefix={}=cargo", home.display()));
    }
    flags
}

fn lock(folder: &Path) -> File {
    let path = folder.join(".copying");
    let locked = fs::create_dir_all(folder).and_then(|()| File::create(&path)).and_then(|file| {
        file.lock()?;
        Ok(file)
    });
    locked.unwrap_or_else(|error| fail(&format!("cannot lock {}: {error}", path.display())))
}

fn run(mut command: Command) {
    let output = command.stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            fail(&format!("the kernel program does not build: {}", String::from_utf8_lossy(&output.stderr)))
        }
        Err(error) => fail(&format!("cannot start {}: {error}", command.get_program().display())),
    }
}

fn copy(object: &Path, destination: &Path) {
    if let Err(error) = fs::copy(object, destination) {
        fail(&format!("cannot copy the kernel program {}: {error}", object.display()));
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("{name} is not set: this runs under cargo only")))
}

fn fail(message: &str) -> ! {
    for line in message.lines() {
        println!("cargo::error={line}");
    }
    exit(1)
}
