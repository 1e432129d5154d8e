//! "Did you mean": the known word that lies closest to what was written.
//!
//! A guess for messages only; nothing is ever corrected by it.

/// The closest of `known` to `written`, unless none is close.
pub(super) fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the word may be wrong, or two letters of a short one; beyond that a guess confuses more than it helps.
    let distance_max = (written.chars().count() / 3).max(2);
    let by_distance = known.into_iter().map(|word| (distance(written, word), word));
    by_distance
        .filter(|(distance, word)| *distance <= distance_max && *distance < word.chars().count())
        .min()
        .map(|(_, word)| word)
}

/// The number of letters to insert, remove or replace (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, candidate) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *candidate);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_words_are_suggested_and_far_ones_are_not() {
        let check = |written: &str, expected: Option<&str>| {
            assert_eq!(closest(written, ["listener", "mode", "on_exit", "trunk"]), expected, "{written}");
        };
        check("listeners", Some("listener"));
        check("trunks", Some("trunk"));
        check("Mode", Some("mode"));
        check("onexit", Some("on_exit"));
        check("interfaces", None);
        check("", None);
    }
}
