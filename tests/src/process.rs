//! A program that the laboratory started: its output in files, its end known, its whole process group killed
//! when dropped.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::wait::wait_until;

/// How much of a program's output an error shows.
const TAIL_LINES: usize = 15;

/// How a program ended, and all that it printed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Whether the exit code is 0.
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }
}

/// A running program, the leader of its own process group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command` with its output in files in `directory`; `name` names them and the program in errors.
    pub fn spawn(directory: &Path, name: &str, mut command: Command) -> Result<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let file_name = format!("{name}-{}", SERIAL.fetch_add(1, Ordering::Relaxed));
        let stdout = directory.join(format!("{file_name}.out"));
        let stderr = directory.join(format!("{file_name}.err"));
        command
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).with_context(|| format!("create {}", stdout.display()))?)
            .stderr(File::create(&stderr).with_context(|| format!("create {}", stderr.display()))?)
            .process_group(0);
        let child = command.spawn().with_context(|| format!("start {name} ({command:?})"))?;
        Ok(Self { name: name.to_owned(), child, stdout, stderr })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed on standard output so far.
    pub fn stdout(&self) -> String {
        read_lossy(&self.stdout)
    }

    /// What it has printed on standard error so far.
    pub fn stderr(&self) -> String {
        read_lossy(&self.stderr)
    }

    /// The last lines of both outputs, for an error.
    pub fn tail(&self) -> String {
        let all = self.stdout() + &self.stderr();
        let lines: Vec<&str> = all.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// The exit status, once there is one.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("wait for {}", self.name))
    }

    /// Fails, with the last lines it printed, if the program is no longer running.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.ended()? {
            Some(status) => bail!("{} ended too early ({status}):\n{}", self.name, self.tail()),
            None => Ok(()),
        }
    }

    /// Waits for the end; kills the program and fails when `within` has passed first.
    pub fn wait(mut self, within: Duration) -> Result<Outcome> {
        let what = format!("{} to end", self.name);
        let status = wait_until(within, &what, || self.ended());
        let status = status.with_context(|| format!("{} printed:\n{}", self.name, self.tail()))?;
        Ok(Outcome { code: status.code(), stdout: self.stdout(), stderr: self.stderr() })
    }

    /// Sends a signal to the program itself, not to its children.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// Sends a signal and waits for the end.
    pub fn stop(self, signal: Signal, within: Duration) -> Result<Outcome> {
        self.signal(signal)?;
        self.wait(within)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not yet waited for, so the id is still this program's; an error means that the group is gone
        // already.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = killpg(self.pid(), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// Runs a short command of the laboratory's own to its end, and fails with what it printed unless it
/// succeeds.
pub(crate) fn succeed(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn read_lossy(path: &Path) -> String {
    // A file that is not there has nothing in it, which is what callers want to know.
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Process;
    use std::process::Command;
    use std::time::Duration;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn code_and_both_outputs_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let process =
            Process::spawn(directory.path(), "sh", shell("echo out; echo err >&2; exit 3")).unwrap();
        let outcome = process.wait(Duration::from_secs(5)).unwrap();
        assert_eq!(
            (outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()),
            (Some(3), "out\n", "err\n")
        );
    }

    #[test]
    fn error_of_a_program_that_hangs_shows_what_it_printed() {
        let directory = tempfile::tempdir().unwrap();
        let process = Process::spawn(directory.path(), "sh", shell("echo stuck; exec sleep 60")).unwrap();
        crate::wait_until(Duration::from_secs(5), "output", || {
            Ok((!process.stdout().is_empty()).then_some(()))
        })
        .unwrap();
        let error = process.wait(Duration::ZERO).unwrap_err();
        assert!(format!("{error:#}").contains("stuck"), "{error:#}");
    }
}
