//! What a guest's console says: a line for people, and the fields for the README.

use std::time::Duration;

use super::machine::{MARKS, Run};

/// How much of a console a failure shows.
const TAIL_LINES: usize = 80;
/// Printed by the test of the loaded object.
const VERIFIED: &str = "sip_filter: Some(";
/// In `/proc/version`, before the version of the package; the release alone hides updates.
const PACKAGE: &str = " Debian ";
/// Printed by the guest's own tests.
const FACT: &str = "guest-fact: ";

/// One kernel's result.
pub(super) struct Report {
    name: &'static str,
    /// As `uname -r` says, with the version of Debian's package.
    pub(super) release: String,
    counts: Option<Counts>,
    has_passed: bool,
    /// In words, how the program is attached.
    pub(super) attached: Option<String>,
    /// How many instructions the verifier looked at; kernels before 5.16 do not tell.
    pub(super) verified: Option<u64>,
    took: Duration,
    tail: String,
    hung: bool,
}

struct Counts {
    passed: u64,
    failed: u64,
}

impl Report {
    pub(super) fn new(name: &'static str, release: &str, run: &Run) -> Self {
        let console = &run.console;
        let code = after(console, MARKS.end).and_then(|code| code.trim().parse::<i32>().ok());
        let verified = after(console, VERIFIED).and_then(|rest| rest.split(')').next()?.parse().ok());
        let version = console.lines().find(|line| line.starts_with("Linux version "));
        let version = version.and_then(|line| line.rsplit_once(PACKAGE)?.1.split(' ').next());
        let lines: Vec<&str> = console.lines().filter(|line| !line.trim().is_empty()).collect();
        let counts = counts(console);
        // None at all are no proof of anything.
        let has_some = counts.as_ref().is_some_and(|counts| counts.passed > 0);
        Self {
            name,
            release: version.map_or_else(|| release.to_owned(), |version| format!("{release} ({version})")),
            counts,
            has_passed: code == Some(0) && has_some && !run.hung,
            attached: after(console, FACT).map(str::to_owned),
            verified,
            took: run.took,
            tail: lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"),
            hung: run.hung,
        }
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        let result = if self.has_passed { "passed" } else { "FAILED" };
        let counts = self.counts.as_ref().map_or_else(
            || "no tests ended".to_owned(),
            |counts| format!("{} passed, {} failed", counts.passed, counts.failed),
        );
        let verified =
            self.verified.map_or_else(String::new, |verified| format!(", {verified} instructions verified"));
        let attached = self.attached.as_ref().map_or_else(String::new, |attached| format!(", {attached}"));
        format!(
            "kernel {:<7} {} {result}: {counts}{attached}{verified}, {:.0} s",
            self.name,
            self.release,
            self.took.as_secs_f64()
        )
    }

    /// What to show where it has not passed.
    pub(super) fn failure(&self) -> Option<String> {
        let end = if self.hung {
            "it hung and was ended; its console ended with"
        } else {
            "its console ended with"
        };
        (!self.has_passed).then(|| format!("kernel {}: {end}\n{}", self.name, self.tail))
    }

    /// For the README.
    pub(super) fn count(&self) -> u64 {
        self.counts.as_ref().map_or(0, |counts| counts.passed)
    }
}

/// The rest of the last line that has the mark.
fn after<'a>(console: &'a str, mark: &str) -> Option<&'a str> {
    console.lines().rev().find_map(|line| line.split_once(mark)).map(|(_, rest)| rest)
}

/// What the test program says at its end.
fn counts(console: &str) -> Option<Counts> {
    let text = after(console, "test result: ")?;
    let number = |word: &str| {
        let part = text.split(['.', ';']).find(|part| part.trim_end().ends_with(word))?;
        part.split_whitespace().next()?.parse().ok()
    };
    Some(Counts { passed: number("passed")?, failed: number("failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "Linux version 6.1.0-47-cloud-amd64 (a@b) (gcc (Debian 12.2.0) 12.2.0) #1 SMP PREEMPT_DYNAMIC Debian 6.1.170-3 (2026-05-08)\n\
        sip_filter: Some(27976) instructions verified, at most 200000 are wanted\nguest-fact: native with frags\n\
        test result: ok. 21 passed; 0 failed; 0 ignored; 0 measured; 60 filtered out; finished in 9.20s\n\
        guest: the tests ended with 0\n";

    fn report(console: &str, hung: bool) -> Report {
        let run = Run { console: console.to_owned(), took: Duration::from_secs(31), hung };
        Report::new("6.1", "6.1.0-47-cloud-amd64", &run)
    }

    #[test]
    fn a_guest_passes_by_the_exit_code_of_its_tests_where_there_were_some() {
        let passed = report(CONSOLE, false);
        assert_eq!(passed.failure(), None);
        for word in [
            "6.1.0-47-cloud-amd64 (6.1.170-3)",
            "passed: 21 passed, 0 failed",
            "native with frags",
            "27976",
            "31 s",
        ] {
            assert!(passed.line().contains(word), "{word}: {}", passed.line());
        }
        let panicked = CONSOLE.replace("ended with 0", "ended with 101");
        let none = CONSOLE.replace("21 passed", "0 passed");
        for (console, hung) in
            [(&*panicked, false), (&*none, false), ("Kernel panic", false), (CONSOLE, true), ("", false)]
        {
            assert!(report(console, hung).failure().is_some(), "{console}");
        }
        assert!(report("Kernel panic", false).failure().unwrap().contains("Kernel panic"));
    }
}
