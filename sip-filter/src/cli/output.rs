//! How answers look: JSON for scripts, tables for people, colour on a terminal only.

use std::{io::Write as _, time::Duration};

use comfy_table::{Cell, Color, Table, presets};
use serde::Serialize;

use crate::policy::{difference::thousands, sources::ListSource};

/// Prints one JSON document.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// Prints a line or more; a reader that went away (`| head`) is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints an error with its causes.
pub(super) fn error(error: &anyhow::Error) {
    let text = format!("{error:#}");
    // Mistakes in a policy file come with their own heading.
    let heading = if text.starts_with("error: ") { "" } else { "error: " };
    // Nobody is left to tell if this fails.
    let _: std::io::Result<()> = writeln!(std::io::stderr(), "{heading}{text}");
}

/// A table without lines, for terminals and for `awk`.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table
}

/// `pass` in green, `drop` in red.
pub(super) fn verdict(verdict: &str) -> Cell {
    Cell::new(verdict).fg(if verdict == "drop" { Color::Red } else { Color::Green })
}

/// A number, to the right.
pub(super) fn number(number: impl ToString) -> Cell {
    Cell::new(number).set_alignment(comfy_table::CellAlignment::Right)
}

/// A list file in one line, whatever its length.
pub(super) fn source(source: &ListSource) -> String {
    format!("file:{}  {} prefixes", source.file.display(), thousands(source.prefixes))
}

/// Half a minute or so, for people.
pub(super) fn duration(ms: u64) -> String {
    // Whole seconds, but never 0 for what is still in force.
    humantime::format_duration(Duration::from_secs(ms.div_ceil(1_000))).to_string()
}
