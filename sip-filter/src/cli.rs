//! The command line: one file a verb.
//!
//! Turns words into requests and answers into tables; decides nothing about packets.

mod apply;
mod ban;
mod check;
mod detach;
mod explain;
mod later;
mod lists;
mod output;
mod registration;
mod replay;
mod run;
mod status;
mod trunk;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    control::{Fault, client::CallError},
    daemon,
    policy::{mistake::Mistakes, tables::Full},
};

/// Where the policy file stands unless `--config` says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/sip-filter/sip-filter.toml";
const DEFAULT_SOCKET: &str = "/run/sip-filter/control.sock";
const DEFAULT_PINS: &str = "/sys/fs/bpf/sip-filter";
const DEFAULT_STATE: &str = "/var/lib/sip-filter/state";

const DONE: u8 = 0;
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NO_DAEMON: u8 = 3;

/// Drops SIP and RTP packets of strangers in XDP, before the kernel allocates anything.
///
/// Start with `sip-filter check` on a policy file, then `sip-filter run` in monitor mode, watch `sip-filter status`,
/// and turn `mode` to "enforce" when the counters are what you expect.
#[derive(Debug, Parser)]
#[command(
    name = "sip-filter",
    version,
    after_help = "Exit codes: 0 done; 1 it failed; 2 usage or configuration is wrong; 3 no daemon answers."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Global {
    /// The daemon's control socket; another one for each instance on this machine.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// The pin directory, on a bpffs; another one for each instance on this machine.
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_PINS)]
    pins: PathBuf,
    /// Print JSON for scripts.
    #[arg(long, global = true)]
    json: bool,
    /// Say more: debug messages, whole verifier logs.
    #[arg(long, short, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon: load, attach, pin, answer; stays in the foreground.
    Run(run::Arguments),
    /// Validate a policy file, without privileges and without a daemon.
    Check(check::Arguments),
    /// Replace the policy in force, whole or not at all, and print the difference.
    Apply(apply::Arguments),
    /// Mode, interfaces and how XDP is attached there, policy generation, counters by reason.
    Status,
    /// Change or show the allow lists, live.
    #[command(subcommand)]
    Allow(lists::Allow),
    /// Change or show the always-deny list, live.
    #[command(subcommand)]
    Deny(lists::Deny),
    /// Refuse an address for a while, or show who is refused.
    #[command(subcommand)]
    Ban(ban::Action),
    /// Who is registered now; say so, or take it back.
    #[command(subcommand)]
    Registration(registration::Action),
    /// What is known of trunks.
    #[command(subcommand)]
    Trunk(trunk::Action),
    /// Ask the loaded kernel program what it does with a packet, and why.
    Explain(explain::Arguments),
    /// What a policy would do to a capture, by reason and by source; needs no daemon and no privileges.
    Replay(replay::Arguments),
    /// Remove program, links and pins: from one interface, or all of it.
    Detach(detach::Arguments),
    /// Not supported yet.
    #[command(hide = true)]
    Confirm(later::Anything),
    /// Not supported yet.
    #[command(hide = true)]
    Rollback(later::Anything),
    /// Not supported yet.
    #[command(hide = true)]
    Pinhole(later::Anything),
}

/// A mistake of the person who asked, not of the system.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Something went wrong and was already said in full.
#[derive(Debug, thiserror::Error)]
#[error("the policy file has mistakes")]
struct AlreadyTold;

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    match dispatch(&global, command) {
        Ok(()) => ExitCode::from(DONE),
        Err(error) => {
            if !error.is::<AlreadyTold>() {
                output::error(&error);
            }
            ExitCode::from(exit_code(&error))
        }
    }
}

fn dispatch(global: &Global, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(arguments) => run::run(global, arguments),
        Command::Check(arguments) => check::run(global, &arguments),
        Command::Apply(arguments) => apply::run(global, &arguments),
        Command::Status => status::run(global),
        Command::Allow(action) => lists::allow(global, action),
        Command::Deny(action) => lists::deny(global, action),
        Command::Ban(action) => ban::run(global, action),
        Command::Registration(action) => registration::run(global, action),
        Command::Trunk(action) => trunk::run(global, action),
        Command::Explain(arguments) => explain::run(global, arguments),
        Command::Replay(arguments) => replay::run(&arguments, global.json),
        Command::Detach(arguments) => detach::run(global, arguments),
        Command::Confirm(_) => later::refuse("confirm"),
        Command::Rollback(_) => later::refuse("rollback"),
        Command::Pinhole(_) => later::refuse("pinhole"),
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(call) = error.downcast_ref::<CallError>() {
        return match call {
            CallError::NoDaemon { .. } => NO_DAEMON,
            CallError::Refused { fault: Fault::Usage, .. } => USAGE,
            _ => FAILED,
        };
    }
    let is_usage = error.is::<Usage>()
        || error.is::<Mistakes>()
        || error.is::<AlreadyTold>()
        || error.is::<Full>()
        || error.is::<daemon::NoInterface>()
        || error.is::<daemon::Unreadable>();
    if is_usage { USAGE } else { FAILED }
}
