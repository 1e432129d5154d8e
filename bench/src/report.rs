//! What people see of a run: tables for the terminal. Everything in them is in the JSON file too.

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use crate::{
    goals::{self, Goal},
    plan::Version,
    results::{Change, Cost, Course, Dialogue, Results},
};

/// All tables of a run.
pub fn text(results: &Results) -> String {
    let mut parts = vec![results.machine.line()];
    if !results.costs.is_empty() {
        parts.push(format!(
            "ns a packet, made and handed to the program, or sent and received on one CPU; \
             added: less an empty program's in the same turn; \
             x parse: over the {:.1} ns (IPv4), {:.1} ns (IPv6) and {:.1} ns (on a wire) that a minimal parser adds; \
             x own parser: over what the filter's own parser adds; \
             one look: what a minimal parser adds that also reads one word at random of a table with eight bytes for each prefix; \
             turns: how many count of how many, since what is handed over is only counted where the machine was quiet\n{}",
            results.parse_added_ns(Course::Handed, Version::V4),
            results.parse_added_ns(Course::Handed, Version::V6),
            results.parse_added_ns(Course::Wire, Version::V4),
            costs(results)
        ));
    }
    if !results.changes.is_empty() {
        parts.push(format!("changes, ms\n{}", changes(&results.changes)));
    }
    if !results.dialogues.is_empty() {
        parts.push(format!(
            "OPTIONS of a known client in the midst of a flood: loss, delay\n{}",
            dialogues(&results.dialogues)
        ));
    }
    let goals = goals::of(results);
    if !goals.is_empty() {
        let missed = goals.iter().filter(|goal| !goal.is_met()).count();
        parts.push(format!("goals: {} of {} missed\n{}", missed, goals.len(), goals_table(&goals)));
    }
    parts.extend(results.notes.iter().map(|note| format!("note: {note}")));
    parts.join("\n\n")
}

fn costs(results: &Results) -> Table {
    let mut table = table(
        &[
            "prefixes",
            "subject",
            "packet",
            "plan",
            "ns",
            "added",
            "x parse",
            "own parser",
            "x own parser",
            "one look",
            "turns",
        ],
        &[0, 4, 5, 6, 7, 8, 9, 10],
    );
    for cost in &results.costs {
        table.add_row([
            cost.size.to_string(),
            cost.subject.clone(),
            cost.way.name().to_owned(),
            plan(cost),
            format!("{:.0}", cost.median(|round| round.subject_ns)),
            format!("{:.1}", cost.added_ns()),
            format!("{:.1}", results.to_parse(cost)),
            format!("{:.1}", results.headers_added_ns(cost)),
            format!("{:.2}", results.to_headers(cost)),
            cost.look_added_ns().map_or_else(String::new, |look| format!("{look:.1}")),
            format!("{}/{}", cost.counted().count(), cost.rounds.len()),
        ]);
    }
    table
}

/// Family and layout, and whether packets came along a wire.
pub(crate) fn plan(cost: &Cost) -> String {
    let course = if cost.course == Course::Wire { ", on a wire" } else { "" };
    format!("{} {}{course}", cost.version.name(), cost.layout.name())
}

fn changes(changes: &[Change]) -> Table {
    let head =
        ["prefixes", "subject", "load", "apply", "of it daemon", "of it kernel", "add one", "ban one", "MiB"];
    let mut table = table(&head, &[0, 2, 3, 4, 5, 6, 7, 8]);
    for change in changes {
        let cell = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
        table.add_row([
            change.size.to_string(),
            change.subject.clone(),
            cell(change.load_ms),
            cell(change.apply_ms),
            cell(change.daemon_ms),
            cell(change.kernel_ms),
            cell(change.add_ms),
            cell(change.ban_ms),
            cell(change.memory_mib),
        ]);
    }
    table
}

fn dialogues(dialogues: &[Dialogue]) -> Table {
    let head =
        ["prefixes", "flood/s", "sent/s", "subject", "taken/s", "requests", "lost %", "p50 us", "p99 us"];
    let mut table = table(&head, &[0, 1, 2, 4, 5, 6, 7, 8]);
    for dialogue in dialogues {
        table.add_row([
            dialogue.size.to_string(),
            dialogue.flood_per_s.to_string(),
            format!("{:.0}", dialogue.flooded_per_s),
            dialogue.subject.clone(),
            format!("{:.0}", dialogue.taken_per_s),
            dialogue.sent.to_string(),
            format!("{:.1}", dialogue.loss_percent()),
            format!("{:.0}", dialogue.p50_us),
            format!("{:.0}", dialogue.p99_us),
        ]);
    }
    table
}

fn goals_table(goals: &[Goal]) -> Table {
    let mut table = table(&["goal", "at most", "measured", ""], &[1, 2]);
    for goal in goals {
        table.add_row([
            goal.what.clone(),
            format!("{} {}", number(goal.limit), goal.unit),
            format!("{} {}", number(goal.measured), goal.unit),
            if goal.is_met() { String::new() } else { "MISSED".to_owned() },
        ]);
    }
    table
}

/// Three figures that count.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        value if value >= 100.0 => format!("{:.0}", value.round()),
        _ if value.abs() >= 10.0 => format!("{value:.1}"),
        _ if value.abs() >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn table(head: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header(head);
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
