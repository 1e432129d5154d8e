//! Whose contact a reply to a REGISTER is about: pure, over one address of record.
//!
//! A reply lists all contacts of an address of record, those of other devices too (RFC 3261 section 10.3), and does
//! not say which is the receiver's; the request is not seen, since those of known peers are not copied.
//! What follows from the list and from what was known before:
//!
//! - A contact that was not known is the receiver's. Where several are new at once (the filter has just started) and
//!   some name the receiver's address, only those are. That a contact names somebody else proves nothing: behind NAT
//!   all do. Only the receiver is ever trusted, so that the names can narrow trust and never widen it.
//! - A known contact whose end has moved was refreshed. Where the receiver's own has, other contacts that moved were
//!   refreshed by replies that were missed, or the server's clock was set, and stay their owners'. Where nothing of its
//!   own explains the reply, those that moved are the receiver's now: it roamed, and the old address has left. That
//!   what it had is not listed, though the list is whole, explains the reply as well: it took that away.
//! - Where nothing is new and nothing moved, the reply took something away or only told the list: what the receiver
//!   had and is not listed is gone. A server that lists one contact only does not answer so with another's, so that
//!   the list is whole here; elsewhere a contact that is not listed stays until its own end.
//! - A refresh within [`TOLERANCE`] of the last one cannot be told from none: a receiver that was not known is let in
//!   beside whoever had the contact.
//! - An empty list says that nobody is bound (section 10.2.2), unless this server was seen to leave others' contacts
//!   out: then, and where it echoes what was taken away with `expires=0`, only what it names or the receiver had is
//!   gone. To one who had nothing it says nothing: a server that answers any request by 200 may have copied its CSeq.
//! - A list that was cut off adds, and takes nothing away.

use std::{net::IpAddr, time::Duration};

use super::{Flow, table::Place};

/// By how much an end may seem to move: a server counts whole seconds, which is less than one of them, and a reply takes
/// its time. Whoever roams sooner after registering than this keeps the trust of both addresses.
pub(super) const TOLERANCE: Duration = Duration::from_nanos(TOLERANCE_NS);
const TOLERANCE_NS: u64 = 1_250_000_000;

/// What a reply says, as far as it matters here.
#[derive(Debug)]
pub(super) struct Heard<'a> {
    /// Where it went.
    pub(super) to: Flow,
    /// When.
    pub(super) now_ns: u64,
    /// The contacts with a lifetime.
    pub(super) listed: Vec<Listed<'a>>,
    /// The contacts with none.
    pub(super) ended: Vec<&'a str>,
    /// Nothing of the list was cut off.
    pub(super) whole: bool,
    /// This server was seen to leave others' contacts out.
    pub(super) lists_one: bool,
}

/// A contact in a reply.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed<'a> {
    pub(super) uri: &'a str,
    /// When it ends.
    pub(super) stated_ns: u64,
}

/// A contact that was known before; no two have URI and address in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) place: Place,
    /// Empty where it is not known.
    pub(super) uri: &'a str,
    pub(super) flow: Flow,
    /// When it ends, as it was said last.
    pub(super) stated_ns: u64,
    pub(super) refreshed_ns: u64,
}

/// What follows; indices are those of [`Heard::listed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A contact is the receiver's, and perhaps no longer what it was before.
    Take { listed: usize, was: Option<Place> },
    /// The receiver has one of the contacts beside its owner, as long as this one stands.
    Join { listed: usize },
    /// A contact of somebody else was refreshed.
    Renew { listed: usize, place: Place },
    /// A contact is gone.
    Remove { place: Place },
}

