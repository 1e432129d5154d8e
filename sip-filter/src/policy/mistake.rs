//! Mistakes in a policy file and the list files that it names, each with its place, the text it is about and the remedy.
//!
//! Knows lines and columns, but neither TOML nor what a policy is; what is secret in a text `secrecy` says.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::secrecy::secrets;

/// How much of a long source line is shown around a mistake, in characters.
const EXCERPT_WIDTH: usize = 120;

/// What is shown of a secret, however long it is.
const VEIL: char = '…';

/// One mistake, or one thing that is valid but hardly meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// Where it is another file than the policy file: which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, with the offending text.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Whether it makes the file invalid.
    #[serde(skip)]
    pub severity: Severity,
    #[serde(skip)]
    excerpt: Excerpt,
}

/// Whether a mistake makes the file invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used.
    Warning,
}

/// The part of the source line to show, and what to underline in it, in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    text: String,
    underlined: Range<usize>,
}

/// All mistakes of one policy file, by place, and then those of its list files; empty when there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Mistakes {
    #[serde(skip)]
    file: PathBuf,
    mistakes: Vec<Mistake>,
}

impl Mistakes {
    /// By line and column, the policy file first.
    pub fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.mistakes.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.mistakes.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }
}

impl<'a> IntoIterator for &'a Mistakes {
    type Item = &'a Mistake;
    type IntoIter = std::slice::Iter<'a, Mistake>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            mistake.write(formatter, &self.file)?;
        }
        Ok(())
    }
}

impl Mistake {
    fn write(&self, formatter: &mut fmt::Formatter<'_>, file: &Path) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Mistake { line, column, message, excerpt, .. } = self;
        let file = self.file.as_deref().unwrap_or(file);
        let margin = " ".repeat(line.to_string().len());
        let before = " ".repeat(excerpt.underlined.start);
        let carets = "^".repeat(excerpt.underlined.len());
        write!(formatter, "{word}: {}:{line}:{column}: {message}", file.display())?;
        write!(formatter, "\n{margin} |\n{line} | {}\n{margin} | {before}{carets}", excerpt.text)?;
        match &self.remedy {
            Some(remedy) => write!(formatter, "\n{margin} = {remedy}"),
            None => Ok(()),
        }
    }
}

/// Collects the mistakes of one file while it is read.
pub(super) struct Report<'a> {
    file: &'a Path,
    text: &'a str,
    mistakes: Vec<Note>,
    warnings: Vec<Note>,
    /// What was found in other files.
    elsewhere: Vec<Mistake>,
}

/// A mistake whose line and column are not worked out yet.
struct Note {
    span: Range<usize>,
    message: String,
    remedy: Option<String>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Report { file, text, mistakes: Vec::new(), warnings: Vec::new(), elsewhere: Vec::new() }
    }

    /// Notes a mistake about the text in this byte range.
    pub(super) fn mistake(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) {
        self.mistakes.push(Note { span, message: message.into(), remedy: remedy.into() });
    }

    /// Notes what is valid but hardly meant.
    pub(super) fn warning(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) {
        self.warnings.push(Note { span, message: message.into(), remedy: remedy.into() });
    }

    /// Takes over what was found in another file; its text is not needed any more.
    pub(super) fn attach(&mut self, other: Report<'_>) {
        // A list has no keys, and may be too long to look for some.
        let mistakes = located(other.text, other.mistakes, Severity::Error, &[]);
        let warnings = located(other.text, other.warnings, Severity::Warning, &[]);
        let file = other.file;
        let named = |mistake| Mistake { file: Some(file.to_owned()), ..mistake };
        self.elsewhere.extend(mistakes.into_iter().chain(warnings).map(named));
    }

    /// The warnings, when there is no mistake.
    pub(super) fn finish(self) -> Result<Mistakes, Mistakes> {
        let is_mistake = |mistake: &Mistake| mistake.severity == Severity::Error;
        let is_sound = self.mistakes.is_empty() && !self.elsewhere.iter().any(is_mistake);
        let (severity, notes) = match is_sound {
            true => (Severity::Warning, self.warnings),
            false => (Severity::Error, self.mistakes),
        };
        let hidden = if notes.is_empty() { Vec::new() } else { secrets(self.text) };
        let mut mistakes = located(self.text, notes, severity, &hidden);
        mistakes.extend(self.elsewhere.into_iter().filter(|mistake| mistake.severity == severity));
        let mistakes = Mistakes { file: self.file.to_owned(), mistakes };
        if severity == Severity::Warning { Ok(mistakes) } else { Err(mistakes) }
    }
}

