//! `[[pbx]]`: who reports registrations.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::{check_name, word};
use crate::policy::mistake::Report;
use crate::policy::prefix::is_dns_name;
use crate::policy::{Pbx, PbxKind, Secret};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PbxFile {
    name: Spanned<String>,
    kind: Spanned<String>,
    address: Spanned<String>,
    user: Option<Spanned<String>>,
    secret: Option<Spanned<String>>,
    secret_file: Option<Spanned<String>>,
}

/// Reads all of them; a relative `secret_file` is relative to this directory.
pub(super) fn pbxs(given: &[PbxFile], directory: &Path, report: &mut Report) -> Vec<Pbx> {
    let mut pbxs: Vec<Pbx> = Vec::new();
    for file in given {
        check_name("pbx", &file.name, pbxs.iter().map(|pbx| pbx.name.as_str()), report);
        pbxs.extend(pbx(file, directory, report));
    }
    pbxs
}

fn pbx(file: &PbxFile, directory: &Path, report: &mut Report) -> Option<Pbx> {
    let kinds = [
        ("asterisk", PbxKind::Asterisk),
        ("kamailio", PbxKind::Kamailio),
        ("opensips", PbxKind::Opensips),
        ("freeswitch", PbxKind::Freeswitch),
    ];
    let kind = word("kind", &file.kind, &kinds, &[], report);
    check_address(kind, &file.address, report);
    let secret = secret(file, directory, report);
    let kind = kind?;
    check_login(kind, file, report);
    Some(Pbx {
        name: file.name.get_ref().clone(),
        kind,
        address: file.address.get_ref().clone(),
        user: file.user.as_ref().map(|user| user.get_ref().clone()),
        secret,
    })
}

/// "host:port", "[v6]:port" or, where that kind of PBX has one, the absolute path of a Unix socket.
fn check_address(kind: Option<PbxKind>, given: &Spanned<String>, report: &mut Report) {
    let text = given.get_ref();
    let by_tcp = match kind {
        Some(PbxKind::Asterisk) => Some("Asterisk's manager interface"),
        Some(PbxKind::Freeswitch) => Some("FreeSWITCH's event socket"),
        Some(PbxKind::Kamailio | PbxKind::Opensips) | None => None,
    };
    if Path::new(text).is_absolute() {
        if let Some(whose) = by_tcp {
            let message = format!("\"{text}\" is a path, but {whose} is reached by TCP");
            report.mistake(given.span(), message, "write host and port".to_owned());
        }
        return;
    }
    let is_address = match text.parse::<SocketAddr>() {
        Ok(socket) => socket.port() != 0,
        Err(_) => text.rsplit_once(':').is_some_and(|(host, port)| {
            // An IPv6 address without brackets would have its last group taken for the port.
            let is_host = is_dns_name(host) && host.parse::<IpAddr>().is_err();
            is_host && port.parse::<u16>().is_ok_and(|port| port != 0)
        }),
    };
    if !is_address {
        let message = format!("\"{text}\" is no address of a PBX");
        let remedy = match by_tcp {
            Some(_) => "write host and port, such as \"127.0.0.1:5038\"",
            None => "write host and port, such as \"127.0.0.1:8060\", or the path of a Unix socket",
        };
        report.mistake(given.span(), message, remedy.to_owned());
    }
}

fn secret(file: &PbxFile, directory: &Path, report: &mut Report) -> Option<Secret> {
    let given: Option<(&Spanned<String>, Secret)> = match (&file.secret, &file.secret_file) {
        (Some(_), Some(path)) => {
            let remedy = "keep secret_file, which others need not be able to read".to_owned();
            report.mistake(path.span(), "secret and secret_file exclude each other", remedy);
            None
        }
        (Some(text), None) => Some((text, Secret::Text(text.get_ref().clone()))),
        (None, Some(path)) => Some((path, Secret::File(directory.join(PathBuf::from(path.get_ref()))))),
        (None, None) => None,
    };
    let (place, secret) = given?;
    if place.get_ref().is_empty() {
        report.mistake(place.span(), "the secret is empty", "write the one that the PBX has".to_owned());
    }
    Some(secret)
}

/// What a PBX asks before it tells anything.
fn check_login(kind: PbxKind, file: &PbxFile, report: &mut Report) {
    let has_secret = file.secret.is_some() || file.secret_file.is_some();
    let mut missing = |span: Range<usize>, message: &str, remedy: &str| {
        report.mistake(span, message.to_owned(), remedy.to_owned());
    };
    match kind {
        PbxKind::Asterisk if file.user.is_none() || !has_secret => missing(
            file.name.span(),
            "Asterisk's manager interface asks for a user and a secret",
            "write user = \"…\" and secret_file = \"…\", as in manager.conf",
        ),
        PbxKind::Freeswitch if !has_secret => missing(
            file.name.span(),
            "FreeSWITCH's event socket asks for a password",
            "write secret_file = \"…\", with the password of event_socket.conf.xml",
        ),
        PbxKind::Asterisk | PbxKind::Freeswitch | PbxKind::Kamailio | PbxKind::Opensips => {}
    }
    if let Some(user) = file.user.as_ref().filter(|user| user.get_ref().is_empty()) {
        missing(user.span(), "the user is empty", "write the one that the PBX knows, or leave the key out");
    }
}
