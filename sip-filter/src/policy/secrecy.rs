//! Where passwords stand in the text of a policy file, so that no message shows one.
//!
//! The text may be anything but TOML, and a key anything but spelt right: what looks like a secret is one, and to show
//! too little of a line does no harm.

use std::ops::Range;

use super::suggestion;

/// What the names of secrets have in them, also those that are no key here.
const SOUNDS: [&str; 5] = ["secret", "passw", "passph", "pwd", "psw"];
const KEYS: [&str; 2] = ["secret", "password"];
/// The one that names a place instead.
const NO_SECRET: &str = "secret_file";

/// The places of values, in bytes, in order, none within another; each reaches to the end of a line.
pub(super) fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(word) = next_word(text, at) {
        at = word.end;
        let (value, is_key) = behind_key(text, word.end);
        if ends_a_text(&text[word.end..]) {
            continue;
        }
        if is_name_of_secret(&text[word], is_key) {
            at = end_of_value(text, value, is_key);
            found.push(value..at);
        }
    }
    found
}

/// Whether any of a text's secrets stands in a part of it.
pub(super) fn shows_secret(part: &Range<usize>, text: &str) -> bool {
    secrets(text).iter().any(|secret| secret.start < part.end && part.start < secret.end)
}

/// What stands for them in a message; none where `said` shows nothing of one.
pub(super) fn without_value(said: &str, span: &Range<usize>, text: &str) -> Option<String> {
    let secrets = secrets(text);
    // "invalid type: string "…", expected …", and a number may be written otherwise than in the text.
    let (value, expected) = match said.rfind(", expected ") {
        Some(end) => said.split_at(end),
        None => (said, ""),
    };
    let start = value.find(['"', '`'])?;
    let shown = value[start..].trim_matches(['"', '`']);
    let is_shown = secrets.iter().any(|secret| {
        let is_about_it = secret.start < span.end && span.start < secret.end;
        is_about_it || (!shown.is_empty() && text[secret.clone()].contains(shown))
    });
    is_shown.then(|| format!("{}{expected}", value[..start].trim_end()))
}

/// The next run of what bare keys consist of.
fn next_word(text: &str, from: usize) -> Option<Range<usize>> {
    let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    let bytes = &text.as_bytes()[from..];
    let start = bytes.iter().position(is_of_word)?;
    let length = bytes[start..].iter().position(|byte| !is_of_word(byte)).unwrap_or(bytes.len() - start);
    Some(from + start..from + start + length)
}

/// True behind the last word of a quoted value, which is no key.
fn ends_a_text(rest: &str) -> bool {
    let Some(behind) = rest.strip_prefix(['"', '\'']) else { return false };
    let behind = behind.trim_start_matches([' ', '\t']);
    behind.is_empty() || behind.starts_with([',', ']', '}', '#', '\r', '\n'])
}

/// Where the value begins behind a key that ends there, and whether it is one at all.
fn behind_key(text: &str, end: usize) -> (usize, bool) {
    let blank = [' ', '\t'];
    let rest = &text[end..];
    let rest = rest.strip_prefix(['"', '\'']).unwrap_or(rest).trim_start_matches(blank);
    let value = rest.trim_start_matches(['=', ':']);
    let is_key = rest.starts_with('=');
    (text.len() - value.trim_start_matches(blank).len(), is_key)
}

fn is_name_of_secret(word: &str, is_key: bool) -> bool {
    let word = word.to_ascii_lowercase();
    let sounds = word == "pass" || SOUNDS.iter().any(|sound| word.contains(sound));
    word != NO_SECRET && (sounds || is_key && suggestion::closest(&word, KEYS).is_some())
}

/// The end of the line on which a value ends; of the text, where it never does.
fn end_of_value(text: &str, start: usize, is_key: bool) -> usize {
    let rest = &text[start..];
    let last = match rest.as_bytes().first() {
        _ if rest.starts_with("\"\"\"") || rest.starts_with("'''") => end_of_long_text(rest),
        Some(b'[') => end_of_nest(rest, b'[', b']'),
        Some(b'{') => end_of_nest(rest, b'{', b'}'),
        // It may have slipped into the next line.
        Some(b'\r' | b'\n') if is_key => rest.find('\n').map_or(0, |end| end + 1),
        _ => 0,
    };
    let line = &rest[last..];
    start + last + line.find(['\r', '\n']).unwrap_or(line.len())
}

fn end_of_long_text(rest: &str) -> usize {
    let (quotes, mut at) = (&rest[..3], 3);
    while let Some(found) = rest[at..].find(quotes) {
        let before = &rest[..at + found];
        let escapes = before.len() - before.trim_end_matches('\\').len();
        if quotes.starts_with('\'') || escapes.is_multiple_of(2) {
            return at + found + quotes.len();
        }
        at += found + 1;
    }
    rest.len()
}

fn end_of_nest(rest: &str, open: u8, close: u8) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in rest.bytes().enumerate() {
        depth += usize::from(byte == open);
        if byte == close {
            depth -= 1;
            if depth == 0 {
                return at + 1;
            }
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_what_their_keys_sound_like_however_broken_the_text_is() {
        for (text, value) in [
            ("secret = \"hush\"\nkind = \"x\"", "\"hush\""),
            ("secert=hush\r\nkind = \"x\"", "hush"),
            ("Password = 'hu sh' # mine\n", "'hu sh' # mine"),
            ("\"secret\" = 12345", "12345"),
            ("'sercet'\t=\t12345", "12345"),
            ("pbx = [{ name = \"a\", secret = \"hu\", sh\" }]\n", "\"hu\", sh\" }]"),
            ("pbx.a.secret = hush", "hush"),
            ("secret \"hush\"", "\"hush\""),
            ("secret: hush", "hush"),
            ("secret =\nhush\nkind = 1", "\nhush"),
            ("secret = \"\"\"\nhu\\\"\"\"\nsh\n\"\"\" #\nkind = 1", "\"\"\"\nhu\\\"\"\"\nsh\n\"\"\" #"),
            ("secret = '''\nhu\\'''\nkind = 1", "'''\nhu\\'''"),
            ("secret = \"\"\"\nhush\nkind = 1", "\"\"\"\nhush\nkind = 1"),
            ("secret = [\n[1],\n\"hush\" ]\nkind = 1", "[\n[1],\n\"hush\" ]"),
            ("secret\"hush\"", "hush\""),
            ("[\"my secret\", secret = hush", "hush"),
            ("passphrase = hush", "hush"),
            ("manager_secret = hush", "hush"),
            ("# secret = hush", "hush"),
        ] {
            let found: Vec<&str> = secrets(text).into_iter().map(|range| &text[range]).collect();
            assert_eq!(found, [value], "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        let example = include_str!("../../../sip-filter.example.toml");
        for secret in secrets(example) {
            let start = example[..secret.start].rfind('\n').unwrap_or(0);
            let line = &example[start..secret.end];
            assert!(!line.contains(" = "), "{line}");
        }
        assert!(secrets("secret_file = \"/etc/a\"\nsources = []\nname = \"a-secret\"").is_empty());
    }
}
