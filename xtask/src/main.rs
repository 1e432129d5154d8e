//! The project's own tasks, `cargo xtask TASK`: what plain cargo cannot do alone.
//! One file a task; each first makes sure that the machine has what it needs (`setup`).
//! Nothing here knows the project's crates but by their names.

mod bench;
mod cargo;
mod debian;
mod demo;
mod kernels;
mod lint;
mod run;
mod setup;
mod test;
#[path = "../../sip-filter/build/toolchain.rs"]
mod toolchain;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up, demo, tests, checks and measurements of sip-filter.
///
/// Every task first looks for the tools that it needs.
/// As root on Debian it installs what is missing, and says what and why; elsewhere it names the commands and stops.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Demo(demo::Demo),
    Bench(bench::Bench),
    Test(test::Test),
    Run(run::Run),
    Lint(lint::Lint),
    Setup(setup::Setup),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Demo(demo) => demo.run(),
        Task::Bench(bench) => bench.run(),
        Task::Test(test) => test.run(),
        Task::Run(run) => run.run(),
        Task::Lint(lint) => lint.run(),
        Task::Setup(setup) => setup.run(),
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    eprintln!("xtask: {error:#}");
    ExitCode::from(if error.is::<setup::Refused>() { 2 } else { 1 })
}
