//! The policy file: its text, its shape, and the way from there to a validated [`Policy`].
//!
//! The only place that reads TOML.
//! It is given the text, and what reads the list files that the text names; it opens nothing itself, and resolves no names.

mod entries;
mod listener;
mod lists;
mod pbx;
mod quantities;
mod registrations;
mod strangers;
mod syntax;
mod trunk;

use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, de};
use sip_filter_common::Mode;
use toml::Spanned;

use self::entries::Denied;
use self::lists::Lists;
use self::pbx::PbxFile;
use self::strangers::StrangersFile;
use super::list_file::{ListFileError, ListFiles};
use super::mistake::{Mistakes, Report};
use super::{ListName, OnExit, Policy, suggestion};

/// The longest name of a network interface, in bytes (`IFNAMSIZ` less the terminating zero, netdevice(7)).
const INTERFACE_NAME_LENGTH_MAX: usize = 15;

/// The longest name of a listener or trunk, in bytes: what a table can still show.
const NAME_LENGTH_MAX: usize = 64;

/// Reads the text of a policy file that names no list files; `name` is what messages call it.
///
/// # Errors
///
/// As [`parse_with`]; a list file is a mistake.
pub fn parse(name: &Path, text: &str) -> Result<Policy, Mistakes> {
    struct NoFiles;
    impl ListFiles for NoFiles {
        fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, ListFileError> {
            Err(ListFileError::Missing { path: path.to_owned() })
        }
    }
    parse_with(name, text, &NoFiles)
}

/// Finds the mistakes that show without a look at the list files.
///
/// # Errors
///
/// As [`parse_with`].
pub fn check_alone(name: &Path, text: &str) -> Result<(), Mistakes> {
    struct Unread;
    impl ListFiles for Unread {
        fn read(&self, _: &Path) -> Result<Option<Vec<u8>>, ListFileError> {
            Ok(None)
        }
    }
    // A policy without its list files is never to be used.
    parse_with(name, text, &Unread).map(drop)
}

