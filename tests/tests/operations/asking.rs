//! What a command answered, and what is in force.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;
use tests::{Filter, Outcome};

/// For whatever must come true; reached only where it does not.
pub(crate) const WITHIN: Duration = Duration::from_secs(20);

/// The command ended with this code and told people all of these words.
pub(crate) fn assert_told(title: &str, outcome: &Outcome, code: i32, words: &[&str]) {
    let Outcome { stdout, stderr, .. } = outcome;
    assert_eq!(outcome.code, Some(code), "{title}: {stderr}{stdout}");
    for word in words {
        assert!(stderr.contains(word), "{title}: no \"{word}\" in: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{title}: {stderr}");
}

/// The answer to a command that must succeed.
pub(crate) fn done(filter: &Filter, command: &str) -> String {
    filter.done(&command.split(' ').collect::<Vec<_>>()).unwrap()
}

/// Any command, written as on a terminal.
pub(crate) fn told(filter: &Filter, command: &str) -> Outcome {
    filter.cli(command.split(' ')).unwrap()
}

/// `explain --json` for a packet to UDP port 5060.
pub(crate) fn explained(filter: &Filter, from: &str) -> Value {
    filter.json(&["explain", "--from", from, "--to", ":5060", "--transport", "udp"]).unwrap()
}

/// The reason alone.
pub(crate) fn reason(filter: &Filter, from: &str) -> String {
    explained(filter, from)["reason"].as_str().unwrap().to_owned()
}

/// How many policies were put in force.
pub(crate) fn generation(filter: &Filter) -> u64 {
    filter.status().unwrap()["generation"].as_u64().unwrap()
}

/// Runs a command that is to leave the policy in force as it was.
pub(crate) fn leaving_all_as_it_was<T>(filter: &Filter, act: impl FnOnce() -> T) -> T {
    let state = || {
        let mut status = filter.status().unwrap();
        // Neighbour discovery goes on all the time.
        status["counters"].take();
        // What an answer was made of is given back later, or not, and live changes before go into the tables.
        status["memory_bytes"].take();
        let mut lists = ["allow", "deny", "trunk", "ban"].map(|list| filter.json(&[list, "list"]).unwrap());
        // The clock goes on, too.
        for ban in lists[3].as_array_mut().unwrap() {
            ban["remaining_ms"].take();
        }
        let reasons = ["198.51.100.20", "2001:db8:5060::30"].map(|from| reason(filter, from));
        (status, lists, reasons)
    };
    let before = state();
    let result = act();
    // Not shown: a list can be long.
    assert!(state() == before, "what is in force changed");
    result
}

/// The answer to a request on the control socket, without a client of ours between.
pub(crate) fn ask(filter: &Filter, request: &Value) -> Value {
    let mut stream = UnixStream::connect(filter.socket()).unwrap();
    stream.write_all(format!("{request}\n").as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}
