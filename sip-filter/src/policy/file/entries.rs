//! Lists of prefixes as the file has them, each entry with its place.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use ipnet::IpNet;
use toml::Spanned;

use super::lists::Lists;
use crate::policy::difference::Owner;
use crate::policy::mistake::Report;
use crate::policy::prefix::{Cover, PrefixError, canonical, is_dns_name, parse_prefix};
use crate::policy::sources::{ListSource, ListSources};
use crate::policy::{ListName, OutboundProxy};

/// The entries of one list, and where each stands.
#[derive(Default)]
pub(super) struct Entries {
    /// What the policy file names itself.
    own: HashMap<IpNet, Range<usize>>,
    /// The list files that it names.
    files: Vec<FileEntry>,
    /// False when an entry was a mistake, so that nothing is to be concluded from what is missing.
    pub(super) complete: bool,
}

/// A `file:` entry: the number of the list file, and where the policy file names it.
struct FileEntry {
    number: usize,
    span: Range<usize>,
}

/// Where an entry of a list stands.
pub(super) enum Place {
    /// In the policy file.
    Here(Range<usize>),
    /// In the list file of this number, somewhere.
    ListFile(usize),
}

impl Entries {
    /// The prefixes in the order in which a policy keeps them.
    pub(super) fn sorted(&self, lists: &Lists) -> Vec<IpNet> {
        let mut prefixes: Vec<IpNet> = self.own.keys().copied().collect();
        prefixes.sort_unstable();
        let from_files: usize = self.files.iter().map(|entry| lists.file(entry.number).prefixes.len()).sum();
        prefixes.reserve_exact(from_files);
        for entry in &self.files {
            prefixes.extend_from_slice(&lists.file(entry.number).prefixes);
        }
        // Each part is sorted already, and this sort only merges them then.
        prefixes.sort();
        prefixes.dedup();
        prefixes
    }

    /// What the policy remembers of the list files; nothing where there is none.
    pub(super) fn sources(&self, owner: Option<Owner>, list: ListName, lists: &Lists) -> Option<ListSources> {
        let source = |entry: &FileEntry| {
            let file = lists.file(entry.number);
            ListSource { file: file.path.clone(), prefixes: file.prefixes.len() }
        };
        let files: Vec<ListSource> = self.files.iter().map(source).collect();
        let mut own: Vec<IpNet> = self.own.keys().copied().collect();
        own.sort_unstable();
        (!files.is_empty()).then_some(ListSources { owner, list, files, own, removed: Vec::new() })
    }

    /// Where this prefix is named.
    pub(super) fn place(&self, prefix: &IpNet, lists: &Lists) -> Option<Place> {
        if let Some(span) = self.own.get(prefix) {
            return Some(Place::Here(span.clone()));
        }
        let mut numbers = self.files.iter().map(|entry| entry.number);
        numbers.find(|number| lists.file(*number).prefixes.binary_search(prefix).is_ok()).map(Place::ListFile)
    }
}

/// Reads a list; what stands twice in it is noted as a warning, and so is an allow entry for everybody.
pub(super) fn list(
    given: &[Spanned<String>],
    name: ListName,
    lists: &mut Lists,
    report: &mut Report,
) -> Entries {
    let mut entries = Entries { complete: true, ..Entries::default() };
    let lets_in = matches!(name, ListName::Allow | ListName::Media);
    for spanned in given {
        if let Some(path) = Lists::path_in(spanned.get_ref()) {
            match lists.read(path, spanned, report) {
                Some(number) => entries.name_file(number, lets_in.then_some(name), spanned, lists, report),
                None => entries.complete = false,
            }
            continue;
        }
        match parse_prefix(spanned.get_ref()) {
            Ok(prefix) => {
                if lets_in && prefix.prefix_len() == 0 {
                    let (message, remedy) = warning_of_everybody(prefix, name);
                    report.warning(spanned.span(), message, remedy);
                }
                entries.insert(prefix, spanned, report);
            }
            Err(error) => {
                entries.complete = false;
                report.mistake(spanned.span(), error.message(), error.remedy());
            }
        }
    }
    entries
}

impl Entries {
    /// Puts a list file on this list; `letting_in` is the list's name where its entries let peers in.
    fn name_file(
        &mut self,
        number: usize,
        letting_in: Option<ListName>,
        spanned: &Spanned<String>,
        lists: &mut Lists,
        report: &mut Report,
    ) {
        if self.files.iter().any(|entry| entry.number == number) {
            self.warn_of_second(spanned, report);
            return;
        }
        self.files.push(FileEntry { number, span: spanned.span() });
        let file = lists.file_mut(number);
        self.complete &= file.is_sound;
        if let Some(name) = letting_in {
            let everybody = file.prefixes.iter().filter(|prefix| prefix.prefix_len() == 0);
            for prefix in everybody.copied().collect::<Vec<IpNet>>() {
                let (message, remedy) = warning_of_everybody(prefix, name);
                file.warn(prefix, message, remedy);
            }
        }
    }