/// Reads the text of a policy file and its list files; `name` is what messages call it.
///
/// Relative paths of list files are relative to the directory of `name`.
///
/// # Errors
///
/// Every mistake with its place; one in the syntax, a key or a type may hide those after it.
pub fn parse_with(name: &Path, text: &str, files: &dyn ListFiles) -> Result<Policy, Mistakes> {
    let mut report = Report::new(name, text);
    let policy = match toml::from_str::<PolicyFile>(text) {
        Ok(file) => {
            let mut lists = Lists::of(name, files);
            let policy = validated(&file, &mut lists, &mut report);
            lists.report(&mut report);
            Some(policy)
        }
        Err(error) => {
            syntax::report(&error, text, &mut report);
            None
        }
    };
    let warnings = report.finish()?;
    // Without a policy the report holds the reason, and the line above has returned it.
    policy.map(|policy| Policy { warnings, ..policy }).ok_or_else(Mistakes::default)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    #[serde(default)]
    interfaces: Vec<Spanned<String>>,
    mode: Option<Spanned<String>>,
    on_exit: Option<Spanned<String>>,
    #[serde(default)]
    admin: Vec<Spanned<String>>,
    #[serde(default)]
    listener: Vec<ListenerFile>,
    #[serde(default)]
    deny: SourcesFile,
    #[serde(default)]
    allow: SourcesFile,
    #[serde(default)]
    trunk: Vec<TrunkFile>,
    #[serde(default)]
    strangers: StrangersFile,
    #[serde(default)]
    pbx: Vec<PbxFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenerFile {
    name: Spanned<String>,
    kind: Spanned<String>,
    transport: Spanned<String>,
    ports: Spanned<Vec<Spanned<PortText>>>,
    #[serde(default)]
    encrypted: bool,
    #[serde(default)]
    vlans: Vec<Spanned<i64>>,
    #[serde(default)]
    addresses: Vec<Spanned<String>>,
    allow: Option<Spanned<Vec<Spanned<String>>>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct SourcesFile {
    #[serde(default)]
    sources: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrunkFile {
    name: Spanned<String>,
    #[serde(default)]
    allow: Vec<Spanned<String>>,
    #[serde(default)]
    deny: Vec<Spanned<String>>,
    #[serde(default)]
    outbound_proxies: Vec<Spanned<String>>,
    media: Option<Spanned<MediaText>>,
    listeners: Option<Spanned<Vec<Spanned<String>>>>,
    require_registration: Option<Spanned<bool>>,
    registrations: Option<Vec<Spanned<String>>>,
}

/// A port, or a range of ports; a bare number is as good as a text.
enum PortText {
    Number(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for PortText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PortVisitor;
        impl Visitor<'_> for PortVisitor {
            type Value = PortText;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a port or a range such as \"10000-20000\"")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<PortText, E> {
                Ok(PortText::Number(number))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PortText, E> {
                Ok(PortText::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(PortVisitor)
    }
}

/// Entries like those of `allow`, or a word.
enum MediaText {
    Entries(Vec<Spanned<String>>),
    Word(String),
}

impl<'de> Deserialize<'de> for MediaText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MediaVisitor;
        impl<'de> Visitor<'de> for MediaVisitor {
            type Value = MediaText;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a sequence of prefixes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<MediaText, E> {
                Ok(MediaText::Word(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<MediaText, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = sequence.next_element()? {
                    entries.push(entry);
                }
                Ok(MediaText::Entries(entries))
            }
        }
        deserializer.deserialize_any(MediaVisitor)
    }
}

fn validated(file: &PolicyFile, lists: &mut Lists, report: &mut Report) -> Policy {
    let deny = entries::list(&file.deny.sources, ListName::Deny, lists, report);
    let allow = entries::list(&file.allow.sources, ListName::Allow, lists, report);
    let denied = Denied::by(deny, lists);
    entries::warn_of_denied(&allow, &denied, None, lists, report);
    let admin = entries::list(&file.admin, ListName::Admin, lists, report);
    if file.admin.is_empty() {
        let remedy = "name the addresses you administer this host from: admin = [\"192.0.2.10\"]".to_owned();
        report.warning(0..0, "admin is empty: nothing guards you against locking yourself out", remedy);
    }
    let named = [(ListName::Admin, &admin), (ListName::Deny, &denied.entries), (ListName::Allow, &allow)];
    let mut sources = named.iter().filter_map(|(name, list)| list.sources(None, *name, lists)).collect();
    let listeners = listener::listeners(&file.listener, &mut sources, lists, report);
    if listeners.is_empty() {
        let remedy = "add a [[listener]] for each port to protect".to_owned();
        report.warning(0..0, "the policy has no listener: it protects nothing", remedy);
    }
    let pbxs = pbx::pbxs(&file.pbx, lists.directory(), report);
    let strangers = strangers::strangers(&file.strangers, &listeners, &pbxs, report);
    let mut policy = Policy {
        interfaces: interfaces(&file.interfaces, report),
        mode: mode(file.mode.as_ref(), report),
        on_exit: on_exit(file.on_exit.as_ref(), report),
        admin: admin.sorted(lists),
        deny: denied.entries.sorted(lists),
        allow: allow.sorted(lists),
        listeners,
        trunks: Vec::new(),
        strangers,
        pbxs,
        sources,
        warnings: Mistakes::default(),
    };
    trunk::add_trunks(&mut policy, &file.trunk, &denied, lists, report);
    policy
}

/// Whether the kernel would let an interface have this name (`dev_valid_name` in net/core/dev.c).
pub fn is_interface_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= INTERFACE_NAME_LENGTH_MAX
        && !name.contains(|letter: char| {
            matches!(letter, '/' | ':') || letter.is_whitespace() || letter.is_control()
        })
}

fn interfaces(given: &[Spanned<String>], report: &mut Report) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for interface in given {
        let name = interface.get_ref();
        if !is_interface_name(name) {
            let remedy = "`ip link` lists the names there are".to_owned();
            report.mistake(
                interface.span(),
                format!("\"{name}\" cannot be the name of an interface"),
                remedy,
            );
        } else if names.contains(name) {
            let remedy = "remove one of them".to_owned();
            report.mistake(interface.span(), format!("interface \"{name}\" is named twice"), remedy);
        } else {
            names.push(name.clone());
        }
    }
    names
}

fn mode(given: Option<&Spanned<String>>, report: &mut Report) -> Mode {
    let known = [("monitor", Mode::Monitor), ("enforce", Mode::Enforce)];
    given.and_then(|given| word("mode", given, &known, &[], report)).unwrap_or(Mode::Monitor)
}

fn on_exit(given: Option<&Spanned<String>>, report: &mut Report) -> OnExit {
    let known = [("hold", OnExit::Hold), ("open", OnExit::Open)];
    given.and_then(|given| word("on_exit", given, &known, &[], report)).unwrap_or(OnExit::Hold)
}

/// The meaning of a word, or a mistake that names the words there are.
fn word<T: Copy>(
    key: &str,
    given: &Spanned<String>,
    known: &[(&str, T)],
    later: &[&str],
    report: &mut Report,
) -> Option<T> {
    let text = given.get_ref();
    if let Some((_, meaning)) = known.iter().find(|(word, _)| word == text) {
        return Some(*meaning);
    }
    let words: Vec<String> = known.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    let choice = words.join(" or ");
    if later.contains(&text.as_str()) {
        not_supported(
            given.span(),
            &format!("{key} = \"{text}\""),
            &format!("write {choice}, or leave the key out"),
            report,
        );
        return None;
    }
    let remedy = match suggestion::closest(text, known.iter().map(|(word, _)| *word)) {
        Some(close) => format!("did you mean \"{close}\"?"),
        None => format!("write {choice}"),
    };
    report.mistake(given.span(), format!("{key} cannot be \"{text}\""), remedy);
    None
}

fn not_supported(span: Range<usize>, what: &str, remedy: &str, report: &mut Report) {
    report.mistake(span, format!("{what} is not supported yet"), remedy.to_owned());
}

/// Notes a name that is unusable or taken; `owner` is the word for what bears it.
fn check_name<'a>(
    owner: &str,
    name: &Spanned<String>,
    mut earlier: impl Iterator<Item = &'a str>,
    report: &mut Report,
) {
    let text = name.get_ref();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || text.len() > NAME_LENGTH_MAX || !text.bytes().all(allowed) {
        let remedy = format!("use 1 to {NAME_LENGTH_MAX} letters, digits, '-', '_' and '.'");
        report.mistake(name.span(), format!("\"{text}\" cannot be the name of a {owner}"), remedy);
    } else if earlier.any(|taken| taken == text) {
        report.mistake(
            name.span(),
            format!("there is another {owner} \"{text}\" above"),
            "rename one of them".to_owned(),
        );
    }
}

#[cfg(test)]
mod tests;
