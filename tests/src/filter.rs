//! The filter under test, seen only as an operator sees it: a file, commands, exit codes and JSON.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::host::Host;
use crate::lab::Lab;
use crate::process::{Outcome, Process};
use crate::wait::wait_until;

/// Where to look for the binary before the target directory.
const BINARY_VARIABLE: &str = "SIP_FILTER_BIN";
const START_MS: u64 = 20_000;
const STOP_MS: u64 = 10_000;
const COMMAND_MS: u64 = 20_000;
const LINE_MS: u64 = 5_000;

/// A `sip-filter` daemon on the PBX, with a control socket and pins of its own.
///
/// Dropping it kills the daemon as SIGKILL does; what it pinned stays in force until the laboratory goes.
#[derive(Debug)]
pub struct Filter {
    binary: PathBuf,
    host: Host,
    config: PathBuf,
    socket: PathBuf,
    pins: PathBuf,
    state: PathBuf,
    daemon: Option<Process>,
}

impl Filter {
    /// Starts the daemon with `policy` as its file and waits until it answers. One at a time in a laboratory.
    pub fn start(lab: &Lab, policy: &str) -> Result<Self> {
        let mut filter = Self::prepare(lab, policy)?;
        filter.run()?;
        Ok(filter)
    }

    /// Writes the file but starts nothing: for commands without a daemon, and for a start that is to fail.
    pub fn prepare(lab: &Lab, policy: &str) -> Result<Self> {
        Self::beside(lab, "", policy)
    }

    /// The same for one more filter in the laboratory; `label` (`"-second"`) ends the names of its file, socket and pins.
    pub fn beside(lab: &Lab, label: &str, policy: &str) -> Result<Self> {
        let mut pins = lab.pins().as_os_str().to_owned();
        pins.push(label);
        let filter = Self {
            binary: binary()?,
            host: lab.pbx().clone(),
            config: lab.directory().join(format!("sip-filter{label}.toml")),
            socket: lab.directory().join(format!("control{label}.sock")),
            pins: pins.into(),
            state: lab.directory().join(format!("state{label}")),
            daemon: None,
        };
        filter.write_config(policy)?;
        Ok(filter)
    }

    /// The same filter as cargo builds it for this profile, if it has.
    #[must_use]
    pub fn of_profile(self, profile: &str) -> Option<Self> {
        let target = self.binary.parent()?.parent()?;
        let binary = target.join(profile).join("sip-filter");
        binary.is_file().then_some(Self { binary, ..self })
    }

    /// The same filter with other pins.
    #[must_use]
    pub fn with_pins(self, pins: &Path) -> Self {
        Self { pins: pins.to_owned(), ..self }
    }

    /// The same filter with another control socket.
    #[must_use]
    pub fn with_socket(self, socket: &Path) -> Self {
        Self { socket: socket.to_owned(), ..self }
    }

    /// Starts the daemon again after it ended, on the same file, socket and pins.
    pub fn run(&mut self) -> Result<()> {
        self.run_with(&[])
    }

    /// The same with more on the command line: `&["--mode", "monitor"]`.
    pub fn run_with(&mut self, arguments: &[&str]) -> Result<()> {
        self.launch(arguments)?;
        let mut daemon = self.daemon.take().context("the daemon was just started")?;
        let answered = wait_until(Duration::from_millis(START_MS), "sip-filter to answer `status`", || {
            daemon.still_runs()?;
            Ok(self.cli(["status", "--json"])?.succeeded().then_some(()))
        });
        answered.with_context(|| format!("sip-filter run printed:\n{}", daemon.tail()))?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Starts the daemon and waits for nothing.
    pub fn launch(&mut self, arguments: &[&str]) -> Result<()> {
        let mut command = self.command();
        command.arg("run").arg("--config").arg(&self.config).arg("--state").arg(&self.state).args(arguments);
        self.daemon = Some(self.host.spawn("sip-filter-run", command)?);
        Ok(())
    }

    /// Starts the daemon where that must fail, and returns how it ended.
    pub fn run_in_vain(&self, arguments: &[&str]) -> Result<Outcome> {
        let config = self.config.display().to_string();
        let state = self.state.display().to_string();
        self.cli([&["run", "--config", &config, "--state", &state], arguments].concat())
    }

    /// Sends the daemon a signal and does not wait.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.daemon.as_ref().context("the daemon does not run")?.signal(signal)
    }

    /// Waits for a daemon that is to end by itself.
    pub fn ended(&mut self) -> Result<Outcome> {
        let daemon = self.daemon.take().context("the daemon does not run")?;
        daemon.wait(Duration::from_millis(STOP_MS))
    }

