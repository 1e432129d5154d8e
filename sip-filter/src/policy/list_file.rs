//! List files: one address or prefix a line, named by a `file:` entry of the policy file.
//!
//! Says what such a text means and what is wrong with it; opens no file, for [`ListFiles`] brings the bytes.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};
use sip_filter_common::maps::PREFIXES_MAX;

use super::mistake::Report;
use super::prefix::parse_prefix;

/// How large a list file may be, in bytes: room for every prefix there can be, and for a comment to each.
pub const LIST_BYTES_MAX: u64 = 256 << 20;

/// How many mistakes of one list file are shown.
const MISTAKES_SHOWN: usize = 20;

/// Where the bytes of list files come from.
pub trait ListFiles {
    /// The bytes of one file; `None` when this reader leaves list files to somebody else.
    ///
    /// # Errors
    ///
    /// A [`ListFileError`] that says why there are none.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, ListFileError>;
}

/// Why a list file cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum ListFileError {
    /// The entry is `file:` and nothing behind it.
    #[error("the entry names no list file")]
    Nameless,
    /// It is not there.
    #[error("there is no list file {}", .path.display())]
    Missing {
        /// Which.
        path: PathBuf,
    },
    /// A directory, FIFO, socket or device.
    #[error("{} is no regular file", .path.display())]
    NotRegular {
        /// Which.
        path: PathBuf,
    },
    /// The file system says no.
    #[error("cannot read the list file {}: {source}", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// Longer than [`LIST_BYTES_MAX`].
    #[error("the list file {} is larger than {} MiB", .path.display(), LIST_BYTES_MAX >> 20)]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// More prefixes than the kernel's table holds.
    #[error("the list file {} has more than {PREFIXES_MAX} prefixes", .path.display())]
    TooMany {
        /// Which.
        path: PathBuf,
    },
    /// Not UTF-8, or with zero bytes in it.
    #[error("the list file {} is no text, as line {line} shows", .path.display())]
    NotText {
        /// Which.
        path: PathBuf,
        /// The first line that is none, from 1.
        line: usize,
    },
}

impl ListFileError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            ListFileError::Nameless => "write its path, such as \"file:peers.txt\"",
            ListFileError::Missing { .. } => {
                "create it, or correct the path, which is relative to the directory of this file"
            }
            ListFileError::NotRegular { .. } => "name a file that has one prefix a line",
            ListFileError::Unreadable { .. } => "let the user that runs sip-filter read it",
            ListFileError::TooLarge { .. } | ListFileError::TooMany { .. } => {
                "join neighbouring prefixes, or leave some out"
            }
            ListFileError::NotText { .. } => "write one prefix a line, in UTF-8",
        }
    }
}

/// A list file, read.
pub(super) struct ListFile {
    pub(super) path: PathBuf,
    text: String,
    /// Sorted and free of duplicates.
    pub(super) prefixes: Vec<IpNet>,
    /// False when a line was a mistake, so that nothing is to be concluded from what is missing.
    pub(super) is_sound: bool,
    mistakes: Vec<Note<Range<usize>>>,
    /// How many more lines are mistakes, and where the first of them stands.
    more: Option<(usize, Range<usize>)>,
    /// Of the clashes those that are shown, and one more.
    clashes: Vec<Note<IpNet>>,
    clash_count: usize,
    warnings: Vec<Note<IpNet>>,
}

/// What is said about a place, or about a prefix whose place is still to be found.
struct Note<P> {
    place: P,
    message: String,
    remedy: String,
}

impl ListFile {
    /// Reads the bytes of a list file; mistakes in its lines wait for [`ListFile::report`].
    pub(super) fn parse(path: PathBuf, bytes: Vec<u8>) -> Result<Self, ListFileError> {
        let text = text_of(&path, bytes)?;
        let mut file = ListFile {
            path,
            text,
            prefixes: Vec::new(),
            is_sound: true,
            mistakes: Vec::new(),
            more: None,
            clashes: Vec::new(),
            clash_count: 0,
            warnings: Vec::new(),
        };
        let repeated = file.read_lines()?;
        if let Some((prefix, lines)) = repeated {
            let message =
                format!("{lines} lines of this file repeat a prefix that it has already, such as {prefix}");
            file.warn(prefix, message, "name each once".to_owned());
        }
        Ok(file)
    }

