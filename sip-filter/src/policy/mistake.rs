//! Mistakes in a policy file, each with its place, the text it is about and the remedy.
//!
//! Knows lines and columns, but neither TOML nor what a policy is.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// How much of a long source line is shown around a mistake, in characters.
const EXCERPT_WIDTH: usize = 120;

/// One mistake, or one thing that is valid but hardly meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
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

/// All mistakes of one file, by place; empty when there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Mistakes {
    #[serde(skip)]
    file: PathBuf,
    mistakes: Vec<Mistake>,
}

impl Mistakes {
    /// By line and column.
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
    source: Source<'a>,
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Report { file, source: Source::new(text), mistakes: Vec::new(), warnings: Vec::new() }
    }

    /// Notes a mistake about the text in this byte range.
    pub(super) fn mistake(&mut self, span: Range<usize>, message: impl Into<String>, remedy: impl Into<Option<String>>) {
        let mistake = self.source.mistake(Severity::Error, span, message.into(), remedy.into());
        self.mistakes.push(mistake);
    }

    /// Notes what is valid but hardly meant.
    pub(super) fn warning(&mut self, span: Range<usize>, message: impl Into<String>, remedy: impl Into<Option<String>>) {
        let warning = self.source.mistake(Severity::Warning, span, message.into(), remedy.into());
        self.warnings.push(warning);
    }

    /// The warnings, when there is no mistake.
    pub(super) fn finish(self) -> Result<Mistakes, Mistakes> {
        let sorted = |mut mistakes: Vec<Mistake>| {
            mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
            Mistakes { file: self.file.to_owned(), mistakes }
        };
        if self.mistakes.is_empty() { Ok(sorted(self.warnings)) } else { Err(sorted(self.mistakes)) }
    }
}

/// A text whose lines can be found by byte offset.
struct Source<'a> {
    text: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> Source<'a> {
    fn new(text: &'a str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(index, _)| index + 1);
        Source { text, line_starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    fn mistake(&self, severity: Severity, span: Range<usize>, message: String, remedy: Option<String>) -> Mistake {
        let start = self.text.floor_char_boundary(span.start);
        let line = self.line_starts.partition_point(|line_start| *line_start <= start);
        let line_start = self.line_starts[line - 1];
        let rest = self.text.get(line_start..).unwrap_or_default();
        let line_text = rest.lines().next().unwrap_or_default();
        // A position on the line break itself, as for a value that is missing, is shown behind the last character.
        let first = self.text[line_start..start].chars().count().min(line_text.chars().count());
        let end = self.text.floor_char_boundary(span.end).max(start);
        let last = self.text[line_start..end.min(line_start + line_text.len()).max(line_start)].chars().count();
        let excerpt = Excerpt::of(line_text, first..last.max(first + 1));
        Mistake { line, column: first + 1, message, remedy, severity, excerpt }
    }
}

impl Excerpt {
    fn of(line: &str, underlined: Range<usize>) -> Self {
        let skipped = (underlined.start + EXCERPT_WIDTH / 2).saturating_sub(EXCERPT_WIDTH);
        // Tabs would shift the underline, and a control character must not reach the terminal.
        let printable = |letter: char| if letter.is_control() { ' ' } else { letter };
        let text = line.chars().skip(skipped).take(EXCERPT_WIDTH).map(printable).collect();
        let start = underlined.start - skipped;
        let end = (underlined.end - skipped).min(EXCERPT_WIDTH).max(start + 1);
        Excerpt { text, underlined: start..end }
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
        check("\r\n# é\r\n\té = ß\r\n", "ß", "error: a.toml:3:6: it is wrong\n  |\n3 |  é = ß\n  |      ^\n  = write it right");
        check("[a]\nb = 1\n", "[a]\nb", "error: a.toml:1:1: it is wrong\n  |\n1 | [a]\n  | ^^^\n  = write it right");
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
