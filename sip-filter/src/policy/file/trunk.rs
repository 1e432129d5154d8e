//! The trunks of the file, one by one and against each other.

use toml::Spanned;

use super::entries::{self, Denied, Entries, Place};
use super::lists::Lists;
use super::{MediaText, TrunkFile, check_name, not_supported, registrations};
use crate::policy::difference::Owner;
use crate::policy::mistake::Report;
use crate::policy::overlap::{self, Clash};
use crate::policy::{ListName, Listener, ListenerKind, Policy, Trunk, suggestion};

/// Where the entries of a trunk stand in the file.
struct Places {
    allow: Entries,
    media: Option<Entries>,
    complete: bool,
}

/// Reads all trunks into the policy; `denied` is the policy's own deny list.
pub(super) fn add_trunks(
    policy: &mut Policy,
    given: &[TrunkFile],
    denied: &Denied,
    lists: &mut Lists,
    report: &mut Report,
) {
    let mut places = Vec::new();
    for file in given {
        check_name("trunk", &file.name, policy.trunks.iter().map(|trunk| trunk.name.as_str()), report);
        let place = add_trunk(policy, file, denied, lists, report);
        places.push(place);
    }
    // An entry that could not be read may be the deny that settles an overlap.
    if !denied.entries.complete || !places.iter().all(|place| place.complete) {
        return;
    }
    for clash in overlap::clashes(policy) {
        report_clash(policy, &clash, &places, given, lists, report);
    }
}

fn add_trunk(
    policy: &mut Policy,
    file: &TrunkFile,
    denied: &Denied,
    lists: &mut Lists,
    report: &mut Report,
) -> Places {
    let mut allow = entries::list(&file.allow, ListName::Allow, lists, report);
    let outbound_proxies = allow.add_proxies(&file.outbound_proxies, report);
    let deny = entries::list(&file.deny, ListName::Deny, lists, report);
    let media = file.media.as_ref().and_then(|media| media_list(media, lists, report));
    for list in std::iter::once(&allow).chain(&media) {
        entries::warn_of_denied(list, denied, Some(&deny), lists, report);
    }
    let registrations = registrations::registrations(file, &policy.trunks, report);
    let trunk = Trunk {
        name: file.name.get_ref().clone(),
        allow: allow.sorted(lists),
        deny: deny.sorted(lists),
        media: media.as_ref().map(|media| media.sorted(lists)),
        outbound_proxies,
        listeners: listener_indices(file, &policy.listeners, report),
        require_registration: file.require_registration.as_ref().is_some_and(|given| *given.get_ref()),
        registrations,
    };
    registrations::check_required(file, &trunk, &policy.strangers, report);
    let named =
        [(ListName::Allow, Some(&allow)), (ListName::Deny, Some(&deny)), (ListName::Media, media.as_ref())];
    for (name, entries) in named {
        let owner = || Some(Owner::Trunk(trunk.name.clone()));
        policy.sources.extend(entries.and_then(|entries| entries.sources(owner(), name, lists)));
    }
    policy.trunks.push(trunk);
    let complete = allow.complete && deny.complete && media.as_ref().is_none_or(|media| media.complete);
    Places { allow, media, complete }
}

fn media_list(media: &Spanned<MediaText>, lists: &mut Lists, report: &mut Report) -> Option<Entries> {
    match media.get_ref() {
        MediaText::Entries(entries) => Some(entries::list(entries, ListName::Media, lists, report)),
        MediaText::Word(word) if word == "pinhole" => {
            let remedy = "list who may send media, or leave the key out for the same peers as in allow";
            not_supported(media.span(), "media = \"pinhole\"", remedy, report);
            None
        }
        MediaText::Word(word) => {
            let message = format!("media cannot be \"{word}\"");
            report.mistake(media.span(), message, format!("write a list: [\"{word}\"]"));
            None
        }
    }
}

fn listener_indices(file: &TrunkFile, listeners: &[Listener], report: &mut Report) -> Vec<usize> {
    let Some(given) = &file.listeners else {
        let indexed = listeners.iter().enumerate();
        return indexed
            .filter(|(_, listener)| listener.kind != ListenerKind::Other)
            .map(|(index, _)| index)
            .collect();
    };
    if given.get_ref().is_empty() {
        let remedy = "leave the key out for every signalling and media listener, or name some".to_owned();
        report.mistake(given.span(), "a trunk without listeners reaches nothing", remedy);
    }
    let mut indices = Vec::new();
    for spanned in given.get_ref() {
        let name = spanned.get_ref();
        match listeners.iter().position(|listener| listener.name == *name) {
            Some(index) => indices.push(index),
            None => report.mistake(
                spanned.span(),
                format!("there is no listener \"{name}\""),
                unknown_listener_remedy(name, listeners),
            ),
        }
    }
    indices.sort_unstable();
    indices.dedup();
    indices
}

fn unknown_listener_remedy(name: &str, listeners: &[Listener]) -> String {
    let known: Vec<&str> = listeners.iter().map(|listener| listener.name.as_str()).collect();
    let guess = suggestion::closest(name, known.iter().copied());
    let question = guess.map(|close| format!("did you mean \"{close}\"? ")).unwrap_or_default();
    match known.is_empty() {
        true => "add a [[listener]] of this name".to_owned(),
        false => format!("{question}known listeners: {}", known.join(", ")),
    }
}

fn report_clash(
    policy: &Policy,
    clash: &Clash,
    places: &[Places],
    given: &[TrunkFile],
    lists: &mut Lists,
    report: &mut Report,
) {
    let Clash { listener, first, first_entry, second, second_entry } = clash;
    let listener = &policy.listeners[*listener];
    // A million clashes in a list file need no million words.
    let words = || {
        let message = format!(
            "trunk \"{}\" already claims {first_entry} at listener \"{}\", so trunk \"{}\" cannot have {second_entry}",
            policy.trunks[*first].name, listener.name, policy.trunks[*second].name
        );
        (message, "take it from one of the two, or give the trunks different listeners".to_owned())
    };
    let entries = match &places[*second] {
        Places { media: Some(media), .. } if listener.kind == ListenerKind::Media => media,
        Places { allow, .. } => allow,
    };
    let span = match entries.place(second_entry, lists) {
        Some(Place::ListFile(number)) => return lists.file_mut(number).clash(*second_entry, words),
        Some(Place::Here(span)) => span,
        None => given[*second].name.span(),
    };
    let (message, remedy) = words();
    report.mistake(span, message, remedy);
}