    fn insert(&mut self, prefix: IpNet, spanned: &Spanned<String>, report: &mut Report) {
        match self.own.entry(prefix) {
            Entry::Vacant(vacant) => {
                vacant.insert(spanned.span());
            }
            Entry::Occupied(_) => self.warn_of_second(spanned, report),
        }
    }

    fn warn_of_second(&self, spanned: &Spanned<String>, report: &mut Report) {
        let message = format!("\"{}\" is on this list already", spanned.get_ref());
        report.warning(spanned.span(), message, "remove one of them".to_owned());
    }

    /// Reads the outbound proxies, and puts the address of each on this list.
    pub(super) fn add_proxies(
        &mut self,
        given: &[Spanned<String>],
        report: &mut Report,
    ) -> Vec<OutboundProxy> {
        let mut proxies = Vec::new();
        for spanned in given {
            let text = spanned.get_ref();
            match proxy_address(text) {
                Ok(address) => {
                    let prefix = canonical(IpNet::from(address));
                    self.own.entry(prefix).or_insert_with(|| spanned.span());
                    proxies.push(OutboundProxy { text: text.clone(), prefix });
                }
                Err((message, remedy)) => {
                    self.complete = false;
                    report.mistake(spanned.span(), message, remedy);
                }
            }
        }
        proxies
    }
}

fn warning_of_everybody(prefix: IpNet, list: ListName) -> (String, String) {
    let message = format!(
        "{prefix} on a list of {list} lets everybody in: nothing is filtered for this address family"
    );
    (message, "name the prefixes of your peers".to_owned())
}

/// A deny list with the union of its prefixes.
pub(super) struct Denied {
    pub(super) entries: Entries,
    cover: Cover,
}

impl Denied {
    pub(super) fn by(entries: Entries, lists: &Lists) -> Self {
        let cover = Cover::of(&entries.sorted(lists));
        Denied { entries, cover }
    }
}

/// Notes the allow entries that can never match, since they lie inside these denies; for list files their number only.
pub(super) fn warn_of_denied(
    allow: &Entries,
    denied: &Denied,
    deny: Option<&Entries>,
    lists: &Lists,
    report: &mut Report,
) {
    // What has no entries of its own shares the union, which can be large.
    let own_cover = deny.filter(|deny| !deny.own.is_empty() || !deny.files.is_empty()).map(|deny| {
        let both = [denied.entries.sorted(lists), deny.sorted(lists)];
        Cover::of(both.iter().flatten())
    });
    let cover = own_cover.as_ref().unwrap_or(&denied.cover);
    for (prefix, span) in allow.own.iter().filter(|(prefix, _)| cover.holds(prefix)) {
        let message = format!("{prefix} never matches, for a deny list covers it");
        report.warning(span.clone(), message, "remove it here, or take it out of the deny list".to_owned());
    }
    for entry in &allow.files {
        let file = lists.file(entry.number);
        let mut held = cover.held(&file.prefixes);
        if let Some(first) = held.next() {
            let message = format!(
                "{} of the {} prefixes in {} never match, such as {first}, for a deny list covers them",
                1 + held.count(),
                file.prefixes.len(),
                file.path.display()
            );
            let remedy = "remove them there, or take them out of the deny list".to_owned();
            report.warning(entry.span.clone(), message, remedy);
        }
    }
}

/// The address in "address:port", "[v6]:port" or a bare address; else the message and the remedy.
fn proxy_address(text: &str) -> Result<IpAddr, (String, String)> {
    if let Ok(socket) = text.parse::<SocketAddr>()
        && socket.port() != 0
    {
        return Ok(socket.ip());
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address);
    }
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
    match parse_prefix(text) {
        Err(error @ (PrefixError::Preset { .. } | PrefixError::File { .. })) => {
            Err((error.message(), error.remedy()))
        }
        _ if is_dns_name(host) => {
            let error = PrefixError::DnsName { text: text.to_owned() };
            Err((error.message(), error.remedy()))
        }
        _ => {
            let message = format!("\"{text}\" is neither an address nor an address and port");
            Err((message, "write it as 203.0.113.5:5061, [2001:db8::5]:5061 or 203.0.113.5".to_owned()))
        }
    }
}
