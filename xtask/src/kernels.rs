//! `cargo xtask test --kernel`: the tests in guests, one for each kernel.
//!
//! A guest is a virtual machine without disk or network, emulated by QEMU: a kernel from Debian's archive and an initramfs
//! with the release builds. What is tested there is for the tests to say; here a guest's console is read.

mod archive;
mod initramfs;
mod machine;
mod readme;
mod report;

use std::{
    fs::File,
    num::NonZero,
    path::PathBuf,
    process::{Command, Stdio},
    str::FromStr,
    thread,
};

use anyhow::{Context, Result, bail, ensure};

use self::{archive::Kernel, report::Report};
use crate::cargo;

/// A series of kernels, and the suites of Debian's archive that it is looked for in.
pub(crate) struct Series {
    /// What `--kernel` and the report call it.
    pub(crate) name: &'static str,
    /// What versions of it begin with; empty: any, the newest of them all.
    prefix: &'static str,
    suites: &'static [&'static str],
}

/// From the oldest to the newest.
const ALL: &[Series] = &[
    // For the class of RHEL 9 and Ubuntu 22.04, whose 5.14 and 5.15 Debian does not have.
    Series { name: "5.10", prefix: "5.10.", suites: &["bullseye"] },
    Series { name: "6.1", prefix: "6.1.", suites: &["bookworm"] },
    Series { name: "6.12", prefix: "6.12.", suites: &["trixie"] },
    Series { name: "newest", prefix: "", suites: &["trixie-backports", "sid"] },
];

/// The argument of `--kernel`.
#[derive(Clone)]
pub(crate) struct Choice(Vec<&'static Series>);

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(ALL.iter().collect()));
        }
        let find = |name: &str| {
            let names = || ALL.iter().map(|series| series.name).collect::<Vec<_>>().join(", ");
            let found = ALL.iter().find(|series| series.name == name);
            found.ok_or_else(|| {
                format!("no kernel is called {name}: use all, or of {} some with commas", names())
            })
        };
        let chosen: Vec<&Series> = text.split(',').map(find).collect::<Result<_, _>>()?;
        match chosen
            .iter()
            .enumerate()
            .find(|(at, series)| chosen[..*at].iter().any(|other| other.name == series.name))
        {
            // Two guests would write one console.
            Some((_, twice)) => Err(format!("kernel {} is named twice: name each once", twice.name)),
            None => Ok(Self(chosen)),
        }
    }
}

/// Boots each kernel and runs the tests there; `filters` are names of tests, all of a guest's where empty.
///
/// Every kernel is tried, also after a failure. As many guests at once as there are processors: on two, two take six
/// minutes together.
pub(crate) fn run(choice: &Choice, filters: &[String], update_readme: bool) -> Result<()> {
    ensure!(
        !update_readme || choice.0.len() == ALL.len() && filters.is_empty(),
        "the README's table is of all tests on all kernels: give --kernel all and no names of tests"
    );
    let programs = Programs::find()?;
    let mut reports = Vec::new();
    let mut failures = Vec::new();
    let at_once = thread::available_parallelism().map_or(1, NonZero::get);
    for together in choice.0.chunks(at_once) {
        let guests: Vec<_> =
            together.iter().map(|series| Guest::prepare(series, &programs, filters)).collect();
        for (series, report) in together.iter().zip(run_together(guests)) {
            match report {
                Ok(report) => {
                    println!("{}", report.line());
                    if let Some(tail) = report.failure() {
                        eprintln!("{tail}");
                        failures.push(series.name);
                    }
                    reports.push(report);
                }
                Err(error) => {
                    eprintln!("{}: {error:#}", series.name);
                    failures.push(series.name);
                }
            }
        }
    }
    ensure!(failures.is_empty(), "the tests failed on kernel {}", failures.join(", "));
    if update_readme {
        readme::update(&reports)?;
    }
    Ok(())
}

/// Boots all and waits for the last one to end.
fn run_together(guests: Vec<Result<Guest>>) -> Vec<Result<Report>> {
    thread::scope(|scope| {
        let threads: Vec<_> =
            guests.into_iter().map(|guest| scope.spawn(move || guest.and_then(Guest::run))).collect();
        let results = threads.into_iter().map(thread::ScopedJoinHandle::join);
        // A thread that panics is a fault of this program, and ends it.
        results.map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// A guest that only has to be booted.
struct Guest {
    series: &'static Series,
    kernel: Kernel,
    initramfs: File,
}

impl Guest {
    fn prepare(series: &'static Series, programs: &Programs, filters: &[String]) -> Result<Self> {
        let kernel = archive::kernel(series)?;
        let initramfs = initramfs::build(&kernel, programs, filters)?;
        Ok(Self { series, kernel, initramfs })
    }

    fn run(self) -> Result<Report> {
        let Self { series, kernel, initramfs } = self;
        let run =
            machine::run(&kernel, &initramfs).with_context(|| format!("cannot boot {}", kernel.release))?;
        Ok(Report::new(series.name, &kernel.release, &run))
    }
}

/// Where the kernels are kept, with what a guest said last.
fn folder(series: &Series) -> Result<PathBuf> {
    Ok(cargo::target_dir()?.join("kernels").join(series.name))
}

/// The release builds that go into a guest.
struct Programs {
    tests: PathBuf,
    filter: PathBuf,
}

impl Programs {
    /// Builds the tests and asks cargo where they are: the name holds a hash.
    fn find() -> Result<Self> {
        let mut command = Command::new(cargo::program());
        command.current_dir(cargo::root()).stderr(Stdio::inherit());
        // With the features of the whole workspace, as `cargo xtask test` has compiled it.
        command.args(["test", "--release", "--locked", "--workspace", "--test", "all", "--no-run"]);
        let output =
            command.arg("--message-format=json-render-diagnostics").output().context("cannot start cargo")?;
        ensure!(output.status.success(), "`{}` failed", cargo::line(&command));
        let messages = String::from_utf8_lossy(&output.stdout);
        let mut executables = messages.lines().filter_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            let is_test = message["profile"]["test"].as_bool()?;
            message["executable"].as_str().filter(|_| is_test).map(PathBuf::from)
        });
        let Some(tests) = executables.next_back() else { bail!("cargo names no test program") };
        Ok(Self { tests, filter: cargo::target_dir()?.join("release/sip-filter") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_chosen_by_name_and_an_unknown_one_is_told_the_names() {
        let names = |text: &str| {
            text.parse::<Choice>().map(|choice| choice.0.iter().map(|series| series.name).collect::<Vec<_>>())
        };
        assert_eq!(names("6.1,5.10"), Ok(vec!["6.1", "5.10"]));
        assert_eq!(names("all").map(|names| names.len()), Ok(ALL.len()));
        assert!(names("5.10,6.1,5.10").unwrap_err().contains("5.10 is named twice"));
        let error = names("4.19").unwrap_err();
        assert!(error.contains("4.19") && error.contains("5.10, 6.1, 6.12, newest"), "{error}");
    }
}
