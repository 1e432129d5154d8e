//! The table of needs: every tool that a task uses, what for, how to see whether it is there, and where it comes from.
//! A new tool is a new row; nothing else has to change.

use std::process::{Command, Stdio};

use super::{asterisk, elsewhere, linker};
use crate::{
    cargo, lint,
    toolchain::{self, Toolchain},
};

/// What a task can ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// Compiling the kernel program; the controller needs no more than cargo.
    Build,
    /// Format and lints.
    Lint,
    /// SIP software and network tools for tests and demo.
    Lab,
    /// Virtual machines with other kernels, and what goes into them.
    Guest,
    /// What operators have today, to measure beside.
    Bench,
}

pub(super) struct Need {
    pub(super) group: Group,
    pub(super) name: &'static str,
    pub(super) why: &'static str,
    found: Found,
    /// Debian packages; alternatives in the order of preference, the first of which all packages exist is taken.
    pub(super) debian: &'static [&'static [&'static str]],
    /// Where the distributions have it under a name of their own; empty: by `elsewhere`.
    pub(super) fedora: &'static [&'static str],
    pub(super) arch: &'static [&'static str],
    /// How to come by it on any other system.
    pub(super) elsewhere: &'static str,
}

enum Found {
    /// A program of this name.
    Program(&'static str),
    Check(fn() -> bool),
}

impl Need {
    pub(super) fn is_met(&self) -> bool {
        match self.found {
            Found::Program(name) => toolchain::find_program(name).is_some(),
            Found::Check(check) => check(),
        }
    }
}

/// Rows of these groups that are not met.
pub(super) fn missing(groups: &[Group]) -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| groups.contains(&need.group) && !need.is_met()).collect()
}

pub(super) const NEEDS: &[Need] = &[
    Need {
        group: Group::Build,
        name: "rust for bpf",
        why: "compiles the kernel program",
        found: Found::Check(compiles_for_bpf),
        // Debian 12 has current Rust under names of its own, for browsers; later releases under the usual ones.
        debian: &[
            &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"],
            &["rustc", "cargo", "libstd-rust-dev-bpf"],
        ],
        fedora: &[],
        arch: &[],
        elsewhere: "rustup toolchain install nightly --component rust-src",
    },
    Need {
        group: Group::Build,
        name: linker::NAME,
        why: "links the kernel program; no distribution has it, so cargo compiles it against LLVM",
        found: Found::Check(|| toolchain::find_linker().is_some()),
        debian: &[linker::PACKAGES],
        fedora: &[],
        arch: &[],
        elsewhere: "cargo binstall bpf-linker",
    },
    Need {
        group: Group::Lint,
        name: "rustfmt",
        why: "checks the format",
        found: Found::Check(|| has_subcommand("fmt")),
        debian: &[&["rustfmt-web"], &["rustfmt"]],
        fedora: &["rustfmt"],
        arch: &[],
        elsewhere: "rustup component add rustfmt",
    },
    Need {
        group: Group::Lint,
        name: "clippy",
        why: "checks the lints of the workspace",
        found: Found::Check(|| has_subcommand("clippy")),
        debian: &[&["rust-web-clippy"], &["rust-clippy"]],
        fedora: &["clippy"],
        arch: &[],
        elsewhere: "rustup component add clippy",
    },
    Need {
        group: Group::Lint,
        name: "clippy for bpf",
        why: "checks the lints of the kernel program",
        found: Found::Check(lints_for_bpf),
        debian: &[&["rust-web-clippy"], &["rust-clippy"]],
        fedora: &[],
        arch: &[],
        elsewhere: "rustup component add clippy --toolchain nightly",
    },
    Need {
        group: Group::Lab,
        name: "kamailio",
        why: "the SIP server behind the filter",
        found: Found::Program("kamailio"),
        debian: &[&["kamailio"]],
        fedora: &["kamailio"],
        arch: &[],
        elsewhere: "Kamailio, https://www.kamailio.org",
    },
    Need {
        group: Group::Lab,
        name: asterisk::NAME,
        why: "the PBX whose reports are followed; unpacked into the target folder, not installed",
        found: Found::Check(asterisk::is_there),
        // No packages of this machine's own.
        debian: &[&[]],
        fedora: &[],
        arch: &[],
        elsewhere: "",
    },
    Need {
        group: Group::Lab,
        name: "sipp",
        why: "the phones and trunks that call through the filter",
        found: Found::Program("sipp"),
        debian: &[&["sip-tester"]],
        fedora: &["sipp"],
        arch: &[],
        elsewhere: "SIPp, https://github.com/SIPp/sipp",
    },
    Need {
        group: Group::Lab,
        name: "baresip",
        why: "the phone that speaks SIP over TLS, with Asterisk",
        // Where there is no Asterisk nobody calls it.
        found: Found::Check(|| !elsewhere::has_apt() || toolchain::find_program("baresip").is_some()),
        debian: &[&["baresip-core"]],
        fedora: &[],
        arch: &[],
        elsewhere: "",
    },
    Need {
        group: Group::Lab,
        name: "sipvicious",
        why: "the scanner that the filter has to keep out",
        found: Found::Program("svmap"),
        debian: &[&["sipvicious"]],
        fedora: &[],
        arch: &[],
        elsewhere: "SIPVicious, https://github.com/EnableSecurity/sipvicious, as svmap on PATH",
    },
    Need::tool("tcpdump", "tcpdump", "captures what passes the filter", &[&["tcpdump"]]),
    Need::tool("tcpreplay", "tcpreplay", "sends recorded packets", &[&["tcpreplay"]]),
    Need {
        fedora: &["iproute"],
        ..Need::tool("iproute2", "ip", "makes the namespaces and their links", &[&["iproute2"]])
    },
    Need::tool(
        "ethtool",
        "ethtool",
        "switches off offloads that hide checksums and VLAN tags from XDP",
        &[&["ethtool"]],
    ),
    Need {
        arch: &["bpf"],
        ..Need::tool("bpftool", "bpftool", "detaches and pins behind the filter's back", &[&["bpftool"]])
    },
    Need::tool(
        "openssl",
        "openssl",
        "the phones that speak TLS, and the certificate they meet",
        &[&["openssl"]],
    ),
    Need::tool("util-linux", "nsenter", "starts programs inside a namespace", &[&["util-linux"]]),
    Need {
        fedora: &["qemu-system-x86-core"],
        ..Need::guest(
            "qemu",
            "qemu-system-x86_64",
            "emulates a machine for each kernel",
            &[&["qemu-system-x86"]],
        )
    },
    Need::guest("busybox", "busybox", "starts and ends a guest", &[&["busybox-static"]]),
    Need::guest("kmod", "depmod", "tells in which order a guest's modules go in", &[&["kmod"]]),
    Need {
        fedora: &["xz"],
        arch: &["xz"],
        ..Need::guest("xz", "xz", "unpacks a guest's modules", &[&["xz-utils"]])
    },
    Need {
        fedora: &["iproute", "iproute-tc"],
        ..Need::guest("tc", "tc", "makes a guest's network lose and reorder", &[&["iproute2"]])
    },
    Need::guest("ethtool", "ethtool", "keeps VLAN tags in a guest's frames", &[&["ethtool"]]),
    Need::guest("nsenter", "nsenter", "starts programs inside a guest's namespaces", &[&["util-linux"]]),
    Need::contender("nftables", "nft", "interval sets at two hooks, to measure beside", &[&["nftables"]]),
    Need::contender("iptables", "iptables", "rules, to measure beside", &[&["iptables"]]),
    Need::contender("ipset", "ipset", "sets for iptables, to measure beside", &[&["ipset"]]),
    Need::contender("xdp-tools", "xdp-filter", "a filter by address, to measure beside", &[&["xdp-tools"]]),
];