    /// Fills `prefixes`; returns how many lines repeat others, with the first of what they repeat.
    fn read_lines(&mut self) -> Result<Option<(IpNet, usize)>, ListFileError> {
        // Sorted as numbers, which takes a fraction of what it takes to compare them as prefixes.
        let (mut v4, mut v6): (Vec<u64>, Vec<IpNet>) = (Vec::new(), Vec::new());
        let text = std::mem::take(&mut self.text);
        for (line_start, line) in lines(&text) {
            // Most lines are nothing but an IPv4 prefix, which takes half of the time this way.
            if let Some(number) = plain(line.as_bytes()) {
                v4.push(number);
            } else if let Some((place, entry)) = entry(line_start, line) {
                match parse_prefix(entry) {
                    Ok(IpNet::V4(prefix)) => v4.push(packed(prefix)),
                    Ok(prefix) => v6.push(prefix),
                    Err(error) => self.mistake(place, || (error.message(), error.remedy())),
                }
            }
            if v4.len() + v6.len() > PREFIXES_MAX as usize {
                return Err(ListFileError::TooMany { path: self.path.clone() });
            }
        }
        self.text = text;
        v4.sort_unstable();
        v6.sort_unstable();
        let lines = v4.len() + v6.len();
        let pairs = v4.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| unpacked(pair[0]));
        let repeated =
            pairs.chain(v6.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0])).next();
        v4.dedup();
        v6.dedup();
        self.prefixes.reserve_exact(v4.len() + v6.len());
        self.prefixes.extend(v4.into_iter().map(unpacked));
        self.prefixes.append(&mut v6);
        Ok(repeated.map(|prefix| (prefix, lines - self.prefixes.len())))
    }

    fn mistake(&mut self, place: Range<usize>, what: impl FnOnce() -> (String, String)) {
        self.is_sound = false;
        if self.mistakes.len() < MISTAKES_SHOWN {
            let (message, remedy) = what();
            self.mistakes.push(Note { place, message, remedy });
        } else {
            self.more.get_or_insert((0, place)).0 += 1;
        }
    }

    /// Notes a mistake about a prefix of this file; the first are shown, the rest are counted.
    pub(super) fn clash(&mut self, prefix: IpNet, what: impl FnOnce() -> (String, String)) {
        self.clash_count += 1;
        if self.clashes.len() <= MISTAKES_SHOWN {
            let (message, remedy) = what();
            self.clashes.push(Note { place: prefix, message, remedy });
        }
    }

    /// Notes what is valid but hardly meant about a prefix of this file.
    pub(super) fn warn(&mut self, prefix: IpNet, message: String, remedy: String) {
        self.warnings.push(Note { place: prefix, message, remedy });
    }

    /// Hands over all that was noted, each with its line and column in this file.
    pub(super) fn report(self, policy_report: &mut Report) {
        let wanted = self.clashes.iter().chain(&self.warnings).map(|note| note.place);
        let places = places(&self.text, wanted.collect());
        let place = |prefix: &IpNet| places.get(prefix).cloned().unwrap_or(0..0);
        let mut report = Report::new(&self.path, &self.text);
        for Note { place, message, remedy } in self.mistakes {
            report.mistake(place, message, remedy);
        }
        for (index, note) in self.clashes.into_iter().enumerate() {
            match index < MISTAKES_SHOWN {
                true => report.mistake(place(&note.place), note.message, note.remedy),
                false => more(&mut report, place(&note.place), self.clash_count - MISTAKES_SHOWN),
            }
        }
        for Note { place: prefix, message, remedy } in self.warnings {
            report.warning(place(&prefix), message, remedy);
        }
        if let Some((count, place)) = self.more {
            more(&mut report, place, count);
        }
        policy_report.attach(report);
    }
}

