//! What to say where this program cannot or may not install: the exact commands for that system.

use std::fs;

use super::{Refused, apt, linker, needs::Need};
use crate::toolchain;

/// Whether this is Debian or one of its descendants.
pub(super) fn has_apt() -> bool {
    ["apt-get", "dpkg"].into_iter().all(|program| toolchain::find_program(program).is_some())
}

/// For Debian without root: `packages` are what has to be installed for `missing`.
pub(super) fn refusal_without_root(missing: &[&Need], packages: &[&str]) -> Refused {
    let mut lines =
        vec![format!("not root, so nothing was installed; {}", lacks(missing)), "install with".to_owned()];
    lines.push("  sudo apt-get update".to_owned());
    lines.push(format!("  sudo apt-get install --yes --no-install-recommends {}", packages.join(" ")));
    if packages.contains(&apt::SIP_SERVER) {
        lines.push(format!(
            "  sudo systemctl disable --now {}   (only the laboratory needs it)",
            apt::SIP_SERVER
        ));
    }
    if missing.iter().any(|need| need.name == linker::NAME) {
        lines.push(format!("  {}", linker::line()));
    }
    Refused(lines.join("\n"))
}

/// For a Debian whose release lacks packages for these needs.
pub(super) fn refusal_of_release(lacking: &[&Need]) -> Refused {
    let mut lines = vec![format!("this release has no packages for all of it; {}", lacks(lacking))];
    lines.push("come by it with".to_owned());
    lines.extend(lacking.iter().map(|need| format!("  {}", need.elsewhere)));
    Refused(lines.join("\n"))
}

/// For every other system.
pub(super) fn refusal(missing: &[&Need]) -> Refused {
    let mut lines = vec![
        format!("no apt-get here, so nothing was installed; {}", lacks(missing)),
        "install with".to_owned(),
    ];
    let (installer, packages_of): (_, fn(&Need) -> &'static [&'static str]) = match family().as_str() {
        "fedora" => ("sudo dnf install", |need| need.fedora),
        "arch" => ("sudo pacman -S --needed", |need| need.arch),
        _ => ("", |_| &[]),
    };
    let packages: Vec<_> = missing.iter().flat_map(|need| packages_of(need)).copied().collect();
    if !packages.is_empty() {
        lines.push(format!("  {installer} {}", packages.join(" ")));
    }
    let others = missing.iter().filter(|need| packages_of(need).is_empty());
    lines.extend(others.map(|need| format!("  {}", need.elsewhere)));
    Refused(lines.join("\n"))
}

fn lacks(missing: &[&Need]) -> String {
    let rows = missing.iter().map(|need| format!("\n  {:<16} {}", need.name, need.why));
    format!("missing:{}", rows.collect::<String>())
}

/// The family of distributions, as os-release(5) tells it; empty where it does not.
fn family() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let values = text.lines().filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")));
    let names: Vec<_> = values.flat_map(|value| value.trim_matches('"').split(' ')).collect();
    let known = ["fedora", "arch"].into_iter().find(|family| names.contains(family));
    known.unwrap_or_default().to_owned()
}
