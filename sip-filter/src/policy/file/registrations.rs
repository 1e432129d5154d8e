//! The addresses of record of trunks, and whether those who must register can.

use super::TrunkFile;
use crate::policy::mistake::Report;
use crate::policy::{Strangers, Trunk};
use crate::sip::{canonical_aor, could_be_one};

/// Reads the addresses of record of one trunk; those of the trunks before it are taken.
pub(super) fn registrations(file: &TrunkFile, earlier: &[Trunk], report: &mut Report) -> Vec<String> {
    let mut registrations: Vec<String> = Vec::new();
    for spanned in file.registrations.iter().flatten() {
        let text = spanned.get_ref();
        if !is_aor(text) {
            let message = format!("\"{text}\" is no address of record");
            let remedy = "write \"user\" or \"user@domain\", without \"sip:\" and parameters".to_owned();
            report.mistake(spanned.span(), message, remedy);
            continue;
        }
        let is_taken = |trunk: &&Trunk| trunk.registrations.iter().any(|aor| meet(aor, text));
        if let Some(other) = earlier.iter().find(is_taken) {
            let message = format!("\"{text}\" belongs to trunk \"{}\" already", other.name);
            report.mistake(spanned.span(), message, "take it from one of the two".to_owned());
        } else if registrations.iter().any(|aor| meet(aor, text)) {
            let message = format!("\"{text}\" is on this list already");
            report.warning(spanned.span(), message, "remove one of them".to_owned());
        }
        registrations.push(text.clone());
    }
    registrations
}

/// Notes where a trunk that must register never could.
pub(super) fn check_required(file: &TrunkFile, trunk: &Trunk, strangers: &Strangers, report: &mut Report) {
    let Some(required) = file.require_registration.as_ref().filter(|required| *required.get_ref()) else {
        return;
    };
    if trunk.registrations.is_empty() {
        let message =
            "require_registration without any registrations: nobody could ever do more than register";
        let remedy = "name the trunk's addresses of record: registrations = [\"user@domain\"]".to_owned();
        report.mistake(required.span(), message, remedy);
    }
    if file.allow.is_empty() && file.outbound_proxies.is_empty() && strangers.prove.is_none() {
        let message =
            "require_registration with an empty allow, while strangers are dropped: nobody could register";
        let remedy = "fill allow, or write signalling = \"prove\" under [strangers]".to_owned();
        report.mistake(required.span(), message, remedy);
    }
}

/// "user" or "user@domain", in the characters that a SIP URI takes there (RFC 3261 section 25.1).
fn is_aor(text: &str) -> bool {
    let (user, domain) = match text.rsplit_once('@') {
        Some((user, domain)) => (user, Some(domain)),
        None => (text, None),
    };
    let in_user = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/%#".contains(&byte);
    let in_domain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte);
    let is_domain = |domain: &str| !domain.is_empty() && domain.bytes().all(in_domain);
    !user.is_empty() && user.bytes().all(in_user) && domain.is_none_or(is_domain)
}

/// Whether a registration could belong to both.
fn meet(one: &str, other: &str) -> bool {
    could_be_one(&canonical_aor(one), &canonical_aor(other))
}
