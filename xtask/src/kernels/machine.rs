//! One guest: QEMU started, its console read, its end awaited or enforced.

use std::{
    fs::{self, File},
    io::Seek as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::archive::Kernel;

/// For all of a guest's life; emulated it takes five to six minutes.
const LIFETIME_MAX: Duration = Duration::from_secs(900);
const POLL: Duration = Duration::from_millis(100);
const MEMORY_MIB: &str = "1536";

/// Lines of the first process on the console.
pub(super) struct Marks {
    pub(super) begin: &'static str,
    /// The tests' exit code follows.
    pub(super) end: &'static str,
}

pub(super) const MARKS: Marks = Marks { begin: "guest: the tests begin", end: "guest: the tests ended with" };

/// What became of a guest.
pub(super) struct Run {
    pub(super) console: String,
    pub(super) took: Duration,
    /// It was ended by force.
    pub(super) hung: bool,
}

/// QEMU, killed when dropped.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // Both fail where it has ended already, and then there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots the kernel and waits for its end; once more where it did not come as far as the tests.
///
/// While it starts, a kernel patches its own code, which another CPU runs, and the emulator does not always follow.
pub(super) fn run(kernel: &Kernel, initramfs: &File) -> Result<Run> {
    let run = boot(kernel, initramfs)?;
    if run.hung || run.console.contains(MARKS.begin) {
        return Ok(run);
    }
    eprintln!("kernel {} did not come up, and is booted once more", kernel.release);
    boot(kernel, initramfs)
}

fn boot(kernel: &Kernel, mut initramfs: &File) -> Result<Run> {
    initramfs.rewind().context("cannot read the initramfs again")?;
    let console = File::create(&kernel.console)
        .with_context(|| format!("cannot write {}", kernel.console.display()))?;
    // setpriv has the kernel end QEMU when this program ends, in whatever way.
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "qemu-system-x86_64",
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
        "-smp",
        "2",
    ]);
    command.args([
        "-m",
        MEMORY_MIB,
        "-display",
        "none",
        "-no-reboot",
        "-nodefaults",
        "-serial",
        "file:/dev/stdout",
    ]);
    command.arg("-kernel").arg(&kernel.image);
    // The initramfs has no name; QEMU reads it as its standard input.
    command.args([
        "-initrd",
        "/dev/stdin",
        "-append",
        // The emulator's time stamps jitter; a kernel that calls them unstable patches its own code while it runs on
        // another CPU, which the emulator does not always follow.
        "console=ttyS0 loglevel=5 panic=-1 softlockup_panic=1 mitigations=off tsc=reliable",
    ]);
    command.stdin(initramfs.try_clone()?).stdout(console.try_clone()?).stderr(Stdio::from(console));
    let started = Instant::now();
    let mut guest = Guest(command.spawn().context("cannot start QEMU by setpriv")?);
    let mut hung = false;
    while guest.0.try_wait().context("cannot wait for QEMU")?.is_none() {
        if started.elapsed() > LIFETIME_MAX {
            hung = true;
            break;
        }
        thread::sleep(POLL);
    }
    drop(guest);
    let bytes =
        fs::read(&kernel.console).with_context(|| format!("cannot read {}", kernel.console.display()))?;
    // A serial line ends lines with both characters.
    let console = String::from_utf8_lossy(&bytes).replace('\r', "");
    Ok(Run { console, took: started.elapsed(), hung })
}
