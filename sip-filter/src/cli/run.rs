//! `run`: the daemon.

use std::{io::IsTerminal as _, path::PathBuf};

use sip_filter_common::{Mode, maps::BANS_MAX};
use tracing::Level;
use tracing_appender::non_blocking::NonBlockingBuilder;
use tracing_subscriber::{
    Layer as _, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use super::{DEFAULT_CONFIG, DEFAULT_STATE, Global};
use crate::{
    daemon::{self, Options},
    policy::file,
};

/// How many lines may wait for whoever reads the log: as many bans as there can be may end at once.
const WAITING_LINES_MAX: usize = 2 * BANS_MAX as usize;

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The policy file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Where to attach; may be given again; replaces the file's `interfaces`.
    #[arg(long = "interface", value_name = "NAME", value_parser = interface)]
    interfaces: Vec<String>,
    /// Replaces the file's `mode`.
    #[arg(long, value_enum)]
    mode: Option<ModeName>,
    /// Where registrations outlive a restart; another file for each instance on this machine.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_STATE)]
    state: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ModeName {
    /// Count what would be dropped, pass everything.
    Monitor,
    /// Drop.
    Enforce,
}

fn interface(name: &str) -> Result<String, String> {
    if file::is_interface_name(name) {
        return Ok(name.to_owned());
    }
    Err(format!("\"{name}\" cannot be the name of an interface; `ip link` lists the names there are"))
}

pub(super) fn run(global: &Global, arguments: Arguments) -> anyhow::Result<()> {
    let default = if global.verbose { Level::DEBUG } else { Level::INFO };
    let chosen = std::env::var("RUST_LOG").ok().and_then(|names| names.trim_matches(',').parse().ok());
    // A reader that stands still, such as a terminal with Ctrl-S, is not to hold up the daemon: it misses lines. What is left
    // is written when this goes.
    let (writer, _rest) =
        NonBlockingBuilder::default().buffered_lines_limit(WAITING_LINES_MAX).finish(std::io::stderr());
    let lost_lines = writer.error_counter();
    // Journals and terminals both stamp lines themselves or do not need it.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_target(false);
    tracing_subscriber::registry()
        .with(lines.with_filter(chosen.unwrap_or(Targets::new().with_default(default))))
        .init();
    let options = Options {
        config: std::path::absolute(&arguments.config)?,
        interfaces: arguments.interfaces,
        mode: arguments.mode.map(|mode| match mode {
            ModeName::Monitor => Mode::Monitor,
            ModeName::Enforce => Mode::Enforce,
        }),
        socket: global.socket.clone(),
        pins: global.pins.clone(),
        state: std::path::absolute(&arguments.state)?,
        is_verbose: global.verbose,
        lost_lines,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(daemon::run(options))
}
