//! The README's table of kernels, written from a run and never by hand.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};

use super::report::Report;
use crate::cargo;

const BEGIN: &str = "<!-- kernels -->";
const END: &str = "<!-- /kernels -->";

/// Replaces the table between the marks.
pub(super) fn update(reports: &[Report]) -> Result<()> {
    let path = cargo::root().join("README.md");
    let context = || format!("cannot change {}", path.display());
    let text = fs::read_to_string(&path).with_context(context)?;
    let output = Command::new("date").args(["--utc", "+%Y-%m-%d"]).output().context("cannot start date")?;
    ensure!(output.status.success(), "date failed");
    let today = String::from_utf8_lossy(&output.stdout);
    let text = replaced(&text, &table(reports, today.trim())).with_context(|| {
        format!("{} lacks the lines {BEGIN} and {END}: put them where the table is to stand", path.display())
    })?;
    fs::write(&path, text).with_context(context)
}

fn table(reports: &[Report], today: &str) -> String {
    let mut lines = vec![
        "| Debian's kernel | tests | native XDP | instructions verified |".to_owned(),
        "| --- | --- | --- | --- |".to_owned(),
    ];
    for report in reports {
        let attached = report.attached.as_deref().unwrap_or("?").trim_start_matches("native ");
        let verified = report.verified.map_or_else(|| "not told".to_owned(), |verified| verified.to_string());
        lines.push(format!("| {} | {} passed | {attached} | {verified} |", report.release, report.count()));
    }
    lines.push(String::new());
    lines.push(format!("By `cargo xtask test --kernel all --update-readme`, {today}."));
    lines.join("\n")
}

fn replaced(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let text = format!("above\n{BEGIN}\nold\n{END}\nbelow\n");
        assert_eq!(replaced(&text, "new").unwrap(), format!("above\n{BEGIN}\nnew\n{END}\nbelow\n"));
        assert_eq!(replaced("above", "new"), None);
    }
}