impl Need {
    /// The same for measurements.
    const fn contender(
        name: &'static str,
        program: &'static str,
        why: &'static str,
        package: &'static [&'static [&'static str]; 1],
    ) -> Self {
        Self { group: Group::Bench, ..Self::tool(name, program, why, package) }
    }

    /// A program for the laboratory whose package bears one name everywhere.
    const fn tool(
        name: &'static str,
        program: &'static str,
        why: &'static str,
        package: &'static [&'static [&'static str]; 1],
    ) -> Self {
        Self {
            group: Group::Lab,
            name,
            why,
            found: Found::Program(program),
            debian: package,
            fedora: package[0],
            arch: package[0],
            elsewhere: name,
        }
    }
}

impl Need {
    /// A program for guests.
    const fn guest(
        name: &'static str,
        program: &'static str,
        why: &'static str,
        package: &'static [&'static [&'static str]; 1],
    ) -> Self {
        Self { group: Group::Guest, ..Self::tool(name, program, why, package) }
    }
}

/// Whether the cargo that started this program has the subcommand; rustup's stand-ins for absent components do not count.
pub(super) fn has_subcommand(name: &str) -> bool {
    let mut command = Command::new(cargo::program());
    command.args([name, "--version"]).stdin(Stdio::null());
    command.output().is_ok_and(|output| output.status.success())
}

fn compiles_for_bpf() -> bool {
    match Toolchain::find(lint::target()) {
        Some(Toolchain::Ready { .. }) => true,
        // A linker compiled here fits Debian's Rust; nightly's LLVM may be newer than that.
        Some(Toolchain::Nightly) => toolchain::find_linker().is_some(),
        None => false,
    }
}

fn lints_for_bpf() -> bool {
    match Toolchain::find(lint::target()) {
        Some(Toolchain::Nightly) => {
            let nightly =
                Command::new("rustup").args(["run", "nightly", "cargo", "clippy", "--version"]).output();
            nightly.is_ok_and(|output| output.status.success())
        }
        Some(ready) => lint::clippy_of(&ready).is_some(),
        None => false,
    }
}
