//! The documents: what they show is what works today.

use std::{fs, path::Path, process::Command, time::Duration};

use etherparse::PacketBuilder;
use tests::{Filter, Lab, frames::write_pcap};

const DOCUMENTS: [&str; 3] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];
const POLICY_PATH: &str = "/etc/sip-filter/sip-filter.toml";

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap()
}

/// The contents of all fenced blocks of this language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// The lines of all shell blocks that begin with this program.
fn commands<'a>(text: &'a str, program: &str) -> Vec<&'a str> {
    let lines = blocks(text, "sh").into_iter().flat_map(str::lines);
    lines.filter(|line| line.split(' ').next() == Some(program)).collect()
}

#[test]
fn every_filter_command_of_the_readme_works_on_the_policy_of_the_readme() {
    let Some(lab) = Lab::or_skip() else { return };
    let readme = read("README.md");
    let policies = blocks(&readme, "toml");
    let [policy] = policies[..] else { panic!("the README shows one policy: {policies:?}") };
    let filter = Filter::start(&lab, policy).unwrap();
    let capture = lab.directory().join("capture.pcap");
    let mut frame = Vec::new();
    let packet = PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([203, 0, 113, 20], [192, 0, 2, 1], 64)
        .udp(5_060, 5_060);
    packet.write(&mut frame, b"OPTIONS").unwrap();
    write_pcap(&capture, &[frame], Duration::ZERO).unwrap();

    let commands = commands(&readme, "sip-filter");
    assert!(commands.len() > 10, "{commands:?}");
    for line in commands.iter().filter(|line| !line.starts_with("sip-filter run")) {
        let line = line.replace(POLICY_PATH, &filter.config().display().to_string());
        let line = line.replace("capture.pcap", &capture.display().to_string());
        // The shell splits the words as it does for the operator.
        let mut command = filter.command();
        let program: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
        let program: Vec<_> = program.iter().map(|word| word.to_string_lossy()).collect();
        let line = line.replacen("sip-filter", &program.join(" "), 1);
        command = Command::new("sh");
        let output = command.arg("-c").arg(&line).output().unwrap();
        assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn every_task_that_the_documents_name_exists() {
    for document in DOCUMENTS {
        let text = read(document);
        for line in commands(&text, "cargo").into_iter().filter_map(|line| line.strip_prefix("cargo xtask "))
        {
            let task = line.split(' ').next().unwrap();
            let source = root().join("xtask/src").join(format!("{task}.rs"));
            assert!(source.is_file(), "{document}: `cargo xtask {task}` has no {}", source.display());
        }
    }
}

#[test]
fn every_file_that_the_documents_name_exists() {
    for document in DOCUMENTS {
        let text = read(document);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            assert!(root().join(link).is_file(), "{document} links to {link}");
        }
        let quoted =
            text.split('`').skip(1).step_by(2).filter(|word| word.ends_with(".rs") && word.contains('/'));
        for path in quoted {
            let homes = ["", "sip-filter/src", "sip-filter-common/src", "sip-filter-ebpf/src"];
            let exists = homes.iter().any(|home| root().join(home).join(path).is_file());
            assert!(exists, "{document} names {path}");
        }
    }
}

#[test]
fn every_reason_of_the_program_stands_in_the_readme() {
    let readme = read("README.md");
    for reason in sip_filter_common::Reason::ALL {
        assert!(readme.contains(&format!("`{}`", reason.name())), "{}", reason.name());
    }
}