fn more(report: &mut Report, place: Range<usize>, count: usize) {
    let remedy = "mend those that are shown first".to_owned();
    report.mistake(
        place,
        format!("{count} more mistakes in this file, not shown; here is one of them"),
        remedy,
    );
}

fn text_of(path: &Path, bytes: Vec<u8>) -> Result<String, ListFileError> {
    let not_text = |before: &[u8]| {
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        ListFileError::NotText { path: path.to_owned(), line }
    };
    let mut text = String::from_utf8(bytes)
        .map_err(|error| not_text(&error.as_bytes()[..error.utf8_error().valid_up_to()]))?;
    if let Some(zero) = text.find('\0') {
        return Err(not_text(&text.as_bytes()[..zero]));
    }
    // Editors on Windows put a byte order mark before the first line.
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(text)
}

/// The lines, each with the place where it begins.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut next_line = 0;
    text.split('\n').map(move |line| {
        let line_start = next_line;
        next_line += line.len() + 1;
        (line_start, line)
    })
}

/// What stands on a line, without spaces and comment, and where.
fn entry(line_start: usize, line: &str) -> Option<(Range<usize>, &str)> {
    let entry = line.split('#').next().unwrap_or_default().trim_end();
    let start = line_start + entry.len() - entry.trim_start().len();
    let entry = entry.trim_start();
    (!entry.is_empty()).then(|| (start..start + entry.len(), entry))
}

/// Where these prefixes stand first; reads the text again, which costs nothing where nothing is wrong.
fn places(text: &str, mut wanted: Vec<IpNet>) -> HashMap<IpNet, Range<usize>> {
    let mut places = HashMap::new();
    if wanted.is_empty() {
        return places;
    }
    wanted.sort_unstable();
    wanted.dedup();
    for (place, entry) in lines(text).filter_map(|(line_start, line)| entry(line_start, line)) {
        if let Ok(prefix) = parse_prefix(entry)
            && wanted.binary_search(&prefix).is_ok()
        {
            places.entry(prefix).or_insert(place);
        }
    }
    places
}

/// The packed prefix of a line that is an IPv4 address or prefix and nothing else; what is not that simple, or wrong, is
/// left to [`parse_prefix`].
fn plain(line: &[u8]) -> Option<u64> {
    let mut rest = line.strip_suffix(b"\r").unwrap_or(line);
    let mut address = decimal(&mut rest)?;
    for _ in 0..3 {
        rest = rest.strip_prefix(b".")?;
        address = address << 8 | decimal(&mut rest)?;
    }
    let length = match rest {
        [] => u32::BITS,
        _ => {
            rest = rest.strip_prefix(b"/")?;
            decimal(&mut rest)?
        }
    };
    let host_bits = address & u32::MAX.checked_shr(length).unwrap_or(0);
    (rest.is_empty() && length <= u32::BITS && host_bits == 0)
        .then_some(u64::from(address) << 8 | u64::from(length))
}

/// Takes a number of at most 255 off the front, written without leading zeros.
fn decimal(rest: &mut &[u8]) -> Option<u32> {
    let length = rest.iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, behind) = rest.split_at(length);
    if length == 0 || (length > 1 && digits[0] == b'0') {
        return None;
    }
    *rest = behind;
    let number = digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    (number <= 255).then_some(number)
}

/// A number that orders as the prefix does.
fn packed(prefix: Ipv4Net) -> u64 {
    u64::from(u32::from(prefix.addr())) << 8 | u64::from(prefix.prefix_len())
}

fn unpacked(number: u64) -> IpNet {
    let [.., a, b, c, d, length] = number.to_be_bytes();
    IpNet::V4(Ipv4Net::new_assert([a, b, c, d].into(), length))
}

#[cfg(test)]
mod tests;