/// What a reply changes.
pub(super) fn attribute(heard: &Heard<'_>, all_known: &[Known<'_>]) -> Vec<Change> {
    let (ended, known): (Vec<Known<'_>>, Vec<Known<'_>>) =
        all_known.iter().partition(|known| has_ended(heard, known, all_known));
    let mut changes: Vec<Change> = ended.iter().map(|known| Change::Remove { place: known.place }).collect();
    if heard.listed.is_empty() {
        if changes.is_empty() && heard.whole {
            changes = emptied(heard, &known);
        }
        return changes;
    }
    let matches = matched(&heard.listed, &known, heard.to.address);
    let is_own = |known: &Known<'_>| known.flow.address == heard.to.address;
    let (mut new, mut own, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for (index, known) in matches.iter().enumerate() {
        match known {
            None => new.push(index),
            Some(known) if is_about(known.stated_ns, heard.listed[index].stated_ns) => {}
            Some(known) if is_own(known) => own.push(index),
            Some(_) => others.push(index),
        }
    }
    let mut taken = narrowed(heard, new);
    taken.extend(own);
    if taken.is_empty() && !has_left(heard, &known, &matches) {
        taken = narrowed(heard, others.clone());
    }
    others.retain(|index| !taken.contains(index));
    let renewed = others.iter().filter_map(|index| Some((*index, matches[*index]?)));
    changes.extend(renewed.map(|(listed, known)| Change::Renew { listed, place: known.place }));
    if taken.is_empty() && heard.whole {
        changes.extend(unexplained(heard, &known, &matches));
    }
    if !taken.is_empty() {
        let joined = known.iter().filter(|known| is_own(known) && known.uri.is_empty());
        changes.extend(joined.map(|known| Change::Remove { place: known.place }));
    }
    let was = |index: usize| matches[index].map(|known| known.place);
    changes.extend(taken.into_iter().map(|listed| Change::Take { listed, was: was(listed) }));
    changes
}

/// For each listed contact, what it was before.
///
/// Two devices may have one URI (the same private address behind two NATs), and a server may list it twice: the ends
/// tell them apart.
fn matched<'k>(listed: &[Listed<'_>], known: &[Known<'k>], to: IpAddr) -> Vec<Option<Known<'k>>> {
    let mut left: Vec<Known<'k>> = known.iter().filter(|known| !known.uri.is_empty()).copied().collect();
    let mut matches = vec![None; listed.len()];
    for way in [Way::End, Way::Owner, Way::Name] {
        let fits = |known: &Known<'k>, contact: &Listed<'_>| match way {
            Way::End => is_about(known.stated_ns, contact.stated_ns),
            Way::Owner => known.flow.address == to,
            Way::Name => true,
        };
        for (contact, matched) in listed.iter().zip(&mut matches).filter(|(_, matched)| matched.is_none()) {
            let place = left.iter().position(|known| known.uri == contact.uri && fits(known, contact));
            *matched = place.map(|place| left.swap_remove(place));
        }
    }
    matches
}

/// What tells apart two contacts of one URI, the surest first.
#[derive(Clone, Copy)]
enum Way {
    End,
    Owner,
    Name,
}

fn is_about(one_ns: u64, other_ns: u64) -> bool {
    one_ns.abs_diff(other_ns) <= TOLERANCE_NS
}

/// Those contacts that name the receiver's address, or all where none does.
fn narrowed(heard: &Heard<'_>, indices: Vec<usize>) -> Vec<usize> {
    let names_receiver = |index: &usize| host(heard.listed[*index].uri) == Some(heard.to.address);
    if indices.len() > 1 && indices.iter().any(names_receiver) {
        return indices.into_iter().filter(names_receiver).collect();
    }
    indices
}

/// The address that a contact's URI names.
fn host(uri: &str) -> Option<IpAddr> {
    let (_, rest) = uri.rsplit_once('@').or_else(|| uri.split_once(':'))?;
    let host = match rest.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => rest.split([':', ';', '?', '>']).next(),
    };
    host?.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// True where the reply says that a contact has no lifetime any more.
fn has_ended(heard: &Heard<'_>, known: &Known<'_>, all: &[Known<'_>]) -> bool {
    let is_own = |known: &Known<'_>| known.flow.address == heard.to.address;
    let is_named = !known.uri.is_empty() && heard.ended.contains(&known.uri);
    // Where two devices have one URI, it is the receiver's that ended.
    is_named && (is_own(known) || !all.iter().any(|other| other.uri == known.uri && is_own(other)))
}

/// True where the reply is explained by what the receiver had and is not listed any more.
fn has_left(heard: &Heard<'_>, known: &[Known<'_>], matches: &[Option<Known<'_>>]) -> bool {
    let is_listed = |known: &Known<'_>| matches.iter().flatten().any(|listed| listed.place == known.place);
    let is_own = |known: &&Known<'_>| known.flow.address == heard.to.address && !known.uri.is_empty();
    // What ends about now is left out although nobody took it away.
    let stands = |known: &Known<'_>| known.stated_ns.saturating_sub(heard.now_ns) > TOLERANCE_NS;
    let gone = |known: &Known<'_>| stands(known) && !is_listed(known);
    heard.whole && !heard.lists_one && known.iter().filter(is_own).any(gone)
}

/// The list is empty.
fn emptied(heard: &Heard<'_>, known: &[Known<'_>]) -> Vec<Change> {
    let is_there = |known: &&Known<'_>| known.flow.address == heard.to.address;
    let says_nobody =
        heard.ended.is_empty() && !heard.lists_one && known.iter().any(|known| is_there(&known));
    // Several devices behind one NAT differ by port; a TCP client has a new one with each connection.
    let is_exact = known.iter().any(|known| known.flow == heard.to);
    let is_gone =
        |known: &&Known<'_>| says_nobody || if is_exact { known.flow == heard.to } else { is_there(known) };
    known.iter().filter(is_gone).map(|known| Change::Remove { place: known.place }).collect()
}

/// Nothing in the list is new and nothing has moved.
fn unexplained(heard: &Heard<'_>, known: &[Known<'_>], matches: &[Option<Known<'_>>]) -> Vec<Change> {
    let is_own = |known: &Known<'_>| known.flow.address == heard.to.address;
    let is_listed = |known: &Known<'_>| matches.iter().flatten().any(|listed| listed.place == known.place);
    let is_fresh = |known: &Known<'_>| is_about(known.refreshed_ns, heard.now_ns);
    let fresh = matches.iter().position(|known| known.as_ref().is_some_and(is_fresh));
    let mut own = known.iter().filter(|known| is_own(known)).peekable();
    if own.peek().is_none() {
        return fresh.map(|listed| Change::Join { listed }).into_iter().collect();
    }
    let joined = known.iter().any(|known| is_own(known) && known.uri.is_empty());
    if fresh.is_some() && (joined || matches.iter().flatten().any(is_own)) {
        return Vec::new();
    }
    own.filter(|known| !is_listed(known)).map(|known| Change::Remove { place: known.place }).collect()
}
