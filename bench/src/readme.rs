//! The README's figures, between two marks: written from a run, never by hand.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use crate::{
    costs::FILTER,
    floors::Floor,
    path::Way,
    plan::{Layout, Version},
    report::number,
    results::{Change, Cost, Course, Results},
};

const BEGIN: &str = "<!-- bench -->";
const END: &str = "<!-- /bench -->";
/// Links and how many frames of 64 bytes a second they carry: bits over (64 + 20) x 8.
const LINKS: [(&str, f64); 3] = [("10 GbE", 14.88e6), ("25 GbE", 37.2e6), ("100 GbE", 148.8e6)];
const CORES: [f64; 2] = [1.0, 16.0];

/// The document with this run's figures between its marks.
///
/// # Errors
///
/// Where it has no marks.
pub fn updated(document: &str, results: &Results) -> Result<String> {
    let context = || format!("the document has no `{BEGIN}` and `{END}` to write between");
    let (before, rest) = document.split_once(BEGIN).with_context(context)?;
    let (_, after) = rest.split_once(END).with_context(context)?;
    Ok(format!("{before}{BEGIN}\n\n{}\n{END}{after}", block(results)))
}

fn block(results: &Results) -> String {
    let mut text = format!("Measured by `{}` on {}.\n", results.command, results.machine.line());
    let handed = || results.costs.iter().filter(|cost| cost.course == Course::Handed);
    let _ = writeln!(
        text,
        "Each figure is how much longer a packet takes, in nanoseconds, than one that is handed to an empty program, \
         or on a wire how much more processor time than one that such a program drops; \
         of what is handed over the turns count in which the machine was quiet, {} of {}; \
         a minimal parser adds {} ns over IPv4, {} ns over IPv6 and {} ns on a wire.\n",
        handed().map(|cost| cost.counted().count()).sum::<usize>(),
        handed().map(|cost| cost.rounds.len()).sum::<usize>(),
        number(results.parse_added_ns(Course::Handed, Version::V4)),
        number(results.parse_added_ns(Course::Handed, Version::V6)),
        number(results.parse_added_ns(Course::Wire, Version::V4))
    );
    text += &table(results);
    text.push('\n');
    text += &links(results);
    text += &changes(results);
    text += &dialogues(results);
    text
}

