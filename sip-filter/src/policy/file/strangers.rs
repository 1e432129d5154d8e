//! `[strangers]`: what those may do for whom no list speaks.

use serde::Deserialize;
use sip_filter_common::sip::Method;
use toml::Spanned;

use super::{quantities, word};
use crate::policy::mistake::Report;
use crate::policy::{Listener, ListenerKind, Pbx, Prove, Strangers, TrustScope, suggestion};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct StrangersFile {
    signalling: Option<Spanned<String>>,
    media: Option<Spanned<String>>,
    prove: Option<ProveFile>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ProveFile {
    methods: Option<Spanned<Vec<Spanned<String>>>>,
    rate: Option<Spanned<String>>,
    burst: Option<Spanned<i64>>,
    total_rate: Option<Spanned<String>>,
    failures: Option<Spanned<i64>>,
    failures_within: Option<Spanned<String>>,
    ban: Option<Spanned<String>>,
    trust: Option<Spanned<String>>,
    grace: Option<Spanned<String>>,
    scanners: Option<Spanned<String>>,
}

/// Reads the table; what stands in `[strangers.prove]` is checked also where strangers are dropped.
pub(super) fn strangers(
    file: &StrangersFile,
    listeners: &[Listener],
    pbxs: &[Pbx],
    report: &mut Report,
) -> Strangers {
    let known = [("drop", false), ("prove", true)];
    let signalling = file.signalling.as_ref();
    let may_prove = signalling.and_then(|given| word("signalling", given, &known, &[], report));
    if let Some(media) = &file.media {
        word("media", media, &[("drop", ())], &["pinhole"], report);
    }
    let prove = prove(file.prove.as_ref().unwrap_or(&ProveFile::default()), report);
    let asked = signalling.filter(|_| may_prove == Some(true));
    if let Some(signalling) = asked {
        check_listeners(signalling, listeners, pbxs, report);
    } else if let Some(given) = file.prove.as_ref().and_then(|file| file.trust.as_ref())
        && prove.trust == TrustScope::Flow
    {
        // What PBXs and the operator report lets in whole addresses.
        let message = "a registration lets in the whole address where strangers are dropped";
        let remedy = "write signalling = \"prove\" under [strangers], or trust = \"address\"".to_owned();
        report.warning(given.span(), message, remedy);
    }
    Strangers { prove: asked.map(|_| prove) }
}

fn prove(file: &ProveFile, report: &mut Report) -> Prove {
    let default = Prove::default();
    let mut prove = Prove {
        methods: file.methods.as_ref().and_then(|given| methods(given, report)).unwrap_or(default.methods),
        trust: file.trust.as_ref().and_then(|given| trust(given, report)).unwrap_or(default.trust),
        drops_scanners: file
            .scanners
            .as_ref()
            .and_then(|given| scanners(given, report))
            .unwrap_or(default.drops_scanners),
        ..default
    };
    let mut set_rate = |place: &mut _, key, given: Option<&Spanned<String>>| {
        *place = given.and_then(|given| quantities::rate(key, given, report)).unwrap_or(*place);
    };
    set_rate(&mut prove.rate, "rate", file.rate.as_ref());
    set_rate(&mut prove.total_rate, "total_rate", file.total_rate.as_ref());
    let mut set_count = |place: &mut _, key, given: Option<&Spanned<i64>>| {
        *place = given.and_then(|given| quantities::count(key, given, report)).unwrap_or(*place);
    };
    set_count(&mut prove.burst, "burst", file.burst.as_ref());
    set_count(&mut prove.failures, "failures", file.failures.as_ref());
    let mut set_time = |place: &mut _, key, given: Option<&Spanned<String>>| {
        *place = given.and_then(|given| quantities::time_above_zero(key, given, report)).unwrap_or(*place);
    };
    set_time(&mut prove.failures_within, "failures_within", file.failures_within.as_ref());
    set_time(&mut prove.ban, "ban", file.ban.as_ref());
    let grace = file.grace.as_ref().and_then(|given| quantities::time("grace", given, report));
    prove.grace = grace.unwrap_or(prove.grace);
    if prove.total_rate.is_below(&prove.rate) {
        let given = file.total_rate.as_ref().or(file.rate.as_ref());
        let message =
            format!("total_rate, {}, is below the rate of one source, {}", prove.total_rate, prove.rate);
        let remedy = "all strangers together need at least what one of them may send".to_owned();
        report.mistake(given.map_or(0..0, Spanned::span), message, remedy);
    }
    prove
}

/// Whether the registrations of scanners are dropped.
fn scanners(given: &Spanned<String>, report: &mut Report) -> Option<bool> {
    word("scanners", given, &[("prove", false), ("drop", true)], &[], report)
}

fn trust(given: &Spanned<String>, report: &mut Report) -> Option<TrustScope> {
    word("trust", given, &[("address", TrustScope::Address), ("flow", TrustScope::Flow)], &[], report)
}

fn methods(given: &Spanned<Vec<Spanned<String>>>, report: &mut Report) -> Option<u32> {
    if given.get_ref().is_empty() {
        let remedy = "write methods = [\"REGISTER\", \"OPTIONS\"], or leave the key out".to_owned();
        report.mistake(given.span(), "a stranger that may send no method proves nothing", remedy);
        return None;
    }
    let mut methods = 0;
    for spanned in given.get_ref() {
        let Some(method) = Method::from_name(spanned.get_ref()) else {
            let names: Vec<&str> = Method::ALL.iter().map(|method| method.name()).collect();
            let remedy = match suggestion::closest(spanned.get_ref(), names.iter().copied()) {
                Some(close) => format!("did you mean \"{close}\"?"),
                None => format!("known methods: {}", names.join(", ")),
            };
            report.mistake(spanned.span(), format!("there is no method \"{}\"", spanned.get_ref()), remedy);
            continue;
        };
        if methods & method.bit() != 0 {
            let message = format!("\"{}\" is on this list already", spanned.get_ref());
            report.warning(spanned.span(), message, "remove one of them".to_owned());
        }
        methods |= method.bit();
    }
    if methods != 0 && methods & Method::Register.bit() == 0 {
        let remedy = "add \"REGISTER\"".to_owned();
        report.warning(given.span(), "no stranger gets trusted without REGISTER among the methods", remedy);
    }
    Some(methods)
}

/// Somewhere strangers must be able to prove themselves, and somebody must see that they did.
fn check_listeners(signalling: &Spanned<String>, listeners: &[Listener], pbxs: &[Pbx], report: &mut Report) {
    let mut sip = listeners.iter().filter(|listener| listener.kind == ListenerKind::Signalling).peekable();
    if sip.peek().is_none() {
        let remedy = "add a [[listener]] with kind = \"signalling\", or write \"drop\"".to_owned();
        report.mistake(
            signalling.span(),
            "strangers have no signalling listener to prove themselves at",
            remedy,
        );
    }
    if let Some(listener) = sip.find(|listener| listener.encrypted).filter(|_| pbxs.is_empty()) {
        let message = format!(
            "listener \"{}\" is encrypted, so that no registration there is seen, and no PBX reports any",
            listener.name
        );
        report.warning(signalling.span(), message, "add the [[pbx]] behind it".to_owned());
    }
}
