//! The table that the demo prints, and the lines on the way there. It holds no opinion on what was tried.

use std::io::{IsTerminal, stdout};
use std::time::Instant;

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[1;31m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// What was tried, what was expected, what happened, and whether that is the same.
#[derive(Clone, Debug)]
struct Row {
    cells: [String; 3],
    ok: bool,
}

/// Rows that come together while a demo runs.
#[derive(Debug)]
pub struct Report {
    started: Instant,
    colour: bool,
    rows: Vec<Row>,
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

impl Report {
    /// An empty report; colours its output if standard output is a terminal.
    pub fn new() -> Self {
        Self { started: Instant::now(), colour: stdout().is_terminal(), rows: Vec::new() }
    }

    /// Prints what is being done now.
    pub fn step(&self, text: &str) {
        println!("{:5.1} s  {text}", self.started.elapsed().as_secs_f64());
    }

    /// Adds a line to the table.
    pub fn row(
        &mut self,
        tried: impl Into<String>,
        expected: impl Into<String>,
        happened: impl Into<String>,
        ok: bool,
    ) {
        self.rows.push(Row { cells: [tried.into(), expected.into(), happened.into()], ok });
    }

    /// Whether every line is as expected, and there is one.
    pub fn all_ok(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.ok)
    }

    /// The table as text; empty if there is no line.
    pub fn table(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let titles = ["what was tried", "expected", "what happened"];
        let widths: [usize; 3] = std::array::from_fn(|column| {
            let cells = self.rows.iter().map(|row| row.cells[column].chars().count());
            cells.chain([titles[column].len()]).max().unwrap_or_default()
        });
        let line = |cells: [&str; 3]| -> String {
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  ")).collect()
        };
        let mut text = format!("{}{}ok{}\n", self.colour(BOLD), line(titles), self.colour(PLAIN));
        for row in &self.rows {
            let (colour, mark) = if row.ok { (GREEN, "yes") } else { (RED, "NO") };
            let cells = line(row.cells.each_ref().map(String::as_str));
            text += &format!("{cells}{}{mark}{}\n", self.colour(colour), self.colour(PLAIN));
        }
        text
    }

    fn colour(&self, code: &'static str) -> &'static str {
        if self.colour { code } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn one_line_that_is_not_as_expected_spoils_the_report() {
        let mut report = Report::new();
        assert!(!report.all_ok());
        report.row("a call", "complete", "complete", true);
        assert!(report.all_ok());
        report.row("a sweep", "no reply", "2 replies", false);
        assert!(!report.all_ok());
        assert!(report.table().lines().last().unwrap().contains("NO"));
    }
}