fn sizes(results: &Results) -> Vec<usize> {
    let mut sizes: Vec<usize> = results.costs.iter().map(|cost| cost.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// A row for each subject and path, a column for each size.
fn table(results: &Results) -> String {
    let sizes = sizes(results);
    let mut text = String::from("| packet |");
    for size in &sizes {
        let _ = write!(text, " {size} prefixes |");
    }
    text += "\n| --- |";
    text += &" ---: |".repeat(sizes.len());
    text.push('\n');
    let mut rows: Vec<(String, Vec<&Cost>)> = Vec::new();
    for cost in &results.costs {
        let name = format!("{}: {}, {}", cost.subject, cost.way.name(), crate::report::plan(cost));
        match rows.iter_mut().find(|(other, _)| *other == name) {
            Some((_, costs)) => costs.push(cost),
            None => rows.push((name, vec![cost])),
        }
    }
    // The filter's own rows first.
    rows.sort_by_key(|(name, _)| !name.starts_with(FILTER));
    for (name, costs) in rows {
        let _ = write!(text, "| {name} |");
        for size in &sizes {
            let cost = costs.iter().find(|cost| cost.size == *size);
            let _ =
                write!(text, " {} |", cost.map_or_else(|| "-".to_owned(), |cost| number(cost.added_ns())));
        }
        text.push('\n');
    }
    text
}

/// What a link full of the shortest frames leaves for each packet, and how much of it the filter takes.
fn links(results: &Results) -> String {
    let stranger = |cost: &&Cost| {
        (&*cost.subject, cost.course) == (FILTER, Course::Handed)
            && (cost.way, cost.version, cost.layout) == (Way::Stranger, Version::V4, Layout::Spread)
    };
    let Some(cost) = results.costs.iter().filter(stranger).max_by_key(|cost| cost.size) else {
        return String::new();
    };
    let added = cost.added_ns();
    let mut text = format!(
        "Worked out, not measured: a link full of 64-byte frames of strangers, and how much of the time that it leaves for each packet the filter takes \
         ({} ns with {} prefixes spread as real lists are; the driver's own work comes on top).\n\n\
         | link | packets/s | ns a packet, one core | taken | ns a packet, 16 cores | taken |\n\
         | --- | ---: | ---: | ---: | ---: | ---: |\n",
        number(added),
        cost.size
    );
    for (link, per_s) in LINKS {
        let _ = write!(text, "| {link} | {:.2} M |", per_s / 1e6);
        for cores in CORES {
            let time = cores * 1e9 / per_s;
            let _ = write!(text, " {} | {:.0} % |", number(time), 100.0 * added / time);
        }
        text.push('\n');
    }
    text
}

/// What the largest policy takes until it is in force, until it is changed, and at rest.
fn changes(results: &Results) -> String {
    let Some(size) = results.changes.iter().map(|change| change.size).max() else {
        return String::new();
    };
    let mut text = String::from(
        "\nLoaded is from nothing to enforcing, applied the whole file with one entry changed; memory is the kernel's and \
         the daemon's together, at rest.\n\n\
         | a policy of | loaded, ms | applied, ms | of it the kernel's part, ms | one more allowed, ms | one banned, ms | MiB |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for change in results.changes.iter().filter(|change| change.size == size) {
        let _ = write!(text, "| {size} prefixes, {} |", change.subject);
        let Change { load_ms, apply_ms, kernel_ms, add_ms, ban_ms, memory_mib, .. } = change;
        for value in [load_ms, apply_ms, kernel_ms, add_ms, ban_ms, memory_mib] {
            let _ = write!(text, " {} |", value.map_or_else(|| "-".to_owned(), number));
        }
        text.push('\n');
    }
    text
}

fn dialogues(results: &Results) -> String {
    if results.dialogues.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\nA known client's OPTIONS requests in the midst of a flood, 200 a second: \
         loss, and the delay of the answer (median and all but 1 %). \
         `{}` is a program that only compares the source with one network; taken are the packets that the protected side's one CPU got rid of.\n\n| prefixes | flood, packets/s | behind | taken/s | lost | median | 99 % |\n\
         | ---: | ---: | --- | ---: | ---: | ---: | ---: |\n",
        Floor::Known.name()
    );
    for dialogue in &results.dialogues {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.2} M | {:.1} % | {:.0} us | {:.0} us |",
            dialogue.size,
            dialogue.flood_per_s,
            dialogue.subject,
            dialogue.taken_per_s / 1e6,
            dialogue.loss_percent(),
            dialogue.p50_us,
            dialogue.p99_us
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Results {
        Results { command: "cargo xtask bench".into(), ..Results::default() }
    }

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let document = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let updated = updated(&document, &nothing()).unwrap();
        assert!(
            updated.starts_with("before\n") && updated.ends_with(&format!("{END}\nafter\n")),
            "{updated}"
        );
        assert!(!updated.contains("old") && updated.contains("cargo xtask bench"), "{updated}");
    }

    #[test]
    fn a_document_without_marks_is_refused() {
        assert!(updated("no marks", &nothing()).is_err());
    }

    #[test]
    fn of_changes_those_of_the_largest_policy_are_told() {
        let change = |size, add_ms| Change {
            subject: FILTER.to_owned(),
            size,
            load_ms: Some(700.0),
            apply_ms: None,
            daemon_ms: None,
            kernel_ms: None,
            add_ms,
            ban_ms: None,
            memory_mib: None,
        };
        let mut results = nothing();
        results.changes = vec![change(10, None), change(1_000, Some(0.5))];
        let told = changes(&results);
        assert!(told.ends_with("|\n| 1000 prefixes, sip-filter | 700 | - | - | 0.500 | - | - |\n"), "{told}");
        assert!(!told.contains("| 10 prefixes"), "{told}");
    }
}