    /// Runs a command of the filter to its end, whatever its exit code: `filter.cli(["ban", "list"])`.
    pub fn cli<I>(&self, arguments: I) -> Result<Outcome>
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        let mut command = self.command();
        command.args(arguments);
        self.host.run("sip-filter", command, Duration::from_millis(COMMAND_MS))
    }

    /// Runs a command that must succeed, and returns its standard output.
    pub fn done(&self, arguments: &[&str]) -> Result<String> {
        let outcome = self.cli(arguments)?;
        if !outcome.succeeded() {
            let arguments = arguments.join(" ");
            bail!("`sip-filter {arguments}` failed (code {:?}): {}", outcome.code, outcome.stderr.trim());
        }
        Ok(outcome.stdout)
    }

    /// Runs a command with `--json`, which must succeed, and reads what it prints.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let stdout = self.done(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&stdout)
            .with_context(|| format!("`{}` printed no JSON: {stdout}", arguments.join(" ")))
    }

    /// `registration list --json`, as one "AOR at ADDRESS" each, sorted.
    pub fn registrations(&self) -> Result<Vec<String>> {
        let list = self.json(&["registration", "list"])?;
        let entries = list.as_array().context("`registration list --json` is no list")?;
        let word = |entry: &Value, key: &str| entry[key].as_str().unwrap_or("?").to_owned();
        let mut told: Vec<String> = entries
            .iter()
            .map(|entry| format!("{} at {}", word(entry, "aor"), word(entry, "address")))
            .collect();
        told.sort();
        Ok(told)
    }

    /// The causes of all bans of an address, by `ban list`.
    pub fn bans_of(&self, address: IpAddr) -> Result<Vec<String>> {
        let list = self.json(&["ban", "list"])?;
        let entries = list.as_array().context("`ban list --json` is no list")?;
        let of_it = entries.iter().filter(|entry| entry["address"] == address.to_string());
        Ok(of_it.map(|entry| entry["cause"].as_str().unwrap_or_default().to_owned()).collect())
    }

    /// A request on the control socket, without a command: the answer, and the round trip.
    pub fn ask(&self, request: &Value) -> Result<(Value, Duration)> {
        let line = format!("{request}\n");
        let started = Instant::now();
        let mut stream = UnixStream::connect(&self.socket)
            .with_context(|| format!("connect to {}", self.socket.display()))?;
        stream.write_all(line.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        let took = started.elapsed();
        let answer: Value = serde_json::from_str(&answer).context("read the daemon's answer")?;
        ensure!(answer.get("ok").is_some(), "the daemon refused {request}: {answer}");
        Ok((answer["ok"].clone(), took))
    }

    /// `status --json`.
    pub fn status(&self) -> Result<Value> {
        self.json(&["status"])
    }

    /// Packets whose way ended for `reason` since the counters were made; a reason not listed has counted
    /// none.
    pub fn counter(&self, reason: &str) -> Result<u64> {
        let status = self.status()?;
        let counters = status["counters"].as_object().context("`status --json` has no counters")?;
        match counters.get(reason) {
            Some(counter) => {
                counter["packets"].as_u64().with_context(|| format!("no packets in counter {reason}"))
            }
            None => Ok(0),
        }
    }

    /// Replaces the file; the daemon learns of it by `apply`.
    pub fn write_config(&self, policy: &str) -> Result<()> {
        fs::write(&self.config, policy).with_context(|| format!("write {}", self.config.display()))
    }

    /// Replaces the file and puts it in force, if it can be.
    pub fn apply(&self, policy: &str) -> Result<Outcome> {
        self.write_config(policy)?;
        self.cli([OsStr::new("apply"), OsStr::new("--config"), self.config.as_os_str()])
    }

    /// The file that the daemon was started with.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where this filter pins.
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// The file in which this filter's registrations outlive the daemon.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The daemon's process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.daemon.as_ref().map(Process::id)
    }

    /// What the daemon has printed so far; empty while none runs.
    pub fn log(&self) -> String {
        self.daemon.as_ref().map(|daemon| daemon.stdout() + &daemon.stderr()).unwrap_or_default()
    }

    /// Waits for a line of the log that has all of `parts`: lines come by a thread of the daemon's own, some time
    /// after what they tell of.
    pub fn logs(&self, parts: &[&str]) -> Result<()> {
        let tells = |line: &str| parts.iter().all(|part| line.contains(part));
        let what = format!("a line of the log with {parts:?}");
        wait_until(Duration::from_millis(LINE_MS), &what, || Ok(self.log().lines().any(tells).then_some(())))
            .with_context(|| format!("sip-filter run printed:\n{}", self.log()))
    }

    /// Ends the daemon by a signal and returns how it ended.
    pub fn kill(&mut self, signal: Signal) -> Result<Outcome> {
        let daemon = self.daemon.take().context("the daemon does not run")?;
        daemon.stop(signal, Duration::from_millis(STOP_MS))
    }

    /// Ends the daemon as systemd does, if it runs, and starts it again.
    pub fn restart(&mut self) -> Result<()> {
        if self.daemon.is_some() {
            self.kill(Signal::SIGTERM)?;
        }
        self.run()
    }

    /// A command of the filter inside the PBX, yet to be given its verb.
    pub fn command(&self) -> Command {
        self.command_under(&[])
    }

    /// The same, started by another program: `&["setpriv", "--reuid=65534", …]`.
    pub fn command_under(&self, starter: &[&str]) -> Command {
        let binary = self.binary.as_os_str();
        let mut words = starter.iter().map(OsStr::new).chain([binary]);
        let mut command = self.host.command(words.next().unwrap_or(binary));
        command.args(words);
        command.arg("--socket").arg(&self.socket).arg("--pins").arg(&self.pins);
        command
    }
}

/// Finds the binary under test: as told, or in the target directory that this program was built into.
fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os(BINARY_VARIABLE) {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            bail!("{BINARY_VARIABLE} names no file: {}", path.display())
        };
    }
    let this = env::current_exe().context("find this program's own path")?;
    // target/PROFILE/demo, target/PROFILE/deps/lab-0123456789abcdef
    let candidates = this.ancestors().skip(1).take(2).map(|directory| directory.join("sip-filter"));
    candidates.into_iter().find(|path| path.is_file()).with_context(|| {
        format!(
            "no sip-filter beside {}: run `cargo build --release -p sip-filter` (or set {BINARY_VARIABLE})",
            this.display()
        )
    })
}
