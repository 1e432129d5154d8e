//! Clients of the control socket that do not behave.

use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{Filter, Lab, POLICY};

use super::asking::{WITHIN, leaving_all_as_it_was};

/// Long enough for a machine under load, and far below the daemon's patience with a client.
const AT_ONCE: Duration = Duration::from_secs(2);

fn connect(filter: &Filter) -> UnixStream {
    let stream = UnixStream::connect(filter.socket()).unwrap();
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    stream
}

fn answer(stream: UnixStream) -> Value {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn assert_answers_at_once(filter: &Filter, while_what: &str) {
    let started = Instant::now();
    filter.done(&["status"]).unwrap();
    assert!(started.elapsed() < AT_ONCE, "{while_what}: {:?}", started.elapsed());
}

#[test]
fn a_line_that_is_no_request_is_answered_so_and_changes_nothing() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    leaving_all_as_it_was(&filter, || {
        for line in [
            &b"\n"[..],
            b"garbage\n",
            b"{}\n",
            b"[1, 2]\n",
            b"\xff\xfe\x00\n",
            b"{\"command\":\"stop\"}\n",
            b"{\"command\":\"ban_add\",\"address\":\"192.0.2.1\"}\n",
            b"{\"command\":\"ban_add\",\"address\":\"192.0.2.0/24\",\"for_ms\":1000,\"cause\":\"\"}\n",
            b"{\"command\":\"ban_add\",\"address\":\"192.0.2.1\",\"for_ms\":-1,\"cause\":\"\"}\n",
            b"{\"command\":\"ban_add\",\"address\":\"192.0.2.1\",\"for_ms\":1000,\"cause\":\"\",\"more\":1}\n",
            b"{\"command\":\"apply\",\"path\":\"/nowhere\",\"text\":\"mode = 1\",\"dry_run\":false}\n",
            b"{\"command\":\"detach\",\"interface\":\"eth7\"}\n",
        ] {
            let mut stream = connect(&filter);
            stream.write_all(line).unwrap();
            let answer = answer(stream);
            let error = &answer["error"];
            assert_eq!(error["fault"], "usage", "{}: {answer}", String::from_utf8_lossy(line));
            assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
        }
        let nested = "[".repeat(100_000) + "\n";
        let mut stream = connect(&filter);
        stream.write_all(nested.as_bytes()).unwrap();
        assert_eq!(answer(stream)["error"]["fault"], "usage");
    });
}

#[test]
fn a_mebibyte_without_an_end_of_line_holds_nobody_up() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let mut stream = connect(&filter);
    stream.write_all(&vec![b'x'; 1 << 20]).unwrap();
    assert_answers_at_once(&filter, "a line without an end");
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(answer(stream)["error"]["fault"], "usage");
}

#[test]
fn a_hundred_clients_that_say_nothing_keep_nobody_from_asking() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    let one = connect(&filter);
    assert_answers_at_once(&filter, "one silent client");
    let others: Vec<UnixStream> = (1..100).map(|_| connect(&filter)).collect();
    assert_answers_at_once(&filter, "a hundred silent clients");
    drop((one, others));
    assert_answers_at_once(&filter, "clients that left");
}

#[test]
fn a_client_that_does_not_wait_for_its_answer_harms_nobody() {
    let Some(lab) = Lab::or_skip() else { return };
    let filter = Filter::start(&lab, POLICY).unwrap();
    for line in [&b""[..], b"{\"comm", b"{\"command\":\"status\"}\n"] {
        for _ in 0..50 {
            connect(&filter).write_all(line).unwrap();
        }
        assert_answers_at_once(&filter, "clients that leave early");
    }
}
