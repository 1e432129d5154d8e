//! What the TOML reader itself finds wrong, in our words.

use std::ops::Range;

use toml::de::Error;

use crate::policy::mistake::Report;
use crate::policy::{secrecy, suggestion};

/// What a file has several of, each a table of its own.
const LISTS_OF_TABLES: [&str; 3] = ["listener", "trunk", "pbx"];
/// What a file has one of.
const TABLES: [&str; 3] = ["deny", "allow", "strangers"];

/// Notes an error in the syntax, a key or a type.
pub(super) fn report(error: &Error, text: &str, report: &mut Report) {
    let span = error.span().unwrap_or(0..0);
    let without_value = secrecy::without_value(error.message(), &span, text);
    let said = without_value.as_deref().unwrap_or(error.message());
    // serde's wording is stable for these; anything else is passed on as it is.
    if let Some(rest) = said.strip_prefix("unknown field `") {
        let key = rest.split('`').next().unwrap_or_default();
        let known: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
        let remedy = match suggestion::closest(key, known.iter().copied()) {
            Some(close) => format!("did you mean \"{close}\"?"),
            None => format!("known keys here: {}", known.join(", ")),
        };
        report.mistake(span, format!("unknown key \"{key}\""), remedy);
    } else if let Some(rest) = said.strip_prefix("missing field `") {
        let key = rest.trim_end_matches('`');
        report.mistake(span, format!("the key \"{key}\" is missing"), format!("add it here: {key} = …"));
    } else if let Some((message, remedy)) = misplaced_table(said, &span, text) {
        report.mistake(span, message, remedy);
    } else {
        let offending = text.get(span.clone()).unwrap_or_default();
        let hides = without_value.is_some() || secrecy::shows_secret(&span, text);
        let remedy = remedy(said, offending, hides);
        let words = [
            ("invalid type: sequence", "invalid type: list"),
            ("invalid type: map", "invalid type: table"),
            ("a sequence", "a list"),
            ("expected i64", "expected a whole number"),
        ];
        let said = words.iter().fold(said.to_owned(), |said, (from, to)| said.replace(from, to));
        report.mistake(span, said.trim_end().replace('\n', ", "), remedy);
    }
}

/// A table that stands where several of its kind may, several where one may, or a value in its place.
fn misplaced_table(said: &str, span: &Range<usize>, text: &str) -> Option<(String, String)> {
    if !said.starts_with("invalid type") {
        return None;
    }
    let before = text.get(..span.start)?;
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    let (above, line) = (&text[..line], text[line..].lines().next()?.trim());
    if let Some(header) = line.strip_prefix('[') {
        let name = header.trim_start_matches('[').split(['.', ']']).next()?.trim();
        // What is in a table of such a list is of another shape for other reasons.
        return if LISTS_OF_TABLES.contains(&name) && said.ends_with("expected a sequence") {
            Some((
                format!("there may be several of [{name}]"),
                format!("write [[{name}]], and its name below it"),
            ))
        } else if TABLES.contains(&name) && line.starts_with(&format!("[[{name}]]")) {
            Some((format!("there is only one [{name}]"), format!("write [{name}], once")))
        } else {
            None
        };
    }
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    // Within a table the same word is a key of that.
    if above.lines().any(|line| line.trim_start().starts_with('[')) {
        return None;
    }
    let header = match key {
        key if LISTS_OF_TABLES.contains(&key) => format!("[[{key}]]"),
        key if TABLES.contains(&key) => format!("[{key}]"),
        _ => return None,
    };
    Some((
        format!("\"{key}\" is no value"),
        format!("write {header} on a line of its own, and its keys below it"),
    ))
}

/// What to do about an error that the reader words like this; `hides` where the text is not to be shown.
fn remedy(said: &str, offending: &str, hides: bool) -> Option<String> {
    let one_line = !offending.is_empty() && !offending.contains('\n') && !offending.starts_with(['[', '{']);
    let is_unquoted = ["integer", "float", "boolean", "datetime"]
        .iter()
        .any(|kind| said.strip_prefix("invalid type: ").is_some_and(|rest| rest.starts_with(kind)));
    if said.starts_with("invalid type") && said.contains("expected a sequence") {
        let shown = if hides { "…" } else { offending };
        one_line.then(|| format!("write a list: [{shown}]"))
    } else if said.starts_with("invalid type: sequence") {
        let shown = only_value(said, offending).filter(|_| !hides);
        Some(shown.map_or_else(
            || "one value stands here, without brackets".to_owned(),
            |value| format!("write it without brackets: {value}"),
        ))
    } else if said.starts_with("invalid type: map") && said.ends_with("expected a string") {
        Some(if offending.starts_with('[') {
            "a key of this name has a value, in quotes, and no table".to_owned()
        } else {
            "one value stands here, in quotes".to_owned()
        })
    } else if said.contains("expected a boolean") {
        Some("write true or false, without quotes".to_owned())
    } else if said.contains("expected i64") {
        Some("write the number alone, without quotes".to_owned())
    } else if said.starts_with("string values must be quoted")
        || (is_unquoted && said.ends_with("expected a string"))
    {
        (one_line && !hides).then(|| format!("write it in quotes: \"{offending}\""))
    } else if said.starts_with("duplicate key") {
        Some("keep one of them".to_owned())
    } else if said.starts_with("missing comma between array elements") {
        Some("put a comma between the entries, or ] behind the last one".to_owned())
    } else if said.starts_with("invalid float") {
        Some("what is no number, such as an address, stands in quotes".to_owned())
    } else {
        None
    }
}

/// What stands alone in a list where one value of that kind was expected.
fn only_value<'a>(said: &str, list: &'a str) -> Option<&'a str> {
    let value = list.trim_start_matches('[').trim_end_matches([',', ' ', ']']).trim();
    let is_quoted = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .is_some_and(|text| !text.contains('"'));
    let is_one = match said.rsplit_once("expected ")?.1 {
        "a string" => is_quoted,
        "a boolean" => ["true", "false"].contains(&value),
        "i64" => !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()),
        _ => false,
    };
    is_one.then_some(value)
}