/// Works out lines and columns, by place, in one pass over the text: a line can hold a hundred thousand mistakes.
fn located(text: &str, mut notes: Vec<Note>, severity: Severity, hidden: &[Range<usize>]) -> Vec<Mistake> {
    notes.sort_by_key(|note| note.span.start);
    let (mut line, mut line_start, mut column, mut reached) = (1, 0, 1, 0);
    let mut mistakes = Vec::with_capacity(notes.len());
    for Note { span, message, remedy } in notes {
        let mut start = text.floor_char_boundary(span.start);
        // A place on the line break itself, as for a value that is missing, is behind the last character.
        if text[..start].ends_with('\r') && text[start..].starts_with('\n') {
            start -= 1;
        }
        for (offset, letter) in text.get(reached..start).unwrap_or_default().char_indices() {
            column += 1;
            if letter == '\n' {
                (line, line_start, column) = (line + 1, reached + offset + 1, 1);
            }
        }
        reached = reached.max(start);
        let excerpt = Excerpt::of(text, line_start, start..span.end, hidden);
        mistakes.push(Mistake { file: None, line, column, message, remedy, severity, excerpt });
    }
    mistakes
}

impl Excerpt {
    /// Looks no further than the excerpt is wide, but for what is `hidden`, of which only the place is shown.
    fn of(text: &str, line_start: usize, span: Range<usize>, hidden: &[Range<usize>]) -> Self {
        let hidden_at = |at: usize| {
            let next = hidden.partition_point(|secret| secret.end <= at);
            hidden.get(next).filter(|secret| secret.start <= at)
        };
        let under = hidden_at(span.start);
        let shown = |(at, letter): (usize, char)| match hidden_at(at) {
            // Tabs would shift the underline, and a control character must not reach the terminal.
            None => Some((at, if letter.is_control() { ' ' } else { letter })),
            // One that the mistake is about, or in, is told where it is underlined.
            secret if secret == under => (at == span.start).then_some((at, VEIL)),
            Some(secret) => (at == secret.start.max(line_start)).then_some((at, VEIL)),
        };
        let before = text[line_start..span.start].char_indices().rev();
        let before = before.map(|(at, letter)| (line_start + at, letter));
        let before: Vec<_> = before.filter_map(shown).take(EXCERPT_WIDTH / 2).collect();
        let behind = text[span.start..].char_indices().take_while(|(_, letter)| !"\r\n".contains(*letter));
        let behind = behind.map(|(at, letter)| (span.start + at, letter));
        let behind: Vec<_> = behind.filter_map(shown).take(EXCERPT_WIDTH / 2).collect();
        let width = behind.iter().filter(|(at, _)| *at < span.end).count().max(1);
        let letters = before.iter().rev().chain(&behind);
        Excerpt {
            text: letters.map(|(_, letter)| letter).collect(),
            underlined: before.len()..before.len() + width,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_shown_with_its_line_and_underlined() {
        let check = |text: &str, offending: &str, expected: &str| {
            let mut report = Report::new(Path::new("a.toml"), text);
            let start = text.find(offending).unwrap();
            report.mistake(start..start + offending.len(), "it is wrong", "write it right".to_owned());
            assert_eq!(report.finish().unwrap_err().to_string(), expected);
        };
        check(
            "mode = \"x\"\n",
            "\"x\"",
            "error: a.toml:1:8: it is wrong\n  |\n1 | mode = \"x\"\n  |        ^^^\n  = write it right",
        );
        check(
            "\r\n# é\r\n\té = ß\r\n",
            "ß",
            "error: a.toml:3:6: it is wrong\n  |\n3 |  é = ß\n  |      ^\n  = write it right",
        );
        check(
            "[a]\nb = 1\n",
            "[a]\nb",
            "error: a.toml:1:1: it is wrong\n  |\n1 | [a]\n  | ^^^\n  = write it right",
        );
        check("b = \n", "\n", "error: a.toml:1:5: it is wrong\n  |\n1 | b = \n  |     ^\n  = write it right");
    }

    #[test]
    fn no_span_is_out_of_reach() {
        for text in ["", "\n", "é", "a\r\nb"] {
            for start in 0..8 {
                for end in 0..8 {
                    let mut report = Report::new(Path::new("a.toml"), text);
                    report.warning(start..end, "it is odd", None);
                    assert!(report.finish().unwrap().to_string().starts_with("warning: a.toml:"));
                }
            }
        }
    }

    #[test]
    fn a_long_line_is_shown_in_part() {
        let text = format!("{}x{}", " ".repeat(10_000), " ".repeat(10_000));
        let mut report = Report::new(Path::new("a.toml"), &text);
        report.mistake(10_000..10_001, "it is wrong", None);
        let mistakes = report.finish().unwrap_err();
        let column = mistakes.iter().next().map(|mistake| mistake.column);
        assert_eq!(column, Some(10_001));
        let shown = mistakes.to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[2].len() < 200);
        assert_eq!(lines[2].find('x'), lines[3].find('^'));
    }
}
